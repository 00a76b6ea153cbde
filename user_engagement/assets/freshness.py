"""What the last successful load of each month recorded about its source.

A month is up to date if its source looks as it did when the month was last loaded, and its activity was rebuilt
since. Both facts are events of the Dagster instance: there is no state beside it that could disagree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dagster as dg

from user_engagement.assets.raw import FINGERPRINT, held_by_source, raw_key
from user_engagement.contracts import RAW_TABLES
from user_engagement.settings import Settings
from user_engagement.sources import Source

ACTIVITY_KEY = dg.AssetKey(["activity", "user_days"])


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


def outdated_months(
    instance: dg.DagsterInstance, source: Source, settings: Settings, keys: Sequence[str]
) -> Mapping[str, list[str]]:
    """The months to load, by partition key, each with the tables whose source changed since the last load.

    A warehouse that is not there makes every month outdated, whatever was recorded.
    """
    has_warehouse = settings.warehouse_file.exists()
    rebuilt = recorded(instance, ACTIVITY_KEY) if has_warehouse else {}
    outdated: dict[str, list[str]] = {}
    for table in RAW_TABLES:
        loaded = recorded(instance, raw_key(table)) if has_warehouse else {}
        for key, fingerprint in held_by_source(source, table, settings, keys).items():
            event, known = loaded.get(key, (0, None))
            if fingerprint != known or rebuilt.get(key, (0, None))[0] < event:
                outdated.setdefault(key, []).append(table.name)
    return dict(sorted(outdated.items()))
