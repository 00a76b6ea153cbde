"""What an extract holds, whoever has to read it."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from user_engagement.sources.base import Extract, WarehouseExtract
from user_engagement.warehouse.duckdb.attaching import attached_files


def rows_of(extract: Extract) -> pa.Table:
    if isinstance(extract, WarehouseExtract):
        return _fetched(extract, str(extract.scan), extract.rows.schema)
    return extract.rows.read_all()


def rejected_of(extract: Extract) -> pa.Table:
    """After `rows_of`, as a warehouse reads them."""
    if isinstance(extract, WarehouseExtract):
        return _fetched(extract, extract.rejected_scan, extract.rejected.schema)
    return extract.rejected.read_all()


def _fetched(extract: WarehouseExtract, query: str, schema: pa.Schema) -> pa.Table:
    with duckdb.connect() as connection, attached_files(connection, extract.attached):
        connection.execute("set TimeZone = 'UTC'")
        return connection.sql(query).to_arrow_table().cast(schema)
