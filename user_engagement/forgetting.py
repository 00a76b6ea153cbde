"""Forgets users: no file of the home names them afterwards, and no later load brings them back.

The source is not changed; whoever runs it deletes the users there.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb

from user_engagement.code_location import first_month
from user_engagement.contracts.raw import RAW_TABLES
from user_engagement.errors import SettingsError, UserError
from user_engagement.partitions import Months, contiguous_ranges, monthly_partitions
from user_engagement.pipeline import Plan, Step, run
from user_engagement.publishing.generations import generations, resolve
from user_engagement.settings import Settings
from user_engagement.sources import open_source
from user_engagement.sources.normalise import quoted
from user_engagement.warehouse import open_source_tables
from user_engagement.warehouse.duckdb.warehouse import DuckDBWarehouse
from user_engagement.warehouse.forgotten import read_forgotten
from user_engagement.warehouse.snowflake.account import SCHEMAS

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
    """Removes users from the home, rebuilds what they were part of, and looks whether anything still names them.

    The list of forgotten users is written first, so that this can be repeated after a failure.

    Raises:
        SettingsError: the tables live in Snowflake.
        UserError: nothing has been loaded, or tables of a team's own in the warehouse's file name a user. Nothing was
            removed.
        RunFailedError: the marts could not be rebuilt. The users are removed all the same.
    """
    if settings.warehouse != "duckdb":
        raise SettingsError(
            "forget works on a DuckDB warehouse alone; in Snowflake, delete the rows and reload."
        )
    warehouse = DuckDBWarehouse.of(settings)
    if not warehouse.exists():
        raise UserError(f"{settings.home}: nothing has been loaded, so there is nobody to forget.")
    _refuse_foreign_tables(warehouse, users)
    read_forgotten(settings.forgotten_file).including(users).write(settings.forgotten_file)
    source = open_source(settings, open_source_tables)
    calendar = monthly_partitions(first_month(source, settings), settings.as_of).get_partition_keys()
    with warehouse.connect() as connection:
        touched, loaded = (_months(connection, named, calendar) for named in (users, None))
        removed = _remove(connection, users)
    if touched:
        ranges = tuple(contiguous_ranges(touched))
        run(settings, Rebuild(source, (), ranges, Months(loaded[0], loaded[-1])))
    _rewrite(warehouse)
    _remove_traces(settings, users)
    tables, left = _named_in_tables(warehouse, users)
    files, named = _named_in_files(settings, users)
    return Proof(removed, tuple(f"{month:%Y-%m}" for month in touched), tables, files, (*left, *named))


def _months(
    connection: duckdb.DuckDBPyConnection, users: Sequence[str] | None, calendar: Sequence[str]
) -> list[date]:
    """The months with raw rows of these users, or of anybody; rows outside the calendar belong to its ends."""
    found: set[date] = set()
    for table in RAW_TABLES:
        month = f"cast(date_trunc('month', {table.date_column}) as date)"
        query = f"select distinct {month} from raw.{table.name} where {table.date_column} is not null"
        rows = (
            connection.execute(query)
            if users is None
            else connection.execute(f"{query} and user_id in (select unnest(?))", [list(users)])
        )
        found.update(row[0] for row in rows.fetchall())
    first, last = date.fromisoformat(calendar[0]), date.fromisoformat(calendar[-1])
    return sorted({min(max(month, first), last) for month in found})


def _tables_with(connection: duckdb.DuckDBPyConnection, column: str, ours: bool = True) -> list[str]:
    """The tables of the project's schemas, or of all others, that have a column."""
    query = """
        select schema_name || '.' || table_name from duckdb_columns() inner join duckdb_tables()
        using (schema_name, table_name)
        where column_name = ? and not duckdb_columns.internal and list_contains(?, schema_name) = ? order by all
    """
    return [row[0] for row in connection.execute(query, [column, list(SCHEMAS), ours]).fetchall()]


def _refuse_foreign_tables(warehouse: DuckDBWarehouse, users: Sequence[str]) -> None:
    """Tables of a source, or of a team's own, in the same file are theirs to change."""
    with warehouse.connect() as connection:
        found = [
            table
            for table in _tables_with(connection, "user_id", ours=False)
            if connection.table(table).filter(_names(users)).limit(1).fetchall()
        ]
    if found:
        raise UserError(
            f"{warehouse.file}: {', '.join(found)} name these users, and are no tables of this project. "
            "Delete the users there, and run this again. Nothing was removed."
        )


def _names(users: Sequence[str]) -> str:
    listed = ", ".join(quoted(user) for user in users)
    return f"cast(user_id as varchar) in ({listed})"


def _remove(connection: duckdb.DuckDBPyConnection, users: Sequence[str]) -> dict[str, int]:
    """Deletes the users' rows from every table, under their ids and under the numbers that stand for these."""
    removed: dict[str, int] = {}
    by_id = _tables_with(connection, "user_id")
    numbers: list[int] = []
    if "lookups.user_numbers" in by_id:
        query = "select user_number from lookups.user_numbers where user_id in (select unnest(?))"
        numbers = [row[0] for row in connection.execute(query, [list(users)]).fetchall()]
    for column, values in (("user_number", numbers), ("user_id", list(users))):
        for table in _tables_with(connection, column) if values else ():
            deleted = connection.execute(
                f"delete from {table} where {column} in (select unnest(?))", [values]
            ).fetchall()[0][0]
            if deleted:
                removed[table] = removed.get(table, 0) + deleted
    return removed


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


def _named_in_tables(warehouse: DuckDBWarehouse, users: Sequence[str]) -> tuple[int, list[str]]:
    """How many tables have a column of users, and which of them still hold one of these."""
    with warehouse.connect() as connection:
        tables = _tables_with(connection, "user_id")
        count = "select count(*) from {} where user_id in (select unnest(?))"
        left = [t for t in tables if connection.execute(count.format(t), [list(users)]).fetchall()[0][0]]
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
