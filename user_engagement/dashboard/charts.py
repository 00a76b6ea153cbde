"""Charts as pure functions: rows of a mart in; a figure, its text alternative and its table out.

Figures are plain dictionaries in Plotly's format. Its graph objects would validate every value of every view, which
takes longer than all the rest; the tests validate each figure instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from textwrap import wrap
from typing import Any

import numpy as np

from user_engagement.dashboard import words
from user_engagement.dashboard.data import Frame
from user_engagement.dashboard.look import Look, layout

HEIGHT = 340
MOST_SENTENCES = 3
FEW_MONTHS = 6
FEW_PERIODS = 13
FEW_POINTS = 40
LABEL_LENGTH = 22
Figure = dict[str, Any]
Row = Any
"""A row of a frame, as `itertuples` gives it."""


@dataclass(frozen=True)
class Chart:
    """``about`` says what is measured; ``summary`` says in words what the figure shows, None if there is nothing."""

    key: str
    title: str
    about: str
    summary: str
    figure: Figure | None
    table: Frame


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
        title = f"{self.name}, minutes" if self.unit == "seconds" else self.name
        tickformat = {"rate": ".0%", "users": ",~r"}.get(self.unit, "")
        return {"title": title, "tickformat": tickformat, "rangemode": "tozero"}


def timeline(
    rows: Frame,
    x: str,
    measure: Measure,
    look: Look,
    *,
    key: str,
    title: str,
    about: str,
    by: str = "segment_value",
    earlier: tuple[str, Frame] | None = None,
) -> Chart:
    """A line per value of ``by``; ``earlier`` is the comparison's name and rows, their `drawn_at` on this axis."""
    drawn = rows[rows.is_complete] if "is_complete" in rows else rows
    drawn = drawn[drawn[measure.column].notna()]
    if drawn.empty:
        return Chart(key, title, about, _nothing(rows), None, rows)
    monthly = bool((drawn[x].dt.day == 1).all())
    when = words.month if monthly else words.day
    groups = _groups(drawn, by)
    traces: list[Figure] = []
    sentences: list[str] = []
    for value, line in groups.items():
        if measure.has_interval and len(groups) == 1:
            traces.append(_band(line, x, look, value))
        traces.append(_line(line, x, measure, look, value))
        sentences.append(_course(look.label(value), line, x, measure, when, alone=len(groups) == 1))
    sentences = _short(sentences)
    if earlier and not earlier[1].empty:
        name, before = earlier
        known = before[before[measure.column].notna()]
        traces += [
            _earlier_line(line, x, measure, look, value, name.lower(), when, alone=len(groups) == 1)
            for value, line in _groups(known, by).items()
        ]
        sentences.append(f"Dotted: {name.lower()}.")
    if len(drawn) < len(rows):
        left = rows[~rows.index.isin(drawn.index)][x].drop_duplicates()
        sentences.append(
            f"Not drawn, since not complete or over nobody: {words.listed([when(d) for d in left[-3:]])}."
        )
    sentences += _small_note(drawn, measure)
    figure = {
        "data": traces,
        "layout": layout(
            look.theme,
            HEIGHT,
            _time_axis(drawn[x], monthly),
            measure.axis(),
            showlegend=sum(trace.get("showlegend", True) for trace in traces) > 1,
            **_marks(look, drawn[x].min(), drawn[x].max()),
        ),
    }
    return Chart(key, title, about, " ".join(sentences), figure, rows)


