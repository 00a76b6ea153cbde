"""What is measured of users week by week, and how far each group's course is from what all others went through.

A measure is a numerator over an exposure, by leaf, tenure and week. A group's course is fitted beside its tenure curve
(iterative proportional fitting), so that a change is not swallowed by what is expected; the exposure is weighted by the
rates of the users' attributes, so that a shift of the mix among all others is no change of the group.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import xlogy

from user_engagement.insights.counts import Cells, Counts, Floats, summed
from user_engagement.insights.names import (
    ACTIVATION,
    ACTIVE_USERS,
    CHURN,
    DURATION,
    FIRST_DAYS,
    FREQUENCY,
    LENGTH,
    LENGTH_SCALE,
    NEW_USERS,
    OF_COHORTS,
    RESURRECTION,
    RETENTION,
    SESSIONS,
    SIGNUPS,
    USE,
)
from user_engagement.insights.panel import HABITS, LEAST_USERS, LEVEL, NONE, Panel
from user_engagement.insights.scan import Conditions
from user_engagement.insights.shapes import (
    RAMP_WEEKS,
    SHARED_PERSISTENCE,
    Array,
    Bank,
    Noise,
    NullTail,
    RandomGroups,
    autoregressive,
    bank_of,
    fit_noise,
    shared_variance,
)
from user_engagement.insights.threads import mapped

COMPLETE = {SIGNUPS: "signups", ACTIVATION: "activated_users", NEW_USERS: "early_active_days"}
ROUNDS = 12
SETTLED_WEEKS = 8
"""Since signup: an activity level is known, and says something, only after the weeks that define it."""
PSEUDO_GROUPS = 60
HARMONICS_FROM, YEAR = 78, 365.25
HOLIDAYS = ((12, 15, 7), (12, 22, 7), (12, 29, 7))
"""First days, and days, of the weeks around the end of a year: their share of each week is a term."""
ECHOES = ((1, 5, 14), (1, 19, 14))
"""The same of the fortnights after, in which who was away over the holidays was not active in the weeks before."""
LEAST_COUNT = 1e-3
HALF = 0.5
"""Added to counts whose logarithm is taken."""
FEW_SIGNUPS = 0.25
"""Of the mean of all weeks: what is expected of a week at least, so that signups that stop are seen."""
FEW_COUNTS = 30.0
"""Up to which a fall is judged by its deviance as well."""
LAPSE_WEEKS = 4
"""Before a week, whose activity says who is retained or returns in it."""
PRIOR_WEEKS = 26
"""Of the history: in these the levels of users from before it are still those of who happened to be active."""
FAMILY = 8
"""Measures that every group is scanned in."""
LEAST_SHARED = 0.005**2
"""Variance of a week's log ratio that all users share, at least."""


def parts(counts: Counts, name: str) -> tuple[Cells, Floats, Floats]:
    """The cells of a measure, of one tenure where tenure plays no part, and its numerator and exposure in each."""
    weekly, cohorts = counts.weekly, counts.cohorts
    if name in (*OF_COHORTS, FIRST_DAYS):
        cells = Cells.of_cohorts(len(cohorts["signups"]), counts.cells.shape[2])
        signups = cohorts["signups"].T.ravel()
        if name == FIRST_DAYS:
            return (
                cells,
                of_all_tenures(counts.cells, weekly["active_days"] * (counts.cells.tenure == 0)),
                signups,
            )
        if name == SIGNUPS:
            # how sure their logarithm is depends on them as they were, whatever is taken out
            return cells, signups, signups
        numerator = {ACTIVATION: "activated_users", NEW_USERS: "early_active_days"}[name]
        return cells, cohorts[numerator].T.ravel(), signups
    if name in (DURATION, LENGTH):
        # how long a session is hardly depends on tenure, and a fit of both would be slow where tenure goes with time
        names = ("sessions", "session_seconds" if name == DURATION else "log_seconds")
        sessions, done = (of_all_tenures(counts.cells, weekly[each]) for each in names)
        if name == LENGTH:
            mean = done.sum() / max(sessions.sum(), 1)
            done = sessions + (done - np.float32(mean) * sessions) / np.float32(LENGTH_SCALE)
        leaves, _, weeks = counts.cells.shape
        return Cells.of_cohorts(leaves, weeks), done, sessions
    # the week of signup has no whole week of exposure
    later = (counts.cells.tenure > 0).astype(np.float32)
    if name == RESURRECTION:
        back = (weekly["active_users"] - weekly["retained_users"]) * later
        away = weekly["users"] - weekly["recent_users"] * later
        return counts.cells, np.maximum(back, 0), np.maximum(away, 0)
    if name == SESSIONS:
        return counts.cells, weekly["sessions"], weekly["active_days"]
    numerator, exposure = {
        USE: ("active_days", "users"),
        ACTIVE_USERS: ("active_users", "users"),
        FREQUENCY: ("active_days", "active_users"),
        CHURN: ("churned_users", "recent_users"),
        RETENTION: ("retained_users", "recent_users"),
    }[name]
    # users of the week of signup are not counted among them
    could = weekly[exposure] if exposure == "users" else weekly[exposure] * later
    return counts.cells, weekly[numerator] * later, could


