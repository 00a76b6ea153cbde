"""What is up to date, decided by the fingerprints that the last successful loads recorded.

A month is up to date if its source has the same fingerprint as at its last load, and its activity was rebuilt since.
Cohorts, marts and the publication are up to date if they were rebuilt after the newest activity. All this comes from
the events of the Dagster instance; there is no second state that could disagree with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import dagster as dg

from user_engagement.assets.common import asset_key, published_key, raw_key
from user_engagement.contracts.raw import RAW_TABLES, USER_ENGAGEMENT
from user_engagement.hashing import digest
from user_engagement.inputs.fingerprints import (
    BUILD,
    FINGERPRINT,
    SOURCE_STATE,
    build_fingerprint,
    source_fingerprints,
    source_state,
)
from user_engagement.inputs.held_up import HeldUp, find_held_up, waiting_months
from user_engagement.inputs.variables import dbt_vars
from user_engagement.publishing.generations import current_generation
from user_engagement.settings import Settings
from user_engagement.sources import Source
from user_engagement.warehouse import open_warehouse

ACTIVITY, KINDS = "user_days", "user_day_kinds"
BY_MONTH = (
    ACTIVITY,
    "event_hashes",
    "repeated_events",
    "quarantined_rows",
    "identical_days",
    "row_counts",
    "session_buckets",
)
"""The models of `activity` that read raw engagement by month, and store the result by month."""

FRESH, NOT_FAILED = "as_new_as_source", "no_month_left_failed"


def activity_key(settings: Settings, name: str = ACTIVITY) -> dg.AssetKey:
    return asset_key(settings, "activity", name)


def cohorts_key(settings: Settings) -> dg.AssetKey:
    return asset_key(settings, "cohorts", "cohort_retention")


def churn_key(settings: Settings) -> dg.AssetKey:
    return asset_key(settings, "marts", "churn_monthly")


def fresh_checks(settings: Settings) -> list[dg.AssetCheckKey]:
    keys = (cohorts_key(settings), churn_key(settings), published_key(settings))
    return [dg.AssetCheckKey(key, FRESH) for key in keys]


def not_failed_checks(settings: Settings) -> list[dg.AssetCheckKey]:
    """The check of the runs that load, and the check of those that build cohorts."""
    keys = (raw_key(settings, USER_ENGAGEMENT), cohorts_key(settings))
    return [dg.AssetCheckKey(key, NOT_FAILED) for key in keys]


def recorded_events(instance: dg.DagsterInstance, key: dg.AssetKey) -> Mapping[str, int]:
    """For each month ever materialized, the storage id of its latest event."""
    log = instance.event_log_storage
    return log.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION)


def recorded_fingerprints(
    instance: dg.DagsterInstance, key: dg.AssetKey
) -> dict[str, tuple[int, str | None]]:
    """For each month ever materialized, the storage id of its latest event and the fingerprint in that event."""
    latest = recorded_events(instance, key)
    if not latest:
        return {}
    wanted = dg.AssetRecordsFilter(asset_key=key, storage_ids=list(latest.values()))
    found: dict[str, tuple[int, str | None]] = {}
    for record in instance.fetch_materializations(wanted, limit=len(latest)).records:
        if record.partition_key and record.asset_materialization:
            value = record.asset_materialization.metadata.get(FINGERPRINT)
            found[record.partition_key] = (record.storage_id, str(value.value) if value else None)
    return found


@dataclass(frozen=True)
class Comparison:
    """The months of the source, compared with those that were loaded.

    ``fingerprints`` maps a month to the source's fingerprints, one per table. ``outdated`` maps a month to the tables
    that have changed since their last load, without the months that wait for a file that cannot be read (``held_up``).
    """

    fingerprints: Mapping[str, Sequence[str]]
    outdated: Mapping[str, Sequence[str]]
    held_up: Sequence[HeldUp] = ()

    def digest(self, months: Iterable[str]) -> str:
        """One hash of the source's fingerprints in these months."""
        found = [(key, list(self.fingerprints[key])) for key in sorted(months)]
        return digest([repr(found)])


