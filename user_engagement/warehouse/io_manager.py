"""The IO manager of the raw tables, for whichever warehouse is set."""

from __future__ import annotations

from dagster._config.pythonic_config import ConfigurableIOManagerFactory

from user_engagement.settings import Settings


def raw_io_manager(settings: Settings) -> ConfigurableIOManagerFactory:
    """What stores extracts and loads raw tables as pandas.

    Raises:
        SettingsError: Snowflake is the warehouse, and a variable of its account cannot be used.
    """
    # each imports its own client, of which Snowflake's takes seconds
    if settings.warehouse == "duckdb":
        from user_engagement.warehouse import duckdb_io

        return duckdb_io.raw_io_manager(settings)
    from user_engagement.warehouse import snowflake_io

    return snowflake_io.raw_io_manager()
