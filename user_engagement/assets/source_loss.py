"""Whether a source has lost rows since they were loaded: an empty export must not empty the marts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from user_engagement.contracts.raw import RawTable
from user_engagement.errors import SourceError
from user_engagement.settings import PREFIX, Settings
from user_engagement.sources import Source, TableReport
from user_engagement.warehouse import open_warehouse

ACCEPT_LOSS_TAG = "user_engagement/accept_loss"
"""The tag of a run by which a person accepts, in Dagster's UI, what a source has lost."""

FEWEST_LOST = 10
"""Fewer rows than these are deletions, whatever their share."""
MOST_LOST = 0.5
"""The share of a table's rows beyond which a loss is no clean-up."""
MOST_DAYS_BACK = 7
"""By how many days a table's newest day may move back, which a late correction does not explain."""


@dataclass(frozen=True)
class Stored:
    """What a raw table of the warehouse holds: dated rows, and their newest day."""

    rows: int
    last_day: date | None


def stored_rows(settings: Settings, table: RawTable) -> Stored:
    warehouse = open_warehouse(settings)
    if not warehouse.exists():
        return Stored(0, None)
    with warehouse.reader() as reader:
        if not reader.columns("raw", table.name):
            return Stored(0, None)
        day = f"max(cast({table.date_column} as date))"
        found = reader.query(f"select count(*) as stored_rows, {day} as last_day from raw.{table.name}")
    row = found.to_pylist()[0]
    return Stored(row["stored_rows"], row["last_day"])


def loss(table: RawTable, report: TableReport | None, stored: Stored) -> str | None:
    """What a source has lost of a table, in words; None where it is nothing, or little."""
    rows = report.rows - report.rejected if report else 0
    last_day = report.last_day if report else None
    lost = stored.rows - rows
    if lost < FEWEST_LOST or stored.last_day is None:
        return None
    days_back = (stored.last_day - last_day).days if last_day else None
    if lost <= MOST_LOST * stored.rows and days_back is not None and days_back <= MOST_DAYS_BACK:
        return None
    ends = (
        f"it now ends on {last_day}, before it ended on {stored.last_day}" if last_day else "nothing is left"
    )
    return f"{table.name}: the source has lost {lost:,} of the {stored.rows:,} rows that were loaded; {ends}"


def refuse_loss(source: Source, table: RawTable, settings: Settings) -> None:
    """Refuses to load a table of which most, or the newest part, is gone.

    Raises:
        SourceError: rows are gone, and nobody has accepted that. Nothing was written.
    """
    if settings.accept_loss:
        return
    if found := loss(table, source.inspect(table), stored_rows(settings, table)):
        raise SourceError(
            f"{found}. Nothing was loaded. Restore the source; or, if the rows are gone for good, accept it with "
            f"--accept-loss, {PREFIX}ACCEPT_LOSS=true, or the tag {ACCEPT_LOSS_TAG} on a run in Dagster's UI."
        )
