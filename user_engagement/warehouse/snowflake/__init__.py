"""Snowflake as the warehouse; only `account` can be imported without its client, which takes seconds."""
