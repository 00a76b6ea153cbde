"""Snowflake behind the door."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from snowflake.connector.errors import ProgrammingError

from user_engagement.contracts.raw import SCHEMA
from user_engagement.sources.base import Extract, WarehouseExtract
from user_engagement.warehouse.base import LoadedSlice
from user_engagement.warehouse.forgotten import read_forgotten
from user_engagement.warehouse.snowflake import loading
from user_engagement.warehouse.snowflake.account import SnowflakeAccount
from user_engagement.warehouse.snowflake.connection import connect, does_not_exist, rows_of
from user_engagement.warehouse.snowflake.reader import SnowflakeReader

if TYPE_CHECKING:
    import dagster as dg
    import pandas as pd

    from user_engagement.dagster_internals import TableSlice


KNOWN_SECONDS = 600.0
_KNOWN_UNTIL: dict[tuple[str, int, str, str], float] = {}


@dataclass(frozen=True)
class SnowflakeWarehouse:
    """A `Warehouse` in a Snowflake account. ``memory_limit`` bounds what prepares a slice on this machine.

    ``forgotten_file`` lists users whose rows are never loaded.
    """

    account: SnowflakeAccount
    memory_limit: str
    forgotten_file: Path

    def exists(self) -> bool:
        """Whether the schema of the raw tables exists; asking wakes no virtual warehouse.

        Each question is a login, and sensors ask several times a minute: an answer that was yes stays so for
        `KNOWN_SECONDS`.
        """
        name = self.account.schema_name(SCHEMA)
        key = (self.account.account, self.account.port, self.account.database, name)
        if time.monotonic() < _KNOWN_UNTIL.get(key, 0.0):
            return True
        with connect(self.account, asset="reader") as connection:
            try:
                found = rows_of(connection, f"show schemas like '{name}' in database {self.account.database}")
            except ProgrammingError as error:
                if does_not_exist(error):
                    return False
                raise
        # `_` in the pattern stands for any character
        exists = any(row[1] == name for row in found)
        if exists:
            _KNOWN_UNTIL[key] = time.monotonic() + KNOWN_SECONDS
        return exists

    def stamp(self) -> None:
        """When its tables have changed is asked of Dagster's history, which needs no login."""

    @contextmanager
    def reader(self) -> Iterator[SnowflakeReader]:
        with connect(self.account, asset="reader") as connection:
            yield SnowflakeReader(connection, self.account)

    def replace_slice(self, extract: Extract, **tags: str) -> LoadedSlice:
        if isinstance(extract, WarehouseExtract):
            forgotten = read_forgotten(self.forgotten_file)
            return loading.insert_slice(self.account, extract, forgotten, **tags)
        return loading.replace_slice(self.account, extract, self.memory_limit, self.forgotten_file, **tags)

    def replace_tables(self, schema: str, tables: Mapping[str, pa.Table], **tags: str) -> None:
        loading.replace_tables(self.account, schema, tables, **tags)

    def delete_rows(self, conditions: Iterable[tuple[str, str]], **tags: str) -> dict[str, int]:
        return loading.delete_rows(self.account, conditions, **tags)

    def load_frame(self, context: dg.InputContext, table_slice: TableSlice, **tags: str) -> pd.DataFrame:
        # it imports Snowpark, SQLAlchemy and more, for seconds
        from dagster_snowflake_pandas import SnowflakePandasTypeHandler

        placed = table_slice._replace(
            database=self.account.database, schema=self.account.schema_name(table_slice.schema)
        )
        with connect(self.account, **tags) as connection:
            return SnowflakePandasTypeHandler().load_input(context, placed, connection)
