"""Whether the numbers can be relied on: how fresh they are, which rows they rest on, and whether they agree."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache

import pandas as pd

from user_engagement import formatting as fmt
from user_engagement.dashboard.blocks import Block, Page, Row, Table, Text
from user_engagement.dashboard.charts import Chart, bars
from user_engagement.dashboard.data import Frame, Generation
from user_engagement.dashboard.theme import Style
from user_engagement.dashboard.view import View

NOTES = ("identical_row", "day_before_signup")
"""Reasons that are remarks on rows that were kept."""


def page(view: View) -> Page:
    generation = view.generation
    charts = [accounting(view, str(name)) for name in generation.frame("data_quality").table_name.unique()]
    checks = check_rows(generation)
    blocks: tuple[Block, ...] = (
        Text("Freshness", tuple(freshness(view))),
        *doubts(view),
        Row(tuple(charts)),
        Table(
            "checks",
            "Checks of what is shown",
            "Computed from the published tables themselves. The pipeline's own checks passed before it published.",
            checks,
        ),
        Table(
            "tables",
            "What this generation holds",
            "Tables and their rows; the manifest beside them names the run and holds the SHA-256 of each file.",
            tables(generation),
        ),
        *(
            Table(name, fmt.label(name), about, generation.frame(name))
            for name, about in generation.manifest.own.items()
        ),
    )
    return Page(headline(view, checks), blocks, view.ignored("days", "segments", "comparison"))


def freshness(view: View) -> list[str]:
    manifest, published = view.generation.manifest, view.generation.published_at
    return [
        f"The data are complete through {fmt.day(view.generation.as_of)}.",
        f"Generation {manifest.generation}: published on {fmt.day(published)}, {published:%H:%M} UTC.",
        f"Its schema version is {manifest.schema_version}.",
    ]


def doubts(view: View) -> Iterator[Block]:
    """What the pipeline found doubtful in the data, in the words of its checks and of the command line."""
    if found := view.generation.manifest.doubts:
        yield Text("Doubts about the data", tuple(doubt.text for doubt in found))


def accounting(view: View, table: str) -> Chart:
    """Rows left out of a raw table, by reason; what is kept is in words."""
    frame = view.generation.frame("data_quality")
    rows = frame[frame.table_name == table]
    counts = rows.set_index("reason").rows
    left_out = rows[~rows.reason.isin(["kept", "total", *NOTES]) & (rows.rows > 0)].sort_values(
        "rows", ascending=False
    )
    total, kept = int(counts.get("total", 0)), int(counts.get("kept", 0))
    share = fmt.value(kept / total if total else None, "rate")
    summary = f"{kept:,} of {total:,} rows kept ({share})"
    summary += f", {total - kept:,} left out." if len(left_out) else ", none left out."
    for note in NOTES:
        if counts.get(note, 0):
            summary += f" {int(counts[note]):,} rows noted as {fmt.label(note).lower()}, and kept."
    drawn = left_out.assign(reason=left_out.reason.map(fmt.label))
    return bars(
        drawn,
        "rows",
        "reason",
        Style(view.theme),
        key=f"rows_{table}",
        title=f"Rows left out: {fmt.label(table).lower()}",
        about=f"By the first reason that applies, through {fmt.day(view.generation.as_of)}. Total = kept + left out.",
        x_title="Rows",
        texts=[f"{r.rows:,} ({fmt.value(r.rows / total, 'rate')})" for r in drawn.itertuples()],
        summary=summary,
        table=rows,
    )


def tables(generation: Generation) -> Frame:
    return pd.DataFrame(
        [{"table": name, "rows": facts["rows"]} for name, facts in generation.manifest.tables.items()]
    )


@lru_cache(8)
def check_rows(generation: Generation) -> Frame:
    found = [
        ("Files are as they were published", _changed_files(generation)),
        ("Rows in = rows kept + rows left out, for every raw table", _unaccounted(generation)),
        (
            "Active users = those of the day before + new + back - gone, every day",
            _unexplained_days(generation),
        ),
        ("Values of each segment add up to all users, every day", _split_days(generation)),
        ("Shares lie within their intervals, and these between 0 and 1", _odd_intervals(generation)),
    ]
    return pd.DataFrame(
        [
            {"check": name, "result": "passed" if not wrong else "failed", "violations": wrong}
            for name, wrong in found
        ]
    )


def _changed_files(generation: Generation) -> int:
    return sum(
        hashlib.sha256((generation.folder / f"{name}.parquet").read_bytes()).hexdigest() != facts["sha256"]
        for name, facts in generation.manifest.tables.items()
    )


def _unaccounted(generation: Generation) -> int:
    rows = generation.frame("data_quality")
    rows = rows[~rows.reason.isin(NOTES)]
    signed = rows.rows.where(rows.reason != "total", -rows.rows)
    return int((signed.groupby(rows.table_name).sum() != 0).sum())


def _unexplained_days(generation: Generation) -> int:
    rows = generation.frame("active_users_daily").sort_values(
        ["segment_name", "segment_value", "activity_date"]
    )
    before = rows.groupby(["segment_name", "segment_value"]).mau.shift(1, fill_value=0)
    return int((rows.mau != before + rows.new_users + rows.resurrected_users - rows.churned_users).sum())


def _split_days(generation: Generation) -> int:
    rows = generation.frame("active_users_daily")
    sums = rows.groupby(["segment_name", "activity_date"]).mau.sum().unstack("segment_name")
    return int(sum((sums[name] != sums["all"]).sum() for name in sums))


def _odd_intervals(generation: Generation) -> int:
    wrong = 0
    for name, rate in (
        ("churn_monthly", "churn_rate"),
        ("day_n_retention", "retention_rate"),
        ("cohort_retention", "retention_rate_eligible"),
        ("survival", "survival_rate"),
    ):
        rows = generation.frame(name)
        rows = rows[rows[rate].notna() & rows.ci_low.notna()]
        inside = (rows.ci_low <= rows[rate] + 1e-12) & (rows[rate] <= rows.ci_high + 1e-12)
        wrong += int((~(inside & (rows.ci_low >= 0) & (rows.ci_high <= 1))).sum())
    return wrong


def headline(view: View, checks: Frame) -> str:
    failed = checks[checks.result == "failed"].check
    if len(failed):
        named = fmt.enumeration(list(failed))
        return f"Do not rely on these numbers: {len(failed)} of {len(checks)} checks failed ({named})."
    through = fmt.day(view.generation.as_of)
    if found := len(view.generation.manifest.doubts):
        plural = "doubt" if found == 1 else "doubts"
        return f"{found} {plural} about the data, which are complete through {through}; read on before you use them."
    return f"All {len(checks)} checks of the published numbers passed; they are complete through {through}."
