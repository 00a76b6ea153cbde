"""How long a reader waits for a page: from the click on its name until the last change in the browser.

    python benchmarks/page_change.py --home HOME [--rounds 5]

Starts `user-engagement dashboard` on the published generation of HOME and clicks through its pages in Debian's
Chromium. A page counts as drawn at the last change of its document, of those that are followed by a second of quiet.
On a busy machine the processor time tells more: that of the server and that of the page's main thread, which work one
after the other.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from dataclasses import dataclass, fields
from pathlib import Path

import psutil
from playwright.sync_api import Page
from rich.console import Console
from rich.table import Table

from user_engagement.dashboard.contents import PAGES
from user_engagement_tests.support.browsing import Tab, chromium
from user_engagement_tests.support.serving import dashboard

QUIET_MS = 1000
WATCH = """() => {
    window.lastChange = performance.now();
    new MutationObserver(() => { window.lastChange = performance.now(); })
        .observe(document.body, {subtree: true, childList: true, attributes: true, characterData: true});
}"""
CLICK = """name => {
    const button = [...document.querySelectorAll('.st-key-choose_page button')].find(b => b.innerText === name);
    window.clicked = performance.now();
    button.click();
}"""


@dataclass(frozen=True)
class Change:
    """Milliseconds of a page change: elapsed from click to drawn, and of processor time."""

    elapsed: float
    server: float
    browser: float


class Clock:
    """Times the page changes of one tab and the server behind it."""

    def __init__(self, page: Page, server: psutil.Process) -> None:
        self._page, self._server = page, server
        self._session = page.context.new_cdp_session(page)
        self._session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def change(self, title: str) -> Change:
        """Clicks on a page's name and waits until the page is quiet."""
        server, browser = self._server_ms(), self._browser_ms()
        self._page.evaluate(CLICK, title)
        self._page.wait_for_function(f"performance.now() - window.lastChange > {QUIET_MS}", timeout=60_000)
        return Change(
            self._page.evaluate("window.lastChange - window.clicked"),
            self._server_ms() - server,
            self._browser_ms() - browser,
        )

    def _server_ms(self) -> float:
        times = self._server.cpu_times()
        return 1000 * (times.user + times.system)

    def _browser_ms(self) -> float:
        metrics = self._session.send("Performance.getMetrics")["metrics"]
        return 1000 * next(each["value"] for each in metrics if each["name"] == "TaskDuration")


def server_at(address: str) -> psutil.Process:
    """The process that listens there."""
    port = int(address.rpartition(":")[2])
    listening = (c for c in psutil.net_connections("tcp") if c.laddr and c.laddr.port == port)
    return psutil.Process(next(c.pid for c in listening if c.status == psutil.CONN_LISTEN))


def main() -> None:
    parser = argparse.ArgumentParser(description="Times page changes of the dashboard in a browser.")
    parser.add_argument("--home", type=Path, required=True, help="home of a published generation")
    parser.add_argument("--rounds", type=int, default=5, help="page changes of each page")
    arguments = parser.parse_args()
    titles = [entry.title for entry in PAGES]
    found: dict[str, list[Change]] = defaultdict(list)
    with dashboard(arguments.home) as address, chromium() as browser:
        tab = Tab(browser, address)
        tab.open("page=quality").evaluate(WATCH)
        clock = Clock(tab.page, server_at(address))
        for title in titles:
            clock.change(title)
        for _ in range(arguments.rounds):
            for title in titles:
                found[title].append(clock.change(title))
        tab.end()
    table = Table(title="Page changes, medians in milliseconds")
    for heading in ("", "elapsed", "server CPU", "browser CPU"):
        table.add_column(heading, justify="right" if heading else "left")
    found["all pages"] = [each for changes in found.values() for each in changes]
    for name, changes in found.items():
        medians = (statistics.median(getattr(c, f.name) for c in changes) for f in fields(Change))
        table.add_row(name, *(f"{median:,.0f}" for median in medians))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
