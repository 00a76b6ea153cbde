"""Draws pages with Streamlit."""

from __future__ import annotations

import gc
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import cache
from itertools import groupby
from pathlib import Path

import plotly.graph_objects as go
import streamlit as st
from streamlit.elements.lib.mutable_expander_container import ExpanderContainer

from user_engagement import formatting as fmt
from user_engagement.dashboard import controls, templating
from user_engagement.dashboard.annotations import read_marks
from user_engagement.dashboard.blocks import Block, Cards, Choice, Focus, Row, Story, Table, Text
from user_engagement.dashboard.charts import Chart
from user_engagement.dashboard.charts.chart import Figure
from user_engagement.dashboard.contents import PAGES, Entry, all_pages
from user_engagement.dashboard.data import Frame, UnavailableError, open_generation
from user_engagement.dashboard.login import admit
from user_engagement.dashboard.tables import readable, to_csv
from user_engagement.dashboard.theme import DARK, LIGHT, Theme
from user_engagement.dashboard.view import View
from user_engagement.errors import UserError
from user_engagement.settings import Settings, get_settings

PLOTLY = {
    "displaylogo": False,
    "modeBarButtons": [["toImage", "resetScale2d"]],
    "responsive": True,
}
TITLE = "User engagement"
ICON = Path(__file__).with_name("icon.svg")
LAYOUT = """
.block-container {padding-top: 2.9rem !important; padding-bottom: 3rem !important; max-width: 90rem}
.stMainBlockContainer > .stVerticalBlock {gap: .6rem}
.st-key-bar {align-items: center}
[class*="st-key-chart_"] {gap: .25rem}
.stExpander summary {opacity: 1 !important} .stExpander summary p {color: var(--ue-muted) !important}
@media (max-width: 640px) {.st-key-chart_cohorts .heatmaplayer text {display: none}}
"""


def main() -> None:
    """One run of the script: one view of one generation."""
    settings = get_settings()
    st.set_page_config(page_title=TITLE, page_icon=str(ICON), layout="wide")
    theme = DARK if st.context.theme.type == "dark" else LIGHT
    # Streamlit writes chosen values in white, on what in the dark is a light blue
    chosen = (
        f".stMultiSelect span[title], .stMultiSelect span[title] ~ * {{color: {theme.ground} !important}}"
    )
    st.html(f"<style>{templating.stylesheet(theme)}{LAYOUT}{chosen}</style>")
    admit(settings.dashboard_login)
    try:
        _show(settings, theme)
    except UnavailableError as problem:
        st.html(templating.part("nothing", problem.title, problem.remedy))


def _show(settings: Settings, theme: Theme) -> None:
    generation = open_generation(settings.published_dir)
    _use_labels(settings)
    filters = controls.current_filters(generation)
    pages = _pages()
    entry = pages.get(filters.page, PAGES[0])
    st.set_page_config(page_title=f"{entry.title} · {TITLE}")
    filters = filters.choose("page", entry.key)
    view = View(generation, filters, theme, _marks(settings))
    with st.container(horizontal=True, horizontal_alignment="distribute", key="bar"):
        controls.navigation({key: page.title for key, page in pages.items()}, entry.key)
        controls.filter_menu(view)
    controls.write_address(filters)
    if stale := generation.stale(datetime.now(UTC), settings.stale_after_hours):
        st.warning(stale, icon=":material/schedule:")
    page = entry.make(view)
    shown = f"{view.in_words}. Data through {fmt.day(generation.as_of)}."
    is_first = entry.key == PAGES[0].key
    # these say their period themselves
    told = "" if entry.key in ("overview", "causes", "quality") and filters.is_default else shown
    st.html(templating.part("head", "" if is_first else entry.title, page, told))
    for is_choice, blocks in groupby(page.blocks, lambda block: isinstance(block, Choice | Focus)):
        with st.container(horizontal=True) if is_choice else nullcontext():
            for block in blocks:
                _draw(block, view)
    _settle()


