"""The embedded warehouse behind the door."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from user_engagement.errors import WarehouseBusyError, WarehouseError
from user_engagement.settings import Settings
from user_engagement.sources.base import Extract, WarehouseExtract
from user_engagement.warehouse.base import LoadedSlice
from user_engagement.warehouse.duckdb import loading
from user_engagement.warehouse.duckdb.attaching import attached_files
from user_engagement.warehouse.duckdb.reader import DuckDBReader
from user_engagement.warehouse.forgotten import NOBODY, read_forgotten

if TYPE_CHECKING:
    import dagster as dg
    import pandas as pd

    from user_engagement.dagster_internals import TableSlice


HOLDER = re.compile(r"lock is held in (.+?) \(PID (\d+)\)")


@dataclass(frozen=True)
class DuckDBWarehouse:
    """A `Warehouse` in a DuckDB file. ``memory_limit`` bounds each connection.

    ``forgotten_file`` lists users whose rows are never loaded.
    """

    file: Path
    memory_limit: str
    forgotten_file: Path | None = None

    @classmethod
    def of(cls, settings: Settings) -> DuckDBWarehouse:
        return cls(settings.warehouse_file, settings.memory_limit, settings.forgotten_file)

    def exists(self) -> bool:
        return self.file.exists()

    def stamp(self) -> str | None:
        written_ahead = self.file.with_name(f"{self.file.name}.wal")
        if not self.exists() or written_ahead.exists():
            return None
        found = self.file.stat()
        return f"{found.st_mtime_ns} {found.st_size}"

    @contextmanager
    def reader(self) -> Iterator[DuckDBReader]:
        if not self.exists():
            raise WarehouseError(f"{self.file}: there is no warehouse yet. Run: user-engagement run")
        with self.connect() as connection:
            yield DuckDBReader(connection)

    def replace_slice(self, extract: Extract, **tags: str) -> LoadedSlice:
        attached = extract.attached if isinstance(extract, WarehouseExtract) else {}
        with self.connect() as connection, attached_files(connection, attached):
            forgotten = read_forgotten(self.forgotten_file) if self.forgotten_file else NOBODY
            return loading.replace_slice(connection, extract, forgotten)

    def replace_tables(self, schema: str, tables: Mapping[str, pa.Table], **tags: str) -> None:
        with self.connect() as connection:
            loading.replace_tables(connection, schema, tables)

    def delete_rows(self, conditions: Iterable[tuple[str, str]], **tags: str) -> dict[str, int]:
        with self.connect() as connection:
            return loading.delete_rows(connection, conditions)

    def load_frame(self, context: dg.InputContext, table_slice: TableSlice, **tags: str) -> pd.DataFrame:
        # as long to import as all else that a reader of marts needs
        from dagster_duckdb_pandas import DuckDBPandasTypeHandler

        with self.connect() as connection:
            return DuckDBPandasTypeHandler().load_input(context, table_slice, connection)

    @contextmanager
    def connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection that is closed, and so gives up the file's lock, whatever happens.

        Raises:
            WarehouseError: another process holds the file, or it is no warehouse.
        """
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            config = {"memory_limit": self.memory_limit, "preserve_insertion_order": False}
            connection = duckdb.connect(str(self.file), config=config)
        except (duckdb.Error, OSError) as error:
            reason = str(error).splitlines()[0]
            if "lock" in reason:
                held = HOLDER.search(reason)
                holder = f"{Path(held[1]).name}, process {held[2]}," if held else "another process"
                raise WarehouseBusyError(
                    f"{self.file}: {holder} holds this file. Wait for that run to end, or stop it."
                ) from None
            raise WarehouseError(
                f"{self.file}: cannot be opened as a warehouse. Move it away, or choose another folder with "
                f"USER_ENGAGEMENT_HOME. ({reason})"
            ) from None
        try:
            yield connection
        finally:
            connection.close()
