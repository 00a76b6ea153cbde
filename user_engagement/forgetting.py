"""Forgets users: no table and no file of the home names them afterwards, and no later load brings them back.

The source is not changed; whoever runs it deletes the users there.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from user_engagement.code_location import first_month
from user_engagement.contracts.raw import RAW_TABLES
from user_engagement.errors import UserError
from user_engagement.partitions import Months, contiguous_ranges, monthly_partitions
from user_engagement.pipeline import Plan, Step, run
from user_engagement.publishing.generations import generations, resolve
from user_engagement.settings import Settings
from user_engagement.sources import open_source
from user_engagement.sources.normalise import quoted
from user_engagement.warehouse import Warehouse, WarehouseReader, open_source_tables, open_warehouse
from user_engagement.warehouse.duckdb.warehouse import DuckDBWarehouse
from user_engagement.warehouse.forgotten import read_forgotten
from user_engagement.warehouse.schemas import SCHEMAS

SHORTEST_NAME = 8
"""Shorter ids, such as 42, stand in any text by chance: they are looked for in columns of users alone."""


@dataclass(frozen=True)
class Rebuild(Plan):
    """Rebuilds activity of the months in ``load`` and all cohorts from what is loaded, without the source."""

    def steps(self) -> Iterator[Step]:
        for months in self.load:
            yield Step("refresh_activity", months, loads=False)
        if self.cohorts:
            yield Step("refresh_cohorts", self.cohorts, loads=False)


@dataclass(frozen=True)
class Proof:
    """Rows removed by table, months rebuilt, how much was looked through, and what still names a user."""

    removed: dict[str, int]
    months: tuple[str, ...]
    searched_tables: int
    searched_files: int
    left: tuple[str, ...]


def forget(settings: Settings, users: Sequence[str]) -> Proof:
    """Removes users, rebuilds what they were part of, and looks whether anything still names them.

    The list of forgotten users is written first, so that this can be repeated after a failure.

    Raises:
        UserError: nothing has been loaded, or tables of a team's own in the warehouse's file name a user. Nothing was
            removed.
        RunFailedError: the marts could not be rebuilt. The users are removed all the same.
    """
    warehouse = open_warehouse(settings)
    if not warehouse.exists():
        raise UserError(f"{settings.home}: nothing has been loaded, so there is nobody to forget.")
    if isinstance(warehouse, DuckDBWarehouse):
        _refuse_foreign_tables(warehouse, users)
    read_forgotten(settings.forgotten_file).including(users).write(settings.forgotten_file)
    source = open_source(settings, open_source_tables)
    calendar = monthly_partitions(first_month(source, settings), settings.as_of).get_partition_keys()
    with warehouse.reader() as reader:
        touched, loaded = (_months(reader, condition, calendar) for condition in (_named(users), "true"))
        rows = _rows_of(reader, users)
    removed = warehouse.delete_rows(rows, asset="forget")
    if touched:
        ranges = tuple(contiguous_ranges(touched))
        run(settings, Rebuild(source, (), ranges, Months(loaded[0], loaded[-1])))
    if isinstance(warehouse, DuckDBWarehouse):
        _rewrite(warehouse)
    _remove_traces(settings, users)
    tables, left = _named_in_tables(warehouse, users)
    files, named = _named_in_files(settings, users)
    return Proof(removed, tuple(f"{month:%Y-%m}" for month in touched), tables, files, (*left, *named))


def _months(reader: WarehouseReader, condition: str, calendar: Sequence[str]) -> list[date]:
    """The months with raw rows that satisfy a condition; rows outside the calendar belong to its ends."""
    found: set[date] = set()
    for table in RAW_TABLES:
        rows = reader.monthly_rows(f"raw.{table.name}", table.date_column, condition)
        found.update(date.fromisoformat(month) for month in rows)
    first, last = date.fromisoformat(calendar[0]), date.fromisoformat(calendar[-1])
    return sorted({min(max(month, first), last) for month in found})


def _refuse_foreign_tables(warehouse: DuckDBWarehouse, users: Sequence[str]) -> None:
    """Tables of a source, or of a team's own, in the same file are theirs to change."""
    query = """
        select distinct schema_name || '.' || table_name from duckdb_columns() inner join duckdb_tables()
        using (schema_name, table_name)
        where column_name = 'user_id' and not duckdb_columns.internal and not list_contains(?, schema_name)
        order by all
    """
    with warehouse.connect() as connection:
        found = [
            table
            for (table,) in connection.execute(query, [list(SCHEMAS)]).fetchall()
            if connection.table(table).filter(_named(users)).limit(1).fetchall()
        ]
    if found:
        raise UserError(
            f"{warehouse.file}: {', '.join(found)} name these users, and are no tables of this project. "
            "Delete the users there, and run this again. Nothing was removed."
        )


