"""Charts as pure functions: rows of a mart in; a figure, its text alternative and its table out."""

from user_engagement.dashboard.charts.bars import bars, ratios, stacked
from user_engagement.dashboard.charts.chart import FEW_USERS, Chart, Figure, Measure
from user_engagement.dashboard.charts.heatmap import cohorts
from user_engagement.dashboard.charts.lines import curves, expected_and_actual, timeline

__all__ = [
    "FEW_USERS",
    "Chart",
    "Figure",
    "Measure",
    "bars",
    "cohorts",
    "curves",
    "expected_and_actual",
    "ratios",
    "stacked",
    "timeline",
]
