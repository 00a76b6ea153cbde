"""Source `files`: a folder with ``user_signups``, ``user_engagement`` and ``churn_data``.

Each is one file or a folder of files, in CSV, JSON Lines (either may be gzipped) or Parquet, Hive-style
partition folders included. DuckDB reads them; this module says what their columns mean.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import re
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, Literal, TextIO, cast

import duckdb
import pyarrow as pa

from user_engagement.contracts.raw import IDS, LINEAGE, REJECTED_ROWS, RawTable, Window
from user_engagement.errors import SourceError
from user_engagement.sources import normalise
from user_engagement.sources.base import BATCH_ROWS, Extract, TableReport

Format = Literal["csv", "json", "parquet"]

ENDINGS: dict[str, Format] = {
    ".csv": "csv",
    ".csv.gz": "csv",
    ".jsonl": "json",
    ".jsonl.gz": "json",
    ".ndjson": "json",
    ".ndjson.gz": "json",
    ".parquet": "parquet",
}
ACCEPTED = ", ".join(ENDINGS)
UNFINISHED = (".tmp", ".crc")

FIRST_DAY = date(normalise.FIRST_YEAR, 1, 1)
# what a scan adds to the columns of a file, beside the lineage columns
SCAN_COLUMNS = ("_file", "file_index", "file_row_number")


@dataclass(frozen=True)
class FileGroup:
    """Files of one table that share format, columns and partition keys, so that one scan reads them all.

    ``columns`` maps a normalised name to the column's name in the file and its type there; ``hive_keys`` maps
    the names that come from the folders instead to their keys there. ``rows_before`` counts, for each file,
    the rows of the files before it; only a scan can tell, so that it is empty until then.
    """

    format: Format
    files: tuple[Path, ...]
    columns: dict[str, tuple[str, str]]
    hive_keys: dict[str, str]
    delimiter: str = ","
    float_ids: bool = False
    rows_before: tuple[int, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.columns, *(k for k in self.hive_keys if k not in self.columns))


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
        schema = table.schema(report.further)
        none_rejected = _empty(REJECTED_ROWS.schema())
        extracted_at = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
        rows = " union all by name ".join(
            self._rows_query(table, group, window, report.further, extracted_at) for group in groups
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

    # -- what is there ---------------------------------------------------------------------------------

    def _spans_of(self, table: RawTable) -> dict[Path, tuple[int, int, date, date]]:
        """Size, time of change, first and last day of each file; only a file that changed is read again."""
        files = self._read(lambda: self._files_of(table))
        states = {file: _state(file) for file in files}
        unread = [file for file in files if states[file] not in self._spans]
        for group in _grouped(unread, self.folder) if unread else ():
            checked = self._checked(table, group)
            self._note_spans(checked, self._profile(table, checked))
        return {file: (*states[file][1:], *self._spans[states[file]]) for file in files}

    def _note_spans(self, group: FileGroup, profile: dict[int, dict[str, Any]]) -> None:
        for place, file in enumerate(group.files):
            found = profile.get(place, {})
            # rows without a usable date belong to no month: they count with the first
            days = [found[edge].date() for edge in ("first", "last") if found.get(edge)] or [FIRST_DAY] * 2
            self._spans[_state(file)] = (days[0], days[1])

    def _inspect(self, table: RawTable) -> tuple[TableReport, list[FileGroup]] | None:
        files = self._read(lambda: self._files_of(table))
        if not files:
            return None
        state = (table.name, *(_state(file) for file in files))
        if state not in self._inspected:
            self._inspected[state] = self._examine(table, files)
        return self._inspected[state]

    def _files_of(self, table: RawTable) -> list[Path]:
        if not self.folder.is_dir():
            raise SourceError(f"{self.folder}: no such folder. Point --path at the folder of the files.")
        entries = sorted(p for p in self.folder.iterdir() if not p.name.startswith((".", "_")))
        matches = [p for p in entries if _stem(p).lower() == table.name and (p.is_dir() or _format(p))]
        if len(matches) > 1:
            names = " and ".join(p.name for p in matches)
            raise SourceError(f"{self.folder}: both {names} could be {table.name}; keep one of them.")
        if not matches:
            if table.may_be_absent:
                return []
            found = ", ".join(p.name for p in entries) or "nothing"
            raise SourceError(
                f"{self.folder}: no {table.name} here. Expected a file {table.name}.csv (or {ACCEPTED}) "
                f"or a folder {table.name}/ of such files; found {found}."
            )
        files = list(_data_files(matches[0]))
        if not files and not table.may_be_absent:
            raise SourceError(f"{matches[0]}: this folder of {table.name} holds no file ({ACCEPTED}).")
        return files

    def _examine(self, table: RawTable, files: list[Path]) -> tuple[TableReport, list[FileGroup]]:
        groups = [self._checked(table, group) for group in _grouped(files, self.folder)]
        profiles = [self._profile(table, group) for group in groups]
        for group, profile in zip(groups, profiles, strict=True):
            self._note_spans(group, profile)
        found = [file for profile in profiles for file in profile.values()]
        rows, usable = sum(f["rows"] for f in found), sum(f["usable"] for f in found)
        if rows and not usable:
            self._refuse_dates(table, groups, rows)
        groups = [part for g, profile in zip(groups, profiles, strict=True) for part in _profiled(g, profile)]
        days = [f[edge] for f in found for edge in ("first", "last") if f[edge] is not None]
        declared = {c.name for c in table.declared}
        report = TableReport(
            table=table,
            rows=rows,
            rejected=rows - usable,
            first_day=min(days).date() if days else None,
            last_day=max(days).date() if days else None,
            further=tuple(sorted({name for g in groups for name in g.names} - declared)),
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
            f"{_ids_written_as_float(group)} as float_ids",
        ]
        doubles = [c.name for c in table.declared if c.type == "DOUBLE" and c.name in group.names]
        measures += [f"count_if({_not_a_number(group, name)}) as bad_{name}" for name in doubles]
        if group.format == "csv":
            # a column that is not asked for is not checked to be UTF-8, and would fail only while loading
            measures += [f"count({normalise.identifier(name)})" for name in group.columns]
        query = f"select {', '.join(measures)} from {_scan(group)} group by file_index"
        with _connection() as connection:
            found = self._read(lambda: connection.sql(query).to_arrow_table().to_pylist())
        for name in doubles:
            if bad := sum(file[f"bad_{name}"] for file in found):
                self._refuse_number(group, name, bad)
        return {file["file_index"]: file for file in found}

    def _refuse_number(self, group: FileGroup, name: str, count: int) -> None:
        bad = _not_a_number(group, name)
        query = f"select _file, {_text(group, name)} from {_scan(group)} where {bad} limit 1"
        with _connection() as connection:
            file, value = self._read(lambda: connection.sql(query).fetchall()[0])
        raise SourceError(
            f"{file}{_line_of(Path(file), group, name, value)}: {name} is {value!r}, expected a number of "
            f"seconds or nothing ({count} such rows). Correct the value or leave it empty."
        )

    def _refuse_dates(self, table: RawTable, groups: list[FileGroup], rows: int) -> None:
        """Refuses a table without one usable date: a mistake in the export, unless dates may all be empty."""
        name = table.date_column
        for group in groups:
            given = _text(group, name)
            query = f"select _file, {given} from {_scan(group)} where not {normalise.blank(given)} limit 1"
            with _connection() as connection:
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
        further: tuple[str, ...],
        extracted_at: datetime,
    ) -> str:
        columns = [f"{self._value(table, group, c.name)} as {c.name}" for c in table.declared]
        columns += [f"{_text(group, name)} as {normalise.identifier(name)}" for name in further]
        columns += self._lineage(extracted_at)
        # the raw comparison lets Parquet's statistics skip files and row groups, which the cast would hide
        inner = f"select * from {_scan(group, numbered=True)} where {self._pushed_down(table, group, window)}"
        selected = f"select {', '.join(columns)} from ({inner})"
        day = table.date_column
        return f"select * from ({selected}) where {day} is not null and {window.predicate(day)}"

    def _rejected_query(self, table: RawTable, group: FileGroup, extracted_at: datetime) -> str:
        user, when = self._value(table, group, "user_id"), _text(group, table.date_column)
        reason = normalise.rejected_reason(user, when)
        columns = [
            f"'{table.name}' as table_name",
            f"{reason} as reason",
            f"{user} as user_id",
            f"{when} as date_value",
            *self._lineage(extracted_at),
        ]
        local = self._local_time(group, table.date_column)
        return f"select {', '.join(columns)} from {_scan(group, numbered=True)} where {local} is null"

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
            return f"try_cast({_raw(group, name)} as double)"
        text = _text(group, name)
        if name == "user_id" and group.float_ids:
            return normalise.without_fraction(text)
        # a number has no blanks around it
        return normalise.identity(text) if name in IDS and not _is_number(group, name) else text

    def _local_time(self, group: FileGroup, name: str) -> str:
        return normalise.local_time(_raw(group, name), _kind(group, name), self.timezone)

    def _pushed_down(self, table: RawTable, group: FileGroup, window: Window) -> str:
        name = table.date_column
        kind = _kind(group, name)
        if not kind.startswith(normalise.DATE_TYPES) or name not in group.columns:
            return "true"
        if not kind.startswith("TIMESTAMP WITH TIME ZONE"):
            return window.predicate(_raw(group, name))
        # wider than any zone is off UTC: the exact edges are then DuckDB's own, whatever edition of the
        # time zone rules it has
        margin = timedelta(days=2)
        wide = Window(window.start and window.start - margin, window.end and window.end + margin)
        return wide.predicate(_raw(group, name))

    # -- reading ---------------------------------------------------------------------------------------

    def _stream(self, query: str, schema: pa.Schema, groups: list[FileGroup]) -> pa.RecordBatchReader:
        """The query's result in batches of the schema; the connection lives as long as the reader."""

        def batches() -> Iterator[pa.RecordBatch]:
            ordered = (
                f"select {', '.join(normalise.identifier(name) for name in schema.names)} from ({query})"
            )
            with _connection() as connection:
                reader = self._read(lambda: connection.sql(ordered).to_arrow_reader(BATCH_ROWS), groups)
                while (batch := self._read(lambda: next(reader, None), groups)) is not None:
                    yield batch.cast(schema)

        return pa.RecordBatchReader.from_batches(schema, batches())

    def _read(self, action: Callable[[], Any], groups: Sequence[FileGroup] = ()) -> Any:
        """Does something with the files of the groups; what goes wrong names the file."""
        try:
            return action()
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            place = next((file for group in groups for file in _broken_parquet(group)), self.folder)
            raise SourceError(_plain(str(error), place)) from None


