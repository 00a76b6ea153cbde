"""Sessions out of Snowplow events: the SQL, and the scratch database in which it runs.

The package's docstring says what the rules are.
"""

from __future__ import annotations

import hashlib
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import duckdb
import pyarrow as pa

from user_engagement.contracts.raw import REJECTED_ROWS, USER_ENGAGEMENT, RawTable, Window
from user_engagement.contracts.snowplow import ENRICHED_EVENT
from user_engagement.errors import SourceError
from user_engagement.sources.base import BATCH_ROWS, Extract, TableReport
from user_engagement.sources.data_files import scratch_folder
from user_engagement.sources.normalise import (
    CLOCK,
    DAY,
    DEFAULT_RULES,
    NO_DATE,
    OFFSET,
    ZONED,
    ValueRules,
    quoted,
)

LAST_DAY = "9999-12-31"
"""Not usable itself: in a zone east of UTC it can lie beyond the calendar."""

WIDTH = len(ENRICHED_EVENT)

FIELDS_READ = (
    *("app_id", "platform", "collector_tstamp", "derived_tstamp", "dvce_created_tstamp", "true_tstamp"),
    *("event", "event_name", "event_id", "se_category", "se_action"),
    *("user_id", "domain_userid", "domain_sessionid"),
    *("contexts", "derived_contexts", "useragent", "dvce_type", "dvce_ismobile"),
)
"""What sessions are made from. The other fields of a line are counted and left alone."""

EXTRA_COLUMNS = (
    *("app_id", "domain_sessionid", "domain_userid"),
    *("duplicate_events", "events", "page_pings", "page_views", "platform"),
)
"""What a session row says beside the contract's columns."""

EVENTS_TABLE = """
    create table events (
        source varchar, fields bigint, event_id varchar, user_id varchar, device_id varchar,
        session_id varchar, happened timestamp, collected timestamp, pinged timestamp, view_id varchar,
        name varchar, rank tinyint, device varchar, app_id varchar, platform varchar, time_text varchar, bot boolean
    )
"""

TABLE_FIELDS = ("client_session", "spiders_and_robots")
"""Contexts that tables hold in columns of their own; in files they are among `contexts` and `derived_contexts`."""

CLIENT_SESSION = """
    coalesce(
        try(json_extract(client_session, '$[0]')),
        case when contains(contexts, '/client_session/') then try(list_filter(
            json_extract(contexts, '$.data[*]'), lambda item: contains(item ->> 'schema', '/client_session/')
        )[1] -> '$.data') end
    )
"""

BOT = r"""
    coalesce(regexp_matches(
        useragent, '(?i)(^|[^u])bot\b|crawl|spider|slurp|headless|lighthouse|pingdom|bingpreview'
    ), false)
    or coalesce(regexp_matches(derived_contexts, '"deviceClass"\s*:\s*"Robot|"spiderOrRobot"\s*:\s*true'), false)
    or coalesce(regexp_matches(spiders_and_robots, '"spider_?[oO]r_?[rR]obot"\s*:\s*true'), false)
"""
"""By the user agent, the YAUAA context, or that of the IAB's list of spiders and robots."""

DEVICE = r"""
    case
        when lower(dvce_type) in ('computer', 'desktop') then 'desktop'
        when lower(dvce_type) in ('mobile', 'phone') then 'phone'
        when lower(dvce_type) <> 'unknown' then lower(dvce_type)
        when regexp_matches(derived_contexts, '"deviceClass"\s*:\s*"Desktop"') then 'desktop'
        when regexp_matches(derived_contexts, '"deviceClass"\s*:\s*"(Phone|Mobile)"') then 'phone'
        when regexp_matches(derived_contexts, '"deviceClass"\s*:\s*"Tablet"') then 'tablet'
        when regexp_matches(useragent, '(?i)ipad|tablet|android') and not contains(useragent, 'Mobi') then 'tablet'
        when regexp_matches(useragent, '(?i)ipad|tablet') then 'tablet'
        when regexp_matches(useragent, 'Mobi|iPhone|iPod') then 'phone'
        when lower(dvce_ismobile) in ('1', 'true') or platform = 'mob' then 'phone'
        when regexp_matches(useragent, 'Windows NT|Macintosh|X11|CrOS') then 'desktop'
    end
"""

VIEW_ID = """
    coalesce(
        try(list_filter(
            json_extract(contexts, '$.data[*]'), lambda item: contains(item ->> 'schema', '/web_page/')
        )[1] ->> '$.data.id'),
        try(json_extract_string(contexts, '$[0].id'))
    )
"""

