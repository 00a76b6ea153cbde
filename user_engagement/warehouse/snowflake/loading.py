"""Tables written to Snowflake: raw ones by slices that are replaced whole or not at all, computed ones as a whole.

Dagster's stock IO manager deletes and inserts in two commits and guesses types per load. Here rows go to Parquet
files, by PUT and COPY into a table of their own, and from there into the slice in one transaction. Statements that
define tables commit by themselves in Snowflake, so none is inside.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from snowflake.connector import SnowflakeConnection
from snowflake.connector.errors import Error, InterfaceError, OperationalError

from user_engagement.contracts.raw import ARROW_TYPES, REJECTED_ROWS, SCHEMA
from user_engagement.errors import WarehouseError
from user_engagement.sources.base import Extract
from user_engagement.warehouse.base import LoadedSlice
from user_engagement.warehouse.snowflake.account import SnowflakeAccount
from user_engagement.warehouse.snowflake.connection import (
    changed_by,
    connect,
    rows_of,
    shown_name,
    stored_name,
    value_of,
)

Result = TypeVar("Result")

ROWS_PER_FILE = 1_000_000
# seconds to wait before another attempt, after the connection was lost
WAITS = (1, 10)
SQL_OF_ARROW = {
    ARROW_TYPES["VARCHAR"]: "VARCHAR",
    ARROW_TYPES["TIMESTAMP"]: "TIMESTAMP_NTZ(6)",
    ARROW_TYPES["DOUBLE"]: "FLOAT",
    ARROW_TYPES["BIGINT"]: "NUMBER(38,0)",
    pa.date32(): "DATE",
    pa.bool_(): "BOOLEAN",
}
# as the information schema names them
DATA_TYPES = {
    "VARCHAR": "TEXT",
    "TIMESTAMP_NTZ(6)": "TIMESTAMP_NTZ",
    "FLOAT": "FLOAT",
    "NUMBER(38,0)": "NUMBER",
    "DATE": "DATE",
    "BOOLEAN": "BOOLEAN",
}


class _NotWholeError(WarehouseError):
    """The slice holds other rows than were loaded: a statement ran twice, after its answer was lost."""


@dataclass(frozen=True)
class _Spooled:
    """Rows on disk, which can be sent again after a lost connection.

    In the files, and in the table that they are copied into, columns are named by their places: whatever a source
    calls them, nothing can be mistaken there. ``types`` has their names and types in the table.
    """

    table: str
    types: Mapping[str, str]
    folder: Path
    rows: int

    def place(self, column: str) -> str:
        return f"C{list(self.types).index(column)}"


def replace_slice(account: SnowflakeAccount, extract: Extract, **tags: str) -> LoadedSlice:
    """Replaces one slice of a raw table, and the table's rejected rows, in one transaction.

    A lost connection leaves it open whether the last statement ran. All of it is then done again in a new session,
    which ends with the same slice.

    Raises:
        WarehouseError: the table holds a column of another type, a row falls outside the slice, or Snowflake refuses.
    """
    with TemporaryDirectory(prefix="user-engagement-") as folder:
        rows = _spool(extract.rows, extract.table.name, Path(folder) / "rows")
        rejected = _spool(extract.rejected, REJECTED_ROWS.name, Path(folder) / "rejected")
        return _in_a_session(
            account,
            tags,
            extract.table.name,
            lambda connection: _replace(connection, account, extract, rows, rejected),
        )


def replace_tables(
    account: SnowflakeAccount, schema: str, tables: Mapping[str, pa.Table], **tags: str
) -> None:
    """Replaces all rows of each table, which is created if need be, in one transaction.

    Raises:
        WarehouseError: a table holds a column of another type, or Snowflake refuses.
    """
    with TemporaryDirectory(prefix="user-engagement-") as folder:
        spooled = [_spool(table.to_reader(), name, Path(folder) / name) for name, table in tables.items()]

        def replace(connection: SnowflakeConnection) -> None:
            rows_of(
                connection, f"create schema if not exists {account.database}.{account.schema_name(schema)}"
            )
            with ExitStack() as stack:
                staged = []
                for one in spooled:
                    _ensure_table(connection, account, schema, one)
                    staged.append(stack.enter_context(_staged(connection, account, schema, one)))
                with _transaction(connection):
                    for one, loaded in zip(spooled, staged, strict=True):
                        _swap(connection, account.table_name(schema, one.table), "true", loaded, one)

        _in_a_session(account, tags, f"the tables in {schema}", replace)


def _in_a_session(
    account: SnowflakeAccount,
    tags: Mapping[str, str],
    what: str,
    work: Callable[[SnowflakeConnection], Result],
) -> Result:
    """Does work that may be done twice, again in a new session when the connection is lost."""
    waits = list(WAITS)
    while True:
        try:
            with connect(account, **tags) as connection:
                return work(connection)
        except (OperationalError, InterfaceError, _NotWholeError) as error:
            if not waits:
                raise WarehouseError(
                    f"{what}: not loaded in {len(WAITS) + 1} attempts, after each of which the connection to "
                    f"Snowflake was lost; what is there is as it was, or whole. Load it again. ({error})"
                ) from None
            time.sleep(waits.pop(0))


@contextmanager
def _transaction(connection: SnowflakeConnection) -> Iterator[None]:
    rows_of(connection, "begin transaction")
    try:
        yield
        rows_of(connection, "commit")
    except BaseException:
        with suppress(Error):  # where the session is gone, Snowflake takes its transaction back
            rows_of(connection, "rollback")
        raise


def _spool(reader: pa.RecordBatchReader, name: str, folder: Path) -> _Spooled:
    """Writes the rows as Parquet files of bounded size."""
    folder.mkdir()
    schema = pa.schema([field.with_name(f"C{place}") for place, field in enumerate(reader.schema)])
    rows, writer = 0, None
    try:
        for batch in reader:
            if writer is None or rows % ROWS_PER_FILE + batch.num_rows > ROWS_PER_FILE:
                if writer:
                    writer.close()
                writer = pq.ParquetWriter(folder / f"{rows}.parquet", schema, compression="zstd")
            writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
            rows += batch.num_rows
    finally:
        if writer:
            writer.close()
    types = {stored_name(field.name): SQL_OF_ARROW[field.type] for field in reader.schema}
    return _Spooled(name, types, folder, rows)


def _replace(
    connection: SnowflakeConnection,
    account: SnowflakeAccount,
    extract: Extract,
    rows: _Spooled,
    rejected: _Spooled,
) -> LoadedSlice:
    target = account.table_name(SCHEMA, extract.table.name)
    rejected_rows = account.table_name(SCHEMA, REJECTED_ROWS.name)
    day = rows.place(stored_name(extract.table.date_column))
    in_slice = extract.window.predicate(extract.table.date_column)
    in_table = f"table_name = '{extract.table.name}'"
    rows_of(connection, f"create schema if not exists {account.database}.{account.schema_name(SCHEMA)}")
    for spooled in (rows, rejected):
        _ensure_table(connection, account, SCHEMA, spooled)
    with (
        _staged(connection, account, SCHEMA, rows) as loaded,
        _staged(connection, account, SCHEMA, rejected) as loaded_rejected,
    ):
        outside = value_of(
            connection,
            f"select count(*) from {loaded} where {day} is null or not ({extract.window.predicate(day)})",
        )
        if outside:
            raise WarehouseError(
                f"{target}: {outside} of {rows.rows} rows are not dated within the slice ({in_slice}); nothing was "
                "loaded. Report this as a bug of the source."
            )
        with _transaction(connection):
            # in the order of days, so that a window reads the partitions of its days alone
            replaced = _swap(connection, target, in_slice, loaded, rows, f"order by {day}")
            _swap(connection, rejected_rows, in_table, loaded_rejected, rejected)
    held = value_of(connection, f"select count(*) from {target}")
    return LoadedSlice(rows.rows, replaced, rejected.rows, held)


def _swap(
    connection: SnowflakeConnection, target: str, which: str, loaded: str, rows: _Spooled, order: str = ""
) -> int:
    """Replaces the rows that satisfy ``which``; returns how many there were.

    Raises:
        _NotWholeError: the table then holds another number of them than was loaded.
    """
    columns = ", ".join(f'"{name}"' for name in rows.types)
    places = ", ".join(rows.place(name) for name in rows.types)
    replaced = changed_by(connection, f"delete from {target} where {which}")
    rows_of(connection, f"insert into {target} ({columns}) select {places} from {loaded} {order}")
    held = value_of(connection, f"select count(*) from {target} where {which}")
    if held != rows.rows:
        raise _NotWholeError(f"{target}: {held} rows in the slice after {rows.rows} were inserted")
    return replaced


@contextmanager
def _staged(
    connection: SnowflakeConnection, account: SnowflakeAccount, schema: str, spooled: _Spooled
) -> Iterator[str]:
    """The rows in a table of their own, dropped afterwards.

    Raises:
        WarehouseError: Snowflake read other rows from the files than were written.
    """
    name = f"{spooled.table}__load_{uuid4().hex[:12]}".upper()
    table = account.table_name(schema, name)
    columns = ", ".join(f"{spooled.place(name)} {kind}" for name, kind in spooled.types.items())
    rows_of(connection, f"create or replace transient table {table} ({columns})")
    try:
        if spooled.rows:
            stage = f"@{account.database}.{account.schema_name(schema)}.%{name}"
            rows_of(
                connection,
                f"put 'file://{spooled.folder.as_posix()}/*.parquet' {stage} "
                "auto_compress = false source_compression = none",
            )
            # no PURGE: if the answer is lost, the files are there to be asked for again
            rows_of(
                connection,
                f"copy into {table} from {stage} file_format = (type = parquet use_logical_type = true) "
                "match_by_column_name = case_insensitive on_error = abort_statement",
            )
        loaded = value_of(connection, f"select count(*) from {table}")
        if loaded != spooled.rows:
            raise _NotWholeError(f"{table}: {loaded} rows loaded of {spooled.rows}")
        yield table
    finally:
        with suppress(Error):  # it is transient, and named apart: left behind, it harms nobody
            rows_of(connection, f"drop table if exists {table}")


def _ensure_table(
    connection: SnowflakeConnection, account: SnowflakeAccount, schema: str, spooled: _Spooled
) -> None:
    """Creates the table, or adds the columns that the source has gained since; refuses a changed type."""
    table = account.table_name(schema, spooled.table)
    columns = ", ".join(f'"{name}" {kind}' for name, kind in spooled.types.items())
    # transient: what it holds can be loaded again from the source, so that Fail-safe need not be paid for
    rows_of(connection, f"create transient table if not exists {table} ({columns})")
    held = dict(
        rows_of(
            connection,
            f"select column_name, data_type from {account.database}.information_schema.columns "
            f"where table_schema = '{account.schema_name(schema)}' and table_name = '{spooled.table.upper()}'",
        )
    )
    for name, kind in spooled.types.items():
        if name not in held:
            rows_of(connection, f'alter table {table} add column "{name}" {kind}')
        elif held[name] != DATA_TYPES[kind]:
            raise WarehouseError(
                f"{table}: column {shown_name(name)} is {held[name]} in the warehouse but must be {kind}. "
                "Drop the table and load all months again."
            )
