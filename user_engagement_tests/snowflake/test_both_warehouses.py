"""Both warehouses hold the same marts, row for row, whatever the path: runs of the real pipeline, Dagster included."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from dagster._core.test_utils import environ

from user_engagement.assets.insights import schema_of_table
from user_engagement.insights.tables import TABLES as INSIGHTS
from user_engagement.pipeline import RunFailedError, plan, run
from user_engagement.settings import Settings, load_settings
from user_engagement.warehouse import open_warehouse
from user_engagement.warehouse.schemas import NAMING_USERS, SCHEMAS
from user_engagement_tests.support.company import THROUGH
from user_engagement_tests.support.comparing import assert_same_marts
from user_engagement_tests.support.earlier_version import former_places
from user_engagement_tests.support.load_paths import (
    EARLY_EVENTS,
    LATE_EVENTS,
    MONTHS,
    WORLD,
    LoadPath,
    with_rows,
)
from user_engagement_tests.support.proxy import Cut, cut_wire
from user_engagement_tests.support.snowflake import PASSWORD, Snowflake
from user_engagement_tests.support.worlds import World, exported

pytestmark = [pytest.mark.slow, pytest.mark.long]

EARLY = with_rows(WORLD, engagement=EARLY_EVENTS)


class SnowflakePath(LoadPath):
    """The same, with the tables in Snowflake."""

    def settings(self, world: World, **overrides: Any) -> Settings:
        return super().settings(world, warehouse="snowflake", **overrides)


def insights_of(settings: Settings) -> dict[str, pa.Table]:
    with open_warehouse(settings).reader() as reader:
        return {name: reader.ordered(schema_of_table(name), name).read_all() for name in INSIGHTS}


def marts_of_run(settings: Settings, folder: Path) -> dict[str, pa.Table]:
    with environ({"USER_ENGAGEMENT_HOME": str(settings.home)}):
        run(settings, plan(settings))
        return exported(settings, folder)


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    """The marts of the world, loaded at once into DuckDB."""
    embedded = LoadPath(tmp_path_factory.mktemp("embedded"))
    embedded.load(WORLD)
    return embedded.marts(WORLD)


@pytest.mark.exhaustive
def test_every_road_ends_where_it_ends_in_duckdb(
    snowflake: Snowflake, wanted: dict[str, pa.Table], tmp_path: Path
) -> None:
    """A first load under an earlier horizon, all of it again, late events with their month alone, a cohort rebuilt.

    The world is full of dirt. When the late events come, the answer to an INSERT of dbt is lost, and the connector
    sends it again: the emulator runs it a second time. dbt leaves the failed transaction open in a session that it
    goes on using, and Snowflake commits what is open when the next table is created: the window must stay as it was.
    """
    embedded, path = LoadPath(tmp_path / "duckdb"), SnowflakePath(tmp_path / "snowflake")
    embedded.load(EARLY)
    path.load(replace(EARLY, inputs=replace(EARLY.inputs, as_of=MONTHS[3])))
    path.load(EARLY)
    assert_same_marts(path.marts(EARLY), embedded.marts(EARLY))

    counted = "select count(*), sum(sessions) from user_level.user_days"
    before = snowflake.rows(counted)
    cut = Cut("insert into " + snowflake.database.lower() + ".user_level.user_days ", "after")
    with (
        cut_wire(snowflake.emulator.port, cut) as port,
        environ({"SNOWFLAKE_PORT": str(port)}),
        pytest.raises(RunFailedError, match="the window of user_days was not replaced once"),
    ):
        path.load(WORLD, LATE_EVENTS)
    assert cut.made == 1
    assert snowflake.rows(counted) == before
    path.load(WORLD, LATE_EVENTS)
    assert_same_marts(path.marts(WORLD), wanted)

    cohort = f"signup_month = '{MONTHS[1]}'"
    snowflake.rows(f"update cohorts.cohort_retention set retained_users = 999 where {cohort}")
    snowflake.rows(f"delete from user_level.user_lifecycle where {cohort}")
    path.rebuild_cohort(WORLD, MONTHS[1])
    assert_same_marts(path.marts(WORLD), wanted)


@pytest.mark.exhaustive
def test_an_account_of_an_earlier_version_goes_on_with_the_rows_it_has(
    snowflake: Snowflake, wanted: dict[str, pa.Table], tmp_path: Path
) -> None:
    """User-level tables were in the schemas of aggregated ones; one month alone is loaded after the upgrade."""
    path = SnowflakePath(tmp_path)
    path.load(EARLY)
    places = former_places(path.settings(EARLY))
    columns = f"select table_name, column_name from {snowflake.database}.information_schema.columns"
    held = snowflake.rows(
        f"{columns} where table_schema = 'USER_LEVEL' and table_name <> 'USER_ACTIVITY_DAILY'"
    )
    for name in sorted({row[0].lower() for row in held}):
        former = places[f"user_level.{name}"]
        snowflake.rows(f"create transient table {former} as select * from user_level.{name}")
        if (name.upper(), "USER_NUMBER") in held:
            # so that these rows can be told from new ones
            snowflake.rows(f"update {former} set user_number = user_number + 1000")
        snowflake.rows(f"drop table user_level.{name}")
    snowflake.rows("create view marts.user_activity_daily as select user_id from lookups.user_numbers")
    path.load(WORLD, LATE_EVENTS)
    assert_same_marts(path.marts(WORLD), wanted)
    assert snowflake.rows("select min(user_number) > 1000 from user_level.user_numbers") == [(True,)]
    schemas = ", ".join(f"'{schema.upper()}'" for schema in set(SCHEMAS) - set(NAMING_USERS))
    assert (
        snowflake.rows(
            f"{columns} where column_name in ('USER_ID', 'USER_NUMBER') and table_schema in ({schemas})"
        )
        == []
    )


@pytest.mark.exhaustive
def test_classroom_files_give_the_same_marts(snowflake: Snowflake, tmp_path: Path) -> None:
    """A learner's row a day, durations to the millisecond, repeated signups and cancellations of the same day."""
    source, newest = tmp_path / "source", date(2015, 3, 31)
    write_classroom(source, newest)
    found = {
        warehouse: marts_of_run(
            load_settings(
                home=tmp_path / warehouse,
                warehouse=warehouse,
                source="files",
                source_path=str(source),
                as_of=newest,
                segments=("product_type", "status"),
            ),
            tmp_path / f"marts_{warehouse}",
        )
        for warehouse in ("duckdb", "snowflake")
    }
    assert_same_marts(found["snowflake"], found["duckdb"])


