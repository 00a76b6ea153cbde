"""Source `files`: a folder with ``user_signups``, ``user_engagement`` and ``churn_data``.

Each is one file or a folder of files, in CSV, JSON Lines (either may be gzipped) or Parquet, Hive-style
partition folders included. DuckDB reads them; this module says what their columns mean.
"""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from user_engagement.contracts.raw import IDS, LINEAGE, REJECTED_ROWS, RawTable, Window
from user_engagement.errors import SourceError, UnreadableFileError
from user_engagement.hashing import digest
from user_engagement.sources import normalise
from user_engagement.sources.base import BATCH_ROWS, Extract, TableReport, UnreadableFile
from user_engagement.sources.data_files import FileState, file_state
from user_engagement.sources.files.dated_names import days_in_name
from user_engagement.sources.files.explain import broken_parquet, explained, line_of
from user_engagement.sources.files.layout import files_of, grouped
from user_engagement.sources.files.scan import SCAN_COLUMNS, FileGroup, connect
from user_engagement.sources.files.snapshots import Snapshots, is_half_written
from user_engagement.sources.mapping import columns_are
from user_engagement.sources.normalise import DEFAULT_RULES, ValueRules
from user_engagement.sources.personal import PERSONAL_COLUMNS

PAUSE_SECONDS = 1
"""Who writes a file writes some of it within this time."""


