"""The first screen and the page of causes, over insight tables as their contract describes them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pyarrow as pa
import pytest

from user_engagement.dashboard.blocks import Page, Row, Story
from user_engagement.dashboard.charts import Chart
from user_engagement.dashboard.contents import PAGES
from user_engagement.dashboard.contents.causes import METHODS
from user_engagement.dashboard.contents.story import headline
from user_engagement.dashboard.data import Generation, open_generation
from user_engagement.dashboard.filters import Filters
from user_engagement.dashboard.findings import BRIDGE, BRIEF, SERIES
from user_engagement.dashboard.findings import causes as read_causes
from user_engagement.dashboard.trends import Trend, trends
from user_engagement.dashboard.view import View
from user_engagement.insights.tables import TABLES
from user_engagement_tests.support.company import THROUGH
from user_engagement_tests.support.explained import causes, churn_reasons, explained
from user_engagement_tests.support.serving import publish_marts

BY_KEY = {entry.key: entry for entry in PAGES}
Published = Callable[..., Generation]


@pytest.fixture
def published(marts: dict[str, pa.Table], tmp_path: Path) -> Published:
    """A generation of the marts and the tables given."""

    def publish(**tables: pa.Table) -> Generation:
        publish_marts(tmp_path / "published", {**marts, **tables})
        return open_generation(tmp_path / "published")

    return publish


def overview(generation: Generation, **filters: Any) -> tuple[Page, Story]:
    page = BY_KEY["overview"].make(View(generation, Filters(**filters)))
    story = page.blocks[0]
    assert isinstance(story, Story)
    return page, story


def charts(page: Page) -> list[Chart]:
    return [
        c for b in page.blocks for c in (b.charts if isinstance(b, Row) else (b,)) if isinstance(c, Chart)
    ]


# -- the five figures --------------------------------------------------------------------------------------


def test_the_five_figures_are_those_of_the_marts(generation: Generation) -> None:
    found = {trend.key: trend for trend in trends(View(generation))}
    assert list(found) == ["signups", "retention_month_1", "active_days", "churn", "active_users"]
    cohorts = generation.of_segment("cohort_retention", "all").set_index(
        ["period_kind", "period_number", "signup_month"]
    )
    april = pd.Timestamp("2025-04-01")
    assert found["signups"].now == cohorts.cohort_size["calendar_month", 0, april]
    retained = cohorts.loc["relative_month", 1]
    newest = retained[retained.is_complete].index.max()
    assert found["retention_month_1"].month == newest
    assert found["retention_month_1"].now == pytest.approx(retained.retention_rate[newest])
    frequency = generation.of_segment("engagement_frequency", "all").set_index("month")
    assert found["active_days"].now == pytest.approx(frequency.active_days_per_user[april]), (
        "April has 30 days"
    )
    churn = generation.of_segment("churn_monthly", "all").set_index(["churn_kind", "month"])
    assert found["churn"].now == pytest.approx(churn.churn_rate["declared", april])
    active = generation.of_segment("active_users_daily", "all").set_index("activity_date")
    assert found["active_users"].now == active.mau[pd.Timestamp("2025-04-30")]


def test_a_month_of_31_days_is_not_higher_for_its_length(generation: Generation) -> None:
    (trend,) = (t for t in trends(View(generation)) if t.key == "active_days")
    frequency = generation.of_segment("engagement_frequency", "all").set_index("month")
    march = pd.Timestamp("2025-03-01")
    shown = trend.months.set_index("month").value[march]
    assert shown == pytest.approx(frequency.active_days_per_user[march] * 30 / 31)


def test_figures_follow_the_segment_and_the_last_day_chosen(generation: Generation) -> None:
    one = View(
        generation,
        Filters(range="custom", start=date(2025, 1, 1), end=date(2025, 3, 31), segments={"country": ("DE",)}),
    )
    (signups,) = (t for t in trends(one) if t.key == "signups")
    cohorts = generation.of_segment("cohort_retention", "country")
    rows = cohorts[(cohorts.segment_value == "DE") & (cohorts.period_kind == "calendar_month")]
    rows = rows[(rows.period_number == 0) & (rows.signup_month == pd.Timestamp("2025-03-01"))]
    assert signups.now == rows.cohort_size.iloc[0]
    assert signups.month == pd.Timestamp("2025-03-01")


@pytest.mark.parametrize("count", [40, 400, 4000])
def test_a_count_that_only_chance_moved_is_called_clear_once_in_twenty(count: int) -> None:
    """Once, any change of a count was called better or worse, since counts have no interval."""
    from user_engagement.dashboard.trends import _counts_differ

    draws = np.random.default_rng(5).poisson(count, (4000, 2))
    called = [_counts_differ({"count": now}, {"count": before}) for now, before in draws]
    assert np.mean(called) == pytest.approx(0.05, abs=0.015)


def test_a_share_that_only_chance_moved_is_called_clear_once_in_twenty() -> None:
    """Once, the old point was held against the new interval, which called one change in six real."""
    from user_engagement.dashboard.trends import _shares_differ

    draws = np.random.default_rng(5).binomial(600, 0.3, (4000, 2))
    called = [
        _shares_differ(*(pd.Series({"count": int(n), "base": 600}) for n in pair)) for pair in draws[:2000]
    ]
    assert np.mean(called) == pytest.approx(0.05, abs=0.015)


# -- sentences ---------------------------------------------------------------------------------------------


def test_the_headline_says_what_signups_and_what_engagement_did(generation: Generation) -> None:
    page, _ = overview(generation)
    assert page.headline.startswith("Signups are ")
    assert page.headline.endswith(".")
    assert re.fullmatch(
        r"\d+\u00a0% of expected active days are missing; largest cause since 24 Feb 2025\.", page.lead
    )


def test_a_headline_tells_growth_and_loss_apart(generation: Generation) -> None:
    def trend(key: str, unit: str, before: float, now: float, verdict: Any) -> Trend:
        months = pd.DataFrame({"month": pd.to_datetime(["2024-04-01", "2025-04-01"]), "value": [before, now]})
        return Trend(key, key, unit, "", months, months.month[0], verdict)

    def told(*figures: Trend) -> str:
        return headline(View(generation), figures)

    up = trend("signups", "users", 832, 1164, "neutral")
    stay_less = trend("retention_month_1", "rate", 0.584, 0.374, "bad")
    stay_more = trend("retention_month_1", "rate", 0.374, 0.384, "good")
    level = trend("signups", "users", 832, 840, "unclear")
    same = trend("retention_month_1", "rate", 0.374, 0.38, "unclear")
    assert told(up, stay_less) == (
        "Signups are up 40\u00a0% on a year ago, but far fewer stay: 37\u00a0% after a month, "
        "down from 58\u00a0%."
    )
    assert told(level, stay_more) == (
        "Signups are about level with a year ago, and more stay: 38\u00a0% after a month, up from 37\u00a0%."
    )
    assert told(level, same).endswith("and as many stay: 38\u00a0% after a month.")


# -- the bridge and the causes -----------------------------------------------------------------------------


def test_the_waterfall_leads_from_expected_to_actual_without_a_gap(generation: Generation) -> None:
    _, story = overview(generation)
    assert story.waterfall
    first, *parts, last = story.waterfall.steps
    assert (first.start, last.start) == (0, 0)
    edge = first.width
    for step in parts:
        assert step.start + step.width == pytest.approx(edge), step.label
        assert step.interval_start is not None
        edge = step.start
    assert edge == pytest.approx(last.width)


def test_each_cause_says_whom_since_when_how_much_and_what_next(generation: Generation) -> None:
    _, story = overview(generation)
    assert [cause.title for cause in story.causes] == [
        "Fewer new users come back",
        "Signup mix shifted: Paid social",
        "Users are less active: Phone",
        "More users cancel: Standard",
    ]
    phone = story.causes[2]
    assert phone.facts == "6.8 → 5.0 active days in 4 weeks, since 7 Apr 2025"
    assert phone.next_step == "Check releases, crashes, messages."
    told = dict(phone.evidence)
    assert told["Difference"].startswith("−1.8 (−2.2 to −1.4")
    assert told["Users"] == "2,656"
    assert told["q-value"] == "below 0.001"
    assert told["Follows from it"] == "sessions per day"


def test_see_these_users_opens_the_page_of_the_metric_with_the_group(generation: Generation) -> None:
    _, story = overview(generation)
    links = [parse_qs(cause.link.removeprefix("?")) for cause in story.causes]
    assert [link["page"] for link in links] == [["retention"], ["causes"], ["causes"], ["churn"]]
    assert (links[3]["segment"], links[3]["value"]) == (["product_type"], ["standard"])
    for link, cause in zip(links, read_causes(generation), strict=True):
        view = View(generation, Filters.from_query(link, generation.segments))
        assert view.days[0] < (cause.since or date.max), "the days shown reach back beyond the change"
        assert view.filters.page == link["page"][0]


def test_every_cause_has_its_course_on_the_page_of_causes(generation: Generation) -> None:
    page = BY_KEY["causes"].make(View(generation))
    drawn = charts(page)
    assert [chart.key for chart in drawn] == ["finding_1", "finding_2", "finding_3", "finding_4"]
    for chart in drawn:
        go.Figure(chart.figure)
        assert set(chart.table.columns) >= {"week", "actual", "expected", "users"}
    assert "whatever the filters say" in page.lead


def test_releases_and_risen_churn_reasons_are_told_beside_the_cause_they_coincide_with(
    published: Published,
) -> None:
    since = causes(THROUGH)[3]["since"]
    generation = published(**explained(causes(THROUGH), THROUGH), churn_reasons=churn_reasons(THROUGH, since))
    marks = pd.DataFrame({"day": [pd.Timestamp(since)], "label": ["New prices"]})
    page = BY_KEY["causes"].make(View(generation, marks=marks))
    told = {chart.key: chart.summary for chart in charts(page)}
    assert "At the same time: New prices (17 Mar 2025)." in told["finding_4"]
    assert "'too expensive' rose from 20.0\u00a0% to 50.0\u00a0% of cancellations" in told["finding_4"]
    assert "not needed" not in told["finding_4"]
    assert "New prices" not in told["finding_3"]
    drawn = [c for c in charts(BY_KEY["churn"].make(View(generation))) if c.key == "churn_reasons"]
    assert len(drawn) == 1
    assert drawn[0].figure


# -- states ------------------------------------------------------------------------------------------------


def test_without_a_finding_the_page_says_what_would_have_been_found(published: Published) -> None:
    page, story = overview(published(**explained([], THROUGH)))
    assert "Nothing has changed more than chance allows" in page.lead
    assert story.causes == ()
    assert story.waterfall is None
    assert story.note == "Nothing that could be told apart from chance."
    assert len(story.kpis) == 5


def test_a_measurement_fault_is_told_as_one(published: Published) -> None:
    fault = causes(THROUGH)[2] | {
        "kind": "measurement",
        "metric": "active_users",
        "conditions": {},
        "finding": "On 7 Apr 2025 events stopped arriving from all groups at once",
    }
    page, story = overview(published(**explained([fault], THROUGH)))
    assert story.causes[0].title == fault["finding"]
    assert page.lead.startswith("Check the recording first: it has a fault since 7 Apr 2025")
    assert story.waterfall
    assert [step.label for step in story.waterfall.steps][1] == "Recording"
    assert (
        BY_KEY["causes"].make(View(published(**explained([fault], THROUGH)))).headline
        == f"{fault['finding']}."
    )
    assert "page=causes" in story.causes[0].link


def test_an_outage_that_is_over_is_shown_with_the_figures_of_its_own_week(published: Published) -> None:
    since = causes(THROUGH)[2]["since"]
    outage = causes(THROUGH)[2] | {
        "kind": "measurement",
        "metric": "active_users",
        "conditions": {},
        "shape": "episode",
        "until": since + timedelta(weeks=1),
        "before": 377.0,
        "after": 361.0,
        "effect": -16.0,
        "finding": f"No events were recorded on {since.day} Apr 2025: 361 weekly active users instead of 377. "
        "This is recording or delivery, not behaviour; it is over.",
    }
    page, story = overview(published(**explained([outage], THROUGH)))
    assert page.lead == "No events were recorded on 7 Apr 2025: figures of that time are not behaviour."
    assert story.causes[0].title == "No events were recorded on 7 Apr 2025"
    assert story.causes[0].facts == "377 → 361 users, week of 7 Apr 2025"
    assert story.causes_title == "Fault of recording"
    page, story = overview(published(**explained([outage, *causes(THROUGH)[:1]], THROUGH)))
    assert "of expected active days are missing; one cause, since 24 Feb 2025. No events" in page.lead
    assert story.causes_title == "Causes"


def test_a_generation_without_insights_still_has_its_figures_and_says_what_is_missing(
    published: Published,
) -> None:
    page, story = overview(published())
    assert len(story.kpis) == 5
    assert story.waterfall is None
    assert "insights are switched off" in page.lead
    assert "user-engagement run" in story.note
    assert "not part of what was published" in BY_KEY["causes"].make(View(published())).headline


def test_findings_of_an_older_version_are_left_aside(published: Published) -> None:
    old = pa.table({"rank": [1], "kind": ["behaviour"], "finding": ["Something fell."]})
    page, story = overview(published(decline_brief=old))
    assert "older version" in page.lead
    assert story.causes == ()


def test_with_too_little_history_the_headline_claims_no_change(
    published: Published, marts: dict[str, pa.Table]
) -> None:
    cohorts = marts["cohort_retention"].to_pandas()
    first = cohorts[cohorts.signup_month == cohorts.signup_month.min()]
    page, story = overview(published(cohort_retention=pa.Table.from_pandas(first, preserve_index=False)))
    assert "the first complete month" in page.headline
    assert story.kpis[0].change == "first complete month"


def test_figures_of_all_users_are_named_as_such_beside_several_groups(generation: Generation) -> None:
    several = {"segments": {"country": ("DE", "US")}}
    page, story = overview(generation, **several)
    assert page.headline.startswith("Signups (all users) are")
    assert story.period.endswith("· all users")
    view = View(generation, Filters(**several))
    for key, words in (
        ("retention", "Of all users who"),
        ("churn", "of all users"),
        ("engagement", "All active"),
    ):
        assert words in BY_KEY[key].make(view).headline
    assert "country DE" in overview(generation, segments={"country": ("DE",)})[1].period


def test_causes_are_said_to_be_of_all_users_when_a_segment_is_chosen(generation: Generation) -> None:
    assert overview(generation)[1].note == ""
    assert "of all users" in overview(generation, segments={"country": ("DE",)})[1].note


def test_without_causes_the_methods_can_still_be_chosen(
    published: Published, insights: dict[str, pa.Table]
) -> None:
    tables = {name: table for name, table in insights.items() if name != "decline_brief"}
    view = View(published(**tables), Filters(options={"method": "first_week"}))
    assert "first_week" in BY_KEY["causes"].make(view).tables


# -- what the tables hold, made fit to be read -------------------------------------------------------------


def changed(table: pa.Table, rows: Callable[[pd.DataFrame], pd.Series], **columns: Any) -> pa.Table:
    frame = table.to_pandas()
    for name, value in columns.items():
        frame.loc[rows(frame), name] = value
    return pa.Table.from_pandas(frame, preserve_index=False)


def test_a_course_ends_with_the_last_week_of_which_something_is_expected(published: Published) -> None:
    """Weeks whose users have not had all of the metric's days yet would look like a fall."""
    tables = explained(causes(THROUGH), THROUGH)
    weeks = sorted(set(tables["finding_series"]["week"].to_pylist()))
    tables["finding_series"] = changed(
        tables["finding_series"],
        lambda f: (f["rank"] == 1) & (pd.to_datetime(f.week) > pd.Timestamp(weeks[-4])),
        expected=np.nan,
        actual=0.01,
    )
    generation = published(**tables)
    first, second, *_ = charts(BY_KEY["causes"].make(View(generation)))
    assert first.table.week.max() == pd.Timestamp(weeks[-4])
    assert second.table.week.max() == pd.Timestamp(weeks[-1])
    _, story = overview(generation)
    assert story.causes[0].series
    assert "1.0\u00a0%" not in story.causes[0].series.drawing.alt


