"""dbt's variables: the settings that SQL needs, resolved against what the warehouse holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Any

from user_engagement.contracts.raw import USER_ENGAGEMENT, USER_SIGNUPS, RawTable, Window
from user_engagement.errors import SettingsError
from user_engagement.inputs.first_days import begin_after_strays
from user_engagement.inputs.held_up import ends_before, remembered
from user_engagement.settings import PREFIX, Settings
from user_engagement.warehouse import WarehouseReader

SHORTEST_GAP = 14
"""Days without any session behind which a few rows are no activity."""


def horizon_of(reader: WarehouseReader, settings: Settings, now: datetime) -> date:
    """The last complete day of data: as set, or the newest day of engagement not after yesterday.

    A warehouse without engagement ends with its newest signup, and an empty one yesterday. None ends after rows that
    were never loaded because their file cannot be read.
    """
    newest, limit = _newest_complete_day(reader, settings, now), ends_before(remembered(reader))
    return min(newest, limit or newest)


def _newest_complete_day(reader: WarehouseReader, settings: Settings, now: datetime) -> date:
    if settings.as_of is not None:
        return settings.as_of
    yesterday = now.astimezone(settings.zone).date() - timedelta(days=1)
    for table in (USER_ENGAGEMENT, USER_SIGNUPS):
        newest = reader.newest_day(table.name, table.date_column, yesterday)
        if newest is not None:
            return before_stray_days(_sessions_by_day(reader, newest)) or newest
    return yesterday


def before_stray_days(sessions: Mapping[date, int]) -> date | None:
    """The last day before a gap behind which next to nothing follows: a stray row, or a wrong clock; None without one.

    The gap is at least two weeks long and twice as long as any before it; the days behind it have less than half of
    the sessions that a day before it usually has.
    """
    days = sorted(sessions)
    gaps = [(later - earlier).days for earlier, later in pairwise(days)]
    if not gaps or max(gaps) < SHORTEST_GAP:
        return None
    last = max(n for n, gap in enumerate(gaps) if gap >= SHORTEST_GAP)
    others = max((gap for n, gap in enumerate(gaps) if n != last), default=1)
    usual = median(sessions[day] for day in days[max(0, last - 27) : last + 1])
    is_stray = gaps[last] >= 2 * others and max(sessions[day] for day in days[last + 1 :]) < usual / 2
    return days[last] if is_stray else None


def _sessions_by_day(reader: WarehouseReader, newest: date) -> dict[date, int]:
    table = USER_ENGAGEMENT
    day = f"cast({table.date_column} as date)"
    window = Window(newest - timedelta(days=366), newest + timedelta(days=1))
    counted = f"select {day} as day, count(*) as sessions from raw.{table.name}"
    rows = reader.query(f"{counted} where {window.predicate(table.date_column)} group by {day}").to_pylist()
    return {row["day"]: row["sessions"] for row in rows}


def segments_of(reader: WarehouseReader, settings: Settings) -> list[str]:
    """The segments to break down by: the defaults that the signups have, or exactly those that are set.

    Raises:
        SettingsError: a segment that is set is no column of the signups.
    """
    columns = reader.columns("raw", USER_SIGNUPS.name)
    if not settings.segments_are_default:
        refuse_segments(settings, columns)
    return [name for name in settings.segments if name in columns]


def refuse_segments(settings: Settings, columns: Iterable[str]) -> None:
    """Raises SettingsError if a segment is none of these columns of the signups."""
    found = [name for name in columns if not name.startswith("_")]
    missing = [name for name in settings.segments if name not in found]
    if missing:
        raise SettingsError(
            f"{PREFIX}SEGMENTS: {', '.join(missing)} is no column of {USER_SIGNUPS.name}; it has {', '.join(found)}."
        )


def dbt_vars(reader: WarehouseReader, settings: Settings, now: datetime) -> dict[str, Any]:
    """The settings that SQL needs, resolved against what the warehouse holds."""
    data_start = settings.data_start or begin_of_signups(reader)
    return {
        "as_of": horizon_of(reader, settings, now).isoformat(),
        "data_start": data_start.isoformat() if data_start else None,
        "segments": segments_of(reader, settings),
        "active_window_days": settings.active_window_days,
        "inactivity_days": settings.inactivity_days,
        "max_session_seconds": settings.max_session_seconds,
        "max_periods": settings.max_periods,
        "signups_are_plain_days": signups_are_plain_days(reader),
        "event_ids_per_user": settings.event_ids_per_user,
    }


def begin_of_signups(reader: WarehouseReader) -> date | None:
    """The first month after a few signups long before all others; None without such."""
    return begin_after_strays(reader.monthly_rows(f"raw.{USER_SIGNUPS.name}", USER_SIGNUPS.date_column))


def signups_are_plain_days(reader: WarehouseReader) -> bool:
    """Whether no signup says at what time, but some session does: the zone of such a day is not known."""
    return not _has_times(reader, USER_SIGNUPS) and _has_times(reader, USER_ENGAGEMENT)


def _has_times(reader: WarehouseReader, table: RawTable) -> bool:
    day = table.date_column
    timed = f"select {day} as found from raw.{table.name} where {day} <> cast({day} as date) limit 1"
    return reader.query(timed).num_rows > 0
