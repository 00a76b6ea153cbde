"""The scan's statistics against statsmodels, simulated noise and cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from user_engagement.insights.names import EPISODE, STEP
from user_engagement.insights.shapes import (
    Noise,
    autoregressive,
    bank_of,
    fit_noise,
    fitted,
    shared_variance,
    simulated_tail,
    without_odd_weeks,
)

WEEKS = 60


def test_heights_and_t_are_those_of_generalised_least_squares() -> None:
    rng = np.random.default_rng(1)
    sampling = rng.uniform(0.001, 0.01, (2, WEEKS))
    covariance = Noise(1.2, 0.5, 0.9).covariance(sampling, np.array([0.002, 0.0]))
    base = np.column_stack([np.ones(WEEKS), np.sin(np.arange(WEEKS) / 9)])
    series, bank = rng.standard_normal((2, WEEKS)), bank_of(WEEKS)
    found = fitted(series, covariance, base, bank)
    for place in rng.choice(len(bank.since), 40, replace=False):
        for row in range(2):
            design = np.column_stack([base, bank.values[:, place]])
            peer = sm.GLS(series[row], design, sigma=covariance[row]).fit(
                cov_type="fixed scale", cov_kwds={"scale": 1}
            )
            if found.t[row, place] == 0:
                continue  # a shape that the base all but holds is not told apart from it
            assert found.height[row, place] == pytest.approx(peer.params[-1], rel=1e-6)
            assert found.error[row, place] == pytest.approx(peer.bse[-1], rel=1e-6)
            assert found.t[row, place] == pytest.approx(peer.tvalues[-1], rel=1e-6)


def test_a_planted_step_is_found_in_its_week_with_its_height() -> None:
    rng = np.random.default_rng(2)
    bank = bank_of(WEEKS)
    series = -0.4 * (np.arange(WEEKS) >= 41) + rng.normal(0, 0.05, WEEKS)
    found = fitted(series[None], 0.05**2 * np.eye(WEEKS)[None], np.ones((WEEKS, 1)), bank)
    best = int((found.t[0] ** 2 - bank.penalties).argmax())
    assert (bank.kinds[best], bank.since[best]) == (STEP, 41)
    assert found.height[0, best] == pytest.approx(-0.4, abs=4 * found.error[0, best])


def test_an_episode_is_found_with_both_of_its_ends() -> None:
    week = np.arange(WEEKS)
    series = -0.3 * ((week >= 30) & (week < 36)) + np.random.default_rng(3).normal(0, 0.04, WEEKS)
    bank = bank_of(WEEKS)
    found = fitted(series[None], 0.04**2 * np.eye(WEEKS)[None], np.ones((WEEKS, 1)), bank)
    best = int((found.t[0] ** 2 - bank.penalties).argmax())
    assert (bank.kinds[best], bank.since[best], bank.until[best]) == (EPISODE, 30, 36)


@pytest.mark.slow
def test_a_series_of_noise_is_as_extreme_as_its_simulated_p_value_says() -> None:
    """The tail is fitted to 2,000 draws; 20,000 others exceed the score of one in a thousand about as often."""
    rng = np.random.default_rng(4)
    covariance = Noise(1.0, 1.0, 0.9).covariance(np.full((1, WEEKS), 0.004), np.zeros(1))
    base, bank = np.ones((WEEKS, 1)), bank_of(WEEKS)
    tail = simulated_tail(covariance, base, bank, rng)
    drawn = rng.standard_normal((20_000, WEEKS)) @ np.linalg.cholesky(covariance[0]).T
    t = fitted(drawn, covariance, base, bank).t
    exceeding = (np.where(t != 0, t**2 - bank.penalties, -1).max(axis=1) > tail.score_at(0.001)).mean()
    # the draws behind the tail carry the uncertainty of the noise as well, so that it may be a little heavier
    assert 0.0001 < exceeding < 0.002
    assert tail.p_value(tail.score_at(0.001)) == pytest.approx(0.001)


def test_noise_that_persists_is_told_from_noise_that_does_not() -> None:
    rng = np.random.default_rng(5)
    sampling = np.full((60, 100), 0.01)
    white = rng.standard_normal((60, 100)) * 0.1
    lasting = rng.standard_normal((60, 100)) @ np.linalg.cholesky(autoregressive(100, 0.95)).T * 0.1
    alone, both = fit_noise(white, sampling), fit_noise(white + lasting, sampling)
    assert alone.ratio == 0
    assert alone.white == pytest.approx(1, abs=0.1)
    assert both.ratio == pytest.approx(1, abs=0.7)


def test_noise_that_a_group_shares_in_a_week_is_found_beyond_that_of_its_users() -> None:
    rng = np.random.default_rng(6)
    sampling, noise = np.full(400, 0.01), Noise(1.0, 0.0, 0.95)
    own = rng.normal(0, 0.1, 400)
    assert shared_variance(own, sampling, noise) < 0.004
    # differences of successive weeks show twice the variance of independent weeks
    assert shared_variance(own + rng.normal(0, 0.1, 400), sampling, noise) == pytest.approx(0.02, rel=0.5)


def test_few_counts_do_not_look_as_if_their_users_shared_something() -> None:
    expected = np.linspace(4, 8, 400)
    counts = np.random.default_rng(3).poisson(expected)
    series = np.log((counts + 0.5) / expected)
    assert shared_variance(series, 1 / expected, Noise(1.0, 0.0, 0.95)) == 0.0


def test_one_odd_week_is_no_change_but_the_last_two_weeks_stay() -> None:
    series = np.random.default_rng(7).normal(0, 0.01, (1, 50))
    series[0, 20], series[0, 49] = -2.0, -2.0
    clean = without_odd_weeks(series, np.ones((1, 50), dtype=bool))
    assert abs(clean[0, 20]) < 0.05
    assert clean[0, 49] == -2.0


def test_a_burst_that_fades_within_two_weeks_stays() -> None:
    """Users who are brought back come in one week, and some in the next."""
    series = np.random.default_rng(7).normal(0, 0.1, (1, 50))
    series[0, 20:22] = 1.6, 0.8
    assert without_odd_weeks(series, np.ones((1, 50), dtype=bool))[0, 20] == 1.6