# -- fingerprints --------------------------------------------------------------------------------------


def _state(file: Path) -> tuple[Path, int, int]:
    """What tells a file from itself before a change: its size and time of change, in nanoseconds."""
    status = file.stat()
    return file, status.st_size, status.st_mtime_ns


def _months_between(first: date, last: date) -> Iterator[str]:
    month = first.replace(day=1)
    while month <= last:
        yield month.isoformat()
        month = (month + timedelta(days=32)).replace(day=1)


def _digest(marks: list[str]) -> str:
    return hashlib.sha256("\n".join(sorted(marks)).encode()).hexdigest()[:16]


# -- files and their columns -----------------------------------------------------------------------------


def _ending(path: Path) -> str | None:
    return next((e for e in sorted(ENDINGS, key=len, reverse=True) if path.name.lower().endswith(e)), None)


def _format(path: Path) -> Format | None:
    ending = _ending(path)
    return ENDINGS[ending] if ending else None


def _stem(path: Path) -> str:
    ending = None if path.is_dir() else _ending(path)
    return path.name[: -len(ending)] if ending else path.name


def _data_files(place: Path) -> Iterator[Path]:
    """The data files at or under a place, in the order of their names; refuses files of another kind."""
    if place.is_file():
        yield place
        return
    for path in sorted(place.rglob("*")):
        hidden = any(part.startswith((".", "_")) for part in path.relative_to(place).parts)
        if path.is_dir() or hidden or path.name.endswith(UNFINISHED):
            continue
        if _format(path) is None:
            raise SourceError(f"{path}: not a kind of file that can be read ({ACCEPTED}). Move it elsewhere.")
        yield path


