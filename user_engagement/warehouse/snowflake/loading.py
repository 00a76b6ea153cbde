"""Tables written to Snowflake: raw ones by slices that are replaced whole or not at all, computed ones as a whole.

Dagster's stock IO manager deletes and inserts in two commits and guesses types per load. Here rows go to Parquet
files, by PUT and COPY into a table of their own, and from there into the slice in one transaction. Statements that
define tables commit by themselves in Snowflake, so none is inside.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar
from uuid import uuid4

import duckdb
import pyarrow as pa
from snowflake.connector import SnowflakeConnection
from snowflake.connector.errors import Error

from user_engagement.contracts.raw import REJECTED_ROWS, SCHEMA, Window
from user_engagement.errors import WarehouseError
from user_engagement.sources.base import Extract, WarehouseExtract
from user_engagement.warehouse.base import LoadedSlice
from user_engagement.warehouse.duckdb.loading import SQL_OF_ARROW
from user_engagement.warehouse.duckdb.warehouse import DuckDBWarehouse
from user_engagement.warehouse.forgotten import Forgotten
from user_engagement.warehouse.schemas import NAMING_USERS
from user_engagement.warehouse.snowflake.account import SnowflakeAccount
from user_engagement.warehouse.snowflake.connection import (
    TransientError,
    changed_by,
    connect,
    rows_of,
    shown_name,
    stored_name,
    value_of,
)

Result = TypeVar("Result")

# whole months are loaded together up to this number of rows: an X-Small warehouse sorts so many without spilling
ROWS_PER_LOAD = 5_000_000
# Snowflake reads files in parallel, and large row groups faster than small ones
ROWS_PER_GROUP, GROUPS_PER_FILE, UPLOADS = 262_144, 4, 8
# seconds to wait before another attempt
WAITS = (1, 10)
SNOWFLAKE_TYPES = {
    "VARCHAR": "VARCHAR",
    "TIMESTAMP": "TIMESTAMP_NTZ(6)",
    "DOUBLE": "FLOAT",
    "BIGINT": "NUMBER(38,0)",
    "DATE": "DATE",
    "BOOLEAN": "BOOLEAN",
}
"""Of each type in DuckDB, that in Snowflake."""
DATA_TYPES = {
    "VARCHAR": "TEXT",
    "TIMESTAMP_NTZ(6)": "TIMESTAMP_NTZ",
    "FLOAT": "FLOAT",
    "NUMBER(38,0)": "NUMBER",
    "DATE": "DATE",
    "BOOLEAN": "BOOLEAN",
}
"""Of each type in Snowflake, its name in the information schema."""


class NotWholeError(TransientError):
    """The slice holds other rows than were loaded: a statement ran twice, after its answer was lost."""


@dataclass(frozen=True)
class _Part:
    """Rows in Parquet files, which replace the rows of a table that satisfy a condition.

    In the files, and in the table that they are copied into, columns are named by their places: whatever a source
    calls them, nothing can be mistaken there. ``types`` has their names and types in the table, ``order`` the column
    by which rows are inserted, so that a window reads the micro-partitions of its days alone.
    """

    table: str
    types: Mapping[str, str]
    folder: Path
    rows: int
    condition: str
    order: str | None

    def place(self, column: str) -> str:
        return f"C{list(self.types).index(column)}"


def replace_slice(
    account: SnowflakeAccount,
    extract: Extract,
    memory_limit: str,
    forgotten_file: Path | None = None,
    **tags: str,
) -> LoadedSlice:
    """Replaces one slice of a raw table, and the table's rejected rows; without those of users who were forgotten.

    The slice is first loaded into a DuckDB file, which checks it and from which it can be sent again. Whole months of
    it are then replaced together, `ROWS_PER_LOAD` rows at most unless one month has more, in one transaction each.

    Raises:
        WarehouseError: the table holds a column of another type, a row falls outside the slice, or Snowflake refuses.
        SourceError: the source broke while it was read.
    """
    raw = f"select * from {SCHEMA}"
    table, day = extract.table.name, extract.table.date_column
    replaced = held = 0
    with TemporaryDirectory(prefix="user-engagement-") as folder:
        local = DuckDBWarehouse(Path(folder) / "slice.duckdb", memory_limit, forgotten_file)
        checked = local.replace_slice(extract)
        with local.connect() as rows:
            months = rows.execute(_months_query(f"{SCHEMA}.{table}", day)).fetchall()
            windows = _loads(months, extract.window)
            for window in windows:
                with TemporaryDirectory(dir=folder) as files:
                    in_window = window.predicate(day)
                    query = f"{raw}.{table} where {in_window}"
                    parts = [_write(rows, query, table, Path(files) / "rows", in_window, day)]
                    if window is windows[-1]:
                        query, name = f"{raw}.{REJECTED_ROWS.name}", REJECTED_ROWS.name
                        of_table = f"table_name = '{table}'"
                        parts.append(_write(rows, query, name, Path(files) / "rejected", of_table))
                    counts, held = _replace(account, SCHEMA, parts, tags)
                    replaced += counts
    return LoadedSlice(checked.rows, replaced, checked.rejected_rows, held)


def replace_tables(
    account: SnowflakeAccount, schema: str, tables: Mapping[str, pa.Table], **tags: str
) -> None:
    """Replaces all rows of each table, which is created if need be, in one transaction.

    The reader role, if there is one, may then read them, unless the schema's tables name users.

    Raises:
        WarehouseError: a table holds a column of another type, or Snowflake refuses.
    """
    parts = []
    with TemporaryDirectory(prefix="user-engagement-") as folder, duckdb.connect() as rows:
        for name, table in tables.items():
            rows.register("computed", table)
            parts.append(_write(rows, "select * from computed", name, Path(folder) / name, "true"))
            rows.unregister("computed")
        _replace(account, schema, parts, tags)
    if account.reader_role and schema not in NAMING_USERS:
        with connect(account, **tags) as connection:
            for name in tables:
                table = account.table_name(schema, name)
                rows_of(connection, f"grant select on table {table} to role {account.reader_role}")


def insert_slice(
    account: SnowflakeAccount, extract: WarehouseExtract, forgotten: Forgotten, **tags: str
) -> LoadedSlice:
    """Replaces one slice of a raw table, and the table's rejected rows, by the extract's own queries.

    No row leaves Snowflake, and those of users who were ``forgotten`` stay where they are. Whole months are replaced
    together as in `replace_slice`, in one transaction each.

    Raises:
        WarehouseError: the table holds a column of another type, or Snowflake refuses.
    """
    table, day = extract.table.name, extract.table.date_column
    target, rejected = account.table_name(SCHEMA, table), account.table_name(SCHEMA, REJECTED_ROWS.name)
    kept = forgotten.excluded("user_id", "sha2({}, 256)")
    types, rejected_types = _types_of(extract.rows.schema), _types_of(extract.rejected.schema)

    def work(connection: SnowflakeConnection) -> LoadedSlice:
        rows_of(connection, f"create schema if not exists {account.database}.{account.schema_name(SCHEMA)}")
        _ensure_table(connection, account, SCHEMA, table, types)
        _ensure_table(connection, account, SCHEMA, REJECTED_ROWS.name, rejected_types)
        ensure_lock(connection, target)
        months = rows_of(connection, _months_query(f"({extract.scan})", day))
        windows = _loads(months, extract.window)
        replaced = inserted = refused = 0
        for window in windows:
            in_window = window.predicate(day)
            query = f"({extract.scan}) where {in_window} and {kept} order by {day}"
            with transaction(connection):
                lock(connection, target)
                counts = _insert(connection, target, types, query, in_window)
                if window is windows[-1]:
                    query, of_table = f"({extract.rejected_scan}) where {kept}", f"table_name = '{table}'"
                    _, refused = _insert(connection, rejected, rejected_types, query, of_table)
            replaced, inserted = replaced + counts[0], inserted + counts[1]
        held = value_of(connection, f"select count(*) from {target}")
        return LoadedSlice(inserted, replaced, refused, held)

    return in_a_session(account, tags, table, work)


def delete_rows(
    account: SnowflakeAccount, conditions: Iterable[tuple[str, str]], **tags: str
) -> dict[str, int]:
    """Deletes the rows of tables that satisfy a condition, in one transaction; how many each had, if any."""
    asked = list(conditions)

    def work(connection: SnowflakeConnection) -> dict[str, int]:
        deleted: Counter[str] = Counter()
        with transaction(connection):
            for table, condition in asked:
                name = account.table_name(*table.split("."))
                deleted[table] += changed_by(connection, f"delete from {name} where {condition}")
        return dict(+deleted)

    return in_a_session(account, tags, ", ".join(table for table, _ in asked), work)


def ensure_lock(connection: SnowflakeConnection, target: str) -> None:
    rows_of(connection, f"create transient table if not exists {target}__LOCK as select 0 as loads")


def lock(connection: SnowflakeConnection, target: str) -> None:
    """Waits for other loads of the table, to the end of the transaction.

    Two loads that delete nothing would otherwise both insert the same slice, and neither would see the other's rows.
    """
    rows_of(connection, f"update {target}__LOCK set loads = loads + 1")


def _insert(
    connection: SnowflakeConnection, target: str, types: Mapping[str, str], query: str, condition: str
) -> tuple[int, int]:
    """Replaces the rows that satisfy the condition by those of a query; returns how many were and are there.

    Raises:
        NotWholeError: the table then holds another number of them than were inserted.
    """
    columns = ", ".join(f'"{name}"' for name in types)
    replaced = changed_by(connection, f"delete from {target} where {condition}")
    inserted = changed_by(connection, f"insert into {target} ({columns}) select {columns} from {query}")
    held = value_of(connection, f"select count(*) from {target} where {condition}")
    if held != inserted:
        raise NotWholeError(f"{target}: {held} rows in the slice after {inserted} were inserted")
    return replaced, inserted


def _types_of(schema: pa.Schema) -> dict[str, str]:
    return {stored_name(field.name): SNOWFLAKE_TYPES[SQL_OF_ARROW[field.type]] for field in schema}


def _months_query(rows: str, day: str) -> str:
    """How many rows each month has, in order."""
    return f"select cast(date_trunc('month', {day}) as date), count(*) from {rows} group by 1 order by 1"


def _loads(months: Sequence[tuple[date, int]], slice_: Window) -> list[Window]:
    """The windows of the loads that make up the slice, cut where months begin."""
    cuts, size = [], 0
    for month, count in months:
        if size and size + count > ROWS_PER_LOAD:
            cuts.append(month)
            size = 0
        size += count
    edges = [slice_.start, *cuts, slice_.end]
    return [Window(start, end) for start, end in pairwise(edges)]


def _write(
    rows: duckdb.DuckDBPyConnection,
    query: str,
    table: str,
    folder: Path,
    condition: str,
    order: str | None = None,
) -> _Part:
    """Writes the rows of a query as Parquet, into as many files as there are threads, or more."""
    found = rows.sql(query)
    types = {
        stored_name(name): SNOWFLAKE_TYPES[str(kind)]
        for name, kind in zip(found.columns, found.types, strict=True)
    }
    columns = ", ".join(f'"{name}" as C{place}' for place, name in enumerate(found.columns))
    count = rows.execute(
        f"copy (select {columns} from ({query})) to '{folder.as_posix()}' (format parquet, compression zstd, "
        f"row_group_size {ROWS_PER_GROUP}, row_groups_per_file {GROUPS_PER_FILE}, per_thread_output true)"
    ).fetchall()[0][0]
    return _Part(table, types, folder, count, condition, order and stored_name(order))


def _replace(
    account: SnowflakeAccount, schema: str, parts: Sequence[_Part], tags: Mapping[str, str]
) -> tuple[int, int]:
    """Replaces the rows of all parts in one transaction.

    Returns, for the first table, how many rows were replaced and how many it now holds.
    """

    def work(connection: SnowflakeConnection) -> tuple[int, int]:
        rows_of(connection, f"create schema if not exists {account.database}.{account.schema_name(schema)}")
        with ExitStack() as stack:
            staged = []
            if schema == SCHEMA:
                ensure_lock(connection, account.table_name(schema, parts[0].table))
            for part in parts:
                _ensure_table(connection, account, schema, part.table, part.types)
                staged.append(stack.enter_context(_staged(connection, account, schema, part)))
            with transaction(connection):
                if schema == SCHEMA:
                    lock(connection, account.table_name(schema, parts[0].table))
                replaced = [
                    _swap(connection, account.table_name(schema, part.table), loaded, part)
                    for part, loaded in zip(parts, staged, strict=True)
                ]
        held = value_of(connection, f"select count(*) from {account.table_name(schema, parts[0].table)}")
        return replaced[0], held

    return in_a_session(account, tags, ", ".join(part.table for part in parts), work)


def in_a_session(
    account: SnowflakeAccount,
    tags: Mapping[str, str],
    what: str,
    work: Callable[[SnowflakeConnection], Result],
) -> Result:
    """Does work that may be done twice, again in a new session when the connection is lost or a lock is not given up.

    A session that is lost keeps its locks until Snowflake ends its transaction, after five idle minutes; the next
    attempt waits for them (`LOCK_TIMEOUT`).
    """
    waits = list(WAITS)
    while True:
        try:
            with connect(account, **tags) as connection:
                return work(connection)
        except TransientError as error:
            if not waits:
                raise WarehouseError(
                    f"{what}: not loaded in {len(WAITS) + 1} attempts; what is there is as it was, or whole. "
                    f"Load it again. (The last attempt: {error})"
                ) from None
            time.sleep(waits.pop(0))


@contextmanager
def transaction(connection: SnowflakeConnection) -> Iterator[None]:
    """Commits what is done within it, or takes it back."""
    rows_of(connection, "begin transaction")
    try:
        yield
        rows_of(connection, "commit")
    except BaseException:
        with suppress(Error):  # the session may be gone
            rows_of(connection, "rollback")
        raise


def _swap(connection: SnowflakeConnection, target: str, loaded: str, part: _Part) -> int:
    """Replaces the rows that satisfy the condition; returns how many there were.

    Raises:
        NotWholeError: the table then holds another number of them than was loaded.
    """
    columns = ", ".join(f'"{name}"' for name in part.types)
    places = ", ".join(part.place(name) for name in part.types)
    order = f"order by {part.place(part.order)}" if part.order else ""
    replaced = changed_by(connection, f"delete from {target} where {part.condition}")
    rows_of(connection, f"insert into {target} ({columns}) select {places} from {loaded} {order}")
    held = value_of(connection, f"select count(*) from {target} where {part.condition}")
    if held != part.rows:
        raise NotWholeError(f"{target}: {held} rows in the slice after {part.rows} were inserted")
    return replaced


@contextmanager
def _staged(
    connection: SnowflakeConnection, account: SnowflakeAccount, schema: str, part: _Part
) -> Iterator[str]:
    """The rows in a table of their own, dropped afterwards.

    Raises:
        NotWholeError: Snowflake read other rows from the files than were written.
    """
    name = f"{part.table}__load_{uuid4().hex[:12]}".upper()
    table = account.table_name(schema, name)
    columns = ", ".join(f"{part.place(name)} {kind}" for name, kind in part.types.items())
    # nobody travels back to it: without retention, what is dropped is not paid for
    rows_of(
        connection, f"create or replace transient table {table} ({columns}) data_retention_time_in_days = 0"
    )
    try:
        if part.rows:
            stage = f"@{account.database}.{account.schema_name(schema)}.%{name}"
            rows_of(
                connection,
                f"put 'file://{part.folder.as_posix()}/*.parquet' {stage} "
                f"auto_compress = false source_compression = none parallel = {UPLOADS}",
            )
            # no PURGE: if the answer is lost, the files are there to be asked for again
            rows_of(
                connection,
                f"copy into {table} from {stage} file_format = (type = parquet use_logical_type = true) "
                "match_by_column_name = case_insensitive on_error = abort_statement",
            )
        loaded = value_of(connection, f"select count(*) from {table}")
        if loaded != part.rows:
            raise NotWholeError(f"{table}: {loaded} rows loaded of {part.rows}")
        yield table
    finally:
        with suppress(Error):  # it is transient, and named apart: left behind, it harms nobody
            rows_of(connection, f"drop table if exists {table}")


def _ensure_table(
    connection: SnowflakeConnection,
    account: SnowflakeAccount,
    schema: str,
    name: str,
    types: Mapping[str, str],
) -> None:
    """Creates the table, or adds the columns that the source has gained since; refuses a changed type."""
    table = account.table_name(schema, name)
    columns = ", ".join(f'"{column}" {kind}' for column, kind in types.items())
    # transient: what it holds can be loaded again from the source, so that Fail-safe need not be paid for
    rows_of(connection, f"create transient table if not exists {table} ({columns})")
    held = dict(
        rows_of(
            connection,
            f"select column_name, data_type from {account.database}.information_schema.columns "
            f"where table_schema = '{account.schema_name(schema)}' and table_name = '{name.upper()}'",
        )
    )
    for column, kind in types.items():
        if column not in held:
            rows_of(connection, f'alter table {table} add column "{column}" {kind}')
        elif held[column] != DATA_TYPES[kind]:
            raise WarehouseError(
                f"{table}: column {shown_name(column)} is {held[column]} in the warehouse but must be {kind}. "
                "Drop the table and load all months again."
            )
