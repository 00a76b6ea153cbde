"""Churn under several definitions, from counts that can be added up by hand."""

from __future__ import annotations

import pandas as pd
import pytest
from statsmodels.stats.proportion import proportion_confint

from user_engagement.insights.sensitivity import churn_sensitivity

LAPSES = pd.DataFrame(
    [(28, 1, 100, 40, 30, 6, 12), (28, 2, 50, 10, 10, 0, 1), (60, 1, 80, 20, 0, 0, 0)],
    columns=[
        *("inactivity_days", "segment_cell", "users", "churned_users", "followed_users"),
        *("returned_users", "ever_returned_users"),
    ],
)
SEGMENTS = pd.DataFrame(
    [(1, "all", "all"), (2, "all", "all"), (1, "product_type", "pro"), (2, "product_type", "basic")],
    columns=["segment_cell", "segment_name", "segment_value"],
)


def test_cells_are_added_up_per_definition_and_segment() -> None:
    table = churn_sensitivity(LAPSES, SEGMENTS).set_index(["inactivity_days", "segment_value"])
    everybody = table.loc[(28, "all")]
    assert (everybody.users, everybody.churned_users, everybody.ever_returned_users) == (150, 50, 13)
    assert (everybody.churn_rate, everybody.return_rate) == pytest.approx((50 / 150, 6 / 40))
    assert (everybody.ci_low, everybody.ci_high) == pytest.approx(
        proportion_confint(50, 150, method="wilson")
    )
    assert table.loc[(28, "basic")].return_rate == 0


def test_churners_who_could_not_be_followed_have_no_return_rate() -> None:
    table = churn_sensitivity(LAPSES, SEGMENTS).set_index(["inactivity_days", "segment_value"])
    assert pd.isna(table.loc[(60, "all")].return_rate)
