"""Files of a stage, loaded into tables of the project's own from which the source `warehouse` reads them.

Each raw table that lies in files has two tables in the schema `STAGED_SCHEMA`: one with a row for each row of the
files, and one, ``<table>__FILES``, with the mark that each loaded file had in `LIST`. A file with another mark is
loaded, and rows of a file that is gone are deleted. No row leaves Snowflake.

**One transaction.** Rows of files that changed or are gone are deleted, COPY inserts the new ones, and the marks
follow. Statements that define tables commit by themselves in Snowflake; all of them come before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import TypeVar

from snowflake.connector import DictCursor, SnowflakeConnection
from snowflake.connector.errors import ProgrammingError

from user_engagement.errors import SourceError
from user_engagement.hashing import digest
from user_engagement.settings import PREFIX
from user_engagement.sources.data_files import TABLE_FORMATS, UNFINISHED
from user_engagement.sources.files.layout import ACCEPTED, format_of
from user_engagement.sources.normalise import column_name, identifier, quoted
from user_engagement.sources.warehouse.tables import STAGED_SCHEMA
from user_engagement.warehouse.snowflake.account import SnowflakeAccount
from user_engagement.warehouse.snowflake.connection import (
    LOCKED,
    NO_RIGHTS,
    TransientError,
    does_not_exist,
    essence,
    rows_of,
    value_of,
)
from user_engagement.warehouse.snowflake.loading import (
    NotWholeError,
    ensure_lock,
    in_a_session,
    lock,
    transaction,
)

# INFER_SCHEMA and COPY take as many names of files
FILES_AT_ONCE = 1000
FILE_FORMATS = {
    # columns are matched by name: the table also has columns that a file lacks
    "csv": "type = csv parse_header = true field_optionally_enclosed_by = '\"' escape_unenclosed_field = none "
    "null_if = () skip_blank_lines = true error_on_column_count_mismatch = false",
    "json": "type = json",
    "parquet": "type = parquet use_logical_type = true",
}
SAME_TEXT = ("NUMBER(38,0)", "BOOLEAN", "DATE")
"""Types whose values read the same in a column of text."""
SOURCE, ROW_NUMBER = "_SOURCE", "_ROW_NUMBER"

Item = TypeVar("Item")
Check = Callable[[str, list[str]], object]
"""Refuses a file, by its name and its columns, that lacks what the contract wants."""


@dataclass(frozen=True)
class Stage:
    """A path in a named stage; ``name`` is what the mapping says, the others are its parts."""

    name: str
    database: str
    schema: str
    stage: str
    path: str

    @property
    def full_name(self) -> str:
        return ".".join(map(identifier, (self.database, self.schema, self.stage)))

    def remedy(self, role: str) -> str:
        database, schema = identifier(self.database), identifier(self.schema)
        return (
            f"Correct {PREFIX}SOURCE_TABLES, or: grant usage on database {database} to role {role}; "
            f"grant usage on schema {database}.{schema} to role {role}; "
            f"grant usage on stage {self.full_name} to role {role}; (read instead of usage if it is an internal one; "
            "if it has a storage integration, usage on that, too)"
        )


@dataclass(frozen=True)
class StagedFile:
    """A file as `LIST` shows it: its name as `METADATA$FILENAME` has it, and its place below the stage's URL."""

    name: str
    place: str
    form: str
    mark: str


def list_files(connection: SnowflakeConnection, stage: Stage, role: str) -> dict[str, StagedFile]:
    """The files below the stage's path, by their names; hidden and unfinished ones are left out.

    Raises:
        SourceError: the stage cannot be listed, or holds what is not read.
    """
    try:
        rows = rows_of(connection, f"list {_literal(f'@{stage.full_name}/{stage.path}')}")
        is_external = any("://" in row[0] for row in rows)
        url = _url(connection, stage) if is_external else ""
    except ProgrammingError as error:
        missing = does_not_exist(error) or error.errno == NO_RIGHTS
        what = "no such stage, or no right to read it" if missing else f"cannot be listed ({essence(error)})"
        raise SourceError(f"{stage.name}: {what}. {stage.remedy(role)}") from None
    files = {}
    for listed, *state in rows:
        place = listed.removeprefix(url) if is_external else listed.partition("/")[2]
        if not _is_hidden(place, stage):
            found = StagedFile(_name(listed), place, _form(place, stage), digest([repr(state)]))
            files[found.name] = found
    return files


