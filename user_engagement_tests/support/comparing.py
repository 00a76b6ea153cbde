"""Marts of both warehouses against each other."""

from __future__ import annotations

import pyarrow as pa

from user_engagement_tests.test_load_paths import assert_same


def assert_same_marts(found: dict[str, pa.Table], wanted: dict[str, pa.Table]) -> None:
    """Row for row and to the last bit. Snowflake has one whole number, DuckDB two of which marts use either."""
    assert_same(*({name: _widened(table) for name, table in marts.items()} for marts in (found, wanted)))


def _widened(table: pa.Table) -> pa.Table:
    fields = [f.with_type(pa.int64()) if pa.types.is_int32(f.type) else f for f in table.schema]
    return table.cast(pa.schema(fields))
