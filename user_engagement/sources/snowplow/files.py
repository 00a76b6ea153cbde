"""Snowplow events in a folder of enriched files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import duckdb

from user_engagement.contracts.snowplow import ENRICHED_EVENT
from user_engagement.errors import SourceError
from user_engagement.sources.data_files import data_files, file_state, pattern
from user_engagement.sources.files.opening import refuse_bomb
from user_engagement.sources.normalise import quoted
from user_engagement.sources.snowplow.session_sql import FIELDS_READ, TABLE_FIELDS
from user_engagement.sources.snowplow.sessions import (
    WIDTH,
    SessionOptions,
    SessionSource,
    insert_events,
)

ENDINGS = (".tsv", ".tsv.gz", ".txt", ".txt.gz", ".gz")
ACCEPTED = ", ".join(ENDINGS) + " or part-* without an ending"

NO_DELIMITER = "\x1f\x1e\x1d\x1c"
"""Enrichment removes control characters, so that with this delimiter a line stays one value."""


class SnowplowSource(SessionSource):
    """Reads engagement from a folder of enriched event files, plain or gzipped, sub-folders included.

    Args:
        folder: the folder of the files.
        timezone: the zone whose calendar days count.
        options: see `SessionOptions`.
    """

    def __init__(self, folder: str | Path, timezone: str = "UTC", **options: Unpack[SessionOptions]) -> None:
        super().__init__(timezone, **options)
        self.folder = Path(folder)

    def _state(self) -> Any:
        return tuple(file_state(file) for file in enriched_files(self.folder))

    def _load(self, connection: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
        files = enriched_files(self.folder)
        for file in files:
            refuse_bomb(file)
        try:
            source = f"replace(source, {quoted(f'{self.folder}/')}, '') as source"
            others = ", ".join(f"cast(null as varchar) as {name}" for name in TABLE_FIELDS)
            incoming = f"(select * replace ({source}), {others} from ({enriched_events(files, FIELDS_READ)}))"
            connection.execute(insert_events(incoming, self.rules))
        except duckdb.OutOfMemoryException:
            raise
        except (duckdb.Error, OSError) as error:
            raise SourceError(_plain(str(error), self.folder)) from None
        _refuse_other_lines(connection, self.folder)
        return tuple(str(file) for file in files)


def enriched_files(folder: Path) -> list[Path]:
    """The event files below a folder in the order of their names.

    Raises SourceError for a missing folder, one without files, and a file of another kind.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder. Give the folder that holds the enriched events.")
    files = list(data_files(folder))
    for path in files:
        if not (path.name.lower().endswith(ENDINGS) or re.fullmatch(r"part-[^.]*", path.name)):
            raise SourceError(f"{path}: not a kind of file that can be read ({ACCEPTED}). Move it elsewhere.")
    if not files:
        raise SourceError(
            f"{folder}: no enriched events here ({ACCEPTED}). Export some, or give another folder."
        )
    return files


def enriched_events(files: Sequence[Path], names: Sequence[str] = ENRICHED_EVENT) -> str:
    """A query for the named fields of every line, as text with null for what is empty.

    ``source`` is the file, ``fields`` the number of fields found (null for a blank line); where that is not
    `WIDTH`, the named fields are null.
    """
    listed = ", ".join(pattern(file) for file in files)
    # without quotes or escapes, as Snowplow writes it; lenient about line ends, which strict mode refuses if mixed
    lines = (
        f"read_csv([{listed}], auto_detect=false, header=false, delim={quoted(NO_DELIMITER)}, quote='', escape='', "
        "columns={'line': 'VARCHAR'}, filename='source', hive_partitioning=false, strict_mode=false)"
    )
    split = f"select source, string_split(line, chr(9)) as values from {lines}"
    fields = ", ".join(
        f"case when len(values) = {WIDTH} then nullif(values[{ENRICHED_EVENT.index(name) + 1}], '') end as {name}"
        for name in names
    )
    return f"select source, len(values) as fields, {fields} from ({split})"


def _refuse_other_lines(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    lines, events = connection.execute(
        f"select count(fields), count_if(fields = {WIDTH}) from events"
    ).fetchall()[0]
    if not lines or events:
        return
    file, fields, line = connection.execute(
        "select source, fields, rowid - (select min(rowid) from events where source = first.source) + 1 "
        "from events as first where fields is not null order by rowid limit 1"
    ).fetchall()[0]
    raise SourceError(
        f"{folder / file}, line {line}: found {fields} tab-separated fields, expected the {WIDTH} of a Snowplow "
        f"enriched event; no line of {lines} has them. Point the folder at enriched events, not at raw or bad ones."
    )


def _plain(message: str, place: Path) -> str:
    """DuckDB's reading error as one line that names the file, the line and what to do."""
    file = re.search(r"file = (\S.*)", message) or re.search(r"GZIP stream: (\S.*)", message)
    line = re.search(r"CSV Error on Line: (\d+)", message)
    where = f"{file.group(1).strip() if file else place}" + (f", line {line.group(1)}" if line else "")
    if "utf-8" in message:
        return f"{where}: not valid UTF-8 text. Snowplow writes UTF-8; export the file again."
    if "GZIP" in message:
        return (
            f"{where}: not a complete gzip file. Copy it again, or drop the ending .gz if it is plain text."
        )
    if "Maximum line size" in message:
        return f"{where}: the line is longer than 2 MB, which no enriched event is. Remove it, or export it again."
    return f"{where}: cannot be read: {message.strip().splitlines()[0]} Mend or replace the file."
