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
    """Many KPIs, shown when asked for."""

    kind: ClassVar[str] = "cards"
    title: str
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class Drawing:
    """A small picture that stretches to its frame: an image, and where its last value lies (per cent from the top)."""

    source: str
    alt: str
    last: float


@dataclass(frozen=True)
class Kpi:
    """A headline figure; ``tone`` is good, bad or neutral, and the words say it as well."""

    key: str
    label: str
    value: str
    when: str
    change: str
    tone: str
    definition: str
    drawing: Drawing


@dataclass(frozen=True)
class Step:
    """A row of the waterfall: where its bar and its interval lie, in per cent of the width."""

    label: str
    title: str
    amount: str
    interval: str
    tone: str
    start: float
    width: float
    interval_start: float | None = None
    interval_width: float | None = None


@dataclass(frozen=True)
class Waterfall:
    title: str
    about: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class SeriesDrawing:
    """What happened against what was expected, with the change marked; places are in per cent of the frame."""

    drawing: Drawing
    expected_last: float
    first_day: str
    last_day: str


@dataclass(frozen=True)
class Cause:
    rank: int
    title: str
    facts: str
    next_step: str
    link: str
    link_label: str
    evidence: tuple[tuple[str, str], ...]
    series: SeriesDrawing | None


@dataclass(frozen=True)
class RiskGroup:
    """A group's share of users at risk, drawn on a track that stands for all of its users.

    ``everybody`` is the place of the share of all users.
    """

    label: str
    title: str
    rate: str
    width: float
    everybody: float


@dataclass(frozen=True)
class Risk:
    """How many active users will probably become inactive, and where they are."""

    title: str
    about: str
    groups: tuple[RiskGroup, ...]
    link: str


@dataclass(frozen=True)
class Story:
    """The first screen: figures, what became of the missing activity, and its causes with the largest first."""

    kpis: tuple[Kpi, ...]
    period: str
    waterfall: Waterfall | None
    causes: tuple[Cause, ...]
    causes_title: str
    note: str
    risk: Risk | None
    kind: ClassVar[str] = "story"


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


Block = Story | Cards | Text | Table | Choice | Focus | Row | Chart


@dataclass(frozen=True)
class Page:
    """``headline`` says in a sentence what happened; ``lead`` adds to it."""

    headline: str
    blocks: tuple[Block, ...] = field(default_factory=tuple)
    lead: str = ""

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