class FilesSource:
    """Reads the raw tables from a folder.

    Args:
        folder: the folder that holds one file or folder per table.
        timezone: the zone whose calendar days count; values with an offset are moved into it, values
            without one are taken to be in it.
        rules: what stands for a missing value or date; its zone is not used.
        kept_columns: columns to load although their names are `PERSONAL_COLUMNS`.
    """

    def __init__(
        self,
        folder: str | Path,
        timezone: str = "UTC",
        rules: ValueRules = DEFAULT_RULES,
        kept_columns: Collection[str] = (),
    ) -> None:
        self.folder = Path(folder).resolve()
        self.rules = replace(rules, timezone=timezone)
        self._excluded = frozenset(PERSONAL_COLUMNS) - set(kept_columns)
        self._snapshots = Snapshots(self.folder)
        self._profiles: dict[tuple[str, FileState], FileProfile] = {}
        self._monthly_rows: dict[tuple[str, FileState], dict[str, int]] = {}

    def inspect(self, table: RawTable) -> TableReport | None:
        found = self._look(table)
        return found.report if found else None

    def extract(self, table: RawTable, window: Window) -> Extract:
        found = self._look(table)
        if found is None:
            return _nothing(table, window)
        report, groups = found.report, found.groups
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
            rows=self._stream(rows, schema, found) if rows else _empty(schema),
            rejected=self._stream(rejected, REJECTED_ROWS.schema(), found) if rejected else none_rejected,
            # rows of text files are numbered as they are read, which takes a connection that keeps their order
            missing=tuple(c.name for c in table.optional if not any(c.name in g.names for g in groups)),
            scan=rows if groups and all(group.format == "parquet" for group in groups) else None,
        )

    def fingerprint(self, table: RawTable) -> dict[str, str]:
        found = self._look(table)
        marks: dict[str, list[str]] = defaultdict(list)
        for (file, size, changed), profile in found.profiles.items() if found else ():
            mark = f"{file.relative_to(self.folder)}:{size}:{changed}"
            for month in _months_between(*profile.span):
                marks[month].append(mark)
        return {month: digest(sorted(files)) for month, files in sorted(marks.items())}

    def monthly_rows(self, table: RawTable) -> dict[str, int]:
        found = self._look(table)
        rows: Counter[str] = Counter()
        for state, profile in found.profiles.items() if found else ():
            place = table.name, state
            if place not in self._monthly_rows:
                self._monthly_rows[place] = self._count_months(table, profile)
            rows.update(self._monthly_rows[place])
        return dict(rows)

    def _count_months(self, table: RawTable, profile: FileProfile) -> dict[str, int]:
        if profile.group is None or profile.first is None:
            return {}
        months = list(_months_between(*profile.span))
        if len(months) == 1:
            return {months[0]: profile.usable}
        month = f"strftime({self._local_time(profile.group, table.date_column)}, '%Y-%m-01')"
        query = f"select {month} as month, count(*) from {profile.group.scan()} group by month"
        with connect() as connection:
            found = self._read(lambda: connection.sql(query).fetchall())
        return {str(name): rows for name, rows in found if name is not None}

    def state(self, table: RawTable) -> str:
        files = self._read(lambda: files_of(table, self.folder))
        marks = self._read(lambda: [str(file_state(file)) for file in files])
        # a file whose permission comes back has the same size and time
        return digest(
            sorted([*marks, *(f"{file}: no permission" for file in files if not os.access(file, os.R_OK))])
        )

    def unreadable(self, table: RawTable) -> Sequence[UnreadableFile]:
        found = self._look(table)
        return found.unreadable if found else ()

    # -- what is there ---------------------------------------------------------------------------------

    def _look(self, table: RawTable) -> Look | None:
        """What the table's files hold, each as it was at one moment; only a file that changed is read again."""
        files = self._read(lambda: files_of(table, self.folder))
        if not files:
            return None
        states = self._read(lambda: [file_state(file) for file in files])
        states, broken = self._profile_unread(table, states)
        profiles = {state: self._profiles[table.name, state] for state in states}
        if broken and not any(profile.usable for profile in profiles.values()):
            raise next(iter(broken.values()))
        found = Look(table, profiles, self._excluded, tuple(self._unreadable(profiles, broken)))
        if found.report.rows and found.report.rows == found.report.rejected:
            self._refuse_dates(table, found)
        return found

    def _profile_unread(
        self, table: RawTable, states: Sequence[FileState]
    ) -> tuple[list[FileState], dict[Path, UnreadableFileError]]:
        """Reads the files that have changed; the states that were read, later than given where a file grows.

        Also returns the files that cannot be read, with what is wrong with each.
        """
        unread = [state for state in states if (table.name, state) not in self._profiles]
        if not unread:
            return list(states), {}
        try:
            broken = self._profile_readable(table, self.folder, {state: state[0] for state in unread})
            moving = self._changed(unread)
            if broken and not moving:
                # an error at the end of a file that is just being written may be half a line
                moving = self._growing(state for state in unread if state[0] in broken)
        except SourceError:
            broken, moving = {}, self._changed(unread) or self._growing(unread)
            if not moving:
                raise
        if moving:
            states, broken = self._profile_moving(table, states, moving)
        return [state for state in states if state[0] not in broken], broken

    def _profile_moving(
        self, table: RawTable, states: Sequence[FileState], moving: Sequence[FileState]
    ) -> tuple[list[FileState], dict[Path, UnreadableFileError]]:
        """Reads copies of files that others write to, and the files that are not read yet."""
        read = {state[0]: state for state in states}
        for state in moving:
            self._profiles.pop((table.name, state), None)
            snapshot, copy = self._read(lambda file=state[0]: self._snapshots.take(file))
            root = Path(str(copy).removesuffix(str(state[0].relative_to(self.folder))))
            try:
                self._profile_files(table, root, {snapshot: copy})
            except SourceError as error:
                raise type(error)(self._snapshots.original(str(error))) from None
            read[state[0]] = snapshot
        still = [state for state in read.values() if (table.name, state) not in self._profiles]
        broken = self._profile_readable(table, self.folder, {state: state[0] for state in still})
        return list(read.values()), broken

    def _profile_readable(
        self, table: RawTable, root: Path, places: Mapping[FileState, Path]
    ) -> dict[Path, UnreadableFileError]:
        """Reads all files but those that cannot be read, which it returns.

        Halving finds them: an error names one file at most, and the rest is read in few scans.
        """
        try:
            self._profile_files(table, root, places)
        except UnreadableFileError as error:
            if len(places) == 1:
                return {state[0]: error for state in places}
            items, middle = list(places.items()), len(places) // 2
            halves = (dict(items[:middle]), dict(items[middle:]))
            first, second = (self._profile_readable(table, root, half) for half in halves)
            return first | second
        return {}

    def _unreadable(
        self, profiles: Mapping[FileState, FileProfile], broken: Mapping[Path, UnreadableFileError]
    ) -> Iterator[UnreadableFile]:
        """The files that cannot be read, with the days of which they may hold rows.

        These are the days in their names; and as many before and after as other files hold beside those in theirs.
        """
        before = after = timedelta()
        for (file, *_), profile in profiles.items() if broken else ():
            named = days_in_name(file.relative_to(self.folder))
            if named and profile.first and profile.last:
                before = max(before, named[0] - profile.first.date())
                after = max(after, profile.last.date() - named[1])
        for file, error in broken.items():
            name = file.relative_to(self.folder)
            days = days_in_name(name)
            first, last = (days[0] - before, days[1] + after) if days else (None, None)
            yield UnreadableFile(str(name), str(error), first, last)

    def _growing(self, states: Iterable[FileState]) -> list[FileState]:
        """The files that end within a line because somebody is writing them; others were cut off."""
        unfinished = [state for state in states if is_half_written(state)]
        if unfinished:
            time.sleep(PAUSE_SECONDS)
        return self._changed(unfinished)

    def _changed(self, states: Iterable[FileState]) -> list[FileState]:
        return self._read(lambda: [state for state in states if file_state(state[0]) != state])

    def _profile_files(self, table: RawTable, root: Path, places: Mapping[FileState, Path]) -> None:
        found: dict[Path, FileProfile] = {}
        for group in self._read(lambda: list(grouped(list(places.values()), root))):
            checked = self._checked(table, group)
            measured = self._profile(table, checked)
            for place, file in enumerate(group.files):
                values = {name: value for name, value in measured.get(place, {}).items() if name in MEASURED}
                found[file] = FileProfile(replace(checked, files=(file,)), **values)
        for state, place in places.items():
            self._profiles[table.name, state] = found.get(place, FileProfile())

    def _checked(self, table: RawTable, group: FileGroup) -> FileGroup:
        where = group.files[0]
        missing = [c.name for c in table.required if c.name not in group.names]
        if missing:
            hint = ""
            if group.format == "csv" and len(missing) == len(table.required):
                hint = " Line 1 is read as the header: remove what stands above it, or write one."
            elif not group.names:
                hint = " Write one whole JSON object a line." if group.format != "parquet" else ""
            raise SourceError(
                f"{where}: {columns_are(missing)} missing for {table.name}. Found "
                f"{', '.join(group.names) or 'no columns'}; rename or add the column{'s' * (len(missing) > 1)}.{hint}"
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
        ]
        doubles = [c.name for c in table.declared if c.type == "DOUBLE" and c.name in group.names]
        measures += [f"count_if({self._not_a_number(group, name)}) as bad_{name}" for name in doubles]
        # an id that is a list or an object says so in JSON alone
        ids = [name for name in IDS if name in group.names and group.format == "json"]
        measures += [f"count_if({normalise.is_object(group.text(name))}) as bad_{name}" for name in ids]
        if group.format == "csv":
            # a column that is not asked for is not checked to be UTF-8, and would fail only while loading
            measures += [f"count({normalise.identifier(name)})" for name in group.columns]
        query = f"select {', '.join(measures)} from {group.scan()} group by file_index"
        with connect() as connection:
            found = self._read(lambda: connection.sql(query).to_arrow_table().to_pylist())
        for name in doubles:
            if bad := sum(file[f"bad_{name}"] for file in found):
                self._refuse_value(
                    group, name, bad, self._not_a_number(group, name), "a number of seconds or nothing"
                )
        for name in ids:
            if bad := sum(file[f"bad_{name}"] for file in found):
                self._refuse_value(
                    group, name, bad, normalise.is_object(group.text(name)), "text or a number"
                )
        return {file["file_index"]: file for file in found}

    def _refuse_value(self, group: FileGroup, name: str, count: int, bad: str, expected: str) -> None:
        query = f"select _file, {group.text(name)} from {group.scan()} where {bad} limit 1"
        with connect() as connection:
            file, value = self._read(lambda: connection.sql(query).fetchall()[0])
        raise SourceError(
            self._snapshots.original(
                f"{file}{line_of(Path(file), group, name, value)}: {name} is {value!r}, expected {expected} "
                f"({count} such rows). Correct the value or leave it empty."
            )
        )

    def _refuse_dates(self, table: RawTable, found: Look) -> None:
        """Refuses a table without one usable date: a mistake in the export, unless all may say that there is none."""
        name, rows = table.date_column, found.report.rows
        for group in found.groups:
            given = group.text(name)
            said = f"not {self.rules.says_no_date(table, given)}"
            query = f"select _file, {given} from {group.scan()} where {said} limit 1"
            with connect() as connection:
                first = self._read(lambda c=connection, q=query: c.sql(q).fetchall())
            if first:
                file, value = first[0]
                raise SourceError(
                    f"{file}: no {name} of {rows} rows is usable; the first is {value!r}. "
                    "Write dates as 2025-01-31 or timestamps as 2025-01-31T10:00:00+01:00."
                )
        if not table.may_be_absent:
            raise SourceError(
                f"{found.groups[0].files[0]}: {name} is empty in all {rows} rows; fill the column."
            )

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
        columns += [
            f"{self._value(table, group, name)} as {normalise.identifier(name)}" for name in extra_columns
        ]
        columns += self._lineage(group, extracted_at)
        # the raw comparison lets Parquet's statistics skip files and row groups, which the cast would hide
        inner = f"select * from {group.scan(numbered=True)} where {self._pushed_down(table, group, window)}"
        selected = f"select {', '.join(columns)} from ({inner})"
        day = table.date_column
        return f"select * from ({selected}) where {day} is not null and {window.predicate(day)}"

    def _rejected_query(self, table: RawTable, group: FileGroup, extracted_at: datetime) -> str:
        user, when = self._value(table, group, "user_id"), group.text(table.date_column)
        reason = self.rules.rejected_reason(table, user, when)
        columns = [
            f"'{table.name}' as table_name",
            f"{reason} as reason",
            f"{user} as user_id",
            f"{when} as date_value",
            *self._lineage(group, extracted_at),
        ]
        local = self._local_time(group, table.date_column)
        return f"select {', '.join(columns)} from {group.scan(numbered=True)} where {local} is null"

    def _lineage(self, group: FileGroup, extracted_at: datetime) -> list[str]:
        prefix = len(str(group.root / "_")) - 1
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
            return normalise.seconds(group.raw(name), group.kind(name))
        return self.rules.value(name, group.raw(name), group.kind(name))

    def _not_a_number(self, group: FileGroup, name: str) -> str:
        return self.rules.not_a_number(group.raw(name), group.kind(name))

    def _local_time(self, group: FileGroup, name: str) -> str:
        return self.rules.local_time(group.raw(name), group.kind(name))

    def _pushed_down(self, table: RawTable, group: FileGroup, window: Window) -> str:
        name = table.date_column
        if name not in group.columns:
            return "true"
        return normalise.may_be_within(group.raw(name), group.kind(name), window)

    # -- reading ---------------------------------------------------------------------------------------

    def _stream(self, query: str, schema: pa.Schema, found: Look) -> pa.RecordBatchReader:
        """The query's result in batches of the schema; the connection lives as long as the reader."""

        def batches() -> Iterator[pa.RecordBatch]:
            ordered = (
                f"select {', '.join(normalise.identifier(name) for name in schema.names)} from ({query})"
            )
            with connect() as connection:
                reader = self._read(lambda: connection.sql(ordered).to_arrow_reader(BATCH_ROWS), found)
                while (batch := self._read(lambda: next(reader, None), found)) is not None:
                    yield batch.cast(schema)
            self._refuse_change(found)

        return pa.RecordBatchReader.from_batches(schema, batches())

    def _refuse_change(self, found: Look) -> None:
        """Refuses rows that were counted before a file changed; a file alone in its scan needs no count."""
        counted = {file for group in found.groups if len(group.files) > 1 for file in group.files}
        for file, *_ in self._changed(state for state in found.profiles if state[0] in counted):
            raise SourceError(f"{file}: changed while it was being read. Run again; nothing was loaded.")

    def _read(self, action: Callable[[], Any], found: Look | None = None) -> Any:
        """Does something with files; what goes wrong names the file."""
        try:
            return action()
        except FileNotFoundError as error:
            place = self._snapshots.original(str(error.filename))
            raise SourceError(
                f"{place}: removed while it was being read. Run again; nothing was loaded."
            ) from None
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            groups = found.groups if found else ()
            moving = self._changed(found.profiles)[:1] if found else ()
            for file, *_ in moving:
                message = f"{file}: changed while it was being read. Run again; nothing was loaded."
                raise SourceError(message) from None
            place = next((file for group in groups for file in broken_parquet(group)), self.folder)
            raise UnreadableFileError(self._snapshots.original(explained(str(error), place))) from None


