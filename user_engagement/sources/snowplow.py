"""Source `snowplow`: engagement from Snowplow enriched events; signups and churn from another source.

The events are TSV files (`SnowplowSource`) or a table such as ``atomic.events`` (`SnowplowTableSource`). Both
fill the same scratch database, in which the same SQL turns events into one row per session:

- **Repeated events.** Of events with one ``event_id`` the first by ``collector_tstamp`` stays (then source
  order); the others are counted in ``duplicate_events`` of the session that the first one belongs to.
- **User.** ``user_id``, else the user whom the latest event that carries both names for the same
  ``domain_userid`` (of two at the same instant, the greater id), else none. Stitching looks across all
  events, so a later login can give a user to sessions of an earlier month, whose `fingerprint` then changes.
- **Session.** One per user and ``domain_sessionid``, with the ``event_id`` ``<session>/<user>``, which stays
  the same when events are delivered again. Events without a session id make one session per user and day (no
  user: per ``domain_userid`` and day): a server that reports every action must not inflate sessions per user.
- **Time.** A session is dated by its first event (``derived_tstamp``, else ``collector_tstamp``, UTC moved into
  the configured zone) and made of all its events, whatever month is asked for: each session is in exactly one
  month. An event without a usable time counts into its session but moves neither end of it.
- **Duration.** ``engaged``, as Snowplow's unified package has it: for each page view with pings, heartbeat x
  (distinct heartbeat intervals with a ping - 1) + minimum visit. A ping is timed by the tracker, whose clock
  the heartbeat follows (``true_tstamp``, else ``dvce_created_tstamp``). Pings without a web page context,
  which names the view, do not count. A session without counted pings has its elapsed time: last minus first
  event. ``elapsed`` is that for every session. Null where nothing was measured: no pings and a single
  instant, or no session id, where first and last event of the day say nothing about a visit.
- **Interaction.** The session's most frequent event name, ties in alphabetical order. A structured event is
  named by its action (else category). Page and screen views count only where nothing else happened, page
  pings only where there was not even a view.
- **Device.** ``phone``, ``desktop``, ``tablet``, or what ``dvce_type`` says, of the first event that tells, from
  ``dvce_type``, the YAUAA context, ``dvce_ismobile``, ``useragent`` or ``platform``.

The rows of the table, for accounting, are sessions and broken lines. A line whose number of fields is not 131
tells neither user nor date: it is a rejected row with reason ``unparseable_date`` and the number of fields
found as its ``date_value``. A session none of whose events has a usable time is one rejected row. So

    lines = sum(events) + sum(duplicate_events) over all sessions + broken lines

where blank lines are no lines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, Unpack

import duckdb
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.exc import NoSuchTableError

from user_engagement.contracts.snowplow import ENRICHED_EVENT
from user_engagement.errors import SourceError
from user_engagement.sources.base import BATCH_ROWS
from user_engagement.sources.database_connection import Database
from user_engagement.sources.normalise import identifier, quoted
from user_engagement.sources.snowplow_sessions import (
    FIELDS_READ,
    WIDTH,
    SessionOptions,
    SessionSource,
    insert_events,
)

ENDINGS = (".tsv", ".tsv.gz", ".txt", ".txt.gz", ".gz")
ACCEPTED = ", ".join(ENDINGS) + " or part-* without an ending"
UNFINISHED = (".tmp", ".crc")

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
}
"""Loaders give a context a column of its own; the first that a table has is read."""

DUCKDB_URL = "duckdb:///"
NO_DELIMITER = "\x1f\x1e\x1d\x1c"
"""Enrichment removes control characters, so that with this delimiter a line stays one value."""


class SnowplowSource(SessionSource):
    """Reads engagement from a folder of enriched event files, plain or gzipped, sub-folders included.

    Args:
        folder: the folder of the files.
        timezone: the zone whose calendar days count.
        options: see `SessionOptions`; ``signups`` is required.
    """

    def __init__(self, folder: str | Path, timezone: str = "UTC", **options: Unpack[SessionOptions]) -> None:
        super().__init__(timezone, **options)
        self.folder = Path(folder)

    def _state(self) -> Any:
        return tuple((f, f.stat().st_size, f.stat().st_mtime_ns) for f in enriched_files(self.folder))

    def _load(self, connection: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
        files = enriched_files(self.folder)
        try:
            source = f"replace(source, {quoted(f'{self.folder}/')}, '') as source"
            incoming = f"(select * replace ({source}) from ({enriched_events(files, FIELDS_READ)}))"
            connection.execute(insert_events(incoming))
        except duckdb.OutOfMemoryException:
            raise
        except (duckdb.Error, OSError) as error:
            raise SourceError(_plain(str(error), self.folder)) from None
        _refuse_other_lines(connection, self.folder)
        return tuple(str(file) for file in files)


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
            _columns_to_read(self.table, database.columns(self.table))
            return database.newest(self.table)

    def _load(self, connection: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
        with _opened(self.url) as database:
            found = _columns_to_read(self.table, database.columns(self.table))
            for incoming in database.read(self.table, list(found.values())):
                connection.register("incoming", incoming.rename_columns(list(found)))
                connection.execute(insert_events(f"({_text_rows(found, self.table)})"))
                connection.unregister("incoming")
        return (self.table,)


# -- files -----------------------------------------------------------------------------------------------


def enriched_files(folder: Path) -> list[Path]:
    """The event files below a folder in the order of their names.

    Raises SourceError for a missing folder, one without files, and a file of another kind.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder. Give the folder that holds the enriched events.")
    files = [path for path in sorted(folder.rglob("*")) if _counts(path, folder)]
    for path in files:
        if not (path.name.lower().endswith(ENDINGS) or re.fullmatch(r"part-[^.]*", path.name)):
            raise SourceError(f"{path}: not a kind of file that can be read ({ACCEPTED}). Move it elsewhere.")
    if not files:
        raise SourceError(
            f"{folder}: no enriched events here ({ACCEPTED}). Export some, or give another folder."
        )
    return files


