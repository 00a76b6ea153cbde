"""First-week behaviours: the same numbers as statsmodels and as published formulas worked out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.contingency_tables import StratifiedTable
from statsmodels.stats.proportion import confint_proportions_2indep

from user_engagement.insights.first_week import (
    cochran_mantel_haenszel,
    first_week,
    first_week_retention,
    mantel_haenszel,
)

# behaviour, cell: users and retained of three strata, everybody and those who did it
CELLS = pd.DataFrame(
    [
        ("all", 1, 100, 50),
        ("all", 2, 80, 20),
        ("all", 3, 10, 9),
        ("2 or more active days", 1, 40, 30),
        ("2 or more active days", 2, 30, 12),
        ("used rare", 3, 5, 5),
    ],
    columns=["behaviour", "segment_cell", "users", "retained"],
).assign(signup_month=pd.Timestamp("2024-01-01"))


def test_groups_are_those_who_did_it_and_all_the_others() -> None:
    row = first_week(CELLS).iloc[0]
    assert (row.users_with, row.retained_with) == (70, 42)
    assert (row.users_without, row.retained_without) == (120, 37)
    assert row.rate_with - row.rate_without == pytest.approx(row.difference)


def test_the_interval_is_newcombes() -> None:
    row = first_week(CELLS).iloc[0]
    low, high = confint_proportions_2indep(42, 70, 37, 120, method="newcomb", compare="diff")
    assert (row.ci_low, row.ci_high) == pytest.approx((low, high))


def test_the_adjusted_difference_is_that_of_mantel_and_haenszel() -> None:
    row = first_week(CELLS).iloc[0]
    # strata 1 and 2 have both groups; weights 40 x 60 / 100 = 24 and 30 x 50 / 80 = 18.75
    differences = 30 / 40 - 20 / 60, 12 / 30 - 8 / 50
    assert row.adjusted_difference == pytest.approx((24 * differences[0] + 18.75 * differences[1]) / 42.75)
    assert row.adjusted_low < row.adjusted_difference < row.adjusted_high


def test_the_test_is_that_of_statsmodels() -> None:
    tables = [np.array([[30, 10], [20, 40]]), np.array([[12, 18], [8, 42]])]
    expected = StratifiedTable(tables).test_null_odds(correction=False).pvalue
    counts = np.array([30.0, 12]), np.array([40.0, 30]), np.array([20.0, 8]), np.array([60.0, 50])
    assert cochran_mantel_haenszel(*counts) == pytest.approx(expected)


def test_what_too_few_did_is_left_out() -> None:
    assert set(first_week(CELLS).behaviour) == {"2 or more active days"}


def test_findings_are_labelled_as_association() -> None:
    assert set(first_week(CELLS).reading) == {"association"}


def test_without_anybody_there_is_nothing_to_say() -> None:
    assert first_week(CELLS.iloc[:0]).empty


def test_confounding_by_segment_is_adjusted_for() -> None:
    """In each stratum the behaviour makes no difference; it is merely commoner where more stay."""
    a, n1 = np.array([80.0, 10.0]), np.array([100.0, 100.0])
    c, n0 = np.array([8.0, 90.0]), np.array([10.0, 900.0])
    adjusted, _ = mantel_haenszel(a, n1, c, n0)
    assert a.sum() / n1.sum() - c.sum() / n0.sum() > 0.3
    assert adjusted == pytest.approx(0, abs=1e-12)


def test_the_adjusted_interval_covers_the_true_difference_in_95_of_100_samples() -> None:
    rng = np.random.default_rng(3)
    n1, n0, base = np.array([60.0, 200, 40]), np.array([90.0, 50, 100]), np.array([0.2, 0.5, 0.6])
    covered = 0
    for _ in range(400):
        found, error = mantel_haenszel(
            rng.binomial(n1.astype(int), base + 0.1), n1, rng.binomial(n0.astype(int), base), n0
        )
        covered += abs(found - 0.1) <= 1.96 * error
    # 380, give or take three standard errors of 4.4
    assert 366 <= covered <= 394


def test_curves_are_of_those_with_a_behaviour_and_of_the_others() -> None:
    counts = pd.DataFrame(
        [("all", 1, 100, 50), ("all", 2, 80, 20), ("searched", 1, 40, 30), ("searched", 2, 30, 15)],
        columns=["behaviour", "week_number", "eligible_users", "retained_users"],
    )
    found = first_week_retention(counts).set_index(["behaviour", "showed_it", "week_number"])
    assert found.retention_rate["searched", True, 2] == 0.5
    assert tuple(found.loc[("searched", False, 1), ["eligible_users", "retained_users"]]) == (60, 20)
    assert found.retention_rate["all", True, 2] == 0.25
    assert len(found) == 6
    # 15 of 30 users: exact, as in tables of Clopper and Pearson
    assert found.loc[("searched", True, 2), "ci_low"] == pytest.approx(0.3130, abs=1e-4)
    assert found.loc[("searched", True, 2), "ci_high"] == pytest.approx(0.6870, abs=1e-4)
