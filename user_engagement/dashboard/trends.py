"""The five figures that say where things stand: each with its last 14 months and what it was a year ago.

Each is a rate, a mean or a count over windows of equal length, so that a month of 31 days is not higher for that.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import numpy as np
import pandas as pd

from user_engagement import formatting as fmt
from user_engagement.dashboard.data import Frame
from user_engagement.dashboard.intervals import Z, difference
from user_engagement.dashboard.view import View

MONTHS = 14
Verdict = Literal["good", "bad", "neutral", "unclear"]


@dataclass(frozen=True)
class Trend:
    """A figure of one month, and its course; ``months`` has a row per month: month, value.

    ``verdict`` tells whether the change since the reference is good or bad, neither, or not clear of chance.
    """

    key: str
    label: str
    unit: str
    definition: str
    months: Frame
    reference_month: date | None
    verdict: Verdict

    @property
    def month(self) -> date:
        return self.months.month.iloc[-1]

    @property
    def now(self) -> float:
        return float(self.months.value.iloc[-1])

    @property
    def before(self) -> float | None:
        if self.reference_month is None:
            return None
        return float(self.months.value[self.months.month == self.reference_month].iloc[0])

    @property
    def is_up(self) -> bool:
        return self.before is not None and self.now > self.before

    @property
    def value(self) -> str:
        return fmt.value(self.now, self.unit)


def trends(view: View) -> tuple[Trend, ...]:
    """Signups, month-1 retention, frequency, churn and active users of the group in view, as far as there are any."""
    found = (_signups(view), _retention(view), _frequency(view), _churn(view), _active_users(view))
    return tuple(trend for trend in found if trend is not None)


def _signups(view: View) -> Trend | None:
    rows = view.group_rows("cohort_retention", period_kind="calendar_month", period_number=0)
    ended = rows.signup_month + pd.offsets.MonthEnd(0) <= pd.Timestamp(view.generation.as_of)
    months = rows[ended].assign(month=rows.signup_month, value=rows.cohort_size, count=rows.cohort_size)
    definition = "Users who signed up in the month."
    return _trend(view, "signups", "Signups", "users", definition, months, _counts_differ, good=None)


def _retention(view: View) -> Trend | None:
    rows = view.group_rows("cohort_retention", period_kind="relative_month", period_number=1)
    rows = rows[rows.is_complete & (rows.eligible_users > 0)]
    months = rows.assign(
        month=rows.signup_month,
        value=rows.retained_users / rows.eligible_users,
        count=rows.retained_users,
        base=rows.eligible_users,
    )
    definition = (
        "Of the users who signed up in the month, those active between one and two months after their own signup day. "
        "The newest month in which everybody has completed that time."
    )
    return _trend(
        view, "retention_month_1", "Stay a month", "rate", definition, months, _shares_differ, good=True
    )


def _frequency(view: View) -> Trend | None:
    rows = view.group_rows("engagement_frequency")
    rows = rows[rows.is_complete & (rows.active_users > 0)]
    scale = 30 / rows.month.dt.days_in_month
    spread = _spread_of_active_days(view)
    months = rows.assign(
        value=rows.active_days_per_user * scale, base=rows.active_users, spread=np.full(len(rows), spread)
    )
    definition = "Days on which a user active in the month was active, per 30 days."
    return _trend(
        view, "active_days", "Active days per user", "days", definition, months, _means_differ, good=True
    )


def _churn(view: View) -> Trend | None:
    for kind, label, definition in (
        ("declared", "Monthly churn", "Users who cancelled for the first time in the month"),
        (
            "inactive",
            "Become inactive",
            "Users who in the month first went without activity for 28 days or so",
        ),
    ):
        rows = view.group_rows("churn_monthly", churn_kind=kind)
        rows = rows[rows.is_complete & (rows.users_at_start > 0)]
        if rows.churned_users.sum():
            months = rows.assign(value=rows.churn_rate, count=rows.churned_users, base=rows.users_at_start)
            text = f"{definition}, of those signed up before it who had not done so yet."
            return _trend(view, "churn", label, "rate", text, months, _shares_differ, good=False)
    return None


def _active_users(view: View) -> Trend | None:
    rows = view.group_rows("active_users_daily")
    ends = rows[rows.activity_date.dt.is_month_end]
    months = ends.assign(
        month=ends.activity_date.dt.to_period("M").dt.start_time, value=ends.mau, count=ends.mau
    )
    definition = "Users active in the rolling window (28 days unless set otherwise) that ends with the month."
    return _trend(
        view, "active_users", "Active users", "users", definition, months, _counts_differ, good=True
    )


def _trend(
    view: View,
    key: str,
    label: str,
    unit: str,
    definition: str,
    months: Frame,
    differ: Any,
    good: bool | None,
) -> Trend | None:
    """The last months up to the day chosen; ``good`` tells whether more is better, None that it is neither."""
    months = months[months.month <= pd.Timestamp(view.days[1])].sort_values("month")
    if months.empty:
        return None
    last = months.iloc[-1]
    before = months[months.month == view.month_before(last.month)]
    if before.empty:
        before = months[months.month == last.month - pd.DateOffset(months=1)]
    verdict: Verdict = "neutral"
    if len(before):
        reference = before.iloc[0]
        if not differ(last, reference):
            verdict = "unclear"
        elif good is not None:
            verdict = "good" if (last.value > reference.value) == good else "bad"
    return Trend(
        key,
        label,
        unit,
        definition,
        months[["month", "value"]].tail(MONTHS),
        before.month.iloc[0] if len(before) else None,
        verdict,
    )


def _counts_differ(now: Any, before: Any) -> bool:
    """Whether two counts differ by more than two Poisson counts of the same mean do in 95 of 100 cases."""
    total = now["count"] + before["count"]
    return bool(total > 0 and abs(now["count"] - before["count"]) > Z * np.sqrt(total))


def _shares_differ(now: Any, before: Any) -> bool:
    low, high = difference((now["count"], now.base), (before["count"], before.base))
    return not low <= 0 <= high


def _means_differ(now: Any, before: Any) -> bool:
    error = now.spread * np.sqrt(1 / now.base + 1 / before.base)
    return bool(abs(now.value - before.value) > Z * error)


def _spread_of_active_days(view: View) -> float:
    """The standard deviation of active days between users, from the interval that `kpi_summary` publishes."""
    summary = view.generation.frame("kpi_summary").set_index("kpi")
    if "active_days_per_user" not in summary.index:
        return float("inf")
    row = summary.loc["active_days_per_user"]
    if fmt.is_missing(row.ci_low) or fmt.is_missing(row.denominator):
        return float("inf")
    return float((row.ci_high - row.ci_low) / (2 * Z) * np.sqrt(row.denominator))
