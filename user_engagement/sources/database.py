"""Source `database`: the raw tables as tables or views of any database that SQLAlchemy speaks to.

The database only ever sees SELECTs, inside one read-only transaction per call, over which every answer is
consistent where the database offers that. A slice is asked for by bounds on the bare date column, so that an
index on it serves, and is streamed through a server-side cursor in bounded chunks. What the values mean is
decided by `normalise`, in an in-memory DuckDB, as it is for files.

**Source order.** ``_row_number`` is the value of the primary key where that is one integer column. Other
tables have no order of their own, so theirs is: by day, within the day by the date as it is written there,
then by the primary key or, lacking one, by all extracted columns. The number then holds the day above and the
position below; it is unique in its table, and the order that it gives is the same whichever slices the rows
were loaded in.

**Privacy.** Columns that name a person are not even asked for, unless a mapping names them: a database user
without the right to read them is enough.
"""

from __future__ import annotations

import hashlib
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from itertools import chain
from typing import Any

import duckdb
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from user_engagement.contracts.raw import IDS, RAW_TABLES, REJECTED_ROWS, RawTable, SqlType, Window
from user_engagement.errors import SourceError
from user_engagement.sources import normalise
from user_engagement.sources.base import Extract, TableReport
from user_engagement.sources.database_connection import Database, is_held_as_text, is_loose
from user_engagement.sources.database_tables import (
    EXCLUDED_COLUMNS,
    KEY,
    POSITION,
    SourceColumn,
    TableMapping,
    TableShape,
    find_table,
    listed,
    table_names,
    table_shape,
)

__all__ = ["EXCLUDED_COLUMNS", "DatabaseSource", "TableMapping"]

FETCH_ROWS = 10_000
"""Rows in Python's hands at a time: less than a chunk, because its garbage collector slows down with more."""
CHUNK_ROWS = 50_000

