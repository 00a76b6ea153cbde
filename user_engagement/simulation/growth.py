"""How many users sign up on each day."""

from __future__ import annotations

from datetime import date

import numpy as np
from numpy.typing import NDArray
from scipy import special

from user_engagement.simulation import streams
from user_engagement.simulation.config import WorldConfig

MONTHLY_GROWTH = 0.035
WEEKDAY_SIGNUPS = np.array([1.12, 1.13, 1.10, 1.06, 0.98, 0.77, 0.84])
"""Monday first."""
SEASONAL_SWING = 0.07
SEASON_PEAK = 15
"""Day of the year, in January; the trough is half a year later."""


def calendar(config: WorldConfig, days: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Weekday (Monday is 0) and seasonal wave (1 in mid January, -1 in mid July) of the first `days` days."""
    dates = np.datetime64(config.start, "D") + np.arange(days)
    weekday = (dates.astype(np.int64) + 3) % 7
    day_of_year = (dates - dates.astype("datetime64[Y]")).astype(np.int64) + 1
    return weekday, np.cos(2 * np.pi * (day_of_year - SEASON_PEAK) / 365.25)


def expected_signups(config: WorldConfig, through: date) -> NDArray[np.float64]:
    """Expected signups per day, from the start through `through`.

    Compound growth of 3.5 % a month, a weekly pattern and a yearly wave, scaled so that the days before
    `reference_end` add up to `users`.
    """
    reference_days = config.day_number(config.reference_end)
    days = config.day_number(through) + 1
    weekday, wave = calendar(config, max(days, reference_days))
    growth = (1 + MONTHLY_GROWTH) ** (np.arange(len(weekday)) / 30.4375)
    shape = growth * WEEKDAY_SIGNUPS[weekday] * (1 + SEASONAL_SWING * wave)
    return (shape * config.users / shape[:reference_days].sum())[:days]


def signups(config: WorldConfig, through: date) -> NDArray[np.int64]:
    """Signups per day, Poisson around `expected_signups`, from the start through `through`."""
    expected = expected_signups(config, through)
    keys = streams.numbered(streams.stream_key(config.seed, "signups"), np.arange(len(expected)))
    chance = streams.uniform(keys)
    # pdtrik inverts a continuous extension of the distribution: the next whole number may be one too many
    count = np.maximum(np.ceil(special.pdtrik(chance, expected)), 0)
    below = np.maximum(count - 1, 0)
    return np.where(special.pdtr(below, expected) >= chance, below, count).astype(np.int64)
