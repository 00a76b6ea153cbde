"""Source `files`: a folder with ``user_signups``, ``user_engagement`` and ``churn_data``.

Each is one file or a folder of files, in CSV, JSON Lines (either may be gzipped) or Parquet, Hive-style
partition folders included. DuckDB reads them; this module says what their columns mean.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, Literal, TextIO
from urllib.parse import unquote
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa

from user_engagement.contracts import LINEAGE, REJECTED_ROWS, RawTable, Window
from user_engagement.errors import SourceError
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

FIRST_YEAR = 1000
NULL_WORDS = ("null", "na", "n/a", "nan", "none", "nat", "\\n")
DAY = r"[1-9]\d{3}-\d{2}-\d{2}"
CLOCK = r"[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?"
OFFSET = r" ?(Z|z|UTC|[+-]\d{2}(:?\d{2})?)"
TEXT_TYPES = ("VARCHAR", "JSON")
NUMBER_TYPES = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL")
DATE_TYPES = ("DATE", "TIMESTAMP")


@dataclass(frozen=True)
class FileGroup:
    """Files of one table that share format, columns and partition keys, so that one scan reads them all.

    ``columns`` maps a normalised name to the column's name in the file and its type there; ``hive_keys`` are
    the names that come from the folders instead.
    """

    format: Format
    files: tuple[Path, ...]
    columns: dict[str, tuple[str, str]]
    hive_keys: tuple[str, ...]
    delimiter: str = ","
    float_ids: bool = False

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
        self.folder = Path(folder)
        self.timezone = timezone
        self._inspected: dict[Any, tuple[TableReport, list[FileGroup]]] = {}

    def inspect(self, table: RawTable) -> TableReport | None:
        found = self._inspect(table)
        return found[0] if found else None

    def extract(self, table: RawTable, window: Window) -> Extract:
        found = self._inspect(table)
        if found is None:
            return _nothing(table, window)
        report, groups = found
        schema = table.schema(report.further)
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
            rows=self._stream(rows, schema),
            rejected=self._stream(rejected, REJECTED_ROWS.schema()) if rejected else _empty(REJECTED_ROWS.schema()),
        )

    # -- what is there ---------------------------------------------------------------------------------

    def _inspect(self, table: RawTable) -> tuple[TableReport, list[FileGroup]] | None:
        files = self._files_of(table)
        if not files:
            return None
        state = (table.name, *((f, f.stat().st_size, f.stat().st_mtime_ns) for f in files))
        if state not in self._inspected:
            self._inspected[state] = self._examine(table, files)
        return self._inspected[state]

    def _files_of(self, table: RawTable) -> list[Path]:
        if not self.folder.is_dir():
            raise SourceError(f"{self.folder}: no such folder. Point --path at the folder that holds the files.")
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
        found = [self._profile(table, group) for group in groups]
        if (rows := sum(f["rows"] for f in found)) and not sum(f["usable"] for f in found):
            self._refuse_dates(table, groups, rows)
        groups = [replace(g, float_ids=f["float_ids"]) for g, f in zip(groups, found, strict=True)]
        days = [f[edge] for f in found for edge in ("first", "last") if f[edge] is not None]
        declared = {c.name for c in table.declared}
        report = TableReport(
            table=table,
            rows=rows,
            rejected=rows - sum(f["usable"] for f in found),
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
        for lineage in LINEAGE:
            if lineage.name in group.names:
                raise SourceError(f"{where}: column {lineage.name} is a name this pipeline uses itself; rename it.")
        for name, (header, kind) in group.columns.items():
            wanted = table.type_of(name)
            allowed = {
                "TIMESTAMP": (*TEXT_TYPES, *DATE_TYPES),
                "DOUBLE": (*TEXT_TYPES, *NUMBER_TYPES),
            }.get(wanted)
            if allowed and not kind.startswith(allowed) and not kind.startswith('"NULL"'):
                what = "a date, a timestamp or ISO text" if wanted == "TIMESTAMP" else "a number"
                raise SourceError(f"{where}: column {header} is {kind}, expected {what}; convert the column.")
        return group

    def _profile(self, table: RawTable, group: FileGroup) -> dict[str, Any]:
        """Counts and bounds of a group, in one scan; refuses a value that cannot be what its column says."""
        local = self._local_time(group, table.date_column)
        measures = [
            "count(*) as rows",
            f"count({local}) as usable",
            f"min({local}) as first",
            f"max({local}) as last",
            f"coalesce(bool_and(regexp_matches({_text(group, 'user_id')}, '^\\d+\\.0$')), false) as float_ids",
        ]
        doubles = [c.name for c in table.declared if c.type == "DOUBLE" and c.name in group.names]
        measures += [f"count_if({_not_a_number(group, name)}) as bad_{name}" for name in doubles]
        with duckdb.connect() as connection:
            query = f"select {', '.join(measures)} from {_scan(group)}"
            found = self._read(lambda: connection.sql(query).to_arrow_table().to_pylist()[0])
        for name in doubles:
            if found[f"bad_{name}"]:
                self._refuse_number(group, name, found[f"bad_{name}"])
        return found

    def _refuse_number(self, group: FileGroup, name: str, count: int) -> None:
        with duckdb.connect() as connection:
            query = f"select filename, {_text(group, name)} from {_scan(group)} where {_not_a_number(group, name)} limit 1"
            file, value = connection.sql(query).fetchall()[0]
        raise SourceError(
            f"{file}{_line_of(Path(file), group, name, value)}: {name} is {value!r}, expected a number of seconds "
            f"or nothing ({count} such rows). Correct the value or leave it empty."
        )

    def _refuse_dates(self, table: RawTable, groups: list[FileGroup], rows: int) -> None:
        group, name = groups[0], table.date_column
        with duckdb.connect() as connection:
            found = connection.sql(f"select {_text(group, name)} from {_scan(group)} limit 1").fetchall()
        raise SourceError(
            f"{group.files[0]}: no {name} of {rows} rows is usable; the first is {found[0][0]!r}. "
            "Write dates as 2025-01-31 or timestamps as 2025-01-31T10:00:00+01:00."
        )

    # -- queries ---------------------------------------------------------------------------------------

    def _rows_query(
        self, table: RawTable, group: FileGroup, window: Window, further: tuple[str, ...], extracted_at: datetime
    ) -> str:
        columns = [f"{self._value(table, group, c.name)} as {c.name}" for c in table.declared]
        columns += [f'{_text(group, name)} as "{name}"' for name in further]
        columns += self._lineage(extracted_at)
        # the raw comparison lets Parquet's statistics skip files and row groups, which the cast would hide
        inner = f"select * from {_scan(group, numbered=True)} where {self._pushed_down(table, group, window)}"
        selected = f"select {', '.join(columns)} from ({inner})"
        return f"select * from ({selected}) where {table.date_column} is not null and {window.predicate(table.date_column)}"

    def _rejected_query(self, table: RawTable, group: FileGroup, extracted_at: datetime) -> str:
        user, when = self._value(table, group, "user_id"), _text(group, table.date_column)
        reason = (
            f"case when nullif(trim({user}), '') is null then 'null_user_id' "
            f"when {_blank(when)} then 'null_date' else 'unparseable_date' end"
        )
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
        root = str(self.folder).rstrip("/") + "/"
        return [
            f"replace(filename, {_quoted(root)}, '') as _source",
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
        return f"regexp_replace({text}, '\\.0$', '')" if name == "user_id" and group.float_ids else text

    def _local_time(self, group: FileGroup, name: str) -> str:
        """A date column as wall-clock time in the configured zone; null for what is no usable date."""
        raw, kind = _raw(group, name), _kind(group, name)
        if kind.startswith("TIMESTAMP WITH TIME ZONE"):
            local = f"timezone('{self.timezone}', {raw})"
        elif kind.startswith(DATE_TYPES):
            local = f"cast({raw} as timestamp)"
        else:
            text = f"trim(cast({raw} as varchar))"
            return (
                # plain days are by far the most frequent and need no regular expression
                f"case when length({text}) = 10 and {text} >= '{FIRST_YEAR}' and substr({text}, 5, 1) = '-' "
                f"and substr({text}, 8, 1) = '-' then try_cast({text} as timestamp) "
                f"when regexp_full_match({text}, '{DAY}({CLOCK})?') then try_cast({text} as timestamp) "
                f"when regexp_full_match({text}, '{DAY}{CLOCK}{OFFSET}') "
                f"then timezone('{self.timezone}', try_cast({text} as timestamptz)) end"
            )
        return f"case when year({raw}) between {FIRST_YEAR} and 9999 then {local} end"

    def _pushed_down(self, table: RawTable, group: FileGroup, window: Window) -> str:
        name = table.date_column
        kind = _kind(group, name)
        if not kind.startswith(DATE_TYPES) or name not in group.columns:
            return "true"
        if not kind.startswith("TIMESTAMP WITH TIME ZONE"):
            return window.predicate(_raw(group, name))
        zone = ZoneInfo(self.timezone)

        def instant(day: date | None) -> str | None:
            return None if day is None else datetime.combine(day, time(), zone).astimezone(UTC).isoformat()

        bounds = [(">=", instant(window.start)), ("<", instant(window.end))]
        return " and ".join(f"{_raw(group, name)} {op} '{at}'::timestamptz" for op, at in bounds if at) or "true"

    # -- reading ---------------------------------------------------------------------------------------

    def _stream(self, query: str, schema: pa.Schema) -> pa.RecordBatchReader:
        """The query's result in batches of the schema; the connection lives as long as the reader."""

        def batches() -> Iterator[pa.RecordBatch]:
            with duckdb.connect() as connection:
                names = ", ".join(f'"{name}"' for name in schema.names)
                relation = connection.sql(f"select {names} from ({query})")
                reader = self._read(lambda: relation.to_arrow_reader(BATCH_ROWS))
                while (batch := self._read(lambda: next(reader, None))) is not None:
                    yield batch.cast(schema)

        return pa.RecordBatchReader.from_batches(schema, batches())

    def _read(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            raise SourceError(_plain(str(error), self.folder)) from None


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
        hive = tuple(p.split("=", 1)[0].lower() for p in file.relative_to(root).parts[:-1] if "=" in p)
        key = (form, tuple(header), hive, delimiter)
        groups[key].append(file)
        shapes[key] = (form, _normalised(header, file), hive, delimiter)
    for key, members in groups.items():
        form, columns, hive, delimiter = shapes[key]
        yield FileGroup(form, tuple(members), columns, hive, delimiter)


def _headers(files: list[Path]) -> Iterator[tuple[Format, list[tuple[str, str]], str]]:
    for file in files:
        form = _format(file) or "csv"
        if form == "csv":
            names, delimiter = _csv_header(file)
            yield form, [(name, "VARCHAR") for name in names], delimiter
        else:
            yield form, _described(file, form), ","


def _csv_header(file: Path) -> tuple[list[str], str]:
    try:
        with _open_text(file) as lines:
            line = next(lines, "")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise SourceError(f"{file}: cannot be read ({error}). Save it as UTF-8 text.") from None
    if not line.strip():
        raise SourceError(f"{file}: the file is empty; its first line should name the columns.")
    delimiter = max(",;\t|", key=lambda d: len(next(csv.reader([line], delimiter=d))))
    return next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter)), delimiter


