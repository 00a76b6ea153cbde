"""The documentation as a site: `make docs` builds it without a broken link, and its pages ask nobody for anything."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Browser, Page

from user_engagement.settings import PROJECT_ROOT
from user_engagement_tests.support.browsing import CHROMIUM, OF_THIS_HOST, chromium

BIN = Path(sys.executable).parent
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs/*.md")

pytestmark = [pytest.mark.slow, pytest.mark.long]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


def make_docs(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--old-file=install", "docs", f"BUILD={folder}", f"BIN={BIN}", *more]
    return subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = make_docs(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM, "apt-get install chromium"
    with chromium() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab that fails the test if it asks another host, or if something is missing."""
    asked: list[str] = []
    missing: list[str] = []
    tab = browser.new_page()
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("response", lambda answer: missing.append(answer.url) if answer.status >= 400 else None)
    yield tab
    tab.close()
    assert [url for url in asked if not re.match(OF_THIS_HOST, url)] == []
    # dbt's pages ask for names of icons before they have filled them in
    assert [url for url in missing if "%7B" not in url] == []


@pytest.mark.exhaustive
def test_every_page_of_the_repository_is_on_the_site_and_asks_nobody_for_anything(
    address: str, site: Path, page: Page
) -> None:
    pages = [path for pattern in PAGES for path in PROJECT_ROOT.glob(pattern)]
    assert len(pages) > 12
    for source in pages:
        name = str(source.relative_to(PROJECT_ROOT).with_suffix(".html")).replace("README", "index")
        page.goto(f"{address}/{name}", wait_until="load")
        heading = source.read_text().splitlines()[0].removeprefix("# ")
        assert page.locator("h1").inner_text().startswith(heading), name
        assert "```" not in page.locator("article").inner_text(), name
    assert "<svg" in (site / "docs" / "architecture.html").read_text()


@pytest.mark.exhaustive
def test_a_link_to_a_page_or_an_anchor_that_is_not_there_fails_the_build(tmp_path: Path) -> None:
    """With `--quiet` MkDocs counts no warning, and let every broken link pass."""
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "broken.md").write_text("[page](nowhere.md) [anchor](docs/operations.md#nowhere)\n")
    website = PROJECT_ROOT / "website"
    config = {
        "INHERIT": str(website / "mkdocs.yml"),
        "docs_dir": "pages",
        "hooks": [str(website / "hooks.py")],
    }
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(config))
    done = make_docs(tmp_path / "build", f"SITE_CONFIG={tmp_path / 'mkdocs.yml'}")
    assert done.returncode != 0
    assert "'nowhere.md'" in done.stderr
    assert "'#nowhere'" in done.stderr


def test_the_search_finds_a_setting(address: str, page: Page) -> None:
    page.goto(f"{address}/index.html", wait_until="load")
    page.keyboard.press("f")
    page.keyboard.type("INACTIVITY_DAYS")
    page.get_by_role("link", name="Settings").first.wait_for(timeout=10_000)


def test_dbts_own_pages_describe_the_models(address: str, page: Page) -> None:
    page.goto(f"{address}/dbt.html#!/model/model.user_engagement_dbt.kpi_summary", wait_until="load")
    page.get_by_text("kpi_summary").first.wait_for(timeout=20_000)
    page.get_by_text("headline KPIs", exact=False).first.wait_for(timeout=20_000)
