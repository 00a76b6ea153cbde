"""Lines over time and over the days or periods since signup."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import numpy as np

from user_engagement import formatting as fmt
from user_engagement.dashboard.charts.chart import (
    FEW_USERS,
    HEIGHT,
    MOST_SENTENCES,
    Chart,
    Figure,
    Measure,
    groups,
    marks,
    nothing_to_draw,
    short,
    small_note,
    time_axis,
)
from user_engagement.dashboard.charts.labels import labelled
from user_engagement.dashboard.data import ALL, Frame, grouping
from user_engagement.dashboard.findings import Course, Finding
from user_engagement.dashboard.theme import Style, layout

FEW_PERIODS = 6
FEW_POINTS = 40
AROUND = 80
"""Pixels of a chart's height above and below its axis."""
MONTH, DAY = "%{hovertext|%b %Y}", "%{hovertext|%-d %b %Y}"
"""Templates of Plotly for the dates that `fmt.month` and `fmt.day` write."""
FLAT, FLAT_HEIGHT = 0.1, 230
"""Lines that all move by less than this share of their height need less room than those that move."""


def timeline(
    rows: Frame,
    x: str,
    measure: Measure,
    style: Style,
    *,
    key: str,
    title: str,
    about: str,
    by: str | None = None,
    earlier: tuple[str, Frame] | None = None,
) -> Chart:
    """A line per value of ``by``; ``earlier`` is the comparison's name and rows, their `drawn_at` on this axis."""
    by = by or grouping(rows)
    drawn = _known(rows, measure, by, x)
    if drawn.empty:
        return Chart(key, title, about, nothing_to_draw(rows), None, rows)
    monthly = bool((drawn[x].dt.day == 1).all())
    when = fmt.month if monthly else fmt.day
    by_value = groups(drawn, by)
    traces: list[Figure] = []
    sentences: list[str] = []
    for value, line in by_value.items():
        if measure.has_interval and len(by_value) == 1:
            traces.append(_band(line, x, style, value))
        traces.append(_line(line, x, measure, style, value))
        sentences.append(_course(style.label(value), line, x, measure, when, alone=len(by_value) == 1))
    sentences = short(sentences)
    if earlier and not earlier[1].empty:
        dotted, told = _earlier(by_value, earlier, x, measure, style, by, when, MONTH if monthly else DAY)
        traces += dotted
        sentences.append(told)
    if len(drawn) < len(rows):
        left = rows[~rows.index.isin(drawn.index)][x].drop_duplicates()
        sentences.append(f"Not drawn, since not complete: {fmt.enumeration([when(d) for d in left[-3:]])}.")
    sentences += small_note(drawn, measure)
    height = FLAT_HEIGHT if _is_flat(drawn, measure, by) else HEIGHT
    figure = {
        "data": traces,
        "layout": layout(
            style.theme,
            height,
            time_axis(drawn[x], monthly),
            measure.axis(),
            **marks(style, drawn[x].min(), drawn[x].max()),
        ),
    }
    named = labelled(figure, style.theme, height - AROUND)
    return Chart(key, title, about, " ".join(sentences), named, rows)


def curves(
    rows: Frame,
    x: str,
    measure: Measure,
    style: Style,
    *,
    key: str,
    title: str,
    about: str,
    unit: str,
    by: str | None = None,
    stepped: bool = False,
    colours: Mapping[str, str] | None = None,
    earlier: tuple[str, Frame] | None = None,
) -> Chart:
    """A line per value of ``by`` over periods since signup, each a ``unit``; a stepped one ends where few are left.

    ``earlier`` is the comparison's name and rows.
    """
    by = by or grouping(rows)
    drawn = _known(rows, measure, by, x)
    if stepped and measure.base and (drawn[measure.base] >= FEW_USERS).any():
        drawn = drawn[drawn[measure.base] >= FEW_USERS]
    if drawn.empty:
        return Chart(key, title, about, nothing_to_draw(rows), None, rows)

    preposition = "on" if unit == "day" else "in"

    def place(position: float) -> str:
        return f"{unit} {position:.0f}"

    traces: list[Figure] = []
    sentences: list[str] = []
    by_value = groups(drawn, by)
    for value, line in by_value.items():
        if measure.has_interval and len(by_value) == 1:
            traces.append(_band(line, x, style, value))
        trace = _line(line, x, measure, style, value)
        if stepped:
            trace["mode"] = "lines"
            trace["line"]["shape"] = "hv"
        if colours:
            trace["line"] |= {"color": colours[value], "dash": "solid"}
            trace["marker"]["color"] = colours[value]
        traces.append(trace)
        # in the period of the signup nearly all are active
        first, last = line[line[x] > 0].head(1), line.tail(1)
        ends = [
            f"{fmt.value(end[measure.column].iloc[0], measure.unit)} {preposition} {place(end[x].iloc[0])}"
            for end in (first, last)
            if len(end)
        ]
        sentences.append(f"{style.label(value)}: {', '.join(dict.fromkeys(ends))}.")
    sentences = [*short(sentences), *small_note(drawn, measure)]
    if earlier and not earlier[1].empty:
        before = earlier[1].assign(drawn_at=earlier[1][x])
        there = f"{unit} %{{x}}"
        dotted, told = _earlier(by_value, (earlier[0], before), x, measure, style, by, place, there)
        traces += dotted
        sentences.append(told)
    if stepped and len(drawn) < len(rows):
        sentences.append(f"Not drawn where fewer than {FEW_USERS} users are left; the table has it all.")
    figure = {
        "data": traces,
        "layout": layout(
            style.theme,
            HEIGHT,
            {"title": f"{fmt.label(unit)}s since signup", "showgrid": False, "rangemode": "tozero"}
            | ({"dtick": 1} if drawn[x].max() <= FEW_PERIODS else {}),
            measure.axis(),
        ),
    }
    return Chart(key, title, about, " ".join(sentences), labelled(figure, style.theme, HEIGHT - AROUND), rows)


