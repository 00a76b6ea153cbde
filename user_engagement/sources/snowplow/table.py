"""Snowplow events in a table such as ``atomic.events``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, Unpack

import duckdb
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.exc import NoSuchTableError

from user_engagement.errors import SourceError
from user_engagement.sources.base import BATCH_ROWS
from user_engagement.sources.database.connection import Database
from user_engagement.sources.normalise import identifier, quoted
from user_engagement.sources.snowplow.session_sql import FIELDS_READ, TABLE_FIELDS
from user_engagement.sources.snowplow.sessions import (
    WIDTH,
    SessionOptions,
    SessionSource,
    insert_events,
)

REQUIRED_COLUMNS = (
    "event_id",
    "event_name",
    "collector_tstamp",
    "user_id",
    "domain_userid",
    "domain_sessionid",
)
TABLE_COLUMNS = {
    "contexts": ("contexts_com_snowplowanalytics_snowplow_web_page_1", "contexts"),
    "derived_contexts": ("contexts_nl_basjes_yauaa_context_1", "derived_contexts"),
    "client_session": ("contexts_com_snowplowanalytics_snowplow_client_session_1",),
    "spiders_and_robots": ("contexts_com_iab_snowplow_spiders_and_robots_1",),
}
"""Loaders give a context a column of its own; the first that a table has is read."""

DUCKDB_URL = "duckdb:///"


class SnowplowTableSource(SessionSource):
    """Reads engagement from a table of events such as ``atomic.events``, over SQLAlchemy or from a DuckDB file.

    The table is read again when its number of rows or newest ``collector_tstamp`` changes. A ``duckdb:///file``
    is read without SQLAlchemy, and given back before the first row is handed out, so that it may be the
    warehouse itself. Postgres loaders keep contexts in tables of their own, which are not read: without
    page view ids durations there are elapsed time.
    """

    def __init__(
        self,
        url: str,
        timezone: str = "UTC",
        *,
        table: str = "atomic.events",
        **options: Unpack[SessionOptions],
    ) -> None:
        super().__init__(timezone, **options)
        self.url = url
        self.table = table

    def _state(self) -> Any:
        with _opened(self.url) as database:
            columns_to_read(self.table, database.columns(self.table))
            return database.newest(self.table)

    def _load(self, connection: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
        with _opened(self.url) as database:
            found = columns_to_read(self.table, database.columns(self.table))
            for incoming in database.read(self.table, list(found.values())):
                connection.register("incoming", incoming.rename_columns(list(found)))
                connection.execute(insert_events(f"({_text_rows(found, self.table)})", self.rules))
                connection.unregister("incoming")
        return (self.table,)


class _Events(Protocol):
    def columns(self, table: str) -> list[str]: ...

    def newest(self, table: str) -> Any: ...

    def read(self, table: str, columns: Sequence[str]) -> Iterator[pa.Table]: ...


class _DuckDBEvents:
    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def columns(self, table: str) -> list[str]:
        try:
            return self._connection.sql(f"from {_qualified(table)} limit 0").columns
        except duckdb.CatalogException:
            raise SourceError(f"{table}: no such table in the DuckDB file. Correct its name.") from None

    def newest(self, table: str) -> Any:
        found = f"select count(*), max(collector_tstamp) from {_qualified(table)}"
        return self._connection.execute(found).fetchall()[0]

    def read(self, table: str, columns: Sequence[str]) -> Iterator[pa.Table]:
        relation = self._connection.sql(f"from {_qualified(table)}")
        kinds = dict(zip(relation.columns, map(str, relation.types), strict=True))
        values = ", ".join(_as_text(name, kinds[name]) for name in columns)
        rows = self._connection.sql(f"select {values} from {_qualified(table)}")
        for batch in rows.to_arrow_reader(BATCH_ROWS):
            yield pa.Table.from_batches([batch])


class _DatabaseEvents:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def columns(self, table: str) -> list[str]:
        schema, _, name = table.rpartition(".")
        try:
            found = sa.inspect(self._connection).get_columns(name, schema=schema or None)
        except NoSuchTableError:
            raise SourceError(f"{table}: no such table in the database. Correct its name.") from None
        return [column["name"] for column in found]

    def newest(self, table: str) -> Any:
        measures = sa.func.count(), sa.func.max(sa.column("collector_tstamp"))
        return tuple(self._connection.execute(sa.select(*measures).select_from(_clause(table))).one())

    def read(self, table: str, columns: Sequence[str]) -> Iterator[pa.Table]:
        query = sa.select(*(sa.column(name) for name in columns)).select_from(_clause(table))
        streamed = self._connection.execution_options(stream_results=True, yield_per=BATCH_ROWS)
        for rows in streamed.execute(query).partitions():
            values = [pa.array(map(_text, column), pa.string()) for column in zip(*rows, strict=True)]
            yield pa.table(values, names=list(columns))


@contextmanager
def _opened(url: str) -> Iterator[_Events]:
    """The database of a URL for reading. Raises SourceError, in one line without a password, for what fails."""
    if url.startswith(DUCKDB_URL):
        with _duckdb_file(url.removeprefix(DUCKDB_URL)) as connection:
            yield _DuckDBEvents(connection)
    else:
        database = Database(url)
        with database.connect() as connection, database.explained():
            yield _DatabaseEvents(connection)


@contextmanager
def _duckdb_file(file: str) -> Iterator[duckdb.DuckDBPyConnection]:
    if not Path(file).is_file():
        raise SourceError(f"{file}: no such DuckDB file. Correct the path in the URL.")
    try:
        connection = duckdb.connect(file, read_only=True)
    except duckdb.Error as error:
        raise SourceError(
            f"{file}: cannot be opened, most likely because another process writes to it. "
            f"Wait for that to end. ({str(error).splitlines()[0]})"
        ) from None
    with connection:
        connection.execute("set TimeZone = 'UTC'")
        yield connection


def _clause(table: str) -> sa.TableClause:
    schema, _, name = table.rpartition(".")
    return sa.table(name, schema=schema or None)


def _qualified(table: str) -> str:
    return ".".join(identifier(part) for part in table.split("."))


def _as_text(name: str, kind: str) -> str:
    """A column of DuckDB as text; nested contexts as JSON."""
    nested = kind.startswith(("STRUCT", "MAP")) or kind.endswith("]")
    value = f"to_json({identifier(name)})" if nested else identifier(name)
    return f"cast({value} as varchar) as {identifier(name)}"


def columns_to_read(table: str, columns: Sequence[str]) -> dict[str, str]:
    """For each field that the table has, the column that holds it.

    Raises:
        SourceError: the table lacks a column that events have.
    """
    by_name = {column.lower(): column for column in columns}
    missing = [name for name in REQUIRED_COLUMNS if name not in by_name]
    if missing:
        raise SourceError(
            f"{table}: column {', '.join(missing)} is missing. Found {', '.join(columns) or 'no columns'}; "
            "give the table of Snowplow's atomic events."
        )
    candidates = {name: TABLE_COLUMNS.get(name, (name,)) for name in (*FIELDS_READ, *TABLE_FIELDS)}
    return {
        name: next(by_name[each] for each in names if each in by_name)
        for name, names in candidates.items()
        if any(each in by_name for each in names)
    }


def _text_rows(found: Mapping[str, str], table: str) -> str:
    fields = ", ".join(
        f"nullif({name}, '') as {name}" if name in found else f"cast(null as varchar) as {name}"
        for name in (*FIELDS_READ, *TABLE_FIELDS)
    )
    return f"select {quoted(table)} as source, {WIDTH} as fields, {fields} from incoming"


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return value.isoformat(" ")
    return json.dumps(value) if isinstance(value, (dict, list)) else str(value)
