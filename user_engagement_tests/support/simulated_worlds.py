"""Small worlds, and ways to look at what was written for them."""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from user_engagement.simulation import Dirt, Stories, WorldConfig, database_file, events_folder
from user_engagement.simulation.deliveries import deliveries
from user_engagement.simulation.population import population

START = date(2025, 1, 1)

SMALL = WorldConfig(users=400, reference_end=date(2025, 5, 1))
"""400 signups in four months, with all dirt; the stories begin later."""

CLEAN = replace(SMALL, dirt=Dirt.none(), stories=Stories.none())


def day(number: int) -> date:
    return START + timedelta(days=number)


def event_file_digests(home: Path) -> dict[str, str]:
    """The SHA-256 of every file below the events folder, by its relative path."""
    events = events_folder(home)
    return {
        str(path.relative_to(events)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(events.rglob("*"))
        if path.is_file()
    }


def database_rows(home: Path) -> dict[str, list[tuple[Any, ...]]]:
    with sqlite3.connect(database_file(home)) as connection:
        return {
            table: connection.execute(f"select * from {table} order by user_id").fetchall()
            for table in ("users", "cancellations")
        }


def contents(home: Path) -> tuple[dict[str, str], dict[str, list[tuple[Any, ...]]]]:
    """Everything that a source reads from the world in `home`."""
    return event_file_digests(home), database_rows(home)


def read_events(home: Path) -> pd.DataFrame:
    """All delivered rows in the order of delivery, with `delivered_on` from the folders' names."""
    return pq.read_table(events_folder(home)).to_pandas()


def events_of(config: WorldConfig, through: date) -> pd.DataFrame:
    """The rows delivered through a day, without writing them, with the day of delivery."""
    users = population(config, through)
    parts = []
    for number, rows in deliveries(config, users, 0, config.day_number(through)):
        parts.append(rows.to_pandas().assign(delivered_on=pd.Timestamp(config.day(number))))
    return pd.concat(parts, ignore_index=True).astype({"interaction_type": str, "device_type": object})
