"""What a viewer has chosen, and how it is written into the address, so that a shared link opens the same view."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from urllib.parse import urlencode

from dateutil.relativedelta import relativedelta

from user_engagement.dashboard.data import Generation

MOST_VALUES = 7
"""So many lines can be told apart by colour."""

RANGES = {
    "3m": "Last 3 months",
    "6m": "Last 6 months",
    "12m": "Last 12 months",
    "all": "All time",
    "custom": "From … to …",
}
COMPARISONS = {"none": "Nothing", "previous": "The period before", "year": "A year earlier"}


@dataclass(frozen=True)
class Option:
    """A choice that concerns some pages only; the first of its values is the default."""

    label: str
    values: Mapping[str, str]

    @property
    def default(self) -> str:
        return next(iter(self.values))


OPTIONS = {
    "active": Option("Active users", {"mau": "Monthly (rolling)", "wau": "Weekly (rolling)", "dau": "Daily"}),
    "period": Option(
        "Periods after signup",
        {
            "relative_month": "Months from the signup day",
            "calendar_month": "Calendar months",
            "days_30": "30-day periods",
        },
    ),
    "day_n": Option(
        "Active on day N",
        {"exact": "Exactly on day N", "bracket_7": "On day N to N + 6", "unbounded": "On or after day N"},
    ),
    "churn": Option("Kind of churn", {"declared": "Declared (cancelled)", "inactive": "Inactive"}),
    "grain": Option("Period", {"month": "Months", "week": "Weeks"}),
    "method": Option(
        "Methods, for analysts",
        {
            "none": "None",
            "mix": "Mix or behaviour",
            "first_week": "First week",
            "churn": "Churn: who and when",
            "risk": "Users at risk",
        },
    ),
}


@dataclass(frozen=True)
class Filters:
    """``segments`` maps each segment chosen to its values, none meaning all of them: a group for each value.

    Without segments there is one group, all users. ``focus`` is the group of charts that show only one.
    ``options`` holds what differs from the defaults.
    """

    page: str = ""
    range: str = "12m"
    start: date | None = None
    end: date | None = None
    segments: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    compare: str = "none"
    focus: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    def option(self, name: str) -> str:
        return self.options.get(name, OPTIONS[name].default)

    @property
    def is_default(self) -> bool:
        """Whether days, segment and comparison are as at the first opening."""
        return (self.range, self.segments, self.compare) == ("12m", {}, "none")

    def choose(self, name: str, value: object) -> Filters:
        """These filters with one of them, or an option of a page, changed."""
        if name in OPTIONS:
            return replace(self, options={**self.options, name: str(value)})
        return replace(self, **{name: value})

    def choose_segments(self, names: Iterable[str]) -> Filters:
        """These filters over other segments; those that stay keep their values."""
        return replace(self, segments={name: self.segments.get(name, ()) for name in names}, focus="")

    def choose_values(self, segment: str, values: Iterable[str]) -> Filters:
        """These filters with other values of a segment."""
        return replace(self, segments={**self.segments, segment: tuple(values)}, focus="")

    def days(self, generation: Generation, first: date) -> tuple[date, date]:
        """The first and last day chosen; ranges end with the data, or with the chosen day."""
        if self.range == "custom" and self.start and self.end:
            return self.start, self.end
        if self.range in ("all", "custom"):
            return first, generation.as_of
        months = int(self.range.removesuffix("m"))
        return generation.as_of - relativedelta(months=months) + timedelta(days=1), generation.as_of

    def to_query(self) -> dict[str, str | list[str]]:
        """The address' query; it names page and range always, and else what differs from the defaults."""
        query: dict[str, str | list[str]] = {"page": self.page, "range": self.range}
        if self.range == "custom" and self.start and self.end:
            query |= {"from": self.start.isoformat(), "to": self.end.isoformat()}
        if self.segments:
            query["segment"] = list(self.segments)
            alone = len(self.segments) == 1
            values = [
                value if alone else group_key(name, value)
                for name, chosen in self.segments.items()
                for value in chosen
            ]
            query |= {"value": values} if values else {}
            query |= {"focus": self.focus} if self.focus else {}
        if self.compare != "none":
            query["compare"] = self.compare
        return query | {n: v for n, v in sorted(self.options.items()) if v != OPTIONS[n].default}

    def to_address(self) -> str:
        """A link to the view, relative to the dashboard."""
        return f"?{urlencode(self.to_query(), doseq=True)}"

    @classmethod
    def from_query(cls, query: Mapping[str, list[str]], segments: Mapping[str, tuple[str, ...]]) -> Filters:
        """What an address asks for, as far as this generation knows it; the rest falls back to the defaults."""
        first = {name: values[0] for name, values in query.items() if values}
        chosen_segments = _segments(query, segments)
        start, end = _day(first.get("from")), _day(first.get("to"))
        chosen = first.get("range", "12m")
        if chosen not in RANGES or (chosen == "custom" and not (start and end)):
            chosen = "12m"
        custom = chosen == "custom"
        return cls(
            page=first.get("page", ""),
            range=chosen,
            start=start if custom else None,
            end=end if custom else None,
            segments=chosen_segments,
            compare=first["compare"] if first.get("compare") in COMPARISONS else "none",
            focus=first["focus"] if first.get("focus") in _group_keys(chosen_segments, segments) else "",
            options={n: first[n] for n, o in OPTIONS.items() if first.get(n) in o.values},
        )


def group_key(segment: str, value: str) -> str:
    """A group's name where several segments are chosen; segments' names hold no colon."""
    return f"{segment}: {value}"


def _segments(
    query: Mapping[str, list[str]], known: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """The segments and values that an address asks for, of those known."""
    names = [name for name in dict.fromkeys(query.get("segment", [])) if name in known]
    wanted = list(dict.fromkeys(query.get("value", [])))
    if len(names) == 1:
        return {names[0]: tuple(value for value in wanted if value in known[names[0]])}
    pairs = [(name, value, group_key(name, value)) for name in names for value in known[name]]
    return {name: tuple(v for key in wanted for n, v, k in pairs if n == name and k == key) for name in names}


def _group_keys(
    chosen: Mapping[str, tuple[str, ...]], known: Mapping[str, tuple[str, ...]]
) -> frozenset[str]:
    alone = len(chosen) == 1
    return frozenset(value if alone else group_key(name, value) for name in chosen for value in known[name])


def _day(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        return None
