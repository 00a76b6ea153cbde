"""One view: a generation as the filters cut it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from functools import cached_property

import pandas as pd

from user_engagement import formatting as fmt
from user_engagement.dashboard.data import ALL, Frame, Generation, UnavailableError
from user_engagement.dashboard.filters import COMPARISONS, MOST_VALUES, RANGES, Filters
from user_engagement.dashboard.theme import LIGHT, Style, Theme, slots


@dataclass(frozen=True)
class View:
    """``marks`` are the annotations to draw: their day and label."""

    generation: Generation
    filters: Filters = field(default_factory=Filters)
    theme: Theme = LIGHT
    marks: Frame = field(default_factory=lambda: pd.DataFrame({"day": [], "label": []}))

    @cached_property
    def first_day(self) -> date:
        days = self.generation.frame("active_users_daily").activity_date
        return days.min().date() if len(days) else self.generation.as_of

    @cached_property
    def days(self) -> tuple[date, date]:
        """The chosen days, as far as there are data.

        Raises:
            UnavailableError: there are none.
        """
        start, end = self.filters.days(self.generation, self.first_day)
        start, end = max(start, self.first_day), min(end, self.generation.as_of)
        if start > end:
            raise UnavailableError(
                "There are no data in the days chosen.",
                f"Choose some from {fmt.day(self.first_day)} to {fmt.day(self.generation.as_of)}.",
            )
        return start, end

    @cached_property
    def values(self) -> tuple[str, ...]:
        """The segment values shown: those chosen, or else the largest, in a fixed order."""
        if self.filters.segment == ALL:
            return (ALL,)
        present = self.generation.segments[self.filters.segment]
        chosen = [v for v in present if v in self.filters.values] or present
        return tuple(chosen[:MOST_VALUES])

    @property
    def group_value(self) -> str:
        """Whom charts and sentences about one group show: the value chosen for them, the only one, or all users."""
        if self.filters.segment == ALL:
            return ALL
        if self.filters.focus in self.values:
            return self.filters.focus
        return self.values[0] if len(self.values) == 1 else ALL

    @property
    def group(self) -> str:
        """The same in words, for sentences and titles."""
        if self.group_value == ALL:
            return "all users"
        return f"{fmt.label(self.filters.segment).lower()} {fmt.label(self.group_value)}"

    @cached_property
    def style(self) -> Style:
        present = self.generation.segments.get(self.filters.segment, ())
        return Style(self.theme, slots(present), self.marks)

    def rows(self, mart: str, **where: object) -> Frame:
        """The mart's rows of the values shown, in their order, for which the columns named have the values given."""
        frame = self.generation.of_segment(mart, self.filters.segment)
        mask = frame.segment_value.isin(self.values)
        for column, value in where.items():
            mask &= frame[column] == value
        found = frame[mask]
        order = {value: number for number, value in enumerate(self.values)}
        return found.iloc[found.segment_value.map(order).argsort(kind="stable")]

    def group_rows(self, mart: str, **where: object) -> Frame:
        """The mart's rows of the one group for which the columns named have the values given."""
        segment = ALL if self.group_value == ALL else self.filters.segment
        frame = self.generation.of_segment(mart, segment)
        mask = frame.segment_value == self.group_value
        for column, value in where.items():
            mask &= frame[column] == value
        return frame[mask]

    def within(self, rows: Frame, column: str, monthly: bool = False) -> Frame:
        """Rows whose day, or month, the chosen days touch."""
        start, end = self.days
        first = pd.Timestamp(start.replace(day=1) if monthly else start)
        return rows[(rows[column] >= first) & (rows[column] <= pd.Timestamp(end))]

    def earlier(self, rows: Frame, column: str, monthly: bool = False) -> tuple[str, Frame] | None:
        """The comparison chosen: its name, and its rows with the place on this period's axis as ``drawn_at``."""
        if self.filters.compare == "none":
            return None
        start, end = self.days
        if monthly:
            start = start.replace(day=1)
            span = (end.year - start.year) * 12 + end.month - start.month + 1
            shift = pd.DateOffset(months=12 if self.filters.compare == "year" else span)
        else:
            # 52 weeks, so that weekdays meet their own kind
            shift = pd.DateOffset(days=364 if self.filters.compare == "year" else (end - start).days + 1)
        moved = rows[column] + shift
        before = rows.assign(drawn_at=moved)[(moved >= pd.Timestamp(start)) & (moved <= pd.Timestamp(end))]
        if "is_complete" in before:
            before = before[before.is_complete]
        return COMPARISONS[self.filters.compare], before

    @property
    def short_words(self) -> str:
        """The filters in a few words."""
        chosen = self.filters
        days = RANGES[chosen.range]
        if chosen.range == "custom" and chosen.start and chosen.end:
            days = fmt.period(chosen.start, chosen.end)
        who = "All users" if self.filters.segment == ALL else f"By {fmt.label(self.filters.segment).lower()}"
        if len(self.values) == 1 and self.filters.segment != ALL:
            who = fmt.label(self.values[0])
        return f"{days} · {who}"

    @property
    def in_words(self) -> str:
        """What the filters say."""
        parts = [fmt.period(*self.days)]
        if self.filters.segment == ALL:
            parts.append("all users")
        else:
            named = fmt.enumeration([fmt.label(value) for value in self.values])
            parts.append(f"{fmt.label(self.filters.segment).lower()}: {named}")
            present = self.generation.segments[self.filters.segment]
            wanted = len(self.filters.values) or len(present)
            if wanted > len(self.values):
                parts.append(
                    f"the {len(self.values)} largest of {wanted} values, choose others in the filters"
                )
        if self.filters.compare != "none":
            parts.append(f"compared with {COMPARISONS[self.filters.compare].lower()}")
        return " · ".join(parts)
