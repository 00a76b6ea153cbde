"""Cells: rows of counts for each combination of users' traits, and what every insight does with them first."""

from __future__ import annotations

import pandas as pd

OTHER = "other"
LEAST_USERS = 100
TENURES = (
    "new",
    "0-6 days",
    "7-27 days",
    "28-83 days",
    "84-181 days",
    "182-272 days",
    "273-363 days",
    "364+ days",
)
"""Bands of days since signup on a period's first day; `new` signed up within the period."""
BEFORE, AFTER = "before", "after"
EVERYBODY = "all"


def with_segments(cells: pd.DataFrame, segment_values: pd.DataFrame) -> pd.DataFrame:
    """The cells with a column for each segment in place of `segment_cell`.

    Args:
        cells: any rows with a column `segment_cell`.
        segment_values: one row per segment_cell and segment_name, with segment_value.
    """
    named = segment_values[segment_values.segment_name != EVERYBODY]
    wide = named.pivot(index="segment_cell", columns="segment_name", values="segment_value")
    return cells.join(wide, on="segment_cell").drop(columns="segment_cell")


def segment_names(segment_values: pd.DataFrame) -> list[str]:
    """The segments that there are, in alphabetical order."""
    return sorted(set(segment_values.segment_name) - {EVERYBODY})


def pooled(
    cells: pd.DataFrame, dimensions: list[str], users: str = "users", least: float = LEAST_USERS
) -> pd.DataFrame:
    """The cells with the values of each dimension that hold fewer than `least` users replaced by `other`.

    Users are summed over all rows, so pass the cells of one metric.
    """
    frame = cells.copy()
    for dimension in dimensions:
        held = frame.groupby(dimension)[users].transform("sum")
        frame[dimension] = frame[dimension].where(held >= least, OTHER)
    return frame
