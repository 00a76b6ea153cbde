"""Acquisition or loss? The flows that made the number of weekly active users what it is."""

from __future__ import annotations

import numpy as np
import pandas as pd

from user_engagement.insights.statistics import newcombe, ratio

FLOWS = ("new", "resurrected", "churned")
KEYS = ["segment_name", "segment_value"]


def growth_change(growth_accounting: pd.DataFrame, periods: pd.DataFrame) -> pd.DataFrame:
    """Growth accounting between the last weeks of two periods, and the flows of a week in each.

    Args:
        growth_accounting: the mart; weeks are used.
        periods: rows `before` and `after` with first_day and last_day, whole Monday weeks; none if the history is too
            short to compare.

    Returns:
        One row per segment_name and segment_value. `change` = active_after - active_before = new_users +
        resurrected_users - churned_users, exactly, all summed over the weeks after before_week up to after_week.
        The flows per week are means over the weeks of each period. The loss rate is the share of a week's active
        users who are absent in the next, over the weeks of the period; its change has Newcombe's interval, which
        takes users of different weeks as independent. `main_driver` is the flow whose change moves the weekly net
        flow most.
    """
    if periods.empty:
        return pd.DataFrame(columns=COLUMNS)
    weeks = growth_accounting[growth_accounting.period_kind == "week"].copy()
    weeks["period_start"] = pd.to_datetime(weeks.period_start)
    weeks = weeks.sort_values(by=[*KEYS, "period_start"])
    weeks["could_leave"] = weeks.groupby(KEYS).active_users.shift(fill_value=0)
    bounds = periods.set_index("period")
    first, last = pd.to_datetime(bounds.first_day), pd.to_datetime(bounds.last_day) - pd.Timedelta(days=6)

    between = weeks[weeks.period_start.between(last["before"], last["after"], inclusive="right")]
    table = between.groupby(KEYS)[[f"{flow}_users" for flow in FLOWS]].sum()
    for period in ("before", "after"):
        at_end = weeks[weeks.period_start == last[period]].set_index(KEYS)
        table[f"{period}_week"] = last[period]
        table[f"active_{period}"] = at_end.active_users
        within = weeks[weeks.period_start.between(first[period], last[period])].groupby(KEYS)
        for flow in FLOWS:
            table[f"{flow}_per_week_{period}"] = within[f"{flow}_users"].mean()
        left, could = within.churned_users.sum(), within.could_leave.sum()
        table[f"loss_rate_{period}"] = ratio(left, could)
        table[f"left_{period}"], table[f"could_{period}"] = left, could
    table["change"] = table.active_after - table.active_before
    table["loss_rate_change"], table["ci_low"], table["ci_high"] = newcombe(
        table.left_after, table.could_after, table.left_before, table.could_before
    )
    moved = np.column_stack(
        [table[f"{flow}_per_week_after"] - table[f"{flow}_per_week_before"] for flow in FLOWS]
    )
    table["main_driver"] = np.array(FLOWS)[np.abs(np.nan_to_num(moved)).argmax(axis=1)]
    return table.reset_index()[COLUMNS]


COLUMNS = [
    *KEYS,
    *("before_week", "after_week", "active_before", "active_after"),
    *("new_users", "resurrected_users", "churned_users", "change"),
    *(f"{flow}_per_week_{period}" for flow in FLOWS for period in ("before", "after")),
    *("loss_rate_before", "loss_rate_after", "loss_rate_change", "ci_low", "ci_high", "main_driver"),
]
