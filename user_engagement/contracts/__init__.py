"""The columns of raw tables, marts and Snowplow events, which every layer may use."""

from user_engagement.contracts.raw import RAW_TABLES, RawTable, Window

__all__ = ["RAW_TABLES", "RawTable", "Window"]
