"""What is up to date, by what the last successful loads recorded about their source.

A month is up to date if its source looks as it did when the month was last loaded, and its activity was rebuilt
since; what follows from activity is, if it was rebuilt after the newest activity. All of it are events of the Dagster
instance: there is no state beside it that could disagree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import dagster as dg

from user_engagement.assets.common import PUBLISHED_KEY, raw_key
from user_engagement.assets.dbt import dbt_vars
from user_engagement.assets.fingerprints import (
    BUILD,
    FINGERPRINT,
    SOURCE_STATE,
    build_fingerprint,
    source_fingerprints,
    source_state,
)
from user_engagement.contracts.raw import RAW_TABLES, USER_ENGAGEMENT
from user_engagement.publishing.generations import current_generation
from user_engagement.settings import Settings
from user_engagement.sources import Source
from user_engagement.warehouse import open_warehouse

ACTIVITY_KEY = dg.AssetKey(["activity", "user_days"])
BUCKETS_KEY = dg.AssetKey(["activity", "session_buckets"])
KINDS_KEY = dg.AssetKey(["activity", "user_day_kinds"])
COHORTS_KEY = dg.AssetKey(["cohorts", "cohort_retention"])
CHURN_KEY = dg.AssetKey(["marts", "churn_monthly"])

FRESH, NOT_FAILED = "as_new_as_source", "no_month_left_failed"
FRESH_CHECKS = [dg.AssetCheckKey(key, FRESH) for key in (COHORTS_KEY, CHURN_KEY, PUBLISHED_KEY)]
NOT_FAILED_CHECKS = [dg.AssetCheckKey(key, NOT_FAILED) for key in (raw_key(USER_ENGAGEMENT), COHORTS_KEY)]


def recorded(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str, tuple[int, str | None]]:
    """Of each month ever materialized: the storage id of its latest event, and the fingerprint in it."""
    log = instance.event_log_storage
    latest = log.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION)
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
    """Months of the source against those that were loaded.

    ``held`` has the source's fingerprints by month; ``outdated``, by month, the tables that differ from what was
    loaded last.
    """

    held: Mapping[str, Sequence[str]]
    outdated: Mapping[str, Sequence[str]]

    def mark(self, months: Iterable[str]) -> str:
        """One mark for how the source looks in these months."""
        looks = [(key, list(self.held[key])) for key in sorted(months)]
        return hashlib.sha256(repr(looks).encode()).hexdigest()[:16]


def compare(
    instance: dg.DagsterInstance, source: Source, settings: Settings, keys: Sequence[str]
) -> Comparison:
    """Compares the months of the calendar, in its order.

    A month that holds nothing and never did is up to date. A warehouse that is not there makes every other month
    outdated, whatever was recorded; so does what insights need, where it has not been built.
    """
    is_there = open_warehouse(settings).exists()
    rebuilt = rebuilt_months(instance, settings) if is_there else {}
    held: dict[str, list[str]] = {key: [] for key in keys}
    outdated: dict[str, list[str]] = {}
    for table in RAW_TABLES:
        loaded = recorded(instance, raw_key(table)) if is_there else {}
        looks = source_fingerprints(source, table, settings, keys)
        for key in keys:
            event, known = loaded.get(key, (0, None))
            is_held = " " in looks[key]
            if (is_held or event) and (looks[key] != known or rebuilt.get(key, 0) < event):
                outdated.setdefault(key, []).append(table.name)
            held[key].append(looks[key])
    return Comparison(held, {key: outdated[key] for key in keys if key in outdated})


def rebuilt_months(instance: dg.DagsterInstance, settings: Settings) -> dict[str, int]:
    """When each month was last rebuilt by all that is built by month of activity; one may fail where others do not."""
    models = [ACTIVITY_KEY, BUCKETS_KEY, *([KINDS_KEY] if settings.insights else [])]
    events = [recorded(instance, model) for model in models]
    months = set.intersection(*(set(of_model) for of_model in events))
    return {key: min(of_model[key][0] for of_model in events) for key in months}


def loaded_months(instance: dg.DagsterInstance, keys: Sequence[str]) -> list[str]:
    """The months from the calendar's first to the last whose activity was ever built."""
    newest = max(recorded(instance, ACTIVITY_KEY), default="")
    return [key for key in keys if key <= newest]


def behind_activity(instance: dg.DagsterInstance, months: Sequence[str]) -> str | None:
    """What has not been rebuilt since the newest activity, in words; None if everything has."""
    newest = max((event for event, _ in recorded(instance, ACTIVITY_KEY).values()), default=0)
    cohorts = {key: event for key, (event, _) in recorded(instance, COHORTS_KEY).items()}
    older = [key for key in months if cohorts.get(key, 0) < newest]
    if older:
        return f"Cohorts of {len(older)} signup months, {older[0]} to {older[-1]}, are older than the newest activity."
    published = instance.fetch_materializations(PUBLISHED_KEY, limit=1).records
    if months and (not published or published[0].storage_id < max(cohorts.values())):
        return "What is published is older than the cohorts."
    return None


def is_up_to_date(instance: dg.DagsterInstance, source: Source, settings: Settings, now: datetime) -> bool:
    """Whether what is published was made of the source as it is now, with these settings and this code.

    Nothing may have been loaded or rebuilt since, and the published generation has to be the current one. No file of
    the source is opened for it. False also where the last run did not bring everything up to the source.

    Raises:
        SourceError: the source cannot be looked at.
        WarehouseError: the warehouse cannot be read.
    """
    records = instance.fetch_materializations(PUBLISHED_KEY, limit=1).records
    if not records or records[0].asset_materialization is None or not open_warehouse(settings).exists():
        return False
    published = records[0].asset_materialization.metadata
    recorded = {
        name: published[name].value for name in (SOURCE_STATE, BUILD, "generation") if name in published
    }
    upstream = [*(raw_key(table) for table in RAW_TABLES), ACTIVITY_KEY, BUCKETS_KEY, COHORTS_KEY, CHURN_KEY]
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