def _url(connection: SnowflakeConnection, stage: Stage) -> str:
    with connection.cursor(DictCursor) as cursor:
        cursor.execute(f"desc stage {stage.full_name}")
        properties = {row["property"]: row["property_value"] for row in cursor}
    return json.loads(properties["URL"])[0]


def _name(listed: str) -> str:
    """The name without the stage, or without what stands before the path in a bucket's or container's URL."""
    scheme, is_url, rest = listed.partition("://")
    name = (rest if is_url else listed).partition("/")[2]
    # an account of Azure has containers
    return name.partition("/")[2] if scheme == "azure" else name


def _is_hidden(place: str, stage: Stage) -> bool:
    below = place.removeprefix("/")[len(stage.path.rpartition("/")[0]) :]
    for mark, name in TABLE_FORMATS.items():
        if fnmatch(f"/{below}/", f"*/{mark}/*"):
            raise SourceError(
                f"{stage.name}: this is {name}, whose folder also holds removed rows. "
                "Export its present rows as Parquet."
            )
    parts = PurePosixPath(below).parts
    return any(part.startswith((".", "_")) for part in parts) or below.endswith(("/", *UNFINISHED))


def _form(place: str, stage: Stage) -> str:
    form = format_of(Path(place))
    if form is None:
        raise SourceError(
            f"{stage.name}: file {place} is of a kind that cannot be read ({ACCEPTED}). Move it elsewhere."
        )
    return form


# -- bringing the table up to date ---------------------------------------------------------------------------


