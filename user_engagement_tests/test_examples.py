"""The examples work as their pages say, in a copy of the folder as a team would have it."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from user_engagement import build_definitions, pipeline
from user_engagement.automation.delivery import Alert, delivery_of
from user_engagement.dashboard.blocks import Cards
from user_engagement.dashboard.contents import overview, quality
from user_engagement.dashboard.data import open_generation
from user_engagement.dashboard.view import View
from user_engagement.errors import SettingsError
from user_engagement.settings import PREFIX, PROJECT_ROOT, Settings, load_settings
from user_engagement_tests.support.company import EXTRAS, THROUGH
from user_engagement_tests.support.worlds import at_home

BIN = Path(sys.executable).parent

pytestmark = [pytest.mark.slow, pytest.mark.long]

MATERIALIZE = """
import dagster as dg
from definitions import defs

dg.Definitions.validate_loadable(defs)
months = {"dagster/asset_partition_range_start": "2025-01-01", "dagster/asset_partition_range_end": "2025-04-01"}
with dg.DagsterInstance.ephemeral() as instance:
    for job, tags in (("everything", {}), ("engagement__everything", months)):
        assert defs.resolve_job_def(job).execute_in_process(instance=instance, tags=tags).success
    repository = defs.get_repository_def()
    for sensor in ("engagement__new_source_data", "engagement__cohorts_follow_activity"):
        with dg.build_sensor_context(instance, repository_def=repository) as context:
            print(repository.get_sensor_def(sensor)(context).skip_message)
