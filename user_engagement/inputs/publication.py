"""Whether the publication was made from the source, the settings and the code as they are now.

A generation records what it was made from. Nothing is imported for the comparison but what reads the warehouse and
the source: loading Dagster and dbt takes longer than all of it.
"""

from __future__ import annotations

from datetime import datetime

from user_engagement.errors import UserError
from user_engagement.inputs.fingerprints import build_fingerprint, source_state
from user_engagement.inputs.variables import dbt_vars
from user_engagement.publishing.generations import read_manifest, resolve
from user_engagement.settings import Settings
from user_engagement.sources import open_source
from user_engagement.warehouse import WarehouseReader, open_source_tables, open_warehouse

UNKNOWN = "unknown"
"""The source's state of a run that has left months out, and the stamp of a warehouse that has none."""


def made_from(reader: WarehouseReader, settings: Settings, state: str, now: datetime) -> dict[str, str]:
    """What a publication is made from, by kind of input; ``state`` is the source's state that was loaded."""
    return {
        "source": state,
        "build": build_fingerprint(settings, dbt_vars(reader, settings, now)),
        "warehouse": open_warehouse(settings).stamp() or UNKNOWN,
    }


def is_current(settings: Settings, now: datetime) -> bool:
    """Whether a run would publish what is published already. False also where Dagster's history alone can tell.

    Raises:
        SourceError: the state of the source cannot be read.
        WarehouseError: the warehouse cannot be read.
    """
    try:
        recorded = read_manifest(resolve(settings.published_dir)).made_from
    except (UserError, OSError):
        return False
    stamp = open_warehouse(settings).stamp()
    if stamp is None or UNKNOWN in recorded.values() or recorded.get("warehouse") != stamp:
        return False
    state = source_state(open_source(settings, open_source_tables), settings)
    if state != recorded["source"]:
        return False
    with open_warehouse(settings).reader() as reader:
        return made_from(reader, settings, state, now) == recorded
