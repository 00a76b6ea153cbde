"""What the command line says of a machine without room, or without the right to write."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

import duckdb
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from user_engagement.cli.app import app
from user_engagement.cli.explanation import conditions_of
from user_engagement.cli.machine import machine_problem, refuse_unwritable
from user_engagement.errors import RunFailedError, SettingsError, UserError
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
    for home in (tmp_path / "file" / "home", tmp_path / "file"):
        with pytest.raises(SettingsError, match=r"USER_ENGAGEMENT_HOME=.*file.*: cannot be made a folder"):
            refuse_unwritable(load_settings(home=home))


def test_replace_checks_the_new_source_before_it_empties_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = tmp_path / "home" / "warehouse.duckdb"
    loaded.parent.mkdir()
    duckdb.connect(str(loaded)).close()
    monkeypatch.setenv("USER_ENGAGEMENT_HOME", str(loaded.parent))
    mistyped = ["run", "--path", str(tmp_path / "nowhere"), "--replace"]
    result = CliRunner().invoke(app, mistyped)
    assert isinstance(result.exception, UserError)
    assert "nowhere" in str(result.exception)
    assert loaded.exists()


def test_an_attribute_that_is_given_twice_is_refused() -> None:
    with pytest.raises(SettingsError, match="country is given twice"):
        conditions_of(["country=US", "country=DE"])
    assert conditions_of(["country=US", "product_type=free"]) == {"country": "US", "product_type": "free"}


def test_all_months_and_some_of_them_cannot_both_be_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USER_ENGAGEMENT_HOME", str(tmp_path / "home"))
    result = CliRunner().invoke(app, ["run", "--full", "--start", "2026-01"])
    assert isinstance(result.exception, SettingsError)
    assert not (tmp_path / "home" / "warehouse.duckdb").exists()
