"""Source `warehouse`: the raw tables as tables or views that the warehouse itself can read.

No row passes through this process: a slice is a query, which the warehouse inserts by itself. What the values mean
is decided by `ValueRules`, in the warehouse's SQL.

Files in a stage are first loaded into a table, which is then read as any other (`SourceTables.land`).

**Source order.** Rows of files keep the file's name and their number in it. Tables have no order of their own. A row's
number holds its day above and its position within the day below, by the date and then by all extracted columns, so
that it does not depend on the slice.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import TypeVar

import pyarrow as pa

from user_engagement.contracts.raw import RAW_TABLES, REJECTED_ROWS, RawTable, Window
from user_engagement.errors import SourceError
from user_engagement.hashing import digest
from user_engagement.settings import PREFIX, TableMapping
from user_engagement.sources import normalise
from user_engagement.sources.base import Extract, TableReport, WarehouseExtract
from user_engagement.sources.mapping import choose_columns, find_column, listed
from user_engagement.sources.normalise import DEFAULT_RULES, ValueRules
from user_engagement.sources.personal import PERSONAL_COLUMNS
from user_engagement.sources.warehouse.tables import STAGE, LandedFiles, SourceTables

Found = TypeVar("Found")
DayOfRows = tuple[date | None, int, str]
"""A calendar day, None for rows without a usable date; how many rows it has; and the newest of their changes."""


@dataclass(frozen=True)
class Shape:
    """A table that meets the contract. ``columns`` has source name and type of each raw column.

    ``landed`` has the files out of which the table was loaded, None if it was not.
    """

    label: str
    relation: str
    columns: Mapping[str, tuple[str, str]]
    extra_columns: tuple[str, ...]
    updated_at: str | None
    landed: LandedFiles | None

    def raw(self, name: str) -> str:
        return normalise.identifier(self.columns[name][0])

    def kind(self, name: str) -> str:
        return self.columns[name][1]


class WarehouseSource:
    """Reads the raw tables where they lie.

    Args:
        tables: the warehouse that reads them.
        timezone: the zone whose calendar days count; values with an offset are moved into it, values
            without one are taken to be in it.
        mappings: where each raw table lives; one that is not named here is looked for under its own name.
        excluded_columns: columns that are not extracted unless a mapping names them.
        rules: what stands for a missing value or date; its zone is not used.
    """

    def __init__(
        self,
        tables: SourceTables,
        timezone: str = "UTC",
        mappings: Mapping[str, TableMapping] | None = None,
        excluded_columns: Iterable[str] = PERSONAL_COLUMNS,
        rules: ValueRules = DEFAULT_RULES,
    ) -> None:
        self.tables = tables
        self.rules = tables.rules(replace(rules, timezone=timezone))
        self.mappings = dict(mappings or {})
        self.excluded_columns = frozenset(name.lower() for name in excluded_columns)
        self._counts: dict[str, tuple[str | None, list[DayOfRows]]] = {}
        self._reports: dict[str, tuple[str | None, TableReport | None]] = {}

    def inspect(self, table: RawTable) -> TableReport | None:
        return self._remembered(self._reports, table, lambda: self._report(table))

    def _report(self, table: RawTable) -> TableReport | None:
        shape = self._shape(table)
        if shape is None:
            return None
        rows, usable, first, last = self._profile(shape, table)
        if rows and not usable:
            self._refuse_dates(shape, table)
        return TableReport(
            table=table,
            rows=rows,
            rejected=rows - usable,
            first_day=_day(first),
            last_day=_day(last),
            extra_columns=shape.extra_columns,
            locations=(shape.label,),
        )

    def extract(self, table: RawTable, window: Window) -> Extract:
        # what is wrong with the values is said before anything is written
        shape = self._shape(table) if self.inspect(table) else None
        if shape is None:
            nothing = _empty(table.schema()), _empty(REJECTED_ROWS.schema())
            return Extract(table, window, *nothing, missing=tuple(c.name for c in table.optional))
        now = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
        return WarehouseExtract(
            table=table,
            window=window,
            rows=_empty(table.schema(shape.extra_columns)),
            rejected=_empty(REJECTED_ROWS.schema()),
            scan=self._rows_query(shape, table, window, now),
            missing=tuple(c.name for c in table.optional if c.name not in shape.columns),
            rejected_scan=self._rejected_query(shape, table, now),
            attached=self.tables.attached,
        )

    def fingerprint(self, table: RawTable) -> dict[str, str]:
        """A mark for each month, from the rows of each of its days and the newest ``updated_at`` among them."""
        months: dict[str, list[tuple[str, int, str]]] = defaultdict(list)
        for day, rows, changed in self._days(table):
            # without a usable date they belong to no month, and count with the first of all
            months[_month(day or normalise.NO_DATE)].append((str(day), rows, changed))
        return {month: digest([repr(sorted(months[month]))]) for month in sorted(months)}

    def monthly_rows(self, table: RawTable) -> dict[str, int]:
        months: Counter[str] = Counter()
        for day, rows, _ in self._days(table):
            if day is not None:
                months[_month(day)] += rows
        return dict(months)

    def state(self, table: RawTable) -> str:
        return digest([repr(sorted(self.fingerprint(table).items()))])

    def _remembered(
        self, known: dict[str, tuple[str | None, Found]], table: RawTable, measure: Callable[[], Found]
    ) -> Found:
        """What was measured, and is measured again only when the table's mark has changed."""
        # the mark before the rows: what changes meanwhile must count as a change
        mark = self.tables.mark(self._mapping(table).table)
        if mark is None or table.name not in known or known[table.name][0] != mark:
            known[table.name] = mark, measure()
        return known[table.name][1]

    # -- what is there ---------------------------------------------------------------------------------

    def _shape(self, table: RawTable) -> Shape | None:
        """The table checked against the contract; None if it is absent where that is legal."""
        known = [raw.name for raw in RAW_TABLES]
        if unknown := sorted(set(self.mappings) - set(known)):
            raise SourceError(f"Mapping of {listed(unknown)}: no such raw table. They are {listed(known)}.")
        mapping = self._mapping(table)
        is_staged = mapping.table.startswith(STAGE)
        landed = self._land(table, mapping) if is_staged else None
        kinds = landed and landed.columns if is_staged else self.tables.columns(mapping.table)
        if kinds is None:
            if table.may_be_absent and (is_staged or table.name not in self.mappings):
                return None
            if is_staged:
                raise SourceError(
                    f"{mapping.table}: no file of {table.name} there. Deliver files, or correct the path in "
                    f"{PREFIX}SOURCE_TABLES."
                )
            raise SourceError(
                f"{mapping.table}: no such table for {table.name}, or no right to read it. "
                f"{self.tables.remedy(mapping.table)}"
            )
        chosen = choose_columns(table, mapping, list(kinds), self.excluded_columns)
        columns = {to: (of, kinds[of]) for to, of in sorted(chosen.items())}
        for name in (c.name for c in table.declared if c.name in columns):
            source, kind = columns[name]
            if wanted := normalise.type_problem(table.type_of(name), kind):
                raise SourceError(
                    f"{mapping.table}: column {source} is {kind}, expected {wanted} for {name}; "
                    "map another column, or a view that converts it."
                )
        changed = mapping.updated_at
        return Shape(
            label=mapping.table,
            relation=landed.relation if landed else self.tables.relation(mapping.table),
            columns=columns,
            extra_columns=tuple(sorted(set(columns) - {c.name for c in table.declared})),
            updated_at=changed and find_column(mapping.table, changed, list(kinds)),
            landed=landed,
        )

    def _land(self, table: RawTable, mapping: TableMapping) -> LandedFiles | None:
        """Loads the files that are new, each checked against the contract."""

        def check(file: str, columns: list[str]) -> None:
            of_file = replace(mapping, table=f"{mapping.table}: file {file}")
            choose_columns(table, of_file, columns, self.excluded_columns)

        asked_for = {name.lower() for name in mapping.columns.values()}
        return self.tables.land(mapping.table, table.name, self.excluded_columns - asked_for, check)

    def _mapping(self, table: RawTable) -> TableMapping:
        return self.mappings.get(table.name, TableMapping(table.name))

    def _profile(self, shape: Shape, table: RawTable) -> tuple[int, int, datetime | None, datetime | None]:
        """Rows, rows with a usable date, and the first and last of those dates.

        Refuses a text that is no number where the contract wants one.
        """
        local = self._value(shape, table, table.date_column)
        doubles = [c.name for c in table.declared if c.type == "DOUBLE" and c.name in shape.columns]
        bad = {name: self.rules.not_a_number(shape.raw(name), shape.kind(name)) for name in doubles}
        wrong = [f"min(case when {bad[name]} then {normalise.text(shape.raw(name))} end)" for name in doubles]
        measures = ", ".join(["count(*)", f"count({local})", f"min({local})", f"max({local})", *wrong])
        found = self.tables.rows(f"select {measures} from {shape.relation}")[0]
        for name, value in zip(doubles, found[4:], strict=True):
            if value is not None:
                raise SourceError(
                    f"{shape.label}{self._place(shape, bad[name])}: {shape.columns[name][0]} is {value!r}, "
                    "expected a number of seconds or nothing. Correct the value or set it to null."
                )
        rows, usable, first, last = found[:4]
        return rows, usable, first, last

    def _place(self, shape: Shape, condition: str) -> str:
        """The file and row of the first row that meets a condition."""
        if shape.landed is None:
            return ""
        columns = f"{shape.landed.file}, {shape.landed.row_number}"
        query = f"select {columns} from {shape.relation} where {condition} order by {columns} limit 1"
        file, row = self.tables.rows(query)[0]
        return f": file {file}, row {row}"

    def _refuse_dates(self, shape: Shape, table: RawTable) -> None:
        """Refuses a table without one usable date: the wrong column, unless dates may all be empty."""
        name, given = shape.columns[table.date_column][0], normalise.text(shape.raw(table.date_column))
        found = self.tables.rows(
            f"select {given} from {shape.relation} where not {self.rules.says_no_date(table, given)} limit 1"
        )
        if found:
            raise SourceError(
                f"{shape.label}: no {name} is usable; the first is {found[0][0]!r}. Map {table.date_column} to a "
                "column of dates or timestamps, or of text such as 2025-01-31T10:00:00+01:00."
            )
        if not table.may_be_absent:
            raise SourceError(
                f"{shape.label}: {name} is empty in all rows. Map {table.date_column} to a column of dates."
            )

    def _days(self, table: RawTable) -> list[DayOfRows]:
        return self._remembered(self._counts, table, lambda: self._counted(table))

    def _counted(self, table: RawTable) -> list[DayOfRows]:
        shape = self._shape(table)
        if shape is None:
            return []
        day = f"cast({self._value(shape, table, table.date_column)} as date)"
        if shape.landed:
            by_file = f"select {day}, count(*), {shape.landed.file} from {shape.relation} group by 1, 3"
            # another process may have loaded a file since: one without a mark is counted again
            return [
                (day, rows, shape.landed.marks.get(file, "")) for day, rows, file in self.tables.rows(by_file)
            ]
        newest = f"max({normalise.identifier(shape.updated_at)})" if shape.updated_at else "null"
        found = self.tables.rows(
            f"select {day}, count(*), {normalise.text(newest)} from {shape.relation} group by 1"
        )
        return [(day, rows, str(changed)) for day, rows, changed in found]

    # -- queries ---------------------------------------------------------------------------------------

    def _rows_query(self, shape: Shape, table: RawTable, window: Window, now: datetime) -> str:
        names = table.schema(shape.extra_columns).names[:-3]
        values = [f"{self._value(shape, table, name)} as {self.tables.column(name)}" for name in names]
        day = table.date_column
        possible = normalise.may_be_within(shape.raw(day), shape.kind(day), window)
        read = f"(select * from {shape.relation} where {possible}) as source"
        dated = f"{day} is not null and {window.predicate(day)}"
        if shape.landed:
            inner = f"select {', '.join([*values, self._lineage(shape, shape.landed.row_number, now)])} from {read}"
            return f"select * from ({inner}) as extracted where {dated}"
        inner = f"select {', '.join(values)} from {read}"
        order = ", ".join([day, *map(self.tables.column, sorted(set(names) - {day}))])
        position = f"row_number() over (partition by cast({day} as date) order by {order})"
        return (
            f"select *, {self._lineage(shape, normalise.day_and_position(day, position), now)} "
            f"from ({inner}) as extracted where {dated}"
        )

    def _rejected_query(self, shape: Shape, table: RawTable, now: datetime) -> str:
        user = self._value(shape, table, "user_id")
        when = normalise.text(shape.raw(table.date_column))
        # counted as text, whatever type the column has, as the reasons are
        reason = self.rules.rejected_reason(table, user, when)
        position = shape.landed.row_number if shape.landed else f"row_number() over (order by {user}, {when})"
        return (
            f"select '{table.name}' as table_name, {reason} as reason, {user} as user_id, {when} as date_value, "
            f"{self._lineage(shape, position, now)} from {shape.relation} as source "
            f"where {self._value(shape, table, table.date_column)} is null"
        )

    def _lineage(self, shape: Shape, position: str, now: datetime) -> str:
        source = shape.landed.file if shape.landed else normalise.quoted(shape.label)
        return f"{source} as _source, {position} as _row_number, cast('{now}' as timestamp) as _extracted_at"

    def _value(self, shape: Shape, table: RawTable, name: str) -> str:
        wanted = table.type_of(name)
        if name not in shape.columns:
            return f"cast(null as {wanted})"
        raw, kind = shape.raw(name), shape.kind(name)
        if wanted == "TIMESTAMP":
            return self.rules.local_time(raw, kind)
        return self.rules.seconds(raw, kind) if wanted == "DOUBLE" else self.rules.value(name, raw, kind)


def _day(moment: datetime | None) -> date | None:
    return moment.date() if moment else None


def _month(day: date) -> str:
    return day.replace(day=1).isoformat()


def _empty(schema: pa.Schema) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(schema, [])
