"""Snowplow events as Snowflake's SQL.

Snowplow's loader gives each context an ARRAY column of its own; no other place of a context is read.
"""

from __future__ import annotations

from dataclasses import replace

from user_engagement.sources.normalise import NESTED_TYPE, ValueRules, identifier, quoted
from user_engagement.sources.snowplow.session_sql import (
    BOT_AGENTS,
    EVENTS,
    FIELDS_READ,
    TABLE_FIELDS,
    EventColumns,
    device_of,
)
from user_engagement.sources.warehouse.snowflake_rules import SnowflakeRules, matches

TIMES = ("derived_tstamp", "collector_tstamp", "dvce_created_tstamp", "true_tstamp")
CONTEXTS = ("contexts", "derived_contexts", *TABLE_FIELDS)


class SnowflakeDialect:
    """`EventDialect` of Snowflake."""

    def events(self, relation: str, columns: EventColumns, rules: ValueRules, condition: str) -> str:
        in_utc = replace(rules, timezone="UTC")
        read = {name: columns.get(name) for name in FIELDS_READ}
        values = [
            *(f"{in_utc.local_time(*_raw(read[name]))} as {name}" for name in TIMES),
            *(f"{_text(read[name])} as {name}_text" for name in TIMES[:2]),
            *(f"{_text(read[name])} as {name}" for name in FIELDS_READ if name not in (*TIMES, *CONTEXTS)),
            *(f"{_context(columns.get(name))} as {name}" for name in CONTEXTS),
            f"{SnowflakeRules('UTC').instant(*_raw(columns['loaded']))} as loaded",
        ]
        texts = f"select {', '.join(values)} from {relation} as source where {condition}"
        named = f"select * exclude (event_name), coalesce(event_name, event) as event_name from ({texts})"
        bots = (
            _searches("useragent", BOT_AGENTS, ignore_case=True),
            _says_class("Robot.*"),
            *(
                f"lower(spiders_and_robots:{name}::varchar) = 'true'"
                for name in ("spiderOrRobot", "spider_or_robot")
            ),
        )
        return EVENTS.format(
            incoming=f"({named})",
            carried="loaded",
            **{name: name for name in TIMES},
            derived_text="derived_tstamp_text",
            collector_text="collector_tstamp_text",
            view_id="contexts:id::varchar",
            device=device_of(_says_class, _searches),
            bot=f"({' or '.join(f'coalesce({each}, false)' for each in bots)})",
            client_user="client_session:userId::varchar, client_session:user_id::varchar",
            client_session="client_session:sessionId::varchar, client_session:session_id::varchar",
            event_id=rules.value("event_id", "event_id", "VARCHAR"),
            user_id=rules.value("user_id", "user_id", "VARCHAR"),
            device_id=rules.clean("domain_userid"),
            session_id=rules.clean("domain_sessionid"),
        )

    def local_time(self, moment: str, rules: ValueRules) -> str:
        return rules.local_time(f"convert_timezone('UTC', {quoted(rules.timezone)}, {moment})", "TIMESTAMP")

    def begin_of(self, day: str, zone: str) -> str:
        return f"convert_timezone({quoted(zone)}, 'UTC', cast({day} as timestamp_ntz))"

    def later(self, moment: str, seconds: float) -> str:
        return f"dateadd('millisecond', {round(1000 * seconds)}, {moment})"

    def ignoring_nulls(self, function: str, value: str) -> str:
        return f"{function}({value}) ignore nulls"


def _raw(column: tuple[str, str] | None) -> tuple[str, str]:
    """A column as SQL, and its type."""
    return ("cast(null as varchar)", "VARCHAR") if column is None else (identifier(column[0]), column[1])


def _text(column: tuple[str, str] | None) -> str:
    return f"nullif(cast({_raw(column)[0]} as varchar), '')"


def _context(column: tuple[str, str] | None) -> str:
    """The first of a context's entities."""
    raw, kind = _raw(column)
    return f"get({raw if NESTED_TYPE.fullmatch(kind) or kind == 'VARIANT' else f'try_parse_json({raw})'}, 0)"


def _searches(text: str, pattern: str, ignore_case: bool = False) -> str:
    return matches(text, f".*({pattern}).*", "is" if ignore_case else "cs")


def _says_class(pattern: str) -> str:
    return matches("derived_contexts:deviceClass::varchar", pattern)
