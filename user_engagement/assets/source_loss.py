"""Whether a source has lost rows since they were loaded: an empty export must not empty the marts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from user_engagement.contracts.raw import RawTable
from user_engagement.errors import SourceError
from user_engagement.settings import PREFIX, Settings
from user_engagement.sources import Source
from user_engagement.sources.base import unreadable_files
from user_engagement.sources.normalise import quoted
from user_engagement.warehouse import open_warehouse

ACCEPT_LOSS_TAG = "user_engagement/accept_loss"
"""The tag of a run by which a person accepts, in Dagster's UI, what a source has lost."""

FEWEST_LOST = 10
"""Fewer rows than these are deletions, whatever their share."""
MOST_LOST = 0.5
"""The share of a table's rows, or of a month's, beyond which a loss is no clean-up."""
MOST_LOST_BY_MONTHS = 0.01
"""The share of a table's rows that months which lost most of theirs may have held."""
MOST_DAYS_BACK = 7
"""By how many days a table's newest day may move back, which a late correction does not explain."""
MOST_MONTHS_NAMED = 3


@dataclass(frozen=True)
class Held:
    """The dated rows of a table by month (``YYYY-MM-01``), and their newest day."""

    months: Mapping[str, int]
    last_day: date | None

    @property
    def rows(self) -> int:
        return sum(self.months.values())


def held_by_warehouse(settings: Settings, table: RawTable, without: Sequence[str] = ()) -> Held:
    """What was loaded, without the rows of some files."""
    warehouse = open_warehouse(settings)
    if not warehouse.exists():
        return Held({}, None)
    with warehouse.reader() as reader:
        if not reader.columns("raw", table.name):
            return Held({}, None)
        day = f"cast({table.date_column} as date)"
        kept = f"_source not in ({', '.join(map(quoted, without))})" if without else "true"
        newest = reader.query(f"select max({day}) from raw.{table.name} where {kept}").column(0)[0].as_py()
        return Held(reader.monthly_rows(f"raw.{table.name}", table.date_column, kept), newest)


def held_by_source(source: Source, table: RawTable) -> Held:
    report = source.inspect(table)
    return Held(source.monthly_rows(table) if report else {}, report.last_day if report else None)


def loss(table: RawTable, now: Held, before: Held) -> str | None:
    """What a source has lost of a table, in words; None where it is nothing, or little."""
    lost = before.rows - now.rows
    gone = emptied_months(now, before)
    if before.last_day is None or (lost < FEWEST_LOST and now.months and not gone):
        return None
    days_back = (before.last_day - now.last_day).days if now.last_day else None
    is_short = lost >= MOST_LOST * before.rows or days_back is None or days_back > MOST_DAYS_BACK
    if not is_short and not gone:
        return None
    ends = (
        f"it now ends on {now.last_day}, before it ended on {before.last_day}"
        if now.last_day
        else "nothing is left"
    )
    named = [f"{month[:7]}: {rows:,} of {before.months[month]:,}" for month, rows in gone.items()]
    rest = f" and {len(named) - MOST_MONTHS_NAMED} more months" if len(named) > MOST_MONTHS_NAMED else ""
    by_month = f" (lost of {', '.join(named[:MOST_MONTHS_NAMED])}{rest})" if gone else ""
    return (
        f"{table.name}: the source has lost {max(lost, sum(gone.values())):,} of the {before.rows:,} rows that were "
        f"loaded{by_month}; {ends}"
    )


def emptied_months(now: Held, before: Held) -> dict[str, int]:
    """The rows that each month has lost that lost most of its rows; nothing if they are few of the table's.

    One month alone, unless it is the newest, is a file that somebody removed: its days then show as outages.
    """
    lost = {month: rows - now.months.get(month, 0) for month, rows in sorted(before.months.items())}
    gone = {
        month: rows
        for month, rows in lost.items()
        if rows >= FEWEST_LOST and rows > MOST_LOST * before.months[month]
    }
    is_one_file = len(gone) == 1 and max(before.months) not in gone
    return gone if sum(gone.values()) > MOST_LOST_BY_MONTHS * before.rows and not is_one_file else {}


def refuse_loss(source: Source, table: RawTable, settings: Settings) -> None:
    """Refuses to load a table of which most, most of a month, or the newest part, is gone.

    Raises:
        SourceError: rows are gone, and nobody has accepted that. Nothing was written.
    """
    if settings.accept_loss:
        return
    # what cannot be read is not gone
    before = held_by_warehouse(settings, table, [file.name for file in unreadable_files(source, table)])
    if before.months and (found := loss(table, held_by_source(source, table), before)):
        raise SourceError(
            f"{found}. Nothing was loaded. Restore the source; or, if the rows are gone for good, accept it with "
            f"--accept-loss, {PREFIX}ACCEPT_LOSS=true, or the tag {ACCEPT_LOSS_TAG} on a run in Dagster's UI."
        )
