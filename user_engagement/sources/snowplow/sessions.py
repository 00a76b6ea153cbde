"""Sessions out of Snowplow events: how events are read, and the scratch database in which they become sessions.

The package's docstring says what the rules are; `session_sql` has them as SQL.
"""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict, Unpack

import duckdb
import pyarrow as pa

from user_engagement.contracts.raw import REJECTED_ROWS, USER_ENGAGEMENT, RawTable, Window
from user_engagement.contracts.snowplow import ENRICHED_EVENT
from user_engagement.errors import SourceError
from user_engagement.hashing import digest
from user_engagement.sources.base import BATCH_ROWS, Extract, TableReport
from user_engagement.sources.data_files import scratch_folder
from user_engagement.sources.normalise import (
    DEFAULT_RULES,
    NO_DATE,
    ValueRules,
    quoted,
)
from user_engagement.sources.snowplow.duckdb_events import DuckDBDialect, events_of_texts
from user_engagement.sources.snowplow.session_sql import (
    DEVICE_OWNERS,
    EVENT_COLUMNS,
    EXTRA_COLUMNS,
    Duration,
    SessionRules,
)

WIDTH = len(ENRICHED_EVENT)

DIALECT = DuckDBDialect()
RELATIONS = (
    *("events", "scoped", "repeated", "kept", "device_owners", "owned", "numbered"),
    *("visits", "placed", "sessions", "bots"),
)
VIEWS = ("kept", "bots")
"""Relations that are computed where they are read."""

EVENTS_TABLE = f"""
    create table events (
        source varchar, fields bigint, {", ".join(f"{name} {kind}" for name, kind in EVENT_COLUMNS.items())}
    )
"""

ONE_ROW_EACH = """
    create table kept_file.sessions as
    select
        sessions.* exclude (time_text, unit, place, is_stray),
        events.source as _source, sessions.place - files.first_place + 1 as _row_number,
        sessions.time_text, is_stray
    from sessions
    inner join events on sessions.place = events.rowid
    inner join (select source, min(rowid) as first_place from events group by source) as files
        on events.source = files.source
    where not is_stray
    order by engagement_date, event_id
"""

LEFT_OUT = """
    create table kept_file.left_out as
    with found as (
        select 'stray_pings' as reason, user_id, time_text, place from sessions where is_stray
        union all
        select 'bot', user_id, time_text, place from bots
    )
    select reason, found.user_id, found.time_text, events.source as _source, place - first_place + 1 as _row_number
    from found
    inner join events on found.place = events.rowid
    inner join (select source as file, min(rowid) as first_place from events group by source) on events.source = file
"""

BROKEN_LINES = """
    create table kept_file.broken as
    with files as (select source, min(rowid) as first_place from events group by source)
    select events.source as _source, events.rowid - files.first_place + 1 as _row_number, events.fields
    from events inner join files on events.source = files.source
    where events.fields <> {width}
    order by events.rowid
"""


REJECTED = f"""
    select
        '{USER_ENGAGEMENT.name}' as table_name, {{reason}} as reason,
        user_id, time_text as date_value, _source, _row_number, {{extracted_at}}
    from sessions where engagement_date is null
    union all
    select '{USER_ENGAGEMENT.name}', reason, user_id, time_text, _source, _row_number, {{extracted_at}} from left_out
    union all
    select
        '{USER_ENGAGEMENT.name}', 'unparseable_date', null,
        fields || ' fields, expected {WIDTH}', _source, _row_number, {{extracted_at}}
    from broken
"""


# what belongs to no month counts with the first
FINGERPRINT = f"""
    with marks as (
        select coalesce(engagement_date, timestamp '{NO_DATE}') as day, hash(sessions) as mark from sessions
        union all
        select timestamp '{NO_DATE}', hash(broken) from broken
        union all
        select timestamp '{NO_DATE}', hash(left_out) from left_out
    )
    select strftime(day, '%Y-%m-01') as month, format('{{:x}}-{{:x}}', count(*), bit_xor(mark))
    from marks group by month order by month
"""