def write_classroom(folder: Path, through: date) -> None:
    """Three CSV files of 80 learners who enrolled from November 2014 on."""
    random = Random(3)
    first = date(2014, 11, 3)
    signups, engagement, churn = ["user_id,signup_date,product_type,status"], [], []
    for learner in range(80):
        joined = first + timedelta(random.randrange(90))
        kind = random.choice(["nanodegree", "nanodegree", "test_account"])
        for day in sorted(
            random.choices([joined, joined + timedelta(random.randrange(60))], k=random.choice([1, 1, 2]))
        ):
            left = day + timedelta(random.choice([0, 5, 40, 99])) if random.random() < 0.6 else None
            signups.append(f"{learner},{day},{kind},{'canceled' if left else 'current'}")
            churn += [f"{learner},{left}"] if left and left <= through else []
        for n in range((through - joined).days + 1):
            if random.random() < 0.35 / (1 + n / 40):
                seconds = random.choice([0, round(random.expovariate(1 / 2000), 3)])
                engagement.append(f"{learner},{joined + timedelta(n)},{seconds},visit")
    folder.mkdir(exist_ok=True)
    (folder / "user_signups.csv").write_text("\n".join(signups) + "\n")
    header = "user_id,engagement_date,session_duration,interaction_type"
    (folder / "user_engagement.csv").write_text("\n".join([header, *engagement]) + "\n")
    (folder / "churn_data.csv").write_text("\n".join(["user_id,churn_date", *churn]) + "\n")


def test_a_simulated_company_has_the_same_marts_and_insights_in_both_under_a_prefix_and_no_secret_leaks(
    snowflake: Snowflake, company: Path, tmp_path: Path
) -> None:
    embedded, hosted = (
        load_settings(
            home=tmp_path / warehouse,
            warehouse=warehouse,
            source="files",
            source_path=str(company),
            as_of=THROUGH,
            insights=True,
        )
        for warehouse in ("duckdb", "snowflake")
    )
    with environ({"SNOWFLAKE_SCHEMA_PREFIX": "dev_"}):
        found = marts_of_run(hosted, tmp_path / "found")
        explained = insights_of(hosted)
        schemas = {row[1] for row in snowflake.rows(f"show schemas in database {snowflake.database}")}
    assert_same_marts(found, marts_of_run(embedded, tmp_path / "wanted"))
    assert_same_marts(explained, insights_of(embedded))
    assert {"DEV_RAW", "DEV_MARTS"} <= schemas
    assert not schemas & {"RAW", "MARTS"}
    files = [file for file in hosted.home.rglob("*") if file.is_file()]
    assert any(file.name == "manifest.json" for file in files)
    assert [str(file) for file in files if PASSWORD.encode() in file.read_bytes()] == []
