"""The rules by which events become sessions, as one text of SQL for DuckDB and Snowflake.

The package's docstring says what the rules are. Each rule is a query over the relations of the rules before it.
Queries use only what both warehouses understand; `EventDialect` has the few expressions in which they differ.

The relation ``events``, from which all start, has the columns of `EVENT_COLUMNS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Literal, Protocol

from user_engagement.sources.normalise import ValueRules

FIELDS_READ = (
    *("app_id", "platform", "collector_tstamp", "derived_tstamp", "dvce_created_tstamp", "true_tstamp"),
    *("event", "event_name", "event_id", "se_category", "se_action"),
    *("user_id", "domain_userid", "domain_sessionid"),
    *("contexts", "derived_contexts", "useragent", "dvce_type", "dvce_ismobile"),
)
"""What sessions are made from. The other fields of a line are counted and left alone."""

TABLE_FIELDS = ("client_session", "spiders_and_robots")
"""Contexts that tables hold in columns of their own; in files they are among `contexts` and `derived_contexts`."""

EVENT_COLUMNS = {
    "event_id": "VARCHAR",
    "user_id": "VARCHAR",
    "device_id": "VARCHAR",
    "session_id": "VARCHAR",
    "happened": "TIMESTAMP",
    "collected": "TIMESTAMP",
    "pinged": "TIMESTAMP",
    "view_id": "VARCHAR",
    "name": "VARCHAR",
    "tier": "BIGINT",
    "device": "VARCHAR",
    "app_id": "VARCHAR",
    "platform": "VARCHAR",
    "time_text": "VARCHAR",
    "bot": "BOOLEAN",
}
"""What sessions are made from, with types. Times are in UTC.

``tier`` is 0 for what somebody did, 1 for a view and 2 for a page ping. ``pinged`` and ``view_id`` are those of page
pings. ``time_text`` is the given time of an event without a usable one.
"""

EXTRA_COLUMNS = (
    *("app_id", "domain_sessionid", "domain_userid"),
    *("duplicate_events", "events", "page_pings", "page_views", "platform"),
)
"""What a session row says beside the contract's columns."""

# over FIELDS_READ, as text with nulls for what is empty, or as `EventDialect` reads them
EVENTS = """
    select
        {carried}, {event_id} as event_id, {user_id} as user_id,
        coalesce({device_id}, {client_user}) as device_id,
        coalesce({session_id}, {client_session}) as session_id,
        coalesce({derived_tstamp}, {collector_tstamp}) as happened,
        {collector_tstamp} as collected,
        case when event_name = 'page_ping'
            then coalesce({true_tstamp}, {dvce_created_tstamp}, {derived_tstamp}, {collector_tstamp}) end as pinged,
        case when event_name = 'page_ping' then {view_id} end as view_id,
        case when event = 'struct' then coalesce(se_action, se_category, event_name) else event_name end as name,
        case when event_name = 'page_ping' then 2
            when event_name in ('page_view', 'screen_view') then 1 else 0 end as tier,
        {device} as device, app_id, platform,
        case when coalesce({derived_tstamp}, {collector_tstamp}) is null
            then coalesce({derived_text}, {collector_text}) end as time_text,
        {bot} as bot
    from {incoming}
"""

DEVICE = """
    case
        when lower(dvce_type) in ('computer', 'desktop') then 'desktop'
        when lower(dvce_type) in ('mobile', 'phone') then 'phone'
        when lower(dvce_type) <> 'unknown' then lower(dvce_type)
        when {is_desktop} then 'desktop'
        when {is_phone} then 'phone'
        when {is_tablet} then 'tablet'
        when {names_tablet_or_android} and not contains(useragent, 'Mobi') then 'tablet'
        when {names_tablet} then 'tablet'
        when {names_phone} then 'phone'
        when lower(dvce_ismobile) in ('1', 'true') or platform = 'mob' then 'phone'
        when {names_desktop} then 'desktop'
    end
"""

