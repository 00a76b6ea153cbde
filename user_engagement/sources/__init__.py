"""Where signups, engagement and churn are extracted from."""

from __future__ import annotations

from user_engagement.settings import PROJECT_ROOT, Settings
from user_engagement.sources.base import BATCH_ROWS, Extract, Source, TableReport
from user_engagement.sources.files import FilesSource

__all__ = ["BATCH_ROWS", "Extract", "Source", "TableReport", "open_source"]

SAMPLE = PROJECT_ROOT / "sample_data"


def open_source(settings: Settings) -> Source:
    """The source that the settings name. Nothing is read yet."""
    return FilesSource(settings.source_path or SAMPLE, settings.timezone)