@dataclass(frozen=True)
class FileProfile:
    """What a scan found in one file. ``group`` is how to read it, None where there is nothing to read."""

    group: FileGroup | None = None
    rows: int = 0
    usable: int = 0
    first: datetime | None = None
    last: datetime | None = None

    @property
    def span(self) -> tuple[date, date]:
        """First and last day; rows without a usable date belong to no month, and count with the first of all."""
        if self.first is None or self.last is None:
            return normalise.NO_DATE, normalise.NO_DATE
        return self.first.date(), self.last.date()


MEASURED = ("rows", "usable", "first", "last")


@dataclass(frozen=True)
class Look:
    """The files of a table, by the state in which each was read."""

    table: RawTable
    profiles: Mapping[FileState, FileProfile]
    excluded: frozenset[str]
    unreadable: tuple[UnreadableFile, ...] = ()

    @cached_property
    def groups(self) -> list[FileGroup]:
        members: dict[Any, list[FileProfile]] = defaultdict(list)
        for profile in self.profiles.values():
            if profile.group:
                members[profile.group.shape].append(profile)
        return [_joined(profiles) for profiles in members.values()]

    @cached_property
    def report(self) -> TableReport:
        profiles = self.profiles.values()
        rows, usable = sum(p.rows for p in profiles), sum(p.usable for p in profiles)
        known = {c.name for c in self.table.declared} | self.excluded
        missing = (file.first_day for file in self.unreadable if file.first_day)
        return TableReport(
            table=self.table,
            rows=rows,
            rejected=rows - usable,
            first_day=min((*(p.first.date() for p in profiles if p.first), *missing), default=None),
            last_day=max((p.last.date() for p in profiles if p.last), default=None),
            extra_columns=tuple(sorted({name for g in self.groups for name in g.names} - known)),
            locations=tuple(str(file) for file, *_ in self.profiles),
        )


def _joined(profiles: Sequence[FileProfile]) -> FileGroup:
    groups = [profile.group for profile in profiles if profile.group]
    before = accumulate((profile.rows for profile in profiles[:-1]), initial=0)
    files = tuple(file for group in groups for file in group.files)
    return replace(groups[0], files=files, rows_before=tuple(before))


def _months_between(first: date, last: date) -> Iterator[str]:
    month = first.replace(day=1)
    while month <= last:
        yield month.isoformat()
        month = (month + timedelta(days=32)).replace(day=1)


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
