"""Exports marts and insight tables to files, for use outside the warehouse."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from user_engagement.contracts.marts import MARTS
from user_engagement.errors import UserError
from user_engagement.publishing.spreadsheets import without_formulas
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
            is_escaped = kind == "csv" and settings.csv_escape_formulas
            yield name, _write(folder / f"{name}.{kind}", reader.mart(name), kind, is_escaped)


def export_tables(
    settings: Settings, folder: Path, kind: Literal["parquet", "csv"], schema: str, names: Iterable[str]
) -> Iterator[tuple[str, int]]:
    """Writes the tables of a schema with these names that have been built; yields each name and its row count.

    Raises:
        WarehouseError: the warehouse is in use.
    """
    with open_warehouse(settings).reader() as reader:
        for _, name in reader.tables((schema, name) for name in names):
            is_escaped = kind == "csv" and settings.csv_escape_formulas
            yield name, _write(folder / f"{name}.{kind}", reader.ordered(schema, name), kind, is_escaped)


def _write(path: Path, reader: pa.RecordBatchReader, kind: str, is_escaped: bool) -> int:
    """Writes a temporary file and renames it, so that nobody reads a half-written mart; returns the row count."""
    draft, rows = path.with_name(path.name + ".tmp"), 0
    writer = (
        pq.ParquetWriter(draft, reader.schema) if kind == "parquet" else pacsv.CSVWriter(draft, reader.schema)
    )
    with writer:
        for batch in reader:
            table = pa.Table.from_batches([batch])
            writer.write_table(without_formulas(table) if is_escaped else table)
            rows += batch.num_rows
    draft.replace(path)
    return rows
