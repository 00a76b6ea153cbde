"""The report: the Overview as one small HTML file for mailing and slides, which needs neither scripts nor a network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from markupsafe import Markup

from user_engagement import formatting as fmt
from user_engagement.dashboard import templating
from user_engagement.dashboard.blocks import Block, Page, Story
from user_engagement.dashboard.contents import overview
from user_engagement.dashboard.data import Frame, Generation
from user_engagement.dashboard.filters import Filters
from user_engagement.dashboard.theme import FONT, LIGHT
from user_engagement.dashboard.view import View
from user_engagement.publishing.generations import read_manifest


def write_report(generation: Path, target: Path, marks: Frame) -> None:
    """Writes the report on the tables in the folder ``generation``."""
    target.write_text(render(Generation(generation, read_manifest(generation)), marks), encoding="utf-8")


def render(generation: Generation, marks: Frame) -> str:
    """The report as HTML: the Overview of all users, every key figure, and those of each segment's values."""
    page = overview.page(View(generation, marks=marks))
    by_segment = (
        overview.by_value(View(generation, Filters(segments={name: ()}))) for name in generation.segments
    )
    published = (
        f"Data through {fmt.day(generation.as_of)}. Generation {generation.manifest.generation}, published "
        f"{fmt.day(generation.published_at)}, {generation.published_at:%H:%M} UTC."
    )
    blocks = (*map(_without_links, page.blocks), *by_segment)
    return document(
        f"User engagement through {fmt.day(generation.as_of)}", published, replace(page, blocks=blocks)
    )


def document(title: str, published: str, page: Page) -> str:
    """A page as one HTML file."""
    return templating.render(
        "report.html.j2",
        {
            "title": title,
            "published": published,
            "page": page,
            "stylesheet": templating.stylesheet(LIGHT),
            "theme": LIGHT,
            "font": FONT,
            "as_table": as_table,
        },
    )


def as_table(frame: Frame) -> Markup:
    """A table whose text pandas escapes."""
    html = frame.to_html(index=False, border=0, na_rep=fmt.NOTHING, float_format=lambda v: f"{v:.4g}")
    return Markup(html)


def _without_links(block: Block) -> Block:
    """A story whose links, which lead into the dashboard, are left out."""
    if not isinstance(block, Story):
        return block
    risk = replace(block.risk, link="") if block.risk else None
    return replace(block, causes=tuple(replace(cause, link="") for cause in block.causes), risk=risk)