def curves(
    rows: Frame,
    x: str,
    measure: Measure,
    look: Look,
    *,
    key: str,
    title: str,
    about: str,
    x_title: str,
    by: str = "segment_value",
    stepped: bool = False,
    colours: Mapping[str, str] | None = None,
) -> Chart:
    """A line per value of ``by`` over days or periods since signup; a stepped one ends where few users are left."""
    drawn = rows[rows[measure.column].notna()]
    if stepped and measure.base and (drawn[measure.base] >= words.SMALL).any():
        drawn = drawn[drawn[measure.base] >= words.SMALL]
    if drawn.empty:
        return Chart(key, title, about, _nothing(rows), None, rows)
    traces: list[Figure] = []
    sentences: list[str] = []
    groups = _groups(drawn, by)
    for value, line in groups.items():
        if measure.has_interval and len(groups) == 1:
            traces.append(_band(line, x, look, value))
        trace = _line(line, x, measure, look, value)
        if stepped:
            trace["mode"] = "lines"
            trace["line"]["shape"] = "hv"
        if colours:
            trace["line"] |= {"color": colours[value], "dash": "solid"}
            trace["marker"]["color"] = colours[value]
        traces.append(trace)
        first, last = line.iloc[0], line.iloc[-1]
        sentences.append(
            f"{look.label(value)}: {words.shown(first[measure.column], measure.unit)} at {first[x]:.0f}, "
            f"{words.shown(last[measure.column], measure.unit)} at {last[x]:.0f}."
        )
    sentences = [f"{x_title}.", *_short(sentences), *_small_note(drawn, measure)]
    if stepped and len(drawn) < len(rows):
        sentences.append(f"Not drawn where fewer than {words.SMALL} users are left; the table has it all.")
    figure = {
        "data": traces,
        "layout": layout(
            look.theme,
            HEIGHT,
            {"title": x_title, "showgrid": False, "rangemode": "tozero"}
            | ({"dtick": 1} if drawn[x].max() <= FEW_PERIODS else {}),
            measure.axis(),
            showlegend=len(groups) > 1,
        ),
    }
    return Chart(key, title, about, " ".join(sentences), figure, rows)


def cohorts(rows: Frame, look: Look, *, key: str, title: str, about: str, period: str) -> Chart:
    """Cohorts by periods since signup; a cell that not every member has completed is grey and says how far it is."""
    if rows.empty:
        return Chart(key, title, about, _nothing(rows), None, rows)
    ordered = rows.sort_values(["signup_month", "period_number"])
    cells = ordered.assign(
        cohort=[words.month(m) for m in ordered.signup_month],
        number=[_cell_number(r) for r in ordered.itertuples()],
        hover=[_cell_hover(r, period) for r in ordered.itertuples()],
        unfinished=np.where(ordered.is_complete, np.nan, 0.0),
    )
    labels, theme = list(cells.cohort.drop_duplicates()), look.theme
    later = cells[cells.is_complete & (cells.period_number > 0)].retention_rate
    grid = partial(_grid, cells, labels)
    shared = {
        "type": "heatmap",
        "x": grid("number").columns.tolist(),
        "y": labels,
        "text": grid("number").fillna("").to_numpy().tolist(),
        "hovertext": grid("hover").fillna("").to_numpy().tolist(),
        "texttemplate": "%{text}",
        "hovertemplate": "%{hovertext}<extra></extra>",
        "hoverongaps": False,
        "xgap": 1,
        "ygap": 1,
    }
    unfinished = {
        "z": grid("unfinished").to_numpy(),
        "textfont": {"color": theme.text},
        "colorscale": [[0, theme.incomplete], [1, theme.incomplete]],
        "showscale": False,
    }
    complete = {
        "z": grid("retention_rate").to_numpy(),
        "zmin": 0,
        # in the first period nearly all are active: it would leave no colours for the others
        "zmax": float(later.max()) if len(later) else 1.0,
        "colorscale": [[i / 4, colour] for i, colour in enumerate(theme.scale)],
        "colorbar": {"tickformat": ".0%", "outlinewidth": 0, "thickness": 10},
    }
    figure = {
        "data": [shared | unfinished, shared | complete],
        "layout": layout(
            theme,
            110 + 26 * len(labels),
            {"title": f"{words.label(period)}s since signup", "dtick": 1, "showgrid": False},
            {"type": "category", "autorange": "reversed", "showgrid": False},
            hovermode="closest",
        ),
    }
    return Chart(key, title, about, _cohorts_in_words(cells, period), figure, ordered)


