"""Runs Dagster's UI and daemon and the dashboard as one foreground command.

`serve` starts `main` of this module as the root of a process group, in which all of Dagster's processes stay.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from types import FrameType

from rich.console import Console

from user_engagement.dashboard import server as dashboard
from user_engagement.dashboard.ports import HOST, free_port, is_free
from user_engagement.errors import UserError
from user_engagement.instance.home import prepare_dagster_home
from user_engagement.settings import PROJECT_ROOT, Settings

FIRST_PORT = 3000
NO_DASHBOARD = 0
STOP_SECONDS = 30


def serve(settings: Settings, port: int | None, with_dashboard: bool, console: Console) -> int:
    """Runs webserver, daemon, code server and optionally the dashboard until Ctrl-C or SIGTERM; returns the exit code.

    The first signal stops them in order, the second kills them. However this process ends, they stop with it.

    Raises:
        UserError: ``port`` is taken, or the dashboard's login is not configured completely.
    """
    if port and not is_free(port):
        raise UserError(
            f"--port {port} is taken. Choose another port, or leave out --port to use a free one."
        )
    ui_port = port or free_port(FIRST_PORT)
    prepare_dagster_home(settings)
    dashboard_port = free_port(settings.dashboard_port, reusing=False) if with_dashboard else NO_DASHBOARD
    command = [sys.executable, "-m", __name__, str(dashboard_port)]
    command += [
        "dev",
        "--workspace",
        str(PROJECT_ROOT / "workspace.yaml"),
        "--host",
        HOST,
        "--port",
        str(ui_port),
    ]
    # A session of its own: Ctrl-C then reaches only this process, which stops the root of the tree, and the root stops
    # its children in order. Default signal handling: a shell that starts this command in the background makes it
    # ignore SIGINT, and Dagster would then ignore SIGTERM too.
    root = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=_default_signals,
        env=dashboard.environment(settings) if with_dashboard else None,
    )
    try:
        stopping = _on_stop_signals(root)
        console.print(f"Dagster's UI: [bold]http://{HOST}:{ui_port}[/]   (Ctrl-C stops it)")
        if with_dashboard:
            console.print(f"Dashboard:    [bold]http://{HOST}:{dashboard_port}[/]")
        code = root.wait()
    finally:
        _end(root)
    return 0 if stopping else code


def main() -> None:
    """Runs `dagster dev` as the root of a process group, and stops the group when standard input ends.

    Standard input is a pipe from the process that runs `serve`, so it also ends when that process is killed. The first
    argument is the port of the dashboard, which runs in the same group, or `NO_DASHBOARD`. The other arguments are
    Dagster's.
    """
    from user_engagement.dagster_internals import dagster_cli

    dashboard_port = int(sys.argv.pop(1))
    if dashboard_port != NO_DASHBOARD:
        subprocess.Popen(dashboard.command(dashboard_port), stdin=subprocess.DEVNULL)
    threading.Thread(target=_stop_at_end_of_input, daemon=True).start()
    dagster_cli()


def _on_stop_signals(root: subprocess.Popen[bytes]) -> list[int]:
    received: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if len(received) == 1:
            root.terminate()
        else:
            _signal_group(root, signal.SIGKILL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    return received


def _end(root: subprocess.Popen[bytes]) -> None:
    """Stops the group and returns when no process of it is left; kills processes that do not stop in time."""
    root.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        root.wait(STOP_SECONDS)
    # Dagster lets code servers finish the runs that they have begun
    _signal_group(root, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while _signal_group(root, 0) and time.monotonic() < deadline:
        time.sleep(0.1)
    _signal_group(root, signal.SIGKILL)


def _signal_group(root: subprocess.Popen[bytes], number: int) -> bool:
    """Sends the signal; False if no process is left (macOS forbids signals to processes that ended)."""
    try:
        os.killpg(root.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _default_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def _stop_at_end_of_input() -> None:
    # without the buffer of sys.stdin, whose lock the interpreter wants at its end
    while os.read(0, 1024):
        pass
    os.killpg(0, signal.SIGTERM)


if __name__ == "__main__":
    main()