def insert_events(incoming: str, rules: ValueRules) -> str:
    """Adds the rows of a relation of FIELDS_READ and TABLE_FIELDS as text to the table `events`.

    The relation also has ``source`` and ``fields``.
    """
    return f"insert into events by name {events_of_texts(incoming, rules, 'source, fields')}"


class SessionOptions(TypedDict, total=False):
    """How sessions are made, for every source of events.

    ``heartbeat_seconds`` (10) lie between two page pings and ``minimum_visit_seconds`` (5) before the first, as the
    tracker is configured. ``duration`` is ``engaged`` unless set. A visit ends after ``visit_timeout_seconds`` (1800)
    without events. Events of bots are left out unless ``with_bots``. ``rules`` say what stands for a missing value or
    date. ``memory_limit`` (1GB) is what DuckDB may hold; beyond, it spills to the temporary folder.
    """

    heartbeat_seconds: float
    minimum_visit_seconds: float
    duration: Duration
    visit_timeout_seconds: float
    with_bots: bool
    rules: ValueRules
    memory_limit: str


class SessionSource(ABC):
    """The raw table `user_engagement` as sessions out of events.

    They are kept in a scratch database for as long as the events stay as they were.
    """

    def __init__(self, timezone: str, **options: Unpack[SessionOptions]) -> None:
        self.timezone = timezone
        self.rules = replace(options.get("rules", DEFAULT_RULES), timezone=timezone)
        self.session_rules = made = SessionRules(
            self.rules,
            options.get("heartbeat_seconds", 10),
            options.get("minimum_visit_seconds", 5),
            options.get("duration", "engaged"),
            options.get("visit_timeout_seconds", 1800),
            options.get("with_bots", False),
        )
        self._config: dict[str, Any] = {"memory_limit": options.get("memory_limit", "1GB")}
        self._held: tuple[Any, _Sessions] | None = None
        if made.heartbeat_seconds <= 0 or made.minimum_visit_seconds < 0:
            raise SourceError(
                f"A page ping every {made.heartbeat_seconds} s after {made.minimum_visit_seconds} s measures nothing: "
                "give the heartbeat (above 0) and the minimum visit that the tracker is configured with."
            )

    @abstractmethod
    def _state(self) -> Any:
        """Something that differs once the events do."""

    @abstractmethod
    def _load(self, connection: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
        """Fills the table `events`; the places that they came from."""

    def inspect(self, table: RawTable) -> TableReport | None:
        return self._sessions().report()

    def extract(self, table: RawTable, window: Window) -> Extract:
        return self._sessions().extract(window)

    def fingerprint(self, table: RawTable) -> dict[str, str]:
        """A mark for each month, made of its sessions: a login that gives a user to an earlier month marks that."""
        return self._sessions().fingerprint()

    def monthly_rows(self, table: RawTable) -> dict[str, int]:
        return self._sessions().monthly_rows()

    def state(self, table: RawTable) -> str:
        return digest([f"{self._state()!r} {self.session_rules.described()}"])

    def _sessions(self) -> _Sessions:
        state = self._state()
        if self._held is None or self._held[0] != state:
            self._held = None
            self._held = (state, self._sessionised())
        return self._held[1]

    def _sessionised(self) -> _Sessions:
        scratch = scratch_folder()
        events, sessions = Path(scratch.name, "events.duckdb"), Path(scratch.name, "sessions.duckdb")
        try:
            with duckdb.connect(str(events), config=self._config) as connection:
                connection.execute("set TimeZone = 'UTC'")
                connection.execute(EVENTS_TABLE)
                locations = self._load(connection)
                _refuse_timeless(connection, locations)
                connection.execute(f"attach {quoted(sessions)} as kept_file")
                for statement in self._statements():
                    connection.execute(statement)
        except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
            raise SourceError(
                f"Making sessions needs more room: {str(error).splitlines()[0]} "
                f"Raise the memory limit, or let TMPDIR name a folder with more space than {tempfile.gettempdir()}."
            ) from None
        events.unlink()
        return _Sessions(scratch, sessions, self._config, locations, self.rules)

    def _statements(self) -> Iterator[str]:
        made = self.session_rules
        names = {name: name for name in RELATIONS} | {"deliveries": "scoped", "identities": "kept"}
        events = f"(select * exclude (source, fields), rowid as place from events where fields = {WIDTH})"
        yield f"create view scoped as {made.scoped(DIALECT, events)}"
        for name, query in (
            *made.kept(names),
            ("device_owners", DEVICE_OWNERS.format_map(names)),
            *made.sessions(DIALECT, names),
        ):
            yield f"create {'view' if name in VIEWS else 'table'} {name} as {query}"
        yield ONE_ROW_EACH
        yield LEFT_OUT
        yield BROKEN_LINES.format(width=WIDTH)


def _refuse_timeless(connection: duckdb.DuckDBPyConnection, locations: tuple[str, ...]) -> None:
    events, timed, found = connection.execute(
        f"select count(*), count(happened), min(time_text) from events where fields = {WIDTH}"
    ).fetchall()[0]
    if events and not timed:
        raise SourceError(
            f"{locations[0]}: none of {events} events has a usable derived_tstamp or collector_tstamp; the first found "
            f"is {found!r}. Export the events again, with times such as 2025-01-31 10:00:00.000."
        )


class _Sessions:
    """Finished sessions and broken lines in a file of their own, which goes when this object does."""

    def __init__(
        self,
        scratch: tempfile.TemporaryDirectory[str],
        file: Path,
        config: dict[str, Any],
        locations: tuple[str, ...],
        rules: ValueRules,
    ) -> None:
        self._rules = rules
        self._scratch = scratch
        self._file = file
        self._config = config
        self._locations = locations

    def report(self) -> TableReport:
        with self._connected() as connection:
            sessions, dated, first, last = connection.execute(
                "select count(*), count(engagement_date), min(engagement_date), max(engagement_date) from sessions"
            ).fetchall()[0]
            broken = connection.execute(
                "select (select count(*) from broken) + (select count(*) from left_out)"
            ).fetchall()[0][0]
        return TableReport(
            table=USER_ENGAGEMENT,
            rows=sessions + broken,
            rejected=sessions + broken - dated,
            first_day=first.date() if first else None,
            last_day=last.date() if last else None,
            extra_columns=EXTRA_COLUMNS,
            locations=self._locations,
        )

    def extract(self, window: Window) -> Extract:
        extracted_at = f"timestamp '{datetime.now(UTC).replace(tzinfo=None, microsecond=0)}' as _extracted_at"
        return Extract(
            table=USER_ENGAGEMENT,
            window=window,
            rows=self._stream(
                f"select *, {extracted_at} from sessions "
                f"where engagement_date is not null and {window.predicate('engagement_date')}",
                USER_ENGAGEMENT.schema(EXTRA_COLUMNS),
            ),
            rejected=self._stream(
                REJECTED.format(extracted_at=extracted_at, reason=self._reason()),
                REJECTED_ROWS.schema(),
            ),
        )

    def _reason(self) -> str:
        return self._rules.rejected_reason(USER_ENGAGEMENT, "user_id", "time_text")

    def fingerprint(self) -> dict[str, str]:
        with self._connected() as connection:
            return dict(connection.execute(FINGERPRINT).fetchall())

    def monthly_rows(self) -> dict[str, int]:
        month = "strftime(engagement_date, '%Y-%m-01')"
        query = f"select {month}, count(*) from sessions where engagement_date is not null group by {month}"
        with self._connected() as connection:
            return dict(connection.execute(query).fetchall())

    def _stream(self, query: str, schema: pa.Schema) -> pa.RecordBatchReader:
        def batches() -> Iterator[pa.RecordBatch]:
            with self._connected() as connection:
                names = ", ".join(schema.names)
                for batch in connection.sql(f"select {names} from ({query})").to_arrow_reader(BATCH_ROWS):
                    yield batch.cast(schema)

        return pa.RecordBatchReader.from_batches(schema, batches())

    def _connected(self) -> duckdb.DuckDBPyConnection:
        return duckdb.connect(str(self._file), read_only=True, config=self._config)
