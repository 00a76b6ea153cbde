"""That the project's queue keeps to a pool's limit on an instance that has never seen the pool."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import cast

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.instance.ref import InstanceRef
from dagster._core.origin import JobPythonOrigin
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.run_coordinator import SubmitRunContext
from dagster._core.test_utils import create_test_daemon_workspace_context, environ
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from user_engagement.assets.raw import raw_assets
from user_engagement.instance.run_coordinator import LOADS_POOL, PooledRunCoordinator
from user_engagement.partitions import monthly_partitions
from user_engagement.settings import PROJECT_ROOT, Settings, load_settings
from user_engagement.sources.files import FilesSource
from user_engagement_tests.support.postgres import running_server


@dg.op(pool="warehouse")
def write() -> None: ...


@dg.op
def read() -> None: ...


@dg.op(pool=LOADS_POOL)
def load() -> None: ...


@dg.job
def loading() -> None:
    load()


@dg.job
def writing() -> None:
    write()


@dg.job
def reading() -> None:
    read()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    shutil.copy(PROJECT_ROOT / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(tmp_path))) as opened:
        assert isinstance(opened.run_coordinator, PooledRunCoordinator)
        yield opened


def started_first(instance: dg.DagsterInstance, *jobs: dg.JobDefinition) -> list[str]:
    """The jobs whose runs leave the queue in its first pass, all of them queued before it."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "__repository__")
    with create_test_daemon_workspace_context(EmptyWorkspaceTarget(), instance) as context:
        for job in jobs:
            run = instance.create_run_for_job(
                job,
                remote_job_origin=RemoteJobOrigin(repository, job.name),
                job_code_origin=cast("JobPythonOrigin", dg.reconstructable(job).get_python_origin()),
            )
            instance.run_coordinator.submit_run(SubmitRunContext(run, context.create_request_context()))
        config = instance.get_concurrency_config()
        queue = QueuedRunCoordinatorDaemon(interval_seconds=1)
        return [run.job_name for run in queue._get_runs_to_dequeue(instance, config, None)]


def test_of_two_runs_that_write_only_one_starts(instance: dg.DagsterInstance) -> None:
    assert started_first(instance, writing, writing) == ["writing"]


def test_runs_that_only_read_do_not_wait(instance: dg.DagsterInstance) -> None:
    assert sorted(started_first(instance, writing, reading, reading)) == ["reading", "reading", "writing"]


@pytest.mark.slow
def test_on_postgresql_a_run_is_queued_though_another_process_sets_the_limit_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The webserver answered with status 500 when the first run was launched while a sensor launched one."""
    shutil.copy(PROJECT_ROOT / "deploy" / "dagster-postgresql.yaml", tmp_path / "dagster.yaml")
    with running_server() as server, server.database() as url:
        database = sa.make_url(url)
        for name, value in {
            "HOST": database.host,
            "PORT": database.port,
            "DB": database.database,
            "USER": database.username,
            "PASSWORD": database.password,
        }.items():
            monkeypatch.setenv(f"DAGSTER_POSTGRES_{name}", str(value))
        with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(tmp_path))) as instance:
            events = instance.event_log_storage
            known = events.get_concurrency_keys

            def set_by_another_process_afterwards() -> set[str]:
                monkeypatch.setattr(events, "get_concurrency_keys", known)
                before = known()
                events.initialize_concurrency_limit_to_default("warehouse")
                return before

            monkeypatch.setattr(events, "get_concurrency_keys", set_by_another_process_afterwards)
            assert started_first(instance, writing, writing) == ["writing"]
            assert known() == {"warehouse"}


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1, 2])
def test_as_many_runs_load_raw_tables_at_a_time_as_the_setting_says(
    instance: dg.DagsterInstance, limit: int
) -> None:
    variables = {"USER_ENGAGEMENT_WAREHOUSE": "snowflake", "USER_ENGAGEMENT_PARALLEL_LOADS": str(limit)}
    with environ(variables):
        started = started_first(instance, loading, loading, loading, writing, writing)
    assert sorted(started) == [*["loading"] * limit, "writing"]


def pools_of(settings: Settings) -> set[str | None]:
    source = FilesSource("nowhere")
    return {each.op.pool for each in raw_assets(source, settings, monthly_partitions(date(2025, 1, 1), None))}


def test_raw_tables_have_a_pool_of_their_own_only_where_several_runs_may_load() -> None:
    assert pools_of(load_settings()) == {"warehouse"}
    assert pools_of(load_settings(warehouse="snowflake")) == {"warehouse"}
    assert pools_of(load_settings(warehouse="snowflake", parallel_loads=2)) == {LOADS_POOL}
