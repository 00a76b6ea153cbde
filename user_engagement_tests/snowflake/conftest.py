"""The emulator, one process for all tests, and a database of its own for each test."""

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

import pytest
from dagster._core.test_utils import environ

from user_engagement.dashboard.ports import free_port
from user_engagement.warehouse.snowflake.account import SnowflakeAccount, load_account
from user_engagement.warehouse.snowflake.connection import connect, rows_of

START_SECONDS = 60
PASSWORD = "Pa55-that-nobody-may-see"
DATABASES = count(1)


@dataclass(frozen=True)
class Emulator:
    """A running emulator; ``log`` has every statement that it was sent."""

    port: int
    log: Path

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

    def rows(self, sql: str) -> list[tuple]:
        with connect(self.account) as connection:
            return rows_of(connection, sql)


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    port, log = free_port(8800), tmp_path_factory.mktemp("emulator") / "log"
    command = [sys.executable, "-m", "user_engagement_tests.support.emulator", str(port)]
    with log.open("w") as output, environ({"FAKESNOW_DEBUG": "snowflake"}):
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        for _ in range(10 * START_SECONDS):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        yield Emulator(port, log)
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
        "SNOWFLAKE_NETWORK_TIMEOUT": "30",
    }
    with environ(variables):
        yield Snowflake(emulator, name)  # the emulator makes a database for whoever names one


@pytest.fixture
def snowflake(emulator: Emulator) -> Iterator[Snowflake]:
    with database_of(emulator) as snowflake:
        yield snowflake
