"""Ways by which the same rows can come into the warehouse."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pyarrow as pa

from user_engagement.assets.insights import schema_of_table
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
)

MONTHS = tuple(date(2024, month, 1) for month in (1, 2, 3, 4))
LATE_EVENTS, LATE_SIGNUPS = MONTHS[2], MONTHS[1]
COHORT_ASSETS = [
    dg.AssetKey(["cohorts", name]) for name in ("user_history", "cohort_retention", "user_lifecycle")
]

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
class LoadPath:
    """A pipeline with a home and a source of its own; each load may find the source changed."""

    folder: Path

    def settings(self, world: World, **overrides: Any) -> Settings:
        return world.settings(self.folder / "home", self.folder / "source", **overrides)

    def load(self, world: World, month: date | None = None, rebuild: bool = False, **overrides: Any) -> None:
        """Loads what the source holds now: one month of it, or all."""
        shutil.rmtree(self.folder / "source", ignore_errors=True)
        world.write(self.folder / "source")
        with at_home(self.folder / "home"):
            settings = self.settings(world, start=month, end=month, **overrides)
            run(settings, plan(settings, rebuild=rebuild))

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

    def query(self, world: World, statement: str) -> list[tuple[Any, ...]]:
        with DuckDBWarehouse.of(self.settings(world)).connect() as connection:
            return connection.execute(statement).fetchall()

    def marts(self, world: World) -> dict[str, pa.Table]:
        with at_home(self.folder / "home"):
            return exported(self.settings(world), self.folder / "marts")

    def insights(self, world: World) -> dict[str, pa.Table]:
        """Without the numbers of users, which the order of loading gives them."""
        with at_home(self.folder / "home"), open_warehouse(self.settings(world)).reader() as reader:
            tables = {name: reader.ordered(schema_of_table(name), name).read_all() for name in INSIGHTS}
        return {
            name: table.drop_columns(set(table.column_names) & {"user_number"})
            for name, table in tables.items()
        }
