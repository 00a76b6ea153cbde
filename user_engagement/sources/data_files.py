"""Files as every source of files finds and names them."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from user_engagement.errors import SourceError
from user_engagement.sources.normalise import quoted

SCRATCH = "user-engagement-"
"""How the names of temporary folders begin; the number of their process follows."""
UNFINISHED = (".tmp", ".crc")
"""Endings of what another program is still writing, or keeps beside its files."""
TABLE_FORMATS = {
    "_delta_log": "a Delta table",
    ".hoodie": "a Hudi table",
    "metadata/version-hint.text": "an Iceberg table",
    "metadata/*.metadata.json": "an Iceberg table",
}
"""What marks a folder whose log says which of its files count: removed ones lie among them."""

FileState = tuple[Path, int, int]


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """A temporary folder whose name says which process made it."""
    return tempfile.TemporaryDirectory(prefix=f"{SCRATCH}{os.getpid()}-")


def data_files(folder: Path) -> Iterator[Path]:
    """The files below a folder in the order of their names, without hidden and unfinished ones.

    Links to folders are followed, each folder once.

    Raises:
        SourceError: a link leads nowhere, an entry is no file, or the folder is a table of a format that is not read.
        OSError: a folder cannot be read.
    """
    yield from _below(folder, set())


def _below(folder: Path, seen: set[Path]) -> Iterator[Path]:
    if (real := folder.resolve()) in seen:
        return
    seen.add(real)
    for mark, name in TABLE_FORMATS.items():
        if next(folder.glob(mark), None):
            raise SourceError(
                f"{folder}: this is {name}, whose folder also holds removed rows. Export its present rows as Parquet."
            )
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "_")) or path.name.endswith(UNFINISHED):
            continue
        if path.is_dir():
            yield from _below(path, seen)
        elif path.is_file():
            yield path
        elif path.exists():
            raise SourceError(f"{path}: this is no file, but a pipe or a device. Move it elsewhere.")
        else:
            raise SourceError(f"{path}: this link leads to no file. Restore the file, or remove the link.")


def file_state(file: Path) -> FileState:
    """What distinguishes a file from itself before a change: its size and time of change, in nanoseconds."""
    status = file.stat()
    return file, status.st_size, status.st_mtime_ns


def pattern(file: Path) -> str:
    """A SQL literal by which DuckDB, which takes names for patterns, finds exactly this file."""
    return quoted(re.sub(r"[*?\[]", r"[\g<0>]", str(file)))
