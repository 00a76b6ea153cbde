"""The Dagster instance of a home: which ``dagster.yaml`` it gets, and that each kind of storage works."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml
from dagster._core.storage.event_log import SqliteEventLogStorage

from user_engagement.instance.event_log import BatchingEventLogStorage
from user_engagement.instance.home import EVER_SHIPPED, SHIPPED, open_instance, prepare_dagster_home
from user_engagement.instance.run_coordinator import PooledRunCoordinator
from user_engagement.instance.run_launcher import LocalRunLauncher
from user_engagement.settings import PROJECT_ROOT, Settings
from user_engagement_tests.support.postgres import running_server

POSTGRESQL = PROJECT_ROOT / "deploy" / "dagster-postgresql.yaml"
FIRST_VERSION = """\
# The Dagster instance: copied to USER_ENGAGEMENT_HOME/dagster when that has none, so that it can be changed there.
# Runs queue, and a pool lets one run at a time write to the embedded warehouse, which takes one writer.

telemetry:
  enabled: false

concurrency:
  runs:
    max_concurrent_runs: 4
  pools:
    default_limit: 1
    granularity: run
"""


@pytest.fixture
def settings(settings_for: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("DAGSTER_HOME", "")  # which a home that is opened sets: put back after the test
    return settings_for()


def configure(settings: Settings, text: str) -> Path:
    settings.dagster_home.mkdir(parents=True)
    config = settings.dagster_home / "dagster.yaml"
    config.write_text(text)
    return config


def test_a_new_home_gets_the_projects_dagster_yaml(settings: Settings) -> None:
    assert (prepare_dagster_home(settings) / "dagster.yaml").read_text() == SHIPPED.read_text()


def test_an_unchanged_copy_of_an_earlier_version_is_brought_up_to_date(settings: Settings) -> None:
    config = configure(settings, FIRST_VERSION)
    prepare_dagster_home(settings)
    assert config.read_text() == SHIPPED.read_text()


def test_a_copy_that_its_user_changed_is_left_as_it_is(settings: Settings) -> None:
    own = FIRST_VERSION.replace("max_concurrent_runs: 4", "max_concurrent_runs: 2")
    config = configure(settings, own)
    prepare_dagster_home(settings)
    assert config.read_text() == own
    with open_instance(settings) as instance:
        assert not instance.run_monitoring_enabled


def test_an_up_to_date_copy_is_not_written_again(settings: Settings) -> None:
    prepare_dagster_home(settings)
    config = settings.dagster_home / "dagster.yaml"
    config.chmod(0o400)
    written = config.stat().st_mtime_ns
    prepare_dagster_home(settings)
    assert config.stat().st_mtime_ns == written


def test_a_users_own_copy_that_names_the_old_places_of_launcher_and_coordinator_still_works(
    settings: Settings,
) -> None:
    old = SHIPPED.read_text().replace("user_engagement.instance.", "user_engagement.")
    own = old.replace("max_concurrent_runs: 4", "max_concurrent_runs: 2")
    assert "module: user_engagement.run_launcher" in own
    configure(settings, own)
    with open_instance(settings) as instance:
        assert isinstance(instance.run_launcher, LocalRunLauncher)
        assert isinstance(instance.run_coordinator, PooledRunCoordinator)


def test_this_version_of_dagster_yaml_is_on_the_list_of_those_that_may_be_replaced() -> None:
    assert hashlib.sha256(SHIPPED.read_bytes()).hexdigest() in EVER_SHIPPED, (
        "dagster.yaml has changed: add its SHA-256 to EVER_SHIPPED, and leave the others"
    )


def test_the_instance_on_postgresql_differs_in_its_storage_alone() -> None:
    postgresql = yaml.safe_load(POSTGRESQL.read_text())
    assert list(postgresql.pop("storage")) == ["postgres"]
    assert postgresql == yaml.safe_load(SHIPPED.read_text())


def test_the_command_line_batches_events_where_they_go_by_default(settings: Settings) -> None:
    with open_instance(settings) as instance:
        assert isinstance(instance.event_log_storage, BatchingEventLogStorage)


def test_a_users_own_storage_is_used_as_it_is(settings: Settings, tmp_path: Path) -> None:
    configure(settings, yaml.safe_dump({"storage": {"sqlite": {"base_dir": str(tmp_path / "own")}}}))
    with open_instance(settings) as instance:
        assert type(instance.event_log_storage) is SqliteEventLogStorage
    assert sorted(path.name for path in (tmp_path / "own" / "history").iterdir()) == ["runs", "runs.db"]
    assert not (settings.dagster_home / "history").exists()


def test_a_users_own_event_log_storage_is_used_as_it_is(settings: Settings, tmp_path: Path) -> None:
    own = {"module": "dagster._core.storage.event_log", "class": "SqliteEventLogStorage"}
    configure(
        settings,
        yaml.safe_dump({"event_log_storage": {**own, "config": {"base_dir": str(tmp_path / "own")}}}),
    )
    with open_instance(settings) as instance:
        assert type(instance.event_log_storage) is SqliteEventLogStorage
        assert instance.event_log_storage._base_dir == str(tmp_path / "own")


def test_a_users_own_run_storage_is_used_with_batched_events(settings: Settings, tmp_path: Path) -> None:
    own = {"module": "dagster._core.storage.runs", "class": "SqliteRunStorage"}
    configure(
        settings, yaml.safe_dump({"run_storage": {**own, "config": {"base_dir": str(tmp_path / "own")}}})
    )
    with open_instance(settings) as instance:
        assert isinstance(instance.event_log_storage, BatchingEventLogStorage)
    assert (tmp_path / "own" / "runs.db").exists()


@pytest.fixture
def database() -> Iterator[sa.URL]:
    """An empty PostgreSQL database."""
    with running_server() as server, server.database() as url:
        yield sa.make_url(url)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_command_line_keeps_its_history_in_postgresql(
    command: Callable[..., subprocess.CompletedProcess[str]], company: Path, database: sa.URL, tmp_path: Path
) -> None:
    home = tmp_path / "home" / "dagster"
    home.mkdir(parents=True)
    shutil.copyfile(POSTGRESQL, home / "dagster.yaml")
    variables = {
        "DAGSTER_POSTGRES_HOST": str(database.host),
        "DAGSTER_POSTGRES_PORT": str(database.port),
        "DAGSTER_POSTGRES_DB": str(database.database),
        "DAGSTER_POSTGRES_USER": str(database.username),
        "DAGSTER_POSTGRES_PASSWORD": str(database.password),
    }
    arguments = ("run", "--source", "files", "--path", str(company), "--as-of", "2025-05-20")

    first = command(*arguments, **variables)
    assert first.returncode == 0, first.stderr
    assert "Loaded 2025-01 to 2025-05" in first.stdout

    second = command(*arguments, **variables)
    assert second.returncode == 0, second.stderr
    assert "Nothing new in the source" in second.stdout

    with sa.create_engine(database, poolclass=sa.NullPool).connect() as connection:
        statuses = connection.exec_driver_sql("select status from runs").scalars().all()
    assert statuses == ["SUCCESS"] * 3
    assert [path.name for path in home.iterdir()] == ["dagster.yaml"]
