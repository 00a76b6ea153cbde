"""Rule 14 of the contract: the same marts, row for row, whatever the path by which the data came in.

Every path is driven through the real command path, `pipeline.plan` and `pipeline.run`, and compared with one full
load of what the source holds in the end.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest

from user_engagement_tests.support.comparing import assert_same
from user_engagement_tests.support.contract import check_contract
from user_engagement_tests.support.load_paths import (
    EARLY_EVENTS,
    EARLY_SIGNUPS,
    EVENTS_TO_COME,
    LATE_EVENTS,
    LATE_SIGNUPS,
    MONTHS,
    SIGNUPS_TO_COME,
    WORLD,
    LoadPath,
    month_of,
    with_rows,
)
from user_engagement_tests.support.oracle import Row
from user_engagement_tests.support.worlds import (
    frame_of,
    small_world,
)

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture(scope="module")
def full_path(tmp_path_factory: pytest.TempPathFactory) -> LoadPath:
    """One full load of everything."""
    path = LoadPath(tmp_path_factory.mktemp("straight"))
    path.load(WORLD, insights=True)
    return path


@pytest.fixture(scope="module")
def full_load(full_path: LoadPath) -> dict[str, pa.Table]:
    return full_path.marts(WORLD)


@pytest.fixture
def loaded_path(full_path: LoadPath, tmp_path: Path) -> LoadPath:
    """A copy of the full load, to go on from."""
    shutil.copytree(full_path.folder, tmp_path / "copy", symlinks=True)
    # the copy has its source elsewhere, which it may
    (tmp_path / "copy" / "home" / "source.json").unlink()
    return LoadPath(tmp_path / "copy")


@pytest.fixture
def new_path(tmp_path: Path) -> LoadPath:
    return LoadPath(tmp_path)


def cohort_of(marts: dict[str, pa.Table], month: date) -> list[dict[str, Any]]:
    return [
        row
        for name in ("cohort_retention", "user_lifecycle")
        for row in marts[name].to_pylist()
        if row["signup_month"] == month
    ]


def first_months(rows: Sequence[Row]) -> dict[str, date]:
    """The month of every user's earliest signup."""
    dated = [
        (str(r["user_id"]), month) for r in rows if r["user_id"] and (month := month_of(r, "signup_date"))
    ]
    return {user: min(month for other, month in dated if other == user) for user, _ in dated}


def test_a_full_load_through_the_pipeline_holds_what_the_contract_says(
    full_load: dict[str, pa.Table],
) -> None:
    check_contract(WORLD, full_load)


def test_every_row_is_accounted_for_also_before_the_first_month_and_after_the_last(
    full_load: dict[str, pa.Table],
) -> None:
    inputs = WORLD.inputs
    tables = {
        "user_signups": inputs.signups,
        "user_engagement": inputs.engagement,
        "churn_data": inputs.churn or [],
    }
    days = [str(row["engagement_date"]) for row in inputs.engagement]
    assert any(day.startswith("2022") for day in days)
    assert any(day.startswith("2024-06") for day in days)
    quality = frame_of(full_load["data_quality"]).set_index(["table_name", "reason"])["rows"]
    assert {table: quality[table, "total"] for table in tables} == {
        t: len(rows) for t, rows in tables.items()
    }
    assert quality["user_engagement", "before_signup"] > 0
    assert quality["user_engagement", "after_as_of"] > 0


def test_running_again_changes_nothing(loaded_path: LoadPath, full_load: dict[str, pa.Table]) -> None:
    loaded_path.load(WORLD)
    assert_same(loaded_path.marts(WORLD), full_load)


def test_months_loaded_on_their_own_in_any_order_equal_a_full_load(
    new_path: LoadPath, full_path: LoadPath, full_load: dict[str, pa.Table]
) -> None:
    for month in Random(3).sample(MONTHS, len(MONTHS)):
        new_path.load(WORLD, month, insights=True)
    assert_same(new_path.marts(WORLD), full_load)
    assert_same(new_path.insights(WORLD), full_path.insights(WORLD))


@pytest.mark.exhaustive
def test_late_events_need_only_their_own_month_loaded_again(
    new_path: LoadPath, full_load: dict[str, pa.Table]
) -> None:
    assert EVENTS_TO_COME
    new_path.load(with_rows(WORLD, engagement=EARLY_EVENTS))
    new_path.load(WORLD, LATE_EVENTS)
    assert_same(new_path.marts(WORLD), full_load)


@pytest.mark.exhaustive
def test_late_signups_turn_orphans_into_users_and_move_users_to_earlier_cohorts(
    new_path: LoadPath, full_load: dict[str, pa.Table]
) -> None:
    late, early = first_months(SIGNUPS_TO_COME), first_months(EARLY_SIGNUPS)
    assert any(user not in early for user in late)
    assert any(late[user] < early[user] for user in late if user in early)
    new_path.load(with_rows(WORLD, signups=EARLY_SIGNUPS))
    new_path.load(WORLD, LATE_SIGNUPS)
    assert_same(new_path.marts(WORLD), full_load)


