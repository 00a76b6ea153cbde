"""The SQL that Snowflake would get: parsed by its grammar, free of known traps, and no more read than is needed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlglot
from dagster._core.test_utils import environ
from sqlglot import exp

from user_engagement.assets.dbt import NO_UNIT_TESTS, dbt_resource, window_args
from user_engagement.contracts.marts import MARTS
from user_engagement.contracts.raw import RAW_TABLES, Window
from user_engagement.settings import PROJECT_ROOT, load_settings
from user_engagement.sources import FilesSource
from user_engagement.warehouse import open_warehouse
from user_engagement_tests.support.load_paths import MONTHS, WORLD
from user_engagement_tests.support.snowflake import Emulator, Snowflake, database_of

pytestmark = pytest.mark.slow

VARIABLES = {"as_of": "2024-04-17", "segments": ["product_type", "country"]}


@dataclass(frozen=True)
class Told:
    """What dbt did in an incremental run of one month: the SQL of models and tests, the models that replace a window,
    those that replace what is outdated, the parameters of its sessions, and the models whose rows on their way keep no
    history."""

    compiled: dict[str, str]
    windowed: set[str]
    renewed: set[str]
    session_parameters: dict[str, str]
    forgotten: set[str]


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
    sent = emulator.statements().lower()
    altered = re.findall(r"alter session set query_tag = '[^']*'((?:\s+\w+ = (?:'[^']*'|\w+))+)", sent)
    results = json.loads((folder / "month" / "run_results.json").read_text())["results"]
    manifest = json.loads((folder / "month" / "manifest.json").read_text())
    strategies: dict[str, set[str]] = {}
    for node in manifest["nodes"].values():
        strategies.setdefault(node["config"].get("incremental_strategy"), set()).add(node["name"])
    return Told(
        {
            result["unique_id"].split(".")[2]: result["compiled_code"]
            for result in results
            if not result["unique_id"].startswith(("exposure.", "operation."))
        },
        strategies["replace_window"],
        strategies["replace_outdated"],
        dict(PARAMETER.findall(altered[-1])),
        set(re.findall(r"alter table \S+\.(\w+)__dbt_tmp set data_retention_time_in_days = 0", sent)),
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
        elif isinstance(node, exp.In) and isinstance(node.parent, exp.Not) and node.args.get("query"):
            found.append("`not in` a query finds nothing once it yields a null, and is no anti-join")
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
    "all_sessions",  # of an active day, which has one at least
    "CAST(at_risk AS DOUBLE) * (at_risk - churned)",  # where churned < at_risk
    "ABS(cumulated.log_survival)",  # where it is not 0
}


PARAMETER = re.compile(r"(\w+) = ('[^']*'|\w+)")


def test_dbts_sessions_have_the_parameters_of_those_in_python(told: Told, emulator: Emulator) -> None:
    """SQL depended on the account's formats, week start and time zone wherever dbt ran it."""
    with database_of(emulator) as snowflake:
        wanted = snowflake.account.connection_arguments()["session_parameters"]
    texts = {name: f"'{value}'" if isinstance(value, str) else str(value) for name, value in wanted.items()}
    assert told.session_parameters == {
        name.lower(): text.lower() for name, text in texts.items() if name != "QUERY_TAG"
    }


def test_the_rows_of_a_window_keep_no_history_once_they_are_in_their_table(told: Told) -> None:
    """They were kept for a day after their table was dropped, and paid for."""
    assert told.forgotten == told.windowed | told.renewed


@pytest.mark.long
def test_readers_are_granted_aggregated_marts_and_nothing_with_a_row_per_user(
    emulator: Emulator, tmp_path: Path
) -> None:
    project = PROJECT_ROOT / "user_engagement_dbt"
    folders = ["--project-dir", project, "--profiles-dir", project, "--target-path", tmp_path / "target"]
    command = [Path(sys.executable).with_name("dbt"), "parse", "--quiet", "--target", "snowflake", *folders]
    # a process of its own: this one has parsed the project without the role
    with database_of(emulator), environ({"SNOWFLAKE_READER_ROLE": "reader"}):
        subprocess.run(command, check=True, timeout=300)
    nodes = json.loads((tmp_path / "target" / "manifest.json").read_text())["nodes"].values()
    granted = {
        node["name"]: node["config"]["grants"].get("select") for node in nodes if node["config"].get("grants")
    }
    wanted: dict[str, list[str]] = {name: ["READER"] for name, mart in MARTS.items() if not mart.is_per_user}
    # a view of users among the marts is granted to nobody, and whoever had it loses it
    assert granted == {**wanted, "user_activity_daily": []}