ARROW_OF_KIND = {
    "VARCHAR": pa.string(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us"),
    normalise.ZONED: pa.timestamp("us", tz="UTC"),
}
KIND_OF_ARROW = {arrow: kind for kind, arrow in ARROW_OF_KIND.items()}

FIRST_DAY = date(normalise.FIRST_YEAR, 1, 1)
OFFSET_MARGIN = timedelta(days=2)
"""More than an offset written in text (up to 20 hours) and the zone can move a value."""
ZONE_MARGIN = timedelta(hours=1)
"""Finds a day whole where clocks are turned back over midnight, or where DuckDB has other zone rules."""
DAY_NUMBER = 2**40
"""What a day is worth in the row numbers of a table without an integer key: more rows than it can hold."""


class DatabaseSource:
    """Reads the raw tables from a database.

    Args:
        url: SQLAlchemy's URL of the database. Its password shows in no message.
        timezone: the zone whose calendar days count; values with an offset are moved into it, values
            without one are taken to be in it.
        tables: where each raw table lives; one that is not named here is looked for under its own name.
        excluded_columns: columns that are not extracted unless a mapping names them.
    """

    def __init__(
        self,
        url: str,
        timezone: str = "UTC",
        tables: Mapping[str, TableMapping] | None = None,
        excluded_columns: Iterable[str] = EXCLUDED_COLUMNS,
    ) -> None:
        self.database = Database(url)
        self.timezone = timezone
        self.tables = dict(tables or {})
        self.excluded_columns = frozenset(name.lower() for name in excluded_columns)

    def __repr__(self) -> str:
        return f"DatabaseSource({self.database})"

    def inspect(self, table: RawTable) -> TableReport | None:
        with self._snapshot() as snapshot, self.database.explained():
            shape = self._shape(snapshot, table)
            if shape is None:
                return None
            rows, usable, first, last = self._profile(snapshot, shape, table)
            if rows and not usable:
                self._refuse_dates(snapshot, shape, table)
            self._check_numbers(snapshot, shape, table, Window())
        return TableReport(
            table=table,
            rows=rows,
            rejected=rows - usable,
            first_day=first.date() if first else None,
            last_day=last.date() if last else None,
            further=shape.further,
            locations=(f"{shape.label} in {self.database}",),
        )

    def extract(self, table: RawTable, window: Window) -> Extract:
        snapshot = Snapshot(self.database)
        try:
            with self.database.explained():
                shape = self._shape(snapshot, table)
                if shape is None:
                    snapshot.close()
                    missing = tuple(c.name for c in table.optional)
                    nothing = _reader(table.schema()), _reader(REJECTED_ROWS.schema())
                    return Extract(table, window, *nothing, missing=missing)
                if not self._any_usable(snapshot, shape, table):
                    self._refuse_dates(snapshot, shape, table)
                self._check_numbers(snapshot, shape, table, window)
                user_id = self._user_id(snapshot, shape)
            now = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
            rows = self._rows(snapshot, shape, table, window, user_id, now)
            # the first rows now: what refuses the query is then said here, before anything is written
            begun = chain([first] if (first := next(rows, None)) else [], rows)
        except BaseException:
            snapshot.close()
            raise
        rejected = self._rejected(snapshot, shape, table, user_id, now)
        return Extract(
            table=table,
            window=window,
            rows=_reader(table.schema(shape.further), begun),
            rejected=_reader(REJECTED_ROWS.schema(), rejected),
            missing=tuple(c.name for c in table.optional if c.name not in shape.columns),
        )

    def fingerprint(self, table: RawTable) -> dict[str, str]:
        """A mark for each month of the table, to be compared with the one that it had before.

        Keys are months as ``YYYY-MM-01``. The mark changes when a row comes, goes or moves to another day,
        and, with ``updated_at`` mapped, when a row changes in place. It costs one scan that counts days. Rows
        that an offset may move over the end of a month count in both months.
        """
        with self._snapshot() as snapshot, self.database.explained():
            shape = self._shape(snapshot, table)
            if shape is None:
                return {}
            when = shape.columns[table.date_column]
            newest = sa.func.max(shape.updated_at.raw) if shape.updated_at else sa.null()
            query = (
                sa.select(_day(when), _has_offset(when), sa.func.count(), sa.cast(newest, sa.Text))
                .select_from(shape.relation)
                .where(*_usable(when))
                .group_by(sa.text("1"), sa.text("2"))
            )
            found = snapshot.connection.execute(query).all()
        margin = OFFSET_MARGIN if when.kind == "VARCHAR" else timedelta(days=int(self.timezone != "UTC"))
        months: dict[str, list[tuple[str, bool, int, str]]] = defaultdict(list)
        for written, has_offset, rows, changed in found:
            if (day := _as_day(written)) is None:
                continue
            reach = margin if has_offset else timedelta()
            for month in {_month(_shifted(day, -reach)), _month(_shifted(day, reach))}:
                months[month].append((str(day), bool(has_offset), rows, str(changed)))
        return {month: _digest(months[month]) for month in sorted(months)}

    # -- what is there ---------------------------------------------------------------------------------

    @contextmanager
    def _snapshot(self) -> Iterator[Snapshot]:
        snapshot = Snapshot(self.database)
        try:
            yield snapshot
        finally:
            snapshot.close()

    def _shape(self, snapshot: Snapshot, table: RawTable) -> TableShape | None:
        """The table checked against the contract; None if it is absent where that is legal."""
        known = [raw.name for raw in RAW_TABLES]
        if unknown := sorted(set(self.tables) - set(known)):
            raise SourceError(f"Mapping of {listed(unknown)}: no such raw table. They are {listed(known)}.")
        mapping = self.tables.get(table.name, TableMapping(table.name))
        place = find_table(snapshot.connection, mapping.table)
        if place is not None:
            return table_shape(snapshot.connection, table, mapping, place, self.excluded_columns)
        if table.may_be_absent and table.name not in self.tables:
            return None
        raise SourceError(
            f"{self.database}: no table {mapping.table} for {table.name}. "
            f"Found {listed(table_names(snapshot.connection))}. "
            f"Map {table.name} to the table or view that holds it."
        )

    def _profile(
        self, snapshot: Snapshot, shape: TableShape, table: RawTable
    ) -> tuple[int, int, datetime | None, datetime | None]:
        """Rows, rows with a usable date, and the first and last of those dates."""
        when = shape.columns[table.date_column]
        local = normalise.local_time("moment", when.kind, self.timezone)
        if when.kind != "VARCHAR":
            held = sa.case((sa.and_(*_usable(when)), when.raw))
            counts = sa.select(sa.func.count(), sa.func.count(held), sa.func.min(held), sa.func.max(held))
            rows, usable, *edges = snapshot.connection.execute(counts.select_from(shape.relation)).one()
            chunk = pa.table({"moment": _array(edges, when.kind)})
            return rows, usable, *snapshot.measure(f"min({local}), max({local})", chunk)
        measures = f"count(*), count({local}), min({local}), max({local})"
        found = [snapshot.measure(measures, c) for c in snapshot.chunks(_select(shape, moment=when))]
        edges = [edge for part in found for edge in part[2:] if edge is not None]
        rows, usable = (sum(part[i] for part in found) for i in (0, 1))
        return rows, usable, min(edges, default=None), max(edges, default=None)

    def _any_usable(self, snapshot: Snapshot, shape: TableShape, table: RawTable) -> bool:
        """Whether the table is empty or has a row with a usable date; stops at the first."""
        when = shape.columns[table.date_column]
        local = normalise.local_time("moment", when.kind, self.timezone)
        query, columns = _select(shape, moment=when)
        query = query.where(*_usable(when))
        if when.kind != "VARCHAR":
            query = query.limit(1)
        if any(snapshot.measure(f"count({local})", c)[0] for c in snapshot.chunks((query, columns))):
            return True
        a_row = sa.select(sa.literal(1)).select_from(shape.relation).limit(1)
        return snapshot.connection.execute(a_row).first() is None

    def _refuse_dates(self, snapshot: Snapshot, shape: TableShape, table: RawTable) -> None:
        """Refuses a table without one usable date: the wrong column, unless dates may all be empty."""
        when = shape.columns[table.date_column]
        query, columns = _select(shape, given=when.as_text)
        for chunk in snapshot.chunks((query.where(when.raw.is_not(None)), columns)):
            (first,) = snapshot.measure(f"first(given) filter (where not {normalise.blank('given')})", chunk)
            if first is not None:
                raise SourceError(
                    f"{shape.label}: no {when.name} is usable; the first is {first!r}. Map "
                    f"{table.date_column} to a column of dates or timestamps, or of text such as "
                    "2025-01-31T10:00:00+01:00."
                )
        if not table.may_be_absent:
            raise SourceError(
                f"{shape.label}: {when.name} is empty in all rows. "
                f"Map {table.date_column} to a column of dates."
            )

    def _check_numbers(self, snapshot: Snapshot, shape: TableShape, table: RawTable, window: Window) -> None:
        """Refuses a text that is no number where the contract wants one, before a row is loaded."""
        within = _within(shape.columns[table.date_column], window, self.timezone)
        bad = normalise.not_a_number("value", "VARCHAR")
        wanted = [c.name for c in table.declared if c.type == "DOUBLE" and c.name in shape.columns]
        for column in (shape.columns[name] for name in wanted):
            if column.is_number and not is_loose(snapshot.connection):
                continue
            query, columns = _select(shape, value=column.as_text)
            query = query.where(*within)
            if column.is_number:
                query = query.where(is_held_as_text(column.raw))
            for chunk in snapshot.chunks((query, columns)):
                (value,) = snapshot.measure(f"first(value) filter (where {bad})", chunk)
                if value is not None:
                    raise SourceError(
                        f"{shape.label}: {column.name} is {value!r}, expected a number of seconds or "
                        "nothing. Correct the value or set it to null."
                    )

    # -- rows ------------------------------------------------------------------------------------------

    def _rows(
        self,
        snapshot: Snapshot,
        shape: TableShape,
        table: RawTable,
        window: Window,
        user_id: str,
        now: datetime,
    ) -> Iterator[pa.RecordBatch]:
        """The rows of the window in batches of the table's schema."""
        schema = table.schema(shape.further)
        when = shape.columns[table.date_column]
        query, columns = _select(shape, **shape.columns, **_key(shape))
        query = query.where(*_within(when, window, self.timezone))
        if shape.key is None:
            query = query.order_by(when.raw, *shape.order)
        in_window = f"{table.date_column} is not null and {window.predicate(table.date_column)}"

        def select(kinds: Mapping[str, str]) -> str:
            values = {name: self._value(name, table.type_of(name), kinds.get(name)) for name in schema.names}
            day = f"datediff('day', date '0001-01-01', cast({values[table.date_column]} as date))"
            values["user_id"] = user_id
            values |= _lineage(shape, now, position=f"{day} * {DAY_NUMBER} + {POSITION}")
            return f"select * from (select {_named(values)} from chunk) where {in_window}"

        return snapshot.normalised((query, columns), select, schema)

    def _rejected(
        self, snapshot: Snapshot, shape: TableShape, table: RawTable, user_id: str, now: datetime
    ) -> Iterator[pa.RecordBatch]:
        """All rows without a usable date, numbered by their key or as they come; then closes the snapshot."""
        schema = REJECTED_ROWS.schema()
        when = shape.columns[table.date_column]
        user = shape.columns["user_id"]
        query, columns = _select(shape, user_id=user, date_value=when.as_text, **_key(shape))
        unusable = "true"
        if when.kind == "VARCHAR":
            unusable = f"{normalise.local_time('date_value', 'VARCHAR', self.timezone)} is null"
        else:
            query = query.where(_unusable(when))
        values = {
            "table_name": normalise.quoted(table.name),
            "reason": normalise.rejected_reason(user_id, "date_value"),
            "user_id": user_id,
            "date_value": "date_value",
            **_lineage(shape, now, position=POSITION),
        }
        select = f"select {_named(values)} from chunk where {unusable}"
        try:
            yield from snapshot.normalised((query, columns), lambda _: select, schema)
        finally:
            snapshot.close()

    def _user_id(self, snapshot: Snapshot, shape: TableShape) -> str:
        """The user's id as text; one that is an integer is written as such, whatever holds it."""
        user, value = shape.columns["user_id"], normalise.text("user_id")
        if user.is_number:
            return normalise.without_fraction(value)
        value = normalise.identity(value)
        return normalise.without_fraction(value) if _ids_written_as_float(snapshot, shape) else value

    def _value(self, name: str, wanted: SqlType, kind: str | None) -> str:
        if kind is None:
            return f"cast(null as {wanted})"
        raw = normalise.identifier(name)
        if wanted == "TIMESTAMP":
            return normalise.local_time(raw, kind, self.timezone)
        if wanted == "DOUBLE":
            return normalise.number(raw)
        return normalise.identity(normalise.text(raw)) if name in IDS else normalise.text(raw)


def _ids_written_as_float(snapshot: Snapshot, shape: TableShape) -> bool:
    """Whether every id of a text column reads like ``7.0``; the first that does not ends the search."""
    user = shape.columns["user_id"]
    query, columns = _select(shape, user_id=user)
    query = query.where(user.raw.is_not(None))
    otherwise = query.where(user.fetched.not_like("%.0")).limit(1)
    if snapshot.connection.execute(otherwise).first() is not None:
        return False
    measure = normalise.all_written_as_float("user_id")
    found = [snapshot.measure(measure, chunk)[0] for chunk in snapshot.chunks((query, columns))]
    return bool(found) and all(found)


# -- reading ---------------------------------------------------------------------------------------------

Query = tuple[sa.Select[Any], Mapping[str, SourceColumn]]
"""A query, and the columns that it selects."""


class Snapshot:
    """One consistent look at the database, and the DuckDB in which what it says is normalised.

    ``close`` may be called more than once, and happens by itself when nobody reads any more.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.connection: Connection = database.connect()
        # a chunk is too small to be shared among threads
        self.duckdb = duckdb.connect(config={"threads": 1})
        self.duckdb.execute("set timezone = 'UTC'")
        # a reader that is dropped before its end gives up the connection, and what that locks, as well
        self.close = weakref.finalize(self, _close, self.connection, self.duckdb)

    def chunks(self, query: Query) -> Iterator[pa.Table]:
        """The query's rows through a server-side cursor, numbered from 1 in `POSITION` as they come."""
        statement, columns = query
        values: list[list[Any]] = [[] for _ in columns]
        position = 1
        for rows in self._fetched(statement):
            for i, held in enumerate(values):
                held += [row[i] for row in rows]
            if len(values[0]) >= CHUNK_ROWS:
                yield _table(columns, values, position)
                position += len(values[0])
                values = [[] for _ in columns]
        if values[0]:
            yield _table(columns, values, position)

    def _fetched(self, statement: sa.Select[Any]) -> Iterator[Any]:
        options = {"stream_results": True, "yield_per": FETCH_ROWS}
        result = self.connection.execute(statement, execution_options=options)
        try:
            yield from result.partitions()
        finally:
            # a closed connection has taken its cursor along
            if not self.connection.closed:
                result.close()

    def normalised(
        self, query: Query, select: Callable[[Mapping[str, str]], str], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """What ``select`` makes of each chunk, given its kinds; closes the snapshot if that breaks."""
        try:
            with self.database.explained():
                for chunk in self.chunks(query):
                    kinds = {column.name: KIND_OF_ARROW[column.type] for column in chunk.schema}
                    self.duckdb.register("chunk", chunk)
                    yield from self.duckdb.sql(select(kinds)).to_arrow_table().cast(schema).to_batches()
        except BaseException:
            self.close()
            raise

    def measure(self, measures: str, chunk: pa.Table) -> tuple[Any, ...]:
        """Aggregates over a chunk."""
        self.duckdb.register("chunk", chunk)
        return self.duckdb.execute(f"select {measures} from chunk").fetchall()[0]


def _close(*connections: Connection | duckdb.DuckDBPyConnection) -> None:
    for connection in connections:
        connection.close()


def _key(shape: TableShape) -> dict[str, SourceColumn]:
    return {KEY: shape.key} if shape.key else {}


def _select(shape: TableShape, **columns: SourceColumn) -> Query:
    return sa.select(*(c.fetched.label(to) for to, c in columns.items())).select_from(shape.relation), columns


def _table(columns: Mapping[str, SourceColumn], values: list[list[Any]], position: int) -> pa.Table:
    arrays = [_array(held, column.kind) for held, column in zip(values, columns.values(), strict=True)]
    positions = pa.array(range(position, position + len(values[0])), pa.int64())
    return pa.table([*arrays, positions], names=[*columns, POSITION])


def _array(values: list[Any], kind: str) -> pa.Array:
    """The values as Arrow; as text where one is not of the column's type, as in a loosely typed database."""
    try:
        return pa.array(values, ARROW_OF_KIND[kind])
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def _reader(schema: pa.Schema, batches: Iterable[pa.RecordBatch] = ()) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(schema, iter(batches))


def _named(values: Mapping[str, str]) -> str:
    return ", ".join(f"{value} as {normalise.identifier(name)}" for name, value in values.items())


def _lineage(shape: TableShape, now: datetime, position: str) -> dict[str, str]:
    return {
        "_source": normalise.quoted(shape.label),
        "_row_number": KEY if shape.key else position,
        "_extracted_at": f"timestamp '{now}'",
    }


# -- conditions ------------------------------------------------------------------------------------------


def _within(when: SourceColumn, window: Window, timezone: str) -> list[sa.ColumnElement[bool]]:
    """Conditions on the bare date column that hold for every row of the window, and for few others."""
    if when.kind == "VARCHAR":
        return _text_within(when, window)
    low: date | None = window.start
    high: date | None = window.end
    if when.kind == normalise.ZONED:
        low = normalise.instant(window.start, timezone) - ZONE_MARGIN if window.start else None
        high = normalise.instant(window.end, timezone) + ZONE_MARGIN if window.end else None
    usable = _usable(when)
    return [
        usable[0] if low is None else when.raw >= _bound(low, when),
        usable[1] if high is None else when.raw < _bound(high, when),
    ]


def _text_within(when: SourceColumn, window: Window) -> list[sa.ColumnElement[bool]]:
    """ISO text sorts by its days under every collation; what blanks sort elsewhere is let through."""
    in_range = []
    if window.start is not None:
        in_range.append(when.raw >= _bound(_shifted(window.start, -OFFSET_MARGIN), when))
    if window.end is not None:
        in_range.append(when.raw < _bound(_shifted(window.end, OFFSET_MARGIN), when))
    if not in_range:
        return []
    elsewhere = (when.raw < _bound(FIRST_DAY, when), when.raw >= sa.literal("a", sa.String))
    return [sa.or_(sa.and_(*in_range), *elsewhere)]


def _usable(when: SourceColumn) -> list[sa.ColumnElement[bool]]:
    """The lower and the upper bound of usable dates; of text only that there is any: the rest shows later."""
    if when.kind == "VARCHAR":
        return [when.raw.is_not(None)]
    first, last = _edges(when)
    return [when.raw >= _bound(first, when), when.raw <= _bound(last, when)]


def _unusable(when: SourceColumn) -> sa.ColumnElement[bool]:
    first, last = _edges(when)
    return sa.or_(when.raw.is_(None), when.raw < _bound(first, when), when.raw > _bound(last, when))


def _edges(when: SourceColumn) -> tuple[date, datetime]:
    """The first and last usable moment; with a time zone a day less, so that the year is usable in any."""
    if when.kind == normalise.ZONED:
        first = datetime.combine(FIRST_DAY, time(), UTC) + timedelta(days=1)
        return first, datetime.max.replace(tzinfo=UTC) - timedelta(days=1)
    return FIRST_DAY, datetime.max


def _bound(value: date, when: SourceColumn) -> sa.ColumnElement[Any]:
    """A bound parameter of the date column's own type, without which an index on it would not serve."""
    if when.kind == "VARCHAR":
        return sa.literal(value.isoformat(), sa.String)
    if when.kind == "DATE":
        return sa.literal(value.date() if isinstance(value, datetime) else value, sa.Date)
    at = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
    return sa.literal(at, sa.DateTime(timezone=at.tzinfo is not None))


def _shifted(day: date, by: timedelta) -> date:
    return date.fromordinal(min(max(day.toordinal() + by.days, 1), date.max.toordinal()))


# -- fingerprints ----------------------------------------------------------------------------------------


def _day(when: SourceColumn) -> sa.ColumnElement[Any]:
    """The day that a value names, in its own offset."""
    return (
        sa.func.substr(sa.func.trim(when.raw), 1, 10)
        if when.kind == "VARCHAR"
        else sa.cast(when.raw, sa.Date)
    )


def _has_offset(when: SourceColumn) -> sa.ColumnElement[Any]:
    """1 where the day that a value names may not be its day in the configured zone, else 0."""
    if when.kind != "VARCHAR":
        return sa.literal_column("1" if when.kind == normalise.ZONED else "0")
    signs = ("%+%", "%Z%", "%z%", "%UTC%", "%-%-%-%")
    return sa.case((sa.or_(*(when.raw.like(sign) for sign in signs)), 1), else_=0)


def _as_day(written: Any) -> date | None:
    try:
        return date.fromisoformat(str(written))
    except ValueError:
        return None


def _month(day: date) -> str:
    return day.replace(day=1).isoformat()


def _digest(days: list[tuple[str, bool, int, str]]) -> str:
    return hashlib.sha256(repr(sorted(days)).encode()).hexdigest()[:16]
