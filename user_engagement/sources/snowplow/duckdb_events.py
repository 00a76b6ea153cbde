"""Events as DuckDB's SQL: how they are read, and what `session_sql` asks of a dialect."""

from __future__ import annotations

from user_engagement.sources.normalise import CLOCK, DAY, OFFSET, ZONED, ValueRules, identifier, quoted
from user_engagement.sources.snowplow.session_sql import (
    BOT_AGENTS,
    EVENTS,
    FIELDS_READ,
    TABLE_FIELDS,
    EventColumns,
    device_of,
)

CLIENT_SESSION = """
    coalesce(
        try(json_extract(client_session, '$[0]')),
        case when contains(contexts, '/client_session/') then try(list_filter(
            json_extract(contexts, '$.data[*]'), lambda item: contains(item ->> 'schema', '/client_session/')
        )[1] -> '$.data') end
    )
"""

VIEW_ID = """
    coalesce(
        try(list_filter(
            json_extract(contexts, '$.data[*]'), lambda item: contains(item ->> 'schema', '/web_page/')
        )[1] ->> '$.data.id'),
        try(json_extract_string(contexts, '$[0].id'))
    )
"""


class DuckDBDialect:
    """`EventDialect` of DuckDB. The connection's zone is UTC."""

    def events(self, relation: str, columns: EventColumns, rules: ValueRules, condition: str) -> str:
        values = ", ".join(
            f"{_as_text(columns.get(name))} as {name}" for name in (*FIELDS_READ, *TABLE_FIELDS)
        )
        loaded = f"try_cast({identifier(columns['loaded'][0])} as timestamp)"
        texts = f"select {loaded} as loaded, {values} from {relation} as source where {condition}"
        return events_of_texts(f"({texts})", rules, "loaded")

    def local_time(self, moment: str, rules: ValueRules) -> str:
        return rules.local_time(f"timezone('UTC', {moment})", ZONED)

    def begin_of(self, day: str, zone: str) -> str:
        return f"timezone('UTC', timezone({quoted(zone)}, cast({day} as timestamp)))"

    def later(self, moment: str, seconds: float) -> str:
        return f"({moment} + to_seconds({seconds}))"

    def ignoring_nulls(self, function: str, value: str) -> str:
        return f"{function}({value} ignore nulls)"


def events_of_texts(incoming: str, rules: ValueRules, carried: str) -> str:
    """The query for events out of a relation of FIELDS_READ and TABLE_FIELDS as text, and of columns to carry."""
    times = ("derived_tstamp", "collector_tstamp", "dvce_created_tstamp", "true_tstamp")
    client = f"select * replace (coalesce(event_name, event) as event_name), {CLIENT_SESSION} as client from {incoming}"
    bots = (
        _searches("useragent", BOT_AGENTS, ignore_case=True),
        _says_class('Robot[^"]*'),
        _searches("derived_contexts", r'"spiderOrRobot"\s*:\s*true'),
        _searches("spiders_and_robots", r'"spider_?[oO]r_?[rR]obot"\s*:\s*true'),
    )
    return EVENTS.format(
        incoming=f"({client})",
        carried=carried,
        **{name: _instant(name, rules) for name in times},
        derived_text="derived_tstamp",
        collector_text="collector_tstamp",
        view_id=VIEW_ID,
        device=device_of(_says_class, _searches),
        bot=f"({' or '.join(f'coalesce({each}, false)' for each in bots)})",
        client_user="client ->> 'userId', client ->> 'user_id'",
        client_session="client ->> 'sessionId', client ->> 'session_id'",
        event_id=rules.value("event_id", "event_id", "VARCHAR"),
        user_id=rules.value("user_id", "user_id", "VARCHAR"),
        device_id=rules.clean("domain_userid"),
        session_id=rules.clean("domain_sessionid"),
    )


def _instant(name: str, rules: ValueRules) -> str:
    """A text as a UTC timestamp; null for what is none, or is not believed."""
    usable = f"regexp_full_match({name}, '{DAY}{CLOCK}({OFFSET})?') and {rules.is_believed(name)}"
    return f"timezone('UTC', case when {usable} then try_cast({name} as timestamptz) end)"


def _searches(text: str, pattern: str, ignore_case: bool = False) -> str:
    return f"regexp_matches({text}, {quoted(('(?i)' if ignore_case else '') + pattern)})"


def _says_class(pattern: str) -> str:
    return _searches("derived_contexts", rf'"deviceClass"\s*:\s*"({pattern})"')


def _as_text(column: tuple[str, str] | None) -> str:
    """A column as text, with null for what is empty; nested contexts as JSON."""
    if column is None:
        return "cast(null as varchar)"
    name, kind = column
    nested = kind.startswith(("STRUCT", "MAP")) or kind.endswith("]")
    value = f"to_json({identifier(name)})" if nested else identifier(name)
    return f"nullif(cast({value} as varchar), '')"
