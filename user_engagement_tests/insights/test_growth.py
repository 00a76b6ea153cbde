"""Acquisition or loss: the flows add up exactly, and are those counted by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from user_engagement.insights.growth import growth_change

PERIODS = pd.DataFrame(
    {
        "period": ["before", "after"],
        "first_day": ["2024-01-01", "2024-01-15"],
        "last_day": ["2024-01-14", "2024-01-28"],
    }
)
# active, new, resurrected, churned of four weeks from Monday 2024-01-01
WEEKS = [(10, 10, 0, 0), (12, 5, 0, 3), (9, 1, 2, 6), (11, 4, 1, 3)]


def accounting(weeks: list[tuple[int, int, int, int]]) -> pd.DataFrame:
    columns = ["active_users", "new_users", "resurrected_users", "churned_users"]
    table = pd.DataFrame(weeks, columns=columns)
    starts = pd.date_range("2024-01-01", periods=len(weeks), freq="7D")
    return table.assign(
        period_start=starts, period_kind="week", segment_name="all", segment_value="all", is_complete=True
    )


def test_the_change_is_new_and_resurrected_less_churned_users() -> None:
    row = growth_change(accounting(WEEKS), PERIODS).iloc[0]
    assert (row.active_before, row.active_after, row.change) == (12, 11, -1)
    # of the two weeks after the one of 2024-01-08
    assert (row.new_users, row.resurrected_users, row.churned_users) == (5, 3, 9)
    assert row.change == row.new_users + row.resurrected_users - row.churned_users


def test_flows_are_means_of_each_period_and_name_the_main_driver() -> None:
    row = growth_change(accounting(WEEKS), PERIODS).iloc[0]
    assert (row.new_per_week_before, row.new_per_week_after) == (7.5, 2.5)
    assert (row.churned_per_week_before, row.churned_per_week_after) == (1.5, 4.5)
    assert row.main_driver == "new"


def test_the_loss_rate_is_over_those_who_could_leave() -> None:
    row = growth_change(accounting(WEEKS), PERIODS).iloc[0]
    # before: 3 of the 10 of the first week; after: 6 of 12 and 3 of 9
    assert row.loss_rate_before == pytest.approx(0.3)
    assert row.loss_rate_after == pytest.approx(9 / 21)
    assert row.loss_rate_change == pytest.approx(9 / 21 - 0.3)
    assert row.ci_low < 0 < row.ci_high


def test_months_are_not_weeks() -> None:
    months = accounting(WEEKS).assign(period_kind="month", active_users=1000)
    both = pd.concat([accounting(WEEKS), months])
    pd.testing.assert_frame_equal(growth_change(both, PERIODS), growth_change(accounting(WEEKS), PERIODS))
