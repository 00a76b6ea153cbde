"""`user-engagement dashboard` in Chromium: numbers, filters, downloads, accessibility, and what it looks like.

Screenshots go to the folder `SCREENSHOTS`, if set. `SCREENSHOT_HOME` names a home to show in them instead of the
small company of the tests.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from user_engagement import formatting as fmt
from user_engagement.dashboard.contents import PAGES
from user_engagement.dashboard.data import Generation
from user_engagement_tests.support.serving import dashboard

CHROMIUM = shutil.which("chromium")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")]
KEYS = [entry.key for entry in PAGES]
OTHER_LOOKS = [(1440, "dark"), (390, "light")]
AA = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]


@pytest.fixture(scope="module")
def address(home: Path) -> Iterator[str]:
    with dashboard(Path(os.environ.get("SCREENSHOT_HOME", home))) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-background-networking", "--disable-quic"],
        )
        yield browser
        browser.close()


class Tab:
    """A page of the dashboard; `end` asserts that nothing went wrong in it and nothing was asked of others."""

    def __init__(self, browser: Browser, address: str, width: int = 1440, scheme: str = "light") -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if scheme == "dark" else "light",
            accept_downloads=True,
        )
        self.address = address
        self.page: Page = self.context.new_page()
        self._told: list[str] = []
        self._asked: list[str] = []
        self.page.on(
            "console", lambda m: self._told.append(m.text) if m.type in ("error", "warning") else None
        )
        self.page.on("pageerror", lambda error: self._told.append(str(error)))
        self.page.on("request", lambda request: self._asked.append(request.url))

    def open(self, query: str) -> Page:
        self.page.goto(f"{self.address}/?{query}")
        self.settle()
        return self.page

    def settle(self) -> None:
        """Waits until the script is done and every figure is drawn."""
        self.page.locator(".ue-headline").wait_for(timeout=60_000)
        self.page.wait_for_function(
            """() => document.querySelector('[data-testid=stApp]').dataset.testScriptState === 'notRunning'
                && !document.querySelector('[data-testid="stStatusWidget"], [data-stale="true"]')
                && !document.querySelector('[data-testid="stSkeleton"]')
                && document.querySelector('.st-key-choose_page button')
                && [...document.querySelectorAll('.stPlotlyChart')].every(c => c.querySelector('.main-svg'))""",
            timeout=60_000,
        )
        self.page.wait_for_timeout(400)

    def words(self) -> str:
        """All text but that in figures."""
        self.page.add_style_tag(content=".stPlotlyChart { display: none }")
        return self.page.locator("[data-testid=stMain]").inner_text()

    def end(self) -> None:
        self.context.close()
        assert self._told == []
        assert [
            url
            for url in self._asked
            if not re.match(r"(http://127\.0\.0\.1:|ws://127\.0\.0\.1:|data:|blob:)", url)
        ] == []


def download(page: Page, key: str) -> pd.DataFrame:
    with page.expect_download() as started:
        page.locator(f".st-key-csv_{key} button").click()
    return pd.read_csv(StringIO(Path(started.value.path()).read_text()))


def test_the_kpis_shown_equal_the_marts(browser: Browser, address: str, generation: Generation) -> None:
    tab = Tab(browser, address)
    page = tab.open("page=overview")
    summary = generation.frame("kpi_summary").set_index("kpi")
    assert page.locator(".ue-card").count() == len(summary)
    for kpi, row in summary.iterrows():
        card = page.locator(f'.ue-card[data-kpi="{kpi}"]')
        assert card.locator(".ue-value").inner_text() == fmt.value(row.value, str(row.unit))
        assert card.get_attribute("title") == row.definition
        if bounds := fmt.interval(row.ci_low, row.ci_high, str(row.unit)):
            assert bounds in card.inner_text().replace("\n", " ")
    tab.end()


def test_filters_survive_in_a_shared_address(browser: Browser, address: str) -> None:
    tab = Tab(browser, address)
    page = tab.open("page=churn")
    page.locator(".st-key-choose_segment input").click()
    page.get_by_role("option", name="Country").click()
    tab.settle()
    page.locator(".st-key-choose_values input").click()
    page.get_by_role("option", name="US", exact=True).click()
    page.keyboard.press("Escape")
    page.wait_for_url(re.compile("value=US"))
    page.get_by_role("heading", name="Churn", exact=True).click()
    tab.settle()
    option = page.locator(".st-key-choose_churn input")
    # at the lower edge its list would close when the page is scrolled for it
    option.evaluate("element => element.scrollIntoView({block: 'center'})")
    option.click()
    page.get_by_role("option", name="Inactive").click()
    page.wait_for_url(re.compile("churn=inactive"))
    tab.settle()
    page.get_by_text("Retention", exact=True).click()
    page.wait_for_url(re.compile("page=retention"))
    page.get_by_role("heading", name="Retention", exact=True).wait_for()
    page.go_back()
    page.wait_for_url(re.compile("page=churn"))
    page.get_by_role("heading", name="Churn", exact=True).wait_for()
    tab.settle()
    shared, shown = page.url, tab.words()
    assert "country: US" in shown
    assert "Survival until first churn, inactive" in shown
    other = Tab(browser, address)
    other.open(shared.split("?")[1])
    assert other.words() == shown
    tab.end()
    other.end()


def test_a_csv_holds_the_rows_of_its_table(browser: Browser, address: str, generation: Generation) -> None:
    tab = Tab(browser, address)
    page = tab.open("page=churn&range=all&segment=country&value=DE&value=US")
    mart = generation.of_segment("churn_monthly", "country")
    expected = mart[(mart.churn_kind == "declared") & mart.segment_value.isin(["DE", "US"])]
    page.get_by_text("Data table: Monthly churn rate, declared").click()
    tab.settle()
    found = download(page, "churn_declared")
    assert len(found) == len(expected)
    assert found.churned_users.sum() == expected.churned_users.sum()
    survival = generation.of_segment("survival", "country")
    page.get_by_text("Data table: Survival until first churn").click()
    tab.settle()
    rows = survival[(survival.churn_kind == "declared") & survival.segment_value.isin(["DE", "US"])]
    assert len(download(page, "survival")) == len(rows)
    tab.end()


def test_a_chart_is_saved_as_an_image(browser: Browser, address: str) -> None:
    tab = Tab(browser, address)
    page = tab.open("page=overview")
    with page.expect_download() as started:
        page.locator(".st-key-chart_active_users .modebar-btn").first.click()
    assert Path(started.value.path()).read_bytes().startswith(b"\x89PNG")
    tab.end()


def test_what_is_hovered_over_tells_the_exact_number_and_its_denominator(
    browser: Browser, address: str, generation: Generation
) -> None:
    tab = Tab(browser, address)
    page = tab.open("page=churn&range=all")
    plot = page.locator(".st-key-chart_churn_declared .nsewdrag").first
    box = plot.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] - 4, box["y"] + box["height"] / 2)
    hover = page.locator(".st-key-chart_churn_declared .hoverlayer")
    hover.get_by_text("of").first.wait_for()
    rows = generation.of_segment("churn_monthly", "all")
    last = rows[(rows.churn_kind == "declared") & rows.is_complete].iloc[-1]
    told = "".join(hover.all_text_contents())
    assert f"{last.churned_users:,} of {last.users_at_start:,} users" in told
    assert "95 % interval" in told
    tab.end()


def test_the_keyboard_reaches_pages_filters_and_tables(browser: Browser, address: str) -> None:
    tab = Tab(browser, address)
    page = tab.open("page=overview")
    reached = set()
    for _ in range(80):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "document.activeElement.closest('[class*=st-key-]')?.className ?? document.activeElement.tagName"
            )
        )
    told = " ".join(reached)
    for key in ("choose_page", "choose_range", "choose_segment", "choose_compare", "choose_active"):
        assert f"st-key-{key}" in told
    assert "SUMMARY" in told, "definitions and tables"
    tab.end()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("key", KEYS)
def test_no_page_breaks_wcag_2_aa(browser: Browser, address: str, key: str, scheme: str) -> None:
    tab = Tab(browser, address, scheme=scheme)
    chosen = "&segment=country&value=DE&value=US&compare=previous&range=custom&from=2025-02-01&to=2025-04-30"
    page = tab.open(f"page={key}{chosen if scheme == 'light' else ''}")
    for table in page.locator("[data-testid=stExpander] summary").all()[:1]:
        table.click()
    page.wait_for_timeout(400)
    found = Axe().run(page, options={"runOnly": AA})
    assert found.violations_count == 0, found.generate_report()
    tab.end()


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (1440, "light"),
        (390, "dark"),
        *(pytest.param(*each, marks=pytest.mark.exhaustive) for each in OTHER_LOOKS),
    ],
)
@pytest.mark.parametrize("key", KEYS)
def test_nothing_is_clipped_or_empty(
    browser: Browser, address: str, key: str, width: int, scheme: str, tmp_path: Path
) -> None:
    tab = Tab(browser, address, width, scheme)
    page = tab.open(f"page={key}" + os.environ.get("SCREENSHOT_QUERY", ""))
    height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    page.set_viewport_size({"width": width, "height": height + 20})
    page.wait_for_timeout(300)
    page.wait_for_function(
        """() => [...document.querySelectorAll('.stPlotlyChart')].every(
            chart => chart.querySelector('.scatterlayer path, .barlayer path, .heatmaplayer image'))""",
        timeout=30_000,
    )
    page.wait_for_timeout(400)
    page.screenshot(path=Path(os.environ.get("SCREENSHOTS", tmp_path)) / f"{key}-{width}-{scheme}.png")
    main = "document.querySelector('[data-testid=stMain]')"
    assert page.evaluate(f"{main}.scrollWidth <= {main}.clientWidth"), "scrolls sideways"
    clipped = page.evaluate(
        """() => [...document.querySelectorAll('.js-plotly-plot')].flatMap(plot => {
            const frame = plot.getBoundingClientRect();
            return [...plot.querySelectorAll('.main-svg text')].filter(text => {
                const box = text.getBoundingClientRect();
                return box.width && (box.left < frame.left - 2 || box.right > frame.right + 2
                    || box.top < frame.top - 2 || box.bottom > frame.bottom + 2);
            }).map(text => text.textContent);
        })"""
    )
    assert clipped == []
    tab.end()
