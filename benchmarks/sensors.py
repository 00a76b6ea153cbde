"""What a tick of `new_source_data` costs: 60 months and 2,000 files, against merely listing the files.

python benchmarks/sensors.py [--months 60] [--files 2000]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from statistics import median

import dagster as dg
from rich.console import Console
from rich.table import Table

from user_engagement.assets.common import raw_key
from user_engagement.assets.freshness import BY_MONTH, KINDS, activity_key
from user_engagement.automation.sensors import requests_for_new_data
from user_engagement.code_location import first_month
from user_engagement.contracts.raw import RAW_TABLES
from user_engagement.inputs.fingerprints import FINGERPRINT, source_fingerprints
from user_engagement.instance.home import open_instance
from user_engagement.partitions import monthly_partitions, next_month
from user_engagement.settings import Settings, load_settings
from user_engagement.sources import Source, open_source

FIRST = date(2020, 1, 1)
REPEATS = 9


def months_from(first: date, count: int) -> list[date]:
    months = [first]
    while len(months) < count:
        months.append(next_month(months[-1]))
    return months


def write_source(folder: Path, months: list[date], files: int) -> None:
    """One event a file, the files spread over the months."""
    (folder / "user_engagement").mkdir(parents=True)
    (folder / "user_signups.csv").write_text(f"user_id,signup_date,product_type\n1,{FIRST},free\n")
    header = "user_id,engagement_date,session_duration,interaction_type\n"
    for number in range(files):
        day = months[number % len(months)].replace(day=1 + number % 28)
        (folder / "user_engagement" / f"{number:05}.csv").write_text(f"{header}1,{day},60,visit\n")


def record_load(instance: dg.DagsterInstance, source: Source, settings: Settings, keys: list[str]) -> None:
    """What a load of every month leaves behind in the instance."""
    for table in RAW_TABLES:
        for key, fingerprint in source_fingerprints(source, table, settings, keys, ()).items():
            instance.report_runless_asset_event(
                dg.AssetMaterialization(
                    raw_key(settings, table), metadata={FINGERPRINT: fingerprint}, partition=key
                )
            )
    for key in keys:
        for model in (*BY_MONTH, KINDS):
            instance.report_runless_asset_event(
                dg.AssetMaterialization(activity_key(settings, model), partition=key)
            )
    settings.warehouse_file.touch()


def seconds(action: Callable[[], object], repeats: int = REPEATS) -> float:
    """The median of some repetitions."""
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        action()
        taken.append(time.perf_counter() - began)
    return median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description="What a tick of the sensor costs.")
    parser.add_argument("--months", type=int, default=60)
    parser.add_argument("--files", type=int, default=2000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        months = months_from(FIRST, arguments.months)
        write_source(folder / "source", months, arguments.files)
        os.environ["USER_ENGAGEMENT_HOME"] = str(folder / "home")
        settings = load_settings(
            source="files", source_path=str(folder / "source"), as_of=months[-1].replace(day=28)
        )
        source = open_source(settings)
        with open_instance(settings) as instance:
            keys = list(
                monthly_partitions(first_month(source, settings), settings.as_of).get_partition_keys()
            )

            def tick() -> object:
                return requests_for_new_data(instance, source, settings, keys, datetime.now(UTC))

            def listing() -> object:
                return [path.stat() for path in sorted((folder / "source").rglob("*.csv"))]

            floor = seconds(listing)
            first = seconds(tick, repeats=1)
            record_load(instance, source, settings, keys)
            found = tick()
            assert isinstance(found, dg.SkipReason), found
            costs = {
                "listing the files": floor,
                "first tick of a code server": first,
                "a tick when nothing differs": seconds(tick),
            }
        table = Table(title=f"{len(keys)} months, {arguments.files} files", title_justify="left")
        for heading in ("", "milliseconds", "x listing"):
            table.add_column(heading, justify="right" if heading else "left")
        for label, cost in costs.items():
            table.add_row(label, f"{1000 * cost:,.0f}", f"{cost / floor:.1f}")
        Console().print(table)


if __name__ == "__main__":
    main()
