"""What each cause takes in active days, or active users, a week, with all other causes as they are.

The causes of a company are estimated together. Each is read from counts in which all others are undone, in turn, until
nothing moves any more (backfitting: Hastie and Tibshirani 1986, Statist. Sci. 1(3), 297-310). Effects multiply: what a
cause takes is what its users would do more without it alone. What several causes take together is in no single part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from user_engagement.insights.counts import Floats
from user_engagement.insights.explain import Measures
from user_engagement.insights.measures import HALF, Measure, newer, older
from user_engagement.insights.names import (
    ACTIVATION,
    ACTIVE_USERS,
    CHURN,
    DAYS,
    EPISODE,
    FIRST_DAYS,
    LENGTH,
    MEASUREMENT,
    MIX,
    NEW_USERS,
    PEOPLE,
    SESSIONS,
    SIGNUPS,
    SLOPE,
    USE,
)
from user_engagement.insights.panel import HABITS, LEVEL, Panel
from user_engagement.insights.readings import DATED_WITHIN, LAST_WEEKS, Amount, as_shown, course_of, read
from user_engagement.insights.scan import Change, Conditions
from user_engagement.insights.shapes import SLOPE_WEEKS, Array, Bank, fitted
from user_engagement.insights.statistics import Z
from user_engagement.insights.threads import mapped

MEASURE_OF = {DAYS: USE, PEOPLE: ACTIVE_USERS}
MOST_ROUNDS, SETTLED = 3, 0.01
"""Of the estimation of all changes together, and the log ratio by which none of them moves any more."""
STANDARDISING_ROUNDS = 6
SHARE_WEEKS = 26
"""Weeks before a change, whose users tell how large the part of a habit is."""
LEAVING_WEEKS = (math.inf, 40.0, 20.0, 10.0, 5.0)
"""In which of users who leave sooner all but a third of those who will have left have done so."""
KNOWN_LATER = ("interaction_type", LEVEL)
"""Attributes that what users do after their signup decides."""
LEAST_SEEN, MOST_SEEN = 0.3, 1.5
"""Share of a change that a reading shows beside a tenure curve that is fitted to the same weeks."""


@dataclass(frozen=True)
class Piece:
    """The log ratio that a change makes of what users of some leaves do: the likeliest, then its bounds.

    leaves: shape (leaves,). curves: shape (curves, tenures, weeks).
    """

    leaves: NDArray[np.bool_]
    curves: Array


@dataclass(frozen=True)
class Effect:
    """A change of what users do, by what is counted; `first` is of the week of the signup, and estimated by itself.

    also: metrics that follow from it. log_ratio: of each of the panel's cells; shape (cells,).
    """

    change: Change
    also: tuple[str, ...]
    pieces: dict[str, list[Piece]]
    first: list[Piece]
    log_ratio: dict[str, Array]

    def of(self, count: str) -> list[Piece]:
        return self.pieces[count] + (self.first if count == DAYS else [])

    def moved(self, before: Effect) -> float:
        """By how much any part of it differs from an earlier estimate of it, as a log ratio."""
        return max(
            float(np.abs(self.log_ratio[count] - before.log_ratio[count]).max()) for count in MEASURE_OF
        )


def by_count(pieces_of: Callable[[str], list[Piece]]) -> dict[str, list[Piece]]:
    """The pieces of a change, by what is counted."""
    return dict(zip(MEASURE_OF, mapped(pieces_of, MEASURE_OF), strict=True))


class Effects:
    """The effects of the changes of a company, estimated together.

    Args:
        changes: all that may be estimated.

    Attributes:
        panel: leaves that no change tells apart are one leaf of it, as what users do changes alike in all of them.
    """

    def __init__(self, made: Measures, changes: Iterable[Change]) -> None:
        groups = [change.conditions for change in changes]
        untold = [name for name in HABITS if not any(name in group for group in groups)]
        counts = (DAYS, PEOPLE, "users")
        self._fine, self._fine_of = made.panel.without_attributes(untold, counts)
        self.panel, self._leaf_of = self._fine.joined(groups, counts)
        _, self._cell_of = self._fine.leaves.cells.joined(self._leaf_of, self.panel.size)
        self._made = made
        self._of_segments: dict[str, Measure] = {}
        self._measures: dict[str, Measure] = {}
        self.found: list[Effect] = []

    def estimated(self, change: Change, also: tuple[str, ...] = ()) -> Effect:
        """The effect of a change beside all others that are found."""
        others = [each for each in self.found if each.change is not change]
        first: list[Piece] = []
        if change.measure in (SIGNUPS, SESSIONS, LENGTH) or change.kind in (MIX, MEASUREMENT):
            pieces = {count: [] for count in MEASURE_OF}
        elif change.measure in (NEW_USERS, ACTIVATION):
            pieces = by_count(lambda count: [self._of_newer(change, count, others)])
        elif change.shape != EPISODE and CHURN in (change.measure, *also):
            pieces = by_count(lambda count: [self._of_leavers(change, count, others)])
        else:
            pieces = by_count(lambda count: self._of_users(change, count, others))
            first = self._in_first_week(change, others)
        log_ratio = {DAYS: self._log_ratio(pieces[DAYS] + first), PEOPLE: self._log_ratio(pieces[PEOPLE])}
        return Effect(change, also, pieces, first, log_ratio)

    def settle(self) -> None:
        """Estimates all again, each beside all others, until none moves any more."""
        self._measures.clear()
        for _ in range(MOST_ROUNDS if len(self.found) > 1 else 0):
            before = list(self.found)
            for place, effect in enumerate(before):
                self.found[place] = self.estimated(effect.change, effect.also)
            if max(now.moved(then) for now, then in zip(self.found, before, strict=True)) < SETTLED:
                break

    def missing(self, effect: Effect, count: str, window: NDArray[np.int64]) -> Amount:
        """What users would do more a week, within a window, without a change alone; negative is a gain."""
        total = self._missing(effect.pieces[count], count, window)
        return total + self._missing(effect.first, count, window) if count == DAYS else total

    def _missing(self, pieces: Sequence[Piece], count: str, window: NDArray[np.int64]) -> Amount:
        if not pieces:
            return Amount(0.0, 0.0, 0.0)
        of_curves = np.zeros(len(pieces[0].curves))
        for piece in pieces:
            done = self.panel.leaves.total(count, piece.leaves)[:, window]
            # a change may have left nothing
            half = HALF / len(done)
            factors = np.expm1(np.clip(-piece.curves[:, :, window], -6, 6))
            of_curves += (factors * (done + half)).sum((1, 2)) / len(window)
        return Amount(*(float(each) for each in (of_curves[0], of_curves.min(), of_curves.max())))

    def together(self, count: str, window: NDArray[np.int64]) -> float:
        """What several changes take together beyond the sum of what each takes alone, a week."""
        cells, done = self.panel.leaves.cells, self.panel.leaves.weekly[count]
        inside = np.isin(cells.week, window)
        logs = [effect.log_ratio[count][inside] for effect in self.found]
        if not logs:
            return 0.0
        jointly = np.expm1(np.clip(-np.sum(logs, axis=0), -6, 6))
        alone = sum(np.expm1(np.clip(-each, -6, 6)) for each in logs)
        return float((done[inside] * (jointly - alone)).sum() / len(window))

    def beside(self, name: str, others: Iterable[Effect]) -> Measure:
        """A measure of users in which other changes are undone."""
        if name not in self._measures:
            self._measures[name] = self._measured(name)
        measure = self._measures[name].fresh()
        if name == FIRST_DAYS:
            for piece in (piece for effect in others for piece in effect.of(DAYS)):
                measure.take_out(piece.leaves, 1.0, piece.curves[0][:1])
            return measure
        changed = self._changed(others, PEOPLE if name == ACTIVE_USERS else DAYS)
        measure.exposure = measure.exposure * changed
        if measure.by_level is not None:
            measure.by_level = measure.by_level * changed
        return measure

    def _measured(self, name: str) -> Measure:
        """A measure of the panel; its exposure is weighted by segment, beside all changes that are found so far."""
        if name not in self._of_segments:
            self._of_segments[name] = self._made.joined(name, self._fine, self._fine_of)
        fine = self._of_segments[name].fresh()
        if name != FIRST_DAYS:
            # habits of new users are part of what they do
            segments = [each for each in self._fine.attributes if each not in HABITS]
            changed = self._changed(self.found, PEOPLE if name == ACTIVE_USERS else DAYS)[self._cell_of]
            fine.exposure = fine.weighted(self._fine.leaves.weekly["users"] * changed, segments) / changed
        return fine.joined(self.panel, self._leaf_of)

    def _changed(self, others: Iterable[Effect], count: str) -> Floats:
        """What changes multiply the counts of each cell of the panel by; shape (cells,)."""
        total = np.zeros(len(self.panel.leaves.cells.leaf), np.float32)
        for each in others:
            total += each.log_ratio[count]
        return np.exp(np.clip(total, -6, 6))

    def _log_ratio(self, pieces: Iterable[Piece]) -> Floats:
        """The log ratio of each cell of the panel; shape (cells,)."""
        cells = self.panel.leaves.cells
        total = np.zeros(len(cells.leaf), np.float32)
        for piece in pieces:
            inside = np.flatnonzero(piece.leaves[cells.leaf])
            total[inside] += piece.curves[0].astype(np.float32).ravel()[cells.place[inside]]
        return total

    # -- users of any tenure -------------------------------------------------------------------------------

    def _of_leavers(self, change: Change, count: str, others: Sequence[Effect]) -> Piece:
        measure = self.beside(MEASURE_OF[count], others)
        return Piece(self.panel.members(change.conditions), leaving(measure, change))

    def _of_users(self, change: Change, count: str, others: Sequence[Effect]) -> list[Piece]:
        measure, inside = self.beside(MEASURE_OF[count], others), self.panel.members(change.conditions)
        shown = as_shown(measure, change)
        weeks = len(self.panel.weeks)
        habits = [name for name in HABITS if name in change.conditions]
        before = older(measure.tenures, weeks, change.since)
        with measure.only(before if habits else np.ones_like(before)):
            curves = settled(measure, shown)[:, None, :] * (measure.tenures > 0)[:, None]
        if not habits:
            return [Piece(inside, curves)]
        # the habits of who signs up after a change are part of what it does
        whole = {name: value for name, value in change.conditions.items() if name not in habits}
        share = self._share_before(change, whole, count)[:, None]
        new = newer(measure.tenures, weeks, change.since)
        of_others = np.zeros_like(curves)
        if len(habits) == 1:
            of_others = of_other_habits(self._made.panel, change, habits[0], curves)
        curves = curves + of_others
        mixed = np.log1p(share * np.expm1(curves) + (1 - share) * np.expm1(of_others))
        everybody = self.panel.members(whole)
        return [
            Piece(inside, curves * ~new),
            Piece(everybody & ~inside, of_others * ~new),
            Piece(everybody, mixed * new),
        ]

    def _share_before(self, change: Change, whole: Conditions, count: str) -> Array:
        """A group's share of what a whole did before a change, by tenure; shape (tenures,)."""
        weeks = slice(max(change.since - SHARE_WEEKS, 0), max(change.since, 1))
        part, of_all = (
            self.panel.leaves.total(count, self.panel.members(group))[:, weeks].sum(1)
            for group in (change.conditions, whole)
        )
        return (part + HALF * part.sum() / max(of_all.sum(), 1)) / (of_all + HALF)

    def _in_first_week(self, change: Change, others: Sequence[Effect]) -> list[Piece]:
        """The same of users in the week of their signup, whose first day is what it always was."""
        if not change.conditions.keys().isdisjoint(KNOWN_LATER):
            return []
        measure = self.beside(FIRST_DAYS, others)
        curve = read(measure, as_shown(measure, change)).curves
        curves = np.zeros((len(curve), *self.panel.leaves.cells.shape[1:]))
        curves[:, 0] = curve
        return [Piece(self.panel.members(change.conditions), curves)]

    # -- users who signed up since a change ----------------------------------------------------------------

    def _of_newer(self, change: Change, count: str, others: Sequence[Effect]) -> Piece:
        new = newer(self.panel.tenures, len(self.panel.weeks), change.since)
        if any(
            each.change.measure in (NEW_USERS, ACTIVATION)
            and each.change.conditions.items() < change.conditions.items()
            for each in others
        ):
            # beside a change that the new users of a whole went through
            reading = read(self._beside_whole(change, others), change)
            bounds = reading.height + Z * reading.error * np.array([0.0, -1.0, 1.0])
            return Piece(self.panel.members(change.conditions), bounds[:, None, None] * new)
        undone = self._fine.leaves.weekly[count] / self._changed(others, count)[self._cell_of]
        return Piece(self.panel.members(change.conditions), newer_curves(self._fine, change, count, undone))

    def _beside_whole(self, change: Change, others: Sequence[Effect]) -> Measure:
        measure = self._made.joined(change.measure, self._fine, self._fine_of)
        for each in (other.change for other in others):
            if each.measure == change.measure:
                leaves = self._fine.members(each.conditions)
                measure.take_out(leaves, read(measure, each).height, each.values)
        return measure