def _known(rows: Frame, measure: Measure, *columns: str) -> Frame:
    """The rows to draw, with the columns named and those that the measure needs: wide rows take long to cut."""
    needed = [*columns, measure.column, *measure.behind, *([measure.base] if measure.base else [])]
    known = rows[measure.column].notna()
    return rows.loc[known & rows.is_complete if "is_complete" in rows else known, list(dict.fromkeys(needed))]


def _earlier(
    by_value: dict[str, Frame],
    earlier: tuple[str, Frame],
    x: str,
    measure: Measure,
    style: Style,
    by: str,
    when: Callable[[Any], str],
    moment: str,
) -> tuple[list[Figure], str]:
    """The comparison's lines, dotted, and its numbers in a sentence."""
    name = earlier[0].lower()
    before = groups(_known(earlier[1], measure, by, x, "drawn_at"), by)
    alone = len(by_value) == 1
    lines = [
        _earlier_line(line, x, measure, style, value, name, moment, alone) for value, line in before.items()
    ]
    return lines, _compared(by_value, before, x, measure, name, when, style)


def _is_flat(drawn: Frame, measure: Measure, by: str) -> bool:
    ends = drawn.groupby(by, sort=False)[measure.column].agg(["min", "max"])
    return bool((ends["max"] - ends["min"] < FLAT * ends["max"]).all())


def _line(line: Frame, x: str, measure: Measure, style: Style, value: str) -> Figure:
    colour = style.colour(value)
    few = len(line) <= FEW_POINTS
    small = line[measure.base].to_numpy() < FEW_USERS if measure.base else np.zeros(len(line), bool)
    trace: Figure = {
        "type": "scatter",
        "x": line[x].to_numpy(),
        "y": measure.drawn(line[measure.column]),
        "name": style.label(value),
        "mode": "lines+markers" if few or small.any() else "lines",
        "line": {"color": colour, "width": 2.2, "dash": style.dash(value)},
        "marker": {"color": colour, "size": 5},
        "customdata": np.array([line[name].to_numpy(dtype=float) for name in measure.behind]).T,
        "hovertemplate": measure.hover(f"{style.label(value)}: "),
    }
    if small.any():
        trace["marker"] |= {
            "size": np.where(small, 7, 5 if few else 0),
            "symbol": np.where(small, "circle-open", "circle").tolist(),
        }
    if measure.unit == "seconds":
        trace["text"] = [fmt.value(seconds, "seconds") for seconds in line[measure.column]]
    return trace


def _earlier_line(
    line: Frame, x: str, measure: Measure, style: Style, value: str, name: str, moment: str, alone: bool
) -> Figure:
    """The same as `_line`, dotted, where it is drawn; its hover text says when it was.

    ``moment`` is Plotly's template of the place, in which a date is the ``hovertext``.
    """
    trace = _line(line, "drawn_at", measure, style, value)
    trace |= {
        "name": f"{style.label(value)}, {name}",
        "mode": "lines",
        # the sentence above says what is dotted
        "showlegend": False,
        "hovertemplate": measure.hover(f"{style.label(value)}, {moment}: "),
    }
    if moment in (MONTH, DAY):
        trace["hovertext"] = line[x].to_numpy().astype("datetime64[D]").astype(str).tolist()
    trace["line"] |= {"dash": "dot", "width": 1.6} | ({"color": style.theme.muted} if alone else {})
    return trace


