"""Which days a file may hold, from the dates in its name and in the names of its folders."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import PurePath

Days = tuple[date, date]

YEAR, MONTH, DAY = r"(?:19|20)\d\d", r"0[1-9]|1[0-2]", r"0[1-9]|[12]\d|3[01]"
CLOCK = rf"(?:[T_-]?(?!{YEAR})\d\d(?:[:_-]?\d\d){{0,2}})?"
DATE = re.compile(rf"(?<!\d)({YEAR})(?:([-_/.]?)({MONTH})(?:\2({DAY}){CLOCK})?)?(?!\d)")
HIVE_PARTS = tuple(
    re.compile(rf"(?:^|/){name}=0*(\d+)(?=/)", re.IGNORECASE)
    for name in ("(?:year|y|yyyy)", "(?:month|m|mm)", "(?:day|d|dd)")
)


def days_in_name(file: PurePath) -> Days | None:
    """The first and the last day that a file's path names; None if it names none.

    Folders such as ``year=2025/month=03`` say most, then other folders, then the file's own name. Of several dates
    the days between them count, too.

    >>> days_in_name(PurePath("user_engagement/month=2025-03/part-0.parquet"))
    (datetime.date(2025, 3, 1), datetime.date(2025, 3, 31))
    """
    folders, name = f"{file.parent.as_posix()}/", file.name
    hive = "".join(f"{part}/" for part in file.parent.parts if "=" in part)
    for dates in (_parts(hive), *(DATE.findall(text) for text in (hive, folders, name))):
        if found := [days for date_parts in dates if (days := _days(*date_parts))]:
            return min(first for first, _ in found), max(last for _, last in found)
    return None


def _parts(hive: str) -> Iterator[tuple[str, ...]]:
    """Year, month and day that folders of their own name."""
    found = [pattern.search(hive) for pattern in HIVE_PARTS]
    year, month, day = (part[1] if part else "" for part in found)
    if len(year) == 4:
        yield year, "", month, day if month else ""


def _days(year: str, _: str, month: str, day: str) -> Days | None:
    try:
        first = date(int(year), int(month or 1), int(day or 1))
    except ValueError:
        return None
    if day:
        return first, first
    following = (first + timedelta(days=32)).replace(day=1) if month else date(int(year) + 1, 1, 1)
    return first, following - timedelta(days=1)
