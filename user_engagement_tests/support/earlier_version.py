"""A warehouse as versions before the schema `user_level` left it: each model in the schema of its folder."""

from __future__ import annotations

import re

import duckdb

from user_engagement.assets.dbt import folder_of, load_manifest
from user_engagement.settings import Settings

VIEW_OF_USERS, VIEW_OVER_USERS = "user_level.user_activity_daily", "insights.complete_weeks_inputs"


def former_places(settings: Settings) -> dict[str, str]:
    """Of each user-level table and view, the name that it had (``schema.table``)."""
    models = [node for node in load_manifest(settings)["nodes"].values() if node["resource_type"] == "model"]
    folders = {n["name"]: folder_of(n) for n in models if n["config"]["schema"] == "user_level"}
    # the one table of users that Python computes
    folders["at_risk_users"] = "insights"
    return {f"user_level.{name}": f"{folder}.{name}" for name, folder in folders.items()}


def restore_former_places(
    connection: duckdb.DuckDBPyConnection, places: dict[str, str], keep_emptied: bool
) -> None:
    """Moves what is there back; numbers of users are raised by 1,000, so that the rows can be told from new ones.

    With ``keep_emptied`` tables of the same names stay in `user_level`, without rows: as if a newer version had been
    there before the earlier one.
    """
    built = {f"{schema}.{name}" for schema, name in connection.execute(BUILT).fetchall()}
    views = [_placed(_sql_of(connection, view), places) for view in (VIEW_OF_USERS, VIEW_OVER_USERS)]
    for view in (VIEW_OF_USERS, VIEW_OVER_USERS):
        connection.execute(f"drop view {view}")
    for moved in sorted(built & set(places)):
        connection.execute(f"create table {places[moved]} as from {moved}")
        connection.execute(f"delete from {moved}" if keep_emptied else f"drop table {moved}")
        if "user_number" in connection.table(places[moved]).columns:
            connection.execute(f"update {places[moved]} set user_number = user_number + 1000")
    for view in views:
        connection.execute(view)
    for abandoned in ("activity.user_numbers", "insights.user_week_kinds"):
        connection.execute(f"create table {abandoned} as from lookups.user_numbers")
    if not keep_emptied:
        connection.execute("drop schema user_level")


BUILT = "select schema_name, table_name from duckdb_tables()"


def _sql_of(connection: duckdb.DuckDBPyConnection, view: str) -> str:
    query = "select sql from duckdb_views() where schema_name || '.' || view_name = ?"
    return connection.execute(query, [view]).fetchall()[0][0]


def _placed(sql: str, places: dict[str, str]) -> str:
    return re.sub(r'"?user_level"?\."?(\w+)"?', lambda found: places[f"user_level.{found[1]}"], sql)
