"""Tables beside the project's own: schemas of the warehouse file, another DuckDB file, or Parquet files."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import duckdb

from user_engagement.contracts.raw import SCHEMA
from user_engagement.errors import SourceError, WarehouseBusyError
from user_engagement.settings import PREFIX
from user_engagement.sources.normalise import ValueRules, identifier, quoted
from user_engagement.sources.snowplow.duckdb_events import DuckDBDialect
from user_engagement.sources.warehouse.tables import SESSIONS_SCHEMA, LandedFiles
from user_engagement.warehouse.duckdb.attaching import attached_files
from user_engagement.warehouse.duckdb.loading import transaction
from user_engagement.warehouse.duckdb.warehouse import DuckDBWarehouse

ATTACHED = "source_file"
PARQUET = ".parquet"
WAITS = (0.1, 0.3, 1.0)
"""Seconds between attempts to open a file that another process holds."""


class DuckDBWorkspace:
    """The `Workspace` of a connection to the warehouse file."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql).fetchall()
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            raise SourceError(f"Sessions cannot be made of the events. ({reason})") from None

    def own(self, name: str) -> str:
        return f"{SESSIONS_SCHEMA}.{name}"

    def create(self, name: str, columns: Mapping[str, str]) -> None:
        listed = ", ".join(f"{column} {kind}" for column, kind in columns.items())
        self.run(f"create table if not exists {self.own(name)} ({listed})")

    def compute(self, name: str, query: str) -> str:
        self.run(f"create or replace temporary table {name} as {query}")
        return f"temp.{name}"

    def transaction(self) -> AbstractContextManager[None]:
        return transaction(self._connection)


class DuckDBTables:
    """The `SourceTables` of the embedded warehouse.

    Args:
        warehouse: the warehouse file.
        path: a DuckDB file that holds the tables; they are in schemas of the warehouse file if it is None. Names that
            end in ``.parquet`` are files, or patterns of files, either way.
    """

    dialect = DuckDBDialect()

    def __init__(self, warehouse: DuckDBWarehouse, path: str | None) -> None:
        self.warehouse = warehouse
        self.attached: Mapping[str, Path] = {ATTACHED: Path(path).resolve()} if path else {}

    def rules(self, rules: ValueRules) -> ValueRules:
        return rules

    def relation(self, name: str) -> str:
        if name.endswith(PARQUET):
            place = quoted(Path(name).absolute())
            return f"read_parquet({place}, union_by_name=true, binary_as_string=true)"
        parts = re.findall(r'"(?:[^"]|"")*"|[^."]+', name)
        plain = [part[1:-1].replace('""', '"') if part[0] == '"' else part for part in parts]
        placed = plain if plain[1:] else ["main", *plain]
        schema = placed[-2].lower()
        if not self.attached and schema in (SCHEMA, SESSIONS_SCHEMA):
            raise SourceError(
                f"{name}: tables in the schema {schema} are this project's own. Keep the source's in another schema."
            )
        return ".".join(map(identifier, [*self.attached, *placed]))

    def column(self, name: str) -> str:
        return identifier(name)

    def columns(self, name: str) -> Mapping[str, str] | None:
        try:
            found = self._fetch(f"describe select * from {self.relation(name)}", name.endswith(PARQUET))
        except (duckdb.CatalogException, duckdb.IOException, duckdb.BinderException):
            return None
        return {row[0]: row[1] for row in found}

    def land(
        self, stage: str, table: str, left_out: Collection[str], check: Callable[[str, list[str]], object]
    ) -> LandedFiles | None:
        raise SourceError(
            f"{stage}: DuckDB has no stages. Read {table} from a folder with the source files "
            f"({PREFIX}SOURCE=files, {PREFIX}SOURCE_PATH=FOLDER), or from a path that ends in {PARQUET}."
        )

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        try:
            return self._fetch(sql, "read_parquet(" in sql)
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            raise SourceError(f"The tables of the source cannot be read. ({reason})") from None

    @contextmanager
    def workspace(self) -> Iterator[DuckDBWorkspace]:
        with self._opened() as connection, attached_files(connection, self.attached):
            connection.execute("set TimeZone = 'UTC'")
            connection.execute(f"create schema if not exists {SESSIONS_SCHEMA}")
            yield DuckDBWorkspace(connection)

    def mark(self, name: str) -> str | None:
        """Size and time of an attached file; the warehouse file itself changes with every load."""
        if not self.attached or name.endswith(PARQUET):
            return None
        file = self.attached[ATTACHED]
        states = [each.stat() for each in (file, Path(f"{file}.wal")) if each.exists()]
        return " ".join(f"{state.st_size}:{state.st_mtime_ns}" for state in states)

    def remedy(self, name: str) -> str:
        if name.endswith(PARQUET):
            return f"Correct the path in {PREFIX}SOURCE_TABLES."
        held = ", ".join(self._held()) or "nothing"
        return f"Found {held} in {self._file}. Correct {PREFIX}SOURCE_TABLES or {PREFIX}SOURCE_PATH."

    @property
    def _file(self) -> Path:
        return self.attached.get(ATTACHED, self.warehouse.file)

    def _held(self) -> list[str]:
        database = quoted(ATTACHED) if self.attached else "current_database()"
        listed = " union all ".join(
            f"select schema_name || '.' || {kind}_name from duckdb_{kind}s() "
            f"where database_name = {database} and not internal"
            for kind in ("table", "view")
        )
        return [row[0] for row in self._fetch(f"{listed} order by 1")]

    def _fetch(self, sql: str, is_outside: bool = False) -> list[tuple[Any, ...]]:
        with self._connect(is_outside) as connection:
            connection.execute("set TimeZone = 'UTC'")
            return connection.execute(sql).fetchall()

    @contextmanager
    def _opened(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The warehouse file; another process that looks into it for a moment is waited for."""
        with ExitStack() as stack:
            for seconds in WAITS:
                try:
                    connection = stack.enter_context(self.warehouse.connect())
                    break
                except WarehouseBusyError:
                    time.sleep(seconds)
            else:
                connection = stack.enter_context(self.warehouse.connect())
            yield connection

    @contextmanager
    def _connect(self, is_outside: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection that holds the warehouse file only if the tables are in it."""
        if not (self.attached or is_outside or self.warehouse.exists()):
            raise SourceError(
                f"{self.warehouse.file}: there is no warehouse file yet that could hold the source's tables. "
                f"Create them there, or name another DuckDB file with {PREFIX}SOURCE_PATH."
            )
        if not (self.attached or is_outside):
            with self._opened() as connection:
                yield connection
            return
        with (
            duckdb.connect(config={"memory_limit": self.warehouse.memory_limit}) as connection,
            attached_files(connection, self.attached),
        ):
            yield connection