def _band(line: Frame, x: str, style: Style, value: str) -> Figure:
    known = line[line.ci_low.notna() & line.ci_high.notna()]
    return {
        "type": "scatter",
        "x": np.concatenate([known[x], known[x][::-1]]),
        "y": np.concatenate([known.ci_high, known.ci_low[::-1]]),
        "fill": "toself",
        "fillcolor": style.band(value),
        "line": {"width": 0},
        "mode": "lines",
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _compared(
    by_value: dict[str, Frame],
    before: dict[str, Frame],
    x: str,
    measure: Measure,
    name: str,
    when: Callable[[Any], str],
    style: Style,
) -> str:
    """The last value of each line against the one drawn beneath it; the last that has one."""
    told = []
    for value, line in by_value.items():
        if value not in before:
            continue
        beneath = before[value]
        places = beneath.drawn_at.to_numpy()
        shared = np.flatnonzero(np.isin(line[x].to_numpy(), places))
        if not len(shared):
            continue
        now, day = (line[column].iloc[shared[-1]] for column in (measure.column, x))
        position = np.flatnonzero(places == line[x].to_numpy()[shared[-1]])[-1]
        then, day_then = (beneath[column].iloc[position] for column in (measure.column, x))
        told.append(
            f"{style.label(value)} {fmt.value(now, measure.unit)} ({when(day)}) against "
            f"{fmt.value(then, measure.unit)} ({when(day_then)}): {fmt.change(now, then, measure.unit)}"
        )
    compared = f" {'; '.join(told[:MOST_SENTENCES])}." if told else ""
    return f"Dotted: {name}.{compared}"


def _course(name: str, line: Frame, x: str, measure: Measure, when: Callable[[Any], str], alone: bool) -> str:
    values, days = line[measure.column].to_numpy(dtype=float), line[x]

    def at(position: int) -> str:
        return f"{fmt.value(float(values[position]), measure.unit)} ({when(days.iloc[position])})"

    text = f"{name}: {at(0)} → {at(-1)}"
    if alone and len(line) > 2:
        text += f"; highest {at(int(values.argmax()))}, lowest {at(int(values.argmin()))}"
    return text + "."


def expected_and_actual(
    course: Course, finding: Finding, style: Style, *, title: str, about: str, summary: str
) -> Chart:
    """A finding's metric by week: what happened, what was expected with its interval, and where it changed."""
    key, theme, rows = f"finding_{finding.rank}", style.theme, course.weeks
    if rows.empty:
        return Chart(key, title, about, f"No weeks to draw. {summary}", None, rows)
    measure = Measure("actual", course.name, course.unit, detail="{users} users")
    actual = _line(rows, "week", measure, style, ALL)
    actual |= {"name": "Actual", "mode": "lines", "hovertemplate": measure.hover("Actual: ")}
    usual = Measure("expected", course.name, course.unit)
    expected = _line(rows, "week", usual, style, ALL)
    expected |= {"name": "Expected", "mode": "lines", "hovertemplate": usual.hover("Expected: ")}
    expected["line"] = {"color": theme.muted, "width": 1.6, "dash": "dash"}
    band = _band(
        rows.rename(columns={"expected_low": "ci_low", "expected_high": "ci_high"}), "week", style, ALL
    )
    band["fillcolor"] = theme.incomplete
    if course.unit == "seconds":
        band["y"] = band["y"] / 60
    drawn = marks(style, rows.week.min(), rows.week.max())
    if finding.since is not None:
        drawn["shapes"].append(_change_line(finding.since, theme.bad))
        drawn["annotations"].append(_change_label(finding.since, theme.bad))
    if finding.until is not None:
        drawn["shapes"].append(_change_line(finding.until, theme.bad))
    top = np.nanmax([actual["y"].max(), np.nanmax(expected["y"])])
    y_axis = measure.axis() | {"title": "", "range": [0, 1.15 * top]}
    height = HEIGHT - 60
    frame = layout(theme, height, time_axis(rows.week, monthly=False), y_axis, **drawn)
    figure = {"data": [band, expected, actual], "layout": frame}
    return Chart(key, title, about, summary, labelled(figure, theme, height - AROUND), rows)


def _change_line(day: date, colour: str) -> Figure:
    line = {"color": colour, "width": 1.2, "dash": "dot"}
    return {"type": "line", "x0": day, "x1": day, "y0": 0, "y1": 1, "yref": "paper", "line": line}


def _change_label(day: date, colour: str) -> Figure:
    return {
        "x": day,
        "y": 1,
        "yref": "paper",
        "text": fmt.day(day),
        "showarrow": False,
        "xanchor": "left",
        "yanchor": "bottom",
        "font": {"size": 12, "color": colour},
    }
