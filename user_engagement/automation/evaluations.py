"""The latest results of asset checks."""

from collections.abc import Sequence

import dagster as dg

from user_engagement.dagster_internals import (
    COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES as ENDED,
)
from user_engagement.dagster_internals import AssetCheckExecutionRecord


def latest_evaluations(
    instance: dg.DagsterInstance, keys: Sequence[dg.AssetCheckKey]
) -> dict[dg.AssetCheckKey, AssetCheckExecutionRecord]:
    """The latest completed evaluation of each check that was ever evaluated.

    A queued run records its checks as planned, which hides their results in earlier runs. So this takes one query, and
    one more for each planned check.
    """
    log = instance.event_log_storage
    found: dict[dg.AssetCheckKey, AssetCheckExecutionRecord] = {}
    for key, latest in log.get_latest_asset_check_execution_by_key(keys).items():
        if latest.status in ENDED:
            found[key] = latest
        elif earlier := log.get_asset_check_execution_history(key, limit=1, status=ENDED):
            found[key] = earlier[0]
    return found
