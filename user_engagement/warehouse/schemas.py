"""The schemas of the project's tables, in either warehouse."""

from __future__ import annotations

SCHEMAS = (
    "raw",
    "event_sessions",
    "staged_files",
    "staging",
    "lookups",
    "activity",
    "cohorts",
    "intermediate",
    "marts",
    "insights",
)