def stacked(
    rows: Frame,
    x: str,
    columns: Mapping[str, tuple[str, str, int]],
    look: Look,
    *,
    key: str,
    title: str,
    about: str,
    y_title: str,
) -> Chart:
    """Bars up and down: ``columns`` maps a count to its name, its colour and the side that it is drawn on."""
    if rows.empty:
        return Chart(key, title, about, _nothing(rows), None, rows)
    monthly = bool((rows[x].dt.day == 1).all())
    when = words.month if monthly else words.day
    traces = [
        {
            "type": "bar",
            "x": rows[x].to_numpy(),
            "y": side * rows[column].to_numpy(dtype=float),
            "name": name,
            "marker": {"color": colour, "opacity": _paleness(rows)},
            "customdata": rows[column].to_numpy(dtype=float),
            "hovertemplate": f"{name}: %{{customdata:,.0f}} users<extra></extra>",
        }
        for column, (name, colour, side) in columns.items()
    ]
    complete = rows[rows.is_complete]
    sentences = []
    if len(complete):
        last = complete.iloc[-1]
        told = words.listed([f"{last[c]:,.0f} {name.lower()}" for c, (name, _, _) in columns.items()])
        sentences.append(
            f"In the last complete period, {when(last[x])}: {told}, which leaves {last.active_users:,.0f} active users."
        )
    if len(complete) < len(rows):
        sentences.append("Pale bars are periods that are not complete.")
    figure = {
        "data": traces,
        "layout": layout(
            look.theme,
            HEIGHT,
            _time_axis(rows[x], monthly),
            {"title": y_title, "tickformat": ",~r", "zeroline": True, "zerolinecolor": look.theme.muted},
            barmode="relative",
            **_marks(look, rows[x].min(), rows[x].max()),
        ),
    }
    return Chart(key, title, about, " ".join(sentences), figure, rows)


def shares(
    rows: Frame,
    x: str,
    column: str,
    by: str,
    look: Look,
    *,
    key: str,
    title: str,
    about: str,
    noun: str,
) -> Chart:
    """What a whole is made of, month by month; the parts of a month add up to all of it."""
    if rows.empty:
        return Chart(key, title, about, _nothing(rows), None, rows)
    whole = rows.groupby(x)[column].transform("sum")
    parts = rows.assign(whole=whole, share=rows[column] / whole.where(whole > 0))
    traces = [
        {
            "type": "bar",
            "x": part[x].to_numpy(),
            "y": part.share.to_numpy(),
            "name": value,
            "marker": {"color": look.colour(value), "opacity": _paleness(part)},
            "customdata": part[[column, "whole"]].to_numpy(dtype=float),
            "hovertemplate": f"{value}: %{{y:.1%}} (%{{customdata[0]:,.0f}} of %{{customdata[1]:,.0f}} {noun})"
            "<extra></extra>",
        }
        for value, part in _groups(parts, by).items()
    ]
    last = parts[parts[x] == parts[x].max()]
    told = words.listed([f"{getattr(r, by)} {words.shown(r.share, 'rate')}" for r in last.itertuples()])
    figure = {
        "data": traces,
        "layout": layout(
            look.theme,
            HEIGHT,
            _time_axis(rows[x], monthly=True),
            {"title": f"Share of {noun}", "tickformat": ".0%", "range": [0, 1]},
            barmode="stack",
        ),
    }
    return Chart(key, title, about, f"{words.month(parts[x].max())}: {told}.", figure, parts)


