from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from user_engagement.dashboard.intervals import difference, wilson

COUNTS = st.integers(1, 10**7).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(st.lists(COUNTS, min_size=1))
def test_wilson_intervals_agree_with_statsmodels(pairs: list[tuple[int, int]]) -> None:
    successes, trials = map(np.array, zip(*pairs, strict=True))
    low, high = wilson(successes, trials)
    expected_low, expected_high = proportion_confint(successes, trials, method="wilson")
    assert low == pytest.approx(expected_low, abs=1e-12)
    assert high == pytest.approx(expected_high, abs=1e-12)


@given(COUNTS, COUNTS)
def test_intervals_of_a_difference_agree_with_statsmodels(
    now: tuple[int, int], before: tuple[int, int]
) -> None:
    expected = confint_proportions_2indep(*now, *before, method="newcomb", compare="diff")
    assert difference(now, before) == pytest.approx(expected, abs=1e-9)


def test_a_share_of_nothing_has_no_interval() -> None:
    low, high = wilson([0, 3], [0, 10])
    assert np.isnan([low[0], high[0]]).all()
    assert not np.isnan([low[1], high[1]]).any()
