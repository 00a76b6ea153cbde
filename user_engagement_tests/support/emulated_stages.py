"""Stages of the emulator: buckets are folders, and fakesnow's LIST, INFER_SCHEMA and COPY are replaced for them.

fakesnow knows no LIST of a path or an external stage, no INFER_SCHEMA, no COPY of CSV or JSON by the names of columns,
and no metadata of files. What is done here follows Snowflake's documentation: names of files in an external stage begin
with its URL in LIST, and with the path in the bucket elsewhere; a file that was loaded is skipped without FORCE; an
error names file, line and column.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any

import duckdb
from fakesnow.transforms import stage as fakesnow_stage
from snowflake.connector.errors import ProgrammingError

BUCKETS = "EMULATED_BUCKETS"
"""The variable with the folder of which each folder is a bucket."""
LITERAL = r"'((?:[^'\\]|''|\\.)*)'"
LOCATION = re.compile(r'@((?:"(?:[^"]|"")*"|[^"/])+)(?:/(.*))?', re.DOTALL)
LIST = re.compile(rf"list {LITERAL}", re.IGNORECASE)
DESCRIBE = re.compile(r"desc stage (\S+)", re.IGNORECASE)
RIGHT = re.compile(r"(grant|revoke) usage on stage (\S+) (?:to|from) role \w+", re.IGNORECASE)
INFER = re.compile(
    rf"table\(infer_schema\(location => {LITERAL}, file_format => {LITERAL}, files => \((.*)\), "
    r"ignore_case => true(?:, max_records_per_file => \d+)?\)\)",
    re.IGNORECASE | re.DOTALL,
)
COPY = re.compile(
    rf"copy into (\S+) from {LITERAL} files = \((.*)\) file_format = \(format_name = {LITERAL}\) "
    r"match_by_column_name = case_insensitive include_metadata = \((\w+) = metadata\$filename, "
    r"(\w+) = metadata\$file_row_number\) on_error = abort_statement( force = true)?",
    re.IGNORECASE | re.DOTALL,
)
CONTINUED = (
    "If you would like to continue loading when an error is encountered, use other values such as 'SKIP_FILE' or "
    "'CONTINUE' for the ON_ERROR option. For more information on loading options, please run 'info loading_data' in a "
    "SQL client."
)
TYPES = {
    "VARCHAR": "TEXT",
    "DOUBLE": "REAL",
    "FLOAT": "REAL",
    "BOOLEAN": "BOOLEAN",
    "DATE": "DATE",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMP_LTZ",
}
"""Of a column of Parquet as DuckDB reads it, the type that INFER_SCHEMA names."""

FORBIDDEN: set[str] = set()
"""Stages whose rights were taken back."""
LOADED: set[tuple[str, str, int]] = set()
"""Tables, files and their times of change: what COPY has loaded."""


@dataclass(frozen=True)
class Place:
    """A location: the stage's name, its URL if it is external, the folder that stands for it, and the path below."""

    stage: str
    url: str
    folder: Path
    path: str

    def files(self) -> Iterator[str]:
        """The places of all files below the path, which is the beginning of their names."""
        found = (
            each.relative_to(self.folder).as_posix() for each in self.folder.rglob("*") if each.is_file()
        )
        return (place for place in sorted(found) if place.startswith(self.path))

    def listed(self, place: str) -> str:
        return f"{self.url}{place}" if self.url else f"{self.stage.lower()}/{place}"

    def name(self, place: str) -> str:
        """As METADATA$FILENAME has it: the path in the bucket, or in an internal stage."""
        return f"{self.url.split('/', 3)[3]}{place}" if self.url else place


def replaced(cursor: Any, command: str) -> str:
    """Runs a statement about stages; the query for its result. Other statements stay as they are."""
    statement = command.strip()
    for pattern, act in ACTS.items():
        if found := pattern.search(statement):
            print(f"{statement};", file=sys.stderr)
            return f"/* result */ {statement[: found.start()]}{act(cursor, found)}{statement[found.end() :]}"
    return command


def _list(cursor: Any, found: re.Match[str]) -> str:
    place = _located(cursor, _text(found[1]))
    rows = []
    for name in place.files():
        content, status = (place.folder / name).read_bytes(), (place.folder / name).stat()
        changed = formatdate(status.st_mtime, usegmt=True)
        rows.append((place.listed(name), status.st_size, hashlib.md5(content).hexdigest(), changed))
    return _query({"name": "varchar", "size": "number", "md5": "varchar", "last_modified": "varchar"}, rows)


