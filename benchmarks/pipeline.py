"""What a run of the pipeline costs, against a hand-written DuckDB script that computes the same marts.

    python benchmarks/pipeline.py [--users 500000] [--data FOLDER] [--repeats 3]
    python benchmarks/pipeline.py --small FOLDER [--as-of DATE]
    python benchmarks/pipeline.py --months

The first runs `user-engagement run` and `floor.sql` in turns on the same Parquet files, checks that their marts
are equal, and takes from each what it needs on a world of the same months with hardly any users: its start-up.
The second compares a run on a small folder with bare `dbt build` of the same models on a loaded warehouse. The
third runs the same rows spread over 6 and over 24 months, to see whether memory grows with the months, or what a new
day costs, with insights.

Every contender runs alone, in a process and a fresh home of its own. Seconds are medians; CPU seconds and the
peak resident memory come from the operating system, and cover the processes that a contender starts.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median

import duckdb
from rich.console import Console
from rich.table import Table

from user_engagement.assets.dbt import KINDS, NO_UNIT_TESTS
from user_engagement.assets.insights import MODELS as INSIGHT_MODELS
from user_engagement.contracts.marts import MARTS
from user_engagement.inputs.variables import dbt_vars
from user_engagement.settings import PROJECT_ROOT, load_settings
from user_engagement.simulation import WorldConfig, write_files
from user_engagement.warehouse import open_warehouse

THROUGH = date(2026, 11, 21)
TINY_USERS = 500
SHORT_START, SHORT_DAYS, STRETCH = date(2024, 1, 1), 182, 4
NEW_DAY = 178
"""The day that arrives alone, counted from the first; after neither of both histories does it complete a week."""
FLOOR = Path(__file__).with_name("floor.sql")
BIN = Path(sys.executable).parent
ALONE = {"USER_ENGAGEMENT_INSIGHTS": "false", "USER_ENGAGEMENT_PUBLISH_REPORT": "false"}
"""Settings of contenders that neither explain nor draw anything."""
TOLERANCE = 1e-9
FLOOR_DATABASE = "floor.duckdb"
RUN_SCRIPT = """
import sys
from pathlib import Path
import duckdb
with duckdb.connect(sys.argv[1]) as connection:
    connection.execute(Path(sys.argv[2]).read_text())
"""
# A process begins with the peak memory of the one that starts it, even across exec, and this one generates worlds
# and compares marts; so contenders are started by one that has done nothing.
LAUNCHER = """
import json, os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen(sys.argv[2:])
_, status, used = os.wait4(process.pid, 0)
figures = {
    "seconds": time.perf_counter() - started,
    "cpu_seconds": used.ru_utime + used.ru_stime,
    "peak_mib": used.ru_maxrss / 1024,
}
with open(sys.argv[1], "w") as file:
    json.dump(figures, file)
