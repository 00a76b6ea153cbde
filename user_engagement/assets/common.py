"""Owners, keys, the freshness policy, and the pools of assets that write to the warehouse."""

from datetime import timedelta

import dagster as dg

from user_engagement.contracts.raw import RawTable
from user_engagement.instance.run_coordinator import LOADS_POOL
from user_engagement.settings import Settings

OWNERS = ["team:data-platform"]
# the embedded warehouse takes one writer, so one run at a time (see dagster.yaml)
WAREHOUSE_POOL = "warehouse"
PUBLISHED = ("published", "generation")


def asset_key(settings: Settings, folder: str, table: str) -> dg.AssetKey:
    """The key of a table: its folder and name, after the prefix in a Dagster that is shared with others."""
    prefix = [settings.dagster_prefix] if settings.dagster_prefix else []
    return dg.AssetKey([*prefix, folder, table])


def table_of(key: dg.AssetKey) -> tuple[str, str]:
    """Folder and name of the table behind a key; a user-level table is not stored in the schema of its folder."""
    return key.path[-2], key.path[-1]


def source_key(settings: Settings, table: RawTable) -> dg.AssetKey:
    return asset_key(settings, "source", table.name)


def raw_key(settings: Settings, table: RawTable) -> dg.AssetKey:
    return asset_key(settings, "raw", table.name)


def published_key(settings: Settings) -> dg.AssetKey:
    return asset_key(settings, *PUBLISHED)


def raw_pool(settings: Settings) -> str:
    """The pool of raw extracts: one of their own where several runs may load at the same time."""
    return LOADS_POOL if settings.parallel_loads > 1 else WAREHOUSE_POOL


def freshness_policy(settings: Settings) -> dg.FreshnessPolicy:
    """The freshness policy of published assets: fails at `STALE_AFTER_HOURS`, warns at three quarters of it."""
    limit = timedelta(hours=settings.stale_after_hours)
    return dg.FreshnessPolicy.time_window(fail_window=limit, warn_window=0.75 * limit)
