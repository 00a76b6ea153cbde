"""Bars over time, and of things side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap

from user_engagement import formatting as fmt
from user_engagement.dashboard.charts.chart import (
    HEIGHT,
    Chart,
    marks,
    nothing_to_draw,
    paleness,
    time_axis,
)
from user_engagement.dashboard.data import Frame
from user_engagement.dashboard.theme import Style, layout

LABEL_LENGTH = 22


def stacked(
    rows: Frame,
    x: str,
    columns: Mapping[str, tuple[str, str, int]],
    style: Style,
    *,
    key: str,
    title: str,
    about: str,
    y_title: str,
) -> Chart:
    """Bars up and down: ``columns`` maps a count to its name, its colour and the side that it is drawn on."""
    if rows.empty:
        return Chart(key, title, about, nothing_to_draw(rows), None, rows)
    monthly = bool((rows[x].dt.day == 1).all())
    when = fmt.month if monthly else fmt.day
    traces = [
        {
            "type": "bar",
            "x": rows[x].to_numpy(),
            "y": side * rows[column].to_numpy(dtype=float),
            "name": name,
            "marker": {"color": colour, "opacity": paleness(rows)},
            "customdata": rows[column].to_numpy(dtype=float),
            "hovertemplate": f"{name}: %{{customdata:,.0f}} users<extra></extra>",
        }
        for column, (name, colour, side) in columns.items()
    ]
    complete = rows[rows.is_complete]
    sentences = []
    if len(complete):
        last = complete.iloc[-1]
        told = fmt.enumeration([f"{last[c]:,.0f} {name.lower()}" for c, (name, _, _) in columns.items()])
        sentences.append(
            f"In the last complete period, {when(last[x])}: {told}, which leaves {last.active_users:,.0f} active users."
        )
    if len(complete) < len(rows):
        sentences.append("Pale bars are periods that are not complete.")
    figure = {
        "data": traces,
        "layout": layout(
            style.theme,
            HEIGHT,
            time_axis(rows[x], monthly),
            {"title": y_title, "tickformat": ",~r", "zeroline": True, "zerolinecolor": style.theme.muted},
            barmode="relative",
            **marks(style, rows[x].min(), rows[x].max()),
        ),
    }
    return Chart(key, title, about, " ".join(sentences), figure, rows)


def bars(
    rows: Frame,
    column: str,
    label: str,
    style: Style,
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
    theme = style.theme
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


def ratios(
    rows: Frame,
    column: str,
    label: str,
    style: Style,
    *,
    key: str,
    title: str,
    about: str,
    x_title: str,
    summary: str,
    table: Frame,
) -> Chart:
    """A point with its interval a row, on an axis on which half as much lies as far from 1 as twice as much."""
    if rows.empty:
        return Chart(key, title, about, summary, None, table)
    theme = style.theme
    values = rows[column].to_numpy(dtype=float)
    points = {
        "type": "scatter",
        "mode": "markers+text",
        "x": values,
        "y": ["<br>".join(wrap(str(name), LABEL_LENGTH)) for name in rows[label]],
        "text": [f"×{value:.2f}" for value in values],
        "textposition": "top center",
        "textfont": {"size": 11},
        "marker": {"color": theme.series[0], "size": 8},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": (rows.ci_high - rows[column]).to_numpy(dtype=float),
            "arrayminus": (rows[column] - rows.ci_low).to_numpy(dtype=float),
            "color": theme.muted,
            "thickness": 1.4,
        },
        "hovertemplate": "%{y}: %{text}<extra></extra>",
    }
    x_axis = {"title": x_title, "type": "log", "tickvals": [0.25, 0.5, 1, 2, 4], "tickprefix": "×"}
    y_axis = {"type": "category", "autorange": "reversed", "showgrid": False}
    one = {
        "type": "line",
        "x0": 1,
        "x1": 1,
        "y0": 0,
        "y1": 1,
        "yref": "paper",
        "line": {"color": theme.muted, "width": 1},
    }
    frame = layout(
        theme, 110 + 38 * len(rows), x_axis, y_axis, showlegend=False, hovermode="closest", shapes=[one]
    )
    return Chart(key, title, about, summary, {"data": [points], "layout": frame}, table)
