"""The counts that everything is computed from."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True, kw_only=True)
class DailyRollups:
    """What the warehouse reduced the users' activity to, of all days; see `user_engagement_dbt/models/insights`."""

    survival_cells: pd.DataFrame
    risk_features: pd.DataFrame
    lapse_cells: pd.DataFrame
    segment_values: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class Rollups(DailyRollups):
    """The same, and of complete weeks."""

    compared_periods: pd.DataFrame
    period_cells: pd.DataFrame
    kind_cells: pd.DataFrame
    group_cells: pd.DataFrame
    weekly_counts: pd.DataFrame
    cohort_counts: pd.DataFrame
    outages: pd.DataFrame
    outage_weeks: pd.DataFrame
    vanished_kinds: pd.DataFrame
    habit_sessions: pd.DataFrame
    churn_reason_counts: pd.DataFrame
    first_week_cells: pd.DataFrame
    first_week_curves: pd.DataFrame
    growth_accounting: pd.DataFrame
