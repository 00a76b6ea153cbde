"""What is recording, not behaviour: kinds of events that stopped, days without any event, events that came twice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from user_engagement.insights.panel import Panel

HABIT_OF = {"device_type": "main_device", "interaction_type": "interaction_type"}
"""The users' attribute that an attribute of events is named as."""
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


def outages_of(outage_days: pd.DataFrame, weeks: pd.DatetimeIndex) -> list[Outage]:
    """The outages within the weeks, each a stretch of days.

    Args:
        outage_days: one row per `outage_date`, a day without any event that the days around it all but rule out.
    """
    last = weeks[-1] + pd.Timedelta(days=6)
    days = pd.to_datetime(outage_days.outage_date).sort_values()
    days = days[(days >= weeks[0]) & (days <= last)]
    stretch = (days.diff() != pd.Timedelta(days=1)).cumsum()
    return [
        Outage(first, final, (first - weeks[0]).days // 7, (final - weeks[0]).days // 7 + 1)
        for first, final in days.groupby(stretch).agg(["min", "max"]).itertuples(index=False)
    ]


def touched(outages_found: list[Outage], panel: Panel) -> np.ndarray:
    """Whether each week has a day without recording; shape (weeks,)."""
    weeks = np.zeros(len(panel.weeks), dtype=bool)
    for each in outages_found:
        weeks[each.since : each.until] = True
    return weeks