class StagedTable:
    """The table of a stage's files.

    Args:
        account: where, and as whom.
        stage: where the files are.
        table: the name of the raw table.
        left_out: columns, by their lower-case names, that are not loaded.
        check: is called for each file that is new.
    """

    def __init__(
        self, account: SnowflakeAccount, stage: Stage, table: str, left_out: Collection[str], check: Check
    ) -> None:
        self.account = account
        self.stage = stage
        self.left_out = frozenset(left_out)
        self.check = check
        self.schema = f"{account.database}.{account.schema_name(STAGED_SCHEMA)}"
        self.name = table.upper()
        self.table = account.table_name(STAGED_SCHEMA, table)
        self.files = f"{self.table}__FILES"

    def refresh(self) -> dict[str, str] | None:
        """Loads what is new and deletes what is gone; the mark of each file, None if there are no files.

        Raises:
            SourceError: the stage or one of its files cannot be read, or a file lacks a column. Nothing has changed.
            WarehouseError: Snowflake refuses something else.
        """
        return in_a_session(self.account, {"asset": "staged_files"}, self.stage.name, self._refreshed)

    def _refreshed(self, connection: SnowflakeConnection) -> dict[str, str] | None:
        files = list_files(connection, self.stage, self.account.role)
        if not files:
            return None
        marks = {name: self._mark(file) for name, file in files.items()}
        held = self._held(connection)
        if held != marks:
            new = [files[name] for name in marks if held.get(name) != marks[name]]
            form = self._only_form(files.values())
            types = self._types(connection, form, new)
            self._ensure_tables(connection, types)
            self._replace(connection, form, files, marks, new)
        return marks

    def _mark(self, file: StagedFile) -> str:
        """Another stage, or other columns to load, make it another file."""
        return digest([repr((file.mark, self.stage.full_name, sorted(self.left_out)))])

    def _held(self, connection: SnowflakeConnection) -> dict[str, str]:
        try:
            return dict(rows_of(connection, f"select name, mark from {self.files}"))
        except ProgrammingError as error:
            if does_not_exist(error):
                return {}
            raise

    def _only_form(self, files: Iterable[StagedFile]) -> str:
        by_form = {file.form: file.name for file in files}
        if len(by_form) > 1:
            names = " and ".join(sorted(by_form.values()))
            raise SourceError(
                f"{self.stage.name}: {names} are of different kinds. Keep files of one kind below a path."
            )
        return next(iter(by_form))

    def _file_format(self, form: str) -> str:
        return f"{self.schema}.{form}_files".upper()

    # -- columns -------------------------------------------------------------------------------------------

    def _types(
        self, connection: SnowflakeConnection, form: str, files: Sequence[StagedFile]
    ) -> dict[str, str]:
        """The columns to load and their types in the table, after the check of each file."""
        rows_of(connection, f"create schema if not exists {self.schema}")
        # INFER_SCHEMA takes a format by its name alone
        rows_of(connection, f"create or replace file format {self._file_format(form)} {FILE_FORMATS[form]}")
        types: dict[str, str] = {}
        for some in _batches(files):
            found = self._inferred(connection, form, some)
            for file in some:
                self.check(file.name, [name for name, _, held_by in found if _is_named(file.name, held_by)])
            for place, (name, kind, held_by) in enumerate(found, start=1):
                if column_name(name, place) not in self.left_out:
                    kind = _stored_type(kind) if form == "parquet" else "VARCHAR"
                    before = types.get(name, kind)
                    types[name] = self._common(
                        before, kind, name, f"in file {held_by.split(', ')[0]}", "others"
                    )
        return types

    def _inferred(
        self, connection: SnowflakeConnection, form: str, files: Sequence[StagedFile]
    ) -> list[tuple[str, str, str]]:
        """Name and type of each column, and the names of the files that have it."""
        # the header says all about text; records of JSON may each have other keys
        most = ", max_records_per_file => 1" if form == "csv" else ""
        with self._reading(files):
            return rows_of(
                connection,
                "select column_name, type, filenames from table(infer_schema("
                f"location => {_literal(f'@{self.stage.full_name}')}, file_format => '{self._file_format(form)}', "
                f"files => ({_places(files)}), ignore_case => true{most})) order by order_id",
            )

    def _common(self, before: str, now: str, column: str, where: str, others: str) -> str:
        """A type that holds the values of both.

        Raises:
            SourceError: there is none.
        """
        wider = _wider(before, now)
        if wider is None:
            raise SourceError(
                f"{self.stage.name}: column {column} is {now} {where}, but {before} in {others}. "
                "Write it with one type in all files."
            )
        return wider

    def _ensure_tables(self, connection: SnowflakeConnection, types: Mapping[str, str]) -> None:
        """Creates the tables, or adds columns that the files have gained; refuses a type that has become wider."""
        held = self._held_types(connection)
        for name, kind in types.items():
            if name in held and _wider(held[name], kind) != held[name]:
                raise SourceError(
                    f"{self.stage.name}: column {name} is {kind} in new files, but {held[name]} in loaded ones. "
                    f"Write it as before; or drop tables {self.table} and {self.files} to load all files again."
                )
        columns = ", ".join(f"{identifier(name)} {kind}" for name, kind in types.items())
        marked = f"{SOURCE} varchar, {ROW_NUMBER} number(38,0)"
        # transient: what they hold can be loaded again from the files
        if not held:
            rows_of(connection, f"create transient table if not exists {self.table} ({columns}, {marked})")
        for name in types.keys() - held.keys() if held else ():
            rows_of(
                connection,
                f"alter table {self.table} add column if not exists {identifier(name)} {types[name]}",
            )
        rows_of(connection, f"create transient table if not exists {self.files} (name varchar, mark varchar)")
        ensure_lock(connection, self.table)

    def _held_types(self, connection: SnowflakeConnection) -> dict[str, str]:
        found = rows_of(
            connection,
            "select column_name, data_type, numeric_scale "
            f"from {self.account.database}.information_schema.columns "
            f"where table_schema = '{self.account.schema_name(STAGED_SCHEMA)}' and table_name = '{self.name}'",
        )
        return {name: _stored_type(f"{kind}(38,{scale or 0})") for name, kind, scale in found}

    # -- rows ----------------------------------------------------------------------------------------------

    def _replace(
        self,
        connection: SnowflakeConnection,
        form: str,
        files: Mapping[str, StagedFile],
        marks: Mapping[str, str],
        checked: Sequence[StagedFile],
    ) -> None:
        with transaction(connection):
            lock(connection, self.table)
            # as it is now that no other process can change it
            held = self._held(connection)
            new = [files[name] for name in marks if held.get(name) != marks[name]]
            if not set(new) <= set(checked):
                raise TransientError(f"{self.stage.name}: another process loads its files in another way.")
            gone = [name for name in held if held[name] != marks.get(name)]
            for names in _batches(gone):
                rows_of(connection, f"delete from {self.table} where {SOURCE} in ({_listed(names)})")
                rows_of(connection, f"delete from {self.files} where name in ({_listed(names)})")
            for some in _batches(new):
                self._copy(connection, form, some)
                values = ", ".join(f"({_literal(file.name)}, '{marks[file.name]}')" for file in some)
                rows_of(connection, f"insert into {self.files} (name, mark) values {values}")

    def _copy(self, connection: SnowflakeConnection, form: str, files: Sequence[StagedFile]) -> None:
        """Loads files whose rows are not in the table.

        Raises:
            NotWholeError: the table then holds another number of them.
        """
        with self._reading(files), connection.cursor(DictCursor) as cursor:
            # FORCE: Snowflake remembers for 64 days what it loaded, not that the rows were deleted since
            cursor.execute(
                f"copy into {self.table} from {_literal(f'@{self.stage.full_name}')} files = ({_places(files)}) "
                f"file_format = (format_name = '{self._file_format(form)}') "
                "match_by_column_name = case_insensitive "
                f"include_metadata = ({SOURCE} = metadata$filename, {ROW_NUMBER} = metadata$file_row_number) "
                "on_error = abort_statement force = true"
            )
            # without files that count there is a row with a sentence alone
            loaded = [int(row.get("rows_loaded") or 0) for row in cursor if isinstance(row, dict)]
        names = _listed(file.name for file in files)
        rows = value_of(connection, f"select count(*) from {self.table} where {SOURCE} in ({names})")
        if len(loaded) != len(files) or rows != sum(loaded):
            raise NotWholeError(
                f"{self.stage.name}: {rows} rows of {len(files)} files after {loaded} were loaded"
            )

    @contextmanager
    def _reading(self, files: Sequence[StagedFile]) -> Iterator[None]:
        """Says of an error which file and column it is about."""
        try:
            yield
        except ProgrammingError as error:
            if error.errno == LOCKED:
                raise
            raise SourceError(self._sentence(essence(error), files)) from None

    def _sentence(self, said: str, files: Sequence[StagedFile]) -> str:
        file = re.search(r"File '([^']+)', line", said) or re.search(r"[Ff]ile:? '([^']+)'", said)
        column = re.search(r'column "[^"]*"\["?([^":\]]+)', said)
        name = file[1] if file else files[0].name if len(files) == 1 else f"one of {len(files)}"
        where = f"file {name}" + (f", column {column[1]}" if column else "")
        reason = re.split(r" File '| If you would like to continue", said)[0]
        return (
            f"{self.stage.name}: {where} cannot be read. Correct the file or take it away; nothing was loaded. "
            f"({reason})"
        )


