"""Text files opened as they lie, gzipped or not."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import BinaryIO, TextIO, cast


def open_bytes(file: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(file, "rb")) if file.name.lower().endswith(".gz") else file.open("rb")


def open_text(file: Path) -> TextIO:
    return io.TextIOWrapper(open_bytes(file), encoding="utf-8-sig", newline="")
