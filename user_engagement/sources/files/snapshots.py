"""Files that are being written to while they are read: what they hold is taken at one moment."""

from __future__ import annotations

import shutil
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import BinaryIO

from user_engagement.errors import SourceError
from user_engagement.sources.data_files import FileState, file_state, scratch_folder

CHUNK_BYTES = 1 << 20
GROWING = (".csv", ".jsonl", ".ndjson")
"""Endings of files whose beginning means something without the rest."""


class Snapshots:
    """Copies of growing text files, which end with their last whole line.

    A copy replaces the one before the last of the same file, which a load may still be reading. All of them go
    when this object does.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._numbers = count()
        self._roots: dict[Path, list[Path]] = {}

    def take(self, file: Path) -> tuple[FileState, Path]:
        """The state of a file, and the copy of what it held then.

        Raises:
            SourceError: a part of such a file means nothing.
        """
        if file.suffix.lower() not in GROWING:
            raise SourceError(f"{file}: changed while it was being read. Run again when it is complete.")
        root = self._new_root(file)
        copy = root / file.relative_to(self.folder)
        copy.parent.mkdir(parents=True)
        state = file_state(file)
        with file.open("rb") as source, copy.open("w+b") as target:
            left = state[1]
            while left > 0 and (chunk := source.read(min(CHUNK_BYTES, left))):
                target.write(chunk)
                left -= len(chunk)
            target.truncate(_end_of_last_line(target))
        return state, copy

    def original(self, message: str) -> str:
        """A message that names the files themselves instead of their copies."""
        for roots in self._roots.values():
            for root in roots:
                message = message.replace(str(root), str(self.folder))
        return message

    def _new_root(self, file: Path) -> Path:
        if self._scratch is None:
            self._scratch = scratch_folder()
        roots = self._roots.setdefault(file, [])
        if len(roots) > 1:
            shutil.rmtree(roots.pop(0), ignore_errors=True)
        roots.append(Path(self._scratch.name, str(next(self._numbers))))
        return roots[-1]


def is_half_written(state: FileState) -> bool:
    """Whether a text file was written to within the last minute, and does not end with a whole line."""
    file, size, changed = state
    if not size or file.suffix.lower() not in GROWING or time.time_ns() - changed > 60 * 10**9:
        return False
    with file.open("rb") as end:
        end.seek(-1, 2)
        return end.read(1) != b"\n"


def _end_of_last_line(file: BinaryIO) -> int:
    end = file.seek(0, 2)
    while end > 0:
        start = max(0, end - CHUNK_BYTES)
        file.seek(start)
        if (found := file.read(end - start).rfind(b"\n")) >= 0:
            return start + found + 1
        end = start
    return 0