def _stored_type(kind: str) -> str:
    """Of a type as INFER_SCHEMA or the information schema names it, that of the table's column."""
    base, scale = kind.split("(")[0].strip().upper(), _scale(kind)
    if base == "NUMBER":
        return f"NUMBER(38,{scale})"
    if base in ("REAL", "DOUBLE", "FLOAT"):
        return "FLOAT"
    if base in ("BOOLEAN", "DATE") or base.startswith("TIMESTAMP_"):
        return base
    return "VARIANT" if base in ("VARIANT", "OBJECT", "ARRAY", "MAP") else "VARCHAR"


def _wider(before: str, now: str) -> str | None:
    """A type that holds the values of both as they are, None if there is none."""
    both = {before, now}
    if len(both) == 1:
        return now
    if all(kind.startswith(("NUMBER", "FLOAT")) for kind in both):
        return "FLOAT" if "FLOAT" in both else max(both, key=_scale)
    return "VARCHAR" if "VARCHAR" in both and both & set(SAME_TEXT) else None


def _scale(kind: str) -> int:
    found = re.search(r", ?(\d+)\)", kind)
    return int(found[1]) if found else 0


def _batches(found: Sequence[Item]) -> Iterator[Sequence[Item]]:
    return (found[n : n + FILES_AT_ONCE] for n in range(0, len(found), FILES_AT_ONCE))


def _is_named(file: str, names: str) -> bool:
    return f", {file}, " in f", {names}, "


def _places(files: Iterable[StagedFile]) -> str:
    return _listed(file.place for file in files)


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(map(_literal, texts))


def _literal(value: str) -> str:
    """A text in SQL; Snowflake takes a backslash for the beginning of an escape."""
    return quoted(value.replace("\\", "\\\\"))
