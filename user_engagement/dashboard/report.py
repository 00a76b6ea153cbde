"""The report: one HTML file with everything in it, for mailing; it opens from disk and asks no network for anything."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from pathlib import Path

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from user_engagement.dashboard import markup, words
from user_engagement.dashboard.blocks import Block, Cards, Page, Row, Table, Text
from user_engagement.dashboard.charts import Chart
from user_engagement.dashboard.contents import PAGES, Entry
from user_engagement.dashboard.contents.overview import by_value
from user_engagement.dashboard.data import Frame, Generation
from user_engagement.dashboard.filters import Filters
from user_engagement.dashboard.look import FONT, LIGHT
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
STYLE = f"""
body {{margin: 0 auto; max-width: 68rem; padding: 1rem 1.25rem 4rem; font: 16px/1.5 {FONT};
  color: {LIGHT.text}; background: {LIGHT.ground}}}
h1 {{font-size: 1.6rem; margin: .5rem 0}}
h2.section {{font-size: 1.35rem; margin: 2.5rem 0 .25rem; border-top: 1px solid {LIGHT.grid}; padding-top: 1rem}}
nav ul {{display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; list-style: none; padding: 0; margin: .5rem 0}}
a {{color: {LIGHT.series[0]}}}
details.data {{margin: .25rem 0 1rem; font-size: .875rem}}
.scroll {{overflow-x: auto; max-height: 28rem}}
table {{border-collapse: collapse; font-size: .8125rem; font-variant-numeric: tabular-nums}}
th, td {{text-align: left; padding: .2rem .6rem; border-bottom: 1px solid {LIGHT.grid}; white-space: nowrap}}
.figure {{min-height: 8rem}}
@media (max-width: 640px) {{.heatmaplayer text {{display: none}}}}
@media print {{details.data, nav {{display: none}} section {{break-inside: avoid}}}}
"""


def write_report(generation: Path, target: Path, marks: Frame) -> None:
    """Writes the report on the tables in the folder ``generation``, with annotations on its time lines."""
    target.write_text(render(Generation(generation, read_manifest(generation)), marks), encoding="utf-8")


def render(generation: Generation, marks: Frame) -> str:
    """The report as HTML: every page as it opens, for all users, and the KPIs by segment."""
    view = View(generation, marks=marks)
    sections = [_section(entry, entry.make(view)) for entry in PAGES]
    sections.insert(1, _by_segment(generation, marks))
    scripts = (get_plotlyjs(), SCRIPT)
    links = "".join(f'<li><a href="#{entry.key}">{escape(entry.title)}</a></li>' for entry in PAGES)
    title = f"User engagement through {words.day(generation.as_of)}"
    published = (
        f"Generation {generation.manifest.generation}, published {generation.published_at:%-d %b %Y, %H:%M} UTC. "
        f"Shown: {view.in_words}."
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{markup.style(LIGHT)}{STYLE}</style></head><body>"
        f"<header><h1>{escape(title)}</h1>{markup.paragraph(published, 'filters')}"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav></header><main>{"".join(sections)}</main>'
        f"{''.join(f'<script>{script}</script>' for script in scripts)}</body></html>\n"
    )


def _policy(scripts: tuple[str, ...]) -> str:
    """Nothing but what is in the file: these scripts, inline styles, and images that the file makes itself."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    )
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:"


def _section(entry: Entry, page: Page) -> str:
    blocks = "".join(map(_block, page.blocks))
    headline = markup.paragraph(page.headline, "headline")
    return f'<section id="{entry.key}"><h2 class="section">{escape(entry.title)}</h2>{headline}{blocks}</section>'


def _by_segment(generation: Generation, marks: Frame) -> str:
    return "".join(
        _block(by_value(View(generation, Filters(segment=name), marks=marks))) for name in generation.segments
    )


def _block(block: Block) -> str:
    match block:
        case Cards():
            return markup.cards(block)
        case Text():
            return markup.text(block)
        case Row(charts):
            return "".join(map(_chart, charts))
        case Chart():
            return _chart(block)
        case Table():
            head = markup.title(block.title) + markup.paragraph(block.about, "about")
            return head + (
                _folded(block.title, block.frame) if block.folded else _scrolling(block.title, block.frame)
            )
    # choices are for the app
    return ""


def _chart(chart: Chart) -> str:
    figure = ""
    if chart.figure is not None:
        drawn = go.Figure(chart.figure, _validate=False).to_json()
        figure = (
            f'<div class="figure" role="group" aria-label="{escape(chart.title)}"></div>'
            f'<script type="application/json" data-name="{escape(chart.key)}">{_embedded(str(drawn))}</script>'
        )
    return (
        markup.title(chart.title)
        + markup.paragraph(chart.about, "about")
        + markup.paragraph(chart.summary, "summary")
        + figure
        + _folded(chart.title, chart.table, _dated_by(chart.table))
    )


def _folded(title: str, frame: Frame, dated_by: str | None = None) -> str:
    summary = f"<summary>Data table: {escape(title)}</summary>"
    return f'<details class="data">{summary}{_scrolling(title, frame, dated_by)}</details>'


def _dated_by(frame: Frame) -> str | None:
    """The day or month of each row, if rows differ in one; of a table that is no chart's, dates are findings."""
    dates = frame.select_dtypes("datetime")
    return next((str(name) for name in dates if dates[name].nunique() > 1), None)


def _embedded(json_text: str) -> str:
    """JSON inside a script element, which no text in it can end."""
    return json_text.replace("<", "\\u003c")


def _scrolling(name: str, frame: Frame, dated_by: str | None = None) -> str:
    """A table that scrolls, by keyboard as well; of a long one the newest rows or, undated, the first."""
    if dated_by is None:
        which, shown = "first", frame.head(MOST_TABLE_ROWS)
    else:
        newest = frame[dated_by].to_numpy().argsort(kind="stable")[-MOST_TABLE_ROWS:]
        which, shown = "newest", frame.iloc[sorted(newest)]
    html = shown.to_html(index=False, border=0, na_rep="–", float_format=lambda v: f"{v:.6g}")
    more = "" if len(shown) == len(frame) else f"<p>The {which} {len(shown):,} of {len(frame):,} rows.</p>"
    return f'{more}<div class="scroll" tabindex="0" role="region" aria-label="{escape(name)}">{html}</div>'
