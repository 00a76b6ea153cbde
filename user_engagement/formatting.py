"""Numbers, dates, durations and names as people read them, in the terminal, the dashboard and the report alike."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from user_engagement.errors import UserError

PERCENT = "\u00a0%"
NOTHING = "–"
MINUS = "−"
STANDARD_LABELS = {
    "auc": "AUC",
    "auc_recency_alone": "AUC of recency alone",
    "ci_high": "95 % interval to",
    "ci_low": "95 % interval from",
    "dau": "Daily active users",
    "mau": "Monthly active users",
    "p_value": "p-value",
    "q_value": "q-value",
    "wau": "Weekly active users",
}
"""Names that no rule makes readable; labels of one's own come first."""
_LABELS: dict[str, str] = {}
"""The labels that `use_labels` read, for the whole process."""


def is_missing(value: Any) -> bool:
    """Whether a value is null: None, NaN or NaT."""
    return value is None or value != value


def value(number: float | None, unit: str) -> str:
    """A number in its unit, to about three significant figures; counts are exact, and nothing is a dash.

    Units are those of `kpi_summary`: ``rate`` (a share, shown in per cent), ``users``, ``days``, ``sessions`` and
    ``seconds`` (shown as a duration).
    """
    if number is None or is_missing(number):
        return NOTHING
    if unit == "rate":
        return f"{100 * number:.1f}{PERCENT}"
    if unit == "seconds":
        return duration(number)
    if unit == "users":
        return f"{number:,.0f}"
    if unit == "sessions" and abs(number) < 10:
        return f"{number:.2f}"
    return f"{number:,.1f}" if abs(number) < 100 else f"{number:,.0f}"


def brief_value(number: float | None, unit: str) -> str:
    """The same to two significant figures where it is a share of a tenth or more: 37 %."""
    if unit == "rate" and number is not None and abs(number) >= 0.1:
        return f"{100 * number:.0f}{PERCENT}"
    return value(number, unit)


def duration(seconds: float) -> str:
    """Minutes and seconds: 10m 51s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes:,}m {rest:02d}s" if minutes else f"{rest}s"


def signed(number: float | None, unit: str) -> str:
    """A difference with its sign; a difference of shares is in percentage points."""
    if number is None or is_missing(number):
        return NOTHING
    sign = MINUS if number < 0 else "+"
    size = f"{100 * abs(number):.1f} points" if unit == "rate" else value(abs(number), unit)
    return f"{sign}{size}"


def change(now: float | None, before: float | None, unit: str) -> str:
    """How far a value moved, with its sign: shares in points, durations as such, the rest with the percentage too."""
    if now is None or before is None or is_missing(now) or is_missing(before):
        return ""
    difference = signed(now - before, unit)
    if unit in ("rate", "seconds") or not before:
        return difference
    return f"{difference}, {percentage_change(now, before)}"


def percentage_change(now: float, before: float) -> str:
    """A relative change with its sign; whole per cent from 10 on."""
    change_in_percent = 100 * (now / before - 1)
    size = abs(change_in_percent)
    return f"{MINUS if change_in_percent < 0 else '+'}{size:.{0 if size >= 9.95 else 1}f}{PERCENT}"


def interval(low: float | None, high: float | None, unit: str) -> str:
    """Both ends of an interval; empty without one."""
    if low is None or high is None or is_missing(low) or is_missing(high):
        return ""
    return f"{value(low, unit).removesuffix(PERCENT)} – {value(high, unit)}"


def movement(before: float, now: float, unit: str) -> str:
    """A sentence's predicate: rose from 5.4 % to 5.7 %."""
    if value(now, unit) == value(before, unit):
        return f"stayed at {value(now, unit)}"
    verb = "rose" if now > before else "fell"
    return f"{verb} from {value(before, unit)} to {value(now, unit)}"


def day(when: date) -> str:
    """2 Feb 2026."""
    return f"{when:%-d %b %Y}"


def month(when: date) -> str:
    """Feb 2026."""
    return f"{when:%b %Y}"


def period(start: date, end: date) -> str:
    """A calendar month by its name, a single day alone, and anything else from day to day."""
    if start == end:
        return day(end)
    if is_whole_month(start, end):
        return month(start)
    return f"{day(start)} – {day(end)}"


def is_whole_month(start: date, end: date) -> bool:
    """Whether the days are exactly one calendar month."""
    return (
        start.day == 1
        and (start.year, start.month) == (end.year, end.month)
        and (end + timedelta(1)).day == 1
    )


def use_labels(file: Path | None) -> None:
    """Reads the labels of names from a CSV file with the columns name and label; None removes all labels.

    Raises:
        UserError: the file cannot be read, or has other columns.
    """
    _LABELS.clear()
    if file is None:
        return
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            _LABELS.update({row["name"].strip(): row["label"].strip() for row in csv.DictReader(lines)})
    except (OSError, UnicodeError, KeyError, AttributeError, csv.Error) as error:
        raise UserError(f"{file}: cannot be read ({error!r}). Labels have the columns name,label.") from None


def label(name: str) -> str:
    """A column's or value's name for people: `paid_social` is Paid social, while DE and iOS stay as they are."""
    if known := _LABELS.get(name, STANDARD_LABELS.get(name)):
        return known
    text = name.replace("_", " ").strip()
    return text[:1].upper() + text[1:] if text.islower() else text


def count_word(count: int) -> str:
    """A small count in words: three."""
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    return words[count] if count < len(words) else f"{count:,}"


def enumeration(items: Sequence[str]) -> str:
    """A, b and c."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