def _grouped(files: list[Path], root: Path) -> Iterator[FileGroup]:
    """The files by what a scan must know of them: format, header and partition keys."""
    groups: dict[Any, list[Path]] = defaultdict(list)
    shapes: dict[Any, tuple[Format, dict[str, tuple[str, str]], tuple[str, ...], str]] = {}
    for file, (form, header, delimiter) in zip(files, _headers(files), strict=True):
        if form == "json" and not header and _is_blank(file):
            continue
        hive = tuple(p.split("=", 1)[0].lower() for p in file.relative_to(root).parts[:-1] if "=" in p)
        key = (form, tuple(header), hive, delimiter)
        groups[key].append(file)
        shapes[key] = (form, _normalised(header, file), hive, delimiter)
    for key, members in groups.items():
        form, columns, hive, delimiter = shapes[key]
        yield FileGroup(
            form, tuple(members), columns, {normalise.column_name(k, 0): k for k in hive}, delimiter
        )


def _profiled(group: FileGroup, profile: dict[int, dict[str, Any]]) -> Iterator[FileGroup]:
    """The group with what its scan has found, apart for the files that write integer ids as floats."""
    for float_ids in (False, True):
        places = [
            n for n in range(len(group.files)) if profile.get(n, {}).get("float_ids", False) is float_ids
        ]
        if places:
            before = accumulate((profile.get(n, {}).get("rows", 0) for n in places[:-1]), initial=0)
            files = tuple(group.files[n] for n in places)
            yield replace(group, files=files, float_ids=float_ids, rows_before=tuple(before))


