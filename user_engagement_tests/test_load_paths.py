"""Rule 14 of the contract: the same marts, row for row, whatever the road by which the data came in.

Every road is driven through the real command path, `pipeline.plan` and `pipeline.run`, and compared with one full
load of what the source holds in the end.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pyarrow as pa
import pytest

from user_engagement.code_location import build_definitions
from user_engagement.insights.tables import TABLES as INSIGHTS
from user_engagement.instance.home import open_instance
from user_engagement.partitions import Months
from user_engagement.pipeline import plan, run
from user_engagement.settings import Settings
from user_engagement.warehouse import open_warehouse
from user_engagement.warehouse.duckdb.warehouse import DuckDBWarehouse
from user_engagement_tests.support.oracle import Row, moment_of
from user_engagement_tests.support.worlds import (
    World,
    at_home,
    crowded_world,
    exported,
    frame_of,
    small_world,
)
from user_engagement_tests.test_marts_against_oracle import check_contract

MONTHS = tuple(date(2024, month, 1) for month in (1, 2, 3, 4))
LATE_EVENTS, LATE_SIGNUPS = MONTHS[2], MONTHS[1]
COHORT_ASSETS = [
    dg.AssetKey(["cohorts", name]) for name in ("user_history", "cohort_retention", "user_lifecycle")
]

pytestmark = pytest.mark.slow


SCATTERED = crowded_world(seed=2)


def month_of(row: Row, column: str) -> date | None:
    """The month of a row's calendar day, which its text may not begin with: an offset can move it."""
    moment = moment_of(str(row[column]), ZoneInfo(SCATTERED.inputs.timezone))
    return moment.date().replace(day=1) if moment else None


def split(rows: Sequence[Row], column: str, month: date) -> tuple[list[Row], list[Row]]:
    """Rows that are there from the start, and half of a month's, which arrive late."""
    random = Random(5)
    late = [row for row in rows if month_of(row, column) == month and random.random() < 0.5]
    return [row for row in rows if not any(row is other for other in late)], late


def with_rows(world: World, **tables: Sequence[Row]) -> World:
    return replace(world, inputs=replace(world.inputs, **tables))


EARLY_EVENTS, EVENTS_TO_COME = split(SCATTERED.inputs.engagement, "engagement_date", LATE_EVENTS)
EARLY_SIGNUPS, SIGNUPS_TO_COME = split(SCATTERED.inputs.signups, "signup_date", LATE_SIGNUPS)
# the source in the end: what arrives late stands last in its file
WORLD = with_rows(
    SCATTERED, engagement=[*EARLY_EVENTS, *EVENTS_TO_COME], signups=[*EARLY_SIGNUPS, *SIGNUPS_TO_COME]
)


@dataclass
class Road:
    """A pipeline with a home and a source of its own; each load may find the source changed."""

    folder: Path

    def settings(self, world: World, **overrides: Any) -> Settings:
        return world.settings(self.folder / "home", self.folder / "source", **overrides)

    def load(self, world: World, month: date | None = None, **overrides: Any) -> None:
        """Loads what the source holds now: one month of it, or all."""
        shutil.rmtree(self.folder / "source", ignore_errors=True)
        world.write(self.folder / "source")
        with at_home(self.folder / "home"):
            settings = self.settings(world, start=month, end=month, **overrides)
            run(settings, plan(settings))

    def rebuild_cohort(self, world: World, month: date) -> None:
        """One partition of the cohort assets alone, as somebody asks for it in the UI."""
        with at_home(self.folder / "home"):
            settings = self.settings(world)
            job = build_definitions(settings).resolve_job_def("refresh_cohorts")
            with open_instance(settings) as instance:
                tags = Months(month, month).tags()
                assert job.execute_in_process(
                    instance=instance, tags=tags, asset_selection=COHORT_ASSETS
                ).success

    def execute(self, world: World, *statements: str) -> None:
        settings = self.settings(world)
        with DuckDBWarehouse.of(settings).connect() as connection:
            for statement in statements:
                connection.execute(statement)

    def marts(self, world: World) -> dict[str, pa.Table]:
        with at_home(self.folder / "home"):
            return exported(self.settings(world), self.folder / "marts")

    def insights(self, world: World) -> dict[str, pa.Table]:
        """Without the numbers of users, which the order of loading gives them."""
        with at_home(self.folder / "home"), open_warehouse(self.settings(world)).reader() as reader:
            tables = {name: reader.ordered("insights", name).read_all() for name in INSIGHTS}
        return {
            name: table.drop_columns(set(table.column_names) & {"user_number"})
            for name, table in tables.items()
        }


@pytest.fixture(scope="module")
def straight_road(tmp_path_factory: pytest.TempPathFactory) -> Road:
    """One full load of everything."""
    road = Road(tmp_path_factory.mktemp("straight"))
    road.load(WORLD, insights=True)
    return road


@pytest.fixture(scope="module")
def full_load(straight_road: Road) -> dict[str, pa.Table]:
    return straight_road.marts(WORLD)


@pytest.fixture
def loaded_road(straight_road: Road, tmp_path: Path) -> Road:
    """A copy of the full load, to go on from."""
    shutil.copytree(straight_road.folder, tmp_path / "copy", symlinks=True)
    return Road(tmp_path / "copy")


@pytest.fixture
def new_road(tmp_path: Path) -> Road:
    return Road(tmp_path)


def assert_same(found: dict[str, pa.Table], wanted: dict[str, pa.Table]) -> None:
    """Row for row and to the last bit."""
    assert list(found) == list(wanted)
    lines = [line for name in wanted for line in changed_rows(name, found[name], wanted[name])]
    assert not lines, "\n".join([f"{len(lines)} rows", *lines[:30]])


