"""What simulating events costs, against the two usual ways: Faker row by row, and jafgen.

    python benchmarks/simulation.py [--users 500000] [--faker-rows 50000] [--jafgen PATH]

Each contender runs alone, in a process of its own, and writes its files to a temporary folder:

- events: the world's events as daily Parquet files, as `advance` writes them;
- world: all of `advance`, so the same with users and cancellations in SQLite;
- Faker: events of the same columns as one CSV file, every value asked of Faker;
- jafgen: one year of its shop as CSV files, counting the rows of all of them. It is run when `--jafgen`
  names its executable or it is on the PATH.

A CPU-second counts the work of all threads, so rows per CPU-second is the speed on one core.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from faker import Faker
from rich.console import Console
from rich.table import Table

from user_engagement.simulation import WorldConfig, advance, event_files
from user_engagement.simulation.deliveries import deliveries
from user_engagement.simulation.population import population

THROUGH = date(2026, 11, 21)


@dataclass(frozen=True)
class Cost:
    """`peak_mib` is the largest resident memory of the process."""

    rows: int
    seconds: float
    cpu_seconds: float
    peak_mib: float


def simulate_events(folder: Path, users: int) -> int:
    config = WorldConfig(users=users)
    rows = 0
    everyone = population(config, THROUGH)
    for day, delivered in deliveries(config, everyone, 0, config.day_number(THROUGH)):
        event_files.write_day(folder, config.day(day), delivered)
        rows += delivered.num_rows
    return rows


def simulate_world(folder: Path, users: int) -> int:
    summary = advance(folder, WorldConfig(users=users), THROUGH)
    return summary.events + summary.users + summary.cancellations


def ask_faker(folder: Path, rows: int) -> int:
    faker = Faker()
    with (folder / "events.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        for _ in range(rows):
            writer.writerow(
                (
                    faker.uuid4(),
                    faker.random_int(1, 20_000),
                    faker.date_time_between(date(2025, 1, 1), THROUGH),
                    faker.random_int(2, 6 * 3600),
                    faker.random_element(("view_content", "search", "create", "collaborate", "support")),
                    faker.random_element(("phone", "desktop", "tablet")),
                )
            )
    return rows


def press_jaffles(folder: Path, executable: str) -> int:
    subprocess.run([executable, "1"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return sum(_data_rows(path) for path in folder.rglob("*.csv"))


def _data_rows(path: Path) -> int:
    with path.open(newline="") as file:
        return sum(1 for _ in csv.reader(file)) - 1


def measured(work: Callable[[Path, Any], int], size: int | str) -> Cost:
    """What `work` of `size` costs in a fresh process, apart from starting Python and importing."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (work, size))


def _measure(work: Callable[[Path, Any], int], size: int | str) -> Cost:
    with tempfile.TemporaryDirectory() as folder:
        started, cpu_before = time.perf_counter(), _cpu_seconds()
        rows = work(Path(folder), size)
        seconds, cpu_seconds = time.perf_counter() - started, _cpu_seconds() - cpu_before
    peak_mib = max(used.ru_maxrss for used in _used()) / 1024
    return Cost(rows, seconds, cpu_seconds, peak_mib)


def _cpu_seconds() -> float:
    return sum(used.ru_utime + used.ru_stime for used in _used())


def _used() -> list[resource.struct_rusage]:
    return [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]


def report(costs: dict[str, Cost]) -> Table:
    table = Table(title=f"Simulating through {THROUGH}")
    for heading in ("", "rows", "seconds", "rows/s", "rows/CPU-s", "peak MiB", "x Faker", "x jafgen"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, cost in costs.items():
        speed = cost.rows / cost.seconds
        ratios = [
            f"{speed / (costs[peer].rows / costs[peer].seconds):,.1f}" if peer in costs else "-"
            for peer in ("Faker", "jafgen")
        ]
        table.add_row(
            name,
            f"{cost.rows:,}",
            f"{cost.seconds:.1f}",
            f"{speed:,.0f}",
            f"{cost.rows / cost.cpu_seconds:,.0f}",
            f"{cost.peak_mib:,.0f}",
            *ratios,
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description="What simulating events costs.")
    parser.add_argument("--users", type=int, default=500_000, help="size of the simulated world")
    parser.add_argument("--faker-rows", type=int, default=50_000, help="rows to ask of Faker")
    parser.add_argument("--jafgen", default=shutil.which("jafgen"), help="jafgen's executable")
    arguments = parser.parse_args()
    costs = {
        "events": measured(simulate_events, arguments.users),
        "world": measured(simulate_world, arguments.users),
        "Faker": measured(ask_faker, arguments.faker_rows),
    }
    console = Console(width=110)
    if arguments.jafgen:
        costs["jafgen"] = measured(press_jaffles, str(Path(arguments.jafgen).resolve()))
    else:
        console.print("jafgen is not installed and so not compared: name its executable with --jafgen.")
    console.print(report(costs))


if __name__ == "__main__":
    main()
