"""`user-engagement dashboard` in Chromium: numbers, filters, downloads, accessibility, and what it looks like.

`make screenshots` takes pictures of a home's pages.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import StringIO
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from user_engagement import formatting as fmt
from user_engagement.dashboard.contents import PAGES
from user_engagement.dashboard.data import Generation
from user_engagement.dashboard.findings import causes as read_causes
from user_engagement_tests.support.browsing import CHROMIUM, Tab, chromium
from user_engagement_tests.support.company import THROUGH
from user_engagement_tests.support.explained import causes, explained
from user_engagement_tests.support.serving import dashboard, publish_marts
from user_engagement_tests.support.states import STATES

Tabs = Callable[..., Tab]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")]
KEYS = [entry.key for entry in PAGES]
OTHER_LOOKS = [(1440, "light", ""), (1440, "dark", ""), (390, "light", "")]
AA = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]


@pytest.fixture(scope="module")
def address(home: Path) -> Iterator[str]:
    with dashboard(home) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def tabs(browser: Browser, address: str) -> Iterator[Tabs]:
    with opened(browser, address) as tabs:
        yield tabs


def violations(page: Page) -> str:
    """What axe finds, in words; empty if it finds nothing."""
    found = Axe().run(page, options={"runOnly": AA})
    return found.generate_report() if found.violations_count else ""


@contextmanager
def opened(browser: Browser, address: str) -> Iterator[Tabs]:
    """Gives the one tab of a width and a colour scheme."""

    @lru_cache
    def tab(width: int = 1440, scheme: str = "light") -> Tab:
        made.append(Tab(browser, address, width, scheme))
        return made[-1]

    made: list[Tab] = []
    yield tab
    for each in made:
        each.end()


@pytest.fixture
def tab(tabs: Tabs) -> Iterator[Tab]:
    yield tabs()
    tabs().check()


def download(page: Page, key: str) -> pd.DataFrame:
    with page.expect_download() as started:
        page.locator(f".st-key-csv_{key} button").click()
    return pd.read_csv(StringIO(Path(started.value.path()).read_text()))


FIVE_FIGURES = """
with month as (select max(period_start) as month from {growth} where period_kind = 'month' and is_complete),
cohorts as (select * from {retention} where segment_name = 'all'),
newest as (
    select * from cohorts where period_kind = 'relative_month' and period_number = 1 and is_complete
    order by signup_month desc limit 1
)
select
    (select cohort_size from cohorts, month
     where signup_month = month and period_kind = 'calendar_month' and period_number = 0) as signups,
    (select round(100 * retained_users / eligible_users) from newest) as retention_month_1,
    (select round(30 * active_days_per_user / day(last_day(month.month)), 1) from {frequency} f, month
     where segment_name = 'all' and f.month = month.month) as active_days,
    (select round(100 * churned_users / users_at_start, 1) from {churn} c, month
     where segment_name = 'all' and churn_kind = 'declared' and c.month = month.month) as churn,
    (select mau from {active}, month
     where segment_name = 'all' and activity_date = last_day(month.month)) as active_users