BOT_AGENTS = (
    "(^|[^u])bot([^a-z0-9_]|$)|crawl|spider|slurp|headless|phantomjs|lighthouse|pingdom|bingpreview"
    "|facebookexternalhit"
)
"""By the user agent, beside the YAUAA context and that of the IAB's list of spiders and robots."""

# `place` is the event's own, and decides between events that are otherwise equal; events of one `unit` depend on no
# event of another one, but for the owners of devices
SCOPED_EVENTS = """
    select
        *,
        coalesce(
            session_id,
            coalesce(device_id, user_id, event_id, cast(place as varchar)) || '/'
                || coalesce(cast(day as varchar), '')
        ) as scope,
        coalesce(session_id, '/' || coalesce(cast(day as varchar), '')) as unit
    from (select *, cast({local_at} as date) as day from {events}) as dated
"""

# looking for repeated hashes first leaves few events to rank
REPEATED_EVENTS = """
    with hashes as (
        select hash(event_id) as event_hash from {deliveries}
        where event_id is not null group by hash(event_id) having count(*) > 1
    )
    select
        place,
        row_number() over (partition by event_id order by collected nulls last, place) as delivery,
        count(*) over (partition by event_id) as deliveries
    from {deliveries}
    where event_id is not null and hash(event_id) in (select event_hash from hashes)
"""

KEPT_EVENTS = """
    select scoped.* exclude (collected, bot), coalesce(repeated.deliveries - 1, 0) as repeats
    from {scoped} as scoped left join {repeated} as repeated on scoped.place = repeated.place
    where coalesce(repeated.delivery, 1) = 1 and ({with_bots} or not scoped.bot)
"""

# of a device that several users share, nobody but the session tells whose an event is
DEVICE_OWNERS = """
    select device_id, min(user_id) as device_owner
    from {identities} where device_id is not null and user_id is not null
    group by device_id having min(user_id) = max(user_id)
"""

OWNED_EVENTS = """
    with mixed as (
        select scope from {kept} group by scope
        having count(user_id) > 0 and (count(user_id) < count(*) or min(user_id) <> max(user_id))
    ),
    claimed as (
        select
            kept.place,
            coalesce(
                kept.user_id,
                {next_user} over (
                    partition by kept.scope
                    order by kept.happened nulls last, kept.user_id nulls first, kept.event_id, kept.place
                    rows between current row and unbounded following
                ),
                {last_user} over (
                    partition by kept.scope
                    order by kept.happened nulls last, kept.user_id nulls first, kept.event_id, kept.place
                    rows between unbounded preceding and current row
                )
            ) as owner
        from {kept} as kept inner join mixed on kept.scope = mixed.scope
    )
    select kept.*, coalesce(claimed.owner, kept.user_id, device_owners.device_owner) as owner
    from {kept} as kept
    left join claimed on kept.place = claimed.place
    left join {device_owners} as device_owners on kept.device_id = device_owners.device_id
"""

# events without a session are those of a user (or device) and a day, which no gap divides
NUMBERED_EVENTS = """
    with keyed as (
        select
            *, case when session_id is not null then scope
                else coalesce(owner, device_id, event_id, cast(place as varchar)) || '/'
                    || coalesce(cast(day as varchar), 'undated') end as session_key
        from {owned}
    ),
    followed as (
        select
            *,
            lag(place) over (partition by session_key order by happened, owner, event_id, place) as last_place,
            lag(owner) over (partition by session_key order by happened, owner, event_id, place) as last_owner,
            lag(happened) over (partition by session_key order by happened, owner, event_id, place) as last_happened
        from keyed where happened is not null
    ),
    marked as (
        select * exclude (last_place, last_owner, last_happened), case
            when last_place is null then 1
            when session_id is null then 0
            when owner is distinct from last_owner then 1
            when happened > {last_happened_and_timeout} then 1
            else 0
        end as starts
        from followed
    )
    select
        * exclude (starts),
        sum(starts) over (
            partition by session_key order by happened, owner, event_id, place
            rows between unbounded preceding and current row
        ) as visit
    from marked
    union all
    select *, null as visit from keyed where happened is null
"""