def enriched_events(files: Sequence[Path], names: Sequence[str] = ENRICHED_EVENT) -> str:
    """A query for the named fields of every line, as text with null for what is empty.

    ``source`` is the file, ``fields`` the number of fields found (null for a blank line); where that is not
    `WIDTH`, the named fields are null.
    """
    listed = ", ".join(_pattern(file) for file in files)
    # without quotes or escapes, as Snowplow writes it; lenient about line ends, which strict mode refuses if mixed
    lines = (
        f"read_csv([{listed}], auto_detect=false, header=false, delim={quoted(NO_DELIMITER)}, quote='', escape='', "
        "columns={'line': 'VARCHAR'}, filename='source', hive_partitioning=false, strict_mode=false)"
    )
    split = f"select source, string_split(line, chr(9)) as values from {lines}"
    fields = ", ".join(
        f"case when len(values) = {WIDTH} then nullif(values[{ENRICHED_EVENT.index(name) + 1}], '') end as {name}"
        for name in names
    )
    return f"select source, len(values) as fields, {fields} from ({split})"


def _pattern(file: Path) -> str:
    """A file's name as a literal that DuckDB, which takes names for patterns, finds that one file by."""
    return quoted(re.sub(r"[*?\[]", r"[\g<0>]", str(file)))


def _refuse_other_lines(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    lines, events = connection.execute(
        f"select count(fields), count_if(fields = {WIDTH}) from events"
    ).fetchall()[0]
    if not lines or events:
        return
    file, fields, line = connection.execute(
        "select source, fields, rowid - (select min(rowid) from events where source = first.source) + 1 "
        "from events as first where fields is not null order by rowid limit 1"
    ).fetchall()[0]
    raise SourceError(
        f"{folder / file}, line {line}: found {fields} tab-separated fields, expected the {WIDTH} of a Snowplow "
        f"enriched event; no line of {lines} has them. Point the folder at enriched events, not at raw or bad ones."
    )


def _counts(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)
    return path.is_file() and not hidden and not path.name.endswith(UNFINISHED)


def _plain(message: str, place: Path) -> str:
    """DuckDB's reading error as one line that names the file, the line and what to do."""
    file = re.search(r"file = (\S.*)", message) or re.search(r"GZIP stream: (\S.*)", message)
    line = re.search(r"CSV Error on Line: (\d+)", message)
    where = f"{file.group(1).strip() if file else place}" + (f", line {line.group(1)}" if line else "")
    if "utf-8" in message:
        return f"{where}: not valid UTF-8 text. Snowplow writes UTF-8; export the file again."
    if "GZIP" in message:
        return (
            f"{where}: not a complete gzip file. Copy it again, or drop the ending .gz if it is plain text."
        )
    if "Maximum line size" in message:
        return f"{where}: the line is longer than 2 MB, which no enriched event is. Remove it, or export it again."
    return f"{where}: cannot be read: {message.strip().splitlines()[0]} Mend or replace the file."


# -- tables ----------------------------------------------------------------------------------------------


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


def _columns_to_read(table: str, columns: Sequence[str]) -> dict[str, str]:
    """For each field that the table has, the column that holds it."""
    by_name = {column.lower(): column for column in columns}
    missing = [name for name in REQUIRED_COLUMNS if name not in by_name]
    if missing:
        raise SourceError(
            f"{table}: column {', '.join(missing)} is missing. Found {', '.join(columns) or 'no columns'}; "
            "give the table of Snowplow's atomic events."
        )
    candidates = {name: TABLE_COLUMNS.get(name, (name,)) for name in FIELDS_READ}
    return {
        name: next(by_name[each] for each in names if each in by_name)
        for name, names in candidates.items()
        if any(each in by_name for each in names)
    }


def _text_rows(found: Mapping[str, str], table: str) -> str:
    fields = ", ".join(
        f"nullif({name}, '') as {name}" if name in found else f"cast(null as varchar) as {name}"
        for name in FIELDS_READ
    )
    return f"select {quoted(table)} as source, {WIDTH} as fields, {fields} from incoming"


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return value.isoformat(" ")
    return json.dumps(value) if isinstance(value, (dict, list)) else str(value)
