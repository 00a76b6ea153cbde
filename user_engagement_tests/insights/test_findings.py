"""Which of several changes of the same users is told, and which follow from it: changes drawn by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from user_engagement.insights.findings import merged
from user_engagement.insights.names import (
    BEHAVIOUR,
    CHURN,
    EPISODE,
    NEW_USERS,
    RESURRECTION,
    RETENTION,
    SLOPE,
    STEP,
    USE,
)
from user_engagement.insights.scan import Change
from user_engagement.insights.shapes import Bank


def change(measure: str, shape: str, height: float, since: int = 40, t: float = 8.0) -> Change:
    """A change of all users in 60 weeks."""
    until = since + 4 if shape == EPISODE else -1
    bank = Bank(np.ones((60, 1)), np.array([shape]), np.array([since]), np.array([until]))
    return Change(measure, {}, BEHAVIOUR, t * np.sign(height), height, height / t, bank, t**2)


def told(*changes: Change) -> list[tuple[str, tuple[str, ...]]]:
    return [(each.measure, also) for each, also in merged(list(changes))]


def test_users_brought_back_in_a_burst_are_told_as_returning_and_not_as_staying() -> None:
    assert told(change(USE, STEP, 0.3), change(RESURRECTION, EPISODE, 1.0)) == [(RESURRECTION, (RETENTION,))]


@pytest.mark.parametrize("shape", [EPISODE, STEP])
def test_users_of_low_activity_who_return_stand_for_all_users_who_had_left(shape: str) -> None:
    """Who had left was mostly active on few days before: of 15 % who were brought back, they were told alone."""
    rarely_active = replace(change(USE, STEP, 1.3, t=15.0), conditions={"activity_level": "low"})
    back = change(RESURRECTION, shape, 1.3)
    assert told(rarely_active, back) == [(RESURRECTION, (RETENTION,))]
    fewer = replace(change(USE, STEP, -1.3, t=15.0), conditions={"activity_level": "low"})
    assert told(fewer, back) == [(USE, ()), (RESURRECTION, ())]


def test_users_who_return_more_from_a_week_on_date_the_slow_rise_that_follows() -> None:
    rise, back = change(USE, SLOPE, 0.3, since=36), change(RESURRECTION, STEP, 0.8)
    assert told(rise, back) == [(RESURRECTION, (RETENTION,))]


@pytest.mark.parametrize("height", [-0.3, 0.3])
def test_users_who_are_active_on_more_or_fewer_days_return_more_or_less_often_as_a_consequence(
    height: float,
) -> None:
    assert told(change(USE, STEP, height), change(RESURRECTION, STEP, height)) == [(USE, (RESURRECTION,))]


def test_users_who_leave_sooner_are_dated_by_the_surer_of_the_two_changes() -> None:
    leave, fewer = change(CHURN, STEP, 0.5, t=6.0), change(USE, STEP, -0.2, since=42)
    assert told(leave, fewer) == [(USE, (CHURN,))]
    assert told(leave, change(USE, SLOPE, -0.2)) == [(CHURN, (RETENTION,))]


def test_what_older_users_went_through_as_well_is_no_change_of_new_users() -> None:
    new, older = change(NEW_USERS, STEP, -0.3, t=6.0), change(USE, STEP, -0.3, since=42, t=12.0)
    assert told(new, older) == [(USE, (NEW_USERS,))]
    assert told(new, change(USE, STEP, -0.1, since=42, t=5.0)) == [(NEW_USERS, (RETENTION,))]
