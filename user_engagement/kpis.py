"""The headline KPIs, in the order in which they are shown."""

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
