"""Since when: planted steps are dated, drifts and slow noise are no change, and one step is where ruptures puts it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import ruptures
from user_engagement.insights.change_points import (
    change_points,
    drift,
    scanned,
    session_series,
    steps,
    weekly_series,
)

WEEKS = 90


def cells(
    rates: np.ndarray,
    rng: np.random.Generator,
    users: int = 600,
    product: str = "basic",
    metric: str = "churn",
    tenure: str = "28-83 days",
) -> pd.DataFrame:
    """Weekly cells of one product, with binomial events at the given rates."""
    return pd.DataFrame(
        {
            "metric": metric,
            "week_start": pd.date_range("2024-01-01", periods=len(rates), freq="7D"),
            "tenure": tenure,
            "product_type": product,
            "exposure": users,
            "events": rng.binomial(users, rates),
        }
    )


def found(weekly_cells: pd.DataFrame, seed: int = 1) -> pd.DataFrame:
    table = change_points(weekly_series(weekly_cells, ["product_type"]), seed)
    return table.set_index(["metric", "segment_value", "against"])


def test_a_doubled_hazard_is_dated_to_the_week_with_both_its_levels() -> None:
    rates = np.where(np.arange(WEEKS) < 50, 0.03, 0.06)
    row = found(cells(rates, np.random.default_rng(1))).loc[("churn", "all", "own")]
    assert abs((row.change_week - pd.Timestamp("2024-12-16")).days) <= 7
    assert row.change_low <= row.change_week <= row.change_high
    assert (row.rate_before, row.rate_after) == pytest.approx((0.03, 0.06), rel=0.1)
    assert row.ci_low < 1 < row.ci_high
    assert row.is_significant


def test_drift_and_the_season_are_no_change() -> None:
    """Uncalibrated scans flagged nearly half of such series."""
    rng, alarms = np.random.default_rng(2), 0
    week = np.arange(WEEKS)
    rates = 0.05 * (1.6 - 0.8 * week / WEEKS) * (1 + 0.1 * np.cos(2 * np.pi * week / 52.18))
    for seed in range(40):
        alarms += found(cells(rates, rng), seed).p_value.iloc[0] < 0.05
    # 5 % of 40 is 2, and more than 7 would happen once in a thousand such tests
    assert alarms <= 7


def test_slow_noise_is_no_change() -> None:
    rng, alarms = np.random.default_rng(3), 0
    for seed in range(40):
        wander = np.zeros(WEEKS)
        for week in range(1, WEEKS):
            wander[week] = 0.95 * wander[week - 1] + rng.normal(0, 0.03)
        alarms += found(cells(0.05 * np.exp(wander), rng, users=4000), seed).p_value.iloc[0] < 0.05
    assert alarms <= 7


def test_an_ageing_population_is_no_change() -> None:
    """Old users leave less; that there are more of them from one week on does not change anybody's hazard."""
    rng = np.random.default_rng(4)
    older = np.where(np.arange(WEEKS) < 45, 0.2, 0.8)
    young = cells(np.full(WEEKS, 0.08), rng, tenure="0-6 days").assign(
        exposure=np.round(1000 * (1 - older)).astype(int)
    )
    old = cells(np.full(WEEKS, 0.02), rng).assign(exposure=np.round(1000 * older).astype(int))
    both = pd.concat([young, old], ignore_index=True)
    both["events"] = rng.binomial(both.exposure, np.where(both.tenure == "0-6 days", 0.08, 0.02))
    row = found(both).loc[("churn", "all", "own")]
    assert row.rate_before > 1.4 * row.rate_after
    assert not row.is_significant


def test_what_happens_to_everybody_does_not_date_a_groups_own_departure() -> None:
    rng = np.random.default_rng(5)
    week = np.arange(WEEKS)
    everybody = np.where(week < 70, 0.03, 0.09)
    own = everybody * np.where(week < 40, 1.0, 2.0)
    table = found(pd.concat([cells(everybody, rng, 2000), cells(own, rng, 2000, "pro")]))
    assert abs((table.loc[("churn", "pro", "others")].change_week - pd.Timestamp("2024-10-07")).days) <= 14
    assert abs((table.loc[("churn", "pro", "own")].change_week - pd.Timestamp("2025-05-05")).days) <= 14


