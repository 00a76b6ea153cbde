"""Numbers, days, periods and changes as they are read."""

from __future__ import annotations

import math
from datetime import date, timedelta
from typing import Any

PERCENT = "\u00a0%"
SMALL = 30
"""Shares and means of fewer users than this are marked: chance moves them more than anything else."""


def missing(value: Any) -> bool:
    return value is None or value != value


def shown(value: float | None, unit: str) -> str:
    """A value in its unit; a dash where there is none."""
    if value is None or missing(value):
        return "–"
    if unit == "rate":
        return f"{100 * value:.1f}{PERCENT}"
    if unit == "seconds":
        minutes, seconds = divmod(round(value), 60)
        return f"{minutes:,}m {seconds:02d}s" if minutes else f"{seconds}s"
    if unit == "users":
        return f"{value:,.0f}"
    if unit == "days" and value >= 100:
        return f"{value:,.1f}".removesuffix(".0")
    return f"{value:,.2f}" if unit == "sessions" else f"{value:,.1f}"


def change(now: float | None, before: float | None, unit: str) -> str:
    """A difference with its sign: of shares in points, of counts with the percentage as well."""
    if now is None or before is None or missing(now) or missing(before):
        return ""
    difference = now - before
    sign = "−" if difference < 0 else "+"
    size = abs(difference)
    if unit == "rate":
        return f"{sign}{100 * size:.1f} points"
    if unit == "seconds":
        return f"{sign}{shown(size, unit)}"
    relative = f", {sign}{100 * size / before:.1f}{PERCENT}" if before else ""
    return f"{sign}{shown(size, unit)}{relative}"


def interval(low: float | None, high: float | None, unit: str) -> str:
    if low is None or high is None or missing(low) or missing(high):
        return ""
    return f"{shown(low, unit).removesuffix(PERCENT)} – {shown(high, unit)}"


def day(value: date) -> str:
    return f"{value:%-d %b %Y}"


def month(value: date) -> str:
    return f"{value:%b %Y}"


def period(start: date, end: date) -> str:
    """A calendar month by its name, a single day alone, anything else from day to day."""
    if start == end:
        return day(end)
    if start.day == 1 and end + timedelta(days=1) == _next_month(start):
        return f"{start:%B %Y}"
    return f"{day(start)} – {day(end)}"


def label(name: str) -> str:
    """A column's or value's name as it is read: `product_type` is Product type."""
    text = name.replace("_", " ").strip()
    return text[:1].upper() + text[1:]


def moved(
    before: float, now: float, unit: str, *, low: float | None = None, high: float | None = None
) -> str:
    """What happened to a value, and whether its interval leaves room for nothing having happened."""
    if shown(now, unit) == shown(before, unit):
        return f"stayed at {shown(now, unit)}"
    verb = "rose" if now > before else "fell"
    text = f"{verb} from {shown(before, unit)} to {shown(now, unit)}"
    return f"{text} (no more than chance can explain)" if is_chance(before, low, high) else text


def is_chance(before: float | None, low: float | None, high: float | None) -> bool:
    """Whether the interval of the value now holds the value before; what has no interval is exact."""
    if before is None or low is None or high is None or missing(low) or missing(high):
        return False
    return low <= before <= high


def listed(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _next_month(day: date) -> date:
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


def wilson(successes: float, trials: float) -> tuple[float | None, float | None]:
    """The 95 % Wilson interval of a share; none of nothing."""
    if not trials:
        return None, None
    z = 1.959963984540054
    share, spread = successes / trials, z * z / trials
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / trials + spread / trials / 4) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)
