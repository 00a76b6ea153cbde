"""Dagster's UI and daemon as one foreground command.

`serve` starts `main` of this module as the root of a process group, in which all of Dagster's processes stay.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from types import FrameType

from rich.console import Console

from user_engagement.errors import UserError
from user_engagement.instance import prepare_dagster_home
from user_engagement.settings import PROJECT_ROOT, Settings

HOST = "127.0.0.1"
FIRST_PORT = 3000
STOP_SECONDS = 30


def free_port(first: int = FIRST_PORT) -> int:
    """The first port from ``first`` on that nothing on this host listens on."""
    for port in range(first, 65536):
        if _is_free(port):
            return port
    raise RuntimeError(f"no free port from {first} on")


def serve(settings: Settings, port: int | None, console: Console) -> int:
    """Runs webserver, daemon and code server until Ctrl-C or SIGTERM; returns their exit code.

    The first signal stops them in order, a second one at once. None of them outlives this process for longer
    than a stop takes, however it ends.

    Raises:
        UserError: something else listens on ``port``.
    """
    if port and not _is_free(port):
        raise UserError(f"--port {port} is taken; name another, or none to have a free one chosen.")
    chosen = port or free_port()
    prepare_dagster_home(settings)
    command = [sys.executable, "-m", __name__, "dev", "--workspace", str(PROJECT_ROOT / "workspace.yaml")]
    command += ["--host", HOST, "--port", str(chosen)]
    # A session of its own, with default signal handling: Ctrl-C then reaches this process alone, which asks the
    # root of the tree to stop, and that stops its children in order. A shell that starts this in the background
    # hands down an ignored SIGINT, with which Dagster would ignore SIGTERM too.
    root = subprocess.Popen(
        command, stdin=subprocess.PIPE, start_new_session=True, preexec_fn=_default_signals
    )
    try:
        stopping = _on_stop_signals(root)
        console.print(f"Dagster's UI: [bold]http://{HOST}:{chosen}[/]   (Ctrl-C stops it)")
        code = root.wait()
    finally:
        _end(root)
    return 0 if stopping else code


def main() -> None:
    """`dagster dev` as the root of its group, all of which is stopped when its standard input ends.

    It ends with the process that holds its other end, also when that is killed.
    """
    from dagster._cli import main as dagster

    threading.Thread(target=_stop_at_end_of_input, daemon=True).start()
    dagster()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


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
