"""What a run costs when little is new, against the run that loaded everything.

    python benchmarks/refresh.py [--users 75000] [--data FOLDER] [--days 3] [--insights]

Events arrive as a file for each day. A first run loads all but the last days; then each of these arrives and is
loaded by a run of its own; then some rows of a month a year earlier arrive; then nothing does. At the end everything
is loaded once more into a fresh home, and the marts of both homes, and their insights, must be equal.

The last days are in the middle of a week. Seven days, of which one completes a week, are `--days 7`. Seconds and CPU
seconds of a new day are medians. `pipeline.py` says how a run is measured.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb
from pipeline import (
    ALONE,
    BIN,
    GRAINS,
    THROUGH,
    Cost,
    console,
    events_of,
    generated,
    measured,
    median_cost,
    report,
)

from user_engagement.insights.tables import TABLES as INSIGHTS
from user_engagement.simulation import WorldConfig

LATE_MONTH = date(2025, 11, 1)
LATE_SHARE = 5
"""One in so many events of the month arrives late."""


@dataclass(frozen=True)
class Delivery:
    """A folder that the pipeline reads, and the files that have yet to arrive there."""

    folder: Path
    waiting: Path

    def arrive(self, name: str) -> None:
        shutil.copyfile(self.waiting / name, self.folder / "user_engagement" / name)


def delivered(data: Path, work: Path, days: int) -> Delivery:
    """Splits the events of a world into a file a day; the last days and the late rows wait."""
    folder, waiting = work / "source", work / "waiting"
    (folder / "user_engagement").mkdir(parents=True)
    waiting.mkdir()
    for table in ("user_signups", "churn_data"):
        shutil.copyfile(data / f"{table}.parquet", folder / f"{table}.parquet")
    is_late = f"date_trunc('month', day) = date '{LATE_MONTH}' and hash(event_id) % {LATE_SHARE} = 0"
    with duckdb.connect() as connection:
        connection.execute(
            f"create table events as select *, engagement_date::date as day "
            f"from '{data / 'user_engagement.parquet'}' where day <= date '{THROUGH}'"
        )
        found = connection.execute("select distinct day from events").fetchall()
        for (day,) in found:
            target = waiting if THROUGH - day < timedelta(days) else folder / "user_engagement"
            _write(connection, f"day = date '{day}' and not ({is_late})", target / f"{day}.parquet")
        _write(connection, is_late, waiting / "late.parquet")
    return Delivery(folder, waiting)


def _write(connection: duckdb.DuckDBPyConnection, condition: str, file: Path) -> None:
    connection.execute(f"copy (select * exclude (day) from events where {condition}) to '{file}'")


def run(home: Path, folder: Path, as_of: date, variables: Mapping[str, str]) -> Cost:
    """`user-engagement run` in a home that may hold an earlier run."""
    command = [str(BIN / "user-engagement"), "run", "--source", "files", "--path", str(folder)]
    return measured([*command, "--as-of", str(as_of)], home, variables)


def check(work: Path, refreshed: Path, loaded: Path) -> None:
    """Stops unless both homes hold the same marts and insights, row for row."""
    for home in (refreshed, loaded):
        measured([str(BIN / "user-engagement"), "export", str(work / f"marts of {home.name}")], home)
    with duckdb.connect() as connection:
        for mart in GRAINS:
            ours, theirs = (
                f"'{work / f'marts of {home.name}' / mart}.parquet'" for home in (refreshed, loaded)
            )
            for one, other in ((ours, theirs), (theirs, ours)):
                _stop_if_more(connection, mart, one, other)
        for home in (refreshed, loaded):
            connection.execute(f"attach '{home / 'warehouse.duckdb'}' as {home.name} (read_only)")
        built = connection.execute(
            "select schema_name, table_name from duckdb_tables() where database_name = ?", [loaded.name]
        ).fetchall()
        insights = [(schema, table) for schema, table in built if table in INSIGHTS]
        for schema, table in insights:
            ours, theirs = (f"{home.name}.{schema}.{table}" for home in (refreshed, loaded))
            _stop_if_more(connection, table, ours, theirs)
            _stop_if_more(connection, table, theirs, ours)
    console.print(f"all {len(GRAINS)} marts and {len(insights)} insights are equal to those of one full load")


def _stop_if_more(connection: duckdb.DuckDBPyConnection, name: str, one: str, other: str) -> None:
    rows = connection.execute(f"select * from {one} except all select * from {other}").fetchall()
    if rows:
        sys.exit(f"{name}: {len(rows)} rows differ, such as {rows[0]}")


def main() -> None:
    parser = argparse.ArgumentParser(description="What a run costs when little is new.")
    parser.add_argument("--users", type=int, default=75_000, help="size of the simulated world")
    parser.add_argument("--data", type=Path, help="where the simulated files are kept")
    parser.add_argument("--days", type=int, default=3, help="days that arrive one at a time")
    parser.add_argument("--insights", action="store_true", help="compute the insights as well")
    arguments = parser.parse_args()
    variables = ALONE | {"USER_ENGAGEMENT_INSIGHTS": str(arguments.insights).lower()}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        data = arguments.data.resolve() if arguments.data else work / "data"
        generated(data, WorldConfig(users=arguments.users), THROUGH)
        delivery = delivered(data, work, arguments.days)
        home, first = work / "refreshed", THROUGH - timedelta(arguments.days)
        costs = {"everything": run(home, delivery.folder, first, variables)}
        new_days = []
        for day in (first + timedelta(number + 1) for number in range(arguments.days)):
            delivery.arrive(f"{day}.parquet")
            new_days.append(run(home, delivery.folder, day, variables))
        costs["a new day"] = median_cost(new_days)
        delivery.arrive("late.parquet")
        costs["late rows a year back"] = run(home, delivery.folder, THROUGH, variables)
        costs["nothing new"] = run(home, delivery.folder, THROUGH, variables)
        costs["everything at once"] = run(work / "loaded", delivery.folder, THROUGH, variables)
        check(work, home, work / "loaded")
        console.print(report(f"{events_of(data):,} events", costs, base="everything"))


if __name__ == "__main__":
    main()
