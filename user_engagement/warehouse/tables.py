"""Tables that Python computed, written to the warehouse as a whole."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from user_engagement.settings import Settings


def replace_tables(settings: Settings, schema: str, tables: Mapping[str, pa.Table], **tags: str) -> None:
    """Replaces tables of a schema, or creates them, in one transaction: readers see all of them or none.

    ``tags`` say in Snowflake's query history what the statements are for.

    Raises:
        WarehouseError: another process holds the embedded warehouse, or Snowflake refuses.
    """
    # each imports its own client, of which Snowflake's takes seconds
    if settings.warehouse == "duckdb":
        from user_engagement.warehouse import duckdb_io

        duckdb_io.replace_tables(settings, schema, tables)
    else:
        from user_engagement.warehouse import snowflake_io
        from user_engagement.warehouse.snowflake_account import load_account

        snowflake_io.replace_tables(load_account(), schema, tables, **tags)
