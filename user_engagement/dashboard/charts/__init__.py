"""Charts as pure functions: rows of a mart in; a figure, its text alternative and its table out."""

from user_engagement.dashboard.charts.bars import bars, shares, stacked
from user_engagement.dashboard.charts.chart import FEW_USERS, Chart, Figure, Measure
from user_engagement.dashboard.charts.heatmap import cohorts
from user_engagement.dashboard.charts.lines import curves, timeline

__all__ = [
    "FEW_USERS",
    "Chart",
    "Figure",
    "Measure",
    "bars",
    "cohorts",
    "curves",
    "shares",
    "stacked",
    "timeline",
]