def _described(file: Path, form: Format) -> list[tuple[str, str]]:
    reader = (
        f"read_parquet({_quoted(file)}, binary_as_string=true, hive_partitioning=false)"
        if form == "parquet"
        else f"read_json({_quoted(file)}, format='newline_delimited', sample_size=-1, maximum_depth=1, "
        "hive_partitioning=false)"
    )
    with duckdb.connect() as connection:
        try:
            rows = connection.sql(f"describe select * from {reader}").fetchall()
        except duckdb.Error as error:
            raise SourceError(_plain(str(error), file)) from None
    if form == "json":
        if [row[0] for row in rows] == ["json"]:
            return []
        return [(row[0], "VARCHAR") for row in rows]
    return [(row[0], row[1]) for row in rows]


def _normalised(header: list[tuple[str, str]], file: Path) -> dict[str, tuple[str, str]]:
    columns: dict[str, tuple[str, str]] = {}
    for position, (name, kind) in enumerate(header, start=1):
        plain = re.sub(r"\W+", "_", name.strip().lower(), flags=re.ASCII).strip() or f"column_{position}"
        if plain in columns:
            raise SourceError(f"{file}: columns {columns[plain][0]!r} and {name!r} are both {plain}; rename one.")
        columns[plain] = (name, kind)
    return columns


