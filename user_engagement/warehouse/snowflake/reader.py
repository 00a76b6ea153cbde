"""Reading back from Snowflake, as Arrow and in the types that the embedded warehouse has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import Any

import pyarrow as pa
from snowflake.connector import SnowflakeConnection
from snowflake.connector.constants import FIELD_ID_TO_NAME
from snowflake.connector.cursor import ResultMetadata, SnowflakeCursor
from snowflake.connector.errors import ProgrammingError

from user_engagement.errors import WarehouseError
from user_engagement.warehouse.base import WarehouseReader
from user_engagement.warehouse.schemas import SCHEMAS
from user_engagement.warehouse.snowflake.account import SnowflakeAccount
from user_engagement.warehouse.snowflake.connection import (
    does_not_exist,
    rows_of,
    shown_name,
    stored_name,
    value_of,
)

TABLE_NAME = re.compile(rf"\b(from|join)(\s+)({'|'.join(SCHEMAS)})\.(\w+)", re.IGNORECASE)
CONTRACT_TYPES = {
    "TEXT": "VARCHAR",
    "FLOAT": "DOUBLE",
    "DATE": "DATE",
    "BOOLEAN": "BOOLEAN",
    "TIMESTAMP_NTZ": "TIMESTAMP",
}
ARROW_TYPES = {
    "TEXT": pa.string(),
    "REAL": pa.float64(),
    "DATE": pa.date32(),
    "BOOLEAN": pa.bool_(),
    "TIMESTAMP_NTZ": pa.timestamp("us"),
}


class SnowflakeReader(WarehouseReader):
    """A `WarehouseReader` of a Snowflake account."""

    def __init__(self, connection: SnowflakeConnection, account: SnowflakeAccount) -> None:
        self._connection = connection
        self._account = account

    def ordered(self, schema: str, table: str, columns: Sequence[str] = ()) -> pa.RecordBatchReader:
        existing = self.columns(schema, table)
        if not existing:
            raise WarehouseError(f"{table} has not been built yet. Run: user-engagement run")
        order = ", ".join(columns) or ", ".join(str(place) for place in range(1, len(existing) + 1))
        cursor = self._connection.cursor()
        cursor.execute(f"select * from {self._account.table_name(schema, table)} order by {order}")
        return _batches(cursor)

    def query(self, sql: str) -> pa.Table:
        cursor = self._connection.cursor()
        cursor.execute(TABLE_NAME.sub(self._placed, sql))
        return _batches(cursor).read_all()

    def tables(
        self, names: Iterable[tuple[str, str]]
    ) -> dict[tuple[str, str], tuple[int | None, dict[str, str]]]:
        wanted = {(self._account.schema_name(name[0]), name[1].upper()): name for name in names}
        columns: dict[tuple[str, str], dict[str, str]] = {}
        for schema, table, column, kind, precision, scale in self._listed(
            "columns", "column_name, data_type, numeric_precision, numeric_scale", "ordinal_position"
        ):
            if name := wanted.get((schema, table)):
                columns.setdefault(name, {})[shown_name(column)] = _contract_type(kind, precision, scale)
        stored = [
            name
            for schema, table, kind in self._listed("tables", "table_type", "table_name")
            if kind == "BASE TABLE" and (name := wanted.get((schema, table))) in columns
        ]
        counts = self._counts([name for name in stored if name])
        return {name: (counts.get(name), columns[name]) for name in wanted.values() if name in columns}

    def columns(self, schema: str, table: str) -> list[str]:
        found = self._listed(
            "columns", "column_name", "ordinal_position", f"table_name = '{table.upper()}'", (schema,)
        )
        return [shown_name(row[2]) for row in found]

    def filled_columns(self, schema: str, table: str) -> dict[str, bool]:
        names = self.columns(schema, table)
        if not names:
            return {}
        source = self._account.table_name(schema, table)
        # one value of each column is looked for, rather than all of them counted
        looks = ", ".join(
            f'(select 1 from {source} where "{stored_name(name)}" is not null limit 1)' for name in names
        )
        found = rows_of(self._connection, f"select {looks}")[0]
        return {name: value is not None for name, value in zip(names, found, strict=True)}

    def tables_with(self, column: str) -> list[str]:
        stored = {
            row[:2] for row in self._listed("tables", "table_type", "table_name") if row[2] == "BASE TABLE"
        }
        named = self._listed(
            "columns", "column_name", "ordinal_position", f"column_name = '{stored_name(column)}'"
        )
        shown = {self._account.schema_name(schema): schema for schema in SCHEMAS}
        return sorted(f"{shown[row[0]]}.{row[1].lower()}" for row in named if row[:2] in stored)

    def newest_day(self, table: str, column: str, through: date) -> date | None:
        source = self._account.table_name("raw", table)
        try:
            return value_of(
                self._connection,
                f"select cast(max({column}) as date) from {source} "
                f"where {column} < dateadd(day, 1, cast('{through.isoformat()}' as date))",
            )
        except ProgrammingError as error:
            if does_not_exist(error):
                return None
            raise

    def _placed(self, found: re.Match[str]) -> str:
        word, blank, schema, table = found.groups()
        return f"{word}{blank}{self._account.table_name(schema, table)}"

    def _listed(
        self, view: str, columns: str, order: str, which: str = "true", schemas: Sequence[str] = SCHEMAS
    ) -> list[Any]:
        """Rows of a view of the information schema: schema, table, and the columns asked for."""
        held = ", ".join(f"'{self._account.schema_name(schema)}'" for schema in schemas)
        return rows_of(
            self._connection,
            f"select table_schema, table_name, {columns} "
            f"from {self._account.database}.information_schema.{view} "
            f"where table_schema in ({held}) and {which} order by {order}",
        )

    def _counts(self, names: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
        if not names:
            return {}
        counts = " union all ".join(
            f"select {place} as place, count(*) as found from {self._account.table_name(*name)}"
            for place, name in enumerate(names)
        )
        return {names[place]: found for place, found in rows_of(self._connection, counts)}


def _contract_type(kind: str, precision: int | None, scale: int | None) -> str:
    if kind == "NUMBER":
        return f"DECIMAL({precision},{scale})" if scale else "BIGINT"
    return CONTRACT_TYPES.get(kind, kind)


def _batches(cursor: SnowflakeCursor) -> pa.RecordBatchReader:
    """The result in batches. Snowflake sends whole numbers as narrow as a batch allows: they are widened."""
    schema = pa.schema([(shown_name(column.name), _arrow_type(column)) for column in cursor.description])

    def batches() -> Iterator[pa.RecordBatch]:
        for table in cursor.fetch_arrow_batches():
            yield from table.rename_columns(schema.names).cast(schema).to_batches()

    return pa.RecordBatchReader.from_batches(schema, batches())


def _arrow_type(column: ResultMetadata) -> pa.DataType:
    kind = FIELD_ID_TO_NAME[column.type_code]
    if kind == "FIXED":
        return pa.float64() if column.scale else pa.int64()
    return ARROW_TYPES[kind]
