"""Weekly counts as arrays: what every group of users could have done and did, by tenure and week.

A leaf is a combination of all attributes. Counts are additive over leaves, so that those of any group are one matrix
product; no row per user is ever needed. Users are also dealt into random buckets: how much these differ from each other
is how much users vary by themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from user_engagement.insights.cells import EVERYBODY, OTHER
from user_engagement.insights.counts import Cells, Counts, Floats
from user_engagement.insights.measurement import Outage
from user_engagement.insights.scan import Conditions, Groups, singles_and_pairs
from user_engagement.insights.threads import mapped

HABITS = ("main_device", "interaction_type", "activity_level")
LEVEL = "activity_level"
NONE = "none"
REST = "*"
"""All values of an attribute that need not be told apart."""
MOST_VALUES = 12
"""Values of an attribute that are told apart; the rarer ones are `other` together."""
LEAST_USERS = 100
BUCKETS = 64
MOST_STRATA = 100
LEAST_SHARE = 0.02
"""Of the users: smaller groups are not scanned."""
MOST_EARLIER = 0.1
"""Share of the users who signed up before the history, above which what they do by habit is not compared by tenure."""
USED = ("active_users", "active_days", "sessions", "recent_users", "retained_users", "active_users_28")
WEEKLY = (*USED, "churned_users", "days_by_vanished", "session_seconds", "log_seconds")
READ = tuple(name for name in (*WEEKLY, "users") if name != "log_seconds")
"""Weekly counts that people read."""
COHORT = ("signups", "activated_users", "early_active_days")
TENURES = np.array([0, 1, 2, 3, 4, 6, 8, 12, 18, 26, 39, 52, 78, 104, 156, 208])
"""First whole week since signup of each band; as the macro `tenure_bands`."""
OBSERVED_DAYS = {"signups": 0, "activated_users": 6, "early_active_days": 28}
"""Days after signup that must be over before a cohort's count is complete."""


