"""Where the tables live: raw slices in, marts out, through the one door `open_warehouse`."""

from __future__ import annotations

from user_engagement.settings import Settings
from user_engagement.warehouse.base import LoadedSlice, Warehouse, WarehouseReader

__all__ = ["LoadedSlice", "Warehouse", "WarehouseReader", "open_warehouse"]


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

    return SnowflakeWarehouse(load_account(), settings.memory_limit)
