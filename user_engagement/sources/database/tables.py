"""The tables of a database checked against the contract, and how each of their columns is fetched."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import Connection

from user_engagement.contracts.raw import IDS, RawTable, SqlType
from user_engagement.errors import SourceError
from user_engagement.settings import TableMapping
from user_engagement.sources import normalise
from user_engagement.sources.database.connection import is_held_to_its_type, is_loose
from user_engagement.sources.mapping import choose_columns, find_column

Declared = sa.types.TypeEngine[Any]


@dataclass(frozen=True)
class SourceColumn:
    """A column as the database declares it, and as which DuckDB type it is fetched."""

    name: str
    declared: Declared
    kind: str
    cast: bool = False

    @property
    def raw(self) -> sa.ColumnElement[Any]:
        return sa.column(self.name)

    @property
    def fetched(self) -> sa.ColumnElement[Any]:
        return sa.cast(self.raw, sa.Text) if self.cast else self.raw

    @property
    def as_text(self) -> SourceColumn:
        return replace(self, kind="VARCHAR", cast=True)

    @property
    def is_number(self) -> bool:
        return _is_number(self.declared)


@dataclass(frozen=True)
class TableShape:
    """A table of the database that meets the contract.

    ``columns`` are those to extract, by their names in the raw table; ``key`` is the integer primary key, and
    ``order`` what orders the rows of a day where there is none.
    """

    label: str
    relation: sa.TableClause
    columns: Mapping[str, SourceColumn]
    extra_columns: tuple[str, ...]
    key: SourceColumn | None
    order: tuple[sa.ColumnElement[Any], ...]
    updated_at: SourceColumn | None


def find_table(connection: Connection, name: str) -> tuple[str | None, str] | None:
    """Schema and name of a table or view: a dot may be part of the name, or follow the schema."""
    inspector = sa.inspect(connection)
    schema, _, plain = name.rpartition(".")
    places = [(None, name), *([(schema, plain)] if schema else [])]
    return next((place for place in places if inspector.has_table(place[1], place[0])), None)


def table_names(connection: Connection) -> list[str]:
    inspector = sa.inspect(connection)
    return sorted([*inspector.get_table_names(), *inspector.get_view_names()])


def table_shape(
    connection: Connection,
    table: RawTable,
    mapping: TableMapping,
    place: tuple[str | None, str],
    excluded: frozenset[str],
) -> TableShape:
    """The table at ``place`` as what the contract asks of it.

    Raises:
        SourceError: a column is missing, ambiguous, or of a type that cannot be what the contract says.
    """
    schema, name = place
    with warnings.catch_warnings():
        # a type that SQLAlchemy does not know is read as text
        warnings.simplefilter("ignore", exc.SAWarning)
        inspector = sa.inspect(connection)
        found = {c["name"]: _plain_type(c["type"]) for c in inspector.get_columns(name, schema)}
        primary = inspector.get_pk_constraint(name, schema).get("constrained_columns") or []
    chosen = choose_columns(table, mapping, list(found), excluded)
    columns = {to: _column(connection, of, found[of], table.type_of(to)) for to, of in sorted(chosen.items())}
    _check_types(connection, mapping.table, table, columns)
    # what may not be extracted is not relied on for the order either: the right to read it may be missing
    hidden = {c for c in found if normalise.column_name(c, 0) in excluded} - set(chosen.values())
    ordering = [] if hidden.intersection(primary) else primary
    return TableShape(
        label=mapping.table,
        relation=sa.table(name, schema=schema),
        columns=columns,
        extra_columns=tuple(sorted(set(columns) - {c.name for c in table.declared})),
        key=_integer_key(connection, ordering, found),
        order=tuple([sa.column(c) for c in ordering] or [c.fetched for c in columns.values()]),
        updated_at=_updated_at(connection, mapping, found),
    )


def _updated_at(
    connection: Connection, mapping: TableMapping, found: Mapping[str, Declared]
) -> SourceColumn | None:
    if mapping.updated_at is None:
        return None
    name = find_column(mapping.table, mapping.updated_at, list(found))
    return _column(connection, name, found[name], "VARCHAR")


def _integer_key(
    connection: Connection, primary: list[str], found: Mapping[str, Declared]
) -> SourceColumn | None:
    if len(primary) != 1 or not isinstance(declared := found[primary[0]], sa.Integer):
        return None
    if is_loose(connection) and not is_held_to_its_type(declared):
        return None
    return SourceColumn(primary[0], declared, "BIGINT")


# -- types -----------------------------------------------------------------------------------------------


def _column(connection: Connection, name: str, declared: Declared, wanted: SqlType) -> SourceColumn:
    """How a column is fetched: typed where that is exact and cheap, as text otherwise.

    Dates are typed only as the contract's date, which queries bound: drivers cannot hold an infinite one.
    """
    column = SourceColumn(name, declared, "VARCHAR")
    loose = is_loose(connection)
    if isinstance(declared, sa.Integer):
        return replace(column, kind="BIGINT")
    if isinstance(declared, sa.Float) or (wanted == "DOUBLE" and loose and not _is_text(declared)):
        return replace(column, kind="DOUBLE")
    if loose:
        return column.as_text
    if wanted == "TIMESTAMP" and isinstance(declared, sa.Date):
        return replace(column, kind="DATE")
    if wanted == "TIMESTAMP" and isinstance(declared, sa.DateTime):
        return replace(column, kind=normalise.ZONED if declared.timezone else "TIMESTAMP")
    padded = isinstance(declared, sa.CHAR)
    return column if _is_text(declared) and not padded else column.as_text


def _check_types(
    connection: Connection, label: str, table: RawTable, columns: Mapping[str, SourceColumn]
) -> None:
    loose = is_loose(connection)
    for name in IDS:
        if name in columns and isinstance(columns[name].declared, sa.JSON | sa.ARRAY):
            kind = _type_name(connection, columns[name].declared)
            raise SourceError(
                f"{label}: column {columns[name].name} is {kind}, expected text or a number for {name}; "
                "map another column, or a view that converts it."
            )
    for column in (c for c in table.declared if c.type != "VARCHAR" and c.name in columns):
        found = columns[column.name]
        declared = found.declared
        if column.type == "TIMESTAMP":
            # SQLite files a type that it does not know, such as TIMESTAMPTZ, under NUMERIC
            fits = isinstance(declared, sa.Date | sa.DateTime) or (loose and type(declared) is sa.NUMERIC)
            expected = "a date, a timestamp or ISO text"
        else:
            fits, expected = found.is_number, "a number"
        undeclared = loose and isinstance(declared, sa.types.NullType)
        if not (fits or undeclared or _is_text(declared)):
            raise SourceError(
                f"{label}: column {found.name} is {_type_name(connection, declared)}, expected {expected} "
                f"for {column.name}; map another column, or a view that converts it."
            )


def _plain_type(declared: Declared) -> Declared:
    """The type under a domain."""
    under = getattr(declared, "data_type", None)
    return under if isinstance(under, sa.types.TypeEngine) else declared


def _is_number(declared: Declared) -> bool:
    return isinstance(declared, sa.Integer | sa.Float | sa.Numeric)


def _is_text(declared: Declared) -> bool:
    return isinstance(declared, sa.String) and not isinstance(declared, sa.Enum)


def _type_name(connection: Connection, declared: Declared) -> str:
    try:
        return declared.compile(connection.dialect)
    except exc.CompileError:
        return "of an unknown type"