"""
MARTS_OF_FIGURES = {
    "growth": "growth_accounting",
    "retention": "cohort_retention",
    "frequency": "engagement_frequency",
    "churn": "churn_monthly",
    "active": "active_users_daily",
}


def test_the_five_figures_shown_equal_the_marts(tab: Tab, generation: Generation) -> None:
    paths = {k: f"'{generation.folder / name}.parquet'" for k, name in MARTS_OF_FIGURES.items()}
    expected = duckdb.connect().execute(FIVE_FIGURES.format(**paths)).df().iloc[0]
    page = tab.open("page=overview")
    assert page.locator(".ue-kpi").count() == len(expected) == 5
    for kpi, value in expected.items():
        shown = page.locator(f'.ue-kpi[data-kpi="{kpi}"] .ue-value').inner_text()
        assert float(re.sub(r"[^\d.]", "", shown)) == pytest.approx(value), kpi


def test_the_waterfall_and_the_causes_shown_equal_the_insight_tables(
    tab: Tab, generation: Generation
) -> None:
    page = tab.open("page=overview")
    bridge = generation.frame("engagement_bridge")
    rows = bridge[bridge.measure == "active_days"].sort_values("position")
    shown = [
        text.replace("−", "-").replace(",", "")
        for text in page.locator(".ue-waterfall .ue-amount").all_inner_texts()
    ]
    assert [float(text) for text in shown] == pytest.approx(list(rows.amount.round()))
    brief = generation.frame("decline_brief").sort_values("rank")
    assert page.locator(".ue-cause h3").all_inner_texts() == [
        cause.title for cause in read_causes(generation)
    ]
    page.locator(".ue-sure summary").first.click()
    assert f"{brief.users.iloc[0]:,}" in page.locator(".ue-sure dl").first.inner_text()


def test_all_key_figures_equal_the_mart(tab: Tab, generation: Generation) -> None:
    page = tab.open("page=overview")
    page.get_by_text("More figures").click()
    summary = generation.frame("kpi_summary").set_index("kpi")
    assert page.locator(".ue-card").count() == len(summary)
    for kpi, row in summary.iterrows():
        card = page.locator(f'.ue-card[data-kpi="{kpi}"]')
        assert card.locator(".ue-value").inner_text() == fmt.value(row.value, str(row.unit))
        assert card.get_attribute("title") == row.definition
        if bounds := fmt.interval(row.ci_low, row.ci_high, str(row.unit)):
            assert bounds in card.inner_text().replace("\n", " ")


MOST_WORDS = 200


def test_the_first_screen_holds_the_answer_and_four_causes_in_two_hundred_words(
    tab: Tab,
) -> None:
    """Words as a reader sees them, numbers and the pages' names included.

    A figure without a clear change says so in two more words than one with, and this company has some.
    """
    page = tab.open("page=overview")
    for selector in (".ue-headline", ".ue-kpi", ".ue-waterfall", ".ue-cause"):
        box = page.locator(selector).first.bounding_box()
        assert box
        assert box["y"] + box["height"] < 900, selector
    text = page.evaluate(
        """() => {
            const seen = element => {
                const box = element.getBoundingClientRect();
                return box.height && box.top < innerHeight && element.checkVisibility()
                    && !element.closest('.stAlert, [data-testid=stIconMaterial]');
            };
            const main = document.querySelector('[data-testid=stMain]');
            const walker = document.createTreeWalker(main, NodeFilter.SHOW_TEXT);
            let text = '';
            while (walker.nextNode()) if (seen(walker.currentNode.parentElement)) text += ' ' + walker.currentNode.data;
            return text;
        }"""
    )
    # a no-break space holds a number and its per-cent sign together
    words = [word for word in re.split(r"[ \n\t]+", text) if re.search(r"\w", word)]
    assert page.locator(".ue-cause").count() == 4
    unclear = page.locator(".ue-kpi", has_text="no clear change").count()
    assert 100 < len(words) <= MOST_WORDS + 2 * unclear, " ".join(words)


def test_each_cause_links_to_the_view_whose_chart_shows_the_change(tab: Tab, generation: Generation) -> None:
    page = tab.open("page=overview")
    links = page.locator(".ue-cause .ue-links a")
    targets = [str(links.nth(number).get_attribute("href")) for number in range(links.count())]
    assert len(targets) == 4
    brief = generation.frame("decline_brief").sort_values("rank")
    for number, (target, since) in enumerate(zip(targets, pd.to_datetime(brief.since), strict=True), 1):
        tab.open(target.removeprefix("?"))
        days = page.evaluate(
            """() => [...document.querySelectorAll('.js-plotly-plot')]
                .map(plot => [plot.closest('[class*=st-key-chart_]').className, plot.data[plot.data.length - 1]])
                .filter(([_, line]) => String(line.x[0]).startsWith('20'))
                .map(([key, line]) => [key, String(line.x[0]).slice(0, 10),
                                       String(line.x[line.x.length - 1]).slice(0, 10)])"""
        )
        shown = [key for key, first, last in days if pd.Timestamp(first) < since < pd.Timestamp(last)]
        if "page=causes" in target:
            assert any(f"chart_finding_{number}" in key for key in shown)
        elif "page=retention" in target:
            page.locator(".st-key-chart_cohorts .main-svg").first.wait_for()
            cohorts = page.locator(".st-key-chart_cohorts").inner_text()
            assert f"{since:%b %Y}" in cohorts
        else:
            assert shown
    assert "Product type Standard" in page.locator(".ue-headline").inner_text().replace("product", "Product")


def test_the_users_at_risk_shown_equal_their_table(tab: Tab, generation: Generation) -> None:
    groups = generation.frame("risk_groups")
    page = tab.open("page=overview")
    bars = page.locator(".ue-bars:not(.ue-waterfall) .ue-amount").all_inner_texts()
    if groups.empty:
        assert bars == []
    else:
        everybody = groups[groups.segment_name == "all"].iloc[0]
        heading = page.locator("h2", has_text="Users at risk")
        assert f"Of {everybody.users:,} active users" in str(heading.get_attribute("title"))
        assert f"({100 * everybody.expected_rate:.0f}\u00a0%)" in heading.inner_text()
        of_values = groups[(groups.segment_name != "all") & (groups.users >= 100)]
        above = of_values[of_values.expected_rate > 1.2 * everybody.expected_rate]
        largest = above.expected_rate.sort_values(ascending=False).head(3)
        assert bars == [f"{100 * rate:.0f}\u00a0%" for rate in largest]


def test_filters_survive_in_a_shared_address(tab: Tab) -> None:
    page = tab.open("page=churn")
    page.locator("[data-testid=stPopover] button").first.click()
    page.locator(".st-key-choose_segments input").click()
    page.get_by_role("option", name="Country").click()
    page.keyboard.press("Escape")
    tab.settle()
    page.locator(".st-key-choose_values_country input").click()
    page.get_by_role("option", name="US", exact=True).click()
    page.keyboard.press("Escape")
    page.wait_for_url(re.compile("value=US"))
    page.locator(".ue-headline").click()
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
    assert page.title() == "Churn · User engagement"
    shared, shown = page.url, tab.words()
    assert "country: US" in shown
    assert "Survival until first churn, inactive" in shown
    tab.open(shared.split("?")[1])
    assert tab.words() == shown


def test_a_csv_holds_the_rows_of_its_table(tab: Tab, generation: Generation) -> None:
    page = tab.open("page=churn&range=all&segment=country&value=DE&value=US")
    mart = generation.of_segment("churn_monthly", "country")
    expected = mart[(mart.churn_kind == "declared") & mart.segment_value.isin(["DE", "US"])]
    page.locator(".st-key-chart_churn_declared summary").click()
    tab.settle()
    found = download(page, "churn_declared")
    assert len(found) == len(expected)
    assert found.churned_users.sum() == expected.churned_users.sum()
    survival = generation.of_segment("survival", "country")
    page.locator(".st-key-chart_survival summary").click()
    tab.settle()
    rows = survival[(survival.churn_kind == "declared") & survival.segment_value.isin(["DE", "US"])]
    assert len(download(page, "survival")) == len(rows)


def test_a_chart_is_saved_as_an_image(tab: Tab) -> None:
    page = tab.open("page=engagement")
    with page.expect_download() as started:
        page.locator(".st-key-chart_active_users .modebar-btn").first.click()
    assert Path(started.value.path()).read_bytes().startswith(b"\x89PNG")


def test_what_is_hovered_over_tells_the_exact_number_and_its_denominator(
    tab: Tab, generation: Generation
) -> None:
    page = tab.open("page=churn&range=all")
    last_point = page.locator(".st-key-chart_churn_declared .scatterlayer .point").last.bounding_box()
    assert last_point
    page.mouse.move(last_point["x"] + 2, last_point["y"] + 2)
    hover = page.locator(".st-key-chart_churn_declared .hoverlayer")
    hover.get_by_text("of").first.wait_for()
    rows = generation.of_segment("churn_monthly", "all")
    last = rows[(rows.churn_kind == "declared") & rows.is_complete].iloc[-1]
    told = "".join(hover.all_text_contents())
    assert f"{last.churned_users:,} of {last.users_at_start:,} users" in told
    assert "95 % interval" in told


def test_the_keyboard_reaches_pages_filters_and_tables(tab: Tab) -> None:
    page = tab.open("page=overview")
    reached, kinds = set(), set()
    for _ in range(40):
        page.keyboard.press("Tab")
        kinds.add(page.evaluate("document.activeElement.tagName"))
        reached.add(
            page.evaluate(
                "document.activeElement.closest('[class*=st-key-]')?.className ?? document.activeElement.tagName"
            )
        )
    told = " ".join(reached)
    assert "st-key-choose_page" in told
    assert {"SUMMARY", "A", "BUTTON"} <= kinds, "evidence and key figures, links, filters"
    page.locator("[data-testid=stPopover] button").first.press("Enter")
    for key in ("choose_range", "choose_segments", "choose_compare"):
        page.locator(f".st-key-{key} input").wait_for()


@pytest.fixture(scope="module")
def stage(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Tab]]:
    """A home whose publications change, and a tab with its dashboard."""
    home = tmp_path_factory.mktemp("stage")
    with (
        dashboard(home, USER_ENGAGEMENT_STALE_AFTER_HOURS="9999999") as address,
        opened(browser, address) as tabs,
    ):
        yield home, tabs()


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("nothing published", "user-engagement run"),
        ("no findings", "Nothing has changed more than chance allows"),
        ("measurement fault", "Check the recording first"),
        ("too little history", "the first complete month"),
        ("one segment", "Signups are"),
    ],
)
def test_every_state_is_a_page_of_its_own_without_errors(
    stage: tuple[Path, Tab],
    marts: dict[str, pa.Table],
    insights: dict[str, pa.Table],
    state: str,
    words: str,
) -> None:
    home, tab = stage
    shutil.rmtree(home / "published", ignore_errors=True)
    if state in STATES:
        published = {**marts, **insights, **explained(causes(THROUGH), THROUGH)}
        publish_marts(home / "published", dict(STATES[state](published, THROUGH)), state)
    for key in ("overview", "causes") if state in STATES else ("overview",):
        page = tab.open(f"page={key}")
        assert key == "causes" or words in page.locator("[data-testid=stMain]").inner_text()
        assert violations(page) == ""
    tab.check()


CHOSEN = "&segment=country&value=DE&value=US&compare=previous&range=custom&from=2025-02-01&to=2025-04-30"


@pytest.mark.parametrize(
    ("width", "scheme", "chosen"),
    [
        (1440, "light", CHOSEN),
        (390, "dark", ""),
        *(pytest.param(*each, marks=pytest.mark.exhaustive) for each in OTHER_LOOKS),
    ],
    ids=lambda value: "filtered" if value == CHOSEN else None,
)
@pytest.mark.parametrize("key", KEYS)
def test_no_page_breaks_wcag_2_aa_and_nothing_is_clipped(
    tabs: Tabs, key: str, width: int, scheme: str, chosen: str
) -> None:
    tab = tabs(width, scheme)
    page = tab.open(f"page={key}{chosen}")
    for table in page.locator("[data-testid=stExpander] summary").all()[:1]:
        table.click()
    tab.unroll()
    assert violations(page) == ""
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
    tab.check()
