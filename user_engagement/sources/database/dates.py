"""Conditions and measures on a date column that the database itself can work out, by an index where there is one."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import sqlalchemy as sa

from user_engagement.contracts.raw import Window
from user_engagement.sources import normalise
from user_engagement.sources.database.tables import SourceColumn

FIRST_DAY = date(normalise.FIRST_YEAR, 1, 1)
OFFSET_MARGIN = timedelta(days=2)
"""More than an offset written in text (up to 20 hours) and the zone can move a value."""
ZONE_MARGIN = timedelta(hours=1)
"""Finds a day whole where clocks are turned back over midnight, or where DuckDB has other zone rules."""


def window_bounds(when: SourceColumn, window: Window, timezone: str) -> list[sa.ColumnElement[bool]]:
    """Conditions on the bare date column that hold for every row of the window, and for few others."""
    if when.kind == "VARCHAR":
        return _text_within(when, window)
    low: date | None = window.start
    high: date | None = window.end
    if when.kind == normalise.ZONED:
        low = normalise.instant(window.start, timezone) - ZONE_MARGIN if window.start else None
        high = normalise.instant(window.end, timezone) + ZONE_MARGIN if window.end else None
    usable = usable_bounds(when)
    return [
        usable[0] if low is None else when.raw >= _bound(low, when),
        usable[1] if high is None else when.raw < _bound(high, when),
    ]


def _text_within(when: SourceColumn, window: Window) -> list[sa.ColumnElement[bool]]:
    """ISO text sorts by its days under every collation; what blanks sort elsewhere is let through."""
    in_range = []
    if window.start is not None:
        in_range.append(when.raw >= _bound(shifted(window.start, -OFFSET_MARGIN), when))
    if window.end is not None:
        in_range.append(when.raw < _bound(shifted(window.end, OFFSET_MARGIN), when))
    if not in_range:
        return []
    elsewhere = (when.raw < _bound(FIRST_DAY, when), when.raw >= sa.literal("a", sa.String))
    return [sa.or_(sa.and_(*in_range), *elsewhere)]


def usable_bounds(when: SourceColumn) -> list[sa.ColumnElement[bool]]:
    """The lower and the upper bound of usable dates; of text only that there is any: the rest shows later."""
    if when.kind == "VARCHAR":
        return [when.raw.is_not(None)]
    first, last = _edges(when)
    return [when.raw >= _bound(first, when), when.raw <= _bound(last, when)]


def outside_bounds(when: SourceColumn) -> sa.ColumnElement[bool]:
    first, last = _edges(when)
    return sa.or_(when.raw.is_(None), when.raw < _bound(first, when), when.raw > _bound(last, when))


def _edges(when: SourceColumn) -> tuple[date, datetime]:
    """The first and last usable moment; with a time zone a day less, so that the year is usable in any."""
    if when.kind == normalise.ZONED:
        first = datetime.combine(FIRST_DAY, time(), UTC) + timedelta(days=1)
        return first, datetime.max.replace(tzinfo=UTC) - timedelta(days=1)
    return FIRST_DAY, datetime.max


def _bound(value: date, when: SourceColumn) -> sa.ColumnElement[Any]:
    """A bound parameter of the date column's own type, without which an index on it would not serve."""
    if when.kind == "VARCHAR":
        return sa.literal(value.isoformat(), sa.String)
    if when.kind == "DATE":
        return sa.literal(value.date() if isinstance(value, datetime) else value, sa.Date)
    at = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
    return sa.literal(at, sa.DateTime(timezone=at.tzinfo is not None))


def shifted(day: date, by: timedelta) -> date:
    return date.fromordinal(min(max(day.toordinal() + by.days, 1), date.max.toordinal()))


def day_of(when: SourceColumn) -> sa.ColumnElement[Any]:
    """The day that a value names, in its own offset."""
    return (
        sa.func.substr(sa.func.trim(when.raw), 1, 10)
        if when.kind == "VARCHAR"
        else sa.cast(when.raw, sa.Date)
    )


def may_be_moved(when: SourceColumn) -> sa.ColumnElement[Any]:
    """1 where the day that a value names may not be its day in the configured zone, else 0."""
    if when.kind != "VARCHAR":
        return sa.literal_column("1" if when.kind == normalise.ZONED else "0")
    signs = ("%+%", "%Z%", "%z%", "%UTC%", "%-%-%-%")
    return sa.case((sa.or_(*(when.raw.like(sign) for sign in signs)), 1), else_=0)


def as_day(written: Any) -> date | None:
    try:
        return date.fromisoformat(str(written))
    except ValueError:
        return None


def month_of(day: date) -> str:
    return day.replace(day=1).isoformat()
