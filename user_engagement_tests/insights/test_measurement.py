"""Days without any event, put together to outages."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest

from user_engagement.insights.measurement import outages_of

WEEKS = pd.date_range("2026-01-05", periods=12, freq="7D")
NOTHING = pd.DataFrame({"week_start": [], "compared_week": [], "active_days": [], "active_users": []})


def days(*dates: date) -> pd.DataFrame:
    return pd.DataFrame({"outage_date": dates})


def test_days_that_follow_each_other_or_share_a_week_are_one_outage_of_the_weeks_that_they_touch() -> None:
    lost = days(date(2026, 2, 9), date(2026, 1, 11), date(2026, 1, 12), date(2026, 2, 12))
    first, second = outages_of(lost, NOTHING, WEEKS)
    assert (first.days, first.since, first.until) == (
        (pd.Timestamp(2026, 1, 11), pd.Timestamp(2026, 1, 12)),
        0,
        2,
    )
    assert (second.days, second.since, second.until) == (
        (pd.Timestamp(2026, 2, 9), pd.Timestamp(2026, 2, 12)),
        5,
        6,
    )


def test_what_an_outage_lost_is_the_mean_of_the_weeks_that_it_is_compared_with() -> None:
    compared = pd.DataFrame(
        {
            "week_start": [date(2026, 1, 5)] * 2,
            "compared_week": [date(2026, 1, 12), date(2026, 1, 19)],
            "active_days": [30, 50],
            "active_users": [4, 8],
        }
    )
    (outage,) = outages_of(days(date(2026, 1, 11), date(2026, 1, 12)), compared, WEEKS)
    assert outage.missing["active_days"] == pytest.approx(np.array([[40, 0], [np.sqrt(200), 0]]))
    assert outage.missing["active_users"] == pytest.approx(np.array([[6, 0], [np.sqrt(8), 0]]))


def test_an_outage_after_the_last_complete_week_is_left_to_the_next() -> None:
    assert outages_of(days(date(2026, 3, 30)), NOTHING, WEEKS) == ()


def test_without_outages_there_is_nothing() -> None:
    assert outages_of(days(), NOTHING, WEEKS) == ()
