"""Churn, retention and engagement KPIs from raw sources, as a Dagster asset graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from user_engagement.code_location import build_definitions
    from user_engagement.settings import Settings

__all__ = ["Settings", "build_definitions"]


def __getattr__(name: str) -> Any:
    # Dagster and dbt take seconds to import, which commands that need neither do not wait for
    if name == "build_definitions":
        from user_engagement.code_location import build_definitions

        return build_definitions
    if name == "Settings":
        from user_engagement.settings import Settings

        return Settings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