def _headers(files: list[Path]) -> Iterator[tuple[Format, list[tuple[str, str]], str]]:
    with _connection() as connection:
        for file in files:
            form = _format(file) or "csv"
            if form == "csv":
                names, delimiter = _csv_header(file)
                yield form, [(name, "VARCHAR") for name in names], delimiter
            else:
                yield form, _described(connection, file, form), ","


def _csv_header(file: Path) -> tuple[list[str], str]:
    try:
        with _open_text(file) as lines:
            header = next(lines, "")
            while header.count('"') % 2 and (line := next(lines, "")):
                header += line
        if not header.strip():
            raise SourceError(f"{file}: the first line is empty; it should name the columns.")
        readings = {d: next(csv.reader(io.StringIO(header, newline=""), delimiter=d)) for d in ",;\t|"}
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise SourceError(f"{file}: cannot be read ({error}). Save it as UTF-8 text.") from None
    except csv.Error as error:
        raise SourceError(f"{file}, line 1: no column names ({error}). Mend the line.") from None
    delimiter = max(readings, key=lambda d: len(readings[d]))
    return readings[delimiter], delimiter


def _described(connection: duckdb.DuckDBPyConnection, file: Path, form: Format) -> list[tuple[str, str]]:
    """Names and types of a file's columns; none where the lines of a JSON file are no records."""
    path = _pattern(file)
    reader = (
        f"read_parquet({path}, binary_as_string=true, hive_partitioning=false)"
        if form == "parquet"
        else f"read_json({path}, format='newline_delimited', sample_size=-1, maximum_depth=1, "
        "map_inference_threshold=-1, hive_partitioning=false)"
    )
    try:
        columns = connection.sql(f"describe select * from {reader}").fetchall()
        if form == "parquet":
            return [(column[0], column[1]) for column in columns]
        names = [column[0] for column in columns]
        if any(re.search(r"_\d+$", name) for name in names):
            # a key that differs from another only in case was given a number, and would read as null
            keys = f"select distinct unnest(json_keys(json)) from read_ndjson_objects({path})"
            names = sorted(key for (key,) in connection.sql(keys).fetchall())
    except duckdb.Error as error:
        raise SourceError(_plain(str(error), file)) from None
    return [] if names == ["json"] else [(name, "VARCHAR") for name in names]


