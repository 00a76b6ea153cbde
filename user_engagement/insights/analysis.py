"""All insights of one state of the data, from compact counts to the published tables."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date

import pandas as pd

from user_engagement.insights.brief import decline_brief, engagement_bridge, finding_series
from user_engagement.insights.cells import segment_names, with_segments
from user_engagement.insights.contributions import contributions
from user_engagement.insights.decomposition import MAIN_DEVICE, TENURE, decompose
from user_engagement.insights.explain import Measures, changes_of
from user_engagement.insights.findings import story_of
from user_engagement.insights.first_week import first_week, first_week_retention
from user_engagement.insights.growth import growth_change
from user_engagement.insights.measurement import outages_of, vanished_of
from user_engagement.insights.panel import Panel, panel_of
from user_engagement.insights.reasons import with_reasons
from user_engagement.insights.risk import risk, risk_groups
from user_engagement.insights.rollups import DailyRollups, Rollups
from user_engagement.insights.sensitivity import churn_sensitivity
from user_engagement.insights.survival_tests import hazard_ratios, survival_tests, tenure_hazards
from user_engagement.insights.tables import COMPARED_WEEKS

LEAST_WEEKS = 12
NO_MARKS = pd.DataFrame({"day": pd.Series(dtype="datetime64[ns]"), "label": pd.Series(dtype=str)})


def brief_tables(
    rollups: Rollups,
    growth: pd.DataFrame,
    marks: pd.DataFrame | None = None,
    group: Mapping[str, str] | None = None,
) -> dict[str, pd.DataFrame]:
    """The brief, its series and its bridge.

    Args:
        growth: growth accounting of the change; empty where periods are not compared.
        marks: annotations: day, label.
        group: conditions of a group that is explained as if it were the whole company; all users by default.
    """
    panel = company_panel(rollups, group or {})
    story = None
    if panel is not None and len(panel.weeks) >= LEAST_WEEKS:
        outages = outages_of(rollups.outages, rollups.outage_weeks, panel.weeks)
        measures = Measures(replace(panel, outages=outages, habit_sessions=rollups.habit_sessions))
        changes = changes_of(measures, vanished_of(rollups.vanished_kinds, panel.weeks))
        story = with_reasons(story_of(measures, changes), panel, rollups.churn_reason_counts)
    return {
        "decline_brief": decline_brief(story, NO_MARKS if marks is None else marks, growth),
        "finding_series": finding_series(story),
        "engagement_bridge": engagement_bridge(story),
    }


def company_panel(rollups: Rollups, group: Mapping[str, str]) -> Panel | None:
    """The arrays of the users of a group, or of all.

    Raises:
        KeyError: an attribute that there is not.
    """
    return panel_of(
        rollups.group_cells, rollups.weekly_counts, rollups.cohort_counts, rollups.segment_values, group
    )


def analyse(
    rollups: Rollups, as_of: date, seed: int, marks: pd.DataFrame | None = None
) -> Mapping[str, pd.DataFrame]:
    """Every published insight table by its name, each with `observed_through`."""
    with ThreadPoolExecutor(1) as beside:
        daily = beside.submit(of_all_days, rollups, as_of, seed)
        tables = {**of_complete_weeks(rollups, seed, marks), **daily.result()}
    return {name: table.assign(observed_through=as_of) for name, table in tables.items()}


def of_complete_weeks(
    rollups: Rollups, seed: int, marks: pd.DataFrame | None = None
) -> dict[str, pd.DataFrame]:
    """The tables that nothing after the last complete week can change."""
    segments = segment_names(rollups.segment_values)
    period_cells = with_segments(rollups.period_cells, rollups.segment_values)
    kind_cells = with_segments(rollups.kind_cells, rollups.segment_values)
    growth = growth_change(rollups.growth_accounting, rollups.compared_periods)
    return {
        **brief_tables(rollups, growth, marks),
        "growth_change": growth,
        "change_decomposition": decompose(period_cells, [*segments, MAIN_DEVICE, TENURE], seed),
        "contributions": contributions(kind_cells, segments, COMPARED_WEEKS),
        "first_week": first_week(rollups.first_week_cells),
        "first_week_retention": first_week_retention(rollups.first_week_curves),
    }


def of_all_days(rollups: DailyRollups, as_of: date, seed: int) -> dict[str, pd.DataFrame]:
    """The tables that every day changes."""
    segments = segment_names(rollups.segment_values)
    survival_cells = with_segments(rollups.survival_cells, rollups.segment_values)
    at_risk = risk(rollups.risk_features, pd.Timestamp(as_of))
    return {
        "survival_tests": survival_tests(survival_cells, segments),
        "hazard_ratios": hazard_ratios(survival_cells, segments, seed),
        "tenure_hazards": tenure_hazards(survival_cells, segments),
        "risk_evaluation": at_risk.evaluation,
        "risk_calibration": at_risk.calibration,
        "at_risk_users": at_risk.listed,
        "risk_groups": risk_groups(at_risk.cells, rollups.segment_values),
        "churn_sensitivity": churn_sensitivity(rollups.lapse_cells, rollups.segment_values),
    }
