"""A group of files that one scan reads: the SQL over its rows and columns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb

from user_engagement.sources import normalise
from user_engagement.sources.data_files import pattern

Format = Literal["csv", "json", "parquet"]

# what a scan adds to the columns of a file, beside the lineage columns
SCAN_COLUMNS = ("_file", "file_index", "file_row_number")


@dataclass(frozen=True)
class FileGroup:
    """Files of one table that share format, columns and partition keys, so that one scan reads them all.

    ``columns`` maps a normalised name to the column's name in the file and its type there; ``hive_keys`` maps
    the names that come from the folders instead to their keys there. ``rows_before`` counts, for each file,
    the rows of the files before it; only a scan can tell, so that it is empty until then. ``root`` is the folder
    from which lineage names the files.
    """

    format: Format
    files: tuple[Path, ...]
    columns: dict[str, tuple[str, str]]
    hive_keys: dict[str, str]
    delimiter: str = ","
    rows_before: tuple[int, ...] = ()
    root: Path = Path()

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.columns, *(k for k in self.hive_keys if k not in self.columns))

    def scan(self, numbered: bool = False) -> str:
        """The group's rows with ``_file`` and, if ``numbered``, ``_row_number``: source order within a file."""
        files = "[" + ", ".join(pattern(f) for f in self.files) + "]"
        if self.format == "parquet":
            number = ", file_row_number + 1 as _row_number" if numbered else ""
            return (
                f"(select *, file_index{number} from read_parquet({files}, filename='_file', "
                "binary_as_string=true, hive_partitioning=false, union_by_name=false))"
            )
        names = ", ".join(f"{normalise.quoted(header)}: 'VARCHAR'" for header, _ in self.columns.values())
        if self.format == "csv":
            # by position: a header that needs quoting (or is empty) is no trouble then
            names = ", ".join(f"{normalise.quoted(name)}: 'VARCHAR'" for name in self.columns)
            reader = (
                f"read_csv({files}, auto_detect=false, header=true, delim={normalise.quoted(self.delimiter)}, "
                f"quote='\"', escape='\"', columns={{{names}}}, filename='_file', hive_partitioning=false)"
            )
        else:
            columns = f", columns={{{names}}}" if names else ""
            options = f"format='newline_delimited'{columns}, filename='_file', hive_partitioning=false"
            reader = f"read_json({files}, {options})"
        before = f"{list(self.rows_before)}[cast(file_index as integer) + 1]" if len(self.files) > 1 else "0"
        number = f", row_number() over () - {before} as _row_number" if numbered else ""
        return f"(select *, file_index{number} from {reader})"

    def raw(self, name: str) -> str:
        if name in self.columns:
            header = name if self.format == "csv" else self.columns[name][0]
            return normalise.identifier(header)
        # greedy up to the last such folder, so that one above the source's own folder is not taken for it
        folder = normalise.quoted(rf"^.*/{re.escape(self.hive_keys[name])}=([^/]*)/")
        return f"nullif(url_decode(regexp_extract(_file, {folder}, 1, 'is')), '__HIVE_DEFAULT_PARTITION__')"

    def kind(self, name: str) -> str:
        return self.columns[name][1] if name in self.columns else "VARCHAR"

    def text(self, name: str) -> str:
        return f"cast({self.raw(name)} as varchar)" if name in self.names else "cast(null as varchar)"

    @property
    def shape(self) -> tuple[object, ...]:
        """What files have in common that one scan can read."""
        return self.format, *self.columns.items(), *self.hive_keys.items(), self.delimiter, self.root


def connect() -> duckdb.DuckDBPyConnection:
    """A connection whose texts of instants do not depend on where the machine stands."""
    connection = duckdb.connect()
    connection.execute("set TimeZone = 'UTC'")
    return connection
