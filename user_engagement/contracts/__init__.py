"""What raw tables, marts and Snowplow events hold: facts that every layer may rely on."""

from user_engagement.contracts.raw import RAW_TABLES, RawTable, Window

__all__ = ["RAW_TABLES", "RawTable", "Window"]
