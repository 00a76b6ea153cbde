from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from scipy import stats

from user_engagement.simulation import SimulationError, WorldConfig, growth, streams

DEFAULT = WorldConfig()
THROUGH = date(2026, 11, 30)


def test_the_expected_signups_until_the_reference_end_are_the_users_asked_for() -> None:
    assert growth.expected_signups(DEFAULT, THROUGH).sum() == pytest.approx(20_000)


def test_signups_scatter_around_the_expected_number_as_a_poisson_count() -> None:
    expected = growth.expected_signups(DEFAULT, THROUGH)
    drawn = growth.signups(DEFAULT, THROUGH)
    chi_square = ((drawn - expected) ** 2 / expected).sum()
    assert 0.001 < stats.chi2.cdf(chi_square, len(drawn)) < 0.999


@pytest.mark.parametrize("users", [1, 50, 20_000, 2_000_000])
def test_daily_signups_are_the_exact_poisson_quantiles_of_their_draws(users: int) -> None:
    config = replace(DEFAULT, users=users)
    expected = growth.expected_signups(config, THROUGH)
    keys = streams.numbered(streams.stream_key(config.seed, "signups"), np.arange(len(expected)))
    exact = stats.poisson.ppf(streams.uniform(keys), expected)
    assert growth.signups(config, THROUGH).tolist() == exact.tolist()


def test_signups_grow_by_the_monthly_rate_from_one_year_to_the_next() -> None:
    expected = growth.expected_signups(DEFAULT, THROUGH)
    weeks = 7 * 52
    in_a_year = expected[weeks : weeks + 84].sum() / expected[:84].sum()
    assert in_a_year == pytest.approx((1 + growth.MONTHLY_GROWTH) ** (weeks / 30.4375), rel=0.01)


def test_fewer_people_sign_up_at_weekends() -> None:
    drawn = growth.signups(DEFAULT, THROUGH)
    weekday, _ = growth.calendar(DEFAULT, len(drawn))
    assert weekday[0] == date(2025, 1, 1).weekday()
    assert drawn[weekday >= 5].mean() < 0.85 * drawn[weekday < 5].mean()


def test_a_later_horizon_leaves_the_signups_before_it_as_they_are() -> None:
    early = growth.signups(DEFAULT, date(2025, 3, 31))
    late = growth.signups(DEFAULT, date(2028, 3, 31))
    assert late[: len(early)].tolist() == early.tolist()


@pytest.mark.parametrize("through", [date(2024, 12, 31), date(2206, 11, 21)])
def test_a_day_that_no_world_reaches_is_refused_with_the_days_that_are_possible(through: date) -> None:
    with pytest.raises(
        SimulationError, match=rf"through {through}: choose a day from 2025-01-01 to 2034-12-31"
    ):
        DEFAULT.last_day_number(through)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"users": 0}, "users is 0"),
        ({"reference_end": date(2024, 1, 1)}, "reference_end 2024-01-01 is not after start 2025-01-01"),
        ({"country_shares": {"XX": 1.0}}, "country_shares has XX: the simulator knows US, GB"),
        ({"product_shares": {"basic": -1.0}}, "product_shares is"),
        ({"channel_shares": {}}, "channel_shares is"),
    ],
)
def test_a_configuration_that_makes_no_world_is_refused_by_the_name_of_its_field(
    change: dict, message: str
) -> None:
    with pytest.raises(SimulationError, match=message):
        replace(DEFAULT, **change)
