"""Raw tables in DuckDB: declared columns, and slices that are replaced whole or not at all.

The stock IO manager deletes and inserts in two commits, inserts by position, and creates no table for an empty
frame; this one keeps its resources, configuration and type dispatch, and replaces how a slice is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pandas as pd
import pyarrow as pa
from dagster._core.storage.db_io_manager import DbIOManager, DbTypeHandler, TableSlice
from dagster_duckdb.io_manager import DuckDbClient
from dagster_duckdb_pandas import DuckDBPandasIOManager
from dagster_duckdb_pandas.duckdb_pandas_type_handler import DuckDBPandasTypeHandler

from user_engagement.contracts.raw import ARROW_TYPES, IDS, REJECTED_ROWS, RawTable
from user_engagement.errors import SourceError, WarehouseError
from user_engagement.settings import Settings
from user_engagement.sources.base import Extract

RAW_SCHEMA = "raw"
SQL_OF_ARROW = {arrow: sql for sql, arrow in ARROW_TYPES.items()}


def connection_config(settings: Settings) -> dict[str, Any]:
    """DuckDB's options, the same for every connection of the process."""
    return {"memory_limit": settings.memory_limit, "preserve_insertion_order": False}


@contextmanager
def connect(database: str | Path, config: Mapping[str, Any]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that is closed, and so gives up the file's lock, whatever happens.

    Raises:
        WarehouseError: another process holds the file, or it is no warehouse.
    """
    try:
        Path(database).parent.mkdir(parents=True, exist_ok=True)
        connection = duckdb.connect(str(database), config=dict(config))
    except (duckdb.Error, OSError) as error:
        reason = str(error).splitlines()[0]
        if "lock" in reason:
            raise WarehouseError(
                f"{database}: another process holds this file. Wait for that run to end, or stop it. ({reason})"
            ) from None
        raise WarehouseError(
            f"{database}: cannot be opened as a warehouse. Move it away, or choose another folder with "
            f"USER_ENGAGEMENT_HOME. ({reason})"
        ) from None
    try:
        yield connection
    finally:
        connection.close()


def replace_slice(connection: duckdb.DuckDBPyConnection, schema: str, extract: Extract) -> dict[str, int]:
    """Replaces one slice of a raw table, and the table's rejected rows, in one transaction.

    Returns the counts ``rows``, ``replaced_rows`` and ``rejected_rows``.

    Raises:
        WarehouseError: the table holds a column of another type, or a row falls outside the slice.
    """
    table, target = extract.table, f"{schema}.{extract.table.name}"
    failures: list[BaseException] = []
    try:
        with _transaction(connection):
            _ensure_table(connection, schema, table, extract.rows.schema)
            _ensure_table(connection, schema, REJECTED_ROWS, REJECTED_ROWS.schema())
            in_slice = extract.window.predicate(table.date_column)
            replaced = _changed(connection, f"delete from {target} where {in_slice}")
            inserted = _insert(connection, target, extract, failures)
            dated = f"{table.date_column} is not null and {in_slice}"
            held = connection.execute(f"select count(*) from {target} where {dated}").fetchall()[0][0]
            if held != inserted:
                outside = f"{inserted - held} of {inserted} rows are not dated within the slice ({in_slice})"
                raise WarehouseError(
                    f"{target}: {outside}; nothing was loaded. Report this as a bug of the source."
                )
            rejected_rows = f"{schema}.{REJECTED_ROWS.name}"
            connection.execute(f"delete from {rejected_rows} where table_name = '{table.name}'")
            connection.register("_rejected", _watched(extract.rejected, failures))
            rejected = _changed(connection, f"insert into {rejected_rows} by name select * from _rejected")
    except duckdb.Error:
        if failures:
            raise failures[0] from None
        raise
    finally:
        connection.unregister("_extract")
        connection.unregister("_rejected")
    return {"rows": inserted, "replaced_rows": replaced, "rejected_rows": rejected}


def replace_tables(settings: Settings, schema: str, tables: Mapping[str, pa.Table]) -> None:
    """Replaces tables of a schema, or creates them, in one transaction.

    Raises:
        WarehouseError: another process holds the warehouse.
    """
    with (
        connect(settings.warehouse_file, connection_config(settings)) as connection,
        _transaction(connection),
    ):
        connection.execute(f"create schema if not exists {schema}")
        for name, table in tables.items():
            connection.register("_computed", table)
            connection.execute(f"create or replace table {schema}.{name} as select * from _computed")
            connection.unregister("_computed")


@contextmanager
def _transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    connection.execute("begin transaction")
    try:
        yield
        connection.execute("commit")
    except BaseException:
        with suppress(duckdb.Error):  # a commit that failed has rolled back by itself
            connection.execute("rollback")
        raise


def _insert(
    connection: duckdb.DuckDBPyConnection, target: str, extract: Extract, failures: list[BaseException]
) -> int:
    """Inserts the rows and returns their number; what is wrong with the source is added to ``failures``."""
    if extract.scan is None:
        connection.register("_extract", _watched(extract.rows, failures))
        return _changed(connection, f"insert into {target} by name select * from _extract")
    connection.execute("set TimeZone = 'UTC'")
    try:
        return _changed(connection, f"insert into {target} by name select * from ({extract.scan})")
    except duckdb.Error:
        # the source says in its own words what is wrong with it, if it was the source
        try:
            for _ in extract.rows:
                pass
        except SourceError as said:
            failures.append(said)
        raise


def _watched(reader: pa.RecordBatchReader, failures: list[BaseException]) -> pa.RecordBatchReader:
    """The same batches; what their source raises is kept, which DuckDB would reduce to the text of a traceback."""

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from reader
        except BaseException as error:
            failures.append(error)
            raise

    return pa.RecordBatchReader.from_batches(reader.schema, batches())


def _ensure_table(connection: duckdb.DuckDBPyConnection, schema: str, table: RawTable, arrow: Any) -> None:
    """Creates the table, or adds the columns that the source has gained since; refuses a changed type."""
    wanted = {field.name: SQL_OF_ARROW[field.type] for field in arrow}
    # to compress ids, most of them distinct, costs as much time as all the rest of the loading
    columns = ", ".join(
        f'"{name}" {kind}' + (" using compression uncompressed" if name in IDS else "")
        for name, kind in wanted.items()
    )
    connection.execute(f"create schema if not exists {schema}")
    connection.execute(f"create table if not exists {schema}.{table.name} ({columns})")
    held = dict(
        connection.execute(
            "select column_name, data_type from duckdb_columns() where schema_name = ? and table_name = ?",
            [schema, table.name],
        ).fetchall()
    )
    for name, kind in wanted.items():
        if name not in held:
            connection.execute(f'alter table {schema}.{table.name} add column "{name}" {kind}')
        elif held[name] != kind:
            raise WarehouseError(
                f"{schema}.{table.name}: column {name} is {held[name]} in the warehouse but must be {kind}. "
                "Drop the table and load all months again."
            )


def _changed(connection: duckdb.DuckDBPyConnection, statement: str) -> int:
    return connection.execute(statement).fetchall()[0][0]


class ExtractHandler(DbTypeHandler[Extract]):
    """Stores what a source extracted; downstream Python assets load it back as pandas."""

    def handle_output(
        self, context: dg.OutputContext, table_slice: TableSlice, obj: Extract, connection: Any
    ) -> Mapping[str, Any]:
        counts = replace_slice(connection, table_slice.schema, obj)
        held = connection.execute(f"select count(*) from {table_slice.schema}.{table_slice.table}").fetchall()
        return {
            "dagster/partition_row_count": counts["rows"],
            "dagster/row_count": held[0][0],
            "replaced_rows": counts["replaced_rows"],
            "rejected_rows": counts["rejected_rows"],
        }

    def load_input(self, context: dg.InputContext, table_slice: TableSlice, connection: Any) -> Extract:
        raise WarehouseError(
            f"{table_slice.table}: annotate the input as pandas.DataFrame to read a raw table."
        )

    @property
    def supported_types(self) -> Sequence[type[object]]:
        return [Extract]


class FrameHandler(DuckDBPandasTypeHandler):
    """Loads raw tables as pandas; to store a frame would append to what the slice holds."""

    def handle_output(
        self, context: dg.OutputContext, table_slice: TableSlice, obj: pd.DataFrame, connection: Any
    ) -> Mapping[str, Any]:
        raise WarehouseError(
            f"{table_slice.table}: return an Extract, not a DataFrame, to store a raw table."
        )


class SliceClient(DuckDbClient):
    """Leaves schema and deletion to the handler, which does both inside its transaction."""

    @staticmethod
    def ensure_schema_exists(context: Any, table_slice: TableSlice, connection: Any) -> None:
        return

    @staticmethod
    def delete_table_slice(context: Any, table_slice: TableSlice, connection: Any) -> None:
        return

    @staticmethod
    @contextmanager
    def connect(context: Any, _: Any) -> Iterator[duckdb.DuckDBPyConnection]:
        config = context.resource_config
        with connect(config["database"], config["connection_config"]) as connection:
            yield connection


class RawDuckDBIOManager(DuckDBPandasIOManager):
    """`DuckDBPandasIOManager` that also takes an `Extract` and swaps its slice in one transaction."""

    @staticmethod
    def type_handlers() -> Sequence[DbTypeHandler]:
        return [ExtractHandler(), FrameHandler()]

    @staticmethod
    def default_load_type() -> type | None:
        return pd.DataFrame

    def create_io_manager(self, context: Any) -> DbIOManager:
        return DbIOManager(
            db_client=SliceClient(),
            database=self.database,
            schema=self.schema_,
            type_handlers=self.type_handlers(),
            default_load_type=self.default_load_type(),
            io_manager_name="RawDuckDBIOManager",
        )


def raw_io_manager(settings: Settings) -> RawDuckDBIOManager:
    """The IO manager of the raw tables for the settings' embedded warehouse."""
    return RawDuckDBIOManager(
        database=str(settings.warehouse_file),
        schema=RAW_SCHEMA,
        connection_config=connection_config(settings),
    )
