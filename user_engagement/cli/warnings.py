"""What the command line warns of after a run: input that was read, but may not be what it seems."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq

from user_engagement import formatting as fmt
from user_engagement.contracts.raw import USER_ENGAGEMENT
from user_engagement.publishing.generations import read_manifest
from user_engagement.settings import PREFIX, Settings
from user_engagement.sources.base import TableReport

MOST_LEFT_OUT = 0.5
"""The share of sessions without a known user, or before the signup, beyond which a mapping is likely wrong."""

MEANINGS = {
    "implausible_date": "with a date that cannot be believed (see EARLIEST_DATE and SENTINEL_DATES) were left out",
    "day_before_signup": "on the day before a signup that has no time of day were counted on the signup day",
    "bot": "of bots and crawlers were left out (see SNOWPLOW_BOTS)",
    "stray_pings": "of page pings alone were left out",
}


def warnings(settings: Settings, reports: Sequence[TableReport], generation: Path) -> Iterator[str]:
    """Each doubt in one sentence, with its number."""
    yield from _about_the_horizon(settings, reports, date.fromisoformat(read_manifest(generation).as_of))
    counts = {
        (row["table_name"], row["reason"]): row["rows"]
        for row in pq.read_table(generation / "data_quality.parquet").to_pylist()
    }
    for (table, reason), rows in sorted(counts.items()):
        if rows and reason in MEANINGS:
            yield f"{table}: {rows:,} rows {MEANINGS[reason]}."
    total = counts.get((USER_ENGAGEMENT.name, "total"), 0)
    for reason, meaning in (
        ("orphan", "belong to no known user"),
        ("before_signup", "lie before the signup"),
    ):
        if (rows := counts.get((USER_ENGAGEMENT.name, reason), 0)) > MOST_LEFT_OUT * total:
            yield f"{USER_ENGAGEMENT.name}: {rows:,} of {total:,} rows {meaning}; compare the ids of both tables."


def _about_the_horizon(settings: Settings, reports: Sequence[TableReport], as_of: date) -> Iterator[str]:
    newest = next((r.last_day for r in reports if r.table == USER_ENGAGEMENT), None)
    if newest is None:
        return
    if settings.as_of and settings.as_of > newest:
        yield (
            f"{PREFIX}AS_OF is {fmt.day(settings.as_of)}, but the newest engagement is of {fmt.day(newest)}: "
            "the days between count as days without activity."
        )
    if settings.as_of is None and (newest - as_of).days > 7:
        yield (
            f"the newest engagement is of {fmt.day(newest)}, far from the other days, with next to no rows: the data "
            f"are taken to end on {fmt.day(as_of)}. If they do not, set {PREFIX}AS_OF."
        )
