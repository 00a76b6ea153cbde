"""What raw values mean, as DuckDB SQL fragments that every source shares.

A fragment takes a SQL expression, and where it matters the DuckDB type (``kind``) that the expression has, so
that a date or a number counts the same whether it comes from a file or from a database.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

from user_engagement.contracts.raw import SqlType

FIRST_YEAR, LAST_YEAR = 1000, 9999
NULL_WORDS = ("null", "na", "n/a", "nan", "none", "nat", "\\n")
DAY = r"[1-9]\d{3}-\d{2}-\d{2}"
CLOCK = r"[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?"
OFFSET = r" ?(Z|z|UTC|[+-][01]\d(:?[0-5]\d)?)"
TEXT_TYPES = ("VARCHAR", "JSON")
INTEGER_TYPES = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
NUMBER_TYPES = (*INTEGER_TYPES, *(f"U{name}" for name in INTEGER_TYPES), "FLOAT", "DOUBLE", "DECIMAL")
DATE_TYPES = ("DATE", "TIMESTAMP")
NESTED_TYPE = re.compile(r"(STRUCT|MAP|UNION)\(.*|.*\]")
ZONED = "TIMESTAMP WITH TIME ZONE"


def quoted(value: object) -> str:
    """A value as a SQL text literal."""
    return "'" + str(value).replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A name as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def column_name(name: str, position: int) -> str:
    """A source's column name as the warehouse writes it: lower case, words joined by ``_``."""
    return re.sub(r"\W+", "_", name.strip().lower(), flags=re.ASCII) or f"column_{position}"


def text(raw: str) -> str:
    return f"cast({raw} as varchar)"


def identity(value: str) -> str:
    """An id as raw tables hold it: text without blanks around it; null where nothing is left."""
    return f"nullif(trim({value}), '')"


def number(raw: str) -> str:
    """A value as a number; null for what is none."""
    return f"try_cast({raw} as double)"


def local_time(raw: str, kind: str, timezone: str) -> str:
    """A date column as wall-clock time in the zone; null for what is no usable date.

    Text counts when it is an ISO day or timestamp; without an offset it is taken to be in the zone.
    """
    if kind.startswith(ZONED):
        return _in_range(f"timezone({quoted(timezone)}, {raw})")
    if kind.startswith(DATE_TYPES):
        # not the cast itself, which fails beyond the years that a timestamp can hold
        return _in_range(f"cast({raw} as timestamp)", year_of=raw)
    value = f"trim(cast({raw} as varchar))"
    # DuckDB knows Z, but neither z nor UTC right behind the seconds, nor a blank before an offset
    instant = f"regexp_replace(replace(upper({value}), 'UTC', 'Z'), ' ([Z+-])', '\\1')"
    moved = _in_range(f"timezone({quoted(timezone)}, try_cast({instant} as timestamptz))")
    return (
        # plain days are by far the most frequent and need no regular expression
        f"case when length({value}) = 10 and {value} >= '{FIRST_YEAR}' and substr({value}, 5, 1) = '-' "
        f"and substr({value}, 8, 1) = '-' then try_cast({value} as timestamp) "
        f"when regexp_full_match({value}, '{DAY}({CLOCK})?') then try_cast({value} as timestamp) "
        f"when regexp_full_match({value}, '{DAY}{CLOCK}{OFFSET}') then {moved} end"
    )


def _in_range(local: str, year_of: str | None = None) -> str:
    return f"case when year({year_of or local}) between {FIRST_YEAR} and {LAST_YEAR} then {local} end"


def blank(value: str) -> str:
    """Whether a text says nothing: null, empty, or a word that stands for null."""
    words = ", ".join(quoted(word) for word in ("", *NULL_WORDS))
    return f"coalesce(lower(trim({value})) in ({words}), true)"


def not_a_number(raw: str, kind: str) -> str:
    """Whether a value says something that is no number."""
    if kind.startswith(NUMBER_TYPES):
        return "false"
    return f"(try_cast({text(raw)} as double) is null and not {blank(text(raw))})"


def all_written_as_float(value: str) -> str:
    """An aggregate: whether every id reads like ``7.0``, as integers do where a float column held them."""
    return f"coalesce(bool_and({value} similar to '-?\\d+\\.0+'), false)"


def without_fraction(value: str) -> str:
    """An id that is an integer, whatever number of zeros is written behind its point."""
    return f"regexp_replace({value}, '\\.0+$', '')"


def rejected_reason(user: str, when: str) -> str:
    """Why a row without a usable date is rejected: the first reason that applies."""
    return (
        f"case when {identity(user)} is null then 'null_user_id' "
        f"when {blank(when)} then 'null_date' else 'unparseable_date' end"
    )


def type_problem(wanted: SqlType, kind: str) -> str | None:
    """What a column of the contract should be, if one of this kind cannot be it; nulls alone always can."""
    allowed = {"TIMESTAMP": (*TEXT_TYPES, *DATE_TYPES), "DOUBLE": (*TEXT_TYPES, *NUMBER_TYPES)}.get(wanted)
    if not NESTED_TYPE.fullmatch(kind) and (allowed is None or kind.startswith((*allowed, '"NULL"'))):
        return None
    return {"TIMESTAMP": "a date, a timestamp or ISO text", "DOUBLE": "a number"}.get(wanted, "text")


def instant(day: date, timezone: str) -> datetime:
    """The moment, in UTC, at which a calendar day of the zone begins.

    Python's time zone rules decide; where DuckDB's decide the exact slice, leave a margin.
    """
    return datetime.combine(day, time(), ZoneInfo(timezone)).astimezone(UTC)
