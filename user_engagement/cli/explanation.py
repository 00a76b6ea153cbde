"""Why engagement changed, in the terminal: the brief and its bridge, of all users or of one group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import pyarrow.parquet as pq
from rich import box
from rich.markup import escape
from rich.table import Table

from user_engagement.errors import SettingsError, UserError
from user_engagement.insights.brief import MEASURES
from user_engagement.publishing.generations import resolve
from user_engagement.settings import Settings

SHOWN = ("decline_brief", "engagement_bridge")


def conditions_of(texts: Sequence[str]) -> dict[str, str]:
    """Conditions from texts such as country=US.

    Raises:
        SettingsError: a text that is none.
    """
    conditions = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise SettingsError(f"--segment {text!r}: write an attribute and a value, as country=US.")
        if name in conditions:
            raise SettingsError(f"--segment: {name} is given twice, but each user has one. Give one value.")
        conditions[name] = value
    return conditions


def explanation(settings: Settings, conditions: Mapping[str, str]) -> dict[str, pd.DataFrame]:
    """The published brief and bridge; of a group, computed from the counts in the warehouse.

    Raises:
        UserError: nothing is published, insights are switched off, or there is no such attribute or value.
    """
    if not settings.insights:
        raise UserError("Insights are switched off. Set USER_ENGAGEMENT_INSIGHTS=true and run again.")
    if not conditions:
        generation = resolve(settings.published_dir)
        missing = [name for name in SHOWN if not (generation / f"{name}.parquet").exists()]
        if missing:
            raise UserError("No insights are published yet: user-engagement run.")
        return {name: pq.read_table(generation / f"{name}.parquet").to_pandas() for name in SHOWN}
    # the models behind the scan are imported for those who ask
    from user_engagement.assets.insights import read_rollups
    from user_engagement.insights.analysis import brief_tables
    from user_engagement.insights.growth import growth_change
    from user_engagement.insights.panel import named_cells

    rollups, _ = read_rollups(settings)
    cells = named_cells(rollups.group_cells, rollups.segment_values)
    for name, value in conditions.items():
        if name not in cells:
            known = ", ".join(map(str, cells.columns))
            raise UserError(f"--segment {name}={value}: there is no attribute {name}, but {known}.")
        if value not in set(cells[name]):
            known = ", ".join(sorted(cells[name].astype(str).unique())[:20])
            raise UserError(f"--segment {name}={value}: no users; {name} is one of {known}.")
    nothing = growth_change(rollups.growth_accounting, rollups.compared_periods).iloc[:0]
    return brief_tables(rollups, nothing, group=conditions)


def brief_table(brief: pd.DataFrame) -> Table:
    """Findings and questions, the one that matters most first."""
    table = Table(
        title="Why engagement changed",
        title_justify="left",
        box=None,
        show_header=False,
        padding=(0, 1, 1, 0),
    )
    for row in brief.sort_values("rank").to_dict("records"):
        question = f"\n[dim]{escape(row['next_step'])}[/]" if row["next_step"] else ""
        table.add_row(f"{row['rank']}.", escape(row["finding"]) + question)
    return table


def bridge_table(bridge: pd.DataFrame) -> Table:
    """From what would have been to what is, a week, for both measures."""
    table = Table(
        title="From expected to actual, a week",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("")
    for measure in MEASURES:
        table.add_column(measure.replace("_", " "), justify="right", no_wrap=True)
    of_measure = {
        measure: bridge[bridge.measure == measure].set_index("label").amount for measure in MEASURES
    }
    ordered = bridge.sort_values("position").label.drop_duplicates(keep="last")
    totals = bridge[bridge.position == 1].label.tolist()
    last = bridge.label.iloc[-1] if len(bridge) else ""
    for label in (*totals[:1], *(each for each in ordered if each not in (*totals, last)), last):
        amounts = [of_measure[measure].get(label) for measure in MEASURES]
        # rounded to an integer first, which has no negative zero
        form = "{:,}" if label in (*totals, last) else "{:+,}"
        table.add_row(escape(label), *("" if pd.isna(each) else form.format(round(each)) for each in amounts))
    return table
