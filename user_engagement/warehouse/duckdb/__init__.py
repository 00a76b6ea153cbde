"""The embedded warehouse: one DuckDB file, which one process opens at a time."""
