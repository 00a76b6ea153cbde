"""Mix and behaviour: they add up on any data, equal the brute-force Shapley value, and are what a hand computes."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from user_engagement.insights.decomposition import decompose, effects, resampled
from user_engagement_tests.support.cells import binary_cells


@st.composite
def two_periods(draw: st.DrawFn) -> tuple[np.ndarray, ...]:
    """Users and totals of two periods, and an outer value for each cell; nobody need be in any cell."""
    cells = draw(st.integers(1, 6))
    counts = npst.arrays(float, cells, elements=st.integers(0, 50).map(float))
    shares = npst.arrays(float, cells, elements=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]))
    users = draw(counts), draw(counts)
    totals = tuple(each * draw(shares) for each in users)
    outer = draw(npst.arrays(int, cells, elements=st.integers(0, 2)))
    return users[0], totals[0], users[1], totals[1], np.eye(3)[outer]


def arrays(*values: Any) -> tuple[np.ndarray, ...]:
    return tuple(np.array(value, dtype=float) for value in values)


ONE_VALUE = arrays([10], [4], [20], [3], [[1]])
NEW_VALUE = arrays([10, 0], [4, 0], [10, 30], [4, 3], [[1, 0], [0, 1]])
VANISHED_VALUE = arrays([10, 30], [4, 3], [10, 0], [4, 0], [[1, 0], [0, 1]])
ALL_RETAINED = arrays([10, 5], [10, 5], [3, 9], [3, 9], [[1, 0], [0, 1]])
NONE_RETAINED = arrays([10, 5], [0, 0], [3, 9], [0, 0], [[1, 0], [0, 1]])


@given(two_periods())
@example(ONE_VALUE)
@example(NEW_VALUE)
@example(VANISHED_VALUE)
@example(ALL_RETAINED)
@example(NONE_RETAINED)
def test_effects_add_up_to_the_change_on_any_data(periods: tuple[np.ndarray, ...]) -> None:
    users_0, total_0, users_1, total_1, outer = periods
    total = effects(users_0, total_0, users_1, total_1, outer).total()
    if users_0.sum() and users_1.sum():
        assert total == pytest.approx(total_1.sum() / users_1.sum() - total_0.sum() / users_0.sum(), abs=1e-9)
    else:
        assert np.isnan(total)


@given(two_periods())
def test_effects_of_one_dimension_are_the_brute_force_shapley_value(periods: tuple[np.ndarray, ...]) -> None:
    users_0, total_0, users_1, total_1, _ = periods
    if not users_0.sum() or not users_1.sum():
        return
    mix, behaviour = brute_force(users_0, total_0, users_1, total_1)
    found = effects(users_0, total_0, users_1, total_1, np.eye(len(users_0)))
    assert found.mix.sum() == pytest.approx(mix, abs=1e-9)
    assert found.behaviour.sum() == pytest.approx(behaviour, abs=1e-9)
    assert found.inner_mix == pytest.approx(0, abs=1e-9)


def brute_force(*periods: np.ndarray) -> tuple[float, float]:
    """Mean marginal effect over every order in which shares and rates could have changed."""
    users_0, total_0, users_1, total_1 = ([float(x) for x in each] for each in periods)
    rates: dict[str, list[list[float]]] = {"share": [[], []], "rate": [[], []]}
    for n0, y0, n1, y1 in zip(users_0, total_0, users_1, total_1, strict=True):
        r0 = y0 / n0 if n0 else (y1 / n1 if n1 else 0.0)
        r1 = y1 / n1 if n1 else r0
        rates["rate"][0].append(r0)
        rates["rate"][1].append(r1)
        rates["share"][0].append(n0 / sum(users_0))
        rates["share"][1].append(n1 / sum(users_1))
    added = {"share": 0.0, "rate": 0.0}
    orders = list(permutations(added))
    for order in orders:
        state = {"share": 0, "rate": 0}
        for factor in order:
            before = mean_at(rates, state)
            state[factor] = 1
            added[factor] += (mean_at(rates, state) - before) / len(orders)
    return added["share"], added["rate"]


def mean_at(factors: dict[str, list[list[float]]], state: dict[str, int]) -> float:
    shares, rates = factors["share"][state["share"]], factors["rate"][state["rate"]]
    return sum(s * r for s, r in zip(shares, rates, strict=True))


@given(two_periods())
def test_a_change_of_shares_alone_is_mix_alone(periods: tuple[np.ndarray, ...]) -> None:
    users_0, total_0, users_1, _, outer = periods
    if not users_0.sum() or not users_1.sum():
        return
    rate = np.divide(total_0, users_0, out=np.zeros_like(users_0), where=users_0 > 0)
    found = effects(users_0, total_0, users_1, np.where(users_0 > 0, rate, 0.3) * users_1, outer)
    assert found.behaviour == pytest.approx(0, abs=1e-12)


def test_nested_effects_are_those_worked_out_by_hand() -> None:
    # outer A has cells 1 and 2, outer B has cell 3; 100 users in each period
    users_0, total_0 = np.array([40.0, 40.0, 20.0]), np.array([20.0, 10.0, 2.0])
    users_1, total_1 = np.array([10.0, 30.0, 60.0]), np.array([6.0, 6.0, 6.0])
    found = effects(users_0, total_0, users_1, total_1, np.array([[1, 0], [1, 0], [0, 1]], dtype=float))
    # A: 0.8 of the users at 30/80 = 0.375, then 0.4 at 12/40 = 0.3; B: 0.2 at 0.1, then 0.6 at 0.1
    # mix of A and B: (0.4 - 0.8) x 0.3375 + (0.6 - 0.2) x 0.1 = -0.095
    assert found.mix.sum() == pytest.approx(-0.095)
    # within A (weight 0.6): shares 0.5, 0.5 to 0.25, 0.75; rates 0.5, 0.25 to 0.6, 0.2
    # inner mix 0.6 x (-0.25 x 0.55 + 0.25 x 0.225) = -0.04875; behaviour 0.6 x (0.375 x 0.1 - 0.625 x 0.05) = 0.00375
    assert found.inner_mix.sum() == pytest.approx(-0.04875)
    assert found.behaviour.sum() == pytest.approx(0.00375)
    assert found.total() == pytest.approx(0.18 - 0.32)


CELLS = binary_cells(
    [
        ("before", "basic", "organic", 800, 480),
        ("before", "pro", "paid", 200, 60),
        ("after", "basic", "organic", 500, 300),
        ("after", "pro", "paid", 500, 150),
    ]
)


def test_a_table_names_the_mix_of_each_value_and_its_share_of_the_change() -> None:
    table = decompose(CELLS, ["product_type"], seed=1).set_index(["effect", "segment_value"])
    # 0.54 to 0.45, all of it because half of the users are now on pro, with its rate of 0.3 rather than 0.6
    assert table.contribution["total", "all"] == pytest.approx(-0.09)
    assert table.contribution["mix", "all"] == pytest.approx(-0.09)
    assert table.share_of_change["mix", "all"] == pytest.approx(1)
    # relative to the mean of 0.495: basic lost 0.3 of the users at 0.6, pro won them at 0.3
    assert table.contribution["mix", "basic"] == pytest.approx(-0.3 * (0.6 - 0.495))
    assert table.contribution["mix", "pro"] == pytest.approx(0.3 * (0.3 - 0.495))
    assert table.share_after["mix", "pro"] == 0.5
    assert table.users_before["mix", "basic"] == 800
    assert table.contribution["behaviour", "all"] == pytest.approx(0, abs=1e-12)


def test_the_interval_of_a_change_is_that_of_two_independent_rates() -> None:
    table = decompose(CELLS, ["product_type"], seed=1, draws=4000)
    total = table[table.effect == "total"].iloc[0]
    # Wald: sqrt(0.54 x 0.46 / 1000 + 0.45 x 0.55 / 1000) x 1.96, 2 % tolerance for 4,000 draws' quantiles
    half = 1.959964 * np.sqrt((0.54 * 0.46 + 0.45 * 0.55) / 1000)
    assert (total.ci_high - total.ci_low) / 2 == pytest.approx(half, rel=0.05)


@pytest.mark.long
@pytest.mark.slow
def test_the_intervals_of_a_mean_cover_its_true_change_in_95_of_100_samples() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for sample in range(200):
        rows = []
        for period, mean in (("before", 4.0), ("after", 5.0)):
            days = rng.geometric(1 / mean, 300)
            rows.append((period, 300, days.sum(), (days**2).sum()))
        cells = pd.DataFrame(rows, columns=["period", "users", "total", "squares"])
        cells = cells.assign(metric="frequency", product_type="basic")
        total = decompose(cells, ["product_type"], seed=sample, draws=200).iloc[0]
        covered += total.ci_low <= 1.0 <= total.ci_high
    # 95 % of 200 is 190, give or take three standard errors of 3.1, and quantiles of 200 draws are narrow by a bit
    assert 178 <= covered <= 199


def test_a_period_without_users_has_no_decomposition() -> None:
    assert decompose(CELLS[CELLS.period == "after"], ["product_type"], seed=1).empty


def test_new_users_are_not_decomposed_by_what_is_not_known_of_them() -> None:
    table = decompose(CELLS.assign(metric="activation"), ["product_type", "main_device", "tenure"], seed=1)
    assert set(table.dimension) == {"product_type"}


def test_ordered_pairs_are_nested_both_ways_and_each_adds_up() -> None:
    table = decompose(CELLS, ["product_type", "acquisition_channel"], seed=1)
    pairs = table[table.inner_dimension.notna()]
    assert set(zip(pairs.dimension, pairs.inner_dimension, strict=True)) == {
        ("product_type", "acquisition_channel"),
        ("acquisition_channel", "product_type"),
    }
    for _, pair in pairs.groupby("dimension"):
        parts = pair.set_index("effect").contribution
        assert parts["mix"] + parts["inner_mix"] + parts["behaviour"] == pytest.approx(
            parts["total"], abs=1e-12
        )


def test_equal_seeds_give_equal_tables() -> None:
    first, second, other = (decompose(CELLS, ["product_type"], seed) for seed in (3, 3, 4))
    pd.testing.assert_frame_equal(first, second)
    assert not first.ci_low.equals(other.ci_low)


def test_bootstrap_samples_have_the_moments_of_the_users() -> None:
    users, total, squares = np.array([100.0, 300.0]), np.array([250.0, 900.0]), np.array([900.0, 4000.0])
    drawn, sums = resampled(users, total, squares, 20_000, np.random.default_rng(2))
    assert drawn.sum(axis=1) == pytest.approx(400)
    assert drawn.mean(axis=0) == pytest.approx(users, rel=0.01)
    assert sums.mean(axis=0) == pytest.approx(total, rel=0.01)
    # a sum over N users, N binomial: p of the squares less the square of p times the mean
    assert sums.var(axis=0) == pytest.approx(squares - total**2 / 400, rel=0.05)
