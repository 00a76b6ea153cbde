"""What the brief says of companies whose causes are known, from their counts."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from user_engagement.insights.analysis import brief_tables, company_panel
from user_engagement.insights.explain import Measures, changes_of
from user_engagement.insights.findings import story_of
from user_engagement.insights.reasons import with_reasons
from user_engagement_tests.support.counted_company import WEEKS, counted_company

NO_GROWTH = pd.DataFrame({"segment_name": []})
SINCE = 50


def explained(**company: object) -> dict[str, pd.DataFrame]:
    return brief_tables(counted_company(**company), NO_GROWTH)


def said(tables: dict[str, pd.DataFrame]) -> list[tuple[object, ...]]:
    brief = tables["decline_brief"]
    return [
        (row.kind, row.metric, json.loads(row.conditions), row.direction, row.since)
        for row in brief.itertuples()
    ]


@pytest.fixture(scope="module")
def fallen() -> dict[str, pd.DataFrame]:
    """US users on phones are active 40 % less since a week."""
    return explained(
        seed=1,
        activity=lambda rows: np.where(
            (rows.country == "US") & (rows.device == "phone") & (rows.week >= SINCE), 0.6, 1.0
        ),
    )


@pytest.mark.slow
def test_a_pair_is_named_alone_with_its_week_and_its_loss(fallen: dict[str, pd.DataFrame]) -> None:
    assert said(fallen) == [
        ("behaviour", "retention", {"country": "US", "main_device": "phone"}, "down", WEEKS[SINCE])
    ]
    row = fallen["decline_brief"].iloc[0]
    assert "frequency" in json.loads(row.also)
    assert row.is_adverse
    assert row.since_low <= WEEKS[SINCE] <= row.since_high
    # the factor 0.6 takes two thirds of what is still there
    assert row.lost_low < row.lost_active_days < row.lost_high
    series = fallen["finding_series"]
    assert list(series.week) == list(WEEKS)
    late = series[series.week >= WEEKS[SINCE]]
    assert (late.actual < late.expected_low).mean() > 0.8


def test_the_bridge_adds_up_to_the_actual_total_exactly(fallen: dict[str, pd.DataFrame]) -> None:
    bridge = fallen["engagement_bridge"]
    for _, steps in bridge.groupby("measure"):
        steps = steps.sort_values("position")
        assert steps.amount.iloc[:-1].sum() == pytest.approx(steps.amount.iloc[-1], rel=1e-9)
        assert steps["rank"].notna().sum() == 1


@pytest.mark.slow
def test_where_nothing_happened_the_brief_says_what_would_have_been_found() -> None:
    tables = explained(seed=2)
    assert tables["decline_brief"].kind.tolist() == ["no_change"]
    assert "would have been found" in tables["decline_brief"].finding[0]
    assert tables["finding_series"].empty


@pytest.mark.slow
def test_fewer_sessions_on_one_device_are_no_change_of_activity() -> None:
    tables = explained(
        seed=3, sessions=lambda rows: np.where((rows.device == "phone") & (rows.week >= SINCE), 0.7, 1.0)
    )
    assert said(tables) == [("behaviour", "sessions_per_day", {"main_device": "phone"}, "down", WEEKS[SINCE])]
    assert tables["decline_brief"].lost_active_days[0] == 0


@pytest.mark.slow
def test_shorter_sessions_in_one_country_are_named_with_their_size() -> None:
    tables = explained(
        seed=4, seconds=lambda rows: np.where((rows.country == "BR") & (rows.week >= SINCE), 0.7, 1.0)
    )
    assert said(tables) == [("behaviour", "session_duration", {"country": "BR"}, "down", WEEKS[SINCE])]
    row = tables["decline_brief"].iloc[0]
    assert row.value_actual / row.value_expected == pytest.approx(0.7, abs=0.04)


@pytest.mark.slow
def test_events_that_come_twice_are_recording_and_not_behaviour() -> None:
    tables = explained(seed=5, sessions=lambda rows: np.where(rows.week >= SINCE, 2.0, 1.0))
    assert said(tables) == [("measurement", "sessions_per_day", {}, "up", WEEKS[SINCE])]


@pytest.mark.slow
def test_a_day_without_any_event_is_an_episode_of_its_week_with_what_that_day_brings_elsewhere() -> None:
    """Once, the level of the weeks around stood beside it, and an episode of a growing company said "more"."""
    rollups = counted_company(seed=6)
    rollups.outages = pd.DataFrame({"outage_date": [WEEKS[40] + pd.Timedelta(days=2)]})
    rollups.outage_weeks = pd.DataFrame(
        {
            "week_start": WEEKS[40],
            "compared_week": [WEEKS[39], WEEKS[41]],
            "active_days": [900, 940],
            "active_users": [100, 140],
        }
    )
    tables = brief_tables(rollups, NO_GROWTH)
    row = tables["decline_brief"].iloc[0]
    assert (row.kind, row.metric, row["shape"]) == ("measurement", "active_users", "episode")
    assert (row.since, row.until) == (WEEKS[40], WEEKS[41])
    actual = rollups.weekly_counts.query(
        "cell_kind == 'group' and week_start == @row.since"
    ).active_users.sum()
    assert (row.value_actual, row.value_expected) == (actual, actual + 120)
    assert (row.effect, row.lost_active_days) == (-120, 920)
    assert row.ci_low < row.effect < row.ci_high <= 0
    assert row.finding.startswith("No events were recorded on 15 Oct 2025: ")
    course = tables["finding_series"].query("rank == 1").set_index("week")
    assert course.expected[WEEKS[40]] - course.actual[WEEKS[40]] == 120
    assert (course.expected.drop(WEEKS[40]) == course.actual.drop(WEEKS[40])).all()


@pytest.mark.slow
def test_one_group_is_explained_as_if_it_were_the_whole_company() -> None:
    rollups = counted_company(
        seed=7, activity=lambda rows: np.where((rows.country == "US") & (rows.week >= SINCE), 0.6, 1.0)
    )
    tables = brief_tables(rollups, NO_GROWTH, group={"country": "US"})
    assert said(tables)[0][:4] == ("behaviour", "retention", {}, "down")


@pytest.mark.slow
def test_a_country_where_nobody_signs_up_any_more_is_named_though_its_last_weeks_are_empty() -> None:
    tables = explained(
        seed=5, signs_up=lambda person: (person.country != "BR") | (person.signup_week < SINCE - 10)
    )
    assert said(tables)[0] == ("acquisition", "signups", {"country": "BR"}, "down", WEEKS[SINCE - 10])
    row = tables["decline_brief"].iloc[0]
    assert row.value_actual == 0
    assert row.value_expected > 20


@pytest.mark.slow
def test_sessions_of_one_device_that_double_overnight_are_delivery() -> None:
    tables = explained(
        seed=6, sessions=lambda rows: np.where((rows.device == "phone") & (rows.week >= SINCE), 2.5, 1.0)
    )
    assert said(tables) == [("measurement", "sessions_per_day", {"main_device": "phone"}, "up", WEEKS[SINCE])]
    assert "whose main device is phone jumped up overnight" in tables["decline_brief"].finding[0]


@pytest.mark.slow
def test_reasons_of_users_outside_a_group_that_is_explained_do_not_count() -> None:
    """`why --segment` once ended in a traceback where a finding of the group was about cancellations."""
    rollups = counted_company(
        seed=12, activity=lambda rows: np.where((rows.device == "phone") & (rows.week >= SINCE), 0.5, 1.0)
    )
    panel = company_panel(rollups, {"country": "US"})  # type: ignore[arg-type]
    assert panel is not None
    measures = Measures(panel)
    story = story_of(measures, changes_of(measures, []))
    story = replace(story, findings=tuple(replace(each, also=("churn",)) for each in story.findings))
    reasons = pd.DataFrame(
        [
            (cell, week, "price" if (cell in panel.leaf_of.index) == (week >= WEEKS[SINCE]) else "unused", 40)
            for cell in rollups.group_cells.group_cell
            for week in WEEKS
        ],
        columns=["group_cell", "week_start", "churn_reason", "users"],
    )
    assert [each.churn_reason for each in with_reasons(story, panel, reasons).findings] == ["price"]
