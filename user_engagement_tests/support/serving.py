"""Publishing marts, and the dashboard as users start it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from user_engagement.publishing.generations import publish
from user_engagement.settings import PREFIX
from user_engagement_tests.support.company import THROUGH
from user_engagement_tests.support.ports import unused_port


def publish_marts(published: Path, marts: dict[str, pa.Table], run: str = "run") -> None:
    publish(published, ((name, table.to_reader()) for name, table in marts.items()), run, str(THROUGH))


@contextmanager
def dashboard(home: Path, **variables: str) -> Iterator[str]:
    """The address of `user-engagement dashboard` while it runs."""
    port = unused_port()
    program = str(Path(sys.executable).with_name("user-engagement"))
    environment = {**os.environ, PREFIX + "HOME": str(home), **variables}
    address = f"http://{variables.get(PREFIX + 'DASHBOARD_HOST', '127.0.0.1')}:{port}"
    with (home / "dashboard.log").open("w") as log:
        process = subprocess.Popen(
            [program, "dashboard", "--port", str(port)],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait(f"{address}/_stcore/health", process, home / "dashboard.log")
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
    assert code == 0, (home / "dashboard.log").read_text()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(log.read_text())
