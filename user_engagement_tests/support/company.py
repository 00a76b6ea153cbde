"""The small simulated company of the tests, and what most tests of runs leave out."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from user_engagement.settings import PREFIX, Settings, load_settings

THROUGH = date(2025, 5, 20)
"""The company's last day."""

EXTRAS = {PREFIX + "INSIGHTS": "false", PREFIX + "PUBLISH_REPORT": "false"}
"""Settings without what takes as long as all the rest of a run, and what most tests do not concern."""


def settings_of(home: Path, company: Path) -> Settings:
    """Everything of the company: insights and the report as well."""
    return load_settings(
        home=home,
        source="files",
        source_path=str(company),
        as_of=THROUGH,
        insights=True,
        publish_report=True,
    )
