"""The default world of 20,000 users against the same world without one story, or without any."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
from lifelines.statistics import logrank_test
from scipy import stats

from user_engagement.simulation import (
    ChannelMix,
    Dirt,
    MobileRelease,
    OnboardingChange,
    PriceChange,
    SimulationError,
    Stories,
    WorldConfig,
    truth,
)
from user_engagement.simulation.stories import PAID_CHANNEL
from user_engagement_tests.support.simulated_worlds import events_of

THROUGH = date(2026, 11, 21)
WITHOUT_ANY = WorldConfig(dirt=Dirt.none(), stories=Stories.none())
RELEASE, MIX, ONBOARDING, PRICE = MobileRelease(), ChannelMix(), OnboardingChange(), PriceChange()


def _with(**stories: object) -> WorldConfig:
    return replace(WITHOUT_ANY, stories=replace(Stories.none(), **stories))


@pytest.fixture(scope="module")
def untold() -> pd.DataFrame:
    return events_of(WITHOUT_ANY, THROUGH)


@pytest.fixture(scope="module")
def untold_users() -> pd.DataFrame:
    return _users(WITHOUT_ANY)


def _users(config: WorldConfig) -> pd.DataFrame:
    users = truth(config, THROUGH).users.to_pandas()
    dates = [name for name in users.columns if name.endswith("_date")]
    return users.assign(**{name: pd.to_datetime(users[name]) for name in dates})


@pytest.mark.slow
def test_the_mobile_release_takes_phone_sessions_from_its_day_on_and_nothing_else(
    untold: pd.DataFrame,
) -> None:
    told = events_of(_with(mobile_release=RELEASE), THROUGH)
    lost = untold[~untold.event_id.isin(told.event_id)]
    assert set(told.event_id) < set(untold.event_id)
    assert set(lost.device_type) == {"phone"}
    assert lost.engagement_date.min().date() >= RELEASE.begins
    touched = (untold.device_type == "phone") & (untold.engagement_date >= pd.Timestamp(RELEASE.begins))
    assert stats.binomtest(len(lost), int(touched.sum()), RELEASE.session_cut).pvalue > 0.001
    assert touched.sum() > 50_000


@pytest.mark.slow
def test_the_share_of_the_paid_channel_grows_as_planted_and_only_its_users_are_others(
    untold: pd.DataFrame, untold_users: pd.DataFrame
) -> None:
    config = _with(channel_mix=MIX)
    users = _users(config)
    before, after = (
        users.signup_date < pd.Timestamp(MIX.begins),
        users.signup_date >= pd.Timestamp(MIX.ends),
    )
    paid = users.acquisition_channel == PAID_CHANNEL
    assert paid[before].mean() == pytest.approx(0.06, abs=0.012)
    assert stats.binomtest(int(paid[after].sum()), int(after.sum()), MIX.share).pvalue > 0.001
    moved = users.acquisition_channel != untold_users.acquisition_channel
    assert set(users.acquisition_channel[moved]) == {PAID_CHANNEL}
    unmoved = users.user_id[~moved]
    told = events_of(config, THROUGH)
    assert _of(told, unmoved).equals(_of(untold, unmoved))


def test_users_of_the_paid_channel_are_retained_less_than_others(
    untold: pd.DataFrame, untold_users: pd.DataFrame
) -> None:
    old_enough = _signed_up_before(untold_users, date(2026, 7, 21))
    retained = _active_between(untold, old_enough, 90, 119)
    paid = (old_enough.acquisition_channel == PAID_CHANNEL).to_numpy()
    assert retained[paid].mean() < 0.65 * retained[~paid].mean()
    assert stats.mannwhitneyu(retained[paid], retained[~paid])[1] < 1e-6


@pytest.mark.slow
def test_the_onboarding_change_lowers_week_1_activation_of_later_signups_only(
    untold: pd.DataFrame, untold_users: pd.DataFrame
) -> None:
    config = _with(onboarding_change=ONBOARDING)
    users, told = _users(config), events_of(config, THROUGH)
    later = (users.signup_date >= pd.Timestamp(ONBOARDING.begins)).to_numpy()
    factor = users.activated[later].mean() / untold_users.activated[later].mean()
    assert factor == pytest.approx(1 - ONBOARDING.activation_cut, abs=0.03)
    earlier = users.user_id[~later]
    assert _of(told, earlier).equals(_of(untold, earlier))
    visible = _two_active_days_in_the_first_week(told, users)
    invisible = _two_active_days_in_the_first_week(untold, untold_users)
    assert visible[later].mean() < 0.75 * invisible[later].mean()
    assert visible[~later].tolist() == invisible[~later].tolist()


def test_week_1_activation_drives_retention(untold: pd.DataFrame, untold_users: pd.DataFrame) -> None:
    old_enough = _signed_up_before(untold_users, date(2026, 9, 21))
    activated = _two_active_days_in_the_first_week(untold, old_enough)
    retained = _active_between(untold, old_enough, 30, 59)
    assert retained[activated].mean() > 1.6 * retained[~activated].mean()


def test_the_price_change_raises_declared_churn_of_its_product_only(untold_users: pd.DataFrame) -> None:
    users = _users(_with(price_change=PRICE))
    touched = users.product_type == PRICE.product_type
    assert users[~touched].equals(untold_users[~touched])
    at_risk = touched & ~(untold_users.declared_churn_date < pd.Timestamp(PRICE.begins))
    told, untold = (_exposed(each.loc[at_risk]) for each in (users, untold_users))
    assert logrank_test(told.days, untold.days, told.churned, untold.churned).p_value < 1e-12
    factor = (told.churned.sum() / told.days.sum()) / (untold.churned.sum() / untold.days.sum())
    assert factor == pytest.approx(PRICE.hazard_factor, rel=0.2)
    earlier = untold_users.declared_churn_date < pd.Timestamp(PRICE.begins)
    assert users[earlier].declared_churn_date.equals(untold_users[earlier].declared_churn_date)


def test_the_added_cancellations_of_the_price_change_name_the_price() -> None:
    users = _users(_with(price_change=PRICE))
    since = users[users.declared_churn_date.between(pd.Timestamp("2026-05-01"), pd.Timestamp(THROUGH))]
    names_price = (since.churn_reason == "too_expensive").groupby(since.product_type).mean()
    assert names_price[PRICE.product_type] > 0.55
    assert names_price.drop(PRICE.product_type).max() < 0.25


@pytest.mark.long
@pytest.mark.slow
def test_signups_grow_and_engagement_per_active_user_falls_but_stays_level_without_the_stories(
    untold: pd.DataFrame,
) -> None:
    config = replace(WITHOUT_ANY, stories=Stories())
    told = _sessions_per_active_user(events_of(config, THROUGH))
    level = _sessions_per_active_user(untold)
    signups = _users(config).signup_date.dt.to_period("Q").value_counts()
    assert signups[pd.Period("2026Q3")] > 1.4 * signups[pd.Period("2025Q3")]
    assert told["2026-09"] < 0.8 * told["2025-09"]
    assert level["2026-09"] == pytest.approx(level["2025-09"], rel=0.06)


def test_planted_stories_are_told_in_the_order_in_which_they_begin() -> None:
    planted = Stories().planted()
    assert [story.story for story in planted] == [
        "channel_mix",
        "onboarding_change",
        "price_change",
        "mobile_release",
    ]
    assert replace(Stories(), channel_mix=None).planted() == planted[1:]
    assert Stories.none().planted() == []


@pytest.mark.parametrize(
    ("story", "wrong", "message"),
    [
        (MobileRelease, {"session_cut": 1.5}, "stories.mobile_release.session_cut is 1.5"),
        (ChannelMix, {"share": -0.1}, "stories.channel_mix.share is -0.1"),
        (ChannelMix, {"ends": date(2025, 1, 1)}, "ends 2025-01-01 is not after begins 2025-07-01"),
        (OnboardingChange, {"activation_cut": 2.0}, "stories.onboarding_change.activation_cut is 2.0"),
        (PriceChange, {"hazard_factor": 0.5}, "stories.price_change.hazard_factor is 0.5"),
    ],
)
def test_a_story_of_impossible_size_is_refused_by_its_name(story: type, wrong: dict, message: str) -> None:
    with pytest.raises(SimulationError, match=message):
        story(**wrong)


def test_a_price_change_of_an_unknown_product_is_refused() -> None:
    with pytest.raises(
        SimulationError, match="product_type is 'gold': choose one of basic, standard, premium"
    ):
        _with(price_change=PriceChange(product_type="gold"))


def _of(events: pd.DataFrame, user_ids: pd.Series) -> pd.DataFrame:
    return events.loc[events.user_id.isin(user_ids)].sort_values(by="event_id", ignore_index=True)


def _signed_up_before(users: pd.DataFrame, end: date) -> pd.DataFrame:
    return users.loc[users.signup_date < pd.Timestamp(end)]


def _days_since_signup(events: pd.DataFrame, users: pd.DataFrame) -> pd.Series:
    signup = events.user_id.map(users.set_index("user_id").signup_date)
    return (events.engagement_date.dt.normalize() - signup).dt.days


def _active_between(events: pd.DataFrame, users: pd.DataFrame, first: int, last: int) -> np.ndarray:
    """For each user, whether a session took place `first` to `last` days after signup."""
    inside = _days_since_signup(events, users).between(first, last)
    return users.user_id.isin(events.user_id[inside]).to_numpy()


def _two_active_days_in_the_first_week(events: pd.DataFrame, users: pd.DataFrame) -> np.ndarray:
    since = _days_since_signup(events, users)
    in_week_1 = events.assign(since=since)[since.between(0, 6)]
    active_days = in_week_1.groupby("user_id").since.nunique()
    return (users.user_id.map(active_days).fillna(0) >= 2).to_numpy()


def _exposed(users: pd.DataFrame) -> pd.DataFrame:
    """Days from the price change (or a later signup) to cancellation, censored at THROUGH."""
    since = users.signup_date.clip(lower=pd.Timestamp(PRICE.begins))
    churned = users.declared_churn_date <= pd.Timestamp(THROUGH)
    until = users.declared_churn_date.where(churned, pd.Timestamp(THROUGH))
    return pd.DataFrame({"days": (until - since).dt.days, "churned": churned})


def _sessions_per_active_user(events: pd.DataFrame) -> dict[str, float]:
    by_month = events.groupby(events.engagement_date.dt.strftime("%Y-%m")).user_id
    return (by_month.size() / by_month.nunique()).to_dict()
