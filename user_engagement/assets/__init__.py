"""The assets: sources, raw extracts, dbt models, insights and the published generation."""

import warnings

import dagster as dg

# every asset uses single-run backfills, whose API Dagster marks as beta on each use
warnings.filterwarnings("ignore", message=".*`backfill_policy`.*", category=dg.BetaWarning)
