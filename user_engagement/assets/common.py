"""What assets share: owners, the pool of those that write to the warehouse, keys, and the freshness policy."""

from datetime import timedelta

import dagster as dg

from user_engagement.contracts.raw import RawTable
from user_engagement.settings import Settings

OWNERS = ["team:data-platform"]
# one run at a time writes to the embedded warehouse (see dagster.yaml)
WAREHOUSE_POOL = "warehouse"
PUBLISHED_KEY = dg.AssetKey(["published", "generation"])


def source_key(table: RawTable) -> dg.AssetKey:
    return dg.AssetKey(["source", table.name])


def raw_key(table: RawTable) -> dg.AssetKey:
    return dg.AssetKey(["raw", table.name])


def freshness_policy(settings: Settings) -> dg.FreshnessPolicy:
    """The policy of assets that people look at: a warning at three quarters of the age at which it fails."""
    limit = timedelta(hours=settings.stale_after_hours)
    return dg.FreshnessPolicy.time_window(fail_window=limit, warn_window=0.75 * limit)
