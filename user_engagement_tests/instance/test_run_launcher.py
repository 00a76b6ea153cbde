"""Which runs Dagster's monitoring fails with `LocalRunLauncher`, asked about real processes."""

from __future__ import annotations

import logging
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster._core.events import DagsterEvent, EngineEventData
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.monitoring import execute_run_monitoring_iteration

from user_engagement.instance.run_launcher import HOST_TAG, LocalRunLauncher, host_tag
from user_engagement.settings import PROJECT_ROOT

Start = Callable[..., subprocess.Popen[bytes]]

STARTED, FAILURE = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE
CODE_SERVER_HERE = {GRPC_INFO_TAG: '{"host": "localhost"}'}
CODE_SERVER_ELSEWHERE = {GRPC_INFO_TAG: '{"host": "code.example.org", "port": 4000}'}


@dg.job
def months() -> None: ...


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    shutil.copy(PROJECT_ROOT / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(tmp_path))) as opened:
        assert isinstance(opened.run_launcher, LocalRunLauncher)
        yield opened


@pytest.fixture
def process() -> Iterator[Start]:
    """Starts processes, and ends them with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(command))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.wait()


def started_run(
    instance: dg.DagsterInstance,
    pid: int | None = None,
    at: float | None = None,
    tags: dict[str, str] | None = None,
) -> str:
    """A run that started at a time on this host, and whose process has reported its number, if it has one."""
    run = instance.create_run_for_job(months, tags=CODE_SERVER_HERE | host_tag() if tags is None else tags)
    if pid is not None:
        reported = EngineEventData.in_process(pid)
        happened(instance, run, dg.DagsterEventType.ENGINE_EVENT, at, reported)
    happened(instance, run, dg.DagsterEventType.RUN_START, at)
    return run.run_id


def happened(
    instance: dg.DagsterInstance,
    run: dg.DagsterRun,
    kind: dg.DagsterEventType,
    at: float | None,
    data: EngineEventData | None = None,
) -> None:
    event = DagsterEvent(kind.value, run.job_name, event_specific_data=data, message="")
    at = time.time() if at is None else at
    entry = dg.EventLogEntry(None, logging.INFO, "", run.run_id, at, None, run.job_name, event)
    instance.handle_new_event(entry)


def monitored(instance: dg.DagsterInstance, run_id: str) -> tuple[dg.DagsterRunStatus, str]:
    """A run's status after monitoring has looked at all runs, and the last that is said about it."""
    with create_test_daemon_workspace_context(EmptyWorkspaceTarget(), instance) as context:
        errors = [e for e in execute_run_monitoring_iteration(context, logging.getLogger()) if e]
    assert errors == []
    run = instance.get_run_by_id(run_id)
    assert run
    return run.status, instance.all_logs(run_id)[-1].get_dagster_event().message or ""


def test_a_run_whose_process_is_at_work_goes_on(instance: dg.DagsterInstance, process: Start) -> None:
    assert monitored(instance, started_run(instance, process("sleep", "60").pid))[0] is STARTED


def test_a_run_whose_process_is_suspended_goes_on(instance: dg.DagsterInstance, process: Start) -> None:
    suspended = process("sleep", "60")
    suspended.send_signal(signal.SIGSTOP)
    assert monitored(instance, started_run(instance, suspended.pid))[0] is STARTED


def test_a_run_whose_process_was_killed_fails_with_the_reason(
    instance: dg.DagsterInstance, process: Start
) -> None:
    killed = process("sleep", "60")
    run = started_run(instance, killed.pid)
    killed.kill()
    killed.wait()
    status, message = monitored(instance, run)
    assert status is FAILURE
    assert f"its process {killed.pid} is gone" in message


def test_a_process_that_ended_and_that_nobody_waited_for_is_gone(
    instance: dg.DagsterInstance, process: Start
) -> None:
    zombie = process("true")
    while psutil.Process(zombie.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    status, message = monitored(instance, started_run(instance, zombie.pid))
    assert status is FAILURE
    assert f"its process {zombie.pid} has ended" in message


def test_another_process_with_the_number_of_the_runs_process_is_not_taken_for_it(
    instance: dg.DagsterInstance, process: Start
) -> None:
    other = process("sleep", "60")
    before = psutil.Process(other.pid).create_time() - 1
    status, message = monitored(instance, started_run(instance, other.pid, at=before))
    assert status is FAILURE
    assert "another one has that number" in message


def test_a_run_that_runs_in_the_command_line_itself_is_looked_for_too(
    instance: dg.DagsterInstance, process: Start
) -> None:
    killed = process("sleep", "60")
    run = started_run(instance, killed.pid, tags=host_tag())
    killed.kill()
    killed.wait()
    assert monitored(instance, run)[0] is FAILURE


@pytest.mark.parametrize(
    "tags",
    [
        pytest.param(CODE_SERVER_HERE | {HOST_TAG: "elsewhere"}, id="launched on another host"),
        pytest.param(CODE_SERVER_ELSEWHERE | host_tag(), id="by a code server on another host"),
        pytest.param(CODE_SERVER_HERE, id="by another launcher"),
    ],
)
def test_a_run_that_this_host_cannot_judge_goes_on(
    instance: dg.DagsterInstance, process: Start, tags: dict[str, str]
) -> None:
    ended = process("true")
    ended.wait()
    assert monitored(instance, started_run(instance, ended.pid, tags=tags))[0] is STARTED


@pytest.mark.slow
def test_a_code_server_on_another_host_is_asked_whether_it_still_has_the_run(
    instance: dg.DagsterInstance, process: Start, tmp_path: Path
) -> None:
    """A code server that was restarted knows nothing of the runs before."""
    host = "127.0.0.2"
    with socket.create_server((host, 0)) as probe:
        port = probe.getsockname()[1]
    run = started_run(instance, tags=host_tag() | {GRPC_INFO_TAG: f'{{"host": "{host}", "port": {port}}}'})
    assert monitored(instance, run)[0] is STARTED, "nobody answers there"
    (tmp_path / "empty.py").write_text("import dagster as dg\ndefs = dg.Definitions()\n")
    program = Path(sys.executable).with_name("dagster")
    process(str(program), "api", "grpc", "-h", host, "-p", str(port), "-f", str(tmp_path / "empty.py"))
    deadline = time.monotonic() + 60
    while monitored(instance, run)[0] is STARTED and time.monotonic() < deadline:
        time.sleep(0.2)
    status, message = monitored(instance, run)
    assert status is FAILURE
    assert f"the code server {host} has none for it" in message


def test_a_process_has_the_start_timeout_to_report(instance: dg.DagsterInstance) -> None:
    timeout = instance.run_monitoring_start_timeout_seconds
    soon = started_run(instance, at=time.time() - timeout + 60)
    overdue = started_run(instance, at=time.time() - timeout - 1)
    assert monitored(instance, soon)[0] is STARTED
    status, message = monitored(instance, overdue)
    assert status is FAILURE
    assert f"no process has reported for this run in {timeout} seconds" in message


def test_without_a_start_timeout_a_process_may_report_at_any_time(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(instance.run_monitoring_settings, "start_timeout_seconds", 0)
    assert monitored(instance, started_run(instance, at=time.time() - 86_400))[0] is STARTED