@dataclass(frozen=True)
class Panel(Groups):
    """All counts of a company, and the groups of users that are told apart.

    Attributes:
        weeks: Mondays of the complete weeks.
        tenures: first whole week since signup of each band; shape (tenures,).
        attributes: the value of each leaf; each of shape (leaves,).
        leaves: counts of the leaves. buckets: counts of random groups of users.
        observed: whether a cohort's count is complete; each of shape (weeks,).
        leaf_of: the leaf of each group cell.
        outages: days without any event.
        habit_sessions: sessions by the habit of their user and by their own kind; as dbt counts them.
        has_one_curve: whether all segments share a tenure curve, however few combinations of them there are.
    """

    weeks: pd.DatetimeIndex
    tenures: NDArray[np.int64]
    attributes: Mapping[str, NDArray[np.str_]]
    leaves: Counts
    buckets: Counts
    observed: Mapping[str, NDArray[np.bool_]]
    leaf_of: pd.Series
    outages: tuple[Outage, ...] = ()
    habit_sessions: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)
    has_one_curve: bool = False

    @property
    def size(self) -> int:
        return len(self.users)

    @cached_property
    def unrecorded(self) -> NDArray[np.bool_]:
        """Weeks with a day of which no event was recorded; shape (weeks,)."""
        weeks = np.zeros(len(self.weeks), dtype=bool)
        for outage in self.outages:
            weeks[outage.since : outage.until] = True
        return weeks

    @cached_property
    def users(self) -> Floats:
        """Users of each leaf; shape (leaves,)."""
        return self.leaves.cohorts["all_signups"].sum(axis=1)

    @cached_property
    def begins_late(self) -> bool:
        """Whether many users signed up before the history: their habits are of a later part of their life."""
        signups = self.leaves.cohorts["all_signups"]
        return bool(signups[:, : -len(self.weeks) - 1].sum() > MOST_EARLIER * signups.sum())

    @cached_property
    def groups(self) -> list[Conditions]:
        """Every value, and every pair of values of two attributes, that enough users have."""
        total = self.users.sum()
        found: list[Conditions] = []
        values = {
            name: [str(value) for value in np.unique(of) if value not in (NONE, OTHER)]
            for name, of in self.attributes.items()
        }
        for group in singles_and_pairs(values):
            users = self.users[self.members(group)].sum()
            least = LEAST_USERS if len(group) == 1 else max(LEAST_USERS, LEAST_SHARE * total)
            if least <= users <= total - LEAST_USERS:
                found.append(group)
        return found

    def parts_of(self, group: Mapping[str, str]) -> list[Conditions]:
        """The group's parts by one further attribute that enough users have."""
        return [
            part for part in super().parts_of(group) if self.users[self.members(part)].sum() >= LEAST_USERS
        ]

    @cached_property
    def cumulative_users(self) -> Floats:
        """Users of each group who had signed up by a week; shape (groups, weeks)."""
        return np.cumsum(self.membership @ self.leaves.cohorts["all_signups"], axis=1)[:, -len(self.weeks) :]

    @cached_property
    def strata(self) -> Floats:
        """1 where a leaf has a combination of segments; shape (combinations, leaves), one for all if there are many."""
        segments = {name: values for name, values in self.attributes.items() if name not in HABITS}
        if not segments:
            return np.ones((1, len(self.users)), np.float32)
        number = pd.DataFrame(segments).groupby(list(segments)).ngroup().to_numpy()
        if number.max() >= MOST_STRATA or self.has_one_curve:
            number = np.zeros_like(number)
        return (number[None, :] == np.arange(number.max() + 1)[:, None]).astype(np.float32)

    def joined(
        self, groups: Iterable[Conditions], weekly: Iterable[str] = READ
    ) -> tuple[Panel, NDArray[np.int64]]:
        """The panel with leaves joined that none of the groups tells apart, and the new leaf of each leaf.

        Args:
            weekly: names of the weekly counts that are asked for.
        """
        coarse = {}
        for name, values in self.attributes.items():
            told = {group[name] for group in groups if name in group}
            if name not in HABITS and len(self.strata) > 1:
                # each combination of segments has a curve of its own
                coarse[name] = values
            elif told:
                coarse[name] = np.where(np.isin(values, [*told, NONE]), values, REST)
        return self._joined(coarse, weekly)

    def without_attributes(
        self, names: Iterable[str], weekly: Iterable[str] = ()
    ) -> tuple[Panel, NDArray[np.int64]]:
        """The panel with leaves joined that only these attributes tell apart, and the new leaf of each leaf.

        Args:
            weekly: names of the weekly counts that are asked for.
        """
        return self._joined(
            {name: values for name, values in self.attributes.items() if name not in names}, weekly
        )

    def _joined(
        self, coarse: Mapping[str, NDArray[np.str_]], weekly: Iterable[str]
    ) -> tuple[Panel, NDArray[np.int64]]:
        leaf_of, attributes = np.zeros(self.size, int), {}
        if coarse:
            leaf_of = pd.DataFrame(coarse).groupby(list(coarse)).ngroup().to_numpy()
            first = np.unique(leaf_of, return_index=True)[1]
            attributes = {name: values[first] for name, values in coarse.items()}
        joined = replace(
            self,
            attributes=attributes,
            leaves=self.leaves.joined(leaf_of, weekly),
            has_one_curve=len(self.strata) == 1,
        )
        return joined, leaf_of


