"""Tables as CSV."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.csv as pacsv

from user_engagement.dashboard.data import Frame
from user_engagement.publishing.spreadsheets import without_formulas


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