# every name below exists in `incoming`, the relation of FIELDS_READ as text with nulls for what is empty
INSERT_EVENTS = """
    insert into events by name
    select
        source, fields, {event_id} as event_id, {user_id} as user_id,
        coalesce({device_id}, client ->> 'userId', client ->> 'user_id') as device_id,
        coalesce({session_id}, client ->> 'sessionId', client ->> 'session_id') as session_id,
        coalesce({derived}, {collector}) as happened,
        {collector} as collected,
        case when event_name = 'page_ping' then coalesce({true}, {created}, {derived}, {collector}) end as pinged,
        case when event_name = 'page_ping' then {view_id} end as view_id,
        case when event = 'struct' then coalesce(se_action, se_category, event_name) else event_name end as name,
        case when event_name = 'page_ping' then 2
            when event_name in ('page_view', 'screen_view') then 1 else 0 end as rank,
        {device} as device, app_id, platform,
        case when coalesce({derived}, {collector}) is null then coalesce(derived_tstamp, collector_tstamp) end
            as time_text,
        {bot} as bot
    from (
        select * replace (coalesce(event_name, event) as event_name), {client_session} as client from {incoming}
    )
"""

# looking for repeated hashes first leaves few events to rank
REPEATED_EVENTS = """
    create table repeated as
    with hashes as (
        select hash(event_id) as event_hash from events
        where event_id is not null group by event_hash having count(*) > 1
    )
    select
        rowid as place,
        row_number() over (partition by event_id order by collected nulls last, rowid) as delivery,
        count(*) over (partition by event_id) as deliveries
    from events
    where event_id is not null and hash(event_id) in (select event_hash from hashes)
"""

KEPT_EVENTS = """
    create view kept as
    select
        events.*, events.rowid as place, coalesce(repeated.deliveries - 1, 0) as repeats,
        cast({local_at} as date) as day
    from events left join repeated on events.rowid = repeated.place
    where events.fields = {width} and coalesce(repeated.delivery, 1) = 1 and ({with_bots} or not events.bot)
"""

# of a device that several users share, nobody but the session tells whose an event is
DEVICE_OWNERS = """
    create table device_owners as
    select device_id, min(user_id) as user_id
    from kept where device_id is not null and user_id is not null
    group by device_id having min(user_id) = max(user_id)
"""

OWNED_EVENTS = """
    create table owned as
    with scoped as (
        select
            * exclude (source, fields, collected, bot),
            coalesce(
                session_id,
                coalesce(device_id, user_id, event_id, cast(place as varchar)) || '/'
                    || coalesce(cast(day as varchar), '')
            ) as scope
        from kept
    ),
    mixed as (
        select scope from scoped group by scope
        having count(user_id) > 0 and (count(user_id) < count(*) or min(user_id) <> max(user_id))
    ),
    claimed as (
        select
            scoped.place,
            coalesce(
                scoped.user_id,
                first_value(scoped.user_id ignore nulls) over (later rows between current row and unbounded following),
                last_value(scoped.user_id ignore nulls) over (later rows between unbounded preceding and current row)
            ) as owner
        from scoped inner join mixed using (scope)
        window later as (
            partition by scoped.scope
            order by scoped.happened nulls last, scoped.user_id nulls first, scoped.event_id, place
        )
    )
    select scoped.*, coalesce(claimed.owner, scoped.user_id, device_owners.user_id) as owner
    from scoped
    left join claimed on scoped.place = claimed.place
    left join device_owners on scoped.device_id = device_owners.device_id
"""

# events without a session are those of a user (or device) and a day, which no gap divides
NUMBERED_EVENTS = """
    create table numbered as
    with keyed as (
        select
            *, case when session_id is not null then scope
                else coalesce(owner, device_id, event_id, cast(place as varchar)) || '/'
                    || coalesce(cast(day as varchar), 'undated') end as session_key
        from owned
    ),
    marked as (
        select *, case
            when lag(place) over visit is null then 1
            when session_id is null then 0
            when owner is distinct from lag(owner) over visit then 1
            when happened - lag(happened) over visit > to_seconds({timeout}) then 1
            else 0
        end as starts
        from keyed where happened is not null
        window visit as (partition by session_key order by happened, owner, event_id, place)
    )
    select
        * exclude (starts),
        sum(starts) over (
            partition by session_key order by happened, owner, event_id, place rows unbounded preceding
        ) as visit
    from marked
    union all
    select *, null from keyed where happened is null
"""

# pings that came alone, and events without a time, go to a visit of the same user in the same session
VISITS = """
    create table visits as
    with found as (
        select session_key, owner, visit, min(day) as first_day, max(day) as last_day, bool_or(rank < 2) as is_real
        from numbered where visit is not null group by all
    )
    select
        *,
        coalesce(
            last_value(case when is_real then visit end ignore nulls) over (
                partition by session_key, owner order by visit rows between unbounded preceding and current row
            ),
            first_value(case when is_real then visit end ignore nulls) over (
                partition by session_key, owner order by visit rows between current row and unbounded following
            )
        ) as real_visit
    from found
"""

