"""The pages, in the order in which they are listed: each makes its content of a view, and draws nothing itself.

Not named `pages`, since Streamlit would serve the files of such a folder as pages of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points

from user_engagement import formatting as fmt
from user_engagement.dashboard.blocks import Page
from user_engagement.dashboard.contents import causes, churn, engagement, overview, quality, retention
from user_engagement.dashboard.view import View


@dataclass(frozen=True)
class Entry:
    """A page's name in the address, its title, and what makes it."""

    key: str
    title: str
    make: Callable[[View], Page]


PAGES = (
    Entry("overview", "Overview", overview.page),
    Entry("retention", "Retention", retention.page),
    Entry("churn", "Churn", churn.page),
    Entry("engagement", "Engagement", engagement.page),
    Entry("causes", "Causes", causes.page),
    Entry("quality", "Data", quality.page),
)
PAGES_GROUP = "user_engagement.pages"
"""Entry points of further pages: functions that take a view and return a `Page`."""


def all_pages() -> tuple[Entry, ...]:
    """The project's pages, then those of installed packages, under the names of their entry points."""
    own = (Entry(each.name, fmt.label(each.name), each.load()) for each in entry_points(group=PAGES_GROUP))
    return (*PAGES, *own)
