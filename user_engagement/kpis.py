"""The headline KPIs, in the order in which they are shown."""

from __future__ import annotations

KPIS = (
    "churn_rate_declared",
    "churn_rate_inactive",
    "retention_1_month",
    "retention_6_month",
    "dau",
    "wau",
    "mau",
    "stickiness",
    "sessions_per_user",
    "active_days_per_user",
    "average_session_duration",
    "median_session_duration",
    "median_days_since_signup",
)
LOWER_IS_BETTER = ("churn_rate_declared", "churn_rate_inactive")
NEITHER_IS_BETTER = ("median_days_since_signup",)


def is_improvement(kpi: str, change: float) -> bool | None:
    """Whether a change of a KPI is welcome; None if it is neither good nor bad, or nothing changed."""
    if kpi in NEITHER_IS_BETTER or change != change or change == 0:
        return None
    return (change < 0) == (kpi in LOWER_IS_BETTER)
