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

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import chain

import pyarrow as pa
import sqlalchemy as sa

from user_engagement.contracts.raw import RAW_TABLES, REJECTED_ROWS, RawTable, SqlType, Window
from user_engagement.errors import SourceError
from user_engagement.hashing import digest
from user_engagement.settings import TableMapping
from user_engagement.sources import normalise
from user_engagement.sources.base import Extract, TableReport
from user_engagement.sources.database.connection import Database, is_held_as_text, is_loose
from user_engagement.sources.database.dates import (
    OFFSET_MARGIN,
    as_day,
    day_of,
    may_be_moved,
    month_of,
    outside_bounds,
    shifted,
    usable_bounds,
    window_bounds,
)
from user_engagement.sources.database.snapshot import (
    Snapshot,
    batch_reader,
    key_column,
    named,
    select_columns,
    typed_array,
)
from user_engagement.sources.database.tables import TableShape, find_table, table_names, table_shape
from user_engagement.sources.mapping import KEY, POSITION, listed
from user_engagement.sources.normalise import DEFAULT_RULES, ValueRules
from user_engagement.sources.personal import PERSONAL_COLUMNS


@dataclass(frozen=True)
class DayOfRows:
    """Rows whose dates are written with one day, with an offset or without, and the months that they may belong to."""

    day: date
    has_offset: bool
    rows: int
    changed: str
    months: frozenset[str]


