"""Marts against marts, row for row."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa


def assert_same(found: dict[str, pa.Table], wanted: dict[str, pa.Table]) -> None:
    """Row for row and to the last bit."""
    assert list(found) == list(wanted)
    lines = [line for name in wanted for line in changed_rows(name, found[name], wanted[name])]
    assert not lines, "\n".join([f"{len(lines)} rows", *lines[:30]])


def changed_rows(name: str, found: pa.Table, wanted: pa.Table) -> Iterator[str]:
    if found.schema != wanted.schema:
        yield f"{name}: columns {found.schema} instead of {wanted.schema}"
    elif not found.equals(wanted):
        here, there = ({str(row) for row in table.to_pylist()} for table in (found, wanted))
        yield from (f"{name}: has {row}" for row in sorted(here - there))
        yield from (f"{name}: lacks {row}" for row in sorted(there - here))


def assert_same_marts(found: dict[str, pa.Table], wanted: dict[str, pa.Table]) -> None:
    """Row for row and to the last bit. Snowflake has one whole number, DuckDB two of which marts use either."""
    assert_same(*({name: _widened(table) for name, table in marts.items()} for marts in (found, wanted)))


def _widened(table: pa.Table) -> pa.Table:
    fields = [f.with_type(pa.int64()) if pa.types.is_int32(f.type) else f for f in table.schema]
    return table.cast(pa.schema(fields))
