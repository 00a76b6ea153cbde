"""Conditions and measures on a date column that the database itself can work out, by an index where there is one."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from user_engagement.contracts.raw import Window
from user_engagement.sources import normalise
from user_engagement.sources.database.tables import SourceColumn
from user_engagement.sources.normalise import ValueRules

LATEST = date(normalise.LATEST_YEAR, 1, 1)
OFFSET_MARGIN = timedelta(days=2)
"""More than an offset written in text (up to 20 hours) and the zone can move a value."""
ZONE_MARGIN = timedelta(hours=1)
"""Finds a day whole where clocks are turned back over midnight, or where DuckDB has other zone rules."""


def window_bounds(when: SourceColumn, window: Window, rules: ValueRules) -> list[sa.ColumnElement[bool]]:
    """Conditions on the bare date column that hold for every row of the window, and for few others."""
    if when.kind == "VARCHAR":
        return _text_within(when, window)
    low: date | None = window.start
    high: date | None = window.end
    if when.kind == normalise.ZONED:
        low = normalise.instant(window.start, rules.timezone) - ZONE_MARGIN if window.start else None
        high = normalise.instant(window.end, rules.timezone) + ZONE_MARGIN if window.end else None
    usable = usable_bounds(when, rules)
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
    elsewhere = (when.raw < _bound(normalise.NO_DATE, when), when.raw >= sa.literal("a", sa.String))
    return [sa.or_(sa.and_(*in_range), *elsewhere)]


def usable_bounds(when: SourceColumn, rules: ValueRules) -> list[sa.ColumnElement[bool]]:
    """Conditions of usable dates, bounds first; of text only that there is any: the rest shows later."""
    if when.kind == "VARCHAR":
        return [when.raw.is_not(None)]
    first, end = _edges(when, rules)
    sentinels = [sa.cast(when.raw, sa.Date).not_in(rules.sentinel_dates)] if rules.sentinel_dates else []
    return [when.raw >= _bound(first, when), when.raw < _bound(end, when), *sentinels]


def outside_bounds(when: SourceColumn, rules: ValueRules) -> sa.ColumnElement[bool]:
    return sa.or_(when.raw.is_(None), sa.not_(sa.and_(*usable_bounds(when, rules))))


def _edges(when: SourceColumn, rules: ValueRules) -> tuple[date, date]:
    """The first usable moment, and the first that is too late."""
    if when.kind == normalise.ZONED:
        return normalise.instant(rules.earliest_date, rules.timezone), normalise.instant(
            LATEST, rules.timezone
        )
    return rules.earliest_date, LATEST


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
    """The day that a value names, in its own offset; of text that does not begin with a day, all of it."""
    if when.kind != "VARCHAR":
        return sa.cast(when.raw, sa.Date)
    return sa.case((when.raw.like("____-__-__%"), sa.func.substr(when.raw, 1, 10)), else_=when.raw)


def may_be_moved(when: SourceColumn) -> sa.ColumnElement[Any]:
    """1 where the day that a value names may not be its day in the configured zone, else 0."""
    if when.kind != "VARCHAR":
        return sa.literal_column("1" if when.kind == normalise.ZONED else "0")
    signs = ("%+%", "%Z%", "%z%", "%UTC%", "%-%-%-%")
    return sa.case((sa.or_(*(when.raw.like(sign) for sign in signs)), 1), else_=0)


def as_day(written: Any) -> date | None:
    try:
        return date.fromisoformat(normalise.BLANKS_AROUND.sub("", str(written))[:10])
    except ValueError:
        return None


def month_of(day: date) -> str:
    return day.replace(day=1).isoformat()
