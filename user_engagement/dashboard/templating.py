"""The HTML that the app and the report share, from Jinja templates which escape all text.

Not named `html`: Streamlit puts the folder of `app.py` on the path, where that name would hide Python's own module.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from user_engagement.dashboard.theme import Theme

ENVIRONMENT = Environment(
    loader=PackageLoader("user_engagement.dashboard"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, context: Mapping[str, object]) -> str:
    """A whole template, text in it escaped."""
    return ENVIRONMENT.get_template(template).render(context)


def part(macro: str, *values: object) -> str:
    """One macro of `blocks.html.j2`."""
    return str(getattr(ENVIRONMENT.get_template("blocks.html.j2").module, macro)(*values))


@cache
def stylesheet(theme: Theme) -> str:
    """Rules for the classes in the templates; font and ground are those of the surroundings."""
    return render("style.css.j2", {"theme": theme})