PLACED_EVENTS = """
    create table placed as
    with targets as (
        select
            visits.session_key, visits.owner, visits.visit, visits.is_real,
            coalesce(real.visit, visits.visit) as real_visit, real.last_day, visits.real_visit is null as is_stray
        from visits
        left join visits as real
            on visits.session_key = real.session_key and visits.owner is not distinct from real.owner
            and visits.real_visit = real.visit
    ),
    firsts as (
        select session_key, owner, min(real_visit) as visit, arg_min(first_day, visit) as first_day
        from visits where is_real group by session_key, owner
    )
    select
        numbered.* exclude (visit, day),
        coalesce(targets.real_visit, firsts.visit, 0) as visit,
        case when targets.is_real then numbered.day
            else coalesce(targets.last_day, numbered.day, firsts.first_day) end as day,
        coalesce(targets.is_real, numbered.happened is null) as is_timed,
        coalesce(targets.is_stray, false) as is_stray
    from numbered
    left join targets
        on numbered.session_key = targets.session_key and numbered.visit = targets.visit
    left join firsts
        on numbered.visit is null and numbered.session_key = firsts.session_key
        and numbered.owner is not distinct from firsts.owner
"""

# a visit over midnight has a part on each of its days, with the visit's interaction and device; the first part of a
# session keeps the plain name
SESSIONS = """
    create table kept_file.sessions as
    with pinged_views as (
        select
            session_key, visit, owner, day, view_id, count(distinct floor(epoch(pinged) / {heartbeat})) as heartbeats
        from placed where view_id is not null and pinged is not null and is_timed
        group by all
    ),
    views as (
        select
            session_key, visit, owner, day,
            {heartbeat} * heartbeats + case
                when lag(day) over (partition by session_key, visit, owner, view_id order by day) is null
                    then {minimum} - {heartbeat} else 0 end as seconds
        from pinged_views
    ),
    engaged as (select session_key, visit, owner, day, sum(seconds) as seconds from views group by all),
    names as (
        select session_key, visit, owner, name, rank, count(*) as times from placed
        where name is not null group by all
    ),
    main as (
        select session_key, visit, owner, arg_min(name, (rank, -times, name)) as name from names
        group by session_key, visit, owner
    ),
    devices as (
        select
            session_key, visit, owner,
            arg_min(device, (not is_timed, coalesce(happened, timestamp 'infinity'), place)) as device_type
        from placed group by session_key, visit, owner
    ),
    gathered as (
        select
            session_key, visit, owner, day,
            min(happened) filter (is_timed) as happened,
            max(happened) filter (is_timed) as ended,
            min(happened) as any_time,
            arg_min(place, (not is_timed, coalesce(happened, timestamp 'infinity'), place)) as place,
            count(*) as events,
            count_if(rank = 1) as page_views,
            count_if(rank = 2) as page_pings,
            sum(repeats) as duplicate_events,
            min(time_text) as time_text,
            bool_or(is_stray) as is_stray
        from placed group by session_key, visit, owner, day
    ),
    files as (select source, min(rowid) as first_place from events group by source),
    timed as (
        select *, nullif(date_diff(
            'microsecond',
            case when lag(day) over days is null then happened else {day_begins} end,
            case when lead(day) over days is null then ended else {day_ends} end
        ), 0) / 1e6 as elapsed
        from gathered
        window days as (partition by session_key, visit, owner order by day)
    ),
    named as (
        select
            timed.*, events.session_id as domain_sessionid, events.device_id as domain_userid, events.app_id,
            events.platform, events.source as _source, timed.place - files.first_place + 1 as _row_number,
            case when events.session_id is not null then events.session_id || coalesce('/' || owner, '')
                else session_key end as session_name
        from timed
        inner join events on timed.place = events.rowid
        inner join files on events.source = files.source
    ),
    parts as (
        select
            *,
            row_number() over (partition by session_name order by happened nulls last, _source, _row_number) as part
        from named
    )
    select
        parts.owner as user_id,
        {local_at} as engagement_date,
        cast({duration} as double) as session_duration,
        main.name as interaction_type,
        session_name || case when part > 1
            then '/' || coalesce(strftime(happened, '%Y-%m-%dT%H:%M:%S.%f'), cast(part as varchar)) else ''
        end as event_id,
        device_type,
        {extra_columns},
        _source,
        _row_number,
        coalesce(time_text, cast(any_time as varchar)) as time_text,
        is_stray
    from parts
    left join main
        on parts.session_key = main.session_key and parts.visit = main.visit
        and parts.owner is not distinct from main.owner
    left join devices
        on parts.session_key = devices.session_key and parts.visit = devices.visit
        and parts.owner is not distinct from devices.owner
    left join engaged
        on parts.session_key = engaged.session_key and parts.visit = engaged.visit and parts.day = engaged.day
        and parts.owner is not distinct from engaged.owner
    order by engagement_date, event_id
"""