# pings that came alone, and events without a time, go to a visit of the same user in the same session
VISITS = """
    with found as (
        select
            session_key, owner, visit, min(day) as first_day, max(day) as last_day,
            max(case when tier < 2 then 1 else 0 end) = 1 as is_real
        from {numbered} where visit is not null group by session_key, owner, visit
    ),
    numbers as (select *, case when is_real then visit end as real_number from found)
    select
        * exclude (real_number),
        coalesce(
            {last_real} over (
                partition by session_key, owner order by visit rows between unbounded preceding and current row
            ),
            {next_real} over (
                partition by session_key, owner order by visit rows between current row and unbounded following
            )
        ) as real_visit
    from numbers
"""

PLACED_EVENTS = """
    with targets as (
        select
            visits.session_key, visits.visit, visits.is_real,
            coalesce(real_ones.visit, visits.visit) as real_visit, real_ones.last_day,
            visits.real_visit is null as is_stray
        from {visits} as visits
        left join {visits} as real_ones
            on visits.session_key = real_ones.session_key and visits.owner is not distinct from real_ones.owner
            and visits.real_visit = real_ones.visit
    ),
    firsts as (
        select session_key, owner, visit, first_day from {visits} where is_real
        qualify row_number() over (partition by session_key, owner order by visit) = 1
    )
    select
        numbered.* exclude (visit, day),
        coalesce(targets.real_visit, firsts.visit, 0) as visit,
        case when targets.is_real then numbered.day
            else coalesce(targets.last_day, numbered.day, firsts.first_day) end as day,
        coalesce(targets.is_real, numbered.happened is null) as is_timed,
        coalesce(targets.is_stray, false) as is_stray
    from {numbered} as numbered
    left join targets
        on numbered.session_key = targets.session_key and numbered.visit = targets.visit
    left join firsts
        on numbered.visit is null and numbered.session_key = firsts.session_key
        and numbered.owner is not distinct from firsts.owner
"""

# a visit over midnight has a part on each of its days, with the visit's interaction and device; the first part of a
# session keeps the plain name
SESSIONS = """
    with pinged_views as (
        select
            session_key, visit, owner, day, view_id,
            count(distinct floor(datediff('microsecond', cast('1970-01-01' as timestamp), pinged) / 1e6 / {heartbeat}))
                as heartbeats
        from {placed} where view_id is not null and pinged is not null and is_timed
        group by session_key, visit, owner, day, view_id
    ),
    views as (
        select
            session_key, visit, owner, day,
            {heartbeat} * heartbeats + case
                when lag(day) over (partition by session_key, visit, owner, view_id order by day) is null
                    then {minimum} - {heartbeat} else 0 end as seconds
        from pinged_views
    ),
    engaged as (
        select session_key, visit, owner, day, sum(seconds) as seconds from views
        group by session_key, visit, owner, day
    ),
    names as (
        select session_key, visit, owner, name, tier, count(*) as times from {placed}
        where name is not null group by session_key, visit, owner, name, tier
    ),
    main as (
        select session_key, visit, owner, name from names
        qualify row_number() over (partition by session_key, visit, owner order by tier, times desc, name) = 1
    ),
    devices as (
        select session_key, visit, owner, device as device_type from {placed} where device is not null
        qualify row_number() over (
            partition by session_key, visit, owner
            order by case when is_timed then 0 else 1 end, happened nulls last, place
        ) = 1
    ),
    firsts as (
        select session_key, visit, owner, day, unit, place, session_id, device_id, app_id, platform from {placed}
        qualify row_number() over (
            partition by session_key, visit, owner, day
            order by case when is_timed then 0 else 1 end, happened nulls last, place
        ) = 1
    ),
    gathered as (
        select
            session_key, visit, owner, day,
            min(case when is_timed then happened end) as happened,
            max(case when is_timed then happened end) as ended,
            min(happened) as any_time,
            count(*) as events,
            count_if(tier = 1) as page_views,
            count_if(tier = 2) as page_pings,
            sum(repeats) as duplicate_events,
            min(time_text) as time_text,
            max(case when is_stray then 1 else 0 end) = 1 as is_stray
        from {placed} group by session_key, visit, owner, day
    ),
    timed as (
        select
            *,
            case when lag(day) over (partition by session_key, visit, owner order by day) is null then happened
                else {day_begins} end as from_moment,
            case when lead(day) over (partition by session_key, visit, owner order by day) is null then ended
                else {day_ends} end as to_moment
        from gathered
    ),
    named as (
        select
            timed.*, firsts.unit, firsts.place, firsts.session_id as domain_sessionid,
            firsts.device_id as domain_userid, firsts.app_id, firsts.platform,
            nullif(datediff('microsecond', from_moment, to_moment), 0) / 1e6 as elapsed,
            case when firsts.session_id is not null then firsts.session_id || coalesce('/' || timed.owner, '')
                else timed.session_key end as session_name
        from timed
        inner join firsts
            on timed.session_key = firsts.session_key and timed.visit = firsts.visit
            and timed.owner is not distinct from firsts.owner and timed.day is not distinct from firsts.day
    ),
    parts as (
        select *, row_number() over (partition by session_name order by happened nulls last, place) as part
        from named
    )
    select
        parts.owner as user_id,
        {local_at} as engagement_date,
        cast({duration} as double) as session_duration,
        main.name as interaction_type,
        session_name || case when part > 1
            then '/' || coalesce({stamp}, cast(part as varchar)) else ''
        end as event_id,
        device_type,
        {extra_columns},
        coalesce(time_text, case when is_stray then {any_time_text} end) as time_text,
        parts.unit,
        parts.place,
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
"""