def _normalised(header: list[tuple[str, str]], file: Path) -> dict[str, tuple[str, str]]:
    columns: dict[str, tuple[str, str]] = {}
    for position, (name, kind) in enumerate(header, start=1):
        plain = normalise.column_name(name, position)
        if plain in columns:
            both = f"{columns[plain][0]!r} and {name!r}"
            raise SourceError(f"{file}: columns {both} are both {plain}; rename one.")
        columns[plain] = (name, kind)
    return columns


def _is_blank(file: Path) -> bool:
    with _open_text(file) as lines:
        return all(line.isspace() for line in lines)


def _open_bytes(file: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(file, "rb")) if file.name.lower().endswith(".gz") else file.open("rb")


def _open_text(file: Path) -> TextIO:
    return io.TextIOWrapper(_open_bytes(file), encoding="utf-8-sig", newline="")


def _line_of(file: Path, group: FileGroup, name: str, value: str) -> str:
    """Where in a text file a value first stands, as ``, line 3``; nothing where it has no line of its own."""
    if group.format == "parquet" or name not in group.columns:
        return ""
    with _open_text(file) as lines:
        if group.format == "json":
            header = group.columns[name][0]
            for number, line in enumerate(lines, start=1):
                if line.strip() and _json_text(line, header) == value:
                    return f", line {number}"
            return ""
        reader = csv.reader(lines, delimiter=group.delimiter)
        next(reader)
        position = list(group.columns).index(name)
        try:
            for row in reader:
                if len(row) > position and row[position] == value:
                    return f", line {reader.line_num}"
        except csv.Error:
            return ""
    return ""


def _json_text(line: str, key: str) -> str | None:
    value = json.loads(line).get(key)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# -- SQL fragments ---------------------------------------------------------------------------------------


def _connection() -> duckdb.DuckDBPyConnection:
    """A connection whose texts of instants do not depend on where the machine stands."""
    connection = duckdb.connect()
    connection.execute("set TimeZone = 'UTC'")
    return connection


def _pattern(file: Path) -> str:
    """A file's name as a literal that DuckDB, which takes names for patterns, finds that one file by."""
    return normalise.quoted(re.sub(r"[*?\[]", r"[\g<0>]", str(file)))


def _scan(group: FileGroup, numbered: bool = False) -> str:
    """The group's rows with ``_file`` and, if ``numbered``, ``_row_number``: source order within a file."""
    files = "[" + ", ".join(_pattern(f) for f in group.files) + "]"
    if group.format == "parquet":
        number = ", file_row_number + 1 as _row_number" if numbered else ""
        return (
            f"(select *, file_index{number} from read_parquet({files}, filename='_file', "
            "binary_as_string=true, hive_partitioning=false, union_by_name=false))"
        )
    names = ", ".join(f"{normalise.quoted(header)}: 'VARCHAR'" for header, _ in group.columns.values())
    if group.format == "csv":
        # by position: a header that needs quoting (or is empty) is no trouble then
        names = ", ".join(f"{normalise.quoted(name)}: 'VARCHAR'" for name in group.columns)
        reader = (
            f"read_csv({files}, auto_detect=false, header=true, delim={normalise.quoted(group.delimiter)}, "
            f"quote='\"', escape='\"', columns={{{names}}}, filename='_file', hive_partitioning=false)"
        )
    else:
        columns = f", columns={{{names}}}" if names else ""
        options = f"format='newline_delimited'{columns}, filename='_file', hive_partitioning=false"
        reader = f"read_json({files}, {options})"
    before = f"{list(group.rows_before)}[cast(file_index as integer) + 1]" if len(group.files) > 1 else "0"
    number = f", row_number() over () - {before} as _row_number" if numbered else ""
    return f"(select *, file_index{number} from {reader})"


