"""One view: a generation as the filters cut it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from itertools import zip_longest
from typing import Any

import numpy as np
import pandas as pd

from user_engagement import formatting as fmt
from user_engagement.dashboard.data import ALL, GROUP, Frame, Generation, UnavailableError
from user_engagement.dashboard.filters import COMPARISONS, MOST_VALUES, RANGES, Filters, group_key
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
    def groups(self) -> Mapping[str, tuple[str, str]]:
        """The groups shown, in a fixed order: their keys, which rows and colours go by, with segment and value.

        Those chosen, or else the largest; of several segments without chosen values as many each.
        """
        chosen = self._chosen_groups().values()
        in_turn = [pair for place in zip_longest(*chosen) for pair in place if pair]
        kept = set(in_turn[:MOST_VALUES])
        pairs = [pair for of_segment in chosen for pair in of_segment if pair in kept]
        return {self._key(*pair): pair for pair in pairs} or {ALL: (ALL, ALL)}

    def _chosen_groups(self) -> dict[str, list[tuple[str, str]]]:
        found = {}
        for segment, values in self.filters.segments.items():
            present = self.generation.segments[segment]
            found[segment] = [(segment, v) for v in present if v in values] or [(segment, v) for v in present]
        return found

    def _key(self, segment: str, value: str) -> str:
        return group_key(segment, value) if len(self.filters.segments) > 1 else value

    @property
    def is_segmented(self) -> bool:
        return bool(self.filters.segments)

    @property
    def group_value(self) -> str:
        """Whom charts and sentences about one group show: the group chosen for them, the only one, or all users."""
        if self.filters.focus in self.groups:
            return self.filters.focus
        return next(iter(self.groups)) if len(self.groups) == 1 else ALL

    @property
    def group(self) -> str:
        """The same in words, for sentences and titles."""
        if self.group_value == ALL:
            return "all users"
        return _in_words(*self.groups[self.group_value])

    @property
    def users(self) -> str:
        """The same as users; where several groups are chosen, all users are named as such."""
        if self.group_value == ALL:
            return "all users" if self.is_segmented else "users"
        return f"users of {self.group}"

    @cached_property
    def style(self) -> Style:
        every = {
            self._key(segment, value): (segment, value)
            for segment in self.filters.segments
            for value in self.generation.segments[segment]
        }
        # several segments have more groups than colours, so that only those shown have one
        several = len(self.filters.segments) > 1
        labels = {key: _in_words(*pair, first=True) for key, pair in every.items()} if several else {}
        return Style(self.theme, slots(self.groups if several else every), self.marks, labels)

    def rows(self, mart: str, **where: object) -> Frame:
        """The mart's rows of the groups shown, in their order, for which the columns named have the values given.

        With several segments they have the column ``group``, since different segments may have equal values.
        """
        frames = []
        for key, (segment, value) in self.groups.items():
            frame = self.generation.of_segment(mart, segment)
            rows = _where(frame, segment_value=value, **where)
            frames.append(rows.assign(**{GROUP: key}) if len(self.filters.segments) > 1 else rows)
        return pd.concat(frames)

    def group_rows(self, mart: str, **where: object) -> Frame:
        """The mart's rows of the one group for which the columns named have the values given."""
        segment, value = self.groups.get(self.group_value, (ALL, ALL))
        return _where(self.generation.of_segment(mart, segment), segment_value=value, **where)

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
        is_shown = (moved >= pd.Timestamp(start)) & (moved <= pd.Timestamp(end))
        if "is_complete" in rows:
            is_shown &= rows.is_complete
        return COMPARISONS[self.filters.compare], rows[is_shown].assign(drawn_at=moved[is_shown])

    def month_before(self, month: Any) -> pd.Timestamp:
        """The month that a month's figure is compared with: the one before if so chosen, else that of a year ago."""
        return month - pd.DateOffset(months=1 if self.filters.compare == "previous" else 12)

    @property
    def short_words(self) -> str:
        """The filters in a few words."""
        chosen = self.filters
        days = RANGES[chosen.range]
        if chosen.range == "custom" and chosen.start and chosen.end:
            days = fmt.period(chosen.start, chosen.end)
        return self._who() if chosen.range == Filters.range else f"{days} · {self._who()}"

    def _who(self) -> str:
        if not self.is_segmented:
            return "All users"
        if len(self.groups) == 1:
            return fmt.label(next(iter(self.groups.values()))[1])
        return f"By {fmt.enumeration([fmt.label(name).lower() for name in self.filters.segments])}"

    @property
    def in_words(self) -> str:
        """What the filters say."""
        parts = [fmt.period(*self.days)]
        for segment in self.filters.segments:
            shown = [fmt.label(value) for name, value in self.groups.values() if name == segment]
            parts.append(f"{fmt.label(segment).lower()}: {fmt.enumeration(shown)}")
        if not self.is_segmented:
            parts.append("all users")
        wanted = sum(map(len, self._chosen_groups().values()))
        if wanted > len(self.groups):
            parts.append(f"{len(self.groups)} of {wanted} groups, choose others in the filters")
        if self.filters.compare != "none":
            parts.append(f"compared with {COMPARISONS[self.filters.compare].lower()}")
        return " · ".join(parts)

    def ignored(self, *names: str) -> str:
        """A sentence that names those filters of "days", "segments" and "comparison" which are set; else empty."""
        is_set = {
            "days": self.filters.range != Filters.range,
            "segments": self.is_segmented,
            "comparison": self.filters.compare != Filters.compare,
        }
        told = [name for name in names if is_set[name]]
        filters = "filter" if len(told) == 1 else "filters"
        return f"Does not follow the {filters} {fmt.enumeration(told)}." if told else ""


def _where(frame: Frame, **where: object) -> Frame:
    mask = np.ones(len(frame), bool)
    for column, value in where.items():
        mask &= (frame[column] == value).to_numpy()
    return frame[mask]


def _in_words(segment: str, value: str, first: bool = False) -> str:
    name = fmt.label(segment)
    return f"{name if first else name.lower()} {fmt.label(value)}"