groups = {spec.group_name for spec in defs.resolve_all_asset_specs()}
print(sorted(groups))
"""


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    return shutil.copytree(PROJECT_ROOT / "examples", tmp_path / "examples")


def run(command: list[str], folder: Path, **variables: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT_ROOT), "PWD": str(folder), **variables}
    environment["PATH"] = f"{BIN}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def rows(file: Path, query: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(file), read_only=True) as connection:
        return connection.execute(query).fetchall()


def test_a_team_merges_the_pipeline_into_a_code_location_that_has_a_dbt_project_of_its_own(
    examples: Path,
) -> None:
    team = examples / "team_dagster"
    shown = run([sys.executable, "-c", MATERIALIZE], team)
    groups = shown.splitlines()[-1]
    assert "'engagement__marts'" in groups
    assert "'marts'" not in groups
    assert "nothing has changed" in shown
    assert "all are up to date" in shown, "sensors find the events of prefixed assets"
    warehouse = team / "state" / "warehouse.duckdb"
    segments = rows(warehouse, "select distinct segment_name from marts.churn_monthly order by all")
    assert segments == [("all",), ("country",), ("product_type",)], "segments set in code reach dbt"
    assert rows(team / "shop_dbt" / "shop.duckdb", "select orders from orders_daily") == [(1,)]
    assert not (team / ".user_engagement").exists(), "the home set in code is the only one"
    assert (team / "state" / "published" / "current" / "kpi_summary.parquet").exists()


@pytest.mark.exhaustive
def test_dbt_by_hand_builds_in_the_home_of_the_checkout_with_the_segments_of_the_pipeline(
    settings_for: Callable[..., Settings], tmp_path: Path
) -> None:
    checkout = tmp_path / "checkout"
    project = checkout / "user_engagement_dbt"
    shutil.copytree(PROJECT_ROOT / "user_engagement_dbt", project)
    settings = settings_for(home=checkout / ".user_engagement", as_of=None)
    pipeline.run(settings, pipeline.plan(settings))
    query = "select distinct segment_name from marts.churn_monthly order by all"
    before = rows(settings.warehouse_file, query)
    unset = {name: value for name, value in os.environ.items() if not name.startswith("USER_ENGAGEMENT_")}
    command = [str(BIN / "dbt"), "build", "--select", "segment_values churn_monthly", "--quiet"]
    for folder, more in ((checkout, ["--project-dir", "user_engagement_dbt"]), (project, [])):
        done = subprocess.run(
            [*command, *more, "--profiles-dir", str(project)],
            cwd=folder,
            env={**unset, "PWD": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        assert rows(settings.warehouse_file, query) == before
    assert len(before) == 4
    assert not (project / ".user_engagement").exists()


@pytest.mark.exhaustive
def test_dg_finds_the_definitions_of_the_checkout(tmp_path: Path) -> None:
    home = {"USER_ENGAGEMENT_HOME": str(tmp_path / "home")}
    assert "All definitions loaded successfully." in run(
        [str(BIN / "dg"), "check", "defs"], PROJECT_ROOT, **home
    )


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory, company: Path) -> Settings:
    """The settings of a home whose pipeline has run with the models of the example."""
    folder = tmp_path_factory.mktemp("extended")
    models = shutil.copytree(PROJECT_ROOT / "examples" / "extensions" / "models", folder / "models")
    with at_home(folder / "home"):
        settings = load_settings(
            home=folder / "home", source="files", source_path=str(company), as_of=THROUGH, models=models
        )
        pipeline.run(settings, pipeline.plan(settings))
    return settings


def test_a_mart_of_a_team_is_built_tested_published_exported_and_shown(
    extended: Settings, tmp_path: Path
) -> None:
    expected = rows(
        extended.warehouse_file,
        "select signup_month, period_number, 10.0 * retained_users from cohorts.cohort_retention"
        " where segment_name = 'all' and period_kind = 'relative_month' order by all",
    )
    assert len(expected) > 10
    graph = build_definitions(extended).resolve_asset_graph()
    names = {key.name for key in graph.asset_check_keys if key.asset_key.path[-1] == "revenue_retention"}
    assert any("unique_grain" in name for name in names)
    generation = open_generation(extended.published_dir)
    assert "revenue_retention" in quality.page(View(generation)).tables
    columns = ["signup_month", "period_number", "revenue"]
    found = pd.read_parquet(generation.folder / "revenue_retention.parquet")[columns]
    assert sorted(found.itertuples(index=False, name=None)) == expected
    assert extended.models
    changed = {p.name for p in extended.models.rglob("*") if p.is_file()} ^ {
        p.name for p in (PROJECT_ROOT / "examples" / "extensions" / "models").rglob("*") if p.is_file()
    }
    assert changed == set(), "dbt writes nothing beside a team's models"
    assert "{{ ref(" in (extended.models / "marts" / "revenue_retention.sql").read_text()
    assert rows(extended.warehouse_file, "select count(*) from marts.heavy_users")[0][0]
    assert not generation.has("heavy_users"), "rows of users stay in the warehouse"
    exported = run(
        [str(BIN / "user-engagement"), "export", "out", "--format", "csv"],
        tmp_path,
        USER_ENGAGEMENT_HOME=str(extended.home),
    )
    assert "revenue_retention.csv" in exported
    assert "heavy_users.csv" not in exported


def test_a_mart_of_a_team_reads_a_table_of_its_own_anew_when_marts_are_rebuilt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    payments = Path(shutil.copy(PROJECT_ROOT / "examples" / "payments" / "payments.csv", tmp_path))
    monkeypatch.setenv("TEAM_PAYMENTS", str(payments))
    values = {name.removeprefix(PREFIX).lower(): value for name, value in EXTRAS.items()}
    with at_home(tmp_path / "home"):
        settings = load_settings(
            home=tmp_path / "home",
            source="files",
            source_path=str(PROJECT_ROOT / "examples" / "sample"),
            models=PROJECT_ROOT / "examples" / "payments" / "models",
            **values,
        )

        def revenue() -> list[tuple[object, ...]]:
            columns = ["signup_month", "month", "paying_users", "revenue"]
            mart = open_generation(settings.published_dir).frame("revenue_by_cohort")[columns]
            days = mart.assign(**{name: mart[name].dt.date for name in columns[:2]})
            return sorted(days.itertuples(index=False, name=None))

        pipeline.run(settings, pipeline.plan(settings))
        january, february, march = (date(2025, month, 1) for month in (1, 2, 3))
        expected = [
            (january, january, 2, 35),
            (january, february, 3, 40),
            (february, february, 1, 40),
            (february, march, 1, 40),
        ]
        assert revenue() == expected
        with payments.open("a") as file:
            file.write("69,2025-03-03,2\n")
        assert pipeline.plan(settings).cohorts is None, "payments are not part of the source"
        pipeline.run(settings, pipeline.plan(settings, rebuild=True))
        assert revenue() == [*expected[:-1], (february, march, 1, 42)]


def test_a_kpi_of_a_team_is_one_file_and_shown_with_the_others(extended: Settings) -> None:
    generation = open_generation(extended.published_dir)
    kpis = generation.frame("kpi_summary").sort_values("position")
    days = pd.DataFrame(
        rows(
            extended.warehouse_file,
            "select user_id from user_level.user_activity_daily "
            "where date_trunc('month', activity_date) = '2025-04-01'",
        )
    )
    active_days = days.value_counts()
    last = kpis.iloc[-1]
    assert (last.kpi, last.label) == ("heavy_user_share", "Heavy users")
    assert last.value == (active_days >= 10).mean()
    assert (last.numerator, last.denominator) == ((active_days >= 10).sum(), len(active_days))
    (cards,) = (block for block in overview.page(View(generation)).blocks if isinstance(block, Cards))
    assert cards.cards[-1].definition.startswith("Users with ten active days or more")


def test_interactions_in_groups_of_a_team_are_a_mart(extended: Settings) -> None:
    found = rows(
        extended.warehouse_file,
        "select interaction_group, sum(sessions) from marts.interaction_groups group by all",
    )
    total = "select sum(sessions + excluded_sessions) from marts.session_metrics where month is null"
    assert {name for name, _ in found} == {"making", "reading", "other"}
    assert [(sum(sessions for _, sessions in found),)] == rows(extended.warehouse_file, total)


SHOW_PAGE = """
from streamlit.testing.v1 import AppTest
from user_engagement.dashboard import app

