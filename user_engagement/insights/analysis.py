"""All insights of one state of the data, from compact counts to the published tables."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import pandas as pd

from user_engagement.insights.brief import decline_brief
from user_engagement.insights.cells import segment_names, with_segments
from user_engagement.insights.change_points import change_points, session_series, weekly_series
from user_engagement.insights.contributions import contributions
from user_engagement.insights.decomposition import MAIN_DEVICE, TENURE, contrasts, decompose
from user_engagement.insights.first_week import first_week
from user_engagement.insights.growth import growth_change
from user_engagement.insights.risk import risk
from user_engagement.insights.rollups import Rollups
from user_engagement.insights.sensitivity import churn_sensitivity
from user_engagement.insights.survival_tests import hazard_ratios, survival_tests, tenure_hazards
from user_engagement.insights.tables import COMPARED_WEEKS


def explain(rollups: Rollups, seed: int) -> dict[str, pd.DataFrame]:
    """The brief and the tables that it is drawn from."""
    traits = [*segment_names(rollups.segment_values), MAIN_DEVICE]
    dimensions = [*traits, TENURE]
    period_cells = with_segments(rollups.period_cells, rollups.segment_values)
    weekly_cells = with_segments(rollups.weekly_cells, rollups.segment_values)
    series = [weekly_series(weekly_cells, traits), session_series(weekly_cells, rollups.weekly_sessions)]
    changes = change_points(pd.concat(series), seed)
    decomposition = decompose(period_cells, dimensions, seed)
    growth = growth_change(rollups.growth_accounting, rollups.compared_periods)
    return {
        "decline_brief": decline_brief(
            period_cells, decomposition, changes, growth, rollups.compared_periods, dimensions, seed
        ),
        "growth_change": growth,
        "change_decomposition": decomposition,
        "segment_contrasts": contrasts(period_cells, dimensions),
        "change_points": changes,
    }


def analyse(rollups: Rollups, as_of: date, seed: int) -> Mapping[str, pd.DataFrame]:
    """Every published insight table by its name, each with `observed_through`."""
    segments = segment_names(rollups.segment_values)
    kind_cells = with_segments(rollups.kind_cells, rollups.segment_values)
    survival_cells = with_segments(rollups.survival_cells, rollups.segment_values)
    at_risk = risk(rollups.risk_features, pd.Timestamp(as_of))
    tables = {
        **explain(rollups, seed),
        "contributions": contributions(kind_cells, segments, COMPARED_WEEKS),
        "first_week": first_week(rollups.first_week_cells),
        "survival_tests": survival_tests(survival_cells, segments),
        "hazard_ratios": hazard_ratios(survival_cells, segments, seed),
        "tenure_hazards": tenure_hazards(survival_cells, segments),
        "risk_evaluation": at_risk.evaluation,
        "risk_calibration": at_risk.calibration,
        "at_risk_users": at_risk.listed,
        "churn_sensitivity": churn_sensitivity(rollups.lapse_cells, rollups.segment_values),
    }
    return {name: table.assign(observed_through=as_of) for name, table in tables.items()}