def test_a_growing_share_of_signups_is_dated_to_the_beginning_of_its_rise() -> None:
    rng = np.random.default_rng(6)
    week = np.arange(WEEKS)
    share = np.interp(week, [30, 69], [0.1, 0.4])
    signups = rng.poisson(200, WEEKS)
    paid = rng.binomial(signups, share)
    parts = [
        cells(np.full(WEEKS, 0.5), rng, product=name, metric="activation", tenure="new").assign(
            exposure=users
        )
        for name, users in (("paid", paid), ("free", signups - paid))
    ]
    row = found(pd.concat(parts)).loc[("signup_share", "paid", "own")]
    assert abs((row.change_week - pd.Timestamp("2024-07-29")).days) <= 28
    assert row.relative_change > 1
    assert row.is_significant


def test_one_step_is_where_ruptures_puts_it() -> None:
    """With a constant as null model and equal weights, the scan is binary segmentation's first split."""
    rng = np.random.default_rng(7)
    shapes, starts = steps(WEEKS)
    for _ in range(20):
        z = 1 + rng.normal(0, 0.2, WEEKS) + 0.3 * (np.arange(WEEKS) >= rng.integers(15, 75))
        theirs = ruptures.Binseg(model="l2", min_size=8, jump=1).fit(z).predict(n_bkps=1)[0]
        ours = scanned(z, np.ones(WEEKS), np.ones((WEEKS, 1)), shapes, 0.0, np.random.default_rng(1))
        assert starts[ours.place] == theirs


def test_the_step_and_its_interval_are_those_of_least_squares() -> None:
    """On white noise the slow share is found to be small, and the interval that of ordinary regression."""
    statsmodels = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(8)
    z = 1 + rng.normal(0, 0.1, WEEKS) + 0.5 * (np.arange(WEEKS) >= 40)
    null, (shapes, starts) = drift(WEEKS, with_wave=True), steps(WEEKS)
    ours = scanned(z, np.ones(WEEKS), null, shapes, 0.0, np.random.default_rng(1))
    assert starts[ours.place] == 40
    fit = statsmodels.OLS(z, np.column_stack([null, shapes[:, ours.place]])).fit()
    assert ours.step == pytest.approx(fit.params[-1])
    low, high = fit.conf_int()[-1]
    assert low - 0.1 < ours.low <= low + 0.02
    assert high - 0.02 <= ours.high < high + 0.1


def test_short_and_sparse_series_are_left_out() -> None:
    rng = np.random.default_rng(9)
    short = cells(np.full(20, 0.05), rng)
    sparse = cells(np.full(WEEKS, 0.005), rng, users=500)
    assert found(short).empty
    assert found(sparse).empty


def test_sessions_are_counted_per_active_user_of_the_week() -> None:
    week = pd.Timestamp("2024-01-01")
    active = pd.DataFrame(
        {
            "metric": "sessions",
            "week_start": week,
            "tenure": ["new", "28-83 days"],
            "exposure": [10, 30],
            "events": 0,
        }
    )
    sessions = pd.DataFrame(
        {
            "week_start": week,
            "tenure": ["new", "28-83 days", "28-83 days"],
            "device_type": ["phone", "phone", "desktop"],
            "interaction_type": "view",
            "sessions": [120, 200, 300],
        }
    )
    table = session_series(active, sessions).set_index("segment_value")
    assert (table.events["phone"], table.exposure["phone"]) == (320, 40)
    assert (table.events["desktop"], table.exposure["desktop"]) == (300, 40)


def test_equal_seeds_give_equal_tables() -> None:
    weekly = cells(np.full(WEEKS, 0.05), np.random.default_rng(10))
    pd.testing.assert_frame_equal(found(weekly, 3), found(weekly, 3))
