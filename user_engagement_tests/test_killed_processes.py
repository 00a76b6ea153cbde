"""Deployments of real processes: how they stop, and what becomes of a run when all of them are killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

from user_engagement.devserver import free_port
from user_engagement.run_launcher import HOST_TAG
from user_engagement.settings import PROJECT_ROOT
from user_engagement_tests.postgres import running_server

pytestmark = pytest.mark.slow

START_SECONDS = 120
RUN_SECONDS = 180
NOTICE_SECONDS = 120
"""In which a killed run is to be failed, counted from the moment when everything is up again."""

BIN = Path(sys.executable).parent
WORKSPACE = str(PROJECT_ROOT / "workspace.yaml")
LOCATIONS = """
{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError { __typename } } } } }
"""
LAUNCH = """
mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }
"""
RUN = """
query ($id: ID!) { runOrError(runId: $id) { ... on Run {
  status startTime endTime tags { key value } stats { ... on RunStatsSnapshot { materializations } }
  eventConnection { events { __typename ... on RunFailureEvent { message } } } } } }
"""


class Deployment:
    """Processes of Dagster with one of them serving the UI, started and ended by the test."""

    def __init__(self, home: Path, company: Path, **variables: str) -> None:
        self.port = free_port(3500)
        self.log = home / "processes.log"
        self.commands = [[str(BIN / "user-engagement"), "dev", "--port", str(self.port)]]
        self.environment = {
            **os.environ,
            "USER_ENGAGEMENT_HOME": str(home),
            "USER_ENGAGEMENT_SOURCE": "files",
            "USER_ENGAGEMENT_SOURCE_PATH": str(company),
            "USER_ENGAGEMENT_AS_OF": "2025-05-20",
            **variables,
        }
        self.processes: list[subprocess.Popen[bytes]] = []
        self.seen: set[psutil.Process] = set()

    def start(self) -> None:
        """Returns when the code location is loaded."""
        self.begin()
        self.until(lambda: "RepositoryLocation" in json.dumps(self.ask(LOCATIONS)), START_SECONDS)

    def begin(self) -> None:
        with self.log.open("a") as log:
            self.processes = [
                subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
                for command in self.commands
            ]

    def ask(self, query: str, **variables: object) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["data"]

    def launch(self) -> str:
        """Launches all assets over all months; the run's id."""
        selector = {"repositoryLocationName": "user_engagement", "repositoryName": "__repository__"}
        months = {
            "dagster/asset_partition_range_start": "2025-01-01",
            "dagster/asset_partition_range_end": "2025-05-01",
        }
        params = {
            "selector": {**selector, "jobName": "everything"},
            "mode": "default",
            "executionMetadata": {"tags": [{"key": key, "value": months[key]} for key in months]},
        }
        answer = self.ask(LAUNCH, params=params)["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return answer["run"]["runId"]

    def run(self, run_id: str) -> dict[str, Any]:
        return self.ask(RUN, id=run_id)["runOrError"]

    def until(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.family()
            try:
                if condition():
                    return
            except OSError:
                assert all(process.poll() is None for process in self.processes), self.log.read_text()
            time.sleep(0.2)
        raise TimeoutError(self.log.read_text())

    def family(self) -> set[psutil.Process]:
        """Those of the processes, and of all that they started so far, that have not ended."""
        for process in self.processes:
            with suppress(psutil.NoSuchProcess):
                parent = psutil.Process(process.pid)
                self.seen |= {parent, *parent.children(recursive=True)}
        return {process for process in self.seen if _lives(process)}

    def kill(self) -> None:
        """Kills every process at once: all are suspended first, so that none can react to the end of another."""
        suspended: set[psutil.Process] = set()
        while new := self.family() - suspended:
            for process in new:
                with suppress(psutil.NoSuchProcess):
                    process.suspend()
            suspended |= new
        for process in suspended:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        for process in self.processes:
            process.wait()
        self.ended(10)

    def ended(self, seconds: float) -> None:
        """Fails unless all of the processes end in that time."""
        deadline = time.monotonic() + seconds
        while (left := self.family()) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not left


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def dev(tmp_path: Path, company: Path) -> Iterator[Deployment]:
    """`user-engagement dev`, not started yet."""
    (tmp_path / "home").mkdir()
    deployment = Deployment(tmp_path / "home", company)
    yield deployment
    deployment.kill()


@pytest.fixture
def own_processes(tmp_path: Path, company: Path) -> Iterator[Deployment]:
    """Webserver and daemon as a process manager runs them, with their storage in PostgreSQL; not started yet."""
    home = tmp_path / "home"
    (home / "dagster").mkdir(parents=True)
    shutil.copyfile(PROJECT_ROOT / "deploy" / "dagster-postgresql.yaml", home / "dagster" / "dagster.yaml")
    with ExitStack() as stack:
        server = stack.enter_context(running_server())
        database = sa.make_url(stack.enter_context(server.database()))
        deployment = Deployment(
            home,
            company,
            DAGSTER_HOME=str(home / "dagster"),
            DAGSTER_POSTGRES_HOST=str(database.host),
            DAGSTER_POSTGRES_PORT=str(database.port),
            DAGSTER_POSTGRES_DB=str(database.database),
            DAGSTER_POSTGRES_USER=str(database.username),
            DAGSTER_POSTGRES_PASSWORD=str(database.password),
        )
        address = ["-h", "127.0.0.1", "-p", str(deployment.port)]
        deployment.commands = [
            [str(BIN / "dagster-webserver"), "-w", WORKSPACE, *address],
            [str(BIN / "dagster-daemon"), "run", "-w", WORKSPACE],
        ]
        stack.callback(deployment.kill)
        yield deployment


@pytest.mark.parametrize("name", ["dev", "own_processes"])
def test_a_run_that_was_killed_with_everything_else_fails_after_the_restart_and_the_next_one_succeeds(
    name: str, request: pytest.FixtureRequest
) -> None:
    deployment: Deployment = request.getfixturevalue(name)
    deployment.start()
    killed = deployment.launch()
    deployment.until(lambda: deployment.run(killed)["stats"]["materializations"] > 0, RUN_SECONDS)
    deployment.kill()

    deployment.start()
    again = deployment.launch()
    deployment.until(lambda: deployment.run(killed)["status"] == "FAILURE", NOTICE_SECONDS)
    deployment.until(lambda: deployment.run(again)["status"] in ("SUCCESS", "FAILURE"), RUN_SECONDS)

    first, second = deployment.run(killed), deployment.run(again)
    assert second["status"] == "SUCCESS", deployment.log.read_text()
    assert second["startTime"] > first["endTime"], "the pool lets one run at a time write to the warehouse"
    (failure,) = [e for e in first["eventConnection"]["events"] if e["__typename"] == "RunFailureEvent"]
    assert "is gone" in failure["message"]
    assert {"key": HOST_TAG, "value": socket.gethostname()} in first["tags"]


def test_ctrl_c_ends_a_run_in_progress_and_leaves_no_process(dev: Deployment) -> None:
    dev.start()
    run = dev.launch()
    dev.until(lambda: dev.run(run)["stats"]["materializations"] > 0, RUN_SECONDS)
    dev.processes[0].send_signal(signal.SIGINT)
    assert dev.processes[0].wait(90) == 0
    dev.ended(0)


def test_a_second_ctrl_c_ends_everything_at_once(dev: Deployment) -> None:
    dev.start()
    dev.processes[0].send_signal(signal.SIGINT)
    time.sleep(0.2)
    dev.processes[0].send_signal(signal.SIGINT)
    assert dev.processes[0].wait(3) == 0
    dev.ended(0)


def test_ctrl_c_while_the_code_location_loads_leaves_no_process(dev: Deployment) -> None:
    dev.begin()
    dev.until(lambda: any("code-server" in process.cmdline() for process in dev.family()), START_SECONDS)
    dev.processes[0].send_signal(signal.SIGINT)
    dev.processes[0].wait(60)
    dev.ended(0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_the_command(dev: Deployment, number: signal.Signals) -> None:
    dev.start()
    dev.processes[0].send_signal(number)
    dev.processes[0].wait(60)
    dev.ended(60)


def test_nothing_outlives_dagsters_root_process(dev: Deployment) -> None:
    dev.start()
    (root,) = psutil.Process(dev.processes[0].pid).children()
    root.kill()
    assert dev.processes[0].wait(60) != 0
    dev.ended(0)


def test_a_port_that_is_taken_is_refused(command: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = command("dev", "--port", port)
    assert done.returncode == 2
    assert f"--port {port} is taken" in done.stderr
