"""What the source `warehouse` asks of the warehouse that holds its tables."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from user_engagement.sources.normalise import ValueRules
from user_engagement.sources.snowplow.session_sql import EventDialect

SESSIONS_SCHEMA = "event_sessions"
"""The project's own schema for what sessions out of events are made from."""
STAGED_SCHEMA = "staged_files"
"""The project's own schema for the rows of files in stages."""
STAGE = "@"
"""How the name of a stage begins."""


@dataclass(frozen=True)
class LandedFiles:
    """The rows of files in a table: it as SQL, names and types of its columns, and a mark of each file by its name.

    ``file`` and ``row_number`` are its columns, as SQL, for where a row comes from.
    """

    relation: str
    columns: Mapping[str, str]
    marks: Mapping[str, str]
    file: str
    row_number: str


class Workspace(Protocol):
    """One session of the warehouse, in which tables of `SESSIONS_SCHEMA` are read and written."""

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query, or the number of rows that a statement changed."""
        ...

    def own(self, name: str) -> str:
        """A table of the schema as SQL."""
        ...

    def create(self, name: str, columns: Mapping[str, str]) -> None:
        """Creates a table of the schema unless there is one."""
        ...

    def compute(self, name: str, query: str) -> str:
        """Keeps the rows of a query in a table until the session ends; returns the table as SQL."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """Statements of which all take effect, or none."""
        ...


class SourceTables(Protocol):
    """Tables that a warehouse can read by itself. Names are those of the settings' mapping.

    Every method raises `SourceError` or `WarehouseError` for what a user can mend.
    """

    @property
    def attached(self) -> Mapping[str, Path]:
        """Files that a query needs attached, by the names under which it reads them."""
        ...

    def rules(self, rules: ValueRules) -> ValueRules:
        """The same rules in the warehouse's SQL."""
        ...

    def relation(self, name: str) -> str:
        """A table as SQL."""
        ...

    def column(self, name: str) -> str:
        """A raw table's column as SQL, spelled as the warehouse stores it."""
        ...

    def columns(self, name: str) -> Mapping[str, str] | None:
        """Names and types of a table's columns, types named as DuckDB's.

        None if there is no such table, or no right to read it: warehouses do not tell one from the other.
        """
        ...

    def land(
        self, stage: str, table: str, left_out: Collection[str], check: Callable[[str, list[str]], object]
    ) -> LandedFiles | None:
        """Brings the table with the rows of a stage's files up to date; None if there are no files.

        Args:
            stage: the stage and a path in it.
            table: the raw table that the files hold.
            left_out: columns, by their lower-case names, that are not loaded.
            check: refuses a new file by its name and its columns.
        """
        ...

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The result of a query over the tables."""
        ...

    @property
    def dialect(self) -> EventDialect:
        """How events are written in the warehouse's SQL."""
        ...

    def workspace(self) -> AbstractContextManager[Workspace]:
        """Opens a session that may write, beside what is asked of the tables."""
        ...

    def mark(self, name: str) -> str | None:
        """What changes whenever the table does, found without computing anything; None if nothing says so."""
        ...

    def remedy(self, name: str) -> str:
        """How a table that cannot be read is made readable, as a sentence."""
        ...
