"""Dagster's UI as `user-engagement dev` starts it, looked at over GraphQL and in a browser."""

from __future__ import annotations

import os
import re
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from user_engagement_tests.support.servers import Deployment, files_of, running

pytestmark = [pytest.mark.slow, pytest.mark.long]

CHROMIUM = shutil.which("chromium")
GRAPH = """
{ repositoriesOrError { __typename ... on PythonError { message }
    ... on RepositoryConnection { nodes { name } } }
  workspaceOrError { ... on Workspace { locationEntries { loadStatus
    locationOrLoadError { __typename ... on PythonError { message } } } } }
  assetNodes { assetKey { path } groupName isPartitioned } }
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, company: Path) -> Iterator[Deployment]:
    home = tmp_path_factory.mktemp("dev") / "home"
    with running(Deployment(home, bare=False, **files_of(company))) as deployment:
        yield deployment
        assert deployment.interrupt() == 0
        deployment.ended(10)


def test_the_whole_graph_loads_without_an_error(server: Deployment) -> None:
    answer = server.ask(GRAPH)
    (entry,) = answer["workspaceOrError"]["locationEntries"]
    assert entry["locationOrLoadError"]["__typename"] == "RepositoryLocation", entry
    groups = {node["groupName"] for node in answer["assetNodes"]}
    assert groups == {
        "sources",
        "raw",
        "staging",
        "lookups",
        "activity",
        "cohorts",
        "intermediate",
        "marts",
        "insights",
        "published",
    }


def test_the_dashboard_is_served_too(server: Deployment) -> None:
    (address,) = re.findall(r"Dashboard: +(http://127\.0\.0\.1:\d+)", server.log.read_text())
    with urllib.request.urlopen(f"{address}/_stcore/health", timeout=30) as answer:
        assert answer.read() == b"ok"


def test_it_listens_on_this_host_alone(server: Deployment) -> None:
    listening = [
        c for p in server.family() for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN
    ]
    assert listening
    assert {c.laddr.ip for c in listening} <= {"127.0.0.1", "::1"}


@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
def test_a_browser_shows_the_asset_graph(server: Deployment, tmp_path: Path) -> None:
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


def test_its_log_holds_no_error_and_no_deprecation_of_ours(server: Deployment) -> None:
    log = server.log.read_text()
    assert not re.search(
        r"Traceback|DeprecationWarning: .*user_engagement|BetaWarning|user_engagement/.*Warning", log
    ), log
