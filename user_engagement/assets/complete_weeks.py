"""Whether tables of complete weeks can be kept: most days change no row of a week that is over.

A run that rebuilds these tables records on their materializations what they were made from. A later run whose inputs
are the same keeps them. A rebuild is announced by an observation, so that a run that was killed halfway leaves nothing
to keep.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import dagster as dg

from user_engagement.inputs.fingerprints import REBUILD_TAG
from user_engagement.settings import Settings
from user_engagement.warehouse import open_warehouse

INPUTS = "complete_weeks_inputs"
"""The metadata entry with the fingerprint of the inputs, and the model that computes it."""


def announce_rebuild(context: dg.AssetExecutionContext, keys: Iterable[dg.AssetKey]) -> None:
    """Records that tables are about to change: what was recorded of them before holds no more."""
    for key in keys:
        context.log_event(dg.AssetObservation(asset_key=key, description="A rebuild has begun."))


def recorded_inputs(instance: dg.DagsterInstance, keys: Iterable[dg.AssetKey]) -> str | None:
    """The fingerprint of the inputs from which all tables were made; None if there is no such single fingerprint."""
    found = {_recorded(instance, key) for key in keys}
    return found.pop() if len(found) == 1 else None


def _recorded(instance: dg.DagsterInstance, key: dg.AssetKey) -> str | None:
    made = instance.fetch_materializations(key, limit=1).records
    begun = instance.fetch_observations(key, limit=1).records
    if (
        not made
        or made[0].asset_materialization is None
        or (begun and begun[0].storage_id > made[0].storage_id)
    ):
        return None
    entry = made[0].asset_materialization.metadata.get(INPUTS)
    return str(entry.value) if entry else None


def can_keep(
    context: dg.AssetExecutionContext,
    settings: Settings,
    stored: Mapping[dg.AssetKey, tuple[str, str]],
    inputs: str | None,
) -> bool:
    """Whether all tables are there and were made from ``inputs``, and the run does not ask for a rebuild.

    ``stored`` has schema and name of the table behind each key.
    """
    if inputs is None or REBUILD_TAG in context.run.tags or not set(stored) <= context.selected_asset_keys:
        return False
    if recorded_inputs(context.instance, stored) != inputs:
        return False
    with open_warehouse(settings).reader() as reader:
        return len(reader.tables(stored.values())) == len(stored)
