from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from user_engagement.dashboard.annotations import read_marks
from user_engagement.dashboard.blocks import Page, Table
from user_engagement.dashboard.contents import overview
from user_engagement.dashboard.data import Generation
from user_engagement.dashboard.findings import causes as read_causes
from user_engagement.dashboard.report import document, render, write_report
from user_engagement.dashboard.view import View
from user_engagement_tests.support.browsing import CHROMIUM, chromium
from user_engagement_tests.support.company import THROUGH
from user_engagement_tests.support.explained import causes

MOST_BYTES = 1_500_000
SCREEN = 900


@pytest.fixture(scope="module")
def report(generation: Generation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("report") / "report.html"
    write_report(generation.folder, file, read_marks(None))
    return file


def test_it_holds_the_headline_the_causes_and_every_kpi(report: Path, generation: Generation) -> None:
    html = report.read_text()
    assert overview.page(View(generation)).headline in html
    for cause in read_causes(generation):
        assert cause.title in html
    summary = generation.frame("kpi_summary")
    for label in summary.label:
        assert label in html
    mau = summary.set_index("kpi").value["mau"]
    assert 'data-kpi="mau"' in html
    assert f">{mau:,.0f}<" in html
    for segment in generation.segments:
        assert f"More figures by {segment.replace('_', ' ')}" in html


def test_it_is_small_enough_to_mail(report: Path) -> None:
    assert report.stat().st_size < MOST_BYTES


def test_its_policy_allows_no_script_and_no_network(report: Path) -> None:
    html = report.read_text()
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', html)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert "<script" not in html
    assert not re.findall(r'(?:src|href)="(?!data:)', html)


def test_text_of_the_sources_is_never_markup() -> None:
    evil = "<img src=x onerror=alert(1)>"
    html = document(evil, evil, Page(evil, (Table("k", evil, evil, pd.DataFrame({evil: [evil]})),), evil))
    assert "<img" not in html
    assert html.count("&lt;img") > 5


def test_it_says_the_same_when_made_again(generation: Generation) -> None:
    assert render(generation, read_marks(None)) == render(generation, read_marks(None))


def test_a_release_beside_a_cause_is_in_it(generation: Generation) -> None:
    since = causes(THROUGH)[0]["since"]
    marks = pd.DataFrame({"day": [pd.Timestamp(since)], "label": ["Release 2.0"]})
    assert "Release 2.0" in render(generation, marks)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
def test_it_opens_from_disk_in_under_four_screens_and_asks_the_network_for_nothing(report: Path) -> None:
    from axe_playwright_python.sync_playwright import Axe

    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1200, "height": SCREEN})
        told: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(report.as_uri())
        assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
        assert page.evaluate("document.documentElement.scrollHeight") < 4 * SCREEN
        assert told == []
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
        page.locator(".ue-sure summary").first.click()
        for summary in page.locator(".ue-more > summary, details.data > summary").all():
            summary.click()
        found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]})
        assert found.violations_count == 0, found.generate_report()
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
def test_it_prints_as_one_landscape_page_for_slides(report: Path) -> None:
    with chromium() as browser:
        page = browser.new_page()
        page.goto(report.as_uri())
        pdf = page.pdf(prefer_css_page_size=True, print_background=True)
        page.close()
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == 1
    width, height = map(float, re.findall(rb"/MediaBox\s*\[0 0 ([\d.]+) ([\d.]+)\]", pdf)[0])
    assert width > height
