"""Where things stand: the first screen's story, and every key figure below it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from user_engagement import formatting as fmt
from user_engagement.dashboard.blocks import Block, Card, Cards, Page, Table
from user_engagement.dashboard.charts import FEW_USERS
from user_engagement.dashboard.contents.story import headline, lead, story
from user_engagement.dashboard.data import ALL
from user_engagement.dashboard.measures import kpis
from user_engagement.dashboard.trends import trends
from user_engagement.dashboard.view import View


def page(view: View) -> Page:
    figures = trends(view)
    blocks: list[Block] = [story(view, figures), kpi_cards(view)]
    if len(view.groups) > 1:
        blocks.append(by_value(view))
    return Page(headline(view, figures), tuple(blocks), lead(view))


def kpi_cards(view: View) -> Cards:
    """The KPIs of all users, or of the one segment value shown; several values have a table instead."""
    one = view.is_segmented and len(view.groups) == 1
    rows = kpis(view.generation, *next(iter(view.groups.values()))) if one else kpis(view.generation)
    cards = tuple(card(row) for row in rows.itertuples())
    return Cards(f"More figures of {view.group}" if one else "More figures", cards)


def card(row: Any) -> Card:
    """A row of `kpi_summary`."""
    value, before, unit = row.value, row.previous_value, row.unit
    denominator, notes = row.denominator, []
    if not fmt.is_missing(denominator):
        rate = unit == "rate"
        notes.append(f"{row.numerator:,.0f} of {denominator:,.0f}" if rate else f"n = {denominator:,.0f}")
        if denominator < FEW_USERS:
            notes.append("small base, read with care")
    return Card(
        key=row.kpi,
        label=row.label,
        value=fmt.value(value, unit),
        change=fmt.change(value, before, unit),
        before="" if fmt.is_missing(before) else fmt.value(before, unit),
        interval=fmt.interval(row.ci_low, row.ci_high, unit),
        period="not yet complete"
        if fmt.is_missing(row.period_start)
        else fmt.period(row.period_start.date(), row.period_end.date()),
        definition=row.definition,
        note="; ".join(notes),
    )


def by_value(view: View) -> Table:
    """One row per group, counted by itself."""
    groups = {ALL: (ALL, ALL), **view.groups}
    frames = [kpis(view.generation, *pair) for pair in groups.values()]
    labels = frames[-1].label
    frame = pd.DataFrame(
        [
            {"group": view.style.label(name)}
            | {
                str(labels[k]): fmt.value(frame.value.get(k), str(frame.unit.get(k, "")))
                for k in labels.index
            }
            for name, frame in zip(groups, frames, strict=True)
        ]
    )
    period = f"latest complete periods as of {fmt.day(view.generation.as_of)}"
    return Table(
        "kpis_by_value",
        f"More figures by {fmt.enumeration([fmt.label(name).lower() for name in view.filters.segments])}",
        f"Counted for each group by itself, {period}; definitions as on the cards.",
        frame,
    )
