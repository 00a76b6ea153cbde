"""Churn, retention and engagement KPIs from raw sources, as a Dagster asset graph."""
