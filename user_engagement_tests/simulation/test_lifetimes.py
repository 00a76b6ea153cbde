from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
from lifelines import KaplanMeierFitter
from scipy import stats

from user_engagement.simulation import Stories, WorldConfig, declared_survival, lifetimes, truth
from user_engagement.simulation.config import CHANNELS, PRODUCTS
from user_engagement.simulation.population import MEAN_RATE, RATE_SHAPE, population
from user_engagement.simulation.stories import PAID_CHANNEL

THROUGH = date(2026, 11, 21)
UNTOUCHED = WorldConfig(users=60_000, stories=Stories.none())


def test_kaplan_meier_of_declared_churn_recovers_the_closed_form_of_each_product() -> None:
    for product, users in truth(UNTOUCHED, THROUGH).users.to_pandas().groupby("product_type"):
        curve = _kaplan_meier(users, "declared_churn_date")
        days = np.array([30, 60, 90, 180, 360, 540])
        estimated = curve.survival_function_at_times(days).to_numpy()
        assert estimated == pytest.approx(declared_survival(str(product), days), abs=0.012)


@pytest.mark.long
@pytest.mark.slow
def test_the_95_percent_interval_of_kaplan_meier_holds_the_truth_about_95_times_in_100() -> None:
    days = 180
    held = 0
    for seed in range(200):
        config = replace(UNTOUCHED, seed=seed, users=300, product_shares={"standard": 1.0})
        curve = _kaplan_meier(truth(config, THROUGH).users.to_pandas(), "declared_churn_date")
        interval = curve.confidence_interval_survival_function_
        low, high = interval[interval.index <= days].iloc[-1]
        held += low <= declared_survival("standard", np.array([days]))[0] <= high
    assert stats.binomtest(held, 200, 0.95).pvalue > 0.001


def test_the_hazard_of_declared_churn_decreases_with_tenure() -> None:
    for product in PRODUCTS:
        at_renewal = declared_survival(product, np.arange(0, 1080, 30))
        retention = at_renewal[1:] / at_renewal[:-1]
        assert (np.diff(retention) > 0).all()


def test_silent_lifetimes_are_pareto_distributed_around_the_scale_of_their_group() -> None:
    users = population(UNTOUCHED, THROUGH)
    group = (
        (users.product == PRODUCTS.index("standard"))
        & users.activated
        & (users.channel != CHANNELS.index(PAID_CHANNEL))
    )
    stay = (users.silent_day - users.signup_day)[group]
    scale = lifetimes.DROPOUT_SCALE["standard"]
    for days in (7, 30, 90, 365):
        expected = (scale / (scale + days)) ** lifetimes.DROPOUT_SHAPE
        assert np.mean(stay >= days) == pytest.approx(expected, abs=0.012)


def test_users_of_the_paid_channel_and_users_who_are_not_activated_stay_shorter() -> None:
    users = population(UNTOUCHED, THROUGH)
    stay = users.silent_day - users.signup_day
    paid = users.channel == CHANNELS.index(PAID_CHANNEL)
    assert np.median(stay[paid]) < 0.35 * np.median(stay[~paid])
    assert np.median(stay[~users.activated]) < 0.35 * np.median(stay[users.activated])


def test_rates_of_activity_are_gamma_distributed() -> None:
    users = population(UNTOUCHED, THROUGH)
    rate = users.rate[users.product == PRODUCTS.index("premium")]
    assert stats.kstest(rate, "gamma", args=(RATE_SHAPE, 0, MEAN_RATE["premium"] / RATE_SHAPE)).pvalue > 0.001


def test_some_silent_users_and_fewer_cancelled_ones_come_back_after_five_weeks_or_more() -> None:
    users = truth(UNTOUCHED, THROUGH).users.to_pandas()
    silent, declared = (users[users.churn_cause == cause] for cause in ("silent", "declared"))
    assert silent.return_date.notna().mean() == pytest.approx(lifetimes.RETURN_AFTER_SILENCE, abs=0.01)
    assert declared.return_date.notna().mean() == pytest.approx(lifetimes.RETURN_AFTER_CANCELLING, abs=0.01)
    absent = pd.to_datetime(silent.return_date) - pd.to_datetime(silent.churn_date)
    assert absent.min() >= pd.Timedelta(days=lifetimes.SHORTEST_ABSENCE)


def test_nobody_churns_on_the_day_of_signup_and_reasons_go_with_cancellations() -> None:
    users = truth(UNTOUCHED, THROUGH).users.to_pandas()
    assert not (pd.to_datetime(users.churn_date) <= pd.to_datetime(users.signup_date)).any()
    assert (users.churn_reason.notna() == users.declared_churn_date.notna()).all()


def _kaplan_meier(users: pd.DataFrame, column: str) -> KaplanMeierFitter:
    """Days from signup to the date in `column`, right-censored at THROUGH."""
    signup, ended = pd.to_datetime(users.signup_date), pd.to_datetime(users[column])
    observed = ended <= pd.Timestamp(THROUGH)
    until = ended.where(observed, pd.Timestamp(THROUGH))
    return KaplanMeierFitter().fit((until - signup).dt.days, observed)
