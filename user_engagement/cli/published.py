"""The KPIs and findings of a published generation in the terminal.

This module imports neither Dagster, dbt nor pandas: their imports would take longer than all its work.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from rich import box
from rich.markup import escape
from rich.table import Table

from user_engagement import formatting as fmt
from user_engagement.publishing.generations import read_manifest

BRIEF, MOST_FINDINGS = "decline_brief", 5


def kpi_table(generation: Path) -> Table:
    """The KPIs of a published generation, one per row, with interval, period and previous value."""
    manifest = read_manifest(generation)
    title = f"KPIs as of {fmt.day(date.fromisoformat(manifest.as_of))}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    # a long label takes two lines, so that no value and no period is cut
    table.add_column("KPI")
    for column in ("value", "95 % interval", "before"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("period", no_wrap=True)
    for row in pq.read_table(generation / "kpi_summary.parquet").sort_by("position").to_pylist():
        unit = row["unit"]
        table.add_row(
            row["label"],
            fmt.value(row["value"], unit),
            fmt.interval(row["ci_low"], row["ci_high"], unit),
            fmt.value(row["previous_value"], unit),
            _period(row),
        )
    return table


def findings(generation: Path) -> Table | None:
    """The main findings, the most harmful first; None if no insights were computed."""
    if BRIEF not in read_manifest(generation).tables:
        return None
    brief = pq.read_table(generation / f"{BRIEF}.parquet").sort_by("rank").to_pylist()
    table = Table(
        title="Why engagement changed",
        title_justify="left",
        box=None,
        show_header=False,
        padding=(0, 1, 0, 0),
    )
    for row in brief[:MOST_FINDINGS]:
        table.add_row(f"{row['rank']}.", escape(row["finding"]))
    return table


def _period(row: dict[str, Any]) -> str:
    start, end = row["period_start"], row["period_end"]
    if start is None:
        return "not yet complete"
    return fmt.period(start, end) if fmt.is_whole_month(start, end) else f"to {fmt.day(end)}"
