"""Where the tables live: raw slices in, marts out, through the one door `open_warehouse`."""

from __future__ import annotations

from user_engagement.settings import Settings
from user_engagement.sources.warehouse import SourceTables
from user_engagement.warehouse.base import LoadedSlice, Warehouse, WarehouseReader

__all__ = ["LoadedSlice", "Warehouse", "WarehouseReader", "open_source_tables", "open_warehouse"]


def open_warehouse(settings: Settings) -> Warehouse:
    """The warehouse that the settings choose. Nothing is connected to before it is used.

    Raises:
        SettingsError: Snowflake is the warehouse, and a variable of its account cannot be used.
    """
    # each imports its own client, of which Snowflake's takes seconds
    if settings.warehouse == "duckdb":
        from user_engagement.warehouse.duckdb.warehouse import DuckDBWarehouse

        return DuckDBWarehouse.of(settings)
    from user_engagement.warehouse.snowflake.account import load_account
    from user_engagement.warehouse.snowflake.warehouse import SnowflakeWarehouse

    return SnowflakeWarehouse(load_account(), settings.memory_limit, settings.forgotten_file)


def open_source_tables(settings: Settings) -> SourceTables:
    """The tables that the source `warehouse` reads. Nothing is connected to before it is used.

    Raises:
        SettingsError: a setting of the warehouse, or of the place of the tables, cannot be used.
    """
    if settings.warehouse == "duckdb":
        from user_engagement.warehouse.duckdb.source_tables import DuckDBTables
        from user_engagement.warehouse.duckdb.warehouse import DuckDBWarehouse

        return DuckDBTables(DuckDBWarehouse.of(settings), settings.source_path)
    from user_engagement.warehouse.snowflake.account import load_account
    from user_engagement.warehouse.snowflake.source_tables import SnowflakeTables

    return SnowflakeTables(load_account(), settings.source_path)
