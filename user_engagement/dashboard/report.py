"""The report: one HTML file with everything in it, for mailing; it opens from disk and asks no network for anything."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from user_engagement import formatting as fmt
from user_engagement.dashboard import templating
from user_engagement.dashboard.blocks import Page
from user_engagement.dashboard.charts import Figure
from user_engagement.dashboard.contents import PAGES
from user_engagement.dashboard.contents.overview import by_value
from user_engagement.dashboard.data import Frame, Generation
from user_engagement.dashboard.filters import Filters
from user_engagement.dashboard.theme import FONT, LIGHT
from user_engagement.dashboard.view import View
from user_engagement.publishing.generations import read_manifest

MOST_TABLE_ROWS = 400
SCRIPT = """
for (const source of document.querySelectorAll('script[type="application/json"]')) {
  const figure = JSON.parse(source.textContent);
  const name = source.dataset.name;
  Plotly.newPlot(source.previousElementSibling, figure.data, figure.layout, {
    responsive: true, displaylogo: false, modeBarButtons: [["toImage", "resetScale2d"]],
    toImageButtonOptions: {filename: name, scale: 2}});
}
"""


@dataclass(frozen=True)
class Section:
    key: str
    title: str
    page: Page


def write_report(generation: Path, target: Path, marks: Frame) -> None:
    """Writes the report on the tables in the folder ``generation``, with annotations on its time lines."""
    target.write_text(render(Generation(generation, read_manifest(generation)), marks), encoding="utf-8")


def render(generation: Generation, marks: Frame) -> str:
    """The report as HTML: every page as it opens, for all users, and the KPIs by segment."""
    view = View(generation, marks=marks)
    pages = {entry.key: Section(entry.key, entry.title, entry.make(view)) for entry in PAGES}
    overview = pages["overview"]
    by_segment = tuple(by_value(View(generation, Filters(segment=name))) for name in generation.segments)
    pages["overview"] = Section(
        overview.key, overview.title, Page(overview.page.headline, (*overview.page.blocks, *by_segment))
    )
    return document(
        f"User engagement through {fmt.day(generation.as_of)}",
        f"Generation {generation.manifest.generation}, published {generation.published_at:%-d %b %Y, %H:%M} UTC. "
        f"Shown: {view.in_words}.",
        tuple(pages.values()),
    )


def document(title: str, published: str, sections: tuple[Section, ...]) -> str:
    """Sections as one HTML file."""
    scripts = (get_plotlyjs(), SCRIPT)
    return templating.render(
        "report.html.j2",
        {
            "title": title,
            "published": published,
            "sections": sections,
            "scripts": scripts,
            "policy": _policy(scripts),
            "stylesheet": templating.stylesheet(LIGHT),
            "theme": LIGHT,
            "font": FONT,
            "shortened": shortened,
            "day_column": day_column,
            "as_json": as_json,
            "as_table": as_table,
        },
    )


def shortened(frame: Frame, by_day: str | None) -> Frame:
    """Of a long table the newest rows by that column or, without one, the first."""
    if by_day is None:
        return frame.head(MOST_TABLE_ROWS)
    newest = frame[by_day].to_numpy().argsort(kind="stable")[-MOST_TABLE_ROWS:]
    return frame.iloc[sorted(newest)]


def day_column(frame: Frame) -> str | None:
    """The day or month of each row, if rows differ in one."""
    dates = frame.select_dtypes("datetime")
    return next((str(name) for name in dates if dates[name].nunique() > 1), None)


def as_json(figure: Figure) -> Markup:
    """A figure for a script element, which no text in it can end."""
    json = str(go.Figure(figure, _validate=False).to_json())
    return Markup(json.replace("<", "\\u003c"))


def as_table(frame: Frame) -> Markup:
    """A table whose text pandas escapes."""
    html = frame.to_html(index=False, border=0, na_rep="–", float_format=lambda v: f"{v:.6g}")
    return Markup(html)


def _policy(scripts: tuple[str, ...]) -> str:
    """Nothing but what is in the file: these scripts, inline styles, and images that the file makes itself."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    )
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:"
