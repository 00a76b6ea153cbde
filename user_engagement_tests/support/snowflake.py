"""The emulator of Snowflake, and databases in it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from dagster._core.test_utils import environ

from user_engagement.warehouse.snowflake.account import SnowflakeAccount, load_account
from user_engagement.warehouse.snowflake.connection import connect, rows_of
from user_engagement.warehouse.snowflake.warehouse import SnowflakeWarehouse
from user_engagement_tests.support.emulated_stages import BUCKETS
from user_engagement_tests.support.ports import unused_port

START_SECONDS = 180
IDLE_SECONDS = 6
PASSWORD = "Pa55-that-nobody-may-see"
DATABASES = count(1)


@dataclass(frozen=True)
class Emulator:
    """A running emulator; ``log`` has every statement that it was sent, and each folder of ``buckets`` is a bucket."""

    port: int
    log: Path
    buckets: Path

    def statements(self) -> str:
        return self.log.read_text()


@dataclass(frozen=True)
class Snowflake:
    """A database of the emulator, which the environment names."""

    emulator: Emulator
    database: str

    @property
    def account(self) -> SnowflakeAccount:
        return load_account()

    @property
    def warehouse(self) -> SnowflakeWarehouse:
        return SnowflakeWarehouse(self.account, "500MB", forgotten_file=Path("none"))

    def rows(self, sql: str) -> list[tuple]:
        with connect(self.account) as connection:
            return rows_of(connection, sql)


@contextmanager
def running_emulator(log: Path) -> Iterator[Emulator]:
    """The emulator as a process of its own; its statements go to ``log``."""
    port = unused_port()
    command = [sys.executable, "-m", "user_engagement_tests.support.emulator", str(port)]
    buckets = log.with_name("buckets")
    variables = {
        "FAKESNOW_DEBUG": "snowflake",
        BUCKETS: str(buckets),
        "EMULATED_IDLE_SECONDS": str(IDLE_SECONDS),
    }
    with log.open("w") as output, environ(variables):
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        for _ in range(10 * START_SECONDS):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        yield Emulator(port, log, buckets)
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def database_of(emulator: Emulator) -> Iterator[Snowflake]:
    """An empty database that the environment points to."""
    name = f"TEST_{next(DATABASES)}"
    variables = {
        "SNOWFLAKE_ACCOUNT": "fakesnow",
        "SNOWFLAKE_USER": "loader",
        "SNOWFLAKE_PASSWORD": PASSWORD,
        "SNOWFLAKE_ROLE": "user_engagement_role",
        "SNOWFLAKE_WAREHOUSE": "user_engagement_wh",
        "SNOWFLAKE_DATABASE": name.lower(),
        "SNOWFLAKE_HOST": "127.0.0.1",
        "SNOWFLAKE_PORT": str(emulator.port),
        "SNOWFLAKE_PROTOCOL": "http",
        "SNOWFLAKE_NETWORK_TIMEOUT": "120",
    }
    with environ(variables):
        yield Snowflake(emulator, name)  # the emulator makes a database for whoever names one