def _raw(group: FileGroup, name: str) -> str:
    if name in group.columns:
        header = name if group.format == "csv" else group.columns[name][0]
        return normalise.identifier(header)
    # greedy up to the last such folder, so that one above the source's own folder is not taken for it
    folder = normalise.quoted(rf"^.*/{re.escape(group.hive_keys[name])}=([^/]*)/")
    return f"nullif(url_decode(regexp_extract(_file, {folder}, 1, 'is')), '__HIVE_DEFAULT_PARTITION__')"


def _kind(group: FileGroup, name: str) -> str:
    return group.columns[name][1] if name in group.columns else "VARCHAR"


def _text(group: FileGroup, name: str) -> str:
    return f"cast({_raw(group, name)} as varchar)" if name in group.names else "cast(null as varchar)"


def _ids_written_as_float(group: FileGroup) -> str:
    if _kind(group, "user_id").startswith(normalise.INTEGER_TYPES):
        return "false"
    return normalise.all_written_as_float(_text(group, "user_id"))


def _is_number(group: FileGroup, name: str) -> bool:
    return _kind(group, name).startswith(normalise.NUMBER_TYPES)


def _not_a_number(group: FileGroup, name: str) -> str:
    return normalise.not_a_number(_raw(group, name), _kind(group, name))


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


def _plain(message: str, place: Path) -> str:
    """DuckDB's reading error as one line that names the file, the line and what to do."""
    if json_file := re.search(r'Malformed JSON in file "(.*)", at byte \d+ in line \d+: ([^.]*)', message):
        return _plain_json(Path(json_file.group(1)), json_file.group(2))
    if cut := re.search(r"Unexpected end of GZIP stream: (.*)", message):
        return f"{cut.group(1)}: the compressed file is cut off. Copy or export it again."
    file = re.search(r"^  file = (.*)$", message, re.MULTILINE)
    line = re.search(r"CSV Error on Line: (\d+)", message)
    where = f"{file.group(1).strip() if file else place}" + (f", line {line.group(1)}" if line else "")
    original = re.search(r"Original Line: (.*)", message)
    shown = f": {_shortened(original.group(1))}" if original else ""
    if counts := re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", message):
        return (
            f"{where}: expected {counts.group(1)} columns, found {counts.group(2)}{shown}. "
            "Quote values that hold a comma, or mend the line."
        )
    if "unterminated quote" in message:
        return (
            f"{where}: a quoted value does not end{shown}. Close the quote, or double a quote inside a value."
        )
    if "not utf-8" in message or "Invalid unicode" in message or "invalid UTF-8" in message:
        return f"{where}: not valid UTF-8 text{shown}. Save the file as UTF-8."
    if "reached an invalid state" in message:
        return f"{where}: line ends or quotes change within the file. Save it with one kind of line end."
    reasons = [text for text in message.strip().splitlines() if "CSV Error on Line" not in text]
    reason = re.sub(r"^[A-Z][\w ]* Error: ", "", reasons[0] if reasons else message).rstrip(". ")
    return f"{where}: cannot be read: {reason}. Mend or replace the file."


def _plain_json(file: Path, problem: str) -> str:
    """The first line of a file that is no JSON, found here because DuckDB's own count is one too high."""
    with _open_bytes(file) as lines:
        for number, line in enumerate(lines, start=1):
            try:
                json.loads(line.strip() or "{}")
            except ValueError:
                text = _shortened(line.decode(errors="replace"))
                return (
                    f"{file}, line {number}: {problem}: {text}. Write one whole JSON object a line, as UTF-8."
                )
    return f"{file}: {problem}. Write one whole JSON object a line, as UTF-8 without a byte order mark."


def _broken_parquet(group: FileGroup) -> Iterator[Path]:
    """The Parquet files of the group that cannot be read to their end, of which DuckDB tells no name."""
    for file in group.files if group.format == "parquet" else ():
        try:
            with _connection() as connection:
                connection.execute(f"select bit_xor(hash(columns(*))) from read_parquet({_pattern(file)})")
        except duckdb.Error:
            yield file


def _shortened(text: str) -> str:
    return repr(text.strip()[:80])
