"""Source `warehouse` for engagement: a table of Snowplow events, out of which the warehouse makes sessions by SQL.

Sessions are kept beside the events, in the schema `SESSIONS_SCHEMA`, and brought up to date before they are read:

- ``events`` has what sessions are made from, one row an event;
- ``units`` has the users and devices of each session, or of each day of events without one. It is the identity map;
- ``sessions`` has the rows of the raw table, and those that are rejected;
- ``progress`` says up to which load time the events were read, and with which rules.

**What is read.** Events whose load time lies within the look-back before the newest one that was read, or after it.
Older ones are counted only: if their number is another, all sessions are made again.

**What is made again.** The sessions of events that came or went; those that hold a repeated delivery of such an event,
if it was loaded within the look-back as well; and those of nobody on a device whose only user is another than before.
So a late login gives a user to old sessions, and the result is that of making all sessions at once.

**In which steps.** Events of several months of load time, as in a first refresh, are read month by month: each step
needs memory and temporary space for its own events and for the sessions that they change. Repeated deliveries are then
looked for among all events read so far. Only what replaces sessions that are there already is made at once, since
somebody may read them meanwhile.

Two processes may do this at a time: each step writes at its end, in one transaction that fails if another one was
faster.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from user_engagement.contracts.raw import REJECTED_ROWS, RawTable, Window
from user_engagement.errors import SourceError
from user_engagement.hashing import digest
from user_engagement.sources.base import Extract, TableReport, WarehouseExtract
from user_engagement.sources.normalise import NO_DATE, day_and_position, identifier, quoted
from user_engagement.sources.snowplow.session_sql import (
    DEVICE_OWNERS,
    EVENT_COLUMNS,
    EXTRA_COLUMNS,
    EventColumns,
    SessionRules,
)
from user_engagement.sources.snowplow.table import columns_to_read
from user_engagement.sources.warehouse.tables import SourceTables, Workspace

ATTEMPTS = 3
UNFINISHED = "unfinished"
"""The mark while there are months to read."""
NEVER = datetime(1970, 1, 1)
"""When a row was loaded that does not say when."""

STORED_EVENTS = {
    **EVENT_COLUMNS,
    "loaded": "TIMESTAMP",
    "place": "VARCHAR",
    "day": "DATE",
    "scope": "VARCHAR",
    "unit": "VARCHAR",
}
UNITS = {
    "unit": "VARCHAR",
    "device_id": "VARCHAR",
    "user_id": "VARCHAR",
    "first_loaded": "TIMESTAMP",
    "is_kept": "BOOLEAN",
}
ROW = {
    "user_id": "VARCHAR",
    "engagement_date": "TIMESTAMP",
    "session_duration": "DOUBLE",
    "interaction_type": "VARCHAR",
    "event_id": "VARCHAR",
    "device_type": "VARCHAR",
    **dict.fromkeys(EXTRA_COLUMNS, "VARCHAR"),
    "reason": "VARCHAR",
    "time_text": "VARCHAR",
}
SESSIONS = {**ROW, "unit": "VARCHAR", "mark": "BIGINT"}
PROGRESS = {"version": "BIGINT", "loaded": "TIMESTAMP", "rules": "VARCHAR", "mark": "VARCHAR"}
TABLES = {"events": STORED_EVENTS, "units": UNITS, "sessions": SESSIONS, "progress": PROGRESS}
LARGEST_MARK = 2**61 - 1


@dataclass(frozen=True)
class Progress:
    """What the sessions were made of: ``loaded`` is the newest load time, None if nothing was read by these rules."""

    version: int
    loaded: datetime | None
    mark: str | None


class WarehouseEvents:
    """The raw table `user_engagement` out of a table of Snowplow events.

    Args:
        tables: the warehouse that reads the events, and keeps the sessions.
        table: the events' table.
        session_rules: how sessions are made; its rules for values have the configured zone.
        look_back: how long after a later row an earlier one may still become visible, by their load times.
    """

    def __init__(
        self,
        tables: SourceTables,
        table: str,
        session_rules: SessionRules,
        look_back: timedelta = timedelta(days=3),
    ) -> None:
        self.tables = tables
        self.table = table
        self.made = replace(session_rules, rules=tables.rules(session_rules.rules))
        self.look_back = look_back
        self._mark: str | None = None

    def inspect(self, table: RawTable) -> TableReport | None:
        with self.tables.workspace() as work:
            self._refresh(work)
            rows, usable, first, last = work.run(
                "select count(*), count(engagement_date), min(engagement_date), max(engagement_date) "
                f"from {work.own('sessions')}"
            )[0]
            if rows and not usable:
                self._refuse_timeless(work)
        return TableReport(
            table=table,
            rows=rows,
            rejected=rows - usable,
            first_day=first and first.date(),
            last_day=last and last.date(),
            extra_columns=EXTRA_COLUMNS,
            locations=(self.table,),
        )

    def _refuse_timeless(self, work: Workspace) -> None:
        events, timed, text = work.run(
            f"select count(*), count(happened), min(time_text) from {work.own('events')}"
        )[0]
        if not timed:
            raise SourceError(
                f"{self.table}: none of {events} events has a usable derived_tstamp or collector_tstamp; the first "
                f"found is {text!r}. Load the events again, with times such as 2025-01-31 10:00:00.000."
            )

    def extract(self, table: RawTable, window: Window) -> Extract:
        self.inspect(table)
        now = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
        with self.tables.workspace() as work:
            sessions = work.own("sessions")
        names = table.schema(EXTRA_COLUMNS).names[:-3]
        order = ", ".join(["engagement_date", *sorted(set(names) - {"engagement_date"})])
        day = "partition by cast(engagement_date as date)"
        number = day_and_position("engagement_date", f"row_number() over ({day} order by {order})")
        lineage = f"{quoted(self.table)} as _source, {{}} as _row_number, cast('{now}' as timestamp) as _extracted_at"
        given = self.made.rules.rejected_reason(table, "user_id", "time_text")
        return WarehouseExtract(
            table=table,
            window=window,
            rows=pa.RecordBatchReader.from_batches(table.schema(EXTRA_COLUMNS), []),
            rejected=pa.RecordBatchReader.from_batches(REJECTED_ROWS.schema(), []),
            scan=(
                f"select {', '.join(names)}, {lineage.format(number)} from {sessions} "
                f"where engagement_date is not null and {window.predicate('engagement_date')}"
            ),
            rejected_scan=(
                f"select '{table.name}' as table_name, coalesce(reason, {given}) as reason, user_id, "
                f"time_text as date_value, {lineage.format('row_number() over (order by unit, user_id, time_text)')} "
                f"from {sessions} where engagement_date is null"
            ),
        )

    def fingerprint(self, table: RawTable) -> dict[str, str]:
        """A mark for each month, made of its sessions: a login that gives a user to an earlier month marks that."""
        month = (
            f"cast(date_trunc('month', coalesce(engagement_date, cast('{NO_DATE}' as timestamp))) as date)"
        )
        return {key: f"{rows:x}-{mark:x}" for key, rows, mark in self._months(month, "true")}

    def monthly_rows(self, table: RawTable) -> dict[str, int]:
        month = "cast(date_trunc('month', engagement_date) as date)"
        return {key: rows for key, rows, _ in self._months(month, "engagement_date is not null")}

    def state(self, table: RawTable) -> str:
        return digest([repr(sorted(self.fingerprint(table).items()))])

    def _months(self, month: str, condition: str) -> list[tuple[str, int, int]]:
        with self.tables.workspace() as work:
            self._refresh(work)
            sessions = f"{work.own('sessions')} where {condition}"
            found = work.run(f"select {month}, count(*), sum(mark) from {sessions} group by 1 order by 1")
        return [(day.isoformat(), rows, int(mark)) for day, rows, mark in found]

    # -- bringing sessions up to date --------------------------------------------------------------------

    def _refresh(self, work: Workspace) -> None:
        # the mark before the rows: what changes meanwhile must count as a change
        mark = self.tables.mark(self.table)
        if mark is not None and mark == self._mark:
            return
        columns = self._columns()
        rules = digest([repr((self.table, sorted(columns.items()), self.made.described()))])
        for name, kinds in TABLES.items():
            work.create(name, kinds)
        attempts = ATTEMPTS
        while attempts:
            progress = _read_progress(work, rules)
            if mark is not None and mark == progress.mark:
                break
            if _Refresh(self, work, columns, progress).done(rules, mark):
                break
            # who is overtaken month by month will find it done in the end
            attempts -= _read_progress(work, rules).mark != UNFINISHED
        else:
            raise SourceError(
                f"{self.table}: other processes make sessions of it all the time. Run one at a time."
            )
        self._mark = mark

    def _columns(self) -> EventColumns:
        found = self.tables.columns(self.table)
        if found is None:
            raise SourceError(
                f"{self.table}: no such table of events, or no right to read it. {self.tables.remedy(self.table)}"
            )
        chosen = columns_to_read(self.table, list(found))
        loaded = next((name for name in found if name.lower() == "load_tstamp"), chosen["collector_tstamp"])
        return {name: (column, found[column]) for name, column in {**chosen, "loaded": loaded}.items()}


class _OvertakenError(Exception):
    """Nothing may be written: another process was faster, or a statement ran twice."""


class _Refresh:
    """One attempt to bring the sessions up to date."""

    def __init__(
        self, source: WarehouseEvents, work: Workspace, columns: EventColumns, progress: Progress
    ) -> None:
        self.source = source
        self.work = work
        self.columns = columns
        self.progress = progress
        self.names: dict[str, str] = {}
        self.start = progress.loaded and progress.loaded - source.look_back
        if self.start and self._older_differ(self.start):
            self.start = None
        self.ends = self._ends()
        self.end: datetime | None = None
        self.is_in_steps = bool(self.ends) or progress.mark == UNFINISHED

    def done(self, rules: str, mark: str | None) -> bool:
        """Makes what has changed again, step by step; False if another process was faster."""
        for end in (*self.ends, None):
            self.end = end
            if not self._step(rules, UNFINISHED if end else mark):
                return False
            self.start = end
        return True

    def _step(self, rules: str, mark: str | None) -> bool:
        self._keep("incoming", self._incoming())
        newest = (
            self.work.run(f"select max(loaded) from {self.names['incoming']}")[0][0] or self.progress.loaded
        )
        self._keep("changed", self._changed())
        count, since = self.work.run(f"select count(*), min(loaded) from {self.names['changed']}")[0]
        if count or self.start is None:
            self._make(since or NEVER)
        set_to = (
            f"version = version + 1, loaded = {_moment(newest)}, rules = '{rules}', mark = {_literal(mark)}"
        )
        try:
            with self.work.transaction():
                moved = (
                    f"update {self.work.own('progress')} set {set_to} where version = {self.progress.version}"
                )
                if not self.work.run(moved)[0][0]:
                    raise _OvertakenError
                if count or self.start is None:
                    self._write()
        except _OvertakenError:
            return False
        self.progress = Progress(self.progress.version + 1, newest, mark)
        return True

    def _keep(self, name: str, query: str) -> None:
        self.names[name] = self.work.compute(name, query)

    # -- which events ------------------------------------------------------------------------------------

    def _ends(self) -> list[datetime]:
        """The months of load time at whose begin a step ends; none if sessions are there to be replaced."""
        column, kind = self.columns["loaded"]
        if "TIMESTAMP" not in kind.upper():
            return []
        if self.start is None and self.work.run(f"select count(*) from {self.work.own('events')}")[0][0]:
            return []
        loaded = f"cast({identifier(column)} as timestamp)"
        relation = self.source.tables.relation(self.source.table)
        first, last = self.work.run(f"select min({loaded}), max({loaded}) from {relation}")[0]
        if first is None:
            return []
        read = max(first, self.progress.loaded or first)
        return [month for month in _months(read, last) if month > read]

    def _within(self, loaded: str) -> str:
        """The condition on the load time of this step's events."""
        from_start = f"{loaded} >= {_moment(self.start)}" if self.start else "true"
        if not self.end:
            return from_start
        to_end = f"{loaded} < {_moment(self.end)}"
        return f"{from_start} and {to_end}" if self.start else f"({to_end} or {loaded} is null)"

    def _earlier(self, since: datetime) -> datetime:
        """From when on deliveries are compared with those since a moment."""
        return NEVER if self.is_in_steps else since - self.source.look_back

    def _older_differ(self, start: datetime) -> bool:
        """Whether there are other events than were read, loaded before the look-back."""
        relation = self.source.tables.relation(self.source.table)
        loaded = identifier(self.columns["loaded"][0])
        there = self.work.run(f"select count(*) - count_if({loaded} >= {_moment(start)}) from {relation}")
        read = self.work.run(
            f"select count(*) from {self.work.own('events')} where loaded < {_moment(start)}"
        )
        return there != read

    def _incoming(self) -> str:
        """Events of the source since the start, each with a place of its own."""
        loaded = identifier(self.columns["loaded"][0])
        condition = self._within(loaded)
        tables = self.source.tables
        read = tables.dialect.events(
            tables.relation(self.source.table), self.columns, self.source.made.rules, condition
        )
        kinds = ", ".join(f"cast({name} as {kind}) as {name}" for name, kind in EVENT_COLUMNS.items())
        typed = f"select {kinds}, coalesce(loaded, {_moment(NEVER)}) as loaded from ({read})"
        content = f"hash(loaded, {', '.join(EVENT_COLUMNS)})"
        # equal rows are told apart by a number; they are loaded at the same time, and so always read together
        copy = "row_number() over (partition by content order by loaded)"
        placed = (
            f"select * exclude (content), cast(content as varchar) || '-' || cast({copy} as varchar) as place "
            f"from (select *, {content} as content from ({typed}))"
        )
        scoped = self.source.made.scoped(tables.dialect, f"({placed})")
        return f"select {', '.join(STORED_EVENTS)} from ({scoped})"

    def _changed(self) -> str:
        """Events that came, and events that are no longer there."""
        known, incoming = self._known(f"loaded >= {_moment(self.start)}"), self.names["incoming"]
        return (
            f"select place, unit, event_id, loaded, true as is_new from {incoming} "
            f"where place not in (select place from {known}) union all "
            f"select place, unit, event_id, loaded, false from {known} "
            f"where place not in (select place from {incoming})"
        )

    def _known(self, condition: str) -> str:
        """Events that were read before, and are to be read with; none if all sessions are made again."""
        columns, events = ", ".join(STORED_EVENTS), self.work.own("events")
        return f"(select {columns} from {events} where {condition if self.start else 'false'})"

    def _now(self, since: datetime) -> str:
        """All events loaded since a moment, as they are now."""
        older = self._known(f"loaded < {_moment(self.start)} and loaded >= {_moment(since)}")
        return f"(select * from {older} union all select * from {self.names['incoming']})"

    # -- which sessions ----------------------------------------------------------------------------------

    def _units(self, condition: str) -> str:
        """The part of the identity map that still holds."""
        held = condition if self.start else "false"
        return f"(select * from {self.work.own('units')} where {held})"

    def _make(self, since: datetime) -> None:
        repeated = self._now(self._earlier(since))
        self._keep(
            "touched",
            f"select unit from {self.names['changed']} union select unit from {repeated} where event_id in "
            f"(select event_id from {self.names['changed']} where event_id is not null)",
        )
        self.names["remade"] = self.names["touched"]
        self._gather(since)
        self._keep("affected", self._affected())
        if self.work.run(f"select count(*) from {self.names['affected']}")[0][0]:
            self._keep(
                "remade",
                " union all ".join(
                    f"select unit from {self.names[each]}" for each in ("touched", "affected")
                ),
            )
            self._gather(since)
        remade = f"unit not in (select unit from {self.names['remade']})"
        devices = f"select device_id from {self.names['kept']}"
        self.names["identities"] = (
            f"(select device_id, user_id from {self._units('is_kept')} where {remade} and device_id in ({devices}) "
            f"union all select device_id, user_id from {self.names['kept']})"
        )
        self._keep("device_owners", DEVICE_OWNERS.format_map(self.names))
        for name, query in self.source.made.sessions(self.source.tables.dialect, self.names):
            self._keep(name, query)

    def _gather(self, since: datetime) -> None:
        """The events of the sessions to make again, without repeated ones and bots."""
        remade = f"select unit from {self.names['remade']}"
        earliest = self.work.run(f"select min(first_loaded) from {self._units(f'unit in ({remade})')}")[0][0]
        first = min(since, earliest or since)
        self._keep("scoped", f"select * from {self._now(first)} where unit in ({remade})")
        ids = f"select event_id from {self.names['scoped']} where event_id is not null"
        within = self._now(self._earlier(first))
        self._keep("deliveries", f"select place, event_id, collected from {within} where event_id in ({ids})")
        for name, query in self.source.made.kept(self.names):
            self._keep(name, query)

    def _affected(self) -> str:
        """Further units with events of nobody on a device whose only user is another than before."""
        touched = f"select unit from {self.names['touched']}"
        was = self._units(f"unit in ({touched})")
        devices = f"select device_id from {was} union select device_id from {self.names['kept']}"
        kept = f"select device_id, user_id, unit from {self._units('is_kept')} where device_id in ({devices})"
        after = (
            f"select device_id, user_id from ({kept}) where unit not in ({touched}) "
            f"union all select device_id, user_id from {self.names['kept']}"
        )
        before, now = (DEVICE_OWNERS.format(identities=f"({each})") for each in (kept, after))
        other = (
            f"select coalesce(was.device_id, is_now.device_id) from ({before}) as was "
            f"full join ({now}) as is_now on was.device_id = is_now.device_id "
            "where was.device_owner is distinct from is_now.device_owner"
        )
        return (
            f"select distinct unit from {self._units('user_id is null')} "
            f"where device_id in ({other}) and unit not in ({touched})"
        )

    # -- writing -----------------------------------------------------------------------------------------

    def _write(self) -> None:
        """Replaces what was made again.

        Raises:
            _OvertakenError: a table then holds another number of rows than were inserted: a statement ran twice.
        """
        work, names = self.work, self.names
        remade = f"unit in (select unit from {names['remade']})" if self.start else "true"
        gone, new = (
            f"place in (select place from {names['changed']} where {which})" if self.start else "true"
            for which in ("not is_new", "is_new")
        )
        incoming = f"select {', '.join(STORED_EVENTS)} from {names['incoming']} where {new} order by loaded"
        for name, old, query, held in (
            ("events", gone, incoming, new),
            ("units", remade, self._new_units(), remade),
            ("sessions", remade, self._new_sessions(), remade),
        ):
            table = work.own(name)
            work.run(f"delete from {table} where {old}")
            inserted = work.run(f"insert into {table} ({', '.join(TABLES[name])}) {query}")[0][0]
            if work.run(f"select count(*) from {table} where {held}")[0][0] != inserted:
                raise _OvertakenError

    def _new_units(self) -> str:
        return (
            "select scoped.unit, scoped.device_id, scoped.user_id, min(scoped.loaded), "
            "max(case when kept.place is null then 0 else 1 end) = 1 "
            f"from {self.names['scoped']} as scoped "
            f"left join {self.names['kept']} as kept on scoped.place = kept.place "
            "group by scoped.unit, scoped.device_id, scoped.user_id"
        )

    def _new_sessions(self) -> str:
        dated = "case when not is_stray then engagement_date end as engagement_date"
        reason = "case when is_stray then 'stray_pings' end as reason"
        given = ", ".join({"engagement_date": dated, "reason": reason}.get(name, name) for name in ROW)
        values = {"user_id": "user_id", "reason": "'bot'", "time_text": "time_text"}
        left_out = ", ".join(values.get(name, f"cast(null as {kind})") for name, kind in ROW.items())
        rows = (
            f"select {given}, unit from {self.names['sessions']} "
            f"union all select {left_out}, unit from {self.names['bots']}"
        )
        mark = f"cast(mod(hash({', '.join(ROW)}), {LARGEST_MARK}) as bigint)"
        return f"select {', '.join(ROW)}, unit, {mark} from ({rows})"


def _read_progress(work: Workspace, rules: str) -> Progress:
    found = work.run(
        f"select version, loaded, rules, mark from {work.own('progress')} order by version desc limit 1"
    )
    if not found:
        work.run(f"insert into {work.own('progress')} select 0, null, '', null")
        return Progress(0, None, None)
    version, loaded, read_by, mark = found[0]
    return Progress(version, loaded, mark) if read_by == rules else Progress(version, None, None)


def _months(first: datetime, last: datetime) -> list[datetime]:
    """The first moments of all months from that of one moment to that of another."""
    numbers = range(12 * first.year + first.month - 1, 12 * last.year + last.month)
    return [datetime(number // 12, number % 12 + 1, 1) for number in numbers]


def _moment(moment: datetime | None) -> str:
    return f"cast({quoted(moment)} as timestamp)" if moment else "cast(null as timestamp)"


def _literal(value: str | None) -> str:
    return "null" if value is None else quoted(value)
