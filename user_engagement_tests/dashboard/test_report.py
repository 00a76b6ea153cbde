from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from user_engagement.dashboard.annotations import read_marks
from user_engagement.dashboard.blocks import Block, Page, Table
from user_engagement.dashboard.charts import Chart
from user_engagement.dashboard.contents import PAGES
from user_engagement.dashboard.data import Generation
from user_engagement.dashboard.report import MOST_TABLE_ROWS, Section, as_json, document, render, write_report

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def report(generation: Generation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("report") / "report.html"
    write_report(generation.folder, file, read_marks(None))
    return file


def written(block: Block) -> str:
    return document("Report", "today", (Section("page", "Page", Page("Headline.", (block,))),))


def test_it_holds_every_page_with_its_words_and_kpis(report: Path, generation: Generation) -> None:
    html = report.read_text()
    for entry in PAGES:
        assert f'<section id="{entry.key}">' in html
    summary = generation.frame("kpi_summary")
    for label in summary.label:
        assert label in html
    mau = summary.set_index("kpi").value["mau"]
    assert 'data-kpi="mau"' in html
    assert f">{mau:,.0f}<" in html


def test_its_policy_allows_nothing_but_what_is_in_the_file(report: Path) -> None:
    html = report.read_text()
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', html)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy
    assert "'unsafe-inline'" not in policy.split("style-src")[0]
    assert not re.search(r'(src|href)="(?!#)', html.split("<script")[0])


def test_text_in_a_figure_cannot_end_its_element() -> None:
    figure = {"data": [{"type": "bar", "name": "</script><script>alert(1)</script>"}], "layout": {}}
    assert "</script>" not in as_json(figure)


def test_it_says_the_same_when_made_again(generation: Generation) -> None:
    assert render(generation, read_marks(None)) == render(generation, read_marks(None))


def test_of_a_long_ranked_table_the_first_rows_are_shown() -> None:
    """A finding's date does not make its table a series."""
    days = pd.date_range("2020-01-01", periods=MOST_TABLE_ROWS + 50)
    ranked = pd.DataFrame({"rank": range(1, len(days) + 1), "change_week": days})
    undated = ranked.drop(columns="change_week").assign(observed_through=days[-1])
    for block in (Table("k", "t", "a", ranked), Chart("k", "t", "a", "s", None, undated)):
        html = written(block)
        assert "<p>The first 400 of 450 rows.</p>" in html
        assert "<td>1</td>" in html
        assert "<td>401</td>" not in html


def test_of_a_long_series_the_newest_rows_are_shown_of_every_line() -> None:
    days = pd.date_range("2025-01-01", periods=MOST_TABLE_ROWS)
    lines = [pd.DataFrame({"day": days, "line": name}) for name in ("a", "b")]
    html = written(Chart("k", "t", "a", "s", None, pd.concat(lines)))
    assert "<p>The newest 400 of 800 rows.</p>" in html
    assert (html.count("<td>a</td>"), html.count("<td>b</td>")) == (200, 200)
    assert f"<td>{days[200]:%Y-%m-%d}</td>" in html
    assert f"<td>{days[199]:%Y-%m-%d}</td>" not in html


def test_a_table_that_fits_is_shown_whole_and_without_a_count() -> None:
    assert "rows.</p>" not in written(Table("k", "t", "a", pd.DataFrame({"n": range(MOST_TABLE_ROWS)})))


def test_annotations_are_in_it(generation: Generation) -> None:
    marks = pd.DataFrame({"day": pd.to_datetime(["2025-04-01"]), "label": ["Release 2.0"]})
    assert "Release 2.0" in render(generation, marks)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
def test_it_opens_from_disk_draws_every_figure_and_asks_the_network_for_nothing(report: Path) -> None:
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        told: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(report.as_uri())
        figures = page.locator(".figure")
        page.wait_for_function(
            "[...document.querySelectorAll('.figure')].every(f => f.querySelector('.main-svg'))"
        )
        assert figures.count() > 15
        assert told == []
        assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
        found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]})
        assert found.violations_count == 0, found.generate_report()
        page.set_viewport_size({"width": 390, "height": 800})
        page.wait_for_timeout(500)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        browser.close()