def of_other_habits(panel: Panel, change: Change, habit: str, curves: Array) -> Array:
    """The log ratio of what users of other habits do, who use the same device as well, if less; shape of the curves.

    Where a part c of what is done by a device goes away, users whose share of it is s do 1 - c s of what they did. Both
    follow from the log ratio of the two groups. That it is the device, and not who uses it, shows in what its users
    use: its odds fall by 1 - c. Where they fall by less, the others lose less.

    Args:
        curves: log ratios of users of the habit to all others.
    """
    counts = panel.habit_sessions
    if counts.empty:
        return np.zeros_like(curves)
    counts = counts[counts.habit == habit]
    week = ((pd.to_datetime(counts.week_start) - panel.weeks[0]).dt.days // 7).to_numpy()
    is_habit, is_kind = (
        (counts[name] == change.conditions[habit]).to_numpy() for name in ("habit_value", "kind")
    )
    sessions = counts.sessions.to_numpy(float)

    def share(rows: NDArray[np.bool_]) -> float:
        return float((sessions[rows & is_kind].sum() + HALF) / (sessions[rows].sum() + 2 * HALF))

    before = (week >= change.since - SHARE_WEEKS) & (week < change.since)
    during = (change.values >= change.values.max() / 2)[week.clip(0)] & (week >= change.since)
    inside, outside = share(before & is_habit), share(before & ~is_habit)
    if not (sessions[before & ~is_habit].sum() and sessions[during & is_habit].sum()) or inside <= outside:
        return np.zeros_like(curves)
    lost = -np.expm1(curves) / (inside - np.exp(curves) * outside)
    most = lost.ravel()[np.abs(lost[0]).argmax()]
    moved = np.log(share(during & is_habit) / (1 - share(during & is_habit))) - np.log(inside / (1 - inside))
    by_device = np.clip(moved / np.log1p(-np.minimum(most, 1 - 1e-3)), 0, 1) if most else 0.0
    return by_device * np.log1p(-np.minimum(lost * outside, 1 - 1e-3))


def settled(measure: Measure, change: Change) -> Array:
    """The curves of a change by week, so that nothing of it is left once it is undone; shape (curves, weeks)."""
    reading = read(measure, change)
    seen = seen_share(measure, change, reading.height, change.values)
    curve = reading.curves[0]
    return (curve + (reading.curves - curve) * in_random_groups(measure, change)) / seen


def in_random_groups(measure: Measure, change: Change) -> float:
    """How large t of a shape gets in random groups, which have no cause; everybody's error is a jackknife."""
    alike = measure.bank.kinds == change.shape
    return float(measure.inflation[alike].max()) if change.conditions and alike.any() else 1.0


def seen_share(measure: Measure, change: Change, height: float, growth: Array) -> float:
    """The share of a change that a reading shows: a tenure curve that is fitted to the same weeks takes a part of it.

    Args:
        growth: the shape by tenure and week, or by week.
    """
    if height == 0:
        return 1.0
    rest = measure.fresh()
    rest.take_out(measure.panel.members(change.conditions), height, growth)
    course = course_of(rest, change)
    left = fitted(course.clean, course.covariance, course.base, change.bank).height[0, 0]
    return float(np.clip(1 - left / height, LEAST_SEEN, MOST_SEEN))


def leaving(measure: Measure, change: Change) -> Array:
    """How users who leave sooner are missed by ever more, by the time that they were exposed to it.

    Whoever signs up later is exposed since then only. How fast those who will have left do so is open. The first curve
    is the mean of all speeds, weighted by likelihood; the others are the bounds of those that are nearly as likely
    (profile likelihood). Shape (curves, tenures, weeks).
    """
    leaves = measure.panel.members(change.conditions)
    sign = float(np.sign(change.height)) * (1 if change.measure == CHURN else -1)
    inside = leaves[measure.cells.leaf]
    done = np.bincount(measure.cells.place[inside], measure.actual[inside], measure.seen.size)
    done = done.reshape(measure.seen.shape)
    exposed = exposed_weeks(measure, change.since)
    growths = np.array(
        [
            exposed / SLOPE_WEEKS if math.isinf(speed) else -np.expm1(-exposed / speed)
            for speed in LEAVING_WEEKS
        ]
    )
    by_week = (growths * done).sum(1) / np.maximum(done.sum(0), 1)
    ones = np.ones(len(growths), int)
    bank = Bank(by_week.T, np.repeat(SLOPE, len(growths)), change.since * ones, -ones)
    course = course_of(measure, replace(change, bank=bank.only(ones[:1] * len(growths) // 2)))
    fits = fitted(course.clean, course.covariance, course.base, bank)
    t = -sign * fits.t[0]
    best = int(t.argmax())
    if t[best] == 0:
        # weeks of too few counts say nothing
        return np.zeros((1, *exposed.shape))
    shown = replace(change, bank=bank.only(np.array([best])))
    wider = in_random_groups(measure, shown) * read(measure, shown).error / fits.error[0, best]
    deviance = np.where(t * t[best] > 0, t[best] ** 2 - t**2, np.inf) / wider**2
    curves, bounds = [], []
    near = np.flatnonzero(deviance <= DATED_WITHIN)
    for place in near:
        shown = replace(change, bank=bank.only(np.array([place])))
        height = fits.height[0, place]
        share = seen_share(measure, shown, height, growths[place])
        reach = math.sqrt(DATED_WITHIN - deviance[place]) * fits.error[0, place] * wider
        curves.append(growths[place] * height / share)
        bounds += [growths[place] * (height + side * reach) / share for side in (1, -1)]
    likeliest = np.average(curves, axis=0, weights=np.exp(-deviance[near] / 2))
    return np.array([likeliest, *bounds])


def exposed_weeks(measure: Measure, since: int) -> Array:
    """Weeks since a change, or since signing up where that is less; shape (tenures, weeks)."""
    after = np.append(measure.tenures[1:], np.iinfo(np.int64).max)
    weeks = np.arange(len(measure.panel.weeks)) - since + HALF
    middle = (measure.tenures + np.minimum(after - 1, len(weeks))) / 2
    return np.clip(np.minimum(weeks[None], middle[:, None]), 0, None)


def newer_curves(panel: Panel, change: Change, count: str, undone: Array) -> Array:
    """The log ratio of what users do who signed up since a change to what those before do, beside the same weeks.

    The interval has what users differ by: that of everybody is a jackknife over the buckets, and a group's variance is
    the part of it that its signups are of all.

    Args:
        undone: counts of the panel's cells without any other change.

    Returns shape (curves, tenures, weeks).
    """
    leaves, last = panel.members(change.conditions), np.arange(len(panel.weeks))[-LAST_WEEKS:]
    before = older(panel.tenures, len(panel.weeks), change.since)
    counts, cells = panel.leaves, panel.leaves.cells
    signups = counts.cohorts["signups"][leaves]
    is_older = before[cells.tenure, cells.week]
    done, could = (cells.by_tenure(each * is_older)[leaves] for each in (undone, counts.weekly["users"]))
    could[:, 0] = (signups * before[0]).sum(1)
    keenness, rate = standardised(panel, leaves, done, could)
    weights = np.zeros((1, panel.size))
    weights[0, leaves] = keenness
    users = cells.totals(weights, counts.weekly["users"])[0]
    users[0] = keenness @ signups
    actual = cells.totals(leaves[None].astype(float), undone)[0]
    curve = curve_of_newer(panel, change.since, actual, users, rate)
    everybody = cells.totals(np.ones((1, panel.size)), undone)[0]
    others = everybody / np.maximum(cells.totals(np.ones((1, panel.size)), counts.weekly[count])[0], HALF)
    drawn = missing_without_buckets(panel, change.since, count, others, last)
    share = signups[:, change.since :].sum() / counts.cohorts["signups"][:, change.since :].sum()
    error = np.sqrt((len(drawn) - 1) * drawn.var() * share)
    usual = (actual * np.exp(-curve) * (curve != 0))[:, last].sum() / len(last)
    reach = Z * float(error) / max(usual, 1.0) * (curve != 0)
    return np.array([curve, curve - reach, curve + reach])


def missing_without_buckets(
    panel: Panel, since: int, count: str, others: Array, window: NDArray[np.int64]
) -> Array:
    """What all users who signed up since a week miss, without one bucket of users after the other; shape (buckets,).

    Args:
        others: what other changes are undone by, by tenure and week.
    """
    buckets = panel.buckets
    signups, users = buckets.cohorts["signups"], buckets.cells.dense(buckets.weekly["users"])
    users[:, 0] = signups
    before = older(panel.tenures, len(panel.weeks), since)
    done = buckets.cells.dense(buckets.weekly[count]) * others
    missing = []
    for actual, could in zip(done.sum(0) - done, users.sum(0) - users, strict=True):
        rate = (actual * before).sum(1) / np.maximum((could * before).sum(1), 1)
        curve = curve_of_newer(panel, since, actual, could, rate)
        missing.append((actual * np.expm1(-curve))[:, window].sum() / len(window))
    return np.array(missing)


def curve_of_newer(panel: Panel, since: int, actual: Array, exposure: Array, rate: Array) -> Array:
    """The log ratio of what users do who signed up since a week to the rates of those before, in the same weeks.

    Args:
        actual, exposure: of all users, shape (tenures, weeks); of the first tenure the exposure is the signups.
        rate: of those who signed up before, shape (tenures,).

    Returns shape (tenures, weeks); of those who share a band of tenure with older users, the mean of both.
    """
    weeks = len(panel.weeks)
    recent = older(panel.tenures, weeks, since) & (np.arange(weeks) >= since)[None]
    expected = exposure * rate[:, None]
    of_older = (expected * recent).sum(0)
    course = np.where(of_older > 0, (actual * recent).sum(0) / np.maximum(of_older, 1e-9), 1.0)
    new = newer(panel.tenures, weeks, since)
    done, usual = ((each * new).sum(1) for each in (actual, expected * course))
    known = np.flatnonzero(usual > 0)
    ratio = ((np.maximum(done, 0) + HALF) / (usual + HALF))[np.clip(np.arange(len(done)), None, known.max())]
    share = np.clip(newer_beside_older(panel, exposure[0], since) / np.maximum(exposure, 1), 0, 1)
    return np.log1p(np.where(new, 1.0, share) * (ratio - 1)[:, None])


def standardised(panel: Panel, leaves: NDArray[np.bool_], done: Array, could: Array) -> tuple[Array, Array]:
    """Factors of leaves, and rates of tenures, whose product explains what was done (iterative proportional fitting).

    A leaf's factor is the product of one for each of its segments' values.

    Args:
        done, could: shape (leaves, tenures).

    Returns arrays of shape (leaves,) and (tenures,).
    """
    places = [
        np.unique(values[leaves], return_inverse=True)[1]
        for name, values in panel.attributes.items()
        if name not in HABITS
    ]
    factor, rate = np.ones(len(done)), np.zeros(done.shape[1])
    for _ in range(STANDARDISING_ROUNDS):
        rate = done.sum(0) / np.maximum(factor @ could, 1)
        for place in places:
            found, expected = np.bincount(place, done.sum(1)), np.bincount(place, factor * (could @ rate))
            factor *= ((found + 1) / (expected + 1))[place]
    return factor, rate


def newer_beside_older(panel: Panel, signups: Array, since: int) -> Array:
    """Users who signed up in a week or later, by band of tenure and week; shape (tenures, weeks).

    Args:
        signups: by week; shape (weeks,).
    """
    weeks = len(panel.weeks)
    running = np.concatenate([[0], np.cumsum(signups)])
    # of a band, those who signed up up to its first week of tenure ago, and not before the next band's
    youngest = np.arange(weeks)[None] - panel.tenures[:, None] + 1
    oldest = np.vstack([youngest[1:], np.full((1, weeks), since)])
    return running[np.clip(youngest, since, None)] - running[np.clip(oldest, since, None)]