def bars(
    rows: Frame,
    column: str,
    label: str,
    look: Look,
    *,
    key: str,
    title: str,
    about: str,
    x_title: str,
    texts: Sequence[str],
    summary: str,
    table: Frame | None = None,
    signed: bool = False,
) -> Chart:
    """One horizontal bar a row, with its number beside it; ``signed`` bars are coloured by their side of zero.

    ``table`` is what is behind the bars, if more than they show.
    """
    table = rows if table is None else table
    if rows.empty:
        return Chart(key, title, about, summary, None, table)
    theme = look.theme
    values = rows[column].to_numpy(dtype=float)
    # small screens too have room for the numbers beside the bars, and for labels, which wrap
    low, high = min(0.0, values.min()), max(0.0, values.max())
    room = 0.075 * max(map(len, texts)) * (high - low or 1)
    labels = ["<br>".join(wrap(str(name), LABEL_LENGTH)) for name in rows[label]]
    lines = sum(1 + name.count("<br>") for name in labels)
    bar = {
        "type": "bar",
        "x": values,
        "y": labels,
        "orientation": "h",
        "marker": {
            "color": [theme.bad if v < 0 else theme.good for v in values] if signed else theme.series[0]
        },
        "text": list(texts),
        "textposition": "outside",
        "cliponaxis": False,
        "hovertemplate": "%{y}: %{text}<extra></extra>",
    }
    x_axis = {
        "title": x_title,
        "tickformat": ",~r",
        "range": [low - room if low < 0 else 0, high + room if high > 0 else 0],
        "zeroline": True,
        "zerolinecolor": theme.muted,
    }
    y_axis = {"type": "category", "autorange": "reversed", "showgrid": False}
    frame = layout(
        theme, 90 + 18 * len(rows) + 16 * lines, x_axis, y_axis, showlegend=False, hovermode="closest"
    )
    return Chart(key, title, about, summary, {"data": [bar], "layout": frame}, table)


# -- parts -------------------------------------------------------------------------------------------------


def _groups(rows: Frame, by: str) -> dict[str, Frame]:
    return {str(value): line for value, line in rows.groupby(by, sort=False)}


def _line(line: Frame, x: str, measure: Measure, look: Look, value: str) -> Figure:
    colour = look.colour(value)
    few = len(line) <= FEW_POINTS
    small = (line[measure.base] < words.SMALL).to_numpy() if measure.base else np.zeros(len(line), bool)
    trace: Figure = {
        "type": "scatter",
        "x": line[x].to_numpy(),
        "y": measure.drawn(line[measure.column]),
        "name": look.label(value),
        "mode": "lines+markers" if few or small.any() else "lines",
        "line": {"color": colour, "width": 2.2, "dash": look.dash(value)},
        "marker": {"color": colour, "size": 5},
        "customdata": line[measure.behind].to_numpy(dtype=float),
        "hovertemplate": measure.hover(f"{look.label(value)}: "),
    }
    if small.any():
        trace["marker"] |= {
            "size": np.where(small, 7, 5 if few else 0),
            "symbol": np.where(small, "circle-open", "circle").tolist(),
        }
    if measure.unit == "seconds":
        trace["text"] = [words.shown(seconds, "seconds") for seconds in line[measure.column]]
    return trace


def _earlier_line(
    line: Frame,
    x: str,
    measure: Measure,
    look: Look,
    value: str,
    name: str,
    when: Callable[[Any], str],
    alone: bool,
) -> Figure:
    """The same as `_line`, dotted, where it is drawn; its hover text says when it was."""
    trace = _line(line, "drawn_at", measure, look, value)
    values = [words.shown(v, measure.unit) for v in line[measure.column]]
    trace |= {
        "name": f"{look.label(value)}, {name}",
        "mode": "lines",
        "text": [f"{when(day)}: {shown}" for day, shown in zip(line[x], values, strict=True)],
        "hovertemplate": f"{look.label(value)}, %{{text}}<extra></extra>",
    }
    trace["line"] |= {"dash": "dot", "width": 1.6} | ({"color": look.theme.muted} if alone else {})
    return trace


