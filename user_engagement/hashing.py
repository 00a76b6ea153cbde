"""The short hash that fingerprints, tags and names of folders are made of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def digest(parts: Iterable[str]) -> str:
    """A hash of texts in their order, 16 hex digits."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
