"""Pictures of every page of the dashboard: first screen and whole page, wide and on a phone, light and dark.

    python -m user_engagement_tests.support.screenshots HOME FOLDER [--only PAGE] [--query QUERY]

HOME holds a published generation. Pictures are PNGs of 256 colours, which are half the size.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from PIL import Image

from user_engagement.dashboard.contents import PAGES
from user_engagement_tests.support.browsing import Tab, chromium
from user_engagement_tests.support.serving import dashboard

WIDTHS = {"wide": 1440, "phone": 390}
SCHEMES = ("light", "dark")


def pictures(home: Path, keys: list[str], query: str = "") -> Iterator[tuple[str, bytes]]:
    """Each picture's name (page, width, scheme and part) and its PNG."""
    with dashboard(home, USER_ENGAGEMENT_STALE_AFTER_HOURS="9999999") as address, chromium() as browser:
        for (width, pixels), scheme in product(WIDTHS.items(), SCHEMES):
            tab = Tab(browser, address, pixels, scheme)
            for key in keys:
                page = tab.open(f"page={key}{query}")
                yield f"{key}-{width}-{scheme}-first", page.screenshot()
                tab.unroll()
                yield f"{key}-{width}-{scheme}-whole", page.screenshot()
            tab.end()


def small(png: bytes) -> bytes:
    """The same picture in 256 colours."""
    target = io.BytesIO()
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.quantize(256, dither=Image.Dither.NONE).save(target, "PNG", optimize=True)
    return target.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description="Takes pictures of every page of the dashboard.")
    parser.add_argument("home", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", action="append", choices=[entry.key for entry in PAGES])
    parser.add_argument("--query", default="", help="filters, as in an address: &segment=country")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    keys = arguments.only or [entry.key for entry in PAGES]
    for name, png in pictures(arguments.home, keys, arguments.query):
        (arguments.folder / f"{name}.png").write_bytes(small(png))


if __name__ == "__main__":
    main()