def _describe(cursor: Any, found: re.Match[str]) -> str:
    place = _located(cursor, f"@{found[1]}")
    columns = ("parent_property", "property", "property_type", "property_value", "property_default")
    row = ("STAGE_LOCATION", "URL", "String", json.dumps([place.url]), "")
    return _query(dict.fromkeys(columns, "varchar"), [row])


def _take_note(_: Any, found: re.Match[str]) -> str:
    name = found[2].replace('"', "").upper()
    (FORBIDDEN.discard if found[1].lower() == "grant" else FORBIDDEN.add)(name)
    return "select 'Statement executed successfully.' as status"


def _infer(cursor: Any, found: re.Match[str]) -> str:
    """A row for each column and type; conflicts of types are left to who asks."""
    place, form = _located(cursor, _text(found[1])), _form(cursor, _text(found[2]))
    holding: dict[tuple[str, str], list[str]] = {}
    for each in _texts(found[3]):
        try:
            columns = COLUMNS[form](file := _existing(place, each))
        except (duckdb.Error, ValueError) as error:
            said = str(error).splitlines()[0].replace(str(file), place.name(each))
            raise _error(said, place.name(each), 1) from None
        for name, kind in columns.items():
            holding.setdefault((name.upper(), kind), []).append(place.name(each))
    rows = [
        (name, kind, True, f"$1:{name}", ", ".join(files), order)
        for order, ((name, kind), files) in enumerate(holding.items())
    ]
    columns = {"column_name": "varchar", "type": "varchar", "nullable": "boolean", "expression": "varchar"}
    return f"({_query({**columns, 'filenames': 'varchar', 'order_id': 'number'}, rows, quote='')})"


def _copy(cursor: Any, found: re.Match[str]) -> str:
    table, place, form = found[1], _located(cursor, _text(found[2])), _form(cursor, _text(found[4]))
    duck = cursor._duck_conn
    described = duck.execute(f"describe {table}").fetchall()
    kinds = {name: kind for name, kind, *_ in described if name not in (found[5].upper(), found[6].upper())}
    results = []
    for each in _texts(found[3]):
        file = _existing(place, each)
        mark = (table, str(file), file.stat().st_mtime_ns)
        if not found[7] and mark in LOADED:
            results.append((place.listed(each), "LOAD_SKIPPED", 0, 0))
            continue
        LOADED.add(mark)
        name = place.name(each)
        columns = {column.upper(): column for column in COLUMNS[form](file)}
        shared = [column for column in kinds if column in columns]
        for_each = [f'cast("{columns[column]}" as {kinds[column]})' for column in shared]
        listed = ", ".join([f'"{column}"' for column in shared] + [found[5], found[6]])
        if form == "csv":
            _check_text(file, name, table)
        number = "file_row_number + 1" if form == "parquet" else "row_number() over ()"
        try:
            rows = duck.execute(
                f"insert into {table} ({listed}) select {', '.join([*for_each, '?', number])} "
                f"from {READERS[form](file)}",
                [name],
            ).fetchall()[0][0]
        except duckdb.Error as error:
            raise _error(str(error).splitlines()[0], name, 1) from None
        results.append((place.listed(each), "LOADED", rows, rows))
    columns = {"file": "varchar", "status": "varchar", "rows_parsed": "number", "rows_loaded": "number"}
    return _query(columns, results)


ACTS: Mapping[re.Pattern[str], Callable[[Any, re.Match[str]], str]] = {
    LIST: _list,
    DESCRIBE: _describe,
    RIGHT: _take_note,
    INFER: _infer,
    COPY: _copy,
}


# -- stages and formats --------------------------------------------------------------------------------------


def _located(cursor: Any, location: str) -> Place:
    found = LOCATION.fullmatch(location)
    assert found, location
    parts = re.findall(r'"(?:[^"]|"")*"|[^."]+', found[1])
    names = [part[1:-1] if part[0] == '"' else part.upper() for part in parts]
    database, schema, stage = [cursor._conn.database, cursor._conn.schema, *names][-3:]
    full_name = f"{database}.{schema}.{stage}"
    urls = cursor._duck_conn.execute(
        "select url from _fs_global._fs_information_schema._fs_stages "
        "where database_name = ? and schema_name = ? and name = ?",
        [database, schema, stage],
    ).fetchall()
    if not urls or full_name in FORBIDDEN:
        raise ProgrammingError(
            msg=f"SQL compilation error:\nStage '{full_name}' does not exist or not authorized.",
            errno=2003,
            sqlstate="02000",
        )
    url = urls[0][0]
    folder = (
        Path(os.environ[BUCKETS]) / url.partition("://")[2] if url else fakesnow_stage.internal_dir(full_name)
    )
    return Place(stage, url, Path(folder), found[2] or "")