def _named(users: Sequence[str]) -> str:
    return f"cast(user_id as varchar) in ({', '.join(quoted(user) for user in users)})"


def _rows_of(reader: WarehouseReader, users: Sequence[str]) -> list[tuple[str, str]]:
    """The tables that name users, by id or by the number that stands for it, each with its condition."""
    by_id = reader.tables_with("user_id")
    rows = [(table, _named(users)) for table in by_id]
    # of two tables, the one in `lookups` was made later, by an earlier version
    if held := next((table for table in by_id if table.endswith(".user_numbers")), None):
        query = f"select user_number from {held} where {_named(users)}"
        if numbers := reader.query(query)["user_number"].to_pylist():
            numbered = f"user_number in ({', '.join(map(str, numbers))})"
            rows = [*((table, numbered) for table in reader.tables_with("user_number")), *rows]
    return rows


def _rewrite(warehouse: DuckDBWarehouse) -> None:
    """Writes the warehouse to a new file: blocks that DuckDB has freed still hold what was deleted."""
    fresh = warehouse.file.with_name("fresh.duckdb")
    fresh.unlink(missing_ok=True)
    with warehouse.connect() as connection:
        connection.execute("checkpoint")
        connection.execute(f"attach '{fresh}' as fresh")
        connection.execute(f"copy from database {warehouse.file.stem} to fresh")
        connection.execute("detach fresh")
    fresh.replace(warehouse.file)
    Path(f"{warehouse.file}.wal").unlink(missing_ok=True)


def _remove_traces(settings: Settings, users: Sequence[str]) -> None:
    """Removes older generations, dbt's logs, and the users' ids in Dagster's own storage."""
    current = resolve(settings.published_dir)
    for _, folder in generations(settings.published_dir):
        if folder.resolve() != current:
            shutil.rmtree(folder)
    shutil.rmtree(settings.dbt_target_dir / "runs", ignore_errors=True)
    named = [user for user in users if len(user) >= SHORTEST_NAME]
    for file in sorted(settings.dagster_home.rglob("*.db")):
        _replace_in_sqlite(file, named)


def _replace_in_sqlite(file: Path, names: Sequence[str]) -> None:
    connection = sqlite3.connect(file, isolation_level=None)
    try:
        tables = connection.execute("select name from sqlite_master where type = 'table'").fetchall()
        for (table,) in tables:
            for column in connection.execute(f"pragma table_info('{table}')").fetchall():
                if column[2].upper().startswith(("TEXT", "VARCHAR")):
                    for name in names:
                        connection.execute(
                            f'update "{table}" set "{column[1]}" = replace("{column[1]}", ?, ?)'
                            f' where instr("{column[1]}", ?)',
                            [name, "forgotten", name],
                        )
        connection.execute("pragma wal_checkpoint(truncate)")
        connection.execute("vacuum")
        connection.execute("pragma wal_checkpoint(truncate)")
    finally:
        connection.close()


def _named_in_tables(warehouse: Warehouse, users: Sequence[str]) -> tuple[int, list[str]]:
    """How many tables have a column of users, and which of them still hold one of these."""
    with warehouse.reader() as reader:
        tables = reader.tables_with("user_id")
        left = [
            t
            for t in tables
            if reader.query(f"select 1 as found from {t} where {_named(users)} limit 1").num_rows
        ]
    return len(tables), left


def _named_in_files(settings: Settings, users: Sequence[str]) -> tuple[int, list[str]]:
    """How many files the home has, and which of them hold an id; a simulated source is the source's own matter."""
    names = [user.encode() for user in users if len(user) >= SHORTEST_NAME]
    files = [
        file
        for file in sorted(settings.home.absolute().rglob("*"))
        if file.is_file() and settings.simulated_home not in file.parents
    ]
    return len(files), [str(file) for file in files if any(name in file.read_bytes() for name in names)]
