"""What a filter change costs the dashboard's server, alone and with many viewers.

    python benchmarks/dashboard.py --home HOME [--sessions 20] [--seconds 60] [--think 3]

Starts `user-engagement dashboard` on the published generation of HOME and speaks the protocol of Streamlit's page, so
that no browser shares the processor. A change is timed from the request until the script has finished and its last
message arrived. Viewers change filters and pages at random, pausing between changes; the pauses are drawn, not slept
in step, so that requests meet.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import psutil
from rich.console import Console
from rich.table import Table
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import ClientConnection, connect

from user_engagement.dashboard.ports import free_port

PAGES = ("overview", "retention", "churn", "engagement", "causes", "quality")
RANGES = ("3m", "6m", "12m", "all")
SEGMENTS = ("all", "product_type", "acquisition_channel", "country")
COMPARISONS = ("none", "previous", "year")


@contextmanager
def dashboard(home: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The dashboard's address and process."""
    port = free_port(8700, reusing=False)
    program = str(Path(sys.executable).with_name("user-engagement"))
    process = subprocess.Popen(
        [program, "dashboard", "--port", str(port)],
        env={**os.environ, "USER_ENGAGEMENT_HOME": str(home)},
        stdout=subprocess.DEVNULL,
    )
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"ws://127.0.0.1:{port}/_stcore/stream", psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


class Viewer:
    """One session: a page open in a browser that never was."""

    def __init__(self, address: str, seed: int) -> None:
        self._socket: ClientConnection = connect(address, max_size=None, open_timeout=60)
        self._random = random.Random(seed)
        self.view(self.query("overview"))

    def query(self, page: str) -> str:
        """A page with filters drawn at random."""
        draw = self._random.choice
        chosen = {
            "page": page,
            "range": draw(RANGES),
            "segment": draw(SEGMENTS),
            "compare": draw(COMPARISONS),
        }
        return urlencode(chosen)

    def view(self, query: str) -> float:
        """Asks for a view and returns the seconds until it was complete."""
        message = BackMsg()
        message.rerun_script.query_string = query
        started = time.perf_counter()
        self._socket.send(message.SerializeToString())
        while True:
            answer = ForwardMsg.FromString(self._socket.recv(timeout=120, decode=False))
            if answer.WhichOneof("type") == "script_finished":
                return time.perf_counter() - started

    def browse(self, seconds: float, think: float, found: list[float]) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(self._random.expovariate(1 / think))
            found.append(self.view(self.query(self._random.choice(PAGES))))

    def close(self) -> None:
        self._socket.close()


def alone(address: str, changes: int) -> dict[str, list[float]]:
    """Seconds of each filter change of a single viewer, by page."""
    viewer, found = Viewer(address, 1), defaultdict(list)
    for page in PAGES:
        viewer.view(viewer.query(page))
        found[page] = [viewer.view(viewer.query(page)) for _ in range(changes)]
    viewer.close()
    return found


def together(address: str, sessions: int, seconds: float, think: float) -> list[float]:
    """Seconds of each change of several viewers at once."""
    viewers = [Viewer(address, seed) for seed in range(sessions)]
    found: list[float] = []
    threads = [threading.Thread(target=viewer.browse, args=(seconds, think, found)) for viewer in viewers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for viewer in viewers:
        viewer.close()
    return found


def row(name: str, seconds: list[float]) -> list[str]:
    ordered = sorted(seconds)
    quantiles = (statistics.median(ordered), ordered[int(0.95 * (len(ordered) - 1))], ordered[-1])
    return [name, str(len(ordered)), *(f"{1000 * value:,.0f}" for value in quantiles)]


def main() -> None:
    parser = argparse.ArgumentParser(description="What a filter change costs the dashboard's server.")
    parser.add_argument("--home", type=Path, required=True, help="home of a published generation")
    parser.add_argument("--changes", type=int, default=20, help="filter changes of each page, alone")
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60, help="how long the sessions browse")
    parser.add_argument("--think", type=float, default=3, help="mean pause between changes, in seconds")
    arguments = parser.parse_args()
    table = Table(title="Server time of a filter change, milliseconds")
    for heading in ("", "changes", "median", "p95", "max"):
        table.add_column(heading, justify="right" if heading else "left")
    with dashboard(arguments.home) as (address, process):
        single = alone(address, arguments.changes)
        for page, seconds in single.items():
            table.add_row(*row(page, seconds))
        everything = [s for seconds in single.values() for s in seconds]
        table.add_row(*row("one session", everything))
        many = together(address, arguments.sessions, arguments.seconds, arguments.think)
        table.add_row(*row(f"{arguments.sessions} sessions", many))
        memory = process.memory_info().rss / 2**20
    console = Console(width=100)
    console.print(table)
    console.print(f"Memory of the server afterwards: {memory:,.0f} MiB")


if __name__ == "__main__":
    main()
