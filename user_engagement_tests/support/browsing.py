"""The dashboard in Debian's Chromium, and when a page of it has settled."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium")
SETTLED = """() => document.querySelector('[data-testid=stApp]').dataset.testScriptState === 'notRunning'
    && !document.querySelector('[data-testid="stStatusWidget"], [data-stale="true"]')
    && !document.querySelector('[data-testid="stSkeleton"]')
    && [...document.querySelectorAll('.stPlotlyChart')].every(c => c.querySelector('.main-svg'))"""
PATIENCE = 180_000
"""Milliseconds for what takes a second on a machine that does nothing else."""
OF_THIS_HOST = r"(http://127\.0\.0\.1:|ws://127\.0\.0\.1:|data:|blob:)"


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window, which asks nothing of others by itself."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-background-networking", "--disable-quic"],
        )
        yield browser
        browser.close()


class Tab:
    """A tab with the dashboard; `check` asserts that nothing went wrong in it and nothing was asked of others.

    A page opens in a third of the time if another one has been opened in the tab, as scripts are in its cache.
    """

    def __init__(self, browser: Browser, address: str, width: int = 1440, scheme: str = "light") -> None:
        self._width = width
        self.context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if scheme == "dark" else "light",
            accept_downloads=True,
        )
        self.address = address
        self.context.set_default_timeout(PATIENCE)
        self.page: Page = self.context.new_page()
        self._told: list[str] = []
        self._asked: list[str] = []
        self.page.on(
            "console", lambda m: self._told.append(m.text) if m.type in ("error", "warning") else None
        )
        self.page.on("pageerror", lambda error: self._told.append(str(error)))
        self.page.on("request", lambda request: self._asked.append(request.url))

    def open(self, query: str) -> Page:
        self.page.set_viewport_size({"width": self._width, "height": 900})
        self.page.goto(f"{self.address}/?{query}")
        self.settle()
        return self.page

    def settle(self) -> None:
        """Waits until the script is done and every figure is drawn."""
        self.page.locator(".ue-headline").wait_for(timeout=PATIENCE)
        self.page.wait_for_function(SETTLED, timeout=PATIENCE)
        self.page.wait_for_timeout(400)

    def unroll(self) -> None:
        """Makes the window as high as the page, so that a screenshot shows all of it."""
        height = self.page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
        self.page.set_viewport_size({"width": self._width, "height": max(height + 20, 900)})
        self.page.wait_for_timeout(300)
        self.page.wait_for_function(
            """() => [...document.querySelectorAll('.stPlotlyChart')].every(
                chart => chart.querySelector('.scatterlayer path, .barlayer path, .heatmaplayer image'))
                && document.getAnimations().every(
                    a => a.playState !== 'running' || a.effect.getTiming().iterations === Infinity)""",
            timeout=PATIENCE,
        )
        self.page.wait_for_timeout(400)

    def words(self) -> str:
        """All text but that in figures."""
        self.page.add_style_tag(content=".stPlotlyChart { display: none }")
        return self.page.locator("[data-testid=stMain]").inner_text()

    def check(self) -> None:
        """Asserts it of all that was opened since the last check."""
        told, self._told = self._told, []
        asked, self._asked = self._asked, []
        assert told == []
        assert [url for url in asked if not re.match(OF_THIS_HOST, url)] == []

    def end(self) -> None:
        self.context.close()
        self.check()
