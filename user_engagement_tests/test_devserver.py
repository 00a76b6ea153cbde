"""Dagster's UI as `user-engagement dev` starts it, looked at over GraphQL and in a browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from user_engagement.devserver import free_port

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium")
GRAPH = """
{ repositoriesOrError { __typename ... on PythonError { message }
    ... on RepositoryConnection { nodes { name } } }
  workspaceOrError { ... on Workspace { locationEntries { loadStatus
    locationOrLoadError { __typename ... on PythonError { message } } } } }
  assetNodes { assetKey { path } groupName isPartitioned } }
"""


class Server:
    """A running `user-engagement dev`, its address and its log."""

    def __init__(self, home: Path, company: Path) -> None:
        self.port = free_port(3300)
        self.log = home / "dev.log"
        home.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            "USER_ENGAGEMENT_HOME": str(home),
            "USER_ENGAGEMENT_SOURCE": "files",
            "USER_ENGAGEMENT_SOURCE_PATH": str(company),
            "USER_ENGAGEMENT_AS_OF": "2025-05-20",
        }
        program = [str(Path(sys.executable).with_name("user-engagement")), "dev", "--port", str(self.port)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(program, env=environment, stdout=log, stderr=subprocess.STDOUT)
        self.url = f"http://127.0.0.1:{self.port}"

    def ask(self, query: str) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self.url}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["data"]

    def wait(self, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            try:
                if self.ask(GRAPH)["assetNodes"]:
                    return
            except OSError:
                time.sleep(0.5)
        raise TimeoutError(self.log.read_text())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, company: Path) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("dev") / "home", company)
    try:
        running.wait()
        yield running
    finally:
        family = [running.process, *psutil.Process(running.process.pid).children(recursive=True)]
        running.process.send_signal(signal.SIGINT)
        code = running.process.wait(60)
        _, alive = psutil.wait_procs([p for p in family if isinstance(p, psutil.Process)], timeout=10)
        for left in alive:
            left.kill()
    assert code == 0
    assert not alive, f"left behind: {alive}"


def test_the_whole_graph_loads_without_an_error(server: Server) -> None:
    answer = server.ask(GRAPH)
    (entry,) = answer["workspaceOrError"]["locationEntries"]
    assert entry["locationOrLoadError"]["__typename"] == "RepositoryLocation", entry
    groups = {node["groupName"] for node in answer["assetNodes"]}
    assert groups == {"sources", "raw", "staging", "activity", "cohorts", "marts", "published"}


def test_it_listens_on_this_host_alone(server: Server) -> None:
    family = psutil.Process(server.process.pid).children(recursive=True)
    listening = [c for p in family for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert listening
    assert {c.laddr.ip for c in listening} <= {"127.0.0.1", "::1"}


@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
def test_a_browser_shows_the_asset_graph(server: Server, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-background-networking", "--disable-quic"],
        )
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{server.url}/asset-groups", wait_until="load")
        for group in ("raw", "activity", "cohorts", "marts"):
            page.get_by_text(group, exact=True).first.wait_for(timeout=30_000)
        page.screenshot(path=os.environ.get("SCREENSHOTS", str(tmp_path)) + "/asset-graph.png")
        browser.close()
    assert errors == []


def test_its_log_holds_no_error_and_no_deprecation_of_ours(server: Server) -> None:
    log = server.log.read_text()
    assert not re.search(
        r"Traceback|DeprecationWarning: .*user_engagement|BetaWarning|user_engagement/.*Warning", log
    ), log
