"""The assets: sources, raw extracts, dbt models, and what is published of them."""

import warnings

import dagster as dg

# single-run backfills are the design here; their API is marked beta on every use
warnings.filterwarnings("ignore", message=".*`backfill_policy`.*", category=dg.BetaWarning)
