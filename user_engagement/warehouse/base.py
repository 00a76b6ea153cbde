"""What a warehouse offers, whichever it is.

SQL that is passed in names tables by the project's schemas (`lookups.horizon`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from user_engagement.contracts.marts import MARTS
from user_engagement.sources.base import Extract

if TYPE_CHECKING:
    # who only reads marts waits for neither
    import dagster as dg
    import pandas as pd

    from user_engagement.dagster_internals import TableSlice


@dataclass(frozen=True)
class LoadedSlice:
    """Rows of a slice that was replaced: loaded, replaced and rejected ones, and all that the table now holds."""

    rows: int
    replaced_rows: int
    rejected_rows: int
    table_rows: int


class WarehouseReader(Protocol):
    """What a warehouse offers to readers; column names are lower case, types those of the raw contract and Arrow."""

    def mart(self, name: str) -> pa.RecordBatchReader:
        """A mart, ordered by its grain, in batches.

        Raises:
            WarehouseError: the mart has not been built.
        """
        return self.ordered(MARTS[name].schema, name)

    def ordered(self, schema: str, table: str, columns: Sequence[str] = ()) -> pa.RecordBatchReader:
        """Any other table, ordered by some of its columns, by default by all, in batches.

        Raises:
            WarehouseError: the table has not been built.
        """
        ...

    def query(self, sql: str) -> pa.Table:
        """The result of a query that both warehouses understand."""
        ...

    def tables(
        self, names: Iterable[tuple[str, str]]
    ) -> dict[tuple[str, str], tuple[int | None, dict[str, str]]]:
        """Of each (schema, table) that exists: its row count, None for a view, and its columns with types."""
        ...

    def columns(self, schema: str, table: str) -> list[str]:
        """The columns of a table; none if there is no such table."""
        ...

    def filled_columns(self, schema: str, table: str) -> dict[str, bool]:
        """Of each column, whether it holds any value at all; none if there is no such table."""
        ...

    def monthly_rows(self, table: str, column: str, condition: str = "true") -> dict[str, int]:
        """The rows of each month (``YYYY-MM-01``) by a date column, of the rows that meet the condition."""
        month = f"cast(date_trunc('month', {column}) as date)"
        counted = f"select {month} as month, count(*) as rows_found from {table}"
        found = self.query(
            f"{counted} where {column} is not null and {condition} group by {month}"
        ).to_pylist()
        return {row["month"].isoformat(): row["rows_found"] for row in found}

    def tables_with(self, column: str) -> list[str]:
        """The project's tables that have a column, as ``schema.table``; no views."""
        ...

    def newest_day(self, table: str, column: str, through: date) -> date | None:
        """The newest calendar day in a raw table's date column, none after ``through``."""
        ...


class Warehouse(Protocol):
    """Where raw slices and computed tables are written and everything is read.

    Every method raises `WarehouseError` when the warehouse cannot be reached, or another process holds it. ``tags``
    say in the warehouse's query history, where it has one, what the statements are for.
    """

    def exists(self) -> bool:
        """Whether anything was ever loaded, as far as the warehouse knows."""
        ...

    def stamp(self) -> str | None:
        """A text that another write has changed; None where the warehouse cannot tell without a connection."""
        ...

    def reader(self) -> AbstractContextManager[WarehouseReader]:
        """Opens the warehouse for reading.

        Raises:
            WarehouseError: nothing was ever loaded.
        """
        ...

    def replace_slice(self, extract: Extract, **tags: str) -> LoadedSlice:
        """Replaces one slice of a raw table, and the table's rejected rows, in one transaction.

        Raises:
            WarehouseError: the table holds a column of another type, or a row falls outside the slice.
            SourceError: the source broke while it was read.
        """
        ...

    def replace_tables(self, schema: str, tables: Mapping[str, pa.Table], **tags: str) -> None:
        """Replaces tables of a schema, or creates them, in one transaction: readers see all of them or none.

        Where readers have a role of their own, it may read them, unless the schema's tables name users.
        """
        ...

    def delete_rows(self, conditions: Iterable[tuple[str, str]], **tags: str) -> dict[str, int]:
        """Deletes the rows of tables (``schema.table``) that satisfy a condition, in one transaction.

        Returns how many each table had, without those that had none.
        """
        ...

    def load_frame(self, context: dg.InputContext, table_slice: TableSlice, **tags: str) -> pd.DataFrame:
        """A slice of a raw table for a Dagster asset, as its library for pandas loads it."""
        ...
