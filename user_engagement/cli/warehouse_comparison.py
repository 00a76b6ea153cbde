"""Runs the pipeline on a Snowflake account and on DuckDB for one simulated company, and compares the marts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pandas as pd

from user_engagement import simulation
from user_engagement.contracts.marts import MARTS
from user_engagement.pipeline import plan, run
from user_engagement.settings import PREFIX, Settings, load_settings
from user_engagement.warehouse import open_warehouse
from user_engagement.warehouse.schemas import SCHEMAS
from user_engagement.warehouse.snowflake.account import load_account
from user_engagement.warehouse.snowflake.connection import connect, rows_of

USERS, THROUGH = 4_000, date(2025, 5, 20)
# the last bits of logarithms and roots differ between machines
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Comparison:
    """Seconds of each load in each warehouse, rows of all marts, and one line for each mart that differs."""

    seconds: dict[str, float]
    rows: int
    differences: tuple[str, ...]


def compare_warehouses(report: Callable[[str], None]) -> Comparison:
    """Loads a small company into new Snowflake schemas and into DuckDB, compares every mart, and drops the schemas.

    Raises:
        WarehouseError: Snowflake cannot be reached.
        RunFailedError: a run failed. The schemas are dropped in this case, too.
    """
    with TemporaryDirectory(prefix="user-engagement-") as name, _own_schemas():
        folder = Path(name)
        report(f"simulating a company of some {USERS // 6} users")
        simulation.write_files(simulation.WorldConfig(users=USERS), THROUGH, folder / "source")
        marts: dict[str, dict[str, pd.DataFrame]] = {}
        seconds: dict[str, float] = {}
        for warehouse in ("duckdb", "snowflake"):
            settings = load_settings(
                home=folder / warehouse,
                warehouse=warehouse,
                source="files",
                source_path=str(folder / "source"),
                as_of=THROUGH,
            )
            with _home(settings):
                for load, again in {"first load": False, "all months again": True}.items():
                    report(f"{warehouse}: {load}")
                    started = time.monotonic()
                    run(settings, plan(settings, full=again))
                    seconds[f"{warehouse}, {load}"] = time.monotonic() - started
                marts[warehouse] = _marts(settings)
    differences = [line for name in MARTS if (line := _difference(name, marts))]
    return Comparison(seconds, sum(len(frame) for frame in marts["snowflake"].values()), tuple(differences))


@contextmanager
def _own_schemas() -> Iterator[None]:
    """Uses schemas with a unique prefix, and drops them afterwards."""
    before = os.environ.get("SNOWFLAKE_SCHEMA_PREFIX", "")
    os.environ["SNOWFLAKE_SCHEMA_PREFIX"] = f"{before}comparison_{uuid4().hex[:8]}_"
    try:
        yield
    finally:
        account = load_account()
        with connect(account, asset="doctor") as connection:
            for schema in (*SCHEMAS, "main"):
                rows_of(connection, f"drop schema if exists {account.database}.{account.schema_name(schema)}")
        os.environ["SNOWFLAKE_SCHEMA_PREFIX"] = before


@contextmanager
def _home(settings: Settings) -> Iterator[None]:
    """Sets the home in the environment, where dbt's profile reads it."""
    before = os.environ.get(PREFIX + "HOME")
    os.environ[PREFIX + "HOME"] = str(settings.home)
    try:
        yield
    finally:
        os.environ.pop(PREFIX + "HOME")
        if before is not None:
            os.environ[PREFIX + "HOME"] = before


def _marts(settings: Settings) -> dict[str, pd.DataFrame]:
    with open_warehouse(settings).reader() as reader:
        return {name: reader.mart(name).read_all().to_pandas() for name in MARTS}


def _difference(name: str, marts: dict[str, dict[str, pd.DataFrame]]) -> str | None:
    found, wanted = marts["snowflake"][name], marts["duckdb"][name]
    try:
        pd.testing.assert_frame_equal(found, wanted, check_dtype=False, rtol=TOLERANCE, atol=TOLERANCE)
    except AssertionError as error:
        return f"{name}: {' '.join(str(error).split())}"
    return None
