"""Tables to read, and as CSV."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from user_engagement import formatting as fmt
from user_engagement.dashboard.data import Frame
from user_engagement.publishing.spreadsheets import without_formulas

FIGURES = 4
"""Significant figures of a number that is no count."""
NAMES = (
    "behaviour",
    "churn_kind",
    "churn_reason",
    "dimension",
    "effect",
    "inner_dimension",
    "interaction_type",
    "main_driver",
    "measure",
    "metric",
    "period_kind",
    "reason",
    "reference_value",
    "retention_kind",
    "segment_name",
    "segment_value",
)
"""Columns whose values are names, for which there are labels."""


def readable(frame: Frame) -> Frame:
    """A table with labels for names, and four figures where a number has decimals; columns keep their names."""
    return frame.assign(
        **{str(name): frame[name].map(_label) for name in NAMES if name in frame},
        **{str(name): _rounded(frame[name].to_numpy()) for name in frame.select_dtypes("floating")},
    )


def _label(name: Any) -> Any:
    return name if fmt.is_missing(name) else fmt.label(str(name))


def _rounded(numbers: np.ndarray) -> np.ndarray:
    """Four significant figures, and all digits before the point."""
    known = np.where(np.isfinite(numbers) & (numbers != 0), np.abs(numbers), 1.0)
    scale = 10.0 ** np.maximum(FIGURES - 1 - np.floor(np.log10(known)), 0)
    return np.rint(numbers * scale) / scale


def to_csv(frame: Frame) -> bytes:
    """All of a table: exact numbers, days as ISO dates.

    Text from the sources that a spreadsheet would run as a formula gets an apostrophe before it.
    """
    table = without_formulas(pa.Table.from_pandas(frame, preserve_index=False))
    for position, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            table = table.set_column(position, field.name, table.column(position).cast(pa.date32()))
    target = io.BytesIO()
    pacsv.write_csv(table, target)
    return target.getvalue()