LEFT_OUT = """
    create table kept_file.left_out as
    select 'stray_pings' as reason, user_id, time_text, _source, _row_number from kept_file.sessions where is_stray
    union all
    select
        'bot', any_value(user_id), cast(min(happened) as varchar), any_value(source),
        min(events.rowid - first_place + 1)
    from events
    inner join (select source as file, min(rowid) as first_place from events group by source) on source = file
    where bot and not {with_bots} and fields = {width}
    group by coalesce(session_id, device_id, user_id, event_id), cast(happened as date)
"""

ONLY_SESSIONS = (
    "delete from kept_file.sessions where is_stray",
    "alter table kept_file.sessions drop is_stray",
)

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
    return INSERT_EVENTS.format(
        incoming=incoming,
        derived=_instant("derived_tstamp"),
        collector=_instant("collector_tstamp"),
        created=_instant("dvce_created_tstamp"),
        true=_instant("true_tstamp"),
        view_id=VIEW_ID,
        device=DEVICE,
        bot=BOT,
        client_session=CLIENT_SESSION,
        event_id=rules.value("event_id", "event_id", "VARCHAR"),
        user_id=rules.value("user_id", "user_id", "VARCHAR"),
        device_id=rules.clean("domain_userid"),
        session_id=rules.clean("domain_sessionid"),
    )


def _instant(name: str) -> str:
    """A text as a UTC timestamp; null for what is none. The connection's zone is UTC."""
    usable = f"regexp_full_match({name}, '{DAY}{CLOCK}({OFFSET})?') and {name} < '{LAST_DAY}'"
    return f"timezone('UTC', case when {usable} then try_cast({name} as timestamptz) end)"


Duration = Literal["engaged", "elapsed"]


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
        self.heartbeat_seconds = options.get("heartbeat_seconds", 10)
        self.minimum_visit_seconds = options.get("minimum_visit_seconds", 5)
        self.duration = options.get("duration", "engaged")
        self.visit_timeout_seconds = options.get("visit_timeout_seconds", 1800)
        self.with_bots = options.get("with_bots", False)
        self.rules = replace(options.get("rules", DEFAULT_RULES), timezone=timezone)
        self._config: dict[str, Any] = {"memory_limit": options.get("memory_limit", "1GB")}
        self._held: tuple[Any, _Sessions] | None = None
        if self.heartbeat_seconds <= 0 or self.minimum_visit_seconds < 0:
            raise SourceError(
                f"A page ping every {self.heartbeat_seconds} s after {self.minimum_visit_seconds} s measures nothing: "
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
        made_with = (
            self.heartbeat_seconds,
            self.minimum_visit_seconds,
            self.duration,
            self.visit_timeout_seconds,
        )
        read = (self._state(), *made_with, self.with_bots, self.rules)
        return hashlib.sha256(repr(read).encode()).hexdigest()[:16]

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
        local_at = self.rules.local_time("timezone('UTC', happened)", ZONED)
        elapsed = "case when domain_sessionid is not null then elapsed end"
        duration = f"coalesce(engaged.seconds, {elapsed})" if self.duration == "engaged" else elapsed
        with_bots = str(self.with_bots).lower()
        yield REPEATED_EVENTS
        yield KEPT_EVENTS.format(width=WIDTH, local_at=local_at, with_bots=with_bots)
        yield DEVICE_OWNERS
        yield OWNED_EVENTS
        yield NUMBERED_EVENTS.format(timeout=self.visit_timeout_seconds)
        yield VISITS
        yield PLACED_EVENTS
        yield SESSIONS.format(
            local_at=local_at,
            duration=duration,
            day_begins=self._begin_of("day"),
            day_ends=self._begin_of("day + 1"),
            heartbeat=self.heartbeat_seconds,
            minimum=self.minimum_visit_seconds,
            extra_columns=", ".join(f"cast({name} as varchar) as {name}" for name in EXTRA_COLUMNS),
        )
        yield LEFT_OUT.format(width=WIDTH, with_bots=with_bots)
        yield from ONLY_SESSIONS
        yield BROKEN_LINES.format(width=WIDTH)

    def _begin_of(self, day: str) -> str:
        """The moment, in UTC, at which a day of the zone begins."""
        return f"timezone('UTC', timezone({quoted(self.timezone)}, cast({day} as timestamp)))"


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
