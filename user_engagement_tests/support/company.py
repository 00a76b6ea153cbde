"""The small simulated company of the tests, and what most tests of runs leave out."""

from __future__ import annotations

from datetime import date

from user_engagement.settings import PREFIX

THROUGH = date(2025, 5, 20)
"""The company's last day."""

EXTRAS = {PREFIX + "INSIGHTS": "false", PREFIX + "PUBLISH_REPORT": "false"}
"""Settings without what takes as long as all the rest of a run, and what most tests do not concern."""
