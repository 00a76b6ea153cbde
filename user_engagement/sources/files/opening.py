"""Text files opened as they lie, gzipped or not, and those refused that no reader should be given."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from user_engagement.errors import UnreadableFileError

SAMPLE_BYTES = 1 << 16
MOST_EXPANSION = 200
"""How many times its size a compressed file may hold: tables expand to ten or twenty times, zeros to a thousand."""
DEFLATE_EXPANSION = 1_032
"""The most that the format can do (RFC 1951: 258 bytes in two bits)."""
SMALL_BYTES = 64 << 20
"""What a file may hold that expands more than that: a few equal rows."""
LONGEST_LINE = 2_000_000
"""DuckDB's limit. It refuses longer lines, except the last of a file, which it passes over in silence."""


def open_bytes(file: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(file, "rb")) if is_gzipped(file) else file.open("rb")


def open_text(file: Path) -> TextIO:
    return io.TextIOWrapper(open_bytes(file), encoding="utf-8-sig", newline="")


def is_gzipped(file: Path) -> bool:
    return file.name.lower().endswith(".gz")


def refuse_oversized(file: Path) -> None:
    """Refuses a compressed file that expands beyond all measure, and a text file whose last line has no end.

    Raises:
        UnreadableFileError: the file is such a one.
    """
    refuse_bomb(file)
    if not is_gzipped(file) and file.stat().st_size > LONGEST_LINE:
        with file.open("rb") as lines:
            lines.seek(-LONGEST_LINE, io.SEEK_END)
            if b"\n" not in lines.read(LONGEST_LINE - 1):
                raise UnreadableFileError(
                    f"{file}: the last line is longer than 2 MB. Export the file again."
                )


def refuse_bomb(file: Path) -> None:
    """Refuses a compressed file that expands beyond all measure.

    Raises:
        UnreadableFileError: the file is such a one.
    """
    size = file.stat().st_size
    if is_gzipped(file):
        in_trailer = _size_in_trailer(file)
        # more than deflate can do is the end of a file that was cut
        known = in_trailer if in_trailer <= DEFLATE_EXPANSION * size else 0
        held = max(_sampled_expansion(file) * size, known)
        if held > SMALL_BYTES and held > MOST_EXPANSION * size:
            raise UnreadableFileError(
                f"{file}: its {size:,} bytes expand to about {held:,.0f}, more than {MOST_EXPANSION} times as many, "
                "which no table does. Export it again, or give the file uncompressed."
            )


def _sampled_expansion(file: Path) -> float:
    """How many bytes each byte of the file's beginning becomes."""
    with file.open("rb") as compressed:
        sample = compressed.read(SAMPLE_BYTES)
    reader = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        held = len(reader.decompress(sample))
    except zlib.error:
        return 0  # no gzip file: the reader says so
    return held / max(1, len(sample) - len(reader.unused_data))


def _size_in_trailer(file: Path) -> int:
    """The size before compression, modulo 4 GiB, of the last part of a gzip file (RFC 1952, 2.3.1)."""
    with file.open("rb") as compressed:
        compressed.seek(-min(4, file.stat().st_size), io.SEEK_END)
        return int.from_bytes(compressed.read(4), "little")
