"""The jobs: new activity for some months, all cohorts and what follows from them, or both."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

INGEST = dg.AssetSelection.groups("raw", "staging", "activity")
SERVE = dg.AssetSelection.groups("cohorts", "marts", "published")


def build_jobs() -> Sequence[dg.UnresolvedAssetJobDefinition]:
    return [
        dg.define_asset_job(
            "refresh_activity",
            INGEST,
            description="Loads months of raw data and rebuilds their activity.",
        ),
        dg.define_asset_job(
            "refresh_cohorts",
            SERVE,
            description="Rebuilds cohorts by month of signup, then every mart, and publishes.",
        ),
        dg.define_asset_job(
            "everything",
            INGEST | SERVE,
            description="Both, over the same months.",
        ),
    ]
