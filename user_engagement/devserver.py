"""Dagster's UI and daemon as one foreground command."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from types import FrameType
from typing import Any

from rich.console import Console

from user_engagement.instance import prepare_dagster_home
from user_engagement.settings import PROJECT_ROOT, Settings

HOST = "127.0.0.1"
FIRST_PORT = 3000
STOP_SECONDS = 30


def free_port(first: int = FIRST_PORT) -> int:
    """The first port from ``first`` on that nothing on this host listens on."""
    for port in range(first, 65536):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port from {first} on")


def serve(settings: Settings, port: int | None, console: Console) -> int:
    """Runs webserver, daemon and code server until Ctrl-C or SIGTERM; returns their exit code."""
    prepare_dagster_home(settings)
    chosen = port or free_port()
    command = [sys.executable, "-m", "dagster", "dev", "--workspace", str(PROJECT_ROOT / "workspace.yaml")]
    command += ["--host", HOST, "--port", str(chosen)]
    # A session of its own, with default signal handling: Ctrl-C then reaches this process alone, which asks the
    # root of the tree to stop, and that stops its children in order. A shell that starts this in the background
    # hands down an ignored SIGINT, with which Dagster would ignore SIGTERM too.
    process = subprocess.Popen(command, start_new_session=True, preexec_fn=_default_signals)
    console.print(f"Dagster's UI: [bold]http://{HOST}:{chosen}[/]   (Ctrl-C stops it)")
    stopping = _on_stop_signals(process)
    try:
        code = process.wait()
    finally:
        if process.poll() is None:
            _stop(process)
    return 0 if stopping else code


def _on_stop_signals(process: subprocess.Popen[Any]) -> list[int]:
    received: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if len(received) == 1:
            process.terminate()
        else:
            os.killpg(process.pid, signal.SIGKILL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    return received


def _stop(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)


def _default_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
