"""A run launcher that lets Dagster's run monitoring detect that the process of a run is gone.

The default launcher relies on the code server, the parent of that process. If both are killed, nothing reports it:
the run stays "started", occupies its pool, and keeps its months busy.
"""

from __future__ import annotations

import json
import socket
import time

import psutil
from dagster import DagsterEventType, DagsterRun, DefaultRunLauncher, deserialize_value

from user_engagement.dagster_internals import (
    GRPC_INFO_TAG,
    CanCancelExecutionRequest,
    CanCancelExecutionResult,
    CheckRunHealthResult,
    DagsterUserCodeUnreachableError,
    LaunchRunContext,
    WorkerStatus,
)

HOST_TAG = "user_engagement/host"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
ANSWER_SECONDS = 10


def host_tag() -> dict[str, str]:
    """The tag of a run that this host starts."""
    return {HOST_TAG: socket.gethostname()}


class LocalRunLauncher(DefaultRunLauncher):
    """A `DefaultRunLauncher` that checks whether the processes of runs are alive.

    It looks for the processes on this host, and asks a code server on another host for those that it started. Run
    monitoring treats every answer except "running" as a failed run. So the answer is also "running" for runs that
    nobody can check: runs of another host with a code server of its own, runs of a code server that does not answer,
    and runs that were started before this launcher was used.
    """

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def launch_run(self, context: LaunchRunContext) -> None:
        self._instance.add_run_tags(context.dagster_run.run_id, host_tag())
        super().launch_run(context)

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        problem = self._problem(run) if _runs_here(run) else self._problem_elsewhere(run)
        return CheckRunHealthResult(WorkerStatus.FAILED if problem else WorkerStatus.RUNNING, problem)

    def _problem(self, run: DagsterRun) -> str | None:
        """Why the run's process cannot be alive; None if it can."""
        for entry in self._instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT):
            pid = entry.get_dagster_event().engine_event_data.metadata.get("pid")
            if pid is not None:
                return _why_gone(int(str(pid.value)), reported=entry.timestamp)
        return self._why_overdue(run)

    def _problem_elsewhere(self, run: DagsterRun) -> str | None:
        """Why the run's process cannot be alive at a code server on another host; None if it can."""
        host = _code_server_host(run)
        client = None if host in LOOPBACK else self._get_grpc_client_for_termination(run.run_id)
        if client is None:
            return None
        request = CanCancelExecutionRequest(run_id=run.run_id)
        try:
            answer = client.can_cancel_execution(request, timeout=ANSWER_SECONDS)
        except DagsterUserCodeUnreachableError:
            return None
        if deserialize_value(answer, CanCancelExecutionResult).can_cancel:
            return None
        return f"its process is gone: the code server {host} has none for it"

    def _why_overdue(self, run: DagsterRun) -> str | None:
        record = self._instance.get_run_record_by_id(run.run_id)
        allowed = self._instance.run_monitoring_start_timeout_seconds
        if record and record.start_time and allowed and time.time() - record.start_time > allowed:
            return f"no process has reported for this run in {allowed} seconds"
        return None


def _runs_here(run: DagsterRun) -> bool:
    """Whether this host started the run, directly or through a code server on this host."""
    here = socket.gethostname()
    return run.tags.get(HOST_TAG) == here and _code_server_host(run) in (*LOOPBACK, here)


def _code_server_host(run: DagsterRun) -> str:
    return json.loads(run.tags.get(GRPC_INFO_TAG, "{}")).get("host", "localhost")


def _why_gone(pid: int, reported: float) -> str | None:
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return f"its process {pid} has ended"
        # a process takes a second or more to report, so small differences between the clocks do not matter
        if process.create_time() > reported:
            return f"its process {pid} is gone, and another one has that number"
    except psutil.NoSuchProcess:
        return f"its process {pid} is gone"
    return None
