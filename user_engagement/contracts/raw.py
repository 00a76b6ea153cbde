"""The columns of raw tables: the interface between every source and every warehouse.

Raw tables keep the values of the source. Ids and attributes are text, so that ``007`` stays ``007``; dates are
wall-clock timestamps in the configured time zone; any extra source column is kept as text. Texts have no
leading or trailing blanks, and one that says nothing is null, so that models can compare them directly.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

import pyarrow as pa

SqlType = Literal["VARCHAR", "TIMESTAMP", "DOUBLE", "BIGINT"]

ARROW_TYPES: dict[SqlType, pa.DataType] = {
    "VARCHAR": pa.string(),
    "TIMESTAMP": pa.timestamp("us"),
    "DOUBLE": pa.float64(),
    "BIGINT": pa.int64(),
}


@dataclass(frozen=True)
class Column:
    name: str
    type: SqlType
    description: str


@dataclass(frozen=True)
class RawTable:
    """One raw table: its name, its columns, and the date column that decides the month of a row.

    ``required`` columns must be in the source. ``optional`` ones always exist in the warehouse and are null
    where the source lacks them. All other columns of a source are kept as text, under their lower-case names.
    """

    name: str
    date_column: str
    required: tuple[Column, ...]
    optional: tuple[Column, ...] = ()
    may_be_absent: bool = False
    description: str = ""

    @property
    def declared(self) -> tuple[Column, ...]:
        return self.required + self.optional

    def type_of(self, column: str) -> SqlType:
        """The declared SQL type of a column; text for one that the contract does not name."""
        declared: dict[str, SqlType] = {c.name: c.type for c in (*self.declared, *LINEAGE)}
        return declared.get(column, "VARCHAR")

    def schema(self, extra_columns: tuple[str, ...] = ()) -> pa.Schema:
        """The Arrow schema of rows on their way to the warehouse: declared, extra, then lineage columns."""
        names = [c.name for c in self.declared] + list(extra_columns) + [c.name for c in LINEAGE]
        return pa.schema([(name, ARROW_TYPES[self.type_of(name)]) for name in names])


IDS = ("user_id", "event_id")

LINEAGE = (
    Column("_source", "VARCHAR", "File or table that the row came from."),
    Column("_row_number", "BIGINT", "Position of the row in its source, from 1: the 'source order'."),
    Column("_extracted_at", "TIMESTAMP", "When the row was extracted (UTC)."),
)

USER_SIGNUPS = RawTable(
    name="user_signups",
    date_column="signup_date",
    required=(
        Column("user_id", "VARCHAR", "Who signed up."),
        Column("signup_date", "TIMESTAMP", "When, in the configured time zone."),
        Column("product_type", "VARCHAR", "What they signed up for."),
    ),
    description="One row per signup as the source delivered it, re-signups included.",
)

USER_ENGAGEMENT = RawTable(
    name="user_engagement",
    date_column="engagement_date",
    required=(
        Column("user_id", "VARCHAR", "Who was active."),
        Column("engagement_date", "TIMESTAMP", "When, in the configured time zone."),
        Column("session_duration", "DOUBLE", "Length of the session in seconds; may be null."),
        Column("interaction_type", "VARCHAR", "What they did."),
    ),
    optional=(
        Column(
            "event_id", "VARCHAR", "The source's id of the session; repeated deliveries have the same id."
        ),
        Column("device_type", "VARCHAR", "What they did it on."),
    ),
    description="One row per session as the source delivered it, orphans and duplicates included.",
)

CHURN_DATA = RawTable(
    name="churn_data",
    date_column="churn_date",
    required=(
        Column("user_id", "VARCHAR", "Who cancelled."),
        Column("churn_date", "TIMESTAMP", "When, in the configured time zone."),
    ),
    optional=(Column("churn_reason", "VARCHAR", "Why, in the source's words."),),
    may_be_absent=True,
    description="One row per cancellation as the source delivered it.",
)

SCHEMA = "raw"
RAW_TABLES: tuple[RawTable, ...] = (USER_SIGNUPS, USER_ENGAGEMENT, CHURN_DATA)

REJECTED_ROWS = RawTable(
    name="rejected_rows",
    date_column="_extracted_at",
    required=(
        Column("table_name", "VARCHAR", "The raw table that the row was meant for."),
        Column(
            "reason",
            "VARCHAR",
            "The first of `null_user_id`, `null_date`, `unparseable_date`, `implausible_date`; `bot`, `stray_pings`.",
        ),
        Column("user_id", "VARCHAR", "The row's user, where it has one."),
        Column("date_value", "VARCHAR", "The value in place of the date."),
    ),
    description="Rows without a usable date, which belong to no month, and events that are no engagement.",
)


@dataclass(frozen=True)
class Window:
    """The days of a slice: ``start`` inclusive, ``end`` exclusive; None is unbounded.

    The calendar's first month has no start and its last month no end, so that rows dated before or after the calendar
    belong to a slice, too.
    """

    start: date | None = None
    end: date | None = None

    def predicate(self, column: str) -> str:
        """The slice as a SQL condition on a timestamp or date column without nulls."""
        bounds = []
        if self.start is not None:
            bounds.append(f"{column} >= '{self.start.isoformat()}'")
        if self.end is not None:
            bounds.append(f"{column} < '{self.end.isoformat()}'")
        return " and ".join(bounds) or "true"
