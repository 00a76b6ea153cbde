from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from user_engagement.simulation import Dirt, SimulationError, Stories, WorldConfig, advance, truth
from user_engagement_tests.support.simulated_worlds import SMALL, database_rows, day, events_of

THROUGH = date(2026, 2, 28)
YEAR = WorldConfig(users=4_000, reference_end=date(2026, 3, 1), dirt=Dirt.none())


@pytest.mark.slow
def test_activity_ends_at_the_latent_churn_unless_the_user_returns() -> None:
    users = truth(YEAR, THROUGH).users.to_pandas().set_index("user_id")
    events = events_of(YEAR, THROUGH)
    on = events.engagement_date.dt.normalize()
    churn, returned, again = (
        pd.to_datetime(events.user_id.map(users[column]))
        for column in ("churn_date", "return_date", "second_churn_date")
    )
    last_day = churn - pd.to_timedelta(
        (events.user_id.map(users.churn_cause) == "silent").astype(int), unit="D"
    )
    in_first_spell = churn.isna() | (on <= last_day)
    in_second_spell = (on >= returned) & (again.isna() | (on < again))
    assert (in_first_spell | in_second_spell).all()
    assert (in_second_spell & ~in_first_spell).sum() > 500


def test_churn_is_the_earlier_of_silent_and_declared_churn() -> None:
    users = truth(YEAR, THROUGH).users.to_pandas()
    both = users[["silent_churn_date", "declared_churn_date"]].apply(pd.to_datetime)
    assert pd.to_datetime(users.churn_date).equals(both.min(axis=1))
    silent_first = both.silent_churn_date <= both.declared_churn_date.fillna(pd.Timestamp.max)
    assert (users.churn_cause == "silent").equals(silent_first)
    assert users.churn_cause.isna().equals(both.isna().all(axis=1))


def test_the_truth_has_one_row_for_each_user_and_knows_what_the_sources_lack(tmp_path: Path) -> None:
    advance(tmp_path, SMALL, day(99))
    users = truth(tmp_path, day(99)).users.to_pandas()
    rows = database_rows(tmp_path)
    assert users.user_id.tolist() == [row[0] for row in rows["users"]]
    assert users[["product_type", "acquisition_channel", "country"]].notna().all(axis=None)
    recorded = pd.Series([row[2] for row in rows["users"]])
    assert recorded.isin([None, ""]).any()
    assert (recorded.isin([None, ""]) | (recorded == users.product_type)).all()
    cancelled = users[pd.to_datetime(users.declared_churn_date) <= pd.Timestamp(day(99))]
    assert [(row[0], row[1][:10], row[2]) for row in rows["cancellations"]] == [
        (row.user_id, str(row.declared_churn_date), row.churn_reason) for row in cancelled.itertuples()
    ]


@pytest.mark.slow
def test_counterfactuals_are_the_worlds_that_would_have_been_without_a_story() -> None:
    """Counted anew from the events of the same world with the story switched off."""
    config = replace(YEAR, stories=Stories(price_change=None))
    found = {each.without: each for each in truth(config, THROUGH).counterfactuals}
    assert list(found) == ["none", "mobile_release", "channel_mix", "onboarding_change", "all"]
    for without, stories in {
        "none": config.stories,
        "onboarding_change": replace(config.stories, onboarding_change=None),
        "all": Stories.none(),
    }.items():
        events = events_of(replace(config, stories=stories), THROUGH)
        on = events.engagement_date.dt.normalize()
        weeks = on.between(
            "2026-01-26", "2026-02-22"
        )  # Mondays to Sundays; the 28th of February is a Saturday
        days = pd.DataFrame({"user": events.user_id[weeks], "day": on[weeks]}).drop_duplicates()
        week = days.day.dt.to_period("W-SUN")
        assert found[without].active_days == len(days) / 4
        assert found[without].weekly_active_users == days.groupby(week).user.nunique().mean()
    assert found["all"].active_days > found["onboarding_change"].active_days > found["none"].active_days


def test_a_later_day_adds_users_to_the_truth_and_changes_none() -> None:
    early = truth(SMALL, day(40)).users
    late = truth(SMALL, day(99)).users
    assert late.slice(0, early.num_rows).equals(early)


def test_the_truth_is_written_as_json_and_parquet(tmp_path: Path) -> None:
    config = replace(SMALL, stories=Stories(mobile_release=None))
    told = truth(config, day(99))
    stories, users = told.write(tmp_path / "truth")
    assert pq.read_table(users).equals(told.users)
    content = json.loads(stories.read_text())
    assert content["through"] == "2025-04-10"
    assert [story["story"] for story in content["stories"]] == [
        "channel_mix",
        "onboarding_change",
        "price_change",
    ]
    assert content["stories"][2] | {"cause": ""} == {
        "story": "price_change",
        "begins": "2026-03-02",
        "ends": None,
        "segment": {"product_type": "standard"},
        "measure": "hazard of declared churn per billing period",
        "size": 2.5,
        "cause": "",
    }


def test_the_truth_about_days_before_the_world_is_refused() -> None:
    with pytest.raises(SimulationError, match="cannot be simulated through 2024-12-31"):
        truth(SMALL, day(-1))
