"""The jobs: load activity of some months; rebuild all cohorts, marts and the publication; or both."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from user_engagement.assets.freshness import FRESH_CHECKS, NOT_FAILED_CHECKS

# these check the instance and the source, not a run
STANDING_CHECKS = dg.AssetSelection.checks(*FRESH_CHECKS, *NOT_FAILED_CHECKS)
INGEST = dg.AssetSelection.groups("raw", "staging", "lookups", "activity") - STANDING_CHECKS
SERVE = (
    dg.AssetSelection.groups("cohorts", "intermediate", "marts", "insights", "published") - STANDING_CHECKS
)

INGEST_JOB, COHORTS_JOB, EVERYTHING_JOB = "refresh_activity", "refresh_cohorts", "everything"


def build_jobs() -> Sequence[dg.UnresolvedAssetJobDefinition]:
    return [
        dg.define_asset_job(
            INGEST_JOB,
            INGEST,
            description="Loads months of raw data and rebuilds their activity.",
        ),
        dg.define_asset_job(
            COHORTS_JOB,
            SERVE,
            description="Rebuilds cohorts by month of signup, then every mart, and publishes.",
        ),
        dg.define_asset_job(
            EVERYTHING_JOB,
            INGEST | SERVE,
            description="Runs refresh_activity and refresh_cohorts over the same months.",
        ),
    ]
