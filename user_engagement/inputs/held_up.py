"""Months that wait because a file of the source cannot be read.

Such a month is not loaded: its slices stay as they are. If the file was loaded before, its former rows still count. If
it never was, the data end before its first day, and where nothing of its month was loaded before, with the month
before: every number after that could be wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta

import pyarrow as pa

from user_engagement.contracts.raw import RAW_TABLES, SCHEMA, USER_ENGAGEMENT, RawTable
from user_engagement.errors import SourceError
from user_engagement.settings import Settings
from user_engagement.sources import Source
from user_engagement.sources.base import UnreadableFile, unreadable_files
from user_engagement.sources.normalise import quoted
from user_engagement.warehouse import WarehouseReader, open_warehouse

MONTHS_NAMED = 3


@dataclass(frozen=True)
class HeldUp:
    """A file that cannot be read, and the months (``YYYY-MM-01``) that wait for it.

    ``through`` is the last day before its rows of which anything is loaded if they never were, None if former ones are.
    """

    table_name: str
    file: str
    reason: str
    months: str
    through: date | None

    @property
    def waiting(self) -> tuple[str, ...]:
        return tuple(self.months.split())

    def sentence(self) -> str:
        months = [month[:7] for month in self.waiting]
        named = ", ".join(months) if len(months) <= MONTHS_NAMED else f"{months[0]} to {months[-1]}"
        what = f"{len(months)} month{'' if len(months) == 1 else 's'} waiting for it: {named}"
        ends = (
            f"Its rows were never loaded, so the data end on {self.through}."
            if self.through
            else "The rows of its last load count."
        )
        return (
            f"{self.table_name}: {self.file} cannot be read; {what}. {ends} Restore the file. ({self.reason})"
        )


SCHEMA_OF_HELD_UP = pa.schema(
    [(name, pa.string()) for name in ("table_name", "file", "reason", "months")] + [("through", pa.date32())]
)


def find_held_up(source: Source, settings: Settings, keys: Sequence[str]) -> list[HeldUp]:
    """Every file of the source that cannot be read, with the months of the calendar that wait for it.

    Raises:
        SourceError: neither its name nor its last load tells which months it holds, or it may hold the first rows of
            all, without which there is nothing to publish.
    """
    found: list[HeldUp] = []
    for table in RAW_TABLES:
        found += [_held_up(table, file, settings, keys) for file in unreadable_files(source, table)]
    return found


def _held_up(table: RawTable, file: UnreadableFile, settings: Settings, keys: Sequence[str]) -> HeldUp:
    loaded, all_loaded = _loaded_months(table, file.name, settings)
    if file.first_day and file.last_day:
        named = {key for key in keys if _month(file.first_day, keys) <= key <= _month(file.last_day, keys)}
    elif loaded:
        # what it holds beside its former rows can only be guessed: anything that is new
        named = set(keys) - all_loaded
    else:
        raise SourceError(
            f"{file.reason} Which months it holds is not known, so nothing was loaded. (A date in the names of files "
            "or folders, such as 2025-03, tells which months wait for a file that cannot be read.)"
        )
    through = None if loaded or file.first_day is None else _loaded_before(file.first_day, settings)
    if through and through < date.fromisoformat(keys[0]):
        raise SourceError(
            f"{file.reason} The first month, {keys[0][:7]}, waits for it, without which every number would be wrong, "
            "so nothing was loaded."
        )
    return HeldUp(table.name, file.name, file.reason, " ".join(sorted(named | loaded)), through)


def _month(day: date, keys: Sequence[str]) -> str:
    """The month in the calendar with which a day counts."""
    return min(max(day.replace(day=1).isoformat(), keys[0]), keys[-1])


def _loaded_months(table: RawTable, file: str, settings: Settings) -> tuple[set[str], set[str]]:
    """The months with rows of a file in the raw table, and those with any rows."""
    warehouse = open_warehouse(settings)
    if not warehouse.exists():
        return set(), set()
    with warehouse.reader() as reader:
        if not reader.columns(SCHEMA, table.name):
            return set(), set()
        place = f"{SCHEMA}.{table.name}", table.date_column
        return set(reader.monthly_rows(*place, f"_source = {quoted(file)}")), set(reader.monthly_rows(*place))


def _loaded_before(first_day: date, settings: Settings) -> date:
    """The last day before one whose month waits: an earlier run may have loaded the days of that month before it.

    The months before it, which do not wait, are loaded whole.
    """
    before = first_day.replace(day=1) - timedelta(days=1)
    warehouse = open_warehouse(settings)
    if warehouse.exists():
        with warehouse.reader() as reader:
            day_before = first_day - timedelta(days=1)
            newest = reader.newest_day(USER_ENGAGEMENT.name, USER_ENGAGEMENT.date_column, day_before)
            return max(before, newest or before)
    return before


def waiting_months(held_up: Iterable[HeldUp]) -> set[str]:
    return {month for each in held_up for month in each.waiting}


def refuse_waiting(held_up: Iterable[HeldUp], keys: Iterable[str]) -> None:
    """Refuses to load a month that waits.

    Raises:
        SourceError: a file that the months need cannot be read. Nothing was written.
    """
    asked = set(keys)
    for each in held_up:
        if asked & set(each.waiting):
            raise SourceError(f"{each.sentence()} Nothing was loaded.")


# -- what the warehouse remembers of its last load -----------------------------------------------------------


def _name(table: RawTable) -> str:
    return f"unreadable_{table.name}"


def note_of(table: RawTable, held_up: Iterable[HeldUp], settings: Settings) -> dict[str, pa.Table]:
    """The table to replace with a load, which says what the load left out; none where nothing ever was."""
    mine = [asdict(each) for each in held_up if each.table_name == table.name]
    if not mine and not _is_noted(table, settings):
        return {}
    return {_name(table): pa.Table.from_pylist(mine, SCHEMA_OF_HELD_UP)}


def _is_noted(table: RawTable, settings: Settings) -> bool:
    warehouse = open_warehouse(settings)
    if not warehouse.exists():
        return False
    with warehouse.reader() as reader:
        return bool(reader.columns(SCHEMA, _name(table)))


def remembered(reader: WarehouseReader) -> Iterator[HeldUp]:
    """The files that could not be read at the last load."""
    names = ", ".join(SCHEMA_OF_HELD_UP.names)
    for _, name in reader.tables((SCHEMA, _name(table)) for table in RAW_TABLES):
        for row in reader.query(f"select {names} from {SCHEMA}.{name} order by file").to_pylist():
            yield HeldUp(**row)


def ends_before(held_up: Iterable[HeldUp]) -> date | None:
    """The last day before the first rows that were never loaded; None if there are none."""
    return min((each.through for each in held_up if each.through), default=None)
