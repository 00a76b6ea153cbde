"""How a published insight table is declared: beside the function that computes it."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

TEXT, DAY, COUNT, NUMBER, FLAG = pa.string(), pa.date32(), pa.int64(), pa.float64(), pa.bool_()


@dataclass(frozen=True)
class Table:
    """A table's meaning, the columns of its grain, and every column with its type and meaning."""

    description: str
    grain: tuple[str, ...]
    columns: dict[str, tuple[pa.DataType, str]]

    def schema(self) -> pa.Schema:
        return pa.schema([pa.field(name, kind) for name, (kind, _) in self.columns.items()])