WINDOWED = {
    "user_days": "activity_date",
    "user_day_kinds": "activity_date",
    "session_buckets": "activity_date",
    "event_hashes": "activity_date",
    "repeated_events": "activity_date",
    "quarantined_rows": "activity_date",
    "identical_days": "activity_date",
    "row_counts": "activity_date",
    "user_history": "signup_month",
    "cohort_retention": "signup_month",
    "user_lifecycle": "signup_month",
}


def test_every_incremental_model_reads_rows_of_its_window_alone(compiled: dict[str, str], told: Told) -> None:
    assert told.windowed == set(WINDOWED)
    for model, day in WINDOWED.items():
        tree = sqlglot.parse_one(compiled[model], read="snowflake")
        assert any(is_window(where.sql(), day) for where in tree.find_all(exp.Where)), model


RENEWED = {
    "active_days": "activity_month",
    "user_months": "activity_month",
    "gaps_within_months": "activity_month",
    "user_traits": "signup_month",
    "first_week_kinds": "signup_month",
    "user_starts": "signup_month",
    "first_week_curves": "signup_month",
    "daily_kinds": "week_month",
    "user_weeks": "week_month",
    "habit_sessions": "week_month",
    "weekly_counts": "week_month",
}
ROWS_OF_DAYS = {"active_days", "counted_days", "active_kinds", "user_weeks"}


def test_models_of_whole_months_read_those_that_are_outdated_alone(
    compiled: dict[str, str], told: Told
) -> None:
    assert told.renewed == set(RENEWED)
    for model, month in RENEWED.items():
        tree = sqlglot.parse_one(compiled[model], read="snowflake")
        assert isinstance(tree, exp.Query)
        parts = {cte.alias.lower(): cte.sql() for cte in tree.ctes}
        assert f"kept.{month} IS NULL" in parts["outdated"], model
        for select in tree.find_all(exp.Select):
            read = {table.name.lower().removeprefix("__dbt__cte__") for table in direct_tables(select)}
            # a model's own name is what it has been built from so far
            if read & ROWS_OF_DAYS - {model} and not isinstance(select.parent, exp.Subquery):
                joined = {"outdated", "first_days", "months"}
                assert read & joined, f"{model}: {select.sql()}"


READERS_BEYOND_THE_WINDOW = {
    "repeated_events": "the first delivery of an event that the window repeats",
    "quarantined_rows": "days that a signup of another month, or the horizon, takes out",
    "session_statistics": "durations of the few seconds in which a quantile lies",
}


def test_raw_events_are_read_by_window_in_every_model_and_test(compiled: dict[str, str]) -> None:
    beyond = set()
    for name, sql in compiled.items():
        tree = sqlglot.parse_one(sql, read="snowflake")
        for select in tree.find_all(exp.Select):
            if any(table.name.lower() == "stg_user_engagement" for table in direct_tables(select)):
                where = select.args.get("where")
                if where is None or not is_window(where.sql(), "activity_date"):
                    beyond.add(name)
    assert beyond <= set(READERS_BEYOND_THE_WINDOW)
    for name in ("repeated_events", "quarantined_rows"):
        joined = [
            select.args["joins"][0].this.name
            for select in sqlglot.parse_one(compiled[name], read="snowflake").find_all(exp.Select)
            if any(table.name.lower() == "stg_user_engagement" for table in direct_tables(select))
        ]
        assert joined
        assert set(joined) <= {"places", "days"}, "all rows are joined with the few that are wanted"


def is_window(condition: str, day: str) -> bool:
    """Whether a condition keeps the rows of March 2024 alone."""
    bounds = (f"{day} >= CAST('2024-03-01' AS DATE)", f"{day} < CAST('2024-04-01' AS DATE)")
    return all(bound in condition for bound in bounds) and "NOT (" not in condition


def direct_tables(select: exp.Select) -> list[exp.Table]:
    sources = [select.args.get("from_") or select.args.get("from"), *select.args.get("joins", [])]
    return [s.this for s in sources if s is not None and isinstance(s.this, exp.Table)]


@pytest.mark.exhaustive
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
