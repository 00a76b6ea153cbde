"""Dagster's UI and daemon, and the dashboard, as one foreground command.

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
    """Runs webserver, daemon, code server and maybe the dashboard until Ctrl-C or SIGTERM; returns the exit code.

    The first signal stops them in order, a second one at once. None of them outlives this process for longer
    than a stop takes, however it ends.

    Raises:
        UserError: something else listens on ``port``, or what the dashboard's login needs is missing.
    """
    if port and not is_free(port):
        raise UserError(f"--port {port} is taken; name another, or none to have a free one chosen.")
    chosen = port or free_port(FIRST_PORT)
    prepare_dagster_home(settings)
    shown_at = free_port(settings.dashboard_port, reusing=False) if with_dashboard else NO_DASHBOARD
    command = [sys.executable, "-m", __name__, str(shown_at)]
    command += [
        "dev",
        "--workspace",
        str(PROJECT_ROOT / "workspace.yaml"),
        "--host",
        HOST,
        "--port",
        str(chosen),
    ]
    # A session of its own, with default signal handling: Ctrl-C then reaches this process alone, which asks the
    # root of the tree to stop, and that stops its children in order. A shell that starts this in the background
    # hands down an ignored SIGINT, with which Dagster would ignore SIGTERM too.
    root = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=_default_signals,
        env=dashboard.environment(settings) if with_dashboard else None,
    )
    try:
        stopping = _on_stop_signals(root)
        console.print(f"Dagster's UI: [bold]http://{HOST}:{chosen}[/]   (Ctrl-C stops it)")
        if with_dashboard:
            console.print(f"Dashboard:    [bold]http://{HOST}:{shown_at}[/]")
        code = root.wait()
    finally:
        _end(root)
    return 0 if stopping else code


def main() -> None:
    """`dagster dev` as the root of its group, all of which is stopped when its standard input ends.

    It ends with the process that holds its other end, also when that is killed. The first argument is the port of
    the dashboard, which runs in the group too, or `NO_DASHBOARD`; the others are Dagster's.
    """
    from user_engagement.dagster_internals import dagster_cli

    shown_at = int(sys.argv.pop(1))
    if shown_at != NO_DASHBOARD:
        subprocess.Popen(dashboard.command(shown_at), stdin=subprocess.DEVNULL)
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
    """Returns when nothing is left of the group: what does not end when asked to is killed."""
    root.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        root.wait(STOP_SECONDS)
    # Dagster leaves code servers to finish the runs that they have begun
    _signal_group(root, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while _signal_group(root, 0) and time.monotonic() < deadline:
        time.sleep(0.1)
    _signal_group(root, signal.SIGKILL)


def _signal_group(root: subprocess.Popen[bytes], number: int) -> bool:
    """Sends the signal; whether there was a process to get it (macOS forbids signals to those that ended)."""
    try:
        os.killpg(root.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _default_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def _stop_at_end_of_input() -> None:
    sys.stdin.buffer.read()
    os.killpg(0, signal.SIGTERM)


if __name__ == "__main__":
    main()
