"""Deployments of real Dagster processes: started, asked over GraphQL, killed and ended by tests."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from user_engagement.cli.dev_server import HOST
from user_engagement.settings import PREFIX
from user_engagement_tests.support.company import EXTRAS
from user_engagement_tests.support.ports import unused_port

START_SECONDS = 400
RUN_SECONDS = 180
STOP_SECONDS = 90
SETTLED_SECONDS = 600
"""In which some ticks and the runs that they ask for are over, also on a busy machine."""

BIN = Path(sys.executable).parent
REPOSITORY = {"repositoryLocationName": "user_engagement", "repositoryName": "__repository__"}

LOCATIONS = """
{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError { __typename } } } } }
"""
ASSETS = "{ assetNodes { groupName isMaterializable assetKey { path } } }"
ASSET = """
query ($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  freshnessStatusInfo { freshnessStatus }
  assetPartitionStatuses { ... on TimePartitionStatuses { ranges { status startKey endKey } } }
  assetChecksOrError { ... on AssetChecks { checks {
    name executionForLatestMaterialization { status evaluation { description } } } } } } } }
"""
LAUNCH = """
mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }
"""
RUNS = """
{ runsOrError { ... on Runs { results {
  runId jobName status creationTime startTime endTime tags { key value } } } } }
"""
RUN = """
query ($id: ID!) { runOrError(runId: $id) { ... on Run {
  status startTime endTime tags { key value } stats { ... on RunStatsSnapshot { materializations } }
  eventConnection { events { __typename ... on RunFailureEvent { message } } } } } }
"""
LAUNCH_BACKFILL = """
mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }
"""
BACKFILL = """
query ($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill {
  status runs { runId } } } }
"""
START_SENSOR = """
mutation ($selector: SensorSelector!) { startSensor(sensorSelector: $selector) { __typename } }
"""
TICKS = """
query ($selector: SensorSelector!) { sensorOrError(sensorSelector: $selector) { ... on Sensor {
  sensorState { ticks { status timestamp skipReason } } } } }
"""


@dataclass(frozen=True)
class Run:
    """A run, and the range of months that it is about; what has not begun or ended does so at infinity."""

    id: str
    job: str
    status: str
    months: tuple[str | None, str | None]
    created: float
    started: float
    ended: float


@dataclass(frozen=True)
class Tick:
    """An evaluation of a sensor."""

    status: str
    at: float
    reason: str


def files_of(folder: Path) -> dict[str, str]:
    """Settings under which files of the tests' company are the source."""
    return {
        "USER_ENGAGEMENT_SOURCE": "files",
        "USER_ENGAGEMENT_SOURCE_PATH": str(folder),
        "USER_ENGAGEMENT_AS_OF": "2025-05-20",
    }


class Deployment:
    """Processes of Dagster, of which one serves the UI: `user-engagement dev`, unless told otherwise.

    If ``bare``, there is no dashboard, and runs leave out what most tests are not about.
    """

    def __init__(self, home: Path, bare: bool = True, **variables: str) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.port = unused_port()
        self.url = f"http://{HOST}:{self.port}"
        self.log = home / "processes.log"
        self.commands = [[str(BIN / "user-engagement"), "dev", "--port", str(self.port)]]
        if bare:
            self.commands[0].append("--no-dashboard")
            variables = {**EXTRAS, **variables}
        ports = {"USER_ENGAGEMENT_DASHBOARD_PORT": str(unused_port())}
        own = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        self.environment = {**own, "USER_ENGAGEMENT_HOME": str(home), **ports, **variables}
        self.processes: list[subprocess.Popen[bytes]] = []
        self.seen: set[psutil.Process] = set()

    # -- processes -----------------------------------------------------------------------------------------

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

    def call(self, *args: str) -> None:
        """Runs another command of `user-engagement` on the same home."""
        program = [str(BIN / "user-engagement"), *args]
        done = subprocess.run(program, env=self.environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr

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

    # -- GraphQL -------------------------------------------------------------------------------------------

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
        months = {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}
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

    def runs(self) -> list[Run]:
        """All runs of the home, the oldest first."""
        return [_run(found) for found in reversed(self.ask(RUNS)["runsOrError"]["results"])]

    def backfill(self, groups: Collection[str] | None = None, months: Collection[str] | None = None) -> str:
        """Launches a backfill of the assets in some groups, or of all, over some months, or all; its id."""
        params: dict[str, object] = {"partitionNames": months} if months else {"allPartitions": True}
        params["assetSelection"] = [
            node["assetKey"]
            for node in self.ask(ASSETS)["assetNodes"]
            if node["isMaterializable"] and (groups is None or node["groupName"] in groups)
        ]
        answer = self.ask(LAUNCH_BACKFILL, params=params)["launchPartitionBackfill"]
        assert answer["__typename"] == "LaunchBackfillSuccess", answer
        return answer["backfillId"]

    def backfilled(self, backfill: str) -> tuple[str, list[Run]]:
        """Waits for the end of a backfill; its status and its runs."""

        def state() -> dict[str, Any]:
            return self.ask(BACKFILL, id=backfill)["partitionBackfillOrError"]

        self.until(lambda: state()["status"].startswith("COMPLETED"), SETTLED_SECONDS, every=1)
        ids = {run["runId"] for run in state()["runs"]}
        return state()["status"], [run for run in self.runs() if run.id in ids]

    def asset(self, key: str) -> dict[str, Any]:
        return self.ask(ASSET, key={"path": key.split("/")})["assetNodeOrError"]

    def check(self, asset: str, name: str) -> tuple[str | None, str]:
        """How a check of the asset as it is now ended, as the UI shows it, and its description."""
        checks = {found["name"]: found for found in self.asset(asset)["assetChecksOrError"]["checks"]}
        execution = checks[name]["executionForLatestMaterialization"] or {}
        return execution.get("status"), (execution.get("evaluation") or {}).get("description") or ""

    def switch_on(self, sensor: str) -> None:
        answer = self.ask(START_SENSOR, selector={**REPOSITORY, "sensorName": sensor})["startSensor"]
        assert answer["__typename"] == "Sensor", answer

    def ticks(self, sensor: str, since: float = 0) -> list[Tick]:
        """The sensor's evaluations that began after a time, the oldest first."""
        answer = self.ask(TICKS, selector={**REPOSITORY, "sensorName": sensor})
        ticks = [
            Tick(tick["status"], tick["timestamp"], tick["skipReason"] or "")
            for tick in answer["sensorOrError"]["sensorState"]["ticks"]
        ]
        return [tick for tick in reversed(ticks) if tick.at > since]


def _run(found: dict[str, Any]) -> Run:
    tags = {tag["key"]: tag["value"] for tag in found["tags"]}
    return Run(
        id=found["runId"],
        job=found["jobName"],
        status=found["status"],
        months=(tags.get(ASSET_PARTITION_RANGE_START_TAG), tags.get(ASSET_PARTITION_RANGE_END_TAG)),
        created=found["creationTime"],
        started=found["startTime"] or math.inf,
        ended=found["endTime"] or math.inf,
    )


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def running(deployment: Deployment) -> Iterator[Deployment]:
    """Starts a deployment; in the end kills what is left of it."""
    try:
        deployment.start()
        yield deployment
    finally:
        deployment.kill()