sys.exit(os.waitstatus_to_exitcode(status) != 0)
"""

SEGMENT = ("segment_name", "segment_value")
GRAINS: dict[str, tuple[str, ...]] = {
    "user_activity_daily": ("user_id", "activity_date"),
    "user_lifecycle": ("user_id",),
    "cohort_retention": (*SEGMENT, "signup_month", "period_kind", "period_number"),
    "day_n_retention": (*SEGMENT, "retention_kind", "day_number"),
    "active_users_daily": (*SEGMENT, "activity_date"),
    "growth_accounting": (*SEGMENT, "period_kind", "period_start"),
    "churn_monthly": (*SEGMENT, "churn_kind", "month"),
    "churn_reasons": (*SEGMENT, "month", "churn_reason"),
    "survival": (*SEGMENT, "churn_kind", "days_since_signup"),
    "session_metrics": ("month", "interaction_type"),
    "engagement_frequency": (*SEGMENT, "month"),
    "data_quality": ("table_name", "reason"),
    "kpi_summary": ("kpi",),
}

console = Console(width=110)


# -- measuring ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """`peak_mib` is the largest resident memory of one process of the contender."""

    seconds: float
    cpu_seconds: float
    peak_mib: float

    def less(self, other: Cost) -> Cost:
        return Cost(self.seconds - other.seconds, self.cpu_seconds - other.cpu_seconds, self.peak_mib)


def measured(command: Sequence[str], home: Path, variables: Mapping[str, str] = ALONE) -> Cost:
    """What a command costs with `home` as its state; it must succeed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("USER_ENGAGEMENT_", "DAGSTER_"))}
    environment["USER_ENGAGEMENT_HOME"] = str(home)
    environment |= variables
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as output:
        figures = Path(folder) / "figures.json"
        launched = subprocess.run(
            [sys.executable, "-S", "-c", LAUNCHER, str(figures), *command],
            env=environment,
            cwd=PROJECT_ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        if launched.returncode:
            output.seek(0)
            sys.exit(f"{' '.join(command)} failed:\n{output.read().decode(errors='replace')}")
        return Cost(**json.loads(figures.read_text()))


def median_cost(costs: Sequence[Cost]) -> Cost:
    """Medians of time; of memory the worst."""
    return Cost(
        median(c.seconds for c in costs),
        median(c.cpu_seconds for c in costs),
        max(c.peak_mib for c in costs),
    )


def alternated(contenders: Mapping[str, Callable[[], Cost]], repeats: int) -> dict[str, Cost]:
    """The median cost of each contender, run in turns so that a busy moment of the machine meets all."""
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    for turn in range(repeats):
        for name, run in contenders.items():
            costs[name].append(run())
            shown = costs[name][-1]
            console.print(
                f"  {turn + 1}/{repeats} {name}: {shown.seconds:.1f} s, {shown.cpu_seconds:.1f} CPU s"
            )
    return {name: median_cost(of_one) for name, of_one in costs.items()}


def report(title: str, costs: Mapping[str, Cost], base: str) -> Table:
    """A row per contender, with its time as a multiple of that of `base`."""
    table = Table(title=title, title_justify="left")
    for heading in ("", "seconds", "CPU s", "peak MiB", "x seconds", "x CPU"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, cost in costs.items():
        table.add_row(
            name,
            f"{cost.seconds:.1f}",
            f"{cost.cpu_seconds:.1f}",
            f"{cost.peak_mib:,.0f}",
            f"{cost.seconds / costs[base].seconds:.2f}",
            f"{cost.cpu_seconds / costs[base].cpu_seconds:.2f}",
        )
    return table


# -- contenders --------------------------------------------------------------------------------------------


def run_pipeline(home: Path, data: Path, as_of: date | None) -> Cost:
    """`user-engagement run` in a home that was not there before."""
    shutil.rmtree(home, ignore_errors=True)
    command = [str(BIN / "user-engagement"), "run", "--source", "files", "--path", str(data)]
    return measured([*command, *(("--as-of", str(as_of)) if as_of else ())], home)


def run_floor(home: Path, data: Path, as_of: date) -> Cost:
    """The hand-written script in a Python that imports nothing but DuckDB."""
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    script = home / "floor.sql"
    script.write_text(FLOOR.read_text().replace("__FOLDER__", str(data)).replace("__AS_OF__", str(as_of)))
    return measured([sys.executable, "-c", RUN_SCRIPT, str(home / FLOOR_DATABASE), str(script)], home)


def run_dbt(home: Path, loaded: Path, variables: str) -> Cost:
    """Bare `dbt build` in a home whose warehouse holds raw tables alone."""
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    shutil.copyfile(loaded, home / "warehouse.duckdb")
    project = str(PROJECT_ROOT / "user_engagement_dbt")
    command = [str(BIN / "dbt"), "build", *NO_UNIT_TESTS, "--vars", variables]
    command += ["--exclude", *INSIGHT_MODELS.split(), *KINDS.split()]
    command += ["--project-dir", project, "--profiles-dir", project]
    return measured([*command, "--target-path", str(home / "dbt"), "--log-path", str(home / "dbt")], home)


def run_new_day(work: Path, data: Path, stretch: int) -> Cost:
    """A run that loads the events of `NEW_DAY`, in a home that has loaded those of all days before it."""
    source, before, home = work / "source", work / "before", work / "home"
    day, last = (SHORT_START + timedelta(stretch * number) for number in (NEW_DAY, NEW_DAY - 1))
    with_insights = ALONE | {"USER_ENGAGEMENT_INSIGHTS": "true"}

    def run(place: Path, as_of: date) -> Cost:
        command = [str(BIN / "user-engagement"), "run", "--source", "files", "--path", str(source)]
        return measured([*command, "--as-of", str(as_of)], place, with_insights)

    events = data / "user_engagement.parquet"
    if not before.exists():
        (source / "user_engagement").mkdir(parents=True)
        for table in ("user_signups", "churn_data"):
            shutil.copyfile(data / f"{table}.parquet", source / f"{table}.parquet")
        _copy(
            events, f"engagement_date::date <= date '{last}'", source / "user_engagement" / "before.parquet"
        )
        run(before, last)
        _copy(events, f"engagement_date::date = date '{day}'", source / "user_engagement" / "day.parquet")
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(before, home, symlinks=True)
    return run(home, day)


def _copy(events: Path, condition: str, file: Path) -> None:
    duckdb.sql(f"copy (select * from '{events}' where {condition}) to '{file}'")


# -- data --------------------------------------------------------------------------------------------------


def generated(folder: Path, config: WorldConfig, through: date) -> Path:
    """The folder with the world's three files, which are written unless it has them."""
    if not (folder / "churn_data.parquet").exists():
        write_files(config, through, folder)
    return folder


def stretched(source: Path, target: Path) -> Path:
    """The same rows with `STRETCH` times as many days between them; as many days on which users are active."""
    target.mkdir(parents=True)
    for table, column in (
        ("user_signups", "signup_date"),
        ("user_engagement", "engagement_date"),
        ("churn_data", "churn_date"),
    ):
        days = f"to_days(({STRETCH - 1} * ({column}::date - date '{SHORT_START}'))::integer)"
        duckdb.sql(
            f"copy (select * replace ({column} + {days} as {column}) from '{source / table}.parquet') "
            f"to '{target / table}.parquet' (compression zstd)"
        )
    return target


def events_of(data: Path) -> int:
    return duckdb.execute(f"select count(*) from '{data / 'user_engagement.parquet'}'").fetchall()[0][0]


# -- are the marts equal -----------------------------------------------------------------------------------


def differences(exported: Path, floor_database: Path) -> dict[str, str]:
    """What differs between exported marts and those of the floor, by mart; ids are compared as text.

    Compared are the columns that the floor has, and of the reasons why rows do not count those that have rows. The
    pipeline adds more of both that need no events, or are of events that simulated companies have not.
    """
    found: dict[str, str] = {}
    with duckdb.connect() as connection:
        connection.execute(f"attach '{floor_database}' as floor (read_only)")
        for mart in MARTS:
            occurs = "rows > 0" if mart == "data_quality" else "true"
            theirs, ours = (
                f"(select * from {table} where {occurs})"
                for table in (f"'{exported / mart}.parquet'", f"floor.{mart}")
            )
            columns = dict(row[:2] for row in connection.execute(f"describe select * from {ours}").fetchall())
            grain = " and ".join(
                f"theirs.{c}::varchar is not distinct from ours.{c}::varchar" for c in GRAINS[mart]
            )
            off = " or ".join(
                _differs(name, kind) for name, kind in columns.items() if name not in GRAINS[mart]
            )
            theirs_only, ours_only, wrong = connection.execute(
                "select count_if(ours.observed_through is null), count_if(theirs.observed_through is null), "
                "count_if(ours.observed_through is not null and theirs.observed_through is not null "
                f"and ({off})) from {theirs} as theirs full join {ours} as ours on {grain}"
            ).fetchall()[0]
            if theirs_only or ours_only or wrong:
                found[mart] = f"{wrong} rows differ, {theirs_only} and {ours_only} have no counterpart"
    return found


def _differs(column: str, kind: str) -> str:
    theirs, ours = f"theirs.{column}", f"ours.{column}"
    if kind != "DOUBLE":
        return f"{theirs} is distinct from {ours}"
    apart = f"abs({theirs} - {ours}) > {TOLERANCE} * greatest(1, abs({ours}))"
    return f"({theirs} is null) <> ({ours} is null) or coalesce({apart}, false)"


def check(work: Path, home: Path, floor_home: Path) -> None:
    """Stops unless the run in `home` and the floor have computed equal marts."""
    exported = work / "exported"
    measured([str(BIN / "user-engagement"), "export", str(exported), "--format", "parquet"], home)
    if found := differences(exported, floor_home / FLOOR_DATABASE):
        sys.exit("\n".join(f"{mart}: {difference}" for mart, difference in found.items()))
    console.print(f"all {len(MARTS)} marts are equal")


# -- the three comparisons ---------------------------------------------------------------------------------


def against_floor(work: Path, folder: Path, users: int, as_of: date, repeats: int) -> None:
    data = generated(folder, WorldConfig(users=users), as_of)
    tiny = generated(work / "tiny", WorldConfig(users=TINY_USERS), as_of)
    home, floor_home = work / "home", work / "floor"
    large = alternated(
        {
            "pipeline": lambda: run_pipeline(home, data, as_of),
            "floor": lambda: run_floor(floor_home, data, as_of),
        },
        repeats,
    )
    check(work, home, floor_home)
    start_up = alternated(
        {
            "pipeline": lambda: run_pipeline(work / "tiny-home", tiny, as_of),
            "floor": lambda: run_floor(work / "tiny-floor", tiny, as_of),
        },
        repeats,
    )
    costs = {
        "floor": large["floor"],
        "pipeline": large["pipeline"],
        "floor, start-up": start_up["floor"],
        "pipeline, start-up": start_up["pipeline"],
        "floor less start-up": large["floor"].less(start_up["floor"]),
        "pipeline less start-up": large["pipeline"].less(start_up["pipeline"]),
    }
    console.print(report(f"{events_of(data):,} events through {as_of}", costs, base="floor less start-up"))


def against_dbt(work: Path, folder: Path, as_of: date | None, repeats: int) -> None:
    loaded_home = work / "loaded"
    run_pipeline(loaded_home, folder, as_of)
    settings = load_settings(home=loaded_home, as_of=as_of)
    with open_warehouse(settings).reader() as reader:
        variables = json.dumps(dbt_vars(reader, settings, datetime.now(UTC)))
    with duckdb.connect(str(settings.warehouse_file)) as connection:
        for schema in ("marts", "intermediate", "cohorts", "activity", "lookups", "staging", "user_level"):
            connection.execute(f"drop schema if exists {schema} cascade")
    costs = alternated(
        {
            "dbt build": lambda: run_dbt(work / "dbt", settings.warehouse_file, variables),
            "user-engagement run": lambda: run_pipeline(work / "home", folder, as_of),
        },
        repeats,
    )
    console.print(report(f"{folder.name}, as small as it is", costs, base="dbt build"))


def over_months(work: Path, users: int, repeats: int) -> None:
    config = WorldConfig(users=users, start=SHORT_START, reference_end=SHORT_START + timedelta(SHORT_DAYS))
    last = SHORT_START + timedelta(SHORT_DAYS - 1)
    short = generated(work / "short", config, last)
    long = stretched(short, work / "long")
    long_last = SHORT_START + timedelta(STRETCH * (SHORT_DAYS - 1))
    costs = alternated(
        {
            "6 months": lambda: run_pipeline(work / "home", short, last),
            "24 months": lambda: run_pipeline(work / "home", long, long_last),
        },
        repeats,
    )
    console.print(report(f"the same {events_of(short):,} events", costs, base="6 months"))
    new_days = alternated(
        {
            "a day after 6 months": lambda: run_new_day(work / "6", short, 1),
            "a day after 24 months": lambda: run_new_day(work / "24", long, STRETCH),
        },
        repeats,
    )
    console.print(report("a new day, with insights", new_days, base="a day after 6 months"))


def main() -> None:
    parser = argparse.ArgumentParser(description="What a run of the pipeline costs.")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--small", type=Path, metavar="FOLDER", help="compare with dbt on this folder of files")
    kind.add_argument("--months", action="store_true", help="compare 6 months with 24 of the same rows")
    parser.add_argument("--users", type=int, default=500_000, help="size of the simulated world")
    parser.add_argument(
        "--data", type=Path, help="where the simulated files are kept; a temporary folder if not given"
    )
    parser.add_argument("--as-of", type=date.fromisoformat, help="last complete day of data")
    parser.add_argument("--repeats", type=int, default=3, help="turns, of which the medians are shown")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if arguments.small:
            against_dbt(work, arguments.small.resolve(), arguments.as_of, arguments.repeats)
        elif arguments.months:
            over_months(work, arguments.users, arguments.repeats)
        else:
            data = arguments.data.resolve() if arguments.data else work / "data"
            against_floor(work, data, arguments.users, arguments.as_of or THROUGH, arguments.repeats)


if __name__ == "__main__":
    main()
