"""A published generation as data frames, and the states in which there is none to show.

A view resolves the current generation once and reads everything from there, so that what it shows was computed
together. Frames are shared between views and never changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from user_engagement import formatting as fmt
from user_engagement.errors import UserError
from user_engagement.publishing.generations import SCHEMA_VERSION, Manifest, resolve

Frame = Any
"""A `pd.DataFrame`, or a column of one: pandas' own types leave open what is cut out of a frame."""
ALL = "all"
UNKNOWN = "unknown"
GROUP = "group"
"""The column that tells groups of several segments apart."""
# views that are open while generations are swapped may look at older ones
REMEMBERED_GENERATIONS = 4
TABLES = 40


class UnavailableError(Exception):
    """There is nothing to show: why, and what to do about it."""

    def __init__(self, title: str, remedy: str) -> None:
        super().__init__(f"{title} {remedy}")
        self.title = title
        self.remedy = remedy


@dataclass(frozen=True, eq=False)
class Generation:
    """One generation: its folder, its manifest, and its marts as frames.

    The same one is the same object, so that what is computed from it can be remembered by it.
    """

    folder: Path
    manifest: Manifest

    @cached_property
    def as_of(self) -> date:
        return date.fromisoformat(self.manifest.as_of)

    @cached_property
    def published_at(self) -> datetime:
        return datetime.fromisoformat(self.manifest.published_at)

    def has(self, mart: str) -> bool:
        return mart in self.manifest.tables

    def frame(self, mart: str) -> Frame:
        """A mart, dates as timestamps.

        Raises:
            UnavailableError: the generation is no longer there.
        """
        return _frame(self, mart)

    def of_segment(self, mart: str, segment: str) -> Frame:
        """A mart's rows of one segment, of all its values."""
        return _of_segment(self, mart, segment)

    @cached_property
    def segments(self) -> Mapping[str, tuple[str, ...]]:
        """The values of each segment, most active users first; `all` is none of them."""
        frame = self.frame("active_users_daily")
        last = frame[frame.activity_date == frame.activity_date.max()]
        ordered = last.sort_values(["segment_name", "mau", "segment_value"], ascending=[True, False, True])
        values = ordered.groupby("segment_name", sort=False).segment_value.agg(tuple)
        return {str(name): found for name, found in values.items() if name != ALL}

    def stale(self, now: datetime, hours: float) -> str | None:
        """What is old about it, if anything: when it was published, or the last day that it knows."""
        limit = timedelta(hours=hours)
        if now - self.published_at > limit:
            age = (now - self.published_at) // timedelta(hours=1)
            return f"These numbers were published {age:,} hours ago; newer ones have not arrived since."
        end_of_data = datetime.combine(self.as_of + timedelta(days=1), datetime.min.time(), UTC)
        if now - end_of_data > limit:
            return f"The data end on {fmt.day(self.as_of)}; nothing newer has been loaded."
        return None


def open_generation(published: Path) -> Generation:
    """The current generation.

    Raises:
        UnavailableError: nothing has been published yet, or by another version of this software.
    """
    try:
        folder = resolve(published)
    except UserError:
        raise UnavailableError(
            "Nothing has been published yet.", "Run `user-engagement run`, then reload this page."
        ) from None
    try:
        manifest = (folder / "manifest.json").read_text()
    except FileNotFoundError:
        raise _gone(folder) from None
    version = json.loads(manifest)["schema_version"]
    if version < SCHEMA_VERSION:
        raise UnavailableError(
            "What is published was written by an older version of this software.",
            f"Its schema version is {version}; {SCHEMA_VERSION} is needed. Run `user-engagement run` to publish anew.",
        )
    if version > SCHEMA_VERSION:
        raise UnavailableError(
            "What is published was written by a newer version of this software.",
            f"Its schema version is {version}; this dashboard reads {SCHEMA_VERSION}. Update it, then start it again.",
        )
    return _generation(folder, manifest)


def grouping(rows: Frame) -> str:
    """The column that tells the groups of rows apart."""
    return GROUP if GROUP in rows else "segment_value"


def _gone(folder: Path) -> UnavailableError:
    return UnavailableError(
        "The numbers were replaced while this page was being made.",
        f"Reload it. (`{folder.name}` is no longer there.)",
    )


@lru_cache(REMEMBERED_GENERATIONS)
def _generation(folder: Path, manifest: str) -> Generation:
    return Generation(folder, Manifest.from_json(json.loads(manifest)))


@lru_cache(REMEMBERED_GENERATIONS * TABLES)
def _frame(generation: Generation, mart: str) -> Frame:
    try:
        table = pq.read_table(generation.folder / f"{mart}.parquet")
    except FileNotFoundError:
        raise _gone(generation.folder) from None
    except (OSError, pa.ArrowInvalid) as error:
        raise UnavailableError(
            f"The table {mart} cannot be read ({error}).", "Publish it anew: `user-engagement run`."
        ) from None
    return table.to_pandas(date_as_object=False)


@lru_cache(REMEMBERED_GENERATIONS * TABLES * 4)
def _of_segment(generation: Generation, mart: str, segment: str) -> Frame:
    frame = generation.frame(mart)
    return frame[frame.segment_name == segment]
