from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from user_engagement.errors import SettingsError
from user_engagement.settings import DEFAULT_SEGMENTS, get_settings, load_settings


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No variable of the machine that runs the tests, and no settings left over from another test."""
    for name in [name for name in os.environ if name.upper().startswith("USER_ENGAGEMENT_")]:
        monkeypatch.delenv(name)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def test_without_any_variable_the_defaults_hold() -> None:
    settings = load_settings()
    assert settings.home == Path(".user_engagement")
    assert (settings.start, settings.end, settings.as_of, settings.data_start) == (None, None, None, None)
    assert (settings.timezone, settings.zone) == ("UTC", ZoneInfo("UTC"))
    assert (settings.active_window_days, settings.inactivity_days, settings.max_periods) == (28, 28, 24)
    assert settings.max_session_seconds == 86_400
    assert settings.segments == DEFAULT_SEGMENTS
    assert settings.segments_are_default


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("HOME", "/data/state", Path("/data/state")),
        ("SOURCE_PATH", "/data/exports", "/data/exports"),
        ("START", "2025-03", date(2025, 3, 1)),
        ("START", "2025-03-17", date(2025, 3, 1)),
        ("END", "2024-02", date(2024, 2, 1)),
        ("AS_OF", "2024-02-29", date(2024, 2, 29)),
        ("DATA_START", "2024-12-31", date(2024, 12, 31)),
        ("TIMEZONE", "America/New_York", "America/New_York"),
        ("SEGMENTS", "plan", ("plan",)),
        ("SEGMENTS", " Plan, country ,,COUNTRY ", ("plan", "country")),
        ("SEGMENTS", ",", ()),
        ("ACTIVE_WINDOW_DAYS", "7", 7),
        ("INACTIVITY_DAYS", "366", 366),
        ("MAX_SESSION_SECONDS", "0.5", 0.5),
        ("MAX_PERIODS", "60", 60),
        ("SEED", "0", 0),
        ("MEMORY_LIMIT", "1.5 gib", "1.5 gib"),
        ("DBT_IN_PROCESS", "false", False),
    ],
)
def test_a_variable_sets_its_setting(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: Any
) -> None:
    monkeypatch.setenv(f"USER_ENGAGEMENT_{variable}", value)
    assert getattr(load_settings(), variable.lower()) == expected


@pytest.mark.parametrize("variable", ["HOME", "START", "AS_OF", "SEGMENTS", "TIMEZONE", "MAX_PERIODS"])
def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    default = load_settings()
    monkeypatch.setenv(f"USER_ENGAGEMENT_{variable}", "")
    assert load_settings() == default


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("WAREHOUSE", "oracle"),
        ("SOURCE", "ftp"),
        ("START", "jan"),
        ("START", "2025-00"),
        ("START", "2025-1"),
        ("END", "2025"),
        ("END", "2025-02-30"),
        ("AS_OF", "31.01.2025"),
        ("AS_OF", "2025-01"),
        ("AS_OF", "2025-01-31T10:00"),
        ("DATA_START", "soon"),
        ("TIMEZONE", "Mars/Base"),
        ("TIMEZONE", "../zone"),
        ("TIMEZONE", "/etc/localtime"),
        ("TIMEZONE", "+02:00"),
        ("SEGMENTS", "plan, sign up"),
        ("SEGMENTS", "1st"),
        ("SEGMENTS", "plan;drop table users"),
        ("ACTIVE_WINDOW_DAYS", "1"),
        ("ACTIVE_WINDOW_DAYS", "367"),
        ("ACTIVE_WINDOW_DAYS", "28.5"),
        ("INACTIVITY_DAYS", "-28"),
        ("INACTIVITY_DAYS", "a month"),
        ("MAX_SESSION_SECONDS", "0"),
        ("MAX_SESSION_SECONDS", "1 day"),
        ("MAX_SESSION_SECONDS", "nan"),
        ("MAX_PERIODS", "0"),
        ("MAX_PERIODS", "61"),
        ("SEED", "-1"),
        ("MEMORY_LIMIT", "lots"),
        ("MEMORY_LIMIT", "-2GB"),
        ("DBT_IN_PROCESS", "maybe"),
    ],
)
def test_a_bad_value_ends_in_one_error_that_names_variable_and_value(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(f"USER_ENGAGEMENT_{variable}", value)
    with pytest.raises(SettingsError) as raised:
        load_settings()
    message = str(raised.value)
    assert "\n" not in message
    assert message.startswith(f"USER_ENGAGEMENT_{variable}=")
    assert value in message
    assert "pydantic" not in message


def test_every_bad_variable_has_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER_ENGAGEMENT_SEED", "x")
    monkeypatch.setenv("USER_ENGAGEMENT_TIMEZONE", "Mars/Base")
    with pytest.raises(SettingsError) as raised:
        load_settings(max_periods=0)
    assert sorted(line.split("=")[0] for line in str(raised.value).splitlines()) == [
        "USER_ENGAGEMENT_MAX_PERIODS",
        "USER_ENGAGEMENT_SEED",
        "USER_ENGAGEMENT_TIMEZONE",
    ]


def test_a_start_after_the_end_names_both_variables() -> None:
    with pytest.raises(SettingsError) as raised:
        load_settings(start="2025-03", end="2025-01")
    message = str(raised.value)
    assert "USER_ENGAGEMENT_START 2025-03 is after USER_ENGAGEMENT_END 2025-01" in message


def test_one_month_may_be_both_start_and_end() -> None:
    settings = load_settings(start="2025-03", end=date(2025, 3, 31))
    assert settings.start == settings.end == date(2025, 3, 1)


def test_an_override_wins_over_the_environment_and_none_leaves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER_ENGAGEMENT_MAX_PERIODS", "12")
    monkeypatch.setenv("USER_ENGAGEMENT_START", "2025-01")
    settings = load_settings(max_periods=6, start=None)
    assert (settings.max_periods, settings.start) == (6, date(2025, 1, 1))


def test_a_bad_override_is_named_like_its_variable() -> None:
    with pytest.raises(SettingsError, match=r"^USER_ENGAGEMENT_START=2025/01: "):
        load_settings(start="2025/01")


def test_segments_that_are_given_are_told_from_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER_ENGAGEMENT_SEGMENTS", ",".join(DEFAULT_SEGMENTS))
    settings = load_settings()
    assert settings.segments == DEFAULT_SEGMENTS
    assert not settings.segments_are_default


def test_all_state_lies_under_the_home_wherever_the_process_goes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(home="state")
    assert settings.warehouse_file == tmp_path / "state/warehouse.duckdb"
    assert settings.published_dir == tmp_path / "state/published"
    assert settings.dagster_home == tmp_path / "state/dagster"


def test_the_settings_of_a_process_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = get_settings()
    monkeypatch.setenv("USER_ENGAGEMENT_SEED", "99")
    assert get_settings() is first
    get_settings.cache_clear()
    assert get_settings().seed == 99


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(Exception, match="frozen"):
        load_settings().seed = 3


def test_a_file_that_takes_one_writer_is_not_loaded_in_parallel() -> None:
    with pytest.raises(SettingsError, match=r"PARALLEL_LOADS=2: a DuckDB file takes one writer; set it to 1"):
        load_settings(parallel_loads=2)
    assert load_settings(parallel_loads=2, warehouse="snowflake").parallel_loads == 2
