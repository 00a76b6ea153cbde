"""Tables of the account that the source `warehouse` reads where they lie."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any
from uuid import uuid4

from snowflake.connector import SnowflakeConnection
from snowflake.connector.constants import FIELD_ID_TO_NAME
from snowflake.connector.cursor import ResultMetadata, SnowflakeCursor
from snowflake.connector.errors import Error, ProgrammingError

from user_engagement.contracts.raw import SCHEMA
from user_engagement.errors import SourceError
from user_engagement.hashing import digest
from user_engagement.settings import PREFIX
from user_engagement.sources.normalise import ValueRules, identifier, quoted
from user_engagement.sources.warehouse.snowflake_events import SnowflakeDialect
from user_engagement.sources.warehouse.snowflake_rules import SnowflakeRules
from user_engagement.sources.warehouse.tables import SESSIONS_SCHEMA, STAGE, STAGED_SCHEMA, LandedFiles
from user_engagement.warehouse.snowflake.account import SnowflakeAccount
from user_engagement.warehouse.snowflake.connection import (
    NO_RIGHTS,
    connect,
    does_not_exist,
    rows_of,
    stored_name,
)
from user_engagement.warehouse.snowflake.loading import transaction
from user_engagement.warehouse.snowflake.stages import (
    ROW_NUMBER,
    SOURCE,
    Stage,
    StagedTable,
    list_files,
)

DEFAULT_SCHEMA = "PUBLIC"
MARK_SECONDS = 60.0
KINDS = {
    "REAL": "DOUBLE",
    "TEXT": "VARCHAR",
    "DATE": "DATE",
    "TIMESTAMP": "TIMESTAMP",
    "TIMESTAMP_NTZ": "TIMESTAMP",
    "TIMESTAMP_LTZ": "TIMESTAMP WITH TIME ZONE",
    "TIMESTAMP_TZ": "TIMESTAMP WITH TIME ZONE",
    "OBJECT": "STRUCT()",
    "ARRAY": "VARIANT[]",
    "MAP": "MAP()",
}
"""Of each type in Snowflake, that in DuckDB; others keep their names, and are read as text."""


class SnowflakeWorkspace:
    """The `Workspace` of a connection; what it computes is in transient tables with names of their own."""

    def __init__(self, account: SnowflakeAccount, connection: SnowflakeConnection) -> None:
        self._account = account
        self._connection = connection
        self._suffix = uuid4().hex[:12]
        self._computed: set[str] = set()

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        return rows_of(self._connection, sql)

    def own(self, name: str) -> str:
        return self._account.table_name(SESSIONS_SCHEMA, name)

    def create(self, name: str, columns: Mapping[str, str]) -> None:
        listed = ", ".join(f"{column} {kind}" for column, kind in columns.items())
        self.run(f"create transient table if not exists {self.own(name)} ({listed})")

    def compute(self, name: str, query: str) -> str:
        table = self.own(f"{name}__{self._suffix}")
        self._computed.add(table)
        self.run(f"create or replace transient table {table} data_retention_time_in_days = 0 as {query}")
        return table

    def transaction(self) -> AbstractContextManager[None]:
        return transaction(self._connection)

    def drop_computed(self) -> None:
        with suppress(Error):  # named apart: left behind, they harm nobody
            for table in self._computed:
                self.run(f"drop table if exists {table}")


class SnowflakeTables:
    """The `SourceTables` of a Snowflake account.

    Args:
        account: where, and as whom.
        place: ``DATABASE.SCHEMA`` of tables that are named without; the account's own database, and its schema
            ``PUBLIC``, if it is None.
    """

    attached: Mapping[str, Path] = {}
    dialect = SnowflakeDialect()

    def __init__(self, account: SnowflakeAccount, place: str | None) -> None:
        self.account = account
        self.place = _parts(place or DEFAULT_SCHEMA)
        self._marks: dict[str, tuple[float, str]] = {}
        self._landed: dict[tuple[str, str], tuple[str | None, LandedFiles | None]] = {}

    def rules(self, rules: ValueRules) -> ValueRules:
        return SnowflakeRules(**{field.name: getattr(rules, field.name) for field in fields(rules)})

    def relation(self, name: str) -> str:
        database, schema, table = self._full_name(name)
        own = [self.account.schema_name(each) for each in (SCHEMA, SESSIONS_SCHEMA, STAGED_SCHEMA)]
        if database == self.account.database and schema in own:
            raise SourceError(
                f"{name}: tables in {database}.{schema} are this project's own. Read another schema, or set "
                "SNOWFLAKE_SCHEMA_PREFIX."
            )
        return ".".join(map(identifier, (database, schema, table)))

    def column(self, name: str) -> str:
        return identifier(stored_name(name))

    def columns(self, name: str) -> Mapping[str, str] | None:
        with connect(self.account, asset="source") as connection, connection.cursor() as cursor:
            try:
                return _columns(cursor, self.relation(name))
            except ProgrammingError as error:
                if does_not_exist(error) or error.errno == NO_RIGHTS:
                    return None
                raise

    def land(
        self, stage: str, table: str, left_out: Collection[str], check: Callable[[str, list[str]], object]
    ) -> LandedFiles | None:
        """As the protocol says; the table is in the schema `STAGED_SCHEMA`. While `mark` stays, nothing is asked."""
        # the mark before the files: what comes meanwhile must count as a change
        mark = self.mark(stage)
        if self._landed.get((stage, table), (None,))[0] != mark:
            staged = StagedTable(self.account, self.stage(stage), table, left_out, check)
            marks = staged.refresh()
            self._landed[stage, table] = mark, self._described(staged, marks) if marks else None
        return self._landed[stage, table][1]

    def _described(self, staged: StagedTable, marks: Mapping[str, str]) -> LandedFiles:
        with connect(self.account, asset="source") as connection, connection.cursor() as cursor:
            columns = _columns(cursor, staged.table)
        given = {name: kind for name, kind in columns.items() if name not in (SOURCE, ROW_NUMBER)}
        return LandedFiles(staged.table, given, marks, SOURCE, ROW_NUMBER)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with connect(self.account, asset="source") as connection:
            return rows_of(connection, sql)

    @contextmanager
    def workspace(self) -> Iterator[SnowflakeWorkspace]:
        with connect(self.account, asset="sessions") as connection:
            schema = f"{self.account.database}.{self.account.schema_name(SESSIONS_SCHEMA)}"
            rows_of(connection, f"create schema if not exists {schema}")
            workspace = SnowflakeWorkspace(self.account, connection)
            try:
                yield workspace
            finally:
                workspace.drop_computed()

    def mark(self, name: str) -> str | None:
        """When the table last changed, or what files a stage has, which Snowflake tells without a virtual warehouse.

        It does not tell of every view.

        Each question is a login, and sensors ask several times a minute: an answer serves for `MARK_SECONDS`.
        """
        until, known = self._marks.get(name, (0.0, ""))
        if time.monotonic() < until:
            return known
        if name.startswith(STAGE):
            with connect(self.account, asset="source") as connection:
                files = list_files(connection, self.stage(name), self.account.role)
            found = digest([repr(sorted((file.name, file.mark) for file in files.values()))])
            self._marks[name] = time.monotonic() + MARK_SECONDS, found
            return found
        asked = f"select system$last_change_commit_time({quoted(self.relation(name))})"
        with connect(self.account, asset="source") as connection, suppress(ProgrammingError):
            found = str(rows_of(connection, asked)[0][0])
            self._marks[name] = time.monotonic() + MARK_SECONDS, found
            return found
        return None

    def remedy(self, name: str) -> str:
        if name.startswith(STAGE):
            return self.stage(name).remedy(self.account.role)
        database, schema, _ = self._full_name(name)
        role = self.account.role
        return (
            f"Correct {PREFIX}SOURCE_TABLES, or: grant usage on database {database} to role {role}; "
            f"grant usage on schema {database}.{schema} to role {role}; "
            f"grant select on {self.relation(name)} to role {role};"
        )

    def stage(self, name: str) -> Stage:
        """The parts of a stage's name."""
        found = re.fullmatch(r'@((?:"(?:[^"]|"")*"|[^"/])+)(?:/(.*))?', name)
        if not found or found[1][0] == "~" or "%" in found[1]:
            raise SourceError(f"{name}: not a named stage; write it as @DATABASE.SCHEMA.STAGE/path/.")
        database, schema, stage = self._full_name(found[1])
        return Stage(name, database, schema, stage, found[2] or "")

    def _full_name(self, name: str) -> list[str]:
        parts = _parts(name)
        if not parts[1:]:
            parts = [*self.place, *parts]
        full = [self.account.database, *parts][-3:]
        if len(full) < 3 or len(parts) > 3:
            raise SourceError(f"{name}: not a table's name; write it as DATABASE.SCHEMA.TABLE.")
        return full


def _parts(name: str) -> list[str]:
    """The parts of a name, folded as Snowflake does unless they are quoted."""
    found = re.findall(r'"(?:[^"]|"")*"|[^."]+', name)
    return [part[1:-1].replace('""', '"') if part[0] == '"' else part.upper() for part in found]


def _columns(cursor: SnowflakeCursor, relation: str) -> dict[str, str]:
    return {column.name: _kind(column) for column in cursor.describe(f"select * from {relation}")}


def _kind(column: ResultMetadata) -> str:
    kind = FIELD_ID_TO_NAME[column.type_code]
    if kind == "FIXED":
        return f"DECIMAL({column.precision},{column.scale})" if column.scale else "HUGEINT"
    return KINDS.get(kind, kind)
