"""Where the data plausibly begin: one signup with a wrong date must not open years of empty months."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from itertools import accumulate, pairwise

EMPTY_MONTHS = 12
"""Months without any signup behind which the first signups are strays."""
MOST_STRAYS = 0.01
FEW_STRAYS = 2
FEWEST_OTHERS = 20


def begin_after_strays(signups: Mapping[str, int]) -> date | None:
    """The first month after a few signups that lie a year or more before all others; None without such.

    Few are a hundredth of all, or two.

    Args:
        signups: rows by month (``YYYY-MM-01``).
    """
    months = sorted(date.fromisoformat(month) for month, rows in signups.items() if rows)
    rows = [signups[month.isoformat()] for month in months]
    most = max(MOST_STRAYS * sum(rows), FEW_STRAYS)
    begins = [
        later
        for (earlier, later), before in zip(pairwise(months), accumulate(rows), strict=False)
        if before <= most
        and sum(rows) - before >= FEWEST_OTHERS
        and (later.year - earlier.year) * 12 + later.month - earlier.month > EMPTY_MONTHS
    ]
    return max(begins, default=None)
