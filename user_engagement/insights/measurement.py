"""What is recording, not behaviour: kinds of events that stopped, days without any event, events that came twice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from user_engagement.insights.panel import Panel

HABIT_OF = {"device_type": "main_device", "interaction_type": "interaction_type"}
"""The users' attribute that an attribute of events is named as."""
IMPOSSIBLE = 1e-6
"""Poisson probability of no event under which a day without any is an outage."""
NEIGHBOURS = 4
"""Same weekdays around a day, of which the median is usual."""
TWICE = np.log(1.5)
"""Log ratio of sessions a day from which all segments' moving together is delivery."""
UNIT = np.log(5.0)
"""Log ratio of durations from which a unit of time must have changed."""
GONE = np.log(0.08)
"""Log ratio below which a group's events must have stopped."""


@dataclass(frozen=True)
class Vanished:
    """A kind of event that stopped: the attribute of the users whose habit it was, the value, and the first week."""

    name: str
    value: str
    since: int


@dataclass(frozen=True)
class Outage:
    """Days without any event: first and last one, and the weeks (from, before) that they touch."""

    first_day: pd.Timestamp
    last_day: pd.Timestamp
    since: int
    until: int


def vanished_of(vanished_kinds: pd.DataFrame, weeks: pd.DatetimeIndex) -> list[Vanished]:
    return [
        Vanished(HABIT_OF[row.attribute], row.value, (pd.Timestamp(row.vanished_week) - weeks[0]).days // 7)
        for row in vanished_kinds.itertuples()
    ]


def outages(daily_sessions: pd.Series) -> list[tuple[pd.Timestamp, pd.Timestamp]]:
    """First and last day of each stretch of days whose having no event chance all but rules out.

    Args:
        daily_sessions: by day; days that are missing have none.
    """
    daily = daily_sessions.asfreq("D", fill_value=0)
    empty = daily[daily == 0].index
    found: list[tuple[pd.Timestamp, pd.Timestamp]] = []
    for day in empty:
        around = [day + pd.Timedelta(weeks=shift) for shift in (-3, -2, -1, 1, 2, 3)]
        known = daily.reindex(around).dropna()
        usual = float(known[known > 0].median()) if (known > 0).any() else 0.0
        if stats.poisson.pmf(0, usual) > IMPOSSIBLE or day in (daily.index[0], daily.index[-1]):
            continue
        if found and found[-1][1] == day - pd.Timedelta(days=1):
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found


def outages_of(daily_kinds: pd.DataFrame, weeks: pd.DatetimeIndex) -> list[Outage]:
    """The outages within the weeks."""
    daily = daily_kinds.groupby(pd.to_datetime(daily_kinds.activity_date)).sessions.sum().sort_index()
    last = weeks[-1] + pd.Timedelta(days=6)
    return [
        Outage(first, final, (first - weeks[0]).days // 7, (final - weeks[0]).days // 7 + 1)
        for first, final in outages(daily)
        if first >= weeks[0] and final <= last
    ]


def touched(outages_found: list[Outage], panel: Panel) -> np.ndarray:
    """Whether each week has a day without recording; shape (weeks,)."""
    weeks = np.zeros(len(panel.weeks), dtype=bool)
    for each in outages_found:
        weeks[each.since : each.until] = True
    return weeks
