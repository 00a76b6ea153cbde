"""Does the definition matter? Inactivity churn under several definitions side by side."""

from __future__ import annotations

import pandas as pd

from user_engagement.insights.statistics import rate_with_interval

COUNTS = ["users", "churned_users", "followed_users", "returned_users", "ever_returned_users"]
COLUMNS = [
    *("inactivity_days", "segment_name", "segment_value", "users"),
    *("churned_users", "churn_rate", "ci_low", "ci_high", "followed_users", "returned_users"),
    *("return_rate", "return_low", "return_high", "ever_returned_users"),
]


def churn_sensitivity(lapse_cells: pd.DataFrame, segment_values: pd.DataFrame) -> pd.DataFrame:
    """Share of users who were ever inactive for W days, and of these who came back, for several W.

    Args:
        lapse_cells: counts by inactivity_days (W) and segment_cell: users observed for W days, those who were
            inactive for W days, and of their first such spells those that can be followed for 28 days more, those
            followed and over within that time, and those over by the horizon.
        segment_values: segments of each segment_cell.

    Returns:
        One row per inactivity_days, segment_name and segment_value, with intervals. A return rate is over users who
        could be followed, so that who churned lately does not count as gone for good.
    """
    keys = ["inactivity_days", "segment_name", "segment_value"]
    table = lapse_cells.merge(segment_values, on="segment_cell").groupby(keys)[COUNTS].sum().reset_index()
    table["churn_rate"], table["ci_low"], table["ci_high"] = rate_with_interval(
        table.churned_users, table.users
    )
    table["return_rate"], table["return_low"], table["return_high"] = rate_with_interval(
        table.returned_users, table.followed_users
    )
    return table[COLUMNS]