def _form(cursor: Any, name: str) -> str:
    """The type of a named format."""
    found = cursor._duck_conn.execute(
        "select lower(type) from _fs_global._fs_information_schema._fs_file_formats "
        "where database_name || '.' || schema_name || '.' || name = ?",
        [name],
    ).fetchall()
    if not found:
        raise ProgrammingError(msg=f"File format '{name}' does not exist or not authorized.", errno=2003)
    return found[0][0]


def _existing(place: Place, name: str) -> Path:
    if not (place.folder / name).is_file():
        raise ProgrammingError(msg=f"Remote file '{place.listed(name)}' was not found.", errno=100016)
    return place.folder / name


# -- files ---------------------------------------------------------------------------------------------------


def _lines(file: Path) -> list[bytes]:
    return (gzip.open(file) if file.suffix == ".gz" else file.open("rb")).read().splitlines()


def _csv_columns(file: Path) -> dict[str, str]:
    lines = [line.decode() for line in _lines(file)[:1]]
    return dict.fromkeys(next(csv.reader(lines), []), "TEXT")


def _json_columns(file: Path) -> dict[str, str]:
    return dict.fromkeys((key for line in _lines(file) if line.strip() for key in json.loads(line)), "TEXT")


def _parquet_columns(file: Path) -> dict[str, str]:
    with duckdb.connect() as connection:
        found = connection.execute(f"describe select * from {_read_parquet(file)}").fetchall()
    return {name: _inferred(kind) for name, kind, *_ in found if name != "file_row_number"}


def _inferred(kind: str) -> str:
    if kind.startswith("DECIMAL"):
        return kind.replace("DECIMAL", "NUMBER")
    if kind.startswith("TIMESTAMP") and "ZONE" not in kind:
        return "TIMESTAMP_NTZ"
    return TYPES.get(kind, "NUMBER(38, 0)" if "INT" in kind else "VARIANT")


def _read_csv(file: Path) -> str:
    columns = ", ".join(f"{_sql(name)}: 'VARCHAR'" for name in _csv_columns(file))
    return (
        f"read_csv({_sql(str(file))}, columns = {{{columns}}}, header = true, auto_detect = false, delim = ',', "
        "quote = '\"', escape = '\"', nullstr = '', null_padding = true, strict_mode = false, parallel = false)"
    )


def _read_json(file: Path) -> str:
    columns = ", ".join(f"{_sql(name)}: 'VARCHAR'" for name in _json_columns(file))
    return f"read_json({_sql(str(file))}, format = 'newline_delimited', columns = {{{columns}}})"


def _read_parquet(file: Path) -> str:
    return f"read_parquet({_sql(str(file))}, file_row_number = true, binary_as_string = true)"


COLUMNS = {"csv": _csv_columns, "json": _json_columns, "parquet": _parquet_columns}
READERS = {"csv": _read_csv, "json": _read_json, "parquet": _read_parquet}


def _check_text(file: Path, name: str, table: str) -> None:
    columns = list(_csv_columns(file))
    for number, line in enumerate(_lines(file), start=1):
        for place, field in enumerate(line.split(b","), start=1):
            try:
                field.decode()
            except UnicodeDecodeError:
                where = (
                    f'{number - 1}, column "{table.split(".")[-1]}"["{columns[place - 1].upper()}":{place}]'
                )
                raise _error(
                    f"Invalid UTF8 detected in string '0x{field.hex()}'", name, number, where
                ) from None


def _error(said: str, file: str, line: int, row: str = "1") -> ProgrammingError:
    message = f"{said}\n  File '{file}', line {line}, character 1\n  Row {row}\n  {CONTINUED}"
    return ProgrammingError(msg=message, errno=100069, sqlstate="22000")


# -- statements ----------------------------------------------------------------------------------------------


def _text(literal: str) -> str:
    return re.sub(r"''|\\(.)", lambda each: each[1] or "'", literal)


def _texts(listed: str) -> list[str]:
    return [_text(each) for each in re.findall(LITERAL, listed)]


def _sql(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _query(columns: Mapping[str, str], rows: list[tuple[Any, ...]], quote: str = '"') -> str:
    """A query in Snowflake's SQL that yields the rows."""
    selects = [
        ", ".join(
            f"cast({_sql(str(value)) if kind == 'varchar' else value} as {kind}) as {quote}{name}{quote}"
            for (name, kind), value in zip(columns.items(), row, strict=True)
        )
        for row in rows
    ]
    none = ", ".join(f"cast(null as {kind}) as {quote}{name}{quote}" for name, kind in columns.items())
    return (
        " union all ".join(f"select {each}" for each in selects)
        or f"select * from (select {none}) where false"
    )