def of_all_tenures(cells: Cells, counts: Floats) -> Floats:
    """Sums over tenures, in the order of `Cells.of_cohorts`."""
    leaves, _, weeks = cells.shape
    return summed(cells.of_all_tenures, counts, leaves * weeks)


def untold(name: str) -> tuple[str, ...]:
    """Attributes that say nothing about a measure: habits of new users are part of what they do."""
    if name == SIGNUPS:
        return HABITS
    if name in OF_COHORTS:
        return ("interaction_type", LEVEL)
    return () if name == USE else (LEVEL,)


@dataclass
class Measure:
    """A measure of one panel; what is found is taken out of `actual` and `exposure`, and both are looked at again.

    `actual`, `exposure` and, by levels of activity, `by_level` are counts of `cells`. `among` (leaves,) and `seen`
    (tenures, weeks) are 1 where counts are looked at, and 0 elsewhere. `totals` keeps what the counts of the panel's
    groups, and of all leaves, add up to. `drawn` and `drawn_exposure` are of the buckets; (buckets, tenures, weeks).
    """

    panel: Panel
    name: str
    cells: Cells = field(init=False)
    actual: Floats = field(init=False)
    exposure: Floats = field(init=False)
    by_level: Floats | None = field(init=False, default=None)
    unit: float = field(init=False, default=1.0)
    tenures: NDArray[np.int64] = field(init=False)
    among: Floats = field(init=False)
    seen: Floats = field(init=False)
    family: int = field(init=False)
    totals: dict[tuple[str, bool], Floats] = field(init=False, default_factory=dict)
    drawn: Floats = field(init=False)
    drawn_exposure: Floats = field(init=False)
    noise: Noise = field(init=False)
    bank: Bank = field(init=False)
    random: RandomGroups = field(init=False)

    def __post_init__(self) -> None:
        self.cells, actual, exposure = parts(self.panel.leaves, self.name)
        buckets, *of_buckets = parts(self.panel.buckets, self.name)
        drawn, drawn_exposure = (buckets.dense(each) for each in of_buckets)
        known = np.ones(len(self.panel.weeks), np.float32)
        if self.name in OF_COHORTS:
            known = self.panel.observed[COMPLETE[self.name]].astype(np.float32)
        elif self.panel.begins_late and self.name in (RETENTION, RESURRECTION, CHURN):
            # who was active before the history is unknown
            known[:LAPSE_WEEKS] = 0
        if not known.all():
            of_week = known[self.cells.week]
            actual, exposure = actual * of_week, exposure * of_week
            drawn, drawn_exposure = drawn * known, drawn_exposure * known
        self.tenures = self.panel.tenures if self.cells.shape[1] > 1 else np.zeros(1, int)
        self.family = FAMILY * (len(self.panel.groups) + 1)
        if self.name == DURATION:
            # in sessions of mean length, so that counts tell how much there is
            self.unit = float(actual.sum() / max(exposure.sum(), 1)) or 1.0
            actual, drawn = actual / np.float32(self.unit), drawn / np.float32(self.unit)
        self.actual = actual
        self.exposure = exposure
        if self.name != SIGNUPS:
            hidden = HABITS if self.panel.begins_late else (LEVEL,)
            self.exposure = self.weighted(
                exposure, [name for name in self.panel.attributes if name not in hidden]
            )
        if self.name == USE and LEVEL in self.panel.attributes:
            self.by_level = self.weighted(exposure, [LEVEL])
        self.drawn, self.drawn_exposure = drawn, drawn_exposure
        self.among = np.ones(len(self.panel.users), np.float32)
        self.seen = np.ones(self.cells.shape[1:], np.float32)
        self.prepare()

    def weighted(self, exposure: Floats, names: list[str]) -> Floats:
        """The exposure times the rate of each attribute's value by tenure, relative to all values."""
        done, could = (self.cells.by_tenure(each) for each in (self.actual, exposure))
        factor = np.ones_like(could)
        for name in names:
            values, place = np.unique(self.panel.attributes[name], return_inverse=True)
            marks = (place[None, :] == np.arange(len(values))[:, None]) * 1.0
            factor *= ((marks @ done + 1) / (marks @ (could * factor) + 1))[place]
        return exposure * factor.T.astype(np.float32).ravel()[self.cells.row]

    def fresh(self) -> Measure:
        """The same measure, to take changes out of while this one stays as it is."""
        other = copy(self)
        other.totals = dict(self.totals)
        return other

    def joined(self, panel: Panel, leaf_of: NDArray[np.int64]) -> Measure:
        """The same measure of a panel of coarser leaves; `leaf_of` is the one of each leaf."""
        other = self.fresh()
        other.panel, other.totals, other.among = panel, {}, np.ones(panel.size, np.float32)
        other.cells, number = self.cells.joined(leaf_of, panel.size)
        for name in ("actual", "exposure", "by_level"):
            if (counts := getattr(self, name)) is not None:
                setattr(other, name, summed(number, counts, len(other.cells.leaf)))
        return other

    def prepare(self) -> None:
        """Noise of the users from random unions of buckets, which have no cause."""
        drawn, drawn_exposure = self.drawn, self.drawn_exposure
        rng = np.random.default_rng(0)
        shares = (0.1, 0.2, 0.35, 0.5) if self.name in OF_COHORTS else (0.03, 0.05, 0.12, 0.2, 0.35)
        chosen = rng.random((PSEUDO_GROUPS, len(drawn))) < rng.choice(shares, PSEUDO_GROUPS)[:, None]
        chosen[np.arange(PSEUDO_GROUPS), rng.integers(0, len(drawn), PSEUDO_GROUPS)] = True
        marks = chosen.astype(np.float32)
        inside = [np.tensordot(marks, each, 1) for each in (drawn, drawn_exposure)]
        everybody = drawn.sum(0)[None], drawn_exposure.sum(0)[None]
        contrasts, sampling = self._difference(*inside, everybody[0] - inside[0], everybody[1] - inside[1])
        ramps = (RAMP_WEEKS, 13, 26, 52, -26, -52) if self.name == SIGNUPS else (RAMP_WEEKS,)
        self.bank = bank_of(len(self.panel.weeks), ramps=ramps)
        self.random = RandomGroups(contrasts, sampling, fit_noise(contrasts, sampling), self.bank)
        self.noise = self.random.noise

    def known_groups(self) -> NDArray[np.bool_]:
        """Shapes that begin when a group has enough users; shape (groups, shapes)."""
        return self.panel.cumulative_users[:, np.maximum(self.bank.since - 2, 0)] >= LEAST_USERS

    @property
    def inflation(self) -> Array:
        return self.random.inflation

    @property
    def own_inflation(self) -> Array:
        """Of use, what users do by themselves averages out over all of them."""
        return np.ones(1) if self.name == USE else self.inflation

    @property
    def null(self) -> NullTail:
        return self.random.null

    # -- courses -------------------------------------------------------------------------------------------

    def course(self, actual: Floats, exposure: Floats) -> tuple[Array, Array]:
        """The log of a group's weekly course net of its tenures, and the count expected of each week without it.

        Args:
            actual, exposure: shape (groups, tenures, weeks).

        Returns two arrays of shape (groups, weeks).
        """
        if self.name == SIGNUPS:
            counts = np.maximum(exposure[:, 0], 0)
            usual = np.maximum(smoothed(counts), FEW_SIGNUPS * counts.mean(1, keepdims=True))
            return np.log(np.maximum(actual[:, 0], 0) + HALF), usual
        if self.panel.unrecorded.any():
            recorded = (~self.panel.unrecorded).astype(np.float32)
            actual, exposure = actual * recorded, exposure * recorded
        per_tenure, per_week = actual.sum(2), actual.sum(1)
        per_tenure, per_week = np.maximum(per_tenure, 0), np.maximum(per_week, 0)
        course = np.ones_like(per_week)
        expected = per_week
        for _ in range(ROUNDS if actual.shape[1] > 1 else 3):
            rate = (per_tenure + 1e-9) / (np.einsum("gtw,gw->gt", exposure, course) + 1e-9)
            expected = np.einsum("gtw,gt->gw", exposure, rate)
            course = (per_week + HALF) / (expected + HALF)
        return np.log(course).astype(float), expected.astype(float)

    def _difference(
        self, actual: Floats, exposure: Floats, other_actual: Floats, other_exposure: Floats
    ) -> tuple[Array, Array]:
        (own, count), (others, other_count) = mapped(
            lambda counts: self.course(*counts), [(actual, exposure), (other_actual, other_exposure)]
        )
        if self.name == SIGNUPS:
            # a log ratio to what is expected by the group's usual share is nearly the root of its deviance where it is
            # weighed by the geometric mean of both counts
            share = exposure.sum((1, 2)) / np.maximum(other_exposure.sum((1, 2)), 1)
            usual = share[:, None] * other_count
            count = np.sqrt(count * np.maximum(count, usual))
        elif self.name in (NEW_USERS, ACTIVATION):
            # so is that of a cohort of a few users of whom hardly one came back
            came = np.maximum(actual.sum(1), 0) + HALF
            count = np.sqrt(count * np.minimum(count, came))
        sampling = 1 / np.maximum(count, LEAST_COUNT) + 1 / np.maximum(other_count, LEAST_COUNT)
        return own - others, sampling

    def contrasts(self, membership: Floats, groups: Sequence[Conditions]) -> tuple[Array, Array]:
        """Log ratio of each group's course to that of all others, and its sampling variance.

        Args:
            membership: shape (groups, leaves).
            groups: their conditions.
        """
        has_level = np.array([LEVEL in group for group in groups], dtype=bool)
        actual, everybody = self._inside_and_outside(membership, "actual")
        exposure, others = self._inside_and_outside(membership, "exposure")
        by_level = has_level & (self.by_level is not None)
        if by_level.any():
            of_level = self._inside_and_outside(membership, "by_level")
            exposure[by_level], others[by_level] = (each[by_level] for each in of_level)
        self._leave_out_unknown(groups, everybody, others)
        if by_level.any():
            for each in (actual, exposure, everybody, others):
                each[by_level] *= self.settled
        return self._difference(actual, exposure, everybody, others)

    def _leave_out_unknown(self, groups: Sequence[Conditions], actual: Floats, exposure: Floats) -> None:
        """Compares users of a habit with users of other habits alone: those of none are who was absent at first.

        Args:
            actual, exposure: totals of all others beside each group, changed in place.
        """
        habits_of = [tuple(name for name in HABITS if name in group) for group in groups]
        combined = sorted({each for each in habits_of if each})
        none = {name: self.panel.attributes[name] == NONE for habits in combined for name in habits}
        unknown = np.array([np.any([none[name] for name in each], axis=0) for each in combined])
        if not unknown.any():
            return
        marks = (unknown * self.among).astype(np.float32)
        # of several marks, most cells have none
        cells = np.flatnonzero(marks.any(axis=0)[self.cells.leaf]) if len(marks) > 1 else None

        def totals(counts: Floats) -> Floats:
            return self.cells.totals(marks, counts if cells is None else counts[cells], cells) * self.seen

        done, could = totals(self.actual), totals(self.exposure)
        by_level = np.array([LEVEL in habits for habits in combined])
        if self.by_level is not None and by_level.any():
            could[by_level] = totals(self.by_level)[by_level]
        for place, habits in enumerate(combined):
            rows = np.array([each == habits for each in habits_of])
            actual[rows] -= done[place]
            exposure[rows] -= could[place]

    @property
    def settled(self) -> Floats:
        """1 where an activity level says what users do later on, else 0; shape (tenures, weeks)."""
        weeks = len(self.panel.weeks)
        known = newer(self.tenures, weeks, 0) | (np.arange(weeks) >= PRIOR_WEEKS)[None]
        return (known & (self.tenures >= SETTLED_WEEKS)[:, None]).astype(np.float32)

    def _inside_and_outside(self, membership: Floats, name: str) -> tuple[Floats, Floats]:
        """Totals of each group, and of all others; each of shape (groups, tenures, weeks)."""
        counts, absent = getattr(self, name), 1 - self.among
        whole = self._kept(name, of_groups=False)
        if membership is self.panel.membership and not absent.any():
            of_groups = self._kept(name, of_groups=True)
            return of_groups * self.seen, (whole - of_groups) * self.seen
        inside = membership * self.among
        totals = self.cells.totals(np.vstack([inside, absent[None]]) if absent.any() else inside, counts)
        of_groups, missing = totals[: len(inside)], totals[len(inside) :].sum(0)
        return of_groups * self.seen, (whole - missing - of_groups) * self.seen

    def _kept(self, name: str, of_groups: bool) -> Floats:
        """Totals of the panel's groups, or of all leaves, computed when they are first asked for."""
        if (name, of_groups) not in self.totals:
            self.totals[name, of_groups] = self.cells.totals(self._marks(of_groups), getattr(self, name))
        return self.totals[name, of_groups]

    def _marks(self, of_groups: bool) -> Floats:
        return self.panel.membership if of_groups else np.ones((1, self.panel.size), np.float32)

    def own_course(self, leaves: NDArray[np.bool_]) -> tuple[Array, Array]:
        """The course of some leaves by themselves, each combination of segments with a tenure curve of its own.

        Returns the log of it and its sampling variance, each of shape (1, weeks).
        """
        marks = self.panel.strata * leaves
        actual, exposure = (
            self.cells.totals(marks, each) * self.seen for each in (self.actual, self.exposure)
        )
        weeks = len(self.panel.weeks)
        if self.name == SIGNUPS:
            actual, exposure = actual.sum(0, keepdims=True), exposure.sum(0, keepdims=True)
        course, count = self.course(actual.reshape(1, -1, weeks), exposure.reshape(1, -1, weeks))
        return course, 1 / np.maximum(count, LEAST_COUNT)

    def own_base(self) -> Array:
        """What everybody's course may do without a change: season where the history holds it, growth of signups."""
        terms = (*HOLIDAYS, *ECHOES) if self.name in (RESURRECTION, CHURN) else HOLIDAYS
        base = season(self.panel.weeks[0], len(self.panel.weeks), terms)
        if self.name == SIGNUPS:
            base = np.column_stack([base, np.linspace(0, 1, len(base))])
        return base

    def own_residual(self, leaves: NDArray[np.bool_]) -> tuple[Array, Array, float]:
        """The own course of some leaves net of the season, its sampling variance, and that of what a week shares."""
        course, sampling = self.own_course(leaves)
        residual = self.net_of_base(course, sampling)
        return residual, sampling, max(shared_variance(residual[0], sampling[0], self.noise), LEAST_SHARED)

    def net_of_base(self, series: Array, sampling: Array) -> Array:
        """Series, shape (series, weeks), less what the base explains of each over weeks that say something."""
        base, usable = self.own_base(), self.noise.usable(sampling[0])
        return series - series[:, usable] @ np.linalg.pinv(base[usable]).T @ base.T

    def own_covariance(self, shared: float) -> Array:
        """Covariance of everybody's own course: what users differ by, and what a week shares; shape (weeks, weeks).

        The course is fitted beside the tenure curve, and the users of a tenure come with the weeks; so a bent curve may
        pass for a trend. What that leaves open shows when the whole fit is repeated without one bucket of users after
        the other (delete-a-group jackknife: Kott 2001, J. Off. Stat. 17(4), 521-526).
        """
        actual, exposure = (cells.sum(0) - cells for cells in (self.drawn, self.drawn_exposure))
        courses, _ = self.course(actual, exposure)
        apart = courses - courses.mean(axis=0)
        groups = len(courses)
        common = autoregressive(len(self.panel.weeks), SHARED_PERSISTENCE)
        return (groups - 1) / groups * (apart.T @ apart) + shared * common

    def total(self, leaves: NDArray[np.bool_]) -> float:
        """The numerator of some leaves over all weeks."""
        return float(self.actual[leaves[self.cells.leaf]].sum())

    def most_squared_t(self, leaves: NDArray[np.bool_], during: Array) -> float:
        """The Poisson deviance of a fall to few counts, whose logarithms are far from normal."""
        marks, now = leaves[None].astype(np.float32), during > 0
        (counts, others), (of_group, of_others) = (
            [each.sum(axis=(0, 1)) for each in self._inside_and_outside(marks, name)]
            for name in ("actual", "exposure")
        )
        count = float(counts[now].sum())
        if count >= FEW_COUNTS or self.name == SIGNUPS:
            return np.inf
        before, others_before = (
            float(done[~now].sum() / max(could[~now].sum(), LEAST_COUNT))
            for done, could in ((counts, of_group), (others, of_others))
        )
        usual = float(of_group[now].sum()) * before * float(others[now].sum())
        usual /= max(float(of_others[now].sum()) * others_before, LEAST_COUNT)
        return float(2 * (xlogy(count, count / usual) - count + usual)) if count < usual else np.inf

    # -- taking out ----------------------------------------------------------------------------------------

    def take_out(self, leaves: NDArray[np.bool_], height: float, shape: Array) -> None:
        """Explains a change away, by week or by tenure and week: from here on it is expected of these leaves."""
        factor = np.exp(np.clip(height * shape, -6, 6)).astype(np.float32)
        changed = {"actual": 1 / factor} if self.name == SIGNUPS else {"exposure": factor, "by_level": factor}
        for name, by in changed.items():
            if getattr(self, name) is not None:
                self._multiply(name, leaves, by)

    def _multiply(self, name: str, leaves: NDArray[np.bool_], factor: Floats) -> None:
        """Multiplies counts of leaves, and adds the difference to what the groups total."""
        counts, inside = getattr(self, name), np.flatnonzero(leaves[self.cells.leaf])
        before, half = counts[inside], np.float32(0)
        if self.name == SIGNUPS:
            # nothing times a factor is nothing: a group's logarithm has a half on top, which is dealt to its leaves
            of_leaves = self.cells.by_tenure(counts)[:, 0]
            share = HALF * of_leaves / max(of_leaves[leaves].sum(), 1)
            half = share.astype(np.float32)[self.cells.leaf[inside]]
        of_cells = np.broadcast_to(factor, self.seen.shape).ravel()[self.cells.place[inside]]
        after = (before + half) * of_cells - half
        counts = counts.copy()
        counts[inside] = after
        setattr(self, name, counts)
        if (whole := self.totals.get((name, False))) is not None:
            self.totals[name, False] = whole + self.cells.totals(
                self._marks(of_groups=False), after - before, inside
            )
        if (kept := self.totals.get((name, True))) is not None:
            marks, totals = self._marks(of_groups=True), kept.copy()
            shared = marks @ leaves.astype(np.float32)
            partly = shared > 0
            if self.name != SIGNUPS:
                # of a group that is a part of the leaves, all counts were multiplied
                is_part = partly & (shared == marks.sum(1))
                totals[is_part] *= factor
                partly &= ~is_part
            totals[partly] += self.cells.totals(marks[partly], after - before, inside)
            self.totals[name, True] = totals

    @contextmanager
    def without(self, leaves: NDArray[np.bool_]) -> Iterator[None]:
        """As if these leaves were not there."""
        kept, self.among = self.among, (~leaves).astype(np.float32)
        try:
            yield
        finally:
            self.among = kept

    @contextmanager
    def only(self, cells: NDArray[np.bool_]) -> Iterator[None]:
        """As if only these cells of tenure and week were there; shape (tenures, weeks)."""
        kept, self.seen = self.seen, cells.astype(np.float32)
        try:
            yield
        finally:
            self.seen = kept

    def renew(self, leaves: NDArray[np.bool_], since: int) -> None:
        """Users of these leaves who signed up from a week on get a tenure curve of their own."""
        weeks = len(self.panel.weeks)
        new = newer(self.tenures, weeks, since)
        stays = older(self.tenures, weeks, since)
        # the band after the last one, too, says where that ends
        bands = np.flatnonzero(new.any(axis=1))
        bands = np.union1d(bands, bands[bands + 1 < len(new)] + 1)
        for name in ("drawn", "drawn_exposure"):
            # buckets know no attributes
            own = (stays, new) if leaves.all() else (np.ones_like(stays), np.zeros_like(new))
            setattr(self, name, _with_new_bands(getattr(self, name), *own, bands))
        self._move(leaves, stays, new, bands)
        self.tenures = np.concatenate([self.tenures, self.tenures[bands]])
        self.seen = np.ones((len(self.tenures), weeks), np.float32)
        self.totals.clear()

    def _move(
        self,
        leaves: NDArray[np.bool_],
        stays: NDArray[np.bool_],
        new: NDArray[np.bool_],
        bands: NDArray[np.int64],
    ) -> None:
        """Gives counts of new users of these leaves bands of their own; a band of both new and older users is lost."""
        cells, (size, tenures, weeks) = self.cells, self.cells.shape
        inside = leaves[cells.leaf]
        is_new = inside & new.ravel()[cells.place]
        own_band = np.zeros(tenures, np.int32)
        own_band[bands] = tenures + np.arange(len(bands), dtype=np.int32)
        tenure = np.where(is_new, own_band[cells.tenure], cells.tenure)
        stay = np.flatnonzero((~inside | stays.ravel()[cells.place]) & ~is_new)
        # bands of new users come after all others, in the same order
        order = np.concatenate([stay, np.flatnonzero(is_new)])
        shape = (size, tenures + len(bands), weeks)
        self.cells = Cells(cells.leaf[order], tenure[order], cells.week[order], shape)
        for name in ("actual", "exposure", "by_level"):
            if (counts := getattr(self, name)) is not None:
                setattr(self, name, counts[order])


