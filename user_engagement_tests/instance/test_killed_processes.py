"""Deployments of real processes: how they stop, and what becomes of a run when all of them are killed."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from user_engagement.instance.run_launcher import HOST_TAG
from user_engagement.settings import PROJECT_ROOT
from user_engagement_tests.support.company import EXTRAS
from user_engagement_tests.support.postgres import running_server
from user_engagement_tests.support.servers import BIN, RUN_SECONDS, START_SECONDS, Deployment, files_of

pytestmark = pytest.mark.slow

NOTICE_SECONDS = 120
"""In which a killed run is to be failed, counted from the moment when everything is up again."""

WORKSPACE = str(PROJECT_ROOT / "workspace.yaml")
EVERYTHING = ("everything", "2025-01-01", "2025-05-01")


def unattended(company: Path) -> dict[str, str]:
    """Settings under which no run starts but those that a test launches."""
    return {**files_of(company), "USER_ENGAGEMENT_AUTOMATION": "false"}


@pytest.fixture
def dev(tmp_path: Path, company: Path) -> Iterator[Deployment]:
    """`user-engagement dev`, not started yet."""
    deployment = Deployment(tmp_path / "home", bare=False, **EXTRAS, **unattended(company))
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
            **unattended(company),
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


@pytest.mark.exhaustive
def test_a_run_that_was_killed_with_everything_else_fails_after_the_restart_and_the_next_one_succeeds(
    own_processes: Deployment,
) -> None:
    """The same under `user-engagement dev` is a story of `test_operations`."""
    deployment = own_processes
    deployment.start()
    killed = deployment.launch(*EVERYTHING)
    deployment.until(lambda: deployment.run(killed)["stats"]["materializations"] > 0, RUN_SECONDS)
    deployment.kill()

    deployment.start()
    again = deployment.launch(*EVERYTHING)
    deployment.until(lambda: deployment.run(killed)["status"] == "FAILURE", NOTICE_SECONDS)
    deployment.until(lambda: deployment.run(again)["status"] in ("SUCCESS", "FAILURE"), RUN_SECONDS)

    first, second = deployment.run(killed), deployment.run(again)
    assert second["status"] == "SUCCESS", deployment.log.read_text()
    assert second["startTime"] > first["endTime"], "the pool lets one run at a time write to the warehouse"
    (failure,) = [e for e in first["eventConnection"]["events"] if e["__typename"] == "RunFailureEvent"]
    assert "is gone" in failure["message"]
    assert {"key": HOST_TAG, "value": socket.gethostname()} in first["tags"]


@pytest.mark.exhaustive
def test_ctrl_c_ends_a_run_in_progress_and_leaves_no_process(dev: Deployment) -> None:
    dev.start()
    run = dev.launch(*EVERYTHING)
    dev.until(lambda: dev.run(run)["stats"]["materializations"] > 0, RUN_SECONDS)
    assert dev.interrupt() == 0
    dev.ended(0)


@pytest.mark.exhaustive
def test_a_second_ctrl_c_ends_everything_at_once(dev: Deployment) -> None:
    dev.start()
    dev.processes[0].send_signal(signal.SIGINT)
    time.sleep(0.2)
    dev.processes[0].send_signal(signal.SIGINT)
    assert dev.processes[0].wait(3) == 0
    dev.ended(0)


@pytest.mark.long
def test_ctrl_c_while_the_code_location_loads_leaves_no_process(dev: Deployment) -> None:
    dev.begin()
    dev.until(lambda: any("code-server" in process.cmdline() for process in dev.family()), START_SECONDS)
    dev.interrupt()
    dev.ended(0)


@pytest.mark.exhaustive
def test_nothing_outlives_the_command_when_it_is_killed(dev: Deployment) -> None:
    dev.start()
    dev.processes[0].kill()
    dev.processes[0].wait(60)
    dev.ended(60)


@pytest.mark.exhaustive
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
