"""The schemas of the project's tables, in either warehouse."""

from __future__ import annotations

from user_engagement.contracts.marts import USER_LEVEL

NAMING_USERS = ("raw", "event_sessions", "staged_files", "staging", USER_LEVEL)
"""Schemas whose tables may name users. No table of another schema does: a role may be granted all of these."""

SCHEMAS = (*NAMING_USERS, "lookups", "activity", "cohorts", "intermediate", "marts", "insights")
