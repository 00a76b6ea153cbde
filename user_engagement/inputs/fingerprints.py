"""Fingerprints of the inputs of tables: the source by month, the whole source, and settings with code.

Loads and publications record them on their materializations. An input with another fingerprint has changed.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from user_engagement.contracts.raw import RAW_TABLES, RawTable
from user_engagement.hashing import content_hashes, digest
from user_engagement.inputs.dbt_project import prepare_project, project_fingerprint
from user_engagement.inputs.held_up import HeldUp, waiting_months
from user_engagement.settings import PACKAGE, Settings
from user_engagement.sources import Source

FINGERPRINT = "source_fingerprint"
"""The metadata entry of a raw table's partition with the source's fingerprint at its load."""

SOURCE_TAG = "user_engagement/source"
"""The tag of a run that a sensor requested, with a digest of the source at that time."""

SOURCE_STATE = "user_engagement/source_state"
"""The tag of a run that loads all changes, and the metadata entry of its publication: the source's state."""

REBUILD_TAG = "user_engagement/rebuild"
"""The tag of a run that rebuilds tables although their inputs have not changed."""

BUILD = "build_fingerprint"
"""The metadata entry of a published generation with the fingerprint of its settings and code."""


def source_fingerprints(
    source: Source, table: RawTable, settings: Settings, keys: Sequence[str], held_up: Sequence[HeldUp]
) -> dict[str, str]:
    """The source's fingerprint of each month. Rows outside the calendar count in its first or last month.

    Files that cannot be read count in the first month that does not wait for one: a load notes which they are, so there
    must be one when they change.

    The fingerprint includes the settings that decide how the source is read, so a changed setting counts as changed
    data. A month without rows has no space in its fingerprint.
    """
    by_month: dict[str, list[str]] = {key: [_reading_settings(settings)] for key in keys}
    for month, fingerprint in sorted(source.fingerprint(table).items()):
        by_month[min(max(month, keys[0]), keys[-1])].append(fingerprint)
    noted = [each.sentence() for each in held_up if each.table_name == table.name]
    waiting = waiting_months(held_up)
    if noted and (free := next((key for key in keys if key not in waiting), None)):
        by_month[free].append(digest(noted))
    return {key: " ".join(fingerprints) for key, fingerprints in by_month.items()}


def source_state(source: Source, settings: Settings) -> str:
    """One digest of all tables of the source and of how they are read; no file is opened for it."""
    return digest([_reading_settings(settings), *(source.state(table) for table in RAW_TABLES)])


def build_fingerprint(settings: Settings, variables: Mapping[str, Any]) -> str:
    """One digest of everything besides raw data that decides the results: settings, dbt's variables and code.

    Every change to the package or the dbt project counts, even one that changes no table.
    """
    inputs = [
        json.dumps(variables, sort_keys=True),
        repr((settings.insights, settings.seed, settings.publish_report, settings.publish_users)),
        str(settings.pseudonym_key and digest([settings.pseudonym_key.get_secret_value()])),
    ]
    given = [file for file in (settings.annotations, settings.labels) if file and file.is_file()]
    return digest([*inputs, *content_hashes(given), code_fingerprint(settings)])


def code_fingerprint(settings: Settings) -> str:
    """One digest of the package, the dbt project and a team's own models."""
    code = sorted((*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.j2")))
    return digest([*content_hashes(code), project_fingerprint(prepare_project(settings))])


def _reading_settings(settings: Settings) -> str:
    values: tuple[Any, ...] = (
        settings.missing_words,
        str(settings.earliest_date),
        [str(d) for d in settings.sentinel_dates],
        # ids without users are hashed month by month
        *(["event_ids_per_user"] if settings.event_ids_per_user else []),
    )
    events = (settings.snowplow_visit_timeout_seconds, settings.snowplow_bots)
    has_events = settings.source == "snowplow" or any(each.events for each in settings.source_tables.values())
    rules = digest([repr(values), *([repr(events)] if has_events else [])])
    return f"{settings.timezone}/{settings.max_session_seconds:g}/{rules}"
