from __future__ import annotations

import math
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from user_engagement.dashboard import words


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.05666, "rate", "5.7\u00a0%"),
        (4578.0, "users", "4,578"),
        (651.2, "seconds", "10m 51s"),
        (16.2, "seconds", "16s"),
        (5.925, "days", "5.9"),
        (281.0, "days", "281"),
        (270.5, "days", "270.5"),
        (9.486, "sessions", "9.49"),
        (None, "rate", "–"),
        (math.nan, "users", "–"),
    ],
)
def test_a_value_is_shown_in_its_unit(value: float | None, unit: str, text: str) -> None:
    assert words.shown(value, unit) == text


@pytest.mark.parametrize(
    ("now", "before", "unit", "text"),
    [
        (0.06, 0.054, "rate", "+0.6 points"),
        (90, 100, "users", "−10, −10.0\u00a0%"),
        (5, 0, "users", "+5"),
        (644, 660, "seconds", "−16s"),
        (1, None, "users", ""),
        (math.nan, 2.0, "users", ""),
    ],
)
def test_a_change_has_its_sign_and_of_shares_it_is_in_points(
    now: float, before: float | None, unit: str, text: str
) -> None:
    assert words.change(now, before, unit) == text


def test_a_change_within_the_interval_is_said_to_be_chance() -> None:
    assert "chance" in words.moved(0.054, 0.057, "rate", low=0.053, high=0.061)
    assert "chance" not in words.moved(0.040, 0.057, "rate", low=0.053, high=0.061)
    assert words.moved(0.0571, 0.0572, "rate") == "stayed at 5.7\u00a0%"


@pytest.mark.parametrize(
    ("start", "end", "text"),
    [
        (date(2025, 12, 1), date(2025, 12, 31), "December 2025"),
        (date(2024, 2, 1), date(2024, 2, 29), "February 2024"),
        (date(2025, 2, 1), date(2025, 2, 27), "1 Feb 2025 – 27 Feb 2025"),
        (date(2025, 2, 3), date(2025, 2, 3), "3 Feb 2025"),
    ],
)
def test_a_whole_month_is_called_by_its_name(start: date, end: date, text: str) -> None:
    assert words.period(start, end) == text


@given(st.integers(1, 10**7), st.floats(0, 1))
def test_wilson_intervals_agree_with_statsmodels(trials: int, share: float) -> None:
    successes = round(share * trials)
    expected = proportion_confint(successes, trials, method="wilson")
    assert words.wilson(successes, trials) == pytest.approx(expected, abs=1e-12)


def test_a_share_of_nothing_has_no_interval() -> None:
    assert words.wilson(0, 0) == (None, None)
