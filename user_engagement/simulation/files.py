"""Writes a world as the three files that the file source reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import date
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from user_engagement.simulation.config import WorldConfig
from user_engagement.simulation.deliveries import EVENT_SCHEMA, deliveries
from user_engagement.simulation.dirt import user_attributes
from user_engagement.simulation.errors import SimulationError
from user_engagement.simulation.oltp import moments
from user_engagement.simulation.population import CHURN_REASONS, Population, population
from user_engagement.simulation.world import load_config

SIGNUP_SCHEMA = pa.schema(
    [
        pa.field("user_id", pa.int64()),
        pa.field("signup_date", pa.timestamp("us")),
        pa.field("product_type", pa.string()),
        pa.field("acquisition_channel", pa.string()),
        pa.field("country", pa.string()),
    ]
)
CHURN_SCHEMA = pa.schema(
    [
        pa.field("user_id", pa.int64()),
        pa.field("churn_date", pa.timestamp("us")),
        pa.field("churn_reason", pa.string()),
    ]
)
ENGAGEMENT_SCHEMA = pa.schema(
    [
        field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field.with_nullable(True)
        for field in EVENT_SCHEMA
    ]
)

FileFormat = Literal["parquet", "csv"]


class _Writer(Protocol):
    def write_table(self, table: pa.Table) -> None: ...


def write_files(
    world: WorldConfig | Path,
    through: date,
    target: Path,
    format: FileFormat = "parquet",  # noqa: A002
) -> dict[str, Path]:
    """Write user_signups, user_engagement and churn_data to the folder `target`; return the path of each by name.

    `world` is a configuration or the home of a world. The rows are those that `advance` writes to the source
    systems through the day `through`, dirt included, in the same order.

    Raises SimulationError for an unknown format, a day out of range, and a home without a world.
    """
    if format not in _WRITERS:
        raise SimulationError(f"The format is {format!r}: choose {' or '.join(_WRITERS)}.")
    config = world if isinstance(world, WorldConfig) else load_config(world)
    last = config.last_day_number(through)
    users = population(config, through)
    tables: dict[str, tuple[pa.Schema, Iterator[pa.Table]]] = {
        "user_signups": (SIGNUP_SCHEMA, iter([_signups(config, users)])),
        "user_engagement": (ENGAGEMENT_SCHEMA, _engagement(config, users, last)),
        "churn_data": (CHURN_SCHEMA, iter([_churn(config, users, last)])),
    }
    target.mkdir(parents=True, exist_ok=True)
    paths = {name: target / f"{name}.{format}" for name in tables}
    for name, (schema, parts) in tables.items():
        with _WRITERS[format](paths[name], schema) as writer:
            for part in parts:
                writer.write_table(part)
    return paths


def _parquet_writer(path: Path, schema: pa.Schema) -> AbstractContextManager[_Writer]:
    return pq.ParquetWriter(path, schema, compression="zstd", store_schema=False)


def _csv_writer(path: Path, schema: pa.Schema) -> AbstractContextManager[_Writer]:
    return pa_csv.CSVWriter(path, schema)


_WRITERS: dict[str, Callable[[Path, pa.Schema], AbstractContextManager[_Writer]]] = {
    "parquet": _parquet_writer,
    "csv": _csv_writer,
}


def _signups(config: WorldConfig, users: Population) -> pa.Table:
    signup_date = moments(config, users.signup_day, users.signup_second)
    attributes = user_attributes(users, config.dirt)
    columns = {"user_id": users.user_id, "signup_date": signup_date, **attributes}
    return pa.table(columns, schema=SIGNUP_SCHEMA)


def _churn(config: WorldConfig, users: Population, last: int) -> pa.Table:
    cancelled = users.where(np.flatnonzero(users.declared_day <= last))
    in_order = cancelled.where(np.lexsort((cancelled.declared_second, cancelled.declared_day)))
    columns = {
        "user_id": in_order.user_id,
        "churn_date": moments(config, in_order.declared_day, in_order.declared_second),
        "churn_reason": np.array(CHURN_REASONS, dtype=object)[in_order.churn_reason],
    }
    return pa.table(columns, schema=CHURN_SCHEMA)


def _engagement(config: WorldConfig, users: Population, last: int) -> Iterator[pa.Table]:
    for _, rows in deliveries(config, users, 0, last):
        yield rows.cast(ENGAGEMENT_SCHEMA)
