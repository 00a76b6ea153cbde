"""Tables as CSV."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.csv as pacsv

from user_engagement.dashboard.data import Frame

FORMULA = ("=", "+", "-", "@", "\t", "\r")


def to_csv(frame: Frame) -> bytes:
    """All of a table: exact numbers, days as ISO dates.

    Text from the sources that a spreadsheet would run as a formula gets an apostrophe before it.
    """
    text = [
        name
        for name in frame.select_dtypes(object)
        if any(_is_formula(value) for value in frame[name].unique())
    ]
    harmless = frame.assign(**{name: frame[name].map(_as_text) for name in text}) if text else frame
    table = pa.Table.from_pandas(harmless, preserve_index=False)
    for position, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            table = table.set_column(position, field.name, table.column(position).cast(pa.date32()))
    target = io.BytesIO()
    pacsv.write_csv(table, target)
    return target.getvalue()


def _is_formula(value: object) -> bool:
    return isinstance(value, str) and value.startswith(FORMULA)


def _as_text(value: object) -> object:
    return f"'{value}" if _is_formula(value) else value
