"""Who and where? What each segment, tenure and interaction type adds to the change of weekly users and sessions."""

from __future__ import annotations

import numpy as np
import pandas as pd

from user_engagement.insights.cells import AFTER, BEFORE, LEAST_USERS, OTHER
from user_engagement.insights.statistics import ALPHA, Z, benjamini_hochberg, ranked, ratio, two_sided

CELL = ["segment_value", "tenure", "interaction_type"]
COUNTS = ["users", "total", "squares"]
COLUMNS = [
    *("metric", "segment_name", *CELL),
    *("value_before", "value_after", "contribution", "share_of_change", "expected", "excess"),
    *("ci_low", "ci_high", "p_value", "q_value", "is_significant", "is_pooled"),
    *("users_before", "users_after", "rank"),
]


def contributions(kind_cells: pd.DataFrame, dimensions: list[str], weeks: int) -> pd.DataFrame:
    """The change of weekly active users and of sessions a week, cell by cell.

    A cell that merely grows with the whole is no news: `expected` is its value before times the growth of the total,
    and `excess` is what it has beyond that. Users who appear, and how much they do, are random: a sum over
    independent users who are themselves a Poisson number has the variance of the sum of squares (compound Poisson
    process), which gives excess its standard error by the delta method.

    Args:
        kind_cells: one row per metric, period, tenure, interaction_type and combination of the dimensions: users,
            total (of the measure over users and weeks), squares (sum of squares of the users' totals).
        dimensions: the segments. Each parts the same users, so that contributions add up to the change within a
            segment_name; they are not to be added over segment_names.
        weeks: in each period.

    Returns:
        One row per metric, segment_name, segment_value, tenure and interaction_type. Cells with fewer than 100
        users in both periods together are one row, `other` in all three (`is_pooled`). Values are per week.
        q_value is Benjamini-Hochberg over the table. rank: per metric, from the largest shortfall on.
    """
    tables = [
        _of_segment(of_metric, name, weeks).assign(metric=metric, segment_name=name)
        for metric, of_metric in kind_cells.groupby("metric")
        for name in dimensions
        if set(of_metric.period) == {BEFORE, AFTER}
    ]
    if not tables:
        return pd.DataFrame(columns=COLUMNS)
    table = pd.concat(tables, ignore_index=True)
    table["q_value"] = benjamini_hochberg(table.p_value)
    table["is_significant"] = table.q_value < ALPHA
    table["rank"] = ranked(table, "excess", "metric", ascending=True)
    return table[COLUMNS]


def _of_segment(cells: pd.DataFrame, name: str, weeks: int) -> pd.DataFrame:
    cells = cells.rename(columns={name: "segment_value"})
    sparse = cells.groupby(CELL).users.transform("sum") < LEAST_USERS
    cells = cells.assign(**{column: cells[column].where(~sparse, OTHER) for column in CELL}, is_pooled=sparse)
    sums = cells.groupby([*CELL, "is_pooled", "period"])[COUNTS].sum().unstack("period", fill_value=0)
    full = pd.MultiIndex.from_product([COUNTS, (BEFORE, AFTER)])
    sums = sums.reindex(columns=full, fill_value=0)
    before, after = (sums["total", period].to_numpy(float) / weeks for period in (BEFORE, AFTER))
    noise_0, noise_1 = (sums["squares", period].to_numpy(float) / weeks**2 for period in (BEFORE, AFTER))
    growth = after.sum() / before.sum()
    excess = after - growth * before
    # excess = after - before x sum(after) / sum(before): its gradient with respect to each cell's two values
    own = ratio(before, before.sum())
    others_1, others_0 = noise_1.sum() - noise_1, noise_0.sum() - noise_0
    variance = (1 - own) ** 2 * (noise_1 + growth**2 * noise_0) + own**2 * (others_1 + growth**2 * others_0)
    error = np.sqrt(variance)
    table = pd.DataFrame(
        {
            "value_before": before,
            "value_after": after,
            "contribution": after - before,
            "share_of_change": ratio(after - before, after.sum() - before.sum()),
            "expected": growth * before,
            "excess": excess,
            "ci_low": excess - Z * error,
            "ci_high": excess + Z * error,
            "p_value": two_sided(ratio(excess, error)),
            "users_before": sums["users", BEFORE].to_numpy(),
            "users_after": sums["users", AFTER].to_numpy(),
        },
        index=sums.index,
    )
    return table.reset_index()
