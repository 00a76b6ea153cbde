"""What pages are made of; the app and the report draw the same blocks, and templates know them by their kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from user_engagement.dashboard.charts import Chart
from user_engagement.dashboard.data import Frame


@dataclass(frozen=True)
class Card:
    """A KPI: never without its period and definition."""

    key: str
    label: str
    value: str
    change: str
    before: str
    interval: str
    period: str
    definition: str
    note: str = ""


@dataclass(frozen=True)
class Cards:
    kind: ClassVar[str] = "cards"
    title: str
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class Text:
    """Sentences under a heading."""

    kind: ClassVar[str] = "text"
    title: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table by itself; ``about`` says what it holds. If ``folded``, it shows its rows when asked for."""

    kind: ClassVar[str] = "table"
    key: str
    title: str
    about: str
    frame: Frame
    folded: bool = False


@dataclass(frozen=True)
class Choice:
    """Lets the viewer choose an option (of `filters.OPTIONS`) for what follows."""

    kind: ClassVar[str] = "choice"
    name: str


@dataclass(frozen=True)
class Focus:
    """Lets the viewer choose the one segment value that what follows shows."""

    kind: ClassVar[str] = "focus"


@dataclass(frozen=True)
class Row:
    """Charts beside each other where there is room."""

    kind: ClassVar[str] = "row"
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
