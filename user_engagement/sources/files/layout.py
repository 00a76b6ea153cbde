"""Which files hold a raw table, and in which groups one scan can read them."""

from __future__ import annotations

import csv
import io
import re
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from user_engagement.contracts.raw import RawTable
from user_engagement.errors import SourceError, UnreadableFileError
from user_engagement.sources import normalise
from user_engagement.sources.data_files import data_files, pattern
from user_engagement.sources.files.explain import explained
from user_engagement.sources.files.opening import open_text, refuse_oversized
from user_engagement.sources.files.scan import FileGroup, Format, connect

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
SHAPE = (
    "name, type, type_length, repetition_type, num_children, converted_type, scale, precision, logical_type, "
    "duckdb_type"
)
"""What `parquet_schema` says of a field that decides the type as which DuckDB reads it."""


def files_of(table: RawTable, folder: Path) -> list[Path]:
    """The files of a raw table in the order of their names; none where it may be absent.

    Raises:
        SourceError: the folder or the table is missing, or could be read in two ways.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder. Point --path at the folder of the files.")
    entries = sorted(p for p in folder.iterdir() if not p.name.startswith((".", "_")))
    matches = [p for p in entries if stem(p).lower() == table.name and (p.is_dir() or format_of(p))]
    if len(matches) > 1:
        names = " and ".join(p.name for p in matches)
        raise SourceError(f"{folder}: both {names} could be {table.name}; keep one of them.")
    if not matches:
        if table.may_be_absent:
            return []
        found = ", ".join(p.name for p in entries) or "nothing"
        raise SourceError(
            f"{folder}: no {table.name} here. Expected a file {table.name}.csv (or {ACCEPTED}) "
            f"or a folder {table.name}/ of such files; found {found}."
        )
    files = list(data_files(matches[0])) if matches[0].is_dir() else matches
    for path in files:
        if format_of(path) is None:
            raise SourceError(f"{path}: not a kind of file that can be read ({ACCEPTED}). Move it elsewhere.")
    if not files and not table.may_be_absent:
        raise SourceError(f"{matches[0]}: this folder of {table.name} holds no file ({ACCEPTED}).")
    return files


def _ending(path: Path) -> str | None:
    return next((e for e in sorted(ENDINGS, key=len, reverse=True) if path.name.lower().endswith(e)), None)


def format_of(path: Path) -> Format | None:
    ending = _ending(path)
    return ENDINGS[ending] if ending else None


def stem(path: Path) -> str:
    ending = None if path.is_dir() else _ending(path)
    return path.name[: -len(ending)] if ending else path.name


def grouped(files: list[Path], root: Path) -> Iterator[FileGroup]:
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
        hive_keys = {normalise.column_name(k, 0): k for k in hive}
        yield FileGroup(form, tuple(members), columns, hive_keys, delimiter, root=root)


def _headers(files: list[Path]) -> Iterator[tuple[Format, list[tuple[str, str]], str]]:
    with connect() as connection:
        shapes = _parquet_shapes(connection, [file for file in files if format_of(file) == "parquet"])
        described: dict[str, list[tuple[str, str]]] = {}
        for file in files:
            form = format_of(file) or "csv"
            if form != "parquet":
                refuse_oversized(file)
            if form == "csv":
                names, delimiter = _csv_header(file)
                yield form, [(name, "VARCHAR") for name in names], delimiter
                continue
            shape = shapes.get(str(file), str(file))
            if shape not in described:
                described[shape] = _described(connection, file, form)
            columns = described[shape]
            yield form, _with_durations(file, columns) if form == "parquet" else columns, ","


def _parquet_shapes(connection: duckdb.DuckDBPyConnection, files: list[Path]) -> dict[str, str]:
    """A mark of each file's schema, by the file's name, which equal schemas share; of none if one cannot be read.

    One query reads all footers, in a tenth of the time that a description of each file takes.
    """
    paths = ", ".join(map(pattern, files))
    query = (
        f"select file_name, md5(string_agg(cast(({SHAPE}) as varchar), ' ' order by column_id)) "
        f"from parquet_schema([{paths}]) group by file_name"
    )
    try:
        return dict(connection.sql(query).fetchall()) if files else {}
    except duckdb.Error:
        return {}


def _csv_header(file: Path) -> tuple[list[str], str]:
    try:
        with open_text(file) as lines:
            header = next(lines, "")
            while header.count('"') % 2 and (line := next(lines, "")):
                header += line
        if "\0" in header:
            raise UnreadableFileError(f"{file}: this is no text. Save it as UTF-8 text.")
        if not header.strip():
            raise UnreadableFileError(f"{file}: the first line is empty; it should name the columns.")
        readings = {d: next(csv.reader(io.StringIO(header, newline=""), delimiter=d)) for d in ",;\t|"}
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise UnreadableFileError(f"{file}: cannot be read ({error}). Save it as UTF-8 text.") from None
    except csv.Error as error:
        raise UnreadableFileError(f"{file}, line 1: no column names ({error}). Mend the line.") from None
    delimiter = max(readings, key=lambda d: len(readings[d]))
    return readings[delimiter], delimiter


def _parquet_columns(connection: duckdb.DuckDBPyConnection, path: str) -> list[tuple[str, str]]:
    """Names and types of a Parquet file's columns, without those whose bytes are no text: pictures, or hashes."""
    reader = f"read_parquet({path}, hive_partitioning=false)"
    columns = [
        (name, kind) for name, kind, *_ in connection.sql(f"describe select * from {reader}").fetchall()
    ]
    binary = [name for name, kind in columns if kind == "BLOB"]
    no_text: set[str] = set()
    if binary:
        # writers such as Impala do not mark text as such
        texts = ", ".join(f"count({n}) = count(try(decode({n})))" for n in map(normalise.identifier, binary))
        are_texts = connection.sql(f"select {texts} from {reader}").fetchall()[0]
        no_text = {name for name, is_text in zip(binary, are_texts, strict=True) if not is_text}
    return [(name, kind.replace("BLOB", "VARCHAR")) for name, kind in columns if name not in no_text]


def _described(connection: duckdb.DuckDBPyConnection, file: Path, form: Format) -> list[tuple[str, str]]:
    """Names and types of a file's columns; none where the lines of a JSON file are no records."""
    path = pattern(file)
    reader = (
        f"read_json({path}, format='newline_delimited', sample_size=-1, maximum_depth=1, "
        "map_inference_threshold=-1, hive_partitioning=false)"
    )
    try:
        if form == "parquet":
            return _parquet_columns(connection, path)
        names = [column[0] for column in connection.sql(f"describe select * from {reader}").fetchall()]
        if any(re.search(r"_\d+$", name) for name in names):
            # a key that differs from another only in case was given a number, and would read as null
            keys = f"select distinct unnest(json_keys(json)) from read_ndjson_objects({path})"
            names = sorted(key for (key,) in connection.sql(keys).fetchall())
    except duckdb.Error as error:
        raise UnreadableFileError(explained(str(error), file)) from None
    return [] if names == ["json"] else [(name, "VARCHAR") for name in names]


def _with_durations(file: Path, columns: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The columns, lengths of time told from the whole numbers as which Parquet holds them."""
    if all(kind != "BIGINT" for _, kind in columns):
        return columns
    schema = pq.read_schema(file)
    durations = {field.name: field.type for field in schema if pa.types.is_duration(field.type)}
    return [
        (name, f"DURATION({durations[name].unit})" if name in durations else kind) for name, kind in columns
    ]


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
    with open_text(file) as lines:
        return all(line.isspace() for line in lines)