class DatabaseSource:
    """Reads the raw tables from a database.

    Args:
        url: SQLAlchemy's URL of the database. Its password shows in no message.
        timezone: the zone whose calendar days count; values with an offset are moved into it, values
            without one are taken to be in it.
        tables: where each raw table lives; one that is not named here is looked for under its own name.
        excluded_columns: columns that are not extracted unless a mapping names them.
        rules: what stands for a missing value or date; its zone is not used.
    """

    def __init__(
        self,
        url: str,
        timezone: str = "UTC",
        tables: Mapping[str, TableMapping] | None = None,
        excluded_columns: Iterable[str] = PERSONAL_COLUMNS,
        rules: ValueRules = DEFAULT_RULES,
    ) -> None:
        self.database = Database(url)
        self.timezone = timezone
        self.rules = replace(rules, timezone=timezone)
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
            extra_columns=shape.extra_columns,
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
                    nothing = batch_reader(table.schema()), batch_reader(REJECTED_ROWS.schema())
                    return Extract(table, window, *nothing, missing=missing)
                if not self._any_usable(snapshot, shape, table):
                    self._refuse_dates(snapshot, shape, table)
                self._check_numbers(snapshot, shape, table, window)
            now = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
            rows = self._rows(snapshot, shape, table, window, now)
            # the first rows now: what refuses the query is then said here, before anything is written
            begun = chain([first] if (first := next(rows, None)) else [], rows)
        except BaseException:
            snapshot.close()
            raise
        rejected = self._rejected(snapshot, shape, table, now)
        return Extract(
            table=table,
            window=window,
            rows=batch_reader(table.schema(shape.extra_columns), begun),
            rejected=batch_reader(REJECTED_ROWS.schema(), rejected),
            missing=tuple(c.name for c in table.optional if c.name not in shape.columns),
        )

    def fingerprint(self, table: RawTable) -> dict[str, str]:
        """A mark for each month of the table, to be compared with the one that it had before.

        Keys are months as ``YYYY-MM-01``. The mark changes when a row comes, goes or moves to another day,
        and, with ``updated_at`` mapped, when a row changes in place. It costs one scan that counts days. Rows
        that an offset may move over the end of a month count in both months.
        """
        months: dict[str, list[tuple[str, bool, int, str]]] = defaultdict(list)
        for day in self._days(table):
            for month in day.months:
                months[month].append((str(day.day), day.has_offset, day.rows, day.changed))
        return {month: digest([repr(sorted(months[month]))]) for month in sorted(months)}

    def monthly_rows(self, table: RawTable) -> dict[str, int]:
        rows: Counter[str] = Counter()
        for day in self._days(table):
            rows.update(dict.fromkeys(day.months, day.rows))
        return dict(rows)

    def _days(self, table: RawTable) -> Iterator[DayOfRows]:
        """The rows of each day, by whether their dates have an offset."""
        with self._snapshot() as snapshot, self.database.explained():
            shape = self._shape(snapshot, table)
            if shape is None:
                return
            when = shape.columns[table.date_column]
            newest = sa.func.max(shape.updated_at.raw) if shape.updated_at else sa.null()
            query = (
                sa.select(day_of(when), may_be_moved(when), sa.func.count(), sa.cast(newest, sa.Text))
                .select_from(shape.relation)
                .where(*usable_bounds(when, self.rules))
                .group_by(sa.text("1"), sa.text("2"))
            )
            found = snapshot.connection.execute(query).all()
        margin = OFFSET_MARGIN if when.kind == "VARCHAR" else timedelta(days=int(self.timezone != "UTC"))
        for written, has_offset, rows, changed in found:
            if (day := as_day(written)) is None:
                continue
            reach = margin if has_offset else timedelta()
            months = frozenset({month_of(shifted(day, -reach)), month_of(shifted(day, reach))})
            yield DayOfRows(day, bool(has_offset), rows, str(changed), months)

    def state(self, table: RawTable) -> str:
        return digest([repr(sorted(self.fingerprint(table).items()))])

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
        local = self.rules.local_time("moment", when.kind)
        if when.kind != "VARCHAR":
            held = sa.case((sa.and_(*usable_bounds(when, self.rules)), when.raw))
            counts = sa.select(sa.func.count(), sa.func.count(held), sa.func.min(held), sa.func.max(held))
            rows, usable, *edges = snapshot.connection.execute(counts.select_from(shape.relation)).one()
            chunk = pa.table({"moment": typed_array(edges, when.kind)})
            return rows, usable, *snapshot.measure(f"min({local}), max({local})", chunk)
        measures = f"count(*), count({local}), min({local}), max({local})"
        found = [snapshot.measure(measures, c) for c in snapshot.chunks(select_columns(shape, moment=when))]
        edges = [edge for part in found for edge in part[2:] if edge is not None]
        rows, usable = (sum(part[i] for part in found) for i in (0, 1))
        return rows, usable, min(edges, default=None), max(edges, default=None)

    def _any_usable(self, snapshot: Snapshot, shape: TableShape, table: RawTable) -> bool:
        """Whether the table is empty or has a row with a usable date; stops at the first."""
        when = shape.columns[table.date_column]
        local = self.rules.local_time("moment", when.kind)
        query, columns = select_columns(shape, moment=when)
        query = query.where(*usable_bounds(when, self.rules))
        if when.kind != "VARCHAR":
            query = query.limit(1)
        if any(snapshot.measure(f"count({local})", c)[0] for c in snapshot.chunks((query, columns))):
            return True
        a_row = sa.select(sa.literal(1)).select_from(shape.relation).limit(1)
        return snapshot.connection.execute(a_row).first() is None

    def _refuse_dates(self, snapshot: Snapshot, shape: TableShape, table: RawTable) -> None:
        """Refuses a table without one usable date: the wrong column, unless dates may all be empty."""
        when = shape.columns[table.date_column]
        query, columns = select_columns(shape, given=when.as_text)
        said = f"first(given) filter (where not {self.rules.says_no_date(table, 'given')})"
        for chunk in snapshot.chunks((query.where(when.raw.is_not(None)), columns)):
            (first,) = snapshot.measure(said, chunk)
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
        within = window_bounds(shape.columns[table.date_column], window, self.rules)
        bad = self.rules.not_a_number("value", "VARCHAR")
        wanted = [c.name for c in table.declared if c.type == "DOUBLE" and c.name in shape.columns]
        for column in (shape.columns[name] for name in wanted):
            if column.is_number and not is_loose(snapshot.connection):
                continue
            query, columns = select_columns(shape, value=column.as_text)
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
        now: datetime,
    ) -> Iterator[pa.RecordBatch]:
        """The rows of the window in batches of the table's schema."""
        schema = table.schema(shape.extra_columns)
        when = shape.columns[table.date_column]
        query, columns = select_columns(shape, **shape.columns, **key_column(shape))
        query = query.where(*window_bounds(when, window, self.rules))
        if shape.key is None:
            query = query.order_by(when.raw, *shape.order)
        in_window = f"{table.date_column} is not null and {window.predicate(table.date_column)}"

        def select(kinds: Mapping[str, str]) -> str:
            values = {name: self._value(name, table.type_of(name), kinds.get(name)) for name in schema.names}
            position = normalise.day_and_position(values[table.date_column], POSITION)
            values |= _lineage(shape, now, position)
            return f"select * from (select {named(values)} from chunk) where {in_window}"

        return snapshot.normalised((query, columns), select, schema)

    def _rejected(
        self, snapshot: Snapshot, shape: TableShape, table: RawTable, now: datetime
    ) -> Iterator[pa.RecordBatch]:
        """All rows without a usable date, numbered by their key or as they come; then closes the snapshot."""
        schema = REJECTED_ROWS.schema()
        when = shape.columns[table.date_column]
        user_id = self.rules.value("user_id", "user_id", "VARCHAR")
        query, columns = select_columns(
            shape, user_id=shape.columns["user_id"].as_text, date_value=when.as_text, **key_column(shape)
        )
        unusable = "true"
        if when.kind == "VARCHAR":
            unusable = f"{self.rules.local_time('date_value', 'VARCHAR')} is null"
        else:
            query = query.where(outside_bounds(when, self.rules))
        values = {
            "table_name": normalise.quoted(table.name),
            "reason": self.rules.rejected_reason(table, user_id, "date_value"),
            "user_id": user_id,
            "date_value": "date_value",
            **_lineage(shape, now, position=POSITION),
        }
        select = f"select {named(values)} from chunk where {unusable}"
        try:
            yield from snapshot.normalised((query, columns), lambda _: select, schema)
        finally:
            snapshot.close()

    def _value(self, name: str, wanted: SqlType, kind: str | None) -> str:
        if kind is None:
            return f"cast(null as {wanted})"
        raw = normalise.identifier(name)
        if wanted == "TIMESTAMP":
            return self.rules.local_time(raw, kind)
        return normalise.seconds(raw, kind) if wanted == "DOUBLE" else self.rules.value(name, raw, kind)


def _lineage(shape: TableShape, now: datetime, position: str) -> dict[str, str]:
    return {
        "_source": normalise.quoted(shape.label),
        "_row_number": KEY if shape.key else position,
        "_extracted_at": f"timestamp '{now}'",
    }