@pytest.mark.exhaustive
def test_numbers_that_are_given_anew_take_along_what_holds_the_old_ones(
    new_path: LoadPath, full_load: dict[str, pa.Table]
) -> None:
    new_path.load(with_rows(WORLD, signups=EARLY_SIGNUPS))
    new_path.load(WORLD)
    new_path.execute(WORLD, "drop table user_level.user_numbers")
    new_path.load(WORLD, MONTHS[0])
    assert_same(new_path.marts(WORLD), full_load)


@pytest.mark.exhaustive
def test_a_late_row_among_old_ones_is_not_taken_for_their_duplicate(new_path: LoadPath) -> None:
    """A source sorted by user puts late rows between old ones, whose numbers in the file then move."""
    columns = ("user_id", "engagement_date", "session_duration", "interaction_type", "event_id")
    first, again = (
        dict(zip(columns, ("7", "2024-01-10", "60", "visit", "e1"), strict=True)) for _ in range(2)
    )
    late = dict(zip(columns, ("8", "2024-02-03", "600", "visit", "e2"), strict=True))
    signups = [{"user_id": user, "signup_date": "2024-01-05", "product_type": "basic"} for user in ("7", "8")]
    world = small_world(signups, [first, again], as_of=date(2024, 2, 29))
    new_path.load(world)
    world = with_rows(world, engagement=[first, late, again])
    new_path.load(world, MONTHS[1])
    check_contract(world, new_path.marts(world))


@pytest.mark.exhaustive
def test_only_months_whose_rows_have_changed_are_built_again_until_all_are_asked_for(
    loaded_path: LoadPath, full_load: dict[str, pa.Table]
) -> None:
    months = "select activity_month, sum(session_seconds) from user_level.active_days group by 1 order by 1"
    loaded_path.load(with_rows(WORLD, engagement=EARLY_EVENTS))
    before = dict(loaded_path.query(WORLD, months))
    # seen in no check, and lost where the month is built again
    loaded_path.execute(WORLD, "update user_level.active_days set session_seconds = session_seconds + 1")
    marked = dict(loaded_path.query(WORLD, months))
    loaded_path.load(WORLD, LATE_EVENTS)
    after = dict(loaded_path.query(WORLD, months))
    kept = {month for month in after if after[month] == marked[month] != before[month]}
    assert LATE_EVENTS not in kept
    assert len(kept) >= len(after) - 2, "late rows repeat events of one other month at most"
    loaded_path.load(WORLD, rebuild=True)
    assert_same(loaded_path.marts(WORLD), full_load)


def test_users_who_change_and_a_horizon_that_moves_back_and_forth_reach_months_that_are_not_loaded(
    new_path: LoadPath, full_load: dict[str, pa.Table]
) -> None:
    moved = {user: month for user, month in first_months(WORLD.inputs.signups).items() if month == MONTHS[2]}
    assert moved
    others = [
        {**row, "signup_date": "2024-01-02", "product_type": "other"} if row["user_id"] in moved else row
        for row in WORLD.inputs.signups
    ]
    new_path.load(with_rows(WORLD, signups=others))
    new_path.load(with_rows(WORLD, signups=others), MONTHS[0], as_of=date(2024, 2, 10))
    new_path.load(WORLD, MONTHS[2], as_of=date(2024, 3, 20))
    new_path.load(WORLD, MONTHS[0])
    assert_same(new_path.marts(WORLD), full_load)


@pytest.mark.exhaustive
def test_a_horizon_that_moves_month_by_month_ends_where_a_full_load_does(
    new_path: LoadPath, full_load: dict[str, pa.Table]
) -> None:
    new_path.load(WORLD, as_of=date(2024, 2, 29))
    new_path.load(WORLD, MONTHS[2], as_of=date(2024, 3, 31))
    new_path.load(WORLD, MONTHS[3])
    assert_same(new_path.marts(WORLD), full_load)


def test_one_partition_of_the_cohorts_repairs_exactly_that_cohort(
    loaded_path: LoadPath, full_load: dict[str, pa.Table]
) -> None:
    repaired, left = MONTHS[1], MONTHS[2]
    cohort = f"signup_month = date '{repaired}'"
    loaded_path.execute(
        WORLD,
        f"update cohorts.cohort_retention set retained_users = 999 where {cohort} and period_number = 0",
        f"delete from cohorts.cohort_retention where {cohort} and period_number = 1",
        f"insert into cohorts.cohort_retention by name "
        f"select * replace ('nobody' as segment_value) from cohorts.cohort_retention where {cohort}",
        f"update user_level.user_lifecycle set active_days = 999, lifecycle_state = 'new' where {cohort}",
        # so little that no data test objects, and enough to see that nobody touched it
        f"update cohorts.cohort_retention set ci_low = ci_low / 2 where signup_month = date '{left}'",
        f"update user_level.user_lifecycle set first_active_date = signup_date where signup_month = date '{left}'",
    )
    before = loaded_path.marts(WORLD)
    loaded_path.rebuild_cohort(WORLD, repaired)
    after = loaded_path.marts(WORLD)
    assert cohort_of(before, repaired) != cohort_of(full_load, repaired)
    assert cohort_of(after, repaired) == cohort_of(full_load, repaired)
    assert cohort_of(after, left) == cohort_of(before, left) != cohort_of(full_load, left)
    loaded_path.rebuild_cohort(WORLD, left)
    assert_same(loaded_path.marts(WORLD), full_load)
