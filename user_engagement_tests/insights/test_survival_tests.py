"""Survival compared: equal to lifelines, from counts instead of rows per user."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter
from lifelines.statistics import multivariate_logrank_test, proportional_hazard_test
from scipy import stats

from user_engagement.insights.survival_tests import hazard_ratios, log_rank, survival_tests, tenure_hazards


@pytest.fixture(scope="module")
def users() -> pd.DataFrame:
    """900 users of three products in whole days, with ties, censoring, and a hazard twice as high for one."""
    rng = np.random.default_rng(8)
    product = rng.choice(["basic", "plus", "pro"], 900, p=[0.5, 0.3, 0.2])
    stays = np.floor(rng.exponential(np.where(product == "basic", 60, 120)))
    observed = rng.integers(10, 200, 900)
    return pd.DataFrame(
        {
            "product_type": product,
            "days_since_signup": np.minimum(stays, observed).astype(int),
            "is_churned": stays <= observed,
        }
    )


@pytest.fixture(scope="module")
def cells(users: pd.DataFrame) -> pd.DataFrame:
    return (
        users.groupby(list(users.columns)).size().rename("users").reset_index().assign(churn_kind="declared")
    )


def test_the_log_rank_statistic_is_that_of_lifelines(users: pd.DataFrame, cells: pd.DataFrame) -> None:
    theirs = multivariate_logrank_test(users.days_since_signup, users.product_type, users.is_churned)
    ours = survival_tests(cells, ["product_type"]).iloc[0]
    assert ours.statistic == pytest.approx(theirs.test_statistic)
    assert ours.p_value == pytest.approx(theirs.p_value)
    assert (ours.degrees_of_freedom, ours.users, ours.churned) == (2, 900, users.is_churned.sum())


def test_one_group_has_nothing_to_be_compared_with() -> None:
    group, day = np.array(["a", "a"]), np.array([3, 5])
    assert log_rank(group, day, np.array([True, False]), np.array([2.0, 1.0])) == (0.0, 0)


def test_groups_without_any_churn_are_no_comparison() -> None:
    group, day = np.array(["a", "b"]), np.array([3, 5])
    assert log_rank(group, day, np.array([False, False]), np.array([2.0, 1.0])) == (0.0, 0)


def test_hazard_ratios_are_those_of_lifelines(users: pd.DataFrame, cells: pd.DataFrame) -> None:
    design = pd.get_dummies(users.product_type, dtype=float)[["plus", "pro"]]
    frame = design.assign(days=users.days_since_signup + 1, churned=users.is_churned)
    theirs = CoxPHFitter().fit(frame, "days", "churned")
    ours = hazard_ratios(cells, ["product_type"], seed=1).set_index("segment_value")
    assert list(ours.reference_value) == ["basic", "basic"]
    assert ours.hazard_ratio[["plus", "pro"]].to_numpy() == pytest.approx(theirs.hazard_ratios_, rel=1e-4)
    assert ours.p_value[["plus", "pro"]].to_numpy() == pytest.approx(theirs.summary.p, rel=1e-2)


def test_the_check_of_proportional_hazards_is_that_of_lifelines(cells: pd.DataFrame) -> None:
    """On days without ties, where all definitions of the residuals agree."""
    rng = np.random.default_rng(4)
    late = rng.random(400) < 0.5
    # the group's hazard is low at first and high later: not proportional
    days = np.where(late, rng.weibull(3, 400) * 100, rng.exponential(100, 400))
    days = np.argsort(np.argsort(days)) + 1
    frame = pd.DataFrame({"late": late.astype(float), "days": days, "churned": True})
    theirs = proportional_hazard_test(CoxPHFitter().fit(frame, "days", "churned"), frame, "rank")
    counts = pd.DataFrame(
        {
            "product_type": np.where(late, "late", "zz"),
            "days_since_signup": days - 1,
            "is_churned": True,
            "users": 1,
            "churn_kind": "declared",
        }
    )
    ours = hazard_ratios(counts, ["product_type"], seed=1).iloc[0]
    assert ours.proportionality_p_value < 1e-6
    assert np.log(ours.proportionality_p_value) == pytest.approx(np.log(theirs.p_value[0]), rel=0.05)


def test_a_value_without_churn_has_no_hazard_ratio(cells: pd.DataFrame) -> None:
    none = cells[cells.product_type == "pro"].assign(is_churned=False)
    table = hazard_ratios(pd.concat([cells[cells.product_type != "pro"], none]), ["product_type"], seed=1)
    assert set(table.segment_value) == {"plus"}


def test_users_of_a_value_without_churn_are_not_among_those_it_is_compared_with(
    users: pd.DataFrame, cells: pd.DataFrame
) -> None:
    none = cells[cells.product_type == "pro"].assign(is_churned=False)
    together = pd.concat([cells[cells.product_type != "pro"], none], ignore_index=True)
    ours = hazard_ratios(together, ["product_type"], seed=1).iloc[0]
    left = users[users.product_type != "pro"]
    frame = pd.DataFrame(
        {
            "plus": (left.product_type == "plus").astype(float),
            "days": left.days_since_signup + 1,
            "churned": left.is_churned,
        }
    )
    theirs = CoxPHFitter().fit(frame, "days", "churned")
    assert ours.hazard_ratio == pytest.approx(theirs.hazard_ratios_["plus"], rel=1e-4)
    assert (ours.segment_value, ours.reference_value) == ("plus", "basic")


def test_small_values_are_fitted_together_and_neither_told_nor_part_of_the_reference(
    users: pd.DataFrame,
) -> None:
    """Two small values that churn early; rare in two segments, they are one column and not two."""
    rare = pd.DataFrame(
        {
            "product_type": ["a", "b"] * 40,
            "days_since_signup": np.arange(80) // 2,
            "is_churned": np.arange(80) % 5 > 0,
        }
    )
    everyone = pd.concat([users, rare], ignore_index=True)
    is_rare = everyone.index >= len(users)
    everyone["country"] = np.where(is_rare, everyone.product_type, "DE")
    counts = everyone.assign(users=1, churn_kind="declared")
    ours = hazard_ratios(counts, ["product_type", "country"], seed=1).set_index("segment_value")
    design = pd.get_dummies(everyone.product_type, dtype=float)[["plus", "pro"]].assign(other=is_rare * 1.0)
    frame = design.assign(days=everyone.days_since_signup + 1, churned=everyone.is_churned)
    theirs = CoxPHFitter().fit(frame, "days", "churned")
    assert list(ours.index) == ["plus", "pro"]
    assert list(ours.reference_value) == ["basic", "basic"]
    assert ours.hazard_ratio.to_numpy() == pytest.approx(theirs.hazard_ratios_[["plus", "pro"]], rel=1e-3)
    assert ours.proportionality_p_value.notna().all()


def test_a_few_users_who_all_churned_before_anybody_else_do_not_spoil_the_ratios(
    users: pd.DataFrame,
) -> None:
    later = users.assign(days_since_signup=users.days_since_signup + 1)
    gone = pd.DataFrame({"product_type": ["rare"] * 5, "days_since_signup": 0, "is_churned": True})
    counts = pd.concat([later, gone], ignore_index=True).assign(users=1, churn_kind="declared")
    ours, without = (
        hazard_ratios(each, ["product_type"], seed=1)
        for each in (counts, counts[counts.product_type != "rare"])
    )
    pd.testing.assert_frame_equal(ours, without)


def test_where_nobody_churned_there_are_no_hazard_ratios(cells: pd.DataFrame) -> None:
    assert hazard_ratios(cells.assign(is_churned=False), ["product_type"], seed=1).empty


def test_tenure_hazards_pool_values_by_their_users_of_a_kind() -> None:
    """99 users are few, though their rows are repeated for each tenure and there are two kinds of churn."""
    one_kind = pd.DataFrame(
        {
            "product_type": ["large", "enough", "few"],
            "days_since_signup": 10,
            "is_churned": False,
            "users": [500, 100, 99],
        }
    )
    both = pd.concat([one_kind.assign(churn_kind=kind) for kind in ("declared", "inactive")])
    table = tenure_hazards(both.reset_index(drop=True), ["product_type"])
    assert set(table.segment_value) == {"all", "large", "enough", "other"}
    days = table[table.tenure == "0-6 days"].groupby("segment_value").user_days.unique()
    assert days["other"].tolist() == [99 * 7]
    assert days["all"].tolist() == [699 * 7]


def test_tenure_hazards_of_a_small_company_are_those_of_all_its_users() -> None:
    few = pd.DataFrame(
        {"churn_kind": ["declared"], "days_since_signup": [3], "is_churned": [True], "users": [2]}
    )
    assert set(tenure_hazards(few, []).segment_value) == {"all"}


def test_users_are_at_risk_from_signup_to_the_day_of_churn() -> None:
    cells = pd.DataFrame(
        {
            "churn_kind": "declared",
            "product_type": "basic",
            "days_since_signup": [0, 6, 30],
            "is_churned": [True, True, False],
            "users": [100, 2, 1],
        }
    )
    table = tenure_hazards(cells, ["product_type"]).query("segment_name == 'all'").set_index("tenure")
    # days 0 to 6: 100 x 1 + 2 x 7 + 7; days 7 to 27: 21 of the third; days 28 to 83: 3 of the third
    assert table.user_days.to_dict() == {"0-6 days": 121, "7-27 days": 21, "28-83 days": 3}
    assert table.churned.to_dict() == {"0-6 days": 102, "7-27 days": 0, "28-83 days": 0}
    assert table.hazard["0-6 days"] == pytest.approx(102 / 121 * 28)
    # none in t user-months: at most -ln(0.025) / t
    assert (table.ci_low["7-27 days"], table.ci_high["7-27 days"]) == pytest.approx(
        (0, -np.log(0.025) / (21 / 28))
    )
    assert table.ci_low["0-6 days"] == pytest.approx(stats.chi2.ppf(0.025, 204) / 2 / 121 * 28)