def panel_of(
    group_cells: pd.DataFrame,
    weekly_counts: pd.DataFrame,
    cohort_counts: pd.DataFrame,
    segment_values: pd.DataFrame,
    group: Mapping[str, str],
) -> Panel | None:
    """The arrays of a company's counts; None where not one week is complete.

    Args:
        group_cells, weekly_counts, cohort_counts, segment_values: as dbt makes them.
        group: conditions that the users must meet; all users where there are none.

    Raises:
        KeyError: an attribute of the group that the company has not.
    """
    if weekly_counts.empty:
        return None
    if group:
        return _of_group(group_cells, weekly_counts, cohort_counts, segment_values, group)
    cohort_counts = cohort_counts.assign(signup_week=pd.to_datetime(cohort_counts.signup_week))
    known_weeks = pd.to_datetime(weekly_counts.week_start.unique())
    weeks = pd.date_range(known_weeks.min(), known_weeks.max(), freq="7D")
    first_signups = cohort_counts.signup_week.min()
    tenures = TENURES[max(0, (weeks[-1] - first_signups).days // 7) >= TENURES]
    attributes, leaf_of = _leaves(group_cells, cohort_counts, segment_values)
    is_group = [(counts.cell_kind == "group").to_numpy() for counts in (weekly_counts, cohort_counts)]
    groups = [np.flatnonzero(each) for each in is_group]
    buckets = [np.flatnonzero(~each) for each in is_group]
    # a bucket of users who were never active has signups alone
    last_bucket = max(
        counts.cell.to_numpy()[rows].max()
        for counts, rows in zip((weekly_counts, cohort_counts), buckets, strict=True)
    )
    bucket_of = pd.Series(np.arange(last_bucket + 1))
    leaves, of_buckets = (
        _counts(weekly_counts, cohort_counts, *rows, number_of, weeks, tenures)
        for rows, number_of in ((groups, leaf_of), (buckets, bucket_of))
    )
    last_day = weeks[-1] + pd.Timedelta(days=6)
    observed = {
        name: np.asarray(weeks + pd.Timedelta(days=6 + days) <= last_day)
        for name, days in OBSERVED_DAYS.items()
    }
    return Panel(weeks, tenures, attributes, leaves, of_buckets, observed, leaf_of)


def named_cells(group_cells: pd.DataFrame, segment_values: pd.DataFrame) -> pd.DataFrame:
    """The value of every attribute of each group cell."""
    named = segment_values[segment_values.segment_name != EVERYBODY]
    wide = named.pivot(index="segment_cell", columns="segment_name", values="segment_value")
    return group_cells.set_index("group_cell").join(wide, on="segment_cell").drop(columns="segment_cell")


def _of_group(
    group_cells: pd.DataFrame,
    weekly_counts: pd.DataFrame,
    cohort_counts: pd.DataFrame,
    segment_values: pd.DataFrame,
    group: Mapping[str, str],
) -> Panel | None:
    """The panel of a group's users alone; its leaves stand in for the buckets, which know no attributes."""
    cells = named_cells(group_cells, segment_values)
    inside = np.ones(len(cells), dtype=bool)
    for name, value in group.items():
        inside &= (cells[name] == value).to_numpy()
    chosen = cells.index[inside]
    rng = np.random.default_rng(0)
    bucket_of = pd.Series(rng.integers(0, BUCKETS, len(chosen)), index=chosen)

    def own(table: pd.DataFrame) -> pd.DataFrame:
        part = table[(table.cell_kind == "group") & table.cell.isin(chosen)]
        dealt = part.assign(cell_kind="bucket", cell=part.cell.map(bucket_of))
        return pd.concat([part, dealt], ignore_index=True)

    kept = group_cells[group_cells.group_cell.isin(chosen)]
    return panel_of(kept, own(weekly_counts), own(cohort_counts), segment_values, {})


def _leaves(
    group_cells: pd.DataFrame, cohort_counts: pd.DataFrame, segment_values: pd.DataFrame
) -> tuple[dict[str, NDArray[np.str_]], pd.Series]:
    """Values of each leaf, and the number of the leaf that each group cell is part of."""
    cells = named_cells(group_cells, segment_values)
    of_groups = cohort_counts[cohort_counts.cell_kind == "group"]
    users = of_groups.groupby("cell").signups.sum().reindex(cells.index, fill_value=0)
    values = {}
    for name in [*(each for each in cells if each not in HABITS), *HABITS]:
        held = users.groupby(cells[name]).sum().sort_values(ascending=False)
        kept = held.index[:MOST_VALUES]
        values[name] = cells[name].where(cells[name].isin(kept), OTHER).astype(str)
    frame = pd.DataFrame(values)
    # an attribute with one value tells nothing apart
    frame = frame[[name for name in frame if frame[name].nunique() > 1]]
    if frame.empty or not len(frame.columns):
        return {}, pd.Series(0, index=cells.index)
    # leaves in the order of their cells, so that counts which are read in that order need not be sorted
    leaf = frame.groupby(list(frame.columns), sort=False).ngroup()
    first = frame.assign(leaf=leaf).drop_duplicates("leaf").sort_values("leaf")
    return {str(name): first[name].to_numpy(dtype=str) for name in frame}, leaf


def _counts(
    weekly: pd.DataFrame,
    cohorts: pd.DataFrame,
    rows: NDArray[np.int64],
    cohort_rows: NDArray[np.int64],
    number_of: pd.Series,
    weeks: pd.DatetimeIndex,
    tenures: NDArray[np.int64],
) -> Counts:
    """The counts of cells of a kind.

    Args:
        rows, cohort_rows: those of the kind; quickest in order of tenure, week and leaf.
        number_of: the leaf of each group cell or bucket.
    """
    cohorts = cohorts.iloc[cohort_rows]
    size = int(number_of.max()) + 1
    first_signups = min(cohorts.signup_week.min(), weeks[0])
    earlier = (weeks[0] - first_signups).days // 7
    by_cohort = _summed(
        number_of[cohorts.cell].to_numpy(),
        (cohorts.signup_week - first_signups).dt.days.to_numpy() // 7,
        cohorts[list(COHORT)],
        (size, earlier + len(weeks) + 1),
    )
    signups = by_cohort["signups"]
    users = np.zeros((len(tenures), len(weeks), size), np.float32)
    signups_by_week = np.ascontiguousarray(signups.T)
    for age in range(1, earlier + len(weeks)):
        band = int(np.searchsorted(tenures, age, side="right")) - 1
        since = max(0, age - earlier)
        users[band, since:] += signups_by_week[since + earlier - age : earlier + len(weeks) - age]
    week_start = weekly.week_start.to_numpy().take(rows).astype("datetime64[D]")
    week = (week_start - weeks[0].to_datetime64().astype("datetime64[D]")).astype(np.int32) // 7
    tenure = np.arange(len(tenures), dtype=np.int32).repeat(np.diff(tenures, append=tenures[-1] + 1))
    place = (tenure[weekly.tenure_weeks.to_numpy().take(rows)] * len(weeks) + week) * size
    place += number_of[weekly.cell.to_numpy().take(rows)].to_numpy(np.int32)
    if (place[1:] < place[:-1]).any():
        # in order, so that memory is read and written along
        order = np.argsort(place, kind="stable")
        rows, place = rows[order], place[order]
    is_cell = users.ravel() > 0
    is_cell[place] = True
    first = np.flatnonzero(np.diff(place, prepend=-1))
    cells = Cells.of_places(np.flatnonzero(is_cell), (size, len(tenures), len(weeks)))
    cell = (np.cumsum(is_cell, dtype=np.int32) - 1)[place[first]]

    def counted(name: str) -> Floats:
        counts = np.zeros(len(cells.leaf), np.float32)
        counts[cell] = np.add.reduceat(weekly[name].to_numpy().take(rows), first)
        return counts

    weekly_counts = dict(zip(WEEKLY, mapped(counted, WEEKLY), strict=True))
    return Counts(
        cells,
        {**weekly_counts, "users": users.ravel()[is_cell]},
        {
            **{name: count[:, earlier : earlier + len(weeks)] for name, count in by_cohort.items()},
            "all_signups": signups,
        },
    )


def _summed(
    rows: NDArray[np.int64], columns: NDArray[np.int64], counts: pd.DataFrame, shape: tuple[int, int]
) -> dict[str, Floats]:
    place, size = rows * shape[1] + columns, shape[0] * shape[1]
    return {
        str(name): np.bincount(place, counts[name].to_numpy(float), size).astype(np.float32).reshape(shape)
        for name in counts
    }