def compare(
    instance: dg.DagsterInstance, source: Source, settings: Settings, keys: Sequence[str]
) -> Comparison:
    """Compares each month of the calendar, in its order.

    A month that has no rows and never had any is up to date. Every other month is outdated if the warehouse does not
    exist, whatever was recorded, or if a model that insights need has not been built for it.
    """
    warehouse_exists = open_warehouse(settings).exists()
    rebuilt = rebuilt_months(instance, settings) if warehouse_exists else {}
    fingerprints: dict[str, list[str]] = {key: [] for key in keys}
    outdated: dict[str, list[str]] = {}
    held_up = find_held_up(source, settings, keys)
    waiting = waiting_months(held_up)
    for table in RAW_TABLES:
        loaded = recorded_fingerprints(instance, raw_key(settings, table)) if warehouse_exists else {}
        now = source_fingerprints(source, table, settings, keys, held_up)
        for key in keys:
            event, known = loaded.get(key, (0, None))
            has_rows = " " in now[key]
            if (has_rows or event) and (now[key] != known or rebuilt.get(key, 0) < event):
                outdated.setdefault(key, []).append(table.name)
            fingerprints[key].append(now[key])
    due = {key: outdated[key] for key in keys if key in outdated and key not in waiting}
    return Comparison(fingerprints, due, held_up)


def rebuilt_months(instance: dg.DagsterInstance, settings: Settings) -> dict[str, int]:
    """The storage id of each month's rebuild: the oldest of its models, since one model may fail alone."""
    models = [*BY_MONTH, *([KINDS] if settings.insights else [])]
    events = [recorded_events(instance, activity_key(settings, model)) for model in models]
    months = set.intersection(*(set(of_model) for of_model in events))
    return {key: min(of_model[key] for of_model in events) for key in months}


def loaded_months(instance: dg.DagsterInstance, settings: Settings, keys: Sequence[str]) -> list[str]:
    """The months of the calendar up to the newest one whose activity was ever built."""
    newest = max(recorded_events(instance, activity_key(settings)), default="")
    return [key for key in keys if key <= newest]


def older_than_activity(
    instance: dg.DagsterInstance, settings: Settings, months: Sequence[str]
) -> str | None:
    """A sentence that names what is older than the newest activity; None if everything is up to date."""
    newest = max(recorded_events(instance, activity_key(settings)).values(), default=0)
    cohorts = recorded_events(instance, cohorts_key(settings))
    older = [key for key in months if cohorts.get(key, 0) < newest]
    if older:
        return f"Cohorts of {len(older)} signup months, {older[0]} to {older[-1]}, are older than the newest activity."
    published = instance.fetch_materializations(published_key(settings), limit=1).records
    if months and (not published or published[0].storage_id < max(cohorts.values())):
        return "The publication is older than the cohorts."
    return None


def is_up_to_date(instance: dg.DagsterInstance, source: Source, settings: Settings, now: datetime) -> bool:
    """Whether the publication was made from the source as it is now, with these settings and this code.

    Nothing may have been loaded or rebuilt since, and the published generation must be the current one. Also False if
    the last run left months out. The function opens no file of the source.

    Raises:
        SourceError: the state of the source cannot be read.
        WarehouseError: the warehouse cannot be read.
    """
    records = instance.fetch_materializations(published_key(settings), limit=1).records
    if not records or records[0].asset_materialization is None or not open_warehouse(settings).exists():
        return False
    published = records[0].asset_materialization.metadata
    recorded = {
        name: published[name].value for name in (SOURCE_STATE, BUILD, "generation") if name in published
    }
    upstream = [
        *(raw_key(settings, table) for table in RAW_TABLES),
        *(activity_key(settings, model) for model in BY_MONTH),
        cohorts_key(settings),
        churn_key(settings),
    ]
    latest = (instance.fetch_materializations(key, limit=1).records for key in upstream)
    if any(events and events[0].storage_id > records[0].storage_id for events in latest):
        return False
    if recorded.get("generation") != current_generation(settings.published_dir):
        return False
    if recorded.get(SOURCE_STATE) != source_state(source, settings):
        return False
    with open_warehouse(settings).reader() as reader:
        variables = dbt_vars(reader, settings, now)
    return recorded.get(BUILD) == build_fingerprint(settings, variables)
