"""Names at the ends of lines, which spare the reader a legend."""

from __future__ import annotations

from textwrap import wrap
from typing import Any

import numpy as np

from user_engagement.dashboard.charts.chart import Figure
from user_engagement.dashboard.theme import Theme

MOST_LINES = 8
LONGEST = 20
LETTER_WIDTH = 6.6
LINE_HEIGHT = 16.0


def labelled(figure: Figure, theme: Theme, plot_height: float) -> Figure:
    """The figure with its lines named at their ends if these have one place, else with a legend; a line alone has none.

    ``plot_height`` is that of the axis in pixels, by which names that would overprint are moved apart.
    """
    lines = [trace for trace in figure["data"] if trace.get("showlegend", True)]
    frame = figure["layout"]
    if len(lines) < 2:
        return figure | {"layout": frame | {"showlegend": False}}
    ends = {str(trace["x"][-1]) for trace in lines if len(trace["x"])}
    if len(ends) != 1 or len(lines) > MOST_LINES:
        return figure | {"layout": frame | {"showlegend": True}}
    names = [wrap(trace["name"], LONGEST)[:2] for trace in lines]
    last = np.array([float(trace["y"][-1]) for trace in lines])
    top = max(float(np.nanmax(trace["y"])) for trace in lines) or 1.0
    places = _apart(last, LINE_HEIGHT * max(map(len, names)) / plot_height * top)
    annotations = [
        _label("<br>".join(name), place, trace["line"], theme)
        for name, place, trace in zip(names, places, lines, strict=True)
    ]
    room = 16 + LETTER_WIDTH * (2 + max(len(part) for name in names for part in name))
    return figure | {
        "layout": frame
        | {
            "showlegend": False,
            "annotations": [*frame.get("annotations", []), *annotations],
            "margin": frame["margin"] | {"r": room},
        }
    }


def _label(name: str, place: float, line: dict[str, Any], theme: Theme) -> Figure:
    mark = "┄" if line.get("dash", "solid") != "solid" else "━"
    return {
        "x": 1,
        "xref": "paper",
        "y": place,
        "text": f'<span style="color:{line["color"]}">{mark}</span> {name}',
        "showarrow": False,
        "xanchor": "left",
        "align": "left",
        "font": {"size": 12, "color": theme.text},
    }


def _apart(places: np.ndarray, least: float) -> np.ndarray:
    """The places moved as little as needed for neighbours to lie ``least`` apart, in their order."""
    order = np.argsort(places, kind="stable")
    moved = places[order].astype(float)
    for _ in range(50):
        gaps = np.diff(moved)
        close = np.flatnonzero(gaps < least - 1e-9)
        if not len(close):
            break
        for first in close:
            push = (least - (moved[first + 1] - moved[first])) / 2
            if push > 0:
                moved[first] -= push
                moved[first + 1] += push
    found = np.empty_like(moved)
    found[order] = moved
    return found
