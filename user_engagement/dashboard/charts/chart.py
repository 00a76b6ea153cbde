"""What every kind of chart shares: its parts, its axes, its marks and its words.

Figures are plain dictionaries in Plotly's format. Its graph objects would validate every value of every view, which
takes longer than all the rest; the tests validate each figure instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from user_engagement import formatting as fmt
from user_engagement.dashboard.data import Frame
from user_engagement.dashboard.theme import Style

HEIGHT = 340
MOST_SENTENCES = 3
FEW_MONTHS = 6
FEW_USERS = 30
"""Shares and means of fewer users than this are marked: chance moves them more than anything else."""
Figure = dict[str, Any]


@dataclass(frozen=True)
class Chart:
    """``about`` says what is measured; ``summary`` says in words what the figure shows, None if there is nothing."""

    kind: ClassVar[str] = "chart"
    key: str
    title: str
    about: str
    summary: str
    figure: Figure | None
    table: Frame

    def noted(self, note: str) -> Chart:
        """The chart with a note before its summary."""
        return replace(self, summary=f"{note} {self.summary}") if note else self


@dataclass(frozen=True)
class Measure:
    """A column to draw, what stands behind it, and how to write it.

    ``detail`` tells the counts behind a value, columns in braces: ``{dau} of {mau} users``. ``base`` names the column
    that makes a value small.
    """

    column: str
    name: str
    unit: str
    base: str | None = None
    detail: str = ""
    has_interval: bool = False

    @property
    def behind(self) -> list[str]:
        """The columns that the hover text needs beside the value."""
        return re.findall(r"{(\w+)}", self.detail) + (["ci_low", "ci_high"] if self.has_interval else [])

    def hover(self, prefix: str) -> str:
        """Plotly's template for the exact value, the counts behind it and its interval."""
        value = {"rate": "%{y:.1%}", "users": "%{y:,.0f}", "sessions": "%{y:,.2f}", "days": "%{y:,.1f}"}
        position = {column: number for number, column in enumerate(self.behind)}
        parts = [re.sub(r"{(\w+)}", lambda m: f"%{{customdata[{position[m[1]]}]:,.0f}}", self.detail)]
        if self.has_interval:
            low, high = (f"%{{customdata[{position[bound]}]:.1%}}" for bound in ("ci_low", "ci_high"))
            parts.append(f"95 % interval {low} – {high}")
        told = "; ".join(part for part in parts if part)
        return f"{prefix}{value.get(self.unit, '%{text}')}{f' ({told})' if told else ''}<extra></extra>"

    def drawn(self, values: Frame) -> np.ndarray:
        """As drawn: durations in minutes."""
        numbers = values.to_numpy(dtype=float)
        return numbers / 60 if self.unit == "seconds" else numbers

    def axis(self) -> dict[str, Any]:
        title = "Minutes" if self.unit == "seconds" else ""
        tickformat = {"rate": ".0%", "users": ",~r"}.get(self.unit, "")
        return {"title": title, "tickformat": tickformat, "rangemode": "tozero"}


def groups(rows: Frame, by: str) -> dict[str, Frame]:
    return {str(value): line for value, line in rows.groupby(by, sort=False)}


def short(sentences: list[str]) -> list[str]:
    if len(sentences) <= MOST_SENTENCES:
        return sentences
    return [*sentences[:MOST_SENTENCES], f"{len(sentences) - MOST_SENTENCES} more in the table."]


def small_note(rows: Frame, measure: Measure) -> list[str]:
    if measure.base and (rows[measure.base] < FEW_USERS).any():
        return [f"Hollow points stand for fewer than {FEW_USERS} users."]
    return []


def nothing_to_draw(rows: Frame) -> str:
    return (
        "Nothing complete to draw yet; the table holds what there is."
        if len(rows)
        else "No data for this choice."
    )


def paleness(rows: Frame) -> np.ndarray:
    return np.where(rows.is_complete, 1.0, 0.45)


def time_axis(days: Frame, monthly: bool) -> dict[str, Any]:
    """Months are ticked on their first day: each if they are few, else as many as there is room for."""
    axis: dict[str, Any] = {"type": "date", "showgrid": False, "tickangle": 0}
    if not monthly:
        return axis | {"hoverformat": "%a, %d %b %Y"}
    axis |= {"hoverformat": "%b %Y", "tickformat": "%b\n%Y"}
    shown = days.drop_duplicates().sort_values()
    return axis | ({"tickvals": shown.to_numpy()} if len(shown) <= FEW_MONTHS else {})


def marks(style: Style, start: Any, end: Any) -> Figure:
    """Vertical lines with their labels where releases and campaigns happened."""
    within = (
        style.marks[(style.marks.day >= start) & (style.marks.day <= end)]
        if len(style.marks)
        else style.marks
    )
    line = {"color": style.theme.muted, "width": 1, "dash": "dash"}
    return {
        "shapes": [
            {"type": "line", "x0": day, "x1": day, "y0": 0, "y1": 1, "yref": "paper", "line": line}
            for day in within.day
        ],
        "annotations": [
            {
                "x": row.day,
                "y": 1,
                "yref": "paper",
                "text": row.label,
                "showarrow": False,
                "textangle": -90,
                "xanchor": "right",
                "yanchor": "top",
                "font": {"size": 11, "color": style.theme.muted},
                "hovertext": f"{fmt.day(row.day)}: {row.label}",
            }
            for row in within.itertuples()
        ],
    }
