"""The SQL that Snowflake would get: parsed by its grammar, free of known traps, and no more read than is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from user_engagement.assets.dbt import NO_UNIT_TESTS, dbt_resource, window_args
from user_engagement.contracts.raw import RAW_TABLES, Window
from user_engagement.settings import PROJECT_ROOT, load_settings
from user_engagement.sources import FilesSource
from user_engagement.warehouse import open_warehouse
from user_engagement_tests.snowflake.conftest import Emulator, Snowflake, database_of
from user_engagement_tests.test_load_paths import MONTHS, WORLD

pytestmark = pytest.mark.slow

VARIABLES = {"as_of": "2024-04-17", "segments": ["product_type", "country"]}


@dataclass(frozen=True)
class Told:
    """What dbt said of an incremental run of one month: the SQL it ran, and which models replace a window."""

    compiled: dict[str, str]
    windowed: set[str]


@pytest.fixture(scope="module")
def told(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Told:
    folder = tmp_path_factory.mktemp("compiled")
    with database_of(emulator):
        settings = WORLD.settings(folder / "home", WORLD.write(folder / "source"), warehouse="snowflake")
        source = FilesSource(settings.source_path or "", settings.timezone)
        for table in RAW_TABLES:
            open_warehouse(settings).replace_slice(source.extract(table, Window()))
        dbt = dbt_resource(load_settings(home=settings.home, warehouse="snowflake"))
        variables = ["--vars", json.dumps(VARIABLES)]
        dbt.cli(["run", *variables, *window_args(Window())], target_path=folder / "first").wait()
        month = window_args(Window(MONTHS[2], MONTHS[3]))
        dbt.cli(["build", *NO_UNIT_TESTS, *variables, *month], target_path=folder / "month").wait()
    results = json.loads((folder / "month" / "run_results.json").read_text())["results"]
    manifest = json.loads((folder / "month" / "manifest.json").read_text())
    return Told(
        {result["unique_id"].split(".")[2]: result["compiled_code"] for result in results},
        {
            node["name"]
            for node in manifest["nodes"].values()
            if node["config"].get("incremental_strategy") == "replace_window"
        },
    )


@pytest.fixture
def compiled(told: Told) -> dict[str, str]:
    """The SQL of every model and test, by its name."""
    return told.compiled


def test_compiled_sql_is_snowflakes_and_has_none_of_its_traps(compiled: dict[str, str]) -> None:
    assert len(compiled) > 100
    trees = {name: sqlglot.parse_one(sql, read="snowflake") for name, sql in compiled.items()}
    found = [f"{name}: {trap}" for name, tree in trees.items() for trap in traps(tree)]
    assert found == []


def traps(tree: sqlglot.Expr) -> list[str]:
    """What means something else in Snowflake, or ends in an error there."""
    found = []
    for node in tree.walk():
        if isinstance(node, exp.AddMonths):
            found.append("add_months moves Feb 28 to Mar 31")
        elif isinstance(node, exp.DateDiff):
            found.append("datediff counts borders of weeks by WEEK_START")
        elif (
            isinstance(node, (exp.DateTrunc, exp.TimestampTrunc))
            and "WEEK" in str(node.args.get("unit")).upper()
        ):
            found.append("date_trunc('week') depends on WEEK_START")
        elif isinstance(node, exp.Div) and not is_safe(node.expression):
            found.append(f"a division by what may be zero: {node.sql()}")
        elif isinstance(node, (exp.CurrentDate, exp.CurrentTimestamp)):
            found.append("the clock decides")
        elif isinstance(node, exp.Filter):
            found.append("no FILTER in Snowflake")
        elif isinstance(node, exp.Select) and node.args.get("windows"):
            found.append("no named WINDOW in Snowflake")
        elif isinstance(node, (exp.BitwiseLeftShift, exp.BitwiseAnd)) and "<<" in node.sql(
            dialect="snowflake"
        ):
            found.append("no operators on bits in Snowflake")
        elif isinstance(node, exp.Interval):
            found.append("date + interval is a timestamp in DuckDB")
    return found


def is_safe(divisor: sqlglot.Expr) -> bool:
    """A number, a `nullif`, or one of those that cannot be zero where they are."""
    plain = divisor.unnest()
    return isinstance(plain, exp.Literal) or plain.find(exp.Nullif) is not None or plain.sql() in NEVER_ZERO


NEVER_ZERO = {
    "denominator",  # rows of a group, and so one at least
    "CAST(periods.observed_days AS DOUBLE)",  # the same
    "COUNT(*)",
    "at_risk",  # whoever is in the row
    "CAST(at_risk AS DOUBLE) * (at_risk - churned)",  # where churned < at_risk
    "ABS(cumulated.log_survival)",  # where it is not 0
}


WINDOWED = {
    "user_days": "activity_date",
    "user_day_kinds": "activity_date",
    "session_buckets": "activity_date",
    "user_history": "signup_month",
    "cohort_retention": "signup_month",
    "user_lifecycle": "signup_month",
}


def test_every_incremental_model_reads_rows_of_its_window_alone(compiled: dict[str, str], told: Told) -> None:
    assert told.windowed == set(WINDOWED)
    for model, day in WINDOWED.items():
        wheres = [
            where.sql() for where in sqlglot.parse_one(compiled[model], read="snowflake").find_all(exp.Where)
        ]
        bounded = [
            where
            for where in wheres
            if f"{day} >= CAST('2024-03-01' AS DATE)" in where
            and f"{day} < CAST('2024-04-01' AS DATE)" in where
        ]
        assert bounded, model


def test_raw_events_are_read_by_window_wherever_a_model_is_incremental(compiled: dict[str, str]) -> None:
    for model in ("user_days", "user_day_kinds", "session_buckets"):
        tree = sqlglot.parse_one(compiled[model], read="snowflake")
        reading = [
            select
            for select in tree.find_all(exp.Select)
            if any(t.name == "stg_user_engagement" for t in direct_tables(select))
        ]
        assert reading
        for select in reading:
            condition = select.args["where"].sql()
            assert "activity_date >= CAST('2024-03-01' AS DATE)" in condition, model
            assert "activity_date < CAST('2024-04-01' AS DATE)" in condition, model


def direct_tables(select: exp.Select) -> list[exp.Table]:
    sources = [select.args.get("from_") or select.args.get("from"), *select.args.get("joins", [])]
    return [s.this for s in sources if s is not None and isinstance(s.this, exp.Table)]


def test_sqlfluff_finds_nothing_in_what_snowflake_gets(snowflake: Snowflake, tmp_path: Path) -> None:
    """The same rules as for DuckDB, with Snowflake's grammar, in which some names are words of the language."""
    config = tmp_path / "sqlfluff.cfg"
    config.write_text("[sqlfluff]\ndialect = snowflake\n[sqlfluff:templater:dbt]\ntarget = snowflake\n")
    settings = WORLD.settings(tmp_path / "home", WORLD.write(tmp_path / "source"), warehouse="snowflake")
    source = FilesSource(settings.source_path or "", settings.timezone)
    for table in RAW_TABLES:
        open_warehouse(settings).replace_slice(source.extract(table, Window()))
    program = Path(sys.executable).with_name("sqlfluff")
    folders = ("user_engagement_dbt/models", "user_engagement_dbt/tests")
    done = subprocess.run(
        [program, "lint", "--disable-progress-bar", "--config", config, *folders],
        cwd=PROJECT_ROOT,
        env={**os.environ, "USER_ENGAGEMENT_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
