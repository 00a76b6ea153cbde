"""Colours that hold for a value wherever it is drawn, on light and dark ground."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import pandas as pd

from user_engagement import formatting as fmt
from user_engagement.dashboard.data import ALL, UNKNOWN, Frame

FONT = '"Source Sans", "Source Sans Pro", system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif'
DASHES = ("solid", "dash", "dot", "dashdot")


@dataclass(frozen=True)
class Theme:
    """The series are told apart with normal, red-blind and green-blind sight, and from the ground (WCAG 1.4.11).

    ``inks`` are of text on the lower and the upper part of the ``scale``.
    """

    ground: str
    panel: str
    text: str
    muted: str
    grid: str
    band: float
    good: str
    bad: str
    unknown: str
    series: tuple[str, ...]
    scale: tuple[str, ...]
    inks: tuple[str, str]
    incomplete: str


LIGHT = Theme(
    ground="#FFFFFF",
    panel="#F4F6F9",
    text="#1F2933",
    muted="#5A6472",
    grid="#E3E7EC",
    band=0.15,
    good="#18703F",
    bad="#B3261E",
    unknown="#6B7280",
    series=("#1F5FBF", "#905211", "#6D944B", "#502684", "#125F5C", "#DD62C4", "#593B11"),
    scale=("#F3F7FD", "#A9C8F0", "#4F8BD6", "#1F5FBF", "#0B2C5E"),
    inks=("#000000", "#FFFFFF"),
    incomplete="#E3E7EC",
)
DARK = Theme(
    ground="#0E1117",
    panel="#1A202A",
    text="#E6EAF0",
    muted="#A3ADBA",
    grid="#2A313C",
    band=0.22,
    good="#5FD08F",
    bad="#FF8A80",
    unknown="#8B919C",
    series=("#6CB2F5", "#EE9138", "#177820", "#9964E5", "#2C6D7D", "#FBBFC5", "#F2ED2B"),
    scale=("#152238", "#1F4478", "#2F6DB8", "#6CB2F5", "#D6EAFF"),
    inks=("#FFFFFF", "#000000"),
    incomplete="#2A313C",
)


def slots(values: Iterable[str]) -> dict[str, int]:
    """A colour's number for each value: where its name falls, or the next free place.

    So a value keeps its colour when filters change, and mostly also when another value turns up in the data.
    """
    size = len(LIGHT.series)
    taken: dict[int, str] = {}
    ordered = [v for v in values if v != UNKNOWN]
    for value in sorted(ordered[:size]):
        slot = crc32(value.encode()) % size
        while slot in taken:
            slot = (slot + 1) % size
        taken[slot] = value
    rest = {value: size + number for number, value in enumerate(sorted(ordered[size:]))}
    return {value: slot for slot, value in taken.items()} | rest


@dataclass(frozen=True)
class Style:
    """How charts of one view are drawn; ``marks`` holds the days of releases and campaigns (day, label).

    ``labels`` are of values that are called otherwise than by rule.
    """

    theme: Theme = LIGHT
    slots: Mapping[str, int] = field(default_factory=dict)
    marks: Frame = field(default_factory=lambda: pd.DataFrame({"day": [], "label": []}))
    labels: Mapping[str, str] = field(default_factory=dict)

    def colour(self, value: str) -> str:
        if value == UNKNOWN:
            return self.theme.unknown
        return self.theme.series[self.slots.get(value, 0) % len(self.theme.series)]

    def dash(self, value: str) -> str:
        return DASHES[self.slots.get(value, 0) // len(self.theme.series) % len(DASHES)]

    def band(self, value: str) -> str:
        red, green, blue = (int(self.colour(value)[i : i + 2], 16) for i in (1, 3, 5))
        return f"rgba({red},{green},{blue},{self.theme.band})"

    def label(self, value: str) -> str:
        return "All users" if value == ALL else self.labels.get(value) or fmt.label(value)


def layout(
    theme: Theme, height: int, xaxis: dict[str, Any], yaxis: dict[str, Any], **more: Any
) -> dict[str, Any]:
    """The frame that every chart shares."""

    def axis(own: dict[str, Any]) -> dict[str, Any]:
        shared = {
            "gridcolor": theme.grid,
            "linecolor": theme.grid,
            "zeroline": False,
            "automargin": True,
            "tickfont": {"color": theme.muted, "size": 12},
        }
        title = {"text": own.get("title", ""), "font": {"color": theme.muted, "size": 12}}
        return {**shared, **own, "title": title}

    return {
        "height": height,
        "font": {"family": FONT, "size": 13, "color": theme.text},
        "paper_bgcolor": theme.ground,
        "plot_bgcolor": theme.ground,
        "margin": {"l": 8, "r": 12, "t": 24, "b": 8},
        "hoverlabel": {
            "bgcolor": theme.ground,
            "bordercolor": theme.muted,
            "font": {"family": FONT, "color": theme.text},
            "align": "left",
        },
        # below, where it meets no buttons however often it wraps
        "legend": {"orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom"},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": theme.muted, "activecolor": theme.text},
        "hovermode": "x unified",
        "xaxis": axis(xaxis),
        "yaxis": axis(yaxis),
        **more,
    }
