"""Days without any event: outages where chance all but rules them out."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from user_engagement.insights.measurement import outages

DAYS = pd.date_range("2026-01-05", periods=84, freq="D")


def test_days_without_an_event_in_a_busy_source_are_one_outage() -> None:
    daily = pd.Series(200, index=DAYS).drop([DAYS[30], DAYS[31], DAYS[50]])
    assert outages(daily) == [(DAYS[30], DAYS[31]), (DAYS[50], DAYS[50])]


def test_weekends_on_which_nothing_ever_happens_are_no_outage() -> None:
    daily = pd.Series(np.where(DAYS.dayofweek < 5, 200, 0), index=DAYS)
    assert outages(daily) == []


@given(st.integers(0, 2**32 - 1))
def test_a_small_source_with_quiet_days_has_no_outage(seed: int) -> None:
    daily = pd.Series(np.random.default_rng(seed).poisson(3, len(DAYS)), index=DAYS)
    assert outages(daily) == []
