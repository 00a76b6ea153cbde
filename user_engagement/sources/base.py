"""What every source offers, whatever it reads from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Protocol, runtime_checkable

import pyarrow as pa

from user_engagement.contracts.raw import LINEAGE, RawTable, Window

BATCH_ROWS = 131_072


@dataclass(frozen=True)
class UnreadableFile:
    """A file that cannot be read: its name as `_source` gives it, and why.

    ``first_day`` and ``last_day`` are the days of which it may hold rows, None if its name does not tell.
    """

    name: str
    reason: str
    first_day: date | None = None
    last_day: date | None = None


@dataclass(frozen=True)
class TableReport:
    """What a source holds for one raw table, found before anything is loaded.

    ``first_day`` and ``last_day`` are calendar days in the configured time zone, None without a usable row;
    ``extra_columns`` are columns that the contract does not name, by their lower-case names. All are of the files
    that can be read; only ``first_day`` also counts the days of those that cannot.
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
    null in every row. ``beside`` are whole tables to replace in the schema of raw tables, after the load.
    """

    table: RawTable
    window: Window
    rows: pa.RecordBatchReader
    rejected: pa.RecordBatchReader
    scan: str | None = None
    missing: tuple[str, ...] = ()
    beside: Mapping[str, pa.Table] = field(default_factory=dict)

    @property
    def extra_columns(self) -> tuple[str, ...]:
        """The source's columns that the contract does not name."""
        known = {c.name for c in (*self.table.declared, *LINEAGE)}
        return tuple(name for name in self.rows.schema.names if name not in known)


@dataclass(frozen=True)
class WarehouseExtract(Extract):
    """One slice of a table that the warehouse can read: it runs ``scan`` and ``rejected_scan`` by itself.

    Both are in the warehouse's SQL, with columns in the order of the schemas of ``rows`` and ``rejected``, which are
    empty. ``attached`` are files that the queries read, by the names of databases under which they do.
    """

    rejected_scan: str = ""
    attached: Mapping[str, Path] = field(default_factory=dict)


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


@runtime_checkable
class SourceOfFiles(Source, Protocol):
    """A source that can do without some of its files."""

    def unreadable(self, table: RawTable) -> Sequence[UnreadableFile]:
        """The table's files that cannot be read; the other methods are of those that can."""
        ...


def unreadable_files(source: Source, table: RawTable) -> Sequence[UnreadableFile]:
    """The files of a source that cannot be read; none of a source that needs all of them, or has none."""
    return source.unreadable(table) if isinstance(source, SourceOfFiles) else ()