def _open_text(file: Path) -> TextIO:
    stream = gzip.open(file, "rb") if file.name.lower().endswith(".gz") else file.open("rb")
    return io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")  # type: ignore[arg-type]


def _line_of(file: Path, group: FileGroup, name: str, value: str) -> str:
    """Where in a text file a value stands, as ``, line 3``; nothing for Parquet, which has no lines."""
    if group.format == "parquet":
        return ""
    with _open_text(file) as lines:
        if group.format == "json":
            hits = (n for n, line in enumerate(lines, start=1) if value in line)
            return f", line {next(hits, '?')}"
        reader = csv.reader(lines, delimiter=group.delimiter)
        position = list(group.columns).index(name)
        for row in reader:
            if len(row) > position and row[position] == value:
                return f", line {reader.line_num}"
    return ""


# -- SQL fragments ---------------------------------------------------------------------------------------


def _quoted(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _scan(group: FileGroup, numbered: bool = False) -> str:
    """The group's rows with ``filename`` and, if ``numbered``, ``_row_number``: source order within a file."""
    files = "[" + ", ".join(_quoted(f) for f in group.files) + "]"
    if group.format == "parquet":
        number = ", file_row_number + 1 as _row_number" if numbered else ""
        return (
            f"(select *{number} from read_parquet({files}, filename=true, file_row_number={str(numbered).lower()}, "
            "binary_as_string=true, hive_partitioning=false, union_by_name=false))"
        )
    names = ", ".join(f"{_quoted(header)}: 'VARCHAR'" for header, _ in group.columns.values())
    if group.format == "csv":
        # by position: a header that needs quoting (or is empty) is no trouble then
        names = ", ".join(f"{_quoted(name)}: 'VARCHAR'" for name in group.columns)
        reader = (
            f"read_csv({files}, auto_detect=false, header=true, delim={_quoted(group.delimiter)}, quote='\"', "
            f"escape='\"', columns={{{names}}}, filename=true, hive_partitioning=false)"
        )
    else:
        columns = f", columns={{{names}}}" if names else ""
        reader = f"read_json({files}, format='newline_delimited'{columns}, filename=true, hive_partitioning=false)"
    number = ", row_number() over () as _row_number" if numbered else ""
    return f"(select *{number} from {reader})"


def _raw(group: FileGroup, name: str) -> str:
    if name in group.columns:
        header = name if group.format == "csv" else group.columns[name][0]
        return '"' + header.replace('"', '""') + '"'
    part = f"url_decode(regexp_extract(filename, '[/\\\\]{name}=([^/\\\\]*)[/\\\\]', 1, 'i'))"
    return f"nullif({part}, '{unquote('__HIVE_DEFAULT_PARTITION__')}')"


def _kind(group: FileGroup, name: str) -> str:
    return group.columns[name][1] if name in group.columns else "VARCHAR"


def _text(group: FileGroup, name: str) -> str:
    return f"cast({_raw(group, name)} as varchar)" if name in group.names else "cast(null as varchar)"


def _blank(text: str) -> str:
    words = ", ".join(_quoted(word) for word in ("", *NULL_WORDS))
    return f"coalesce(lower(trim({text})) in ({words}), true)"


def _not_a_number(group: FileGroup, name: str) -> str:
    if _kind(group, name).startswith(NUMBER_TYPES):
        return "false"
    text = _text(group, name)
    return f"(try_cast({text} as double) is null and not {_blank(text)})"


def _nothing(table: RawTable, window: Window) -> Extract:
    return Extract(table, window, _empty(table.schema()), _empty(REJECTED_ROWS.schema()))


def _empty(schema: pa.Schema) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(schema, [])


def _plain(message: str, place: Path) -> str:
    """DuckDB's reading error as one line that names the file, the line and what to do."""
    file = re.search(r"file = (\S.*)", message) or re.search(r'file "([^"]+)"', message)
    line = re.search(r"(?:CSV Error on Line:|in line) (\d+)", message)
    where = f"{file.group(1).strip() if file else place}" + (f", line {line.group(1)}" if line else "")
    counts = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", message)
    if counts:
        original = re.search(r"Original Line: (.*)", message)
        shown = f": {original.group(1).strip()!r}" if original else ""
        return (
            f"{where}: expected {counts.group(1)} columns, found {counts.group(2)}{shown}. "
            "Quote values that hold a comma, or mend the line."
        )
    if "unterminated quote" in message:
        return f"{where}: a quoted value is never closed. Close the quote, or double a quote inside a value."
    if "not utf-8" in message or "Invalid unicode" in message or "invalid UTF-8" in message:
        return f"{where}: not valid UTF-8 text. Save the file as UTF-8."
    first = message.strip().splitlines()[0]
    return f"{where}: cannot be read: {first} Mend or replace the file."
