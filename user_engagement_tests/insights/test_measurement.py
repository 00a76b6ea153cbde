"""Days without any event, put together to outages."""

from __future__ import annotations

from datetime import date

import pandas as pd

from user_engagement.insights.measurement import Outage, outages_of

WEEKS = pd.date_range("2026-01-05", periods=12, freq="7D")


def test_days_that_follow_each_other_are_one_outage_of_the_weeks_that_they_touch() -> None:
    days = [date(2026, 2, 9), date(2026, 1, 11), date(2026, 1, 12)]
    assert outages_of(pd.DataFrame({"outage_date": days}), WEEKS) == [
        Outage(pd.Timestamp(2026, 1, 11), pd.Timestamp(2026, 1, 12), 0, 2),
        Outage(pd.Timestamp(2026, 2, 9), pd.Timestamp(2026, 2, 9), 5, 6),
    ]


def test_an_outage_after_the_last_complete_week_is_left_to_the_next() -> None:
    assert outages_of(pd.DataFrame({"outage_date": [date(2026, 3, 30)]}), WEEKS) == []


def test_without_outages_there_is_nothing() -> None:
    assert outages_of(pd.DataFrame({"outage_date": []}), WEEKS) == []