shown = AppTest.from_file(app.__file__, default_timeout=60)
shown.query_params["page"] = "interactions"
shown.run()
assert not shown.exception, shown.exception
print("\\n".join(element.proto.body for element in shown.get("html")))
"""


def test_a_page_of_a_team_is_shown_in_the_dashboard(extended: Settings, installed_extensions: Path) -> None:
    paths = f"{PROJECT_ROOT}{os.pathsep}{installed_extensions}"
    shown = run(
        [sys.executable, "-c", SHOW_PAGE],
        installed_extensions,
        USER_ENGAGEMENT_HOME=str(extended.home),
        PYTHONPATH=paths,
    )
    assert '<h1 class="ue-page-title">Interactions</h1>' in shown
    assert "of all sessions" in shown


BUILD_PACKAGE = """
from dbt.cli.main import dbtRunner

for command in (["deps"], ["build", "--select", "package:team"]):
    done = dbtRunner().invoke([*command, "--profiles-dir", "."])
    assert done.success, done.exception
"""


def test_a_dbt_project_of_a_team_builds_on_the_models_as_a_package(
    extended: Settings, examples: Path
) -> None:
    shutil.copytree(PROJECT_ROOT / "user_engagement_dbt", examples.parent / "user_engagement_dbt")
    team = examples / "team_dbt"
    for command in (["deps"], ["build", "--select", "package:team"]):
        run(
            [str(BIN / "dbt"), *command, "--profiles-dir", "."], team, USER_ENGAGEMENT_HOME=str(extended.home)
        )
    by_quarter = "select sum(churned_users) from main_team.churn_quarterly where segment_name = 'all'"
    users = "select count(declared_churn_date) from user_level.user_lifecycle"
    assert rows(extended.warehouse_file, by_quarter) == rows(extended.warehouse_file, users)


@pytest.fixture
def installed_extensions(examples: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example's package as pip leaves it: its module and its entry points on the path."""
    folder = examples / "extensions"
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    information = folder / "team_extensions-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    groups = project["entry-points"].items()
    (information / "entry_points.txt").write_text(
        "\n".join(
            f"[{group}]\n" + "\n".join(f"{k} = {v}" for k, v in names.items()) for group, names in groups
        )
    )
    monkeypatch.syspath_prepend(folder)
    return folder


def test_a_source_kind_a_segment_from_another_table_and_an_alert_channel_of_a_team(
    settings_for: Callable[..., Settings], installed_extensions: Path, company: Path, tmp_path: Path
) -> None:
    app = tmp_path / "app.sqlite"
    tables = ("user_signups", "user_engagement", "churn_data")
    frames = {name: pd.read_parquet(company / f"{name}.parquet") for name in tables}
    signups = frames["user_signups"].rename(columns={"user_id": "customer", "signup_date": "joined_at"})
    with closing(sqlite3.connect(app)) as connection:
        signups.to_sql("customers", connection, index=False)
        pd.DataFrame({"customer": signups.customer.dropna().unique(), "plan": "free"}).assign(
            plan=lambda each: each.plan.where(each.customer.astype("int64") % 2 == 0, "paid")
        ).to_sql("accounts", connection, index=False)
        connection.execute(
            "create view customers_with_plan as"
            " select customers.*, accounts.plan from customers left join accounts using (customer)"
        )
        frames["user_engagement"].rename(
            columns={
                "user_id": "customer",
                "engagement_date": "visited_at",
                "session_duration": "seconds",
                "interaction_type": "what",
            }
        ).to_sql("visits", connection, index=False)
        frames["churn_data"].rename(columns={"user_id": "customer", "churn_date": "cancelled_at"}).to_sql(
            "cancellations", connection, index=False
        )
        connection.commit()
    settings = settings_for(
        source="app_database",
        source_path=str(app),
        segments="product_type,plan",
        alert_channels="incident_file",
    )
    pipeline.run(settings, pipeline.plan(settings))
    query = "select distinct segment_value from marts.churn_monthly where segment_name = 'plan' order by all"
    assert rows(settings.warehouse_file, query) == [("free",), ("paid",)]
    sensors = {sensor.name for sensor in build_definitions(settings).sensors or ()}
    assert "run_failures" in sensors
    alert = Alert("run_failed", "error", "A run failed", "Look at it.", datetime.now(UTC))
    delivery_of(settings).deliver(alert, logging.getLogger("tick"))
    [written] = (settings.home / "incidents.jsonl").read_text().splitlines()
    assert json.loads(written)["title"] == "A run failed"


def test_a_source_kind_that_nobody_installed_is_refused_with_the_kinds_that_there_are() -> None:
    with pytest.raises(SettingsError, match="use one of simulated, files, database, snowplow"):
        load_settings(source="app_databse")