@cache
def _pages() -> dict[str, Entry]:
    return {entry.key: entry for entry in all_pages()}


@cache
def _settle() -> None:
    """Leaves what has been imported by now out of the garbage collection that Streamlit forces after every view.

    That is most of what there is to look at, and viewers would wait for it.
    """
    gc.freeze()


def _use_labels(settings: Settings) -> None:
    try:
        fmt.use_labels(settings.labels)
    except UserError as error:
        st.warning(f"Names are shown by the rule. {error}", icon=":material/warning:")


def _marks(settings: Settings) -> Frame:
    try:
        return read_marks(settings.annotations)
    except UserError as error:
        st.warning(f"No annotations are drawn. {error}", icon=":material/warning:")
        return read_marks(None)


def _draw(block: Block, view: View) -> None:
    match block:
        case Story() | Cards():
            st.html(templating.part(block.kind, block))
        case Text():
            st.html(templating.part("sentences", block))
        case Choice(name):
            with st.container(key=f"option_{name}", width=320):
                controls.option(name, view.filters)
        case Focus():
            with st.container(key="option_focus", width=320):
                controls.focus(view)
        case Row(charts):
            for first in range(0, len(charts), 2):
                pair = charts[first : first + 2]
                for column, chart in zip(st.columns(len(pair), gap="medium"), pair, strict=True):
                    with column:
                        _draw_chart(chart, view)
        case Chart():
            _draw_chart(block, view)
        case Table():
            st.html(
                templating.part("title", block.title) + templating.part("paragraph", block.about, "about")
            )
            if not block.folded:
                _draw_table(block.key, block.frame, view)
            elif (box := _folded(f"Data: {block.title}", block.key)).open:
                with box:
                    _draw_table(block.key, block.frame, view)


def _draw_chart(chart: Chart, view: View) -> None:
    with st.container(key=f"chart_{chart.key}"):
        st.html(templating.part("chart_head", chart))
        if chart.figure is not None:
            name = f"{chart.key}-{view.generation.manifest.as_of}"
            config = PLOTLY | {"toImageButtonOptions": {"filename": name, "scale": 2}}
            st.plotly_chart(
                _Prepared(chart.figure), theme=None, key=f"plot_{chart.key}", config=config, alt=chart.title
            )
        if (box := _folded("Definition and data", chart.key)).open:
            with box:
                st.html(templating.part("paragraph", chart.about, "about"))
                _draw_table(chart.key, chart.table, view)


class _Prepared(go.Figure):
    """A figure that is sent as it is: to copy and validate it (the tests do) would take longer than all the rest."""

    def __init__(self, figure: Figure) -> None:
        super().__init__()
        self._figure = figure

    def to_dict(self) -> Figure:
        return self._figure


def _folded(label: str, key: str) -> ExpanderContainer:
    """A closed box whose content is made when it is opened: tables take longer to draw than charts."""
    return st.expander(label, key=f"data_{key}", on_change="rerun", type="compact")


def _draw_table(key: str, frame: Frame, view: View) -> None:
    days, counts = set(frame.select_dtypes("datetime")), set(frame.select_dtypes("integer"))
    columns = {
        str(name): st.column_config.DateColumn(fmt.label(str(name)), format="D MMM YYYY")
        if name in days
        else st.column_config.NumberColumn(fmt.label(str(name)), format="localized")
        if name in counts
        else st.column_config.Column(fmt.label(str(name)))
        for name in frame
    }
    st.dataframe(readable(frame), hide_index=True, column_config=columns, key=f"table_{key}")
    st.download_button(
        f"Download {len(frame):,} rows as CSV",
        to_csv(frame),
        file_name=f"{key}-{view.generation.manifest.as_of}.csv",
        mime="text/csv",
        key=f"csv_{key}",
        on_click="ignore",
    )