# one row for each session and day
BOTS = """
    select min(user_id) as user_id, {first_time_text} as time_text, unit, min(place) as place
    from {scoped} where bot and not {with_bots} group by scope, unit, day
"""


EventColumns = Mapping[str, tuple[str, str]]
"""Names and types of a table's columns by what they hold: FIELDS_READ, TABLE_FIELDS and ``loaded``, when a row was."""


class EventDialect(Protocol):
    """Expressions over events in the SQL of one warehouse. Moments are timestamps without a zone, in UTC."""

    def events(self, relation: str, columns: EventColumns, rules: ValueRules, condition: str) -> str:
        """A query for the events of a table.

        Args:
            relation: the table, as SQL.
            columns: the columns to read.
            rules: what stands for a missing value.
            condition: which rows.

        Returns columns ``loaded``, a moment, and those of `EVENT_COLUMNS`.
        """
        ...

    def local_time(self, moment: str, rules: ValueRules) -> str:
        """A moment on the clock of the rules' zone; null if it is not plausible."""
        ...

    def begin_of(self, day: str, zone: str) -> str:
        """The moment at which a day of the zone begins."""
        ...

    def later(self, moment: str, seconds: float) -> str:
        """The moment so many seconds later."""
        ...

    def ignoring_nulls(self, function: str, value: str) -> str:
        """A window function that ignores nulls, without its window."""
        ...


def stamp(moment: str, separator: str) -> str:
    """A moment as text such as ``2025-01-31T10:00:00.000000``; formats of the session have no part in it."""
    parts = (f"lpad(cast({part}({moment}) as varchar), 2, '0')" for part in ("hour", "minute", "second"))
    clock = " || ':' || ".join(parts)
    fraction = f"datediff('microsecond', date_trunc('second', {moment}), {moment})"
    return (
        f"(cast(cast({moment} as date) as varchar) || '{separator}' || {clock} || '.' "
        f"|| lpad(cast({fraction} as varchar), 6, '0'))"
    )


def moment_text(moment: str) -> str:
    """A moment as text such as ``2025-01-31 10:00:00``, with as many digits of its fraction as it needs."""
    return f"rtrim(rtrim({stamp(moment, ' ')}, '0'), '.')"


