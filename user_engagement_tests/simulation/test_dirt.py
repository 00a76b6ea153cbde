"""Every test compares one world with itself: all switches off against one switch on."""

from __future__ import annotations

from dataclasses import fields, replace

import pandas as pd
import pytest

from user_engagement.simulation import Dirt, SimulationError
from user_engagement.simulation.dirt import FIRST_ORPHAN_ID, user_attributes
from user_engagement.simulation.population import population
from user_engagement_tests.support.simulated_worlds import CLEAN, day, events_of

END = day(119)
WORLD = replace(CLEAN, users=2_000)
SIGNED_UP = pd.Series(
    pd.Timestamp(WORLD.start) + pd.to_timedelta(population(WORLD, END).signup_day, unit="D"),
    index=population(WORLD, END).user_id,
)
COLUMNS = ["event_id", "user_id", "engagement_date", "session_duration", "interaction_type", "device_type"]


@pytest.fixture(scope="module")
def clean() -> pd.DataFrame:
    return events_of(WORLD, END)


def _with(**dirt: float) -> pd.DataFrame:
    return events_of(replace(WORLD, dirt=replace(Dirt.none(), **dirt)), END)


def _split(rows: pd.DataFrame, clean: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows whose event is in the clean world too, and the others."""
    known = rows.event_id.isin(clean.event_id)
    return rows.loc[known].reset_index(drop=True), rows.loc[~known]


def test_without_dirt_every_row_is_sound(clean: pd.DataFrame) -> None:
    assert clean.event_id.is_unique
    assert clean.notna().to_numpy().all()
    assert clean.session_duration.between(1, 86_400).all()
    assert (clean.engagement_date.dt.normalize() == clean.delivered_on).all()
    assert (clean.engagement_date >= clean.user_id.map(SIGNED_UP)).all()


def test_duplicates_deliver_the_same_row_twice_and_change_nothing_else(clean: pd.DataFrame) -> None:
    rows = _with(duplicates=0.05)
    assert (
        rows.drop_duplicates()
        .sort_values("event_id", ignore_index=True)
        .equals(clean.sort_values("event_id", ignore_index=True))
    )
    assert rows.event_id.duplicated().sum() == rows.duplicated().sum()
    assert rows.event_id.duplicated().sum() / len(clean) == pytest.approx(0.05, abs=0.005)


def test_late_rows_arrive_one_to_three_days_later_and_are_otherwise_the_same(clean: pd.DataFrame) -> None:
    rows = _with(late=0.05)
    delay = (rows.delivered_on - rows.engagement_date.dt.normalize()).dt.days
    assert set(delay) == {0, 1, 2, 3}
    assert (delay > 0).mean() == pytest.approx(0.05, abs=0.005)
    still_to_come = clean[~clean.event_id.isin(rows.event_id)]
    assert (still_to_come.engagement_date > pd.Timestamp(END) - pd.Timedelta(days=2)).all()
    both = rows.merge(clean, on="event_id", suffixes=("", "_clean"))
    assert len(both) == len(rows)
    for column in COLUMNS[1:]:
        assert both[column].equals(both[f"{column}_clean"])


def test_orphans_are_further_rows_of_users_nobody_knows(clean: pd.DataFrame) -> None:
    known, orphans = _split(_with(orphans=0.05), clean)
    assert known.equals(clean)
    assert (orphans.user_id >= FIRST_ORPHAN_ID).all()
    assert orphans.event_id.is_unique
    assert len(orphans) / len(clean) == pytest.approx(0.05, abs=0.005)
    assert (orphans.engagement_date.dt.normalize() == orphans.delivered_on).all()


def test_rows_before_signup_are_further_rows_attributed_on_the_signup_day(clean: pd.DataFrame) -> None:
    known, early = _split(_with(before_signup=0.2), clean)
    assert known.equals(clean)
    assert (early.delivered_on == early.user_id.map(SIGNED_UP)).all()
    assert set((early.delivered_on - early.engagement_date.dt.normalize()).dt.days) == {1, 2, 3}
    assert (early.engagement_date >= pd.Timestamp(WORLD.start)).all()
    active_at_signup = clean[clean.delivered_on == clean.user_id.map(SIGNED_UP)].user_id.nunique()
    assert len(early) / active_at_signup == pytest.approx(0.2, abs=0.04)


def test_absurd_durations_are_zero_negative_or_longer_than_a_day(clean: pd.DataFrame) -> None:
    rows = _with(absurd_durations=0.05)
    changed = rows.session_duration != clean.session_duration
    assert rows.drop(columns="session_duration").equals(clean.drop(columns="session_duration"))
    assert not rows.session_duration[changed].between(1, 86_400).any()
    assert changed.mean() == pytest.approx(0.05, abs=0.005)
    assert {0, -1, 86_401} <= set(rows.session_duration[changed])


def test_missing_attributes_of_rows_are_null_durations_and_devices(clean: pd.DataFrame) -> None:
    rows = _with(missing_attributes=0.05)
    always_there = ["event_id", "user_id", "engagement_date", "interaction_type", "delivered_on"]
    assert rows[always_there].equals(clean[always_there])
    for column in ("session_duration", "device_type"):
        assert rows[column].isna().mean() == pytest.approx(0.05, abs=0.005)
        told = rows[column].notna()
        assert (rows[column][told] == clean[column][told]).all()


def test_missing_attributes_of_users_are_null_or_empty() -> None:
    users = population(WORLD, END)
    recorded = user_attributes(users, Dirt(missing_attributes=0.1))
    sound = user_attributes(users, Dirt.none())
    for name, values in recorded.items():
        missing = [value in (None, "") for value in values]
        assert sum(missing) / len(users) == pytest.approx(0.1, abs=0.03)
        assert {None, ""} <= set(values)
        assert all(value == true for value, true in zip(values, sound[name], strict=True) if value)


@pytest.mark.parametrize("switch", [each.name for each in fields(Dirt)])
def test_no_other_kind_of_dirt_hides_behind_a_switch(switch: str, clean: pd.DataFrame) -> None:
    rows = _with(**{switch: 0.2})
    _, further = _split(rows, clean)
    delay = (rows.delivered_on - rows.engagement_date.dt.normalize()).dt.days
    before_signup = rows.engagement_date.dt.normalize() < rows.user_id.map(SIGNED_UP)
    found = {
        "duplicates": rows.event_id.duplicated().any(),
        "late": (delay[~before_signup] > 0).any(),
        "orphans": (further.user_id >= FIRST_ORPHAN_ID).any(),
        "before_signup": before_signup.any(),
        "absurd_durations": (~rows.session_duration.dropna().between(1, 86_400)).any(),
        "missing_attributes": rows.isna().any(axis=None),
    }
    assert {kind for kind, there in found.items() if there} == {switch}


@pytest.mark.parametrize("share", [-0.1, 0.6])
def test_a_share_of_dirt_that_cannot_be_is_refused_by_its_name(share: float) -> None:
    with pytest.raises(SimulationError, match=f"dirt.late is {share}: give a share between 0 and 0.5"):
        Dirt(late=share)
