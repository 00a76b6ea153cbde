"""The dashboard and the report: pages over a published generation, which is all that they know."""
