"""The assets: sources, raw extracts, dbt models, insights and the published generation."""

import warnings

import dagster as dg

# Dagster marks single-run backfills and code references as beta on each use, of which every asset makes some
warnings.filterwarnings(
    "ignore",
    message=".*(`backfill_policy`|code_references|CodeReference).*",
    category=dg.BetaWarning,
)
