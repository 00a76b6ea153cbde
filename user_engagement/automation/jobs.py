"""The jobs: load activity of some months; rebuild all cohorts, marts and the publication; or both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import dagster as dg

from user_engagement.assets.common import table_of
from user_engagement.assets.freshness import fresh_checks, not_failed_checks
from user_engagement.settings import Settings

INGESTED = ("raw", "staging", "lookups", "activity")
SERVED = ("cohorts", "intermediate", "marts", "insights", "published")

INGEST_JOB, COHORTS_JOB, EVERYTHING_JOB = "refresh_activity", "refresh_cohorts", "everything"


def build_jobs(settings: Settings, keys: Iterable[dg.AssetKey]) -> Sequence[dg.UnresolvedAssetJobDefinition]:
    """The jobs over these assets alone: other assets of the code location may have groups of the same names."""
    keys = list(keys)
    # these check the instance and the source, not a run
    standing_checks = dg.AssetSelection.checks(*fresh_checks(settings), *not_failed_checks(settings))
    ingest, serve = (
        dg.AssetSelection.assets(*(key for key in keys if table_of(key)[0] in folders)).materializable()
        - standing_checks
        for folders in (INGESTED, SERVED)
    )
    return [
        dg.define_asset_job(
            settings.dagster_name(INGEST_JOB),
            ingest,
            executor_def=dg.in_process_executor,
            description="Loads months of raw data and rebuilds their activity.",
        ),
        dg.define_asset_job(
            settings.dagster_name(COHORTS_JOB),
            serve,
            executor_def=dg.in_process_executor,
            description="Rebuilds cohorts by month of signup, then every mart, and publishes.",
        ),
        dg.define_asset_job(
            settings.dagster_name(EVERYTHING_JOB),
            ingest | serve,
            executor_def=dg.in_process_executor,
            description="Runs refresh_activity and refresh_cohorts over the same months.",
        ),
    ]
