"""What is recording, not behaviour: kinds of events that stopped, days without any event, events that came twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.core.groupby import DataFrameGroupBy

from user_engagement.insights.names import DAYS, PEOPLE

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
    """Days without any event, and the weeks (from, before) that they touch.

    Attributes:
        days: the lost days in order. missing: mean and standard deviation of what each week of the outage lost, by
            what is counted; each of shape (2, until - since).
    """

    days: tuple[pd.Timestamp, ...]
    since: int
    until: int
    missing: Mapping[str, NDArray[np.float64]]


def vanished_of(vanished_kinds: pd.DataFrame, weeks: pd.DatetimeIndex) -> list[Vanished]:
    return [
        Vanished(HABIT_OF[row.attribute], row.value, (pd.Timestamp(row.vanished_week) - weeks[0]).days // 7)
        for row in vanished_kinds.itertuples()
    ]


def outages_of(
    outage_days: pd.DataFrame, outage_weeks: pd.DataFrame, weeks: pd.DatetimeIndex
) -> tuple[Outage, ...]:
    """The outages within the weeks: days that follow each other, or that lie in one week.

    Args:
        outage_days: one row per `outage_date`, a day without any event that the days around it all but rule out.
        outage_weeks: one row per `week_start` of an outage and `compared_week`: what the lost days brought there.
    """
    last = weeks[-1] + pd.Timedelta(days=6)
    days = pd.to_datetime(outage_days.outage_date).sort_values()
    days = days[(days >= weeks[0]) & (days <= last)]
    week = (days - weeks[0]).dt.days // 7
    is_new = (days.diff() != pd.Timedelta(days=1)) & (week.diff() != 0)
    compared = outage_weeks.groupby(pd.to_datetime(outage_weeks.week_start))
    return tuple(
        Outage(tuple(lost), since, until, _missing(compared, weeks[since:until]))
        for lost, since, until in (
            (lost, week[lost.index[0]], week[lost.index[-1]] + 1) for _, lost in days.groupby(is_new.cumsum())
        )
    )


def _missing(compared: DataFrameGroupBy, weeks: pd.DatetimeIndex) -> dict[str, NDArray[np.float64]]:
    """Of each count its mean and standard deviation; 0 where there is nothing to compare a week with."""
    return {
        count: compared[count].agg(["mean", "std"]).reindex(weeks).fillna(0.0).to_numpy(float).T
        for count in (DAYS, PEOPLE)
    }
