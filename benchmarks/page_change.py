"""How long a reader waits for a page: from the click on its name until the last change in the browser.

    python benchmarks/page_change.py --home HOME [--rounds 5]

Starts `user-engagement dashboard` on the published generation of HOME and clicks through its pages in Debian's
Chromium. A page counts as drawn at the last change of its document, of those that are followed by a second of quiet.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from pathlib import Path

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


def change(page: Page, title: str) -> float:
    """Milliseconds from the click on a page's name to its last change."""
    page.evaluate(CLICK, title)
    page.wait_for_function(f"performance.now() - window.lastChange > {QUIET_MS}", timeout=60_000)
    return page.evaluate("window.lastChange - window.clicked")


def main() -> None:
    parser = argparse.ArgumentParser(description="Times page changes of the dashboard in a browser.")
    parser.add_argument("--home", type=Path, required=True, help="home of a published generation")
    parser.add_argument("--rounds", type=int, default=5, help="page changes of each page")
    arguments = parser.parse_args()
    titles = [entry.title for entry in PAGES]
    found: dict[str, list[float]] = defaultdict(list)
    with dashboard(arguments.home) as address, chromium() as browser:
        tab = Tab(browser, address)
        tab.open("page=quality").evaluate(WATCH)
        for title in titles:
            change(tab.page, title)
        for _ in range(arguments.rounds):
            for title in titles:
                found[title].append(change(tab.page, title))
        tab.end()
    table = Table(title="From click to drawn, milliseconds")
    for heading in ("", "median", "max"):
        table.add_column(heading, justify="right" if heading else "left")
    found["all pages"] = [each for times in found.values() for each in times]
    for name, times in found.items():
        table.add_row(name, f"{statistics.median(times):,.0f}", f"{max(times):,.0f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
