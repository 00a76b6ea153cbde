"""What the insights say of companies whose causes are known, and what they cost.

    benchmarks/insights.py --companies FOLDER ... --out FOLDER

Each folder holds the three source tables as Parquet files (user_signups, user_engagement, churn_data), and perhaps a
truth.json. Each company goes through the loader, dbt and all insights in a warehouse of its own. Its insight tables are
written to OUT/<name of the folder>/, as Parquet, and truth.json beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from datetime import datetime
from pathlib import Path

# products of small matrices: several threads wait for each other longer than they compute
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pyarrow.parquet as pq
from rich.console import Console

from user_engagement.assets.dbt import dbt_resource, window_args
from user_engagement.assets.insights import compute
from user_engagement.contracts.raw import RAW_TABLES, Window
from user_engagement.inputs.variables import dbt_vars
from user_engagement.settings import Settings, load_settings
from user_engagement.sources import FilesSource
from user_engagement.warehouse import open_warehouse
from user_engagement_tests.support.worlds import at_home

console = Console(width=160, highlight=False)


def build(settings: Settings) -> None:
    """Loads a company whole, and has dbt reduce it to what insights are computed from."""
    source = FilesSource(settings.source_path or "", settings.timezone)
    warehouse = open_warehouse(settings)
    for table in RAW_TABLES:
        warehouse.replace_slice(source.extract(table, Window()))
    with open_warehouse(settings).reader() as reader:
        variables = json.dumps(dbt_vars(reader, settings, datetime.now(settings.zone)))
    arguments = ["run", "--vars", variables, *window_args(Window())]
    dbt_resource(settings).cli(arguments, target_path=settings.dbt_target_dir).wait()


def explain(company: Path, out: Path) -> None:
    """Writes the insight tables of a company, and says what its brief says and how long each part took."""
    with tempfile.TemporaryDirectory() as folder, at_home(Path(folder)):
        settings = load_settings(home=Path(folder), source="files", source_path=str(company))
        started = time.perf_counter()
        build(settings)
        built = time.perf_counter()
        tables, _ = compute(settings)
        computed = time.perf_counter()
    target = out / company.name
    target.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        pq.write_table(table, target / f"{name}.parquet")
    if (company / "truth.json").exists():
        shutil.copy(company / "truth.json", target)
    console.print(
        f"[bold]{company.name}[/]: load and dbt {built - started:.1f} s, insights {computed - built:.1f} s"
    )
    for row in tables["decline_brief"].to_pylist():
        console.print(f"  {row['rank']}. {row['finding']}")


def main() -> None:
    parser = argparse.ArgumentParser(description="What the insights say of companies, and what they cost.")
    parser.add_argument("--companies", type=Path, nargs="+", required=True, help="folders of source tables")
    parser.add_argument("--out", type=Path, required=True, help="folder for the insight tables")
    arguments = parser.parse_args()
    for company in arguments.companies:
        explain(company.resolve(), arguments.out)


if __name__ == "__main__":
    main()
