"""95 % intervals of shares and of their differences, for whole columns at once.

statsmodels has the same formulas; importing it would double the time until the dashboard's first page.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Z = 1.959963984540054


def wilson(successes: Any, trials: Any) -> tuple[np.ndarray, np.ndarray]:
    """The Wilson score interval (Wilson 1927) of each share; NaN where nothing was tried."""
    count, total = np.asarray(successes, float), np.asarray(trials, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        share, spread = count / total, Z * Z / total
        middle = (share + spread / 2) / (1 + spread)
        half = Z * np.sqrt(share * (1 - share) / total + spread / total / 4) / (1 + spread)
    return np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)


def difference(now: tuple[float, float], before: tuple[float, float]) -> tuple[float, float]:
    """Newcombe's interval (1998, method 10) of the difference of two independent shares, each (successes, trials)."""
    share, share_before = now[0] / now[1], before[0] / before[1]
    (low, high), (low_before, high_before) = wilson(*now), wilson(*before)
    gap = share - share_before
    below = np.hypot(share - low, high_before - share_before)
    above = np.hypot(high - share, share_before - low_before)
    return float(gap - below), float(gap + above)


def unless_clear(now: tuple[float, float], before: tuple[float, float]) -> str:
    """What to add to two shares, each (successes, trials), that differ no more than chance allows."""
    if not (now[1] and before[1]):
        return ""
    low, high = difference(now, before)
    return " (no clear change)" if low <= 0 <= high else ""