def changed_rows(name: str, found: pa.Table, wanted: pa.Table) -> Iterator[str]:
    if found.schema != wanted.schema:
        yield f"{name}: columns {found.schema} instead of {wanted.schema}"
    elif not found.equals(wanted):
        here, there = ({str(row) for row in table.to_pylist()} for table in (found, wanted))
        yield from (f"{name}: has {row}" for row in sorted(here - there))
        yield from (f"{name}: lacks {row}" for row in sorted(there - here))


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


def test_running_again_changes_nothing(loaded_road: Road, full_load: dict[str, pa.Table]) -> None:
    loaded_road.load(WORLD)
    assert_same(loaded_road.marts(WORLD), full_load)


def test_months_loaded_on_their_own_in_any_order_equal_a_full_load(
    new_road: Road, straight_road: Road, full_load: dict[str, pa.Table]
) -> None:
    for month in Random(3).sample(MONTHS, len(MONTHS)):
        new_road.load(WORLD, month, insights=True)
    assert_same(new_road.marts(WORLD), full_load)
    assert_same(new_road.insights(WORLD), straight_road.insights(WORLD))


def test_late_events_need_only_their_own_month_loaded_again(
    new_road: Road, full_load: dict[str, pa.Table]
) -> None:
    assert EVENTS_TO_COME
    new_road.load(with_rows(WORLD, engagement=EARLY_EVENTS))
    new_road.load(WORLD, LATE_EVENTS)
    assert_same(new_road.marts(WORLD), full_load)


def test_late_signups_turn_orphans_into_users_and_move_users_to_earlier_cohorts(
    new_road: Road, full_load: dict[str, pa.Table]
) -> None:
    late, early = first_months(SIGNUPS_TO_COME), first_months(EARLY_SIGNUPS)
    assert any(user not in early for user in late)
    assert any(late[user] < early[user] for user in late if user in early)
    new_road.load(with_rows(WORLD, signups=EARLY_SIGNUPS))
    new_road.load(WORLD, LATE_SIGNUPS)
    assert_same(new_road.marts(WORLD), full_load)


@pytest.mark.exhaustive
def test_numbers_that_are_given_anew_take_along_what_holds_the_old_ones(
    new_road: Road, full_load: dict[str, pa.Table]
) -> None:
    new_road.load(with_rows(WORLD, signups=EARLY_SIGNUPS))
    new_road.load(WORLD)
    new_road.execute(WORLD, "drop table lookups.user_numbers")
    new_road.load(WORLD, MONTHS[0])
    assert_same(new_road.marts(WORLD), full_load)


def test_a_late_row_among_old_ones_is_not_taken_for_their_duplicate(new_road: Road) -> None:
    """A source sorted by user puts late rows between old ones, whose numbers in the file then move."""
    columns = ("user_id", "engagement_date", "session_duration", "interaction_type", "event_id")
    first, again = (
        dict(zip(columns, ("7", "2024-01-10", "60", "visit", "e1"), strict=True)) for _ in range(2)
    )
    late = dict(zip(columns, ("8", "2024-02-03", "600", "visit", "e2"), strict=True))
    signups = [{"user_id": user, "signup_date": "2024-01-05", "product_type": "basic"} for user in ("7", "8")]
    world = small_world(signups, [first, again], as_of=date(2024, 2, 29))
    new_road.load(world)
    world = with_rows(world, engagement=[first, late, again])
    new_road.load(world, MONTHS[1])
    check_contract(world, new_road.marts(world))


@pytest.mark.exhaustive
def test_a_horizon_that_moves_month_by_month_ends_where_a_full_load_does(
    new_road: Road, full_load: dict[str, pa.Table]
) -> None:
    new_road.load(WORLD, as_of=date(2024, 2, 29))
    new_road.load(WORLD, MONTHS[2], as_of=date(2024, 3, 31))
    new_road.load(WORLD, MONTHS[3])
    assert_same(new_road.marts(WORLD), full_load)


def test_one_partition_of_the_cohorts_repairs_exactly_that_cohort(
    loaded_road: Road, full_load: dict[str, pa.Table]
) -> None:
    repaired, left = MONTHS[1], MONTHS[2]
    cohort = f"signup_month = date '{repaired}'"
    loaded_road.execute(
        WORLD,
        f"update cohorts.cohort_retention set retained_users = 999 where {cohort} and period_number = 0",
        f"delete from cohorts.cohort_retention where {cohort} and period_number = 1",
        f"insert into cohorts.cohort_retention by name "
        f"select * replace ('nobody' as segment_value) from cohorts.cohort_retention where {cohort}",
        f"update cohorts.user_lifecycle set active_days = 999, lifecycle_state = 'new' where {cohort}",
        # so little that no data test objects, and enough to see that nobody touched it
        f"update cohorts.cohort_retention set ci_low = ci_low / 2 where signup_month = date '{left}'",
        f"update cohorts.user_lifecycle set first_active_date = signup_date where signup_month = date '{left}'",
    )
    before = loaded_road.marts(WORLD)
    loaded_road.rebuild_cohort(WORLD, repaired)
    after = loaded_road.marts(WORLD)
    assert cohort_of(before, repaired) != cohort_of(full_load, repaired)
    assert cohort_of(after, repaired) == cohort_of(full_load, repaired)
    assert cohort_of(after, left) == cohort_of(before, left) != cohort_of(full_load, left)
    loaded_road.rebuild_cohort(WORLD, left)
    assert_same(loaded_road.marts(WORLD), full_load)
