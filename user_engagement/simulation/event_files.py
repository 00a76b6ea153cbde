"""The customer-experience platform's export: one Parquet file for each day of delivery.

    user_engagement/delivered_on=2025-01-01/part-0.parquet

A row's `engagement_date` is up to three days before the day in the folder's name, because a late event is in
the file of the day on which it arrived. A day without rows has an empty file.
"""

from __future__ import annotations

import os
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

PARTITION = "delivered_on="

WRITING: dict[str, Any] = {"use_dictionary": ["interaction_type", "device_type"], "store_schema": False}
"""No dictionaries for ids and times, which hardly repeat. Without the Arrow schema, readers get plain text."""


def day_file(events: Path, day: date) -> Path:
    return events / f"{PARTITION}{day.isoformat()}" / "part-0.parquet"


def write_day(events: Path, day: date, rows: pa.Table) -> None:
    """Write the file of one day atomically. Equal rows give equal bytes."""
    target = day_file(events, day)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(".tmp")
    with unfinished.open("wb") as file:
        pq.write_table(rows, file, **WRITING)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(target)


def remove_after(events: Path, day: date) -> None:
    """Remove the files of the days after `day`."""
    if events.is_dir():
        for folder in events.glob(f"{PARTITION}*"):
            if folder.name > f"{PARTITION}{day.isoformat()}":
                shutil.rmtree(folder)
