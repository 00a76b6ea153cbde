"""The hashes that fingerprints, tags and names of folders are made of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path


def digest(parts: Iterable[str]) -> str:
    """A hash of texts in their order, 16 hex digits."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def content_hashes(files: Iterable[Path]) -> Iterator[str]:
    """The name of each file with a hash of its content."""
    return (f"{file.name}:{hashlib.sha256(file.read_bytes()).hexdigest()}" for file in files)
