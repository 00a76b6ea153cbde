"""The emulator, one process for all tests, and a database of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from user_engagement_tests.support.snowflake import Emulator, Snowflake, database_of, running_emulator


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with running_emulator(tmp_path_factory.mktemp("emulator") / "log") as emulator:
        yield emulator


@pytest.fixture
def snowflake(emulator: Emulator) -> Iterator[Snowflake]:
    with database_of(emulator) as snowflake:
        yield snowflake
