"""Source `files`: a folder with ``user_signups``, ``user_engagement`` and ``churn_data``.

Each is one file or a folder of files, in CSV, JSON Lines (either may be gzipped) or Parquet, Hive-style
partition folders included. DuckDB reads them; this module says what their columns mean.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from user_engagement.contracts.raw import IDS, LINEAGE, REJECTED_ROWS, RawTable, Window
from user_engagement.errors import SourceError
from user_engagement.sources import normalise
from user_engagement.sources.base import BATCH_ROWS, Extract, TableReport
from user_engagement.sources.data_files import file_state
from user_engagement.sources.files.explain import broken_parquet, explained, line_of
from user_engagement.sources.files.layout import files_of, grouped, split_by_ids
from user_engagement.sources.files.scan import SCAN_COLUMNS, FileGroup, connect

FIRST_DAY = date(normalise.FIRST_YEAR, 1, 1)


class FilesSource:
    """Reads the raw tables from a folder.

    Args:
        folder: the folder that holds one file or folder per table.
        timezone: the zone whose calendar days count; values with an offset are moved into it, values
            without one are taken to be in it.
    """

    def __init__(self, folder: str | Path, timezone: str = "UTC") -> None:
        self.folder = Path(folder).resolve()
        self.timezone = timezone
        self._inspected: dict[Any, tuple[TableReport, list[FileGroup]]] = {}
        self._spans: dict[tuple[Path, int, int], tuple[date, date]] = {}

    def inspect(self, table: RawTable) -> TableReport | None:
        found = self._inspect(table)
        return found[0] if found else None

    def extract(self, table: RawTable, window: Window) -> Extract:
        found = self._inspect(table)
        if found is None:
            return _nothing(table, window)
        report, groups = found
        schema = table.schema(report.extra_columns)
        none_rejected = _empty(REJECTED_ROWS.schema())
        extracted_at = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
        rows = " union all by name ".join(
            self._rows_query(table, group, window, report.extra_columns, extracted_at) for group in groups
        )
        rejected = " union all by name ".join(
            self._rejected_query(table, group, extracted_at) for group in groups if report.rejected
        )
        return Extract(
            table=table,
            window=window,
            rows=self._stream(rows, schema, groups) if rows else _empty(schema),
            rejected=self._stream(rejected, REJECTED_ROWS.schema(), groups) if rejected else none_rejected,
            # rows of text files are numbered as they are read, which takes a connection that keeps their order
            missing=tuple(c.name for c in table.optional if not any(c.name in g.names for g in groups)),
            scan=rows if groups and all(group.format == "parquet" for group in groups) else None,
        )

    def fingerprint(self, table: RawTable) -> dict[str, str]:
        marks: dict[str, list[str]] = defaultdict(list)
        for file, (size, changed, first, last) in self._spans_of(table).items():
            mark = f"{file.relative_to(self.folder)}:{size}:{changed}"
            for month in _months_between(first, last):
                marks[month].append(mark)
        return {month: _digest(files) for month, files in sorted(marks.items())}

    def state(self, table: RawTable) -> str:
        files = self._read(lambda: files_of(table, self.folder))
        return _digest([str(file_state(file)) for file in files])

    # -- what is there ---------------------------------------------------------------------------------

    def _spans_of(self, table: RawTable) -> dict[Path, tuple[int, int, date, date]]:
        """Size, time of change, first and last day of each file; only a file that changed is read again."""
        files = self._read(lambda: files_of(table, self.folder))
        states = {file: file_state(file) for file in files}
        unread = [file for file in files if states[file] not in self._spans]
        for group in grouped(unread, self.folder) if unread else ():
            checked = self._checked(table, group)
            self._note_spans(checked, self._profile(table, checked))
        return {file: (*states[file][1:], *self._spans[states[file]]) for file in files}

    def _note_spans(self, group: FileGroup, profile: dict[int, dict[str, Any]]) -> None:
        for place, file in enumerate(group.files):
            found = profile.get(place, {})
            # rows without a usable date belong to no month: they count with the first
            days = [found[edge].date() for edge in ("first", "last") if found.get(edge)] or [FIRST_DAY] * 2
            self._spans[file_state(file)] = (days[0], days[1])

    def _inspect(self, table: RawTable) -> tuple[TableReport, list[FileGroup]] | None:
        files = self._read(lambda: files_of(table, self.folder))
        if not files:
            return None
        state = (table.name, *(file_state(file) for file in files))
        if state not in self._inspected:
            self._inspected[state] = self._examine(table, files)
        return self._inspected[state]

    def _examine(self, table: RawTable, files: list[Path]) -> tuple[TableReport, list[FileGroup]]:
        groups = [self._checked(table, group) for group in grouped(files, self.folder)]
        profiles = [self._profile(table, group) for group in groups]
        for group, profile in zip(groups, profiles, strict=True):
            self._note_spans(group, profile)
        found = [file for profile in profiles for file in profile.values()]
        rows, usable = sum(f["rows"] for f in found), sum(f["usable"] for f in found)
        if rows and not usable:
            self._refuse_dates(table, groups, rows)
        groups = [
            part for g, profile in zip(groups, profiles, strict=True) for part in split_by_ids(g, profile)
        ]
        days = [f[edge] for f in found for edge in ("first", "last") if f[edge] is not None]
        declared = {c.name for c in table.declared}
        report = TableReport(
            table=table,
            rows=rows,
            rejected=rows - usable,
            first_day=min(days).date() if days else None,
            last_day=max(days).date() if days else None,
            extra_columns=tuple(sorted({name for g in groups for name in g.names} - declared)),
            locations=tuple(str(f) for f in files),
        )
        return report, groups

    def _checked(self, table: RawTable, group: FileGroup) -> FileGroup:
        where = group.files[0]
        missing = [c.name for c in table.required if c.name not in group.names]
        if missing:
            raise SourceError(
                f"{where}: column {', '.join(missing)} is missing for {table.name}. "
                f"Found {', '.join(group.names) or 'no columns'}; rename or add the column."
            )
        for reserved in (*(c.name for c in LINEAGE), *SCAN_COLUMNS):
            if reserved in group.names:
                raise SourceError(
                    f"{where}: column {reserved} is a name used by the pipeline itself; rename it."
                )
        for name, (header, kind) in group.columns.items():
            declared = name in {c.name for c in table.declared}
            if declared and (wanted := normalise.type_problem(table.type_of(name), kind)):
                raise SourceError(
                    f"{where}: column {header} is {kind}, expected {wanted}; convert the column."
                )
        return group

    def _profile(self, table: RawTable, group: FileGroup) -> dict[int, dict[str, Any]]:
        """Counts and bounds of each file, by its place in the group, in one scan.

        Refuses a value that cannot be what its column says. A file without rows is not in the result.
        """
        local = self._local_time(group, table.date_column)
        measures = [
            "file_index",
            "count(*) as rows",
            f"count({local}) as usable",
            f"min({local}) as first",
            f"max({local}) as last",
            f"{group.ids_written_as_float()} as float_ids",
        ]
        doubles = [c.name for c in table.declared if c.type == "DOUBLE" and c.name in group.names]
        measures += [f"count_if({group.not_a_number(name)}) as bad_{name}" for name in doubles]
        if group.format == "csv":
            # a column that is not asked for is not checked to be UTF-8, and would fail only while loading
            measures += [f"count({normalise.identifier(name)})" for name in group.columns]
        query = f"select {', '.join(measures)} from {group.scan()} group by file_index"
        with connect() as connection:
            found = self._read(lambda: connection.sql(query).to_arrow_table().to_pylist())
        for name in doubles:
            if bad := sum(file[f"bad_{name}"] for file in found):
                self._refuse_number(group, name, bad)
        return {file["file_index"]: file for file in found}

    def _refuse_number(self, group: FileGroup, name: str, count: int) -> None:
        bad = group.not_a_number(name)
        query = f"select _file, {group.text(name)} from {group.scan()} where {bad} limit 1"
        with connect() as connection:
            file, value = self._read(lambda: connection.sql(query).fetchall()[0])
        raise SourceError(
            f"{file}{line_of(Path(file), group, name, value)}: {name} is {value!r}, expected a number of "
            f"seconds or nothing ({count} such rows). Correct the value or leave it empty."
        )

    def _refuse_dates(self, table: RawTable, groups: list[FileGroup], rows: int) -> None:
        """Refuses a table without one usable date: a mistake in the export, unless dates may all be empty."""
        name = table.date_column
        for group in groups:
            given = group.text(name)
            query = f"select _file, {given} from {group.scan()} where not {normalise.blank(given)} limit 1"
            with connect() as connection:
                found = self._read(lambda c=connection, q=query: c.sql(q).fetchall())
            if found:
                file, value = found[0]
                raise SourceError(
                    f"{file}: no {name} of {rows} rows is usable; the first is {value!r}. "
                    "Write dates as 2025-01-31 or timestamps as 2025-01-31T10:00:00+01:00."
                )
        if not table.may_be_absent:
            raise SourceError(f"{groups[0].files[0]}: {name} is empty in all {rows} rows; fill the column.")

    # -- queries ---------------------------------------------------------------------------------------

    def _rows_query(
        self,
        table: RawTable,
        group: FileGroup,
        window: Window,
        extra_columns: tuple[str, ...],
        extracted_at: datetime,
    ) -> str:
        columns = [f"{self._value(table, group, c.name)} as {c.name}" for c in table.declared]
        columns += [f"{group.text(name)} as {normalise.identifier(name)}" for name in extra_columns]
        columns += self._lineage(extracted_at)
        # the raw comparison lets Parquet's statistics skip files and row groups, which the cast would hide
        inner = f"select * from {group.scan(numbered=True)} where {self._pushed_down(table, group, window)}"
        selected = f"select {', '.join(columns)} from ({inner})"
        day = table.date_column
        return f"select * from ({selected}) where {day} is not null and {window.predicate(day)}"

    def _rejected_query(self, table: RawTable, group: FileGroup, extracted_at: datetime) -> str:
        user, when = self._value(table, group, "user_id"), group.text(table.date_column)
        reason = normalise.rejected_reason(user, when)
        columns = [
            f"'{table.name}' as table_name",
            f"{reason} as reason",
            f"{user} as user_id",
            f"{when} as date_value",
            *self._lineage(extracted_at),
        ]
        local = self._local_time(group, table.date_column)
        return f"select {', '.join(columns)} from {group.scan(numbered=True)} where {local} is null"

    def _lineage(self, extracted_at: datetime) -> list[str]:
        prefix = len(str(self.folder / "_")) - 1
        return [
            f"substr(_file, {prefix + 1}) as _source",
            "_row_number",
            f"timestamp '{extracted_at}' as _extracted_at",
        ]

    def _value(self, table: RawTable, group: FileGroup, name: str) -> str:
        kind = table.type_of(name)
        if name not in group.names:
            return f"cast(null as {kind})"
        if kind == "TIMESTAMP":
            return self._local_time(group, name)
        if kind == "DOUBLE":
            return f"try_cast({group.raw(name)} as double)"
        text = group.text(name)
        if name == "user_id" and group.float_ids:
            return normalise.without_fraction(text)
        # a number has no blanks around it
        return normalise.identity(text) if name in IDS and not group.is_number(name) else text

    def _local_time(self, group: FileGroup, name: str) -> str:
        return normalise.local_time(group.raw(name), group.kind(name), self.timezone)

    def _pushed_down(self, table: RawTable, group: FileGroup, window: Window) -> str:
        name = table.date_column
        kind = group.kind(name)
        if not kind.startswith(normalise.DATE_TYPES) or name not in group.columns:
            return "true"
        if not kind.startswith("TIMESTAMP WITH TIME ZONE"):
            return window.predicate(group.raw(name))
        # wider than any zone is off UTC: the exact edges are then DuckDB's own, whatever edition of the
        # time zone rules it has
        margin = timedelta(days=2)
        wide = Window(window.start and window.start - margin, window.end and window.end + margin)
        return wide.predicate(group.raw(name))

    # -- reading ---------------------------------------------------------------------------------------

    def _stream(self, query: str, schema: pa.Schema, groups: list[FileGroup]) -> pa.RecordBatchReader:
        """The query's result in batches of the schema; the connection lives as long as the reader."""

        def batches() -> Iterator[pa.RecordBatch]:
            ordered = (
                f"select {', '.join(normalise.identifier(name) for name in schema.names)} from ({query})"
            )
            with connect() as connection:
                reader = self._read(lambda: connection.sql(ordered).to_arrow_reader(BATCH_ROWS), groups)
                while (batch := self._read(lambda: next(reader, None), groups)) is not None:
                    yield batch.cast(schema)

        return pa.RecordBatchReader.from_batches(schema, batches())

    def _read(self, action: Callable[[], Any], groups: Sequence[FileGroup] = ()) -> Any:
        """Does something with the files of the groups; what goes wrong names the file."""
        try:
            return action()
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            place = next((file for group in groups for file in broken_parquet(group)), self.folder)
            raise SourceError(explained(str(error), place)) from None


def _months_between(first: date, last: date) -> Iterator[str]:
    month = first.replace(day=1)
    while month <= last:
        yield month.isoformat()
        month = (month + timedelta(days=32)).replace(day=1)


def _digest(marks: list[str]) -> str:
    return hashlib.sha256("\n".join(sorted(marks)).encode()).hexdigest()[:16]


def _nothing(table: RawTable, window: Window) -> Extract:
    return Extract(
        table,
        window,
        _empty(table.schema()),
        _empty(REJECTED_ROWS.schema()),
        missing=tuple(c.name for c in table.optional),
    )


def _empty(schema: pa.Schema) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(schema, [])