def _band(line: Frame, x: str, look: Look, value: str) -> Figure:
    known = line[line.ci_low.notna() & line.ci_high.notna()]
    return {
        "type": "scatter",
        "x": np.concatenate([known[x], known[x][::-1]]),
        "y": np.concatenate([known.ci_high, known.ci_low[::-1]]),
        "fill": "toself",
        "fillcolor": look.band(value),
        "line": {"width": 0},
        "mode": "lines",
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _grid(cells: Frame, labels: list[str], column: str) -> Frame:
    return cells.pivot(index="cohort", columns="period_number", values=column).loc[labels]


def _cell_number(row: Row) -> str:
    if not row.is_complete:
        return "…"
    return f"{100 * row.retention_rate:.0f}{'*' if row.eligible_users < words.SMALL else ''}"


def _cell_hover(row: Row, period: str) -> str:
    name = f"<b>{words.month(row.signup_month)}</b>, {period} {row.period_number}<br>"
    if row.is_complete:
        return (
            f"{name}{words.shown(row.retention_rate, 'rate')} retained: {row.retained_users:,} of "
            f"{row.eligible_users:,} users<br>95 % interval {words.interval(row.ci_low, row.ci_high, 'rate')}"
        )
    so_far = f"<br>of these {row.retained_users:,} retained" if row.eligible_users else ""
    return f"{name}incomplete: {row.eligible_users:,} of {row.cohort_size:,} users have completed it{so_far}"


def _cohorts_in_words(cells: Frame, period: str) -> str:
    count = cells.cohort.nunique()
    text = f"{count} cohorts by month of signup." if count > 1 else "One cohort."
    first = cells[cells.is_complete & (cells.period_number == 1)]
    if len(first):
        told = [
            f"{name} for {row.cohort} ({words.shown(row.retention_rate, 'rate')} of {row.eligible_users:,})"
            for name, row in (
                ("highest", first.loc[first.retention_rate.idxmax()]),
                ("lowest", first.loc[first.retention_rate.idxmin()]),
            )
        ]
        text += f" In {period} 1 retention is {words.listed(told)}."
    if (cells[cells.is_complete].eligible_users < words.SMALL).any():
        text += f" * stands for fewer than {words.SMALL} users."
    return text


def _course(name: str, line: Frame, x: str, measure: Measure, when: Callable[[Any], str], alone: bool) -> str:
    values, days = line[measure.column].to_numpy(dtype=float), line[x]

    def at(position: int) -> str:
        return f"{words.shown(float(values[position]), measure.unit)} ({when(days.iloc[position])})"

    text = f"{name}: from {at(0)} to {at(-1)}"
    if alone and len(line) > 2:
        text += f"; highest {at(int(values.argmax()))}, lowest {at(int(values.argmin()))}"
    return text + "."


def _short(sentences: list[str]) -> list[str]:
    if len(sentences) <= MOST_SENTENCES:
        return sentences
    return [*sentences[:MOST_SENTENCES], f"{len(sentences) - MOST_SENTENCES} more in the table."]


def _small_note(rows: Frame, measure: Measure) -> list[str]:
    if measure.base and (rows[measure.base] < words.SMALL).any():
        return [f"Hollow points stand for fewer than {words.SMALL} users."]
    return []


def _nothing(rows: Frame) -> str:
    return (
        "Nothing complete to draw yet; the table holds what there is."
        if len(rows)
        else "No data for this choice."
    )


def _paleness(rows: Frame) -> np.ndarray:
    return np.where(rows.is_complete, 1.0, 0.45)


def _time_axis(days: Frame, monthly: bool) -> dict[str, Any]:
    """Months are ticked on their first day: each if they are few, else as many as there is room for."""
    axis: dict[str, Any] = {"type": "date", "showgrid": False, "tickangle": 0}
    if not monthly:
        return axis | {"hoverformat": "%a, %d %b %Y"}
    axis |= {"hoverformat": "%B %Y", "tickformat": "%b\n%Y"}
    shown = days.drop_duplicates().sort_values()
    return axis | ({"tickvals": shown.to_numpy()} if len(shown) <= FEW_MONTHS else {})


def _marks(look: Look, start: Any, end: Any) -> Figure:
    """Vertical lines with their labels where releases and campaigns happened."""
    marks = look.marks[(look.marks.day >= start) & (look.marks.day <= end)] if len(look.marks) else look.marks
    line = {"color": look.theme.muted, "width": 1, "dash": "dash"}
    return {
        "shapes": [
            {"type": "line", "x0": day, "x1": day, "y0": 0, "y1": 1, "yref": "paper", "line": line}
            for day in marks.day
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
                "font": {"size": 11, "color": look.theme.muted},
                "hovertext": f"{words.day(row.day)}: {row.label}",
            }
            for row in marks.itertuples()
        ],
    }
