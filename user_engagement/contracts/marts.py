"""The contract of every mart: its folder, its columns in order, their types, and whether it has a row per user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

TYPES = {
    "text": ("VARCHAR",),
    "date": ("DATE",),
    "count": ("BIGINT", "INTEGER"),
    "number": ("DOUBLE",),
    "flag": ("BOOLEAN",),
}
"""The warehouse's types that each kind of column may have."""

SEGMENT = "segment_name text, segment_value text"
INTERVAL = "ci_low number, ci_high number"

USER_LEVEL = "user_level"
"""The schema of every table and view that has a row per user, or names users otherwise."""


@dataclass(frozen=True)
class Mart:
    """A mart's folder and its columns, each a name and a kind of `TYPES`; ``observed_through`` ends every mart."""

    folder: str
    columns: str
    is_per_user: bool = False

    @property
    def schema(self) -> str:
        """The schema of its table: that of its folder, unless it has a row per user."""
        return USER_LEVEL if self.is_per_user else self.folder

    def breaches(self, columns: Mapping[str, str]) -> list[str]:
        """The differences between the contract and a table's columns and types; extra columns are allowed."""
        problems = []
        for entry in f"{self.columns}, observed_through date".split(", "):
            name, kind = entry.split(" ")
            if name not in columns:
                problems.append(f"column {name} is missing")
            elif columns[name] not in TYPES[kind]:
                problems.append(f"column {name} is {columns[name]}, not {' or '.join(TYPES[kind])}")
        return problems


MARTS: dict[str, Mart] = {
    "user_activity_daily": Mart(
        "marts",
        "user_id text, activity_date date, sessions count, session_seconds number",
        is_per_user=True,
    ),
    "user_lifecycle": Mart(
        "cohorts",
        "user_id text, signup_date date, signup_month date, product_type text, first_active_date date, "
        "last_active_date date, active_days count, sessions count, days_since_signup count, "
        "declared_churn_date date, inactive_churn_date date, inactive_churn_count count, is_inactive flag, "
        "reactivated_date date, lifecycle_state text",
        is_per_user=True,
    ),
    "cohort_retention": Mart(
        "cohorts",
        f"{SEGMENT}, signup_month date, period_kind text, period_number count, cohort_size count, "
        "eligible_users count, retained_users count, retention_rate number, retention_rate_eligible number, "
        f"{INTERVAL}, is_complete flag",
    ),
    "day_n_retention": Mart(
        "marts",
        f"{SEGMENT}, retention_kind text, day_number count, eligible_users count, retained_users count, "
        f"retention_rate number, {INTERVAL}",
    ),
    "active_users_daily": Mart(
        "marts",
        f"{SEGMENT}, activity_date date, dau count, wau count, mau count, stickiness number, new_users count, "
        "resurrected_users count, churned_users count, is_complete flag",
    ),
    "growth_accounting": Mart(
        "marts",
        f"{SEGMENT}, period_kind text, period_start date, active_users count, new_users count, "
        "retained_users count, resurrected_users count, churned_users count, quick_ratio number, "
        "active_days_per_user number, average_dau number, is_complete flag",
    ),
    "churn_monthly": Mart(
        "marts",
        f"{SEGMENT}, churn_kind text, month date, users_at_start count, churned_users count, churn_rate number, "
        f"{INTERVAL}, churned_same_month count, is_complete flag",
    ),
    "churn_reasons": Mart(
        "marts", f"{SEGMENT}, month date, churn_reason text, churned_users count, share number"
    ),
    "survival": Mart(
        "marts",
        f"{SEGMENT}, churn_kind text, days_since_signup count, at_risk count, churned count, censored count, "
        f"survival_rate number, {INTERVAL}",
    ),
    "session_metrics": Mart(
        "marts",
        "month date, interaction_type text, sessions count, average_session_seconds number, "
        "median_session_seconds number, p90_session_seconds number, excluded_sessions count",
    ),
    "engagement_frequency": Mart(
        "marts",
        f"{SEGMENT}, month date, active_users count, active_days_per_user number, sessions_per_user number, "
        "sessions_per_active_day number, median_days_between_active_days number, is_complete flag",
    ),
    "data_quality": Mart("marts", "table_name text, reason text, rows count"),
    "kpi_summary": Mart(
        "marts",
        "kpi text, label text, value number, unit text, numerator number, denominator count, "
        f"{INTERVAL}, period_start date, period_end date, previous_value number, change number, "
        "definition text, desired_direction text, position count",
    ),
}
"""Every mart by name, in the order in which they are exported."""

PER_USER_MARTS = tuple(name for name, mart in MARTS.items() if mart.is_per_user)
