"""Intervals of rates against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from user_engagement.insights.statistics import rate_with_interval


@given(users=st.integers(1, 300), share=st.floats(0, 1))
@example(users=99, share=0.0)
@example(users=100, share=1.0)
def test_a_rate_of_fewer_than_100_users_has_an_exact_interval(users: int, share: float) -> None:
    active = round(users * share)
    method = "exact" if users < 100 else "wilson"
    peer = stats.binomtest(active, users).proportion_ci(0.95, method=method)
    rate, low, high = rate_with_interval(active, users)
    assert float(rate) == active / users
    assert (float(low), float(high)) == pytest.approx((peer.low, peer.high), abs=1e-9)


def test_a_rate_over_nobody_is_unknown() -> None:
    assert np.isnan(rate_with_interval([0, 0], [0, 0])).all()