def test_a_change_of_the_mix_is_drawn_as_signups_of_its_group(published: Published) -> None:
    tables = explained(causes(THROUGH), THROUGH)
    tables["finding_series"] = changed(
        tables["finding_series"], lambda f: f["rank"] == 2, actual=120.0, expected=20.0
    )
    _, story = overview(published(**tables))
    assert story.causes[1].series
    assert story.causes[1].facts.startswith("20 → 120 signups a week, since ")
    assert "120 in the last week, 20 expected" in story.causes[1].series.drawing.alt


def test_names_of_columns_and_values_in_sentences_are_words(published: Published) -> None:
    one = causes(THROUGH)[1] | {
        "label": "Signup mix shifted: users with acquisition channel paid_social",
        "next_step": "What brought paid_social around 14 Jul 2025?",
    }
    _, story = overview(published(**explained([one], THROUGH)))
    assert story.causes[0].title == "Signup mix shifted: Paid social"
    assert story.causes[0].next_step == "What brought paid social?"


def test_labels_at_nearly_the_same_height_do_not_overprint(published: Published) -> None:
    tables = explained(causes(THROUGH), THROUGH)
    tables["finding_series"] = changed(
        tables["finding_series"],
        lambda f: (f["rank"] == 1) & (pd.to_datetime(f.week) > pd.Timestamp("2025-05-01")),
        actual=0.6,
    )
    _, story = overview(published(**tables))
    series = story.causes[0].series
    assert series
    assert abs(series.drawing.last - series.expected_last) >= 20


def test_these_tables_have_the_columns_of_the_real_ones() -> None:
    for name, table in explained(causes(THROUGH), THROUGH).items():
        assert set(table.column_names) == set(TABLES[name].columns)


def test_every_insight_table_has_its_place() -> None:
    shown = {table for tables in METHODS.values() for table in tables}
    assert shown | {BRIEF, SERIES, BRIDGE} == set(TABLES)
