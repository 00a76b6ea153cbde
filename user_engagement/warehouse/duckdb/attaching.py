"""Other DuckDB files, read beside the one that a connection has open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb

from user_engagement.errors import SourceError
from user_engagement.sources.normalise import identifier, quoted


@contextmanager
def attached_files(connection: duckdb.DuckDBPyConnection, files: Mapping[str, Path]) -> Iterator[None]:
    """Attaches each file, to read only, under its name.

    Raises:
        SourceError: a file is missing, is no DuckDB file, or another process holds it.
    """
    for name, file in files.items():
        if not file.is_file():
            raise SourceError(
                f"{file}: no such file. Point --path at a DuckDB file with the source's tables."
            )
        try:
            connection.execute(f"attach {quoted(file)} as {identifier(name)} (read_only)")
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            raise SourceError(
                f"{file}: cannot be read as a DuckDB file, or another process writes to it. ({reason})"
            ) from None
    try:
        yield
    finally:
        for name in files:
            connection.execute(f"detach database if exists {identifier(name)}")
