"""Users who must not come back: the list that every load leaves out.

The list holds salted hashes, so that it names nobody by itself.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Forgotten:
    """SHA-256 of the salt and a user's id, for each user who was forgotten."""

    salt: str
    digests: tuple[str, ...] = ()

    def including(self, users: Iterable[str]) -> Forgotten:
        found = {hashlib.sha256(f"{self.salt}{user}".encode()).hexdigest() for user in users}
        return replace(self, digests=tuple(sorted(found.union(self.digests))))

    def excluded(self, column: str, hashed: str = "sha256({})") -> str:
        """The condition for the rows of all others; ``hashed`` is SHA-256 as hex digits in the warehouse's SQL."""
        if not self.digests:
            return "true"
        listed = ", ".join(f"'{digest}'" for digest in self.digests)
        salted = hashed.format(f"'{self.salt}' || {column}")
        return f"({column} is null or {salted} not in ({listed}))"

    def write(self, file: Path) -> None:
        """Replaces the file in one step, so that no load finds half a list."""
        draft = file.with_name(f"{file.name}.tmp")
        draft.write_text(json.dumps(asdict(self)))
        draft.replace(file)


NOBODY = Forgotten("")


def read_forgotten(file: Path) -> Forgotten:
    """The list in a file; an empty one with a new salt if there is none."""
    if not file.exists():
        return Forgotten(secrets.token_hex(16))
    held = json.loads(file.read_text())
    return Forgotten(held["salt"], tuple(held["digests"]))
