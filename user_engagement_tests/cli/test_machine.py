"""What the command line says of a machine without room, or without the right to write."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from user_engagement.cli.machine import machine_problem, refuse_unwritable
from user_engagement.errors import RunFailedError
from user_engagement.settings import Settings, load_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path / "home")


def full_database(file: Path) -> BaseException:
    """The error of a database that has no room for one more row, as SQLAlchemy wraps it."""
    engine = sa.create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        connection.exec_driver_sql("pragma max_page_count = 2")
        connection.exec_driver_sql("create table held (value)")
        with pytest.raises(sa.exc.OperationalError) as caught:
            connection.exec_driver_sql("insert into held values (zeroblob(100000))")
    return caught.value


def test_a_full_disk_is_found_under_the_errors_that_hide_it(settings: Settings, tmp_path: Path) -> None:
    hidden = RuntimeError("dbt cannot parse the project")
    hidden.__cause__ = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for error in (
        hidden,
        full_database(tmp_path / "events.db"),
        RunFailedError("IO Error: No space left on device"),
    ):
        found = machine_problem(error, settings)
        assert found
        assert "no room left" in found
        assert "\n" not in found


def test_a_read_only_home_is_said_to_be_one(settings: Settings, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "events.db") as connection:
        connection.execute("create table held (value)")
    read_only = sqlite3.connect(f"file:{tmp_path / 'events.db'}?mode=ro", uri=True)
    with pytest.raises(sqlite3.OperationalError) as caught:
        read_only.execute("insert into held values (1)")
    read_only.close()
    found = machine_problem(caught.value, settings)
    assert found
    assert f"{settings.home} and " in found
    assert "must be writable" in found


def test_a_source_that_denies_a_permission_is_no_problem_of_the_machine(settings: Settings) -> None:
    assert machine_problem(RunFailedError("permission denied for table users"), settings) is None
    assert machine_problem(ValueError("something else"), settings) is None


def test_a_home_that_cannot_be_made_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        refuse_unwritable(load_settings(home=tmp_path / "file" / "home"))
