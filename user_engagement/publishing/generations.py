"""Published generations: marts and insights as Parquet files, which readers use instead of the warehouse.

A generation is written to a new folder, synced to disk and renamed; then the link `current` is moved to it. A reader
resolves the link once and uses that path for as long as its view lasts.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from user_engagement.errors import UserError

SCHEMA_VERSION = 2
KEPT_GENERATIONS = 3
KEPT_SECONDS = 3600
CURRENT = "current"
DESCRIPTION = "description"
EVERY_FILE_READ = "every_file_was_read"
"""The check that fails if months wait for a file that cannot be read."""
PSEUDONYM_LENGTH = 32
"""128 bits: no two users share one."""


@dataclass(frozen=True)
class Doubt:
    """Something about the data that may not be what it seems: the check that found it, and a sentence with numbers."""

    check: str
    text: str


@dataclass(frozen=True)
class Manifest:
    """The contents of a generation; ``tables`` maps a mart to its row count and the SHA-256 of its file.

    A mart of the team's own has its ``description``, too. ``made_from`` has a fingerprint of each kind of input.
    """

    generation: int
    schema_version: int
    run_id: str
    as_of: str
    published_at: str
    tables: dict[str, dict[str, int | str]]
    doubts: tuple[Doubt, ...] = ()
    made_from: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, held: dict[str, Any]) -> Manifest:
        doubts = tuple(Doubt(**doubt) for doubt in held.get("doubts", ()))
        return cls(**{**held, "doubts": doubts})

    @property
    def own(self) -> dict[str, str]:
        """The description of each mart of the team's own."""
        return {name: str(facts[DESCRIPTION]) for name, facts in self.tables.items() if DESCRIPTION in facts}


def publish(
    published: Path,
    marts: Iterable[tuple[str, pa.RecordBatchReader]],
    run_id: str,
    as_of: str,
    add: Callable[[Path], None] | None = None,
    doubts: Sequence[Doubt] = (),
    own: Mapping[str, str] = MappingProxyType({}),
    made_from: Mapping[str, str] = MappingProxyType({}),
) -> Manifest:
    """Writes a new generation under ``published`` and makes it the current one; concurrent publishers wait.

    ``own`` describes the marts of the team's own; ``made_from`` has a fingerprint of each kind of input. ``add`` may
    write more files into the folder that it is given; the tables and the manifest are already there.
    """
    published.mkdir(parents=True, exist_ok=True)
    with (published / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        number = max((n for n, _ in generations(published)), default=0) + 1
        draft = published / f"gen-{number}.tmp"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        tables = {name: _write(draft / f"{name}.parquet", reader) for name, reader in marts}
        for name in own.keys() & tables.keys():
            tables[name][DESCRIPTION] = own[name]
        now = datetime.now(UTC).isoformat(timespec="seconds")
        manifest = Manifest(
            number, SCHEMA_VERSION, run_id, as_of, now, tables, tuple(doubts), dict(made_from)
        )
        (draft / "manifest.json").write_text(json.dumps(asdict(manifest), indent=2) + "\n")
        if add:
            add(draft)
        for file in (*draft.iterdir(), draft):
            _sync(file)
        final = draft.with_suffix("")
        draft.rename(final)
        pointer = published / f"{CURRENT}.tmp"
        pointer.unlink(missing_ok=True)
        pointer.symlink_to(final.name)
        if not (published / CURRENT).is_symlink():
            # the home is a copy, made by a program that copies what a link points to
            shutil.rmtree(published / CURRENT, ignore_errors=True)
        pointer.replace(published / CURRENT)
        _sync(published)
        _prune(published)
    return manifest


def resolve(published: Path) -> Path:
    """The folder of the current generation; resolve it once and read everything from there.

    Raises:
        UserError: nothing has been published yet.
    """
    try:
        return (published / CURRENT).resolve(strict=True)
    except FileNotFoundError:
        message = f"{published}: nothing has been published yet. Run: user-engagement run"
        raise UserError(message) from None


def current_generation(published: Path) -> int | None:
    """The number of the current generation; None if nothing has been published."""
    try:
        return read_manifest(resolve(published)).generation
    except (UserError, OSError):
        return None


def read_manifest(generation: Path) -> Manifest:
    """The manifest of a generation.

    Raises:
        UserError: the generation has another schema version, so its tables have other columns.
    """
    manifest = json.loads((generation / "manifest.json").read_text())
    if manifest["schema_version"] != SCHEMA_VERSION:
        raise UserError(
            f"{generation}: its schema version is {manifest['schema_version']}; {SCHEMA_VERSION} is needed. "
            "Run: user-engagement run"
        )
    return Manifest.from_json(manifest)


def generations(published: Path) -> list[tuple[int, Path]]:
    """Number and folder of every finished generation, oldest first."""
    found = [(int(p.name[4:]), p) for p in published.glob("gen-*") if p.name[4:].isdigit()]
    return sorted(found)


def pseudonymised(table: pa.Table, key: str) -> pa.RecordBatchReader:
    """The table with each ``user_id`` replaced by its keyed hash, and sorted by the hash.

    Without the key nobody can find out whose row it is, neither by trying ids nor from the order of rows. A user has
    the same pseudonym in every generation.
    """
    position = table.schema.get_field_index("user_id")
    pseudonyms = [
        hmac.digest(key.encode(), str(user).encode(), "sha256").hex()[:PSEUDONYM_LENGTH]
        for user in table["user_id"].to_pylist()
    ]
    hidden = table.set_column(position, "user_id", pa.array(pseudonyms, pa.string()))
    return hidden.sort_by("user_id").to_reader()


def _write(path: Path, reader: pa.RecordBatchReader) -> dict[str, int | str]:
    rows = 0
    with pq.ParquetWriter(path, reader.schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch)
            rows += batch.num_rows
    return {"rows": rows, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _prune(published: Path) -> None:
    """Removes old generations that no reader can still be using.

    A reader may have resolved a generation until the moment when the next one was published.
    """
    found = [path for _, path in generations(published)]
    for path, successor in pairwise(found[: 1 - KEPT_GENERATIONS]):
        if time.time() - successor.stat().st_mtime > KEPT_SECONDS:
            shutil.rmtree(path, ignore_errors=True)
