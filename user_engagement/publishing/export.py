"""Marts as files, for whoever wants them outside the warehouse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from user_engagement.contracts.marts import MARTS
from user_engagement.errors import UserError
from user_engagement.settings import Settings
from user_engagement.warehouse import open_warehouse


def export_marts(
    settings: Settings, folder: Path, kind: Literal["parquet", "csv"]
) -> Iterator[tuple[str, int]]:
    """Writes every mart as ``<mart>.<kind>``, ordered by its grain; yields each name and its row count.

    Raises:
        UserError: the folder cannot be written to.
        WarehouseError: a mart has not been built, or the warehouse is in use.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written to ({error.strerror}). Choose another folder."
        ) from None
    with open_warehouse(settings).reader() as reader:
        for name in MARTS:
            yield name, _write(folder / f"{name}.{kind}", reader.mart(name), kind)


def _write(path: Path, reader: pa.RecordBatchReader, kind: str) -> int:
    """Writes beside the final name and renames, so that no half-written file is ever taken for a mart."""
    draft, rows = path.with_name(path.name + ".tmp"), 0
    writer = (
        pq.ParquetWriter(draft, reader.schema) if kind == "parquet" else pacsv.CSVWriter(draft, reader.schema)
    )
    with writer:
        for batch in reader:
            writer.write_batch(batch)
            rows += batch.num_rows
    draft.replace(path)
    return rows
