"""What every source offers, whatever it reads from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Protocol

import pyarrow as pa

from user_engagement.contracts.raw import LINEAGE, RawTable, Window

BATCH_ROWS = 131_072


@dataclass(frozen=True)
class TableReport:
    """What a source holds for one raw table, found before anything is loaded.

    ``first_day`` and ``last_day`` are calendar days in the configured time zone, None without a usable row;
    ``extra_columns`` are columns that the contract does not name, by their lower-case names.
    """

    table: RawTable
    rows: int
    rejected: int
    first_day: date | None
    last_day: date | None
    extra_columns: tuple[str, ...]
    locations: tuple[str, ...]

    @property
    def further(self) -> tuple[str, ...]:
        """The earlier name of `extra_columns`, which scripts outside the project use."""
        return self.extra_columns


@dataclass(frozen=True)
class Extract:
    """One slice on its way to the warehouse, in bounded batches.

    ``rows`` are the rows dated within ``window``, in the Arrow schema of ``table.schema(extra_columns)``;
    ``rejected`` are all rows of the table that carry no usable date, in the schema of `REJECTED_ROWS`.
    Both are read once, ``rows`` first. ``scan``, where there is one, is a query for the same rows, which a DuckDB
    connection in the time zone UTC can run itself. ``missing`` are optional columns that the source does not have,
    null in every row.
    """

    table: RawTable
    window: Window
    rows: pa.RecordBatchReader
    rejected: pa.RecordBatchReader
    scan: str | None = None
    missing: tuple[str, ...] = ()

    @property
    def extra_columns(self) -> tuple[str, ...]:
        """The source's columns that the contract does not name."""
        known = {c.name for c in (*self.table.declared, *LINEAGE)}
        return tuple(name for name in self.rows.schema.names if name not in known)


class Source(Protocol):
    """A place to extract the raw tables from. Every method raises `SourceError` for what a user can mend."""

    def inspect(self, table: RawTable) -> TableReport | None:
        """Checks the table's shape and values, and says what it holds; None if absent where that is legal."""
        ...

    def extract(self, table: RawTable, window: Window) -> Extract:
        """The table's rows within the window, after the checks of `inspect`; no rows for a legal absence."""
        ...

    def fingerprint(self, table: RawTable) -> dict[str, str]:
        """A mark for each month (``YYYY-MM-01``) that holds rows, which changes when the month's rows may have.

        Cheap: it looks at sizes and times of files, or at counts and times of change in a database.
        """
        ...

    def monthly_rows(self, table: RawTable) -> dict[str, int]:
        """The dated rows of each month (``YYYY-MM-01``); a row near a month's end may count in both months."""
        ...

    def state(self, table: RawTable) -> str:
        """A mark for the whole table, which changes whenever a fingerprint may have; no file is opened for it."""
        ...
