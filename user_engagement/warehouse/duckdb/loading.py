"""Tables written to DuckDB: raw ones by slices that are replaced whole or not at all, computed ones as a whole.

Dagster's stock IO manager deletes and inserts in two commits, inserts by position, and creates no table for an empty
frame.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

import duckdb
import pyarrow as pa

from user_engagement.contracts.raw import ARROW_TYPES, IDS, REJECTED_ROWS, SCHEMA, RawTable
from user_engagement.errors import SourceError, WarehouseError
from user_engagement.sources.base import Extract, WarehouseExtract
from user_engagement.warehouse.base import LoadedSlice
from user_engagement.warehouse.forgotten import NOBODY, Forgotten

SQL_OF_ARROW = {arrow: sql for sql, arrow in ARROW_TYPES.items()}


def replace_slice(
    connection: duckdb.DuckDBPyConnection, extract: Extract, forgotten: Forgotten = NOBODY
) -> LoadedSlice:
    """Replaces one slice of a raw table, and the table's rejected rows, in one transaction.

    Rows of users who were ``forgotten`` are left out.

    Raises:
        WarehouseError: the table holds a column of another type, or a row falls outside the slice.
    """
    table, target = extract.table, f"{SCHEMA}.{extract.table.name}"
    failures: list[BaseException] = []
    # not deleted afterwards, because the blocks that held them would stay in the file
    kept = f" where {forgotten.excluded('user_id')}"
    try:
        with transaction(connection):
            _ensure_table(connection, table, extract.rows.schema)
            _ensure_table(connection, REJECTED_ROWS, REJECTED_ROWS.schema())
            in_slice = extract.window.predicate(table.date_column)
            replaced = _value(connection, f"delete from {target} where {in_slice}")
            inserted = _insert(connection, target, extract, kept, failures)
            dated = f"{table.date_column} is not null and {in_slice}"
            held = _value(connection, f"select count(*) from {target} where {dated}")
            if held != inserted:
                outside = f"{inserted - held} of {inserted} rows are not dated within the slice ({in_slice})"
                raise WarehouseError(
                    f"{target}: {outside}; nothing was loaded. Report this as a bug of the source."
                )
            rejected_rows = f"{SCHEMA}.{REJECTED_ROWS.name}"
            connection.execute(f"delete from {rejected_rows} where table_name = '{table.name}'")
            rejected = _insert_rejected(connection, rejected_rows, extract, kept, failures)
    except duckdb.Error as error:
        if failures:
            raise failures[0] from None
        if isinstance(extract, WarehouseExtract):
            reason = str(error).splitlines()[0]
            raise SourceError(f"{table.name}: cannot be read. Nothing was loaded. ({reason})") from None
        raise
    finally:
        connection.unregister("_extract")
        connection.unregister("_rejected")
    return LoadedSlice(inserted, replaced, rejected, _value(connection, f"select count(*) from {target}"))


def replace_tables(
    connection: duckdb.DuckDBPyConnection, schema: str, tables: Mapping[str, pa.Table]
) -> None:
    """Replaces tables of a schema, or creates them, in one transaction."""
    with transaction(connection):
        connection.execute(f"create schema if not exists {schema}")
        for name, table in tables.items():
            connection.register("_computed", table)
            connection.execute(f"create or replace table {schema}.{name} as select * from _computed")
            connection.unregister("_computed")


def delete_rows(
    connection: duckdb.DuckDBPyConnection, conditions: Iterable[tuple[str, str]]
) -> dict[str, int]:
    """Deletes the rows of tables that satisfy a condition, in one transaction; how many each had, if any."""
    deleted: Counter[str] = Counter()
    with transaction(connection):
        for table, condition in conditions:
            deleted[table] += _value(connection, f"delete from {table} where {condition}")
    return dict(+deleted)


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Commits what is done within it, or takes it back."""
    connection.execute("begin transaction")
    try:
        yield
        connection.execute("commit")
    except BaseException:
        with suppress(duckdb.Error):  # a commit that failed has rolled back by itself
            connection.execute("rollback")
        raise


def _insert(
    connection: duckdb.DuckDBPyConnection,
    target: str,
    extract: Extract,
    kept: str,
    failures: list[BaseException],
) -> int:
    """Inserts the rows and returns their number; what is wrong with the source is added to ``failures``."""
    if extract.scan is None:
        connection.register("_extract", _watched(extract.rows, failures))
        return _value(connection, f"insert into {target} by name select * from _extract{kept}")
    connection.execute("set TimeZone = 'UTC'")
    try:
        return _value(connection, f"insert into {target} by name select * from ({extract.scan}){kept}")
    except duckdb.Error:
        # the source says in its own words what is wrong with it, if it was the source
        try:
            for _ in extract.rows:
                pass
        except SourceError as said:
            failures.append(said)
        raise


def _insert_rejected(
    connection: duckdb.DuckDBPyConnection,
    target: str,
    extract: Extract,
    kept: str,
    failures: list[BaseException],
) -> int:
    if isinstance(extract, WarehouseExtract):
        return _value(
            connection, f"insert into {target} by name select * from ({extract.rejected_scan}){kept}"
        )
    connection.register("_rejected", _watched(extract.rejected, failures))
    return _value(connection, f"insert into {target} by name select * from _rejected{kept}")


def _watched(reader: pa.RecordBatchReader, failures: list[BaseException]) -> pa.RecordBatchReader:
    """The same batches; what their source raises is kept, which DuckDB would reduce to the text of a traceback."""

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from reader
        except BaseException as error:
            failures.append(error)
            raise

    return pa.RecordBatchReader.from_batches(reader.schema, batches())


def _ensure_table(connection: duckdb.DuckDBPyConnection, table: RawTable, arrow: pa.Schema) -> None:
    """Creates the table, or adds the columns that the source has gained since; refuses a changed type."""
    wanted = {field.name: SQL_OF_ARROW[field.type] for field in arrow}
    # to compress ids, most of them distinct, costs as much time as all the rest of the loading
    columns = ", ".join(
        f'"{name}" {kind}' + (" using compression uncompressed" if name in IDS else "")
        for name, kind in wanted.items()
    )
    connection.execute(f"create schema if not exists {SCHEMA}")
    connection.execute(f"create table if not exists {SCHEMA}.{table.name} ({columns})")
    held = dict(
        connection.execute(
            "select column_name, data_type from duckdb_columns() where schema_name = ? and table_name = ?",
            [SCHEMA, table.name],
        ).fetchall()
    )
    for name, kind in wanted.items():
        if name not in held:
            connection.execute(f'alter table {SCHEMA}.{table.name} add column "{name}" {kind}')
        elif held[name] != kind:
            raise WarehouseError(
                f"{SCHEMA}.{table.name}: column {name} is {held[name]} in the warehouse but must be {kind}. "
                "Drop the table and load all months again."
            )


def _value(connection: duckdb.DuckDBPyConnection, statement: str) -> int:
    """A query's one value, or how many rows a statement changed."""
    return connection.execute(statement).fetchall()[0][0]
