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
    if len(view.values) > 1:
        blocks.append(by_value(view))
    return Page(headline(view, figures), tuple(blocks), lead(view))


def kpi_cards(view: View) -> Cards:
    """The KPIs of all users, or of the one segment value shown; several values have a table instead."""
    one = view.filters.segment != ALL and len(view.values) == 1
    rows = kpis(view.generation, view.filters.segment, view.values[0]) if one else kpis(view.generation)
    cards = tuple(card(row) for row in rows.itertuples())
    return Cards(f"All key figures of {view.group}" if one else "All key figures", cards)


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
    """One row per segment value, counted by itself."""
    names = [ALL, *view.values]
    frames = [
        kpis(view.generation) if name == ALL else kpis(view.generation, view.filters.segment, name)
        for name in names
    ]
    labels = frames[-1].label
    frame = pd.DataFrame(
        [
            {"segment_value": view.style.label(name)}
            | {
                str(labels[k]): fmt.value(frame.value.get(k), str(frame.unit.get(k, "")))
                for k in labels.index
            }
            for name, frame in zip(names, frames, strict=True)
        ]
    )
    period = f"latest complete periods as of {fmt.day(view.generation.as_of)}"
    return Table(
        "kpis_by_value",
        f"Key figures by {fmt.label(view.filters.segment).lower()}",
        f"Counted for each value by itself, {period}; definitions as on the cards.",
        frame,
    )