def _with_new_bands(
    counts: Floats, stays: NDArray[np.bool_], new: NDArray[np.bool_], bands: NDArray[np.int64]
) -> Floats:
    """Counts, shape (cells, tenures, weeks), with those of new users in bands of their own."""
    return np.concatenate([counts * stays, (counts * new)[:, bands]], axis=1).astype(np.float32)


def older(tenures: NDArray[np.int64], weeks: int, since: int) -> NDArray[np.bool_]:
    """Cells of tenure and week whose users all signed up before a week; shape (tenures, weeks)."""
    return tenures[:, None] > np.arange(weeks)[None, :] - since


def newer(tenures: NDArray[np.int64], weeks: int, since: int) -> NDArray[np.bool_]:
    """Cells of tenure and week whose users all signed up in a week or later; shape (tenures, weeks)."""
    after = np.append(tenures[1:], np.iinfo(np.int64).max)
    after = np.where(after <= tenures, np.iinfo(np.int64).max, after)
    return after[:, None] - 1 <= np.arange(weeks)[None, :] - since


def smoothed(counts: Floats) -> Array:
    """Means of nine weeks, at least a half; shape as that of the counts."""
    kernel = np.ones(9) / 9
    rows = [np.convolve(np.pad(row, 4, mode="edge"), kernel, "valid") for row in counts]
    return np.maximum(np.array(rows), 0.5)


@lru_cache(maxsize=4)
def season(
    first_week: pd.Timestamp, length: int, holidays: tuple[tuple[int, int, int], ...] = HOLIDAYS
) -> Array:
    """A constant, and from a year and a half on a yearly wave and holidays that recur; shape (weeks, terms)."""
    weeks = pd.date_range(first_week, periods=length, freq="7D")
    columns = [np.ones(len(weeks))]
    if len(weeks) >= HARMONICS_FROM:
        middle = weeks + pd.Timedelta(days=3)
        angle = 2 * np.pi * middle.dayofyear.to_numpy() / YEAR
        columns += [np.cos(angle), np.sin(angle)]
        days = pd.DatetimeIndex(weeks.repeat(7) + pd.to_timedelta(np.tile(np.arange(7), len(weeks)), "D"))
        for month, first, days_long in holidays:
            start = pd.to_datetime({"year": days.year, "month": month, "day": first}).to_numpy()
            into = (days.to_numpy() - start) / np.timedelta64(1, "D")
            share = (
                (((into >= 0) & (into < days_long)) | (into < days_long - 365)).reshape(-1, 7).mean(axis=1)
            )
            if (share > 0.5).sum() > days_long // 7:
                columns.append(share)
    return np.column_stack(columns)
