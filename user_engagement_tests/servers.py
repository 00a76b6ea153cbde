"""Deployments of real Dagster processes: started, asked over GraphQL, killed and ended by tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from user_engagement.devserver import free_port
from user_engagement.settings import PREFIX

START_SECONDS = 120
RUN_SECONDS = 180
STOP_SECONDS = 90

BIN = Path(sys.executable).parent
REPOSITORY = {"repositoryLocationName": "user_engagement", "repositoryName": "__repository__"}
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"

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


def files_of(company: Path) -> dict[str, str]:
    """Settings under which the test company's files are the source."""
    return {
        "USER_ENGAGEMENT_SOURCE": "files",
        "USER_ENGAGEMENT_SOURCE_PATH": str(company),
        "USER_ENGAGEMENT_AS_OF": "2025-05-20",
    }


class Deployment:
    """Processes of Dagster with one of them serving the UI: `user-engagement dev`, unless told otherwise."""

    def __init__(self, home: Path, **variables: str) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.port = free_port(3500)
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = home / "processes.log"
        self.commands = [[str(BIN / "user-engagement"), "dev", "--port", str(self.port)]]
        own = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        self.environment = {**own, "USER_ENGAGEMENT_HOME": str(home), **variables}
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
            f"{self.url}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["data"]

    def launch(self, job: str, first: str, last: str) -> str:
        """Launches a job over a range of months; the run's id."""
        months = {RANGE_START: first, RANGE_END: last}
        params = {
            "selector": {**REPOSITORY, "jobName": job},
            "mode": "default",
            "executionMetadata": {"tags": [{"key": key, "value": months[key]} for key in months]},
        }
        answer = self.ask(LAUNCH, params=params)["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return answer["run"]["runId"]

    def run(self, run_id: str) -> dict[str, Any]:
        return self.ask(RUN, id=run_id)["runOrError"]

    def until(self, condition: Callable[[], bool], seconds: float, every: float = 0.2) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.family()
            try:
                if condition():
                    return
            except OSError:
                assert all(process.poll() is None for process in self.processes), self.log.read_text()
            time.sleep(every)
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

    def interrupt(self) -> int:
        """Ends the first process as Ctrl-C does; its exit code."""
        self.processes[0].send_signal(signal.SIGINT)
        return self.processes[0].wait(STOP_SECONDS)

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


@contextmanager
def running(deployment: Deployment) -> Iterator[Deployment]:
    """Starts a deployment, and kills what is left of it in the end."""
    try:
        deployment.start()
        yield deployment
    finally:
        deployment.kill()
