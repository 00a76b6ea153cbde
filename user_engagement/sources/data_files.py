"""Files as every source of files finds and names them."""

from __future__ import annotations

import re
from pathlib import Path

from user_engagement.sources.normalise import quoted

UNFINISHED = (".tmp", ".crc")
"""Endings of what another program is still writing, or keeps beside its files."""

FileState = tuple[Path, int, int]


def is_data_file(path: Path, folder: Path) -> bool:
    """Whether a path below a folder is a file to read: neither hidden nor unfinished."""
    hidden = any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)
    return path.is_file() and not hidden and not path.name.endswith(UNFINISHED)


def file_state(file: Path) -> FileState:
    """What distinguishes a file from itself before a change: its size and time of change, in nanoseconds."""
    status = file.stat()
    return file, status.st_size, status.st_mtime_ns


def pattern(file: Path) -> str:
    """A SQL literal by which DuckDB, which takes names for patterns, finds exactly this file."""
    return quoted(re.sub(r"[*?\[]", r"[\g<0>]", str(file)))