def device_of(says: Callable[[str], str], searches: Callable[..., str]) -> str:
    """The kind of device, from a condition on YAUAA's class of device and one on the user agent."""
    return DEVICE.format(
        is_desktop=says("Desktop"),
        is_phone=says("Phone|Mobile"),
        is_tablet=says("Tablet"),
        names_tablet_or_android=searches("useragent", "ipad|tablet|android", ignore_case=True),
        names_tablet=searches("useragent", "ipad|tablet", ignore_case=True),
        names_phone=searches("useragent", "Mobi|iPhone|iPod"),
        names_desktop=searches("useragent", "Windows NT|Macintosh|X11|CrOS"),
    )


Duration = Literal["engaged", "elapsed"]


@dataclass(frozen=True)
class SessionRules:
    """How sessions are made.

    Args:
        rules: the zone, and what stands for a missing value or date, in the SQL of the warehouse.
        heartbeat_seconds: time between two page pings, as the tracker is configured.
        minimum_visit_seconds: time before the first page ping, as the tracker is configured.
        duration: ``engaged`` or ``elapsed``, as the package's docstring defines them.
        visit_timeout_seconds: a visit ends after so long without events.
        with_bots: whether events of bots count.
    """

    rules: ValueRules
    heartbeat_seconds: float = 10
    minimum_visit_seconds: float = 5
    duration: Duration = "engaged"
    visit_timeout_seconds: float = 1800
    with_bots: bool = False

    def described(self) -> str:
        """All that decides what sessions are, as text."""
        return repr(tuple((field.name, getattr(self, field.name)) for field in fields(self)))

    def scoped(self, dialect: EventDialect, events: str) -> str:
        """The query for events with their ``day``, ``scope`` and ``unit``."""
        local_at = dialect.local_time("happened", self.rules)
        return SCOPED_EVENTS.format(events=events, local_at=local_at)

    def kept(self, names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        """Queries for repeated and for kept events, over ``scoped`` events and all their ``deliveries``."""
        yield "repeated", REPEATED_EVENTS.format_map(names)
        yield "kept", KEPT_EVENTS.format(**names, with_bots=_boolean(self.with_bots))

    def sessions(self, dialect: EventDialect, names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        """Queries from ``kept`` events and ``device_owners`` to ``sessions`` and ``bots``.

        Args:
            dialect: of the warehouse that runs them.
            names: the relation for each name; that of a result is looked up when the next query is asked for.
        """
        local_at = dialect.local_time("happened", self.rules)
        elapsed = "case when domain_sessionid is not null then elapsed end"
        yield (
            "owned",
            OWNED_EVENTS.format(
                **names,
                next_user=dialect.ignoring_nulls("first_value", "kept.user_id"),
                last_user=dialect.ignoring_nulls("last_value", "kept.user_id"),
            ),
        )
        timeout = dialect.later("last_happened", self.visit_timeout_seconds)
        yield "numbered", NUMBERED_EVENTS.format(**names, last_happened_and_timeout=timeout)
        yield (
            "visits",
            VISITS.format(
                **names,
                last_real=dialect.ignoring_nulls("last_value", "real_number"),
                next_real=dialect.ignoring_nulls("first_value", "real_number"),
            ),
        )
        yield "placed", PLACED_EVENTS.format_map(names)
        yield (
            "sessions",
            SESSIONS.format(
                **names,
                local_at=local_at,
                duration=f"coalesce(engaged.seconds, {elapsed})" if self.duration == "engaged" else elapsed,
                day_begins=dialect.begin_of("day", self.rules.timezone),
                day_ends=dialect.begin_of("day + 1", self.rules.timezone),
                heartbeat=self.heartbeat_seconds,
                minimum=self.minimum_visit_seconds,
                stamp=stamp("happened", "T"),
                any_time_text=moment_text("any_time"),
                extra_columns=", ".join(f"cast({name} as varchar) as {name}" for name in EXTRA_COLUMNS),
            ),
        )
        first_time = moment_text("min(happened)")
        yield "bots", BOTS.format(**names, first_time_text=first_time, with_bots=_boolean(self.with_bots))


def _boolean(value: bool) -> str:
    return str(value).lower()
