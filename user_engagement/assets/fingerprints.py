"""Marks for what tables are made of: the source month by month, the source as a whole, and settings with code.

A load and a publication record them on their materializations; what differs from them since has changed.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from user_engagement.contracts.raw import RAW_TABLES, RawTable
from user_engagement.settings import PACKAGE, Settings
from user_engagement.sources import Source

FINGERPRINT = "source_fingerprint"
"""The metadata entry of a raw table's partition that records the source's fingerprint when it was loaded."""

SOURCE_TAG = "user_engagement/source"
"""The tag of a run that a sensor asked for: a mark for how the source looked then."""

SOURCE_STATE = "user_engagement/source_state"
"""The tag of a run that brings everything up to the source, and the entry in what it publishes: the source's state."""

BUILD = "build_fingerprint"
"""The metadata entry of a published generation that records the settings and the code it was made with."""


def source_fingerprints(
    source: Source, table: RawTable, settings: Settings, keys: Sequence[str]
) -> dict[str, str]:
    """The source's fingerprint of each month; rows outside the calendar count with its first or last month.

    It covers the settings that decide how the source is read, so that a change of them looks like changed data. A
    month without rows has no blank in its fingerprint.
    """
    marks: dict[str, list[str]] = {key: [_reading(settings)] for key in keys}
    for month, fingerprint in sorted(source.fingerprint(table).items()):
        marks[min(max(month, keys[0]), keys[-1])].append(fingerprint)
    return {key: " ".join(found) for key, found in marks.items()}


def source_state(source: Source, settings: Settings) -> str:
    """One mark for all tables of the source, for which no file is opened, and for how they are read."""
    return _digest([_reading(settings), *(source.state(table) for table in RAW_TABLES)])


def build_fingerprint(settings: Settings, variables: Mapping[str, Any]) -> str:
    """One mark for all that decides what is made of the raw tables: settings, dbt's variables, and code.

    Any change of the package or of the dbt project counts, also one that happens to change no table.
    """
    made_with = [
        json.dumps(variables, sort_keys=True),
        repr((settings.insights, settings.seed, settings.publish_report, settings.publish_users)),
        str(settings.pseudonym_key and _digest([settings.pseudonym_key.get_secret_value()])),
    ]
    annotations = [settings.annotations] if settings.annotations and settings.annotations.is_file() else []
    code = sorted((*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.j2")))
    models = sorted(f for f in settings.dbt_project_dir.rglob("*") if f.suffix in (".sql", ".yml", ".csv"))
    return _digest([*made_with, *_contents([*annotations, *code, *models])])


def _reading(settings: Settings) -> str:
    values = (settings.missing_words, str(settings.earliest_date), [str(d) for d in settings.sentinel_dates])
    events = (settings.snowplow_visit_timeout_seconds, settings.snowplow_bots)
    rules = _digest([repr(values), *([repr(events)] if settings.source == "snowplow" else [])])
    return f"{settings.timezone}/{settings.max_session_seconds:g}/{rules}"


def _contents(files: Iterable[Path]) -> Iterable[str]:
    return (f"{file.name}:{hashlib.sha256(file.read_bytes()).hexdigest()}" for file in files)


def _digest(marks: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(marks).encode()).hexdigest()[:16]
