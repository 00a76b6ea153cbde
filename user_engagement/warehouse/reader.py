"""Reading back from the warehouse: one small reader for marts and for what the raw tables hold.

SQL that is passed in names tables by the project's schemas (`lookups.horizon`), whichever warehouse runs it.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import date
from typing import Protocol

import pyarrow as pa

from user_engagement.settings import Settings

MARTS: dict[str, str] = {
    "user_activity_daily": "marts",
    "user_lifecycle": "cohorts",
    "cohort_retention": "cohorts",
    "day_n_retention": "marts",
    "active_users_daily": "marts",
    "growth_accounting": "marts",
    "churn_monthly": "marts",
    "survival": "marts",
    "session_metrics": "marts",
    "engagement_frequency": "marts",
    "data_quality": "marts",
    "kpi_summary": "marts",
}
PER_USER_MARTS = ("user_activity_daily", "user_lifecycle")


class WarehouseReader(Protocol):
    """What a warehouse offers to readers; column names are lower case, types those of the raw contract and Arrow."""

    def mart(self, name: str) -> pa.RecordBatchReader:
        """A mart, ordered by its grain, in batches.

        Raises:
            WarehouseError: the mart has not been built.
        """
        ...

    def ordered(self, schema: str, table: str) -> pa.RecordBatchReader:
        """Any other table, ordered by its columns, in batches.

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

    def newest_day(self, table: str, column: str, through: date) -> date | None:
        """The newest calendar day in a raw table's date column, none after ``through``."""
        ...


def has_warehouse(settings: Settings) -> bool:
    """Whether anything was ever loaded, as far as the warehouse knows.

    Raises:
        WarehouseError: the warehouse cannot be reached.
    """
    if settings.warehouse == "duckdb":
        return settings.warehouse_file.exists()
    from user_engagement.warehouse.snowflake_reader import has_raw_schema

    return has_raw_schema()


def open_reader(settings: Settings) -> AbstractContextManager[WarehouseReader]:
    """Opens the warehouse for reading.

    Raises:
        WarehouseError: there is no warehouse yet, it cannot be reached, or another process holds it.
    """
    # each imports its own client, of which Snowflake's takes seconds
    if settings.warehouse == "duckdb":
        from user_engagement.warehouse.duckdb_reader import open_duckdb_reader

        return open_duckdb_reader(settings)
    from user_engagement.warehouse.snowflake_reader import open_snowflake_reader

    return open_snowflake_reader()
