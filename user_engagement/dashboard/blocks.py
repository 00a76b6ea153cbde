"""What pages are made of; the app and the report draw the same blocks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from user_engagement.dashboard.charts import Chart
from user_engagement.dashboard.data import Frame

Verdict = Literal["better", "worse", "within chance", ""]


@dataclass(frozen=True)
class Card:
    """A KPI: never without its period and definition. ``verdict`` says what its change is worth, if anything."""

    key: str
    label: str
    value: str
    change: str
    verdict: Verdict
    before: str
    interval: str
    period: str
    definition: str
    note: str = ""


@dataclass(frozen=True)
class Cards:
    title: str
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class Text:
    """Sentences under a heading."""

    title: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table by itself; ``about`` says what it holds. If ``folded``, it shows its rows when asked for."""

    key: str
    title: str
    about: str
    frame: Frame
    folded: bool = False


@dataclass(frozen=True)
class Choice:
    """Lets the viewer choose an option (of `filters.OPTIONS`) for what follows."""

    name: str


@dataclass(frozen=True)
class Focus:
    """Lets the viewer choose the one segment value that what follows shows."""


@dataclass(frozen=True)
class Row:
    """Charts beside each other where there is room."""

    charts: tuple[Chart, ...]


Block = Cards | Text | Table | Choice | Focus | Row | Chart


@dataclass(frozen=True)
class Page:
    """``headline`` says in a sentence what happened."""

    headline: str
    blocks: tuple[Block, ...] = field(default_factory=tuple)

    @property
    def tables(self) -> dict[str, Frame]:
        """Every table of the page by its key, those of charts included."""
        found: dict[str, Frame] = {}
        for block in self.blocks:
            if isinstance(block, Row):
                found |= {chart.key: chart.table for chart in block.charts}
            elif isinstance(block, Chart):
                found[block.key] = block.table
            elif isinstance(block, Table):
                found[block.key] = block.frame
        return found
