"""A source whose tables live in different systems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from user_engagement.contracts.raw import RawTable, Window
from user_engagement.sources.base import (
    Extract,
    Source,
    TableReport,
    UnreadableFile,
    unreadable_files,
)


class CompositeSource:
    """Reads each raw table from the source that holds it, by the table's name."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = sources

    def inspect(self, table: RawTable) -> TableReport | None:
        return self._sources[table.name].inspect(table)

    def extract(self, table: RawTable, window: Window) -> Extract:
        return self._sources[table.name].extract(table, window)

    def fingerprint(self, table: RawTable) -> dict[str, str]:
        return self._sources[table.name].fingerprint(table)

    def monthly_rows(self, table: RawTable) -> dict[str, int]:
        return self._sources[table.name].monthly_rows(table)

    def state(self, table: RawTable) -> str:
        return self._sources[table.name].state(table)

    def unreadable(self, table: RawTable) -> Sequence[UnreadableFile]:
        return unreadable_files(self._sources[table.name], table)
