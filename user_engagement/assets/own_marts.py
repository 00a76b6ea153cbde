"""Marts that a team adds: models in the schema ``marts`` that the KPI contract does not name."""

from collections.abc import Mapping
from typing import Any

from user_engagement.assets.dbt import folder_of, schema_of
from user_engagement.contracts.marts import MARTS
from user_engagement.warehouse import WarehouseReader

SCHEMA = "marts"


def own_marts(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The description of each mart of the team's own, by name."""
    models = [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]
    return {
        node["name"]: node["description"] or node["name"]
        for node in sorted(models, key=lambda node: node["name"])
        if (folder_of(node), schema_of(node)) == (SCHEMA, SCHEMA)
        and node["name"] not in MARTS
        and node["config"]["materialized"] != "ephemeral"
    }


def names_no_user(reader: WarehouseReader, name: str) -> bool:
    """Whether a mart may be published: one with the column ``user_id`` stays in the warehouse."""
    return "user_id" not in reader.columns(SCHEMA, name)
