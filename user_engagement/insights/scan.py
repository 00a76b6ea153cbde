"""Which groups of leaves differ from what is expected of them, in which way, since when: a scan for any cause.

A leaf is a combination of attributes, with additive counts. Each group's course is compared with that of all others, as
a log ratio. The group and shape that explain most are taken out, and what is left is looked at again, until nothing is
left beyond chance. Groups come before everybody: what a group alone went through is no change of all.

`scan` is the entrance for any table of leaves. The findings of a company come from the same `Explainer`, over measures
that know the users' tenures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import combinations
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from user_engagement.insights.counts import Floats
from user_engagement.insights.names import BEHAVIOUR, RAMP, SIGNUPS, SLOPE, STEP
from user_engagement.insights.shapes import (
    Array,
    Bank,
    Fits,
    Noise,
    NullTail,
    bank_of,
    fitted,
    shared_variance,
    simulated_tail,
    without_odd_weeks,
)
from user_engagement.insights.statistics import ALPHA
from user_engagement.insights.threads import mapped

Conditions = dict[str, str]

USUAL_SCORE = 12.0
"""The best score of a series without a change, about."""
PAIR_PENALTY = 6.0
LEAST_HELD = 20.0
"""Inverse variances that the weeks of a shape, and those without it, add up to: few counts have no normal logarithm."""
MOST_CANDIDATES = 25
AT_ONCE = 40
LEFT_T, LEFT_SHARE = 2.8, 0.4
"""t of what is left of a group without a part of it, and its height by that of the part, from which both changed."""
SURER = 4.0
"""Squared t of everybody by that of the surest group, from which the change is of everybody, whenever they differ."""
QUARTER = 13
LITTLE_MORE = 0.4
"""Height of a group's change by that of everybody, below which the group went through the same, a little more."""
WHOLE_T = 5.0
"""t of all others beside a group, from which they changed as well."""
MOST_OF_ALL = 0.8
"""Share of the counts that values of an attribute have together, from which what all of them show is of everybody."""
NEAR_WEEKS = 3
UNKNOWN = "unknown"
CONSEQUENCE_WEEKS = 6
"""From a cause to what follows from it in another measure."""
LEAST_SERIES = 20
"""Points in time that a table must have for a series to be scanned for shapes."""


class Groups(ABC):
    """Leaves, and the groups of them that are told apart.

    Attributes:
        attributes: the value of each leaf; each of shape (leaves,).
    """

    attributes: Mapping[str, NDArray[np.str_]]

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of leaves."""

    @property
    @abstractmethod
    def groups(self) -> list[Conditions]:
        """The conditions of each group."""

    @cached_property
    def membership(self) -> Floats:
        """1 where a leaf is part of a group; shape (groups, leaves)."""
        rows = [self.members(group) for group in self.groups]
        return np.array(rows, dtype=np.float32).reshape(len(rows), self.size)

    def parts_of(self, group: Mapping[str, str]) -> list[Conditions]:
        """The group's parts by one further attribute, of as many leaves as make a group of their own."""
        known = {tuple(sorted(each.items())) for each in self.groups}
        singles = [each for each in self.groups if len(each) == 1 and each.keys().isdisjoint(group)]
        return [
            {**group, **each}
            for each in singles
            if all(tuple(sorted({name: value, **each}.items())) in known for name, value in group.items())
        ]

    def members(self, group: Mapping[str, str]) -> NDArray[np.bool_]:
        """Whether each leaf is part of the group; shape (leaves,)."""
        inside = np.ones(self.size, dtype=bool)
        for name, value in group.items():
            inside &= self.attributes[name] == value
        return inside


def singles_and_pairs(values: Mapping[str, Sequence[str]]) -> list[Conditions]:
    """Every value, and every pair of values of two attributes."""
    singles = [{name: value} for name, each in values.items() for value in each]
    return singles + [{**one, **two} for one, two in combinations(singles, 2) if one.keys() != two.keys()]


class Compared(Protocol):
    """What a scan needs to know of a measure of leaves."""

    name: str
    noise: Noise
    bank: Bank

    @property
    def panel(self) -> Groups: ...

    @property
    def family(self) -> int:
        """Number of series that any change could have been found in."""
        ...

    @property
    def null(self) -> NullTail: ...

    @property
    def inflation(self) -> Array:
        """How large t gets without a cause, by shape; `own_inflation` of everybody's own course."""
        ...

    @property
    def own_inflation(self) -> Array: ...

    def known_groups(self) -> NDArray[np.bool_] | None:
        """Shapes that may be found in each group; shape (groups, shapes), None for all."""
        ...

    def contrasts(self, membership: Floats, groups: Sequence[Conditions]) -> tuple[Array, Array]:
        """Log ratio of each group's course to that of all others, and its variance; shape (groups, weeks)."""
        ...

    def own_residual(self, leaves: NDArray[np.bool_]) -> tuple[Array, Array, float]:
        """The own course of leaves, its variance, each of shape (1, weeks), and that of what a week shares."""
        ...

    def own_base(self) -> Array: ...

    def total(self, leaves: NDArray[np.bool_]) -> float:
        """What leaves count together."""
        ...

    def most_squared_t(self, leaves: NDArray[np.bool_], during: Array) -> float:
        """That counts of leaves allow a change of some weeks at most; during of shape (weeks,), 1 or 0."""
        ...

    def without(self, leaves: NDArray[np.bool_]) -> AbstractContextManager[None]: ...

    def take_out(self, leaves: NDArray[np.bool_], height: float, shape: Array) -> None: ...


# -- a change ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """A change of a measure in a group of users: `height` is the log ratio where its shape, a bank of one, is 1.

    Attributes:
        is_dated: whether its week follows from more than its own measure.
    """

    measure: str
    conditions: Conditions
    kind: str
    t: float
    height: float
    error: float
    bank: Bank
    score: float
    q_value: float = 0.0
    is_dated: bool = False

    @property
    def values(self) -> Array:
        """The shape, week by week."""
        return self.bank.values[:, 0]

    @property
    def shape(self) -> str:
        return str(self.bank.kinds[0])

    @property
    def since(self) -> int:
        return int(self.bank.since[0])

    @property
    def until(self) -> int | None:
        return int(self.bank.until[0]) if self.bank.until[0] >= 0 else None


@dataclass(frozen=True)
class Scan:
    """The best shape of each series: its place in the bank, score (squared t less the shape's penalty), t, height."""

    place: NDArray[np.int64]
    score: Array
    t: Array
    height: Array
    error: Array


@dataclass(frozen=True)
class Shown(Fits):
    """How shapes fit series, t as in random groups; `held` are inverse variances, of shape (series, shapes).

    The weeks of a shape, and those without it, add up to them at least.
    """

    held: Array

    def told(self, least_held: float) -> Array:
        """t, and 0 where the counts say too little."""
        return np.where(self.held > least_held, self.t, 0.0)


def fits_of(
    noise: Noise,
    series: Array,
    sampling: Array,
    shared: Array,
    base: Array,
    bank: Bank,
    inflation: Array,
    allowed: NDArray[np.bool_] | None = None,
) -> Shown:
    """How each shape fits each series, shape (series, weeks).

    Args:
        allowed: shapes that may be found; shape (series, shapes).
    """
    usable = noise.usable(sampling)
    enough = usable.sum(1) >= min(20, series.shape[1] // 2)
    clean = without_odd_weeks(series, usable)
    first = np.argmax(usable, axis=1)

    def of_part(part: slice) -> Shown:
        fits = fitted(clean[part], noise.covariance(sampling[part], shared[part]), base, bank)
        t = fits.t / inflation
        said = usable[part] / np.maximum(noise.total() * sampling[part], 1e-9)
        held = said @ bank.covers
        if len(bank.since) > 1:
            late = bank.since[None, :] >= first[part, None] + 8
            t = np.where(late | (bank.kinds == SLOPE)[None, :], t, 0)
            # a slope of the whole history needs no weeks without it
            held = np.where(bank.kinds == SLOPE, held, np.minimum(held, said @ (1 - bank.covers)))
        if allowed is not None:
            t = np.where(allowed[part], t, 0)
        return Shown(np.where(enough[part, None], t, 0), fits.height, fits.error, held)

    parts = mapped(of_part, [slice(start, start + AT_ONCE) for start in range(0, len(series), AT_ONCE)])
    names = [each.name for each in fields(Shown)]
    return Shown(*(np.concatenate([getattr(each, name) for each in parts]) for name in names))


def best_shapes(fits: Shown, bank: Bank, inflation: Array, sign: float = 0.0) -> Scan:
    """The shape of the bank that explains each series most.

    Args:
        sign: of the heights that may be found; 0 for both.
    """
    t = fits.told(LEAST_HELD)
    if sign:
        t = np.where(t * sign > 0, t, 0)
    score = np.where(np.abs(t) > 0, t**2 - bank.penalties, -1)
    # of a large change the likelihood alone says which shape it has: what random groups show is taken off, not
    # divided by
    likely = (t * inflation) ** 2 - bank.penalties - USUAL_SCORE * (inflation**2 - 1)
    place = np.where(np.abs(t) > 0, likely, -np.inf).argmax(1)
    row = np.arange(len(place))
    return Scan(place, *(each[row, place] for each in (score, t, fits.height, fits.error)))


class Explainer:
    """One measure, and the changes found in it so far.

    Args:
        causes: changes found in measures that come before it.
    """

    def __init__(self, measure: Compared, causes: Sequence[Change] = ()) -> None:
        self.measure = measure
        self.panel = measure.panel
        weeks = len(measure.bank.values)
        self.flat = np.ones((weeks, min(weeks - 1, 1)))
        self.found: list[Change] = []
        self._fits: tuple[Shown, Array] | None = None
        self.causes = [each for each in causes if each.conditions.keys() <= self.panel.attributes.keys()]

    def scan_groups(self) -> tuple[list[Change], Array]:
        """What each group shows against all others, the surest first; and the shared noise of each group."""
        panel, measure = self.panel, self.measure
        if not panel.groups:
            return [], np.zeros(0)
        fits, shared = self.fits_of_groups()
        scan = best_shapes(fits, measure.bank, measure.inflation)
        candidates = []
        for place, group in enumerate(panel.groups):
            pair = len(group) > 1
            change = self.change(scan, place, group, float(scan.score[place] - PAIR_PENALTY * pair))
            if change.q_value < ALPHA:
                candidates.append(change)
        return sorted(candidates, key=lambda each: -each.score), shared

    def is_of_enough(self, change: Change) -> bool:
        """Whether a change is beyond chance by the deviance of its counts as well, which may be few."""
        most = self.measure.most_squared_t(self.panel.members(change.conditions), change.bank.covers[:, 0])
        return self.q_value(min(change.score, most - change.t**2 + change.score)) < ALPHA

    def fits_of_groups(self) -> tuple[Shown, Array]:
        """How shapes fit each group's course beside that of all others; and the shared noise of each group."""
        panel, measure = self.panel, self.measure
        if self._fits is None:
            series, sampling = measure.contrasts(panel.membership, panel.groups)
            shared = self.shared_by_attribute(series, sampling)
            fits = fits_of(
                measure.noise,
                series,
                sampling,
                shared,
                self.flat,
                measure.bank,
                measure.inflation,
                allowed=measure.known_groups(),
            )
            self._fits = fits, shared
        return self._fits

    def take_out(self, leaves: NDArray[np.bool_], height: float, shape: Array) -> None:
        """Explains a change away."""
        self.measure.take_out(leaves, height, shape)
        self._fits = None

    def change(self, scan: Scan, place: int, group: Conditions, score: float) -> Change:
        return Change(
            measure=self.measure.name,
            conditions=group,
            kind=BEHAVIOUR,
            t=float(scan.t[place]),
            height=float(scan.height[place]),
            error=float(scan.error[place]),
            score=score,
            q_value=self.q_value(score),
            bank=self.measure.bank.only(scan.place[[place]]),
        )

    def q_value(self, score: float) -> float:
        """Chance that any series of the family scores as high without a change (Bonferroni)."""
        return min(1.0, self.measure.family * self.measure.null.p_value(score))

    def shared_by_attribute(self, series: Array, sampling: Array) -> Array:
        """Per attribute the median of its values' noise beyond that of users; a pair takes the larger one."""
        by_name: dict[str, list[float]] = {}
        for place, group in enumerate(self.panel.groups):
            if len(group) == 1:
                excess = shared_variance(series[place], sampling[place], self.measure.noise)
                by_name.setdefault(next(iter(group)), []).append(excess)
        middle = {name: float(np.median(values)) for name, values in by_name.items()}
        return np.array([max(middle.get(name, 0.0) for name in group) for group in self.panel.groups])

    def shared_beside(self, series: Array, sampling: Array, change: Change) -> float:
        """Variance of what a group's users share in a week, beside a change; series of shape (1, weeks)."""
        return shared_variance(series[0] - change.height * change.values, sampling[0], self.measure.noise)

    def scan_everybody(self, sign: float = 0.0, allowed: NDArray[np.bool_] | None = None) -> Change | None:
        """What everybody's own course shows beside the season."""
        measure = self.measure
        course, sampling, shared = measure.own_residual(self.panel.members({}))
        fits = fits_of(
            measure.noise,
            course,
            sampling,
            np.array([shared]),
            measure.own_base(),
            measure.bank,
            measure.own_inflation,
            allowed=None if allowed is None else allowed[None],
        )
        scan = best_shapes(fits, measure.bank, measure.own_inflation, sign)
        return self.change(scan, 0, {}, float(scan.score[0])) if scan.score[0] > 0 else None

    def given_shape(
        self,
        leaves: NDArray[np.bool_],
        change: Change,
        shared: float = 0.0,
        conditions: Conditions | None = None,
    ) -> tuple[float, float]:
        """t and height of a given shape in some leaves, of the change's group or of another, against all others."""
        group = change.conditions if conditions is None else conditions
        series, sampling = self.measure.contrasts(leaves[None].astype(np.float32), [group])
        return self._one(series, sampling, shared, self.flat, change)

    def own_shape(self, change: Change, leaves: NDArray[np.bool_] | None = None) -> tuple[float, float]:
        """t and height of a given shape in the own course of some leaves, by default of everybody."""
        leaves = self.panel.members({}) if leaves is None else leaves
        course, sampling, shared = self.measure.own_residual(leaves)
        return self._one(course, sampling, shared, self.measure.own_base(), change)

    def _one(
        self, series: Array, sampling: Array, shared: float, base: Array, change: Change
    ) -> tuple[float, float]:
        usable = self.measure.noise.usable(sampling)
        clean = without_odd_weeks(series, usable)
        covariance = self.measure.noise.covariance(sampling, np.array([shared]))
        fits = fitted(clean, covariance, base, change.bank)
        return float(fits.t[0, 0]), float(fits.height[0, 0])

    # -- which of several readings of the same change ----------------------------------------------------------

    def is_told(self, change: Change) -> bool:
        """Part, whole or neighbour of a change that is found: without that group's users nothing is left of it."""
        for other in self.found:
            if self.is_a_little_more(change, other) or self.is_mixture_of(change, other):
                return True
            if abs(change.since - other.since) > (7 if other.shape == RAMP else 4):
                continue
            mine, theirs = change.conditions.items(), other.conditions.items()
            if not mine and abs(change.t) > abs(other.t) and change.t * other.t > 0:
                continue  # more than what is left of a group's change
            if mine <= theirs or theirs <= mine:
                return True
            if self.measure.name != SIGNUPS and not self.is_left_without(change, other):
                return True
        return any(self.is_whole_of(change, cause) for cause in self.causes)

    def is_left_without(self, change: Change, other: Change) -> bool:
        """Whether a group shows a change without the users of another group as well."""
        outside = self.panel.members(other.conditions)
        with self.measure.without(outside):
            t, _ = self.given_shape(self.panel.members(change.conditions) & ~outside, change)
        return abs(t) >= 4 and t * change.t > 0

    def is_whole_of(self, change: Change, cause: Change) -> bool:
        """Whether a group shows only what a part of it does, of which a cause was found in an earlier measure."""
        is_part = change.conditions.items() < cause.conditions.items()
        is_near = abs(change.since - cause.since) <= CONSEQUENCE_WEEKS
        return bool(change.conditions) and is_part and is_near and not self.is_left_without(change, cause)

    @staticmethod
    def is_a_little_more(change: Change, whole: Change) -> bool:
        """Whether a group's change is that of everybody in the same quarter, a little more than for all others."""
        return (
            not whole.conditions
            and abs(change.since - whole.since) <= QUARTER
            and 0 < change.height / whole.height < LITTLE_MORE
            and abs(change.t) < abs(whole.t)
        )

    def of_pair(self, change: Change, shared: float) -> Change:
        """A pair's change, or that of its parent, or of a part of it; a change of another group as it is."""
        if len(change.conditions) != 2:
            return change
        likely = self.promoted(change, shared)
        return self.narrowed(likely, shared) if len(likely.conditions) == 2 else likely

    def promoted(self, change: Change, shared: float) -> Change:
        """The parent of a pair, where the rest of the parent changed as well."""
        pair, best = self.panel.members(change.conditions), change
        for name, value in change.conditions.items():
            parent = {name: value}
            rest = self.panel.members(parent) & ~pair
            with self.measure.without(pair):
                t, height = self.given_shape(rest, change, shared)
            if t * np.sign(change.height) > LEFT_T and (height / change.height > LEFT_SHARE or abs(t) > 5):
                t, height = self.given_shape(self.panel.members(parent), change, shared, parent)
                if abs(t) > 4.5 and (best is change or abs(t) > abs(best.t)):
                    best = replace(change, conditions=parent, t=t, height=height)
        return best

    def narrowed(self, change: Change, shared: float, names: Collection[str] | None = None) -> Change:
        """The part of a group that a further attribute tells apart, where it shows more and the rest of it nothing.

        Groups of three are not scanned all, of which there are many: the cause of one shows in its pairs as well.

        Args:
            names: attributes that may tell the part apart; all by default.
        """
        whole, best = self.panel.members(change.conditions), change
        # the change's own t is net of what random groups show
        by_itself, _ = self.given_shape(whole, change, shared)
        net = change.t / by_itself if by_itself else 1.0
        for part in self.panel.parts_of(change.conditions):
            if names is not None and not part.keys() <= set(names):
                continue
            inside = self.panel.members(part)
            t, height = self.given_shape(inside, change, shared, part)
            t *= net
            if t * np.sign(change.height) < 0 or t**2 - PAIR_PENALTY < best.t**2:
                continue
            with self.measure.without(inside):
                rest, left = self.given_shape(whole & ~inside, change, shared)
            if rest * np.sign(change.height) < LEFT_T or left / height < LEFT_SHARE:
                best = replace(change, conditions=part, t=t, height=height)
        return best

    @staticmethod
    def is_mixture_of(change: Change, other: Change) -> bool:
        """Whether users whose value is unknown, who have any of the values, show less of what those of a value do."""
        return (
            UNKNOWN in change.conditions.values()
            and change.conditions.keys() == other.conditions.keys()
            and abs(change.since - other.since) <= CONSEQUENCE_WEEKS
            and 0 < change.height / other.height < 1
        )

    def of_everybody(self, change: Change) -> Change | None:
        """The change of everybody that a group's is the smaller part of: all others changed as well."""
        everybody = self.scan_everybody(sign=float(np.sign(change.height)))
        if everybody is None or everybody.q_value >= ALPHA or self.is_told(everybody):
            return None
        # a group of less than two thirds is further from all others than all together are from their past
        is_surer = everybody.t**2 > SURER * change.t**2
        if not is_surer and abs(everybody.since - change.since) > NEAR_WEEKS:
            return None
        if is_surer:
            change = replace(change, bank=everybody.bank)
        inside = self.panel.members(change.conditions)
        t, height = self.own_shape(change, ~inside)
        if t * np.sign(change.height) < WHOLE_T:
            return None
        of_others = self.measure.total(~inside) * np.expm1(height)
        of_group = self.measure.total(inside) * np.expm1(self.own_shape(change, inside)[1])
        return everybody if abs(of_others) > abs(of_group) else None

    def of_all_values(self, change: Change) -> Change | None:
        """The change of everybody that nearly all values of an attribute went through, each found by itself before."""
        if len(change.conditions) != 1:
            return None
        alike = [
            each
            for each in self.found
            if each.conditions.keys() == change.conditions.keys()
            and each.height * change.height > 0
            and abs(each.since - change.since) <= NEAR_WEEKS
        ]
        together = np.any([self.panel.members(each.conditions) for each in (*alike, change)], axis=0)
        if len(alike) < 2 or self.measure.total(together) < MOST_OF_ALL * self.measure.total(
            self.panel.members({})
        ):
            return None
        for each in alike:
            self.found.remove(each)
            self.take_out(self.panel.members(each.conditions), -each.height, each.values)
        surest = max(alike, key=lambda each: abs(each.t))
        t, height = self.own_shape(surest)
        return replace(surest, conditions={}, t=t, height=height, error=height / t)

    def of_two(self, change: Change) -> Change:
        """Of the two values of an attribute the one whose own course changed."""
        if len(change.conditions) != 1:
            return change
        ((name, value),) = change.conditions.items()
        values = self.panel.attributes[name]
        others = [str(each) for each in np.unique(values) if each not in (value, "none")]
        if len(others) != 1:
            return change
        mine, theirs = (abs(self.own_shape(change, values == each)[1]) for each in (value, others[0]))
        if theirs <= mine:
            return change
        return replace(change, conditions={name: others[0]}, height=-change.height, t=-change.t)

    # -- all of them -------------------------------------------------------------------------------------------

    def next_change(self, in_everybody: bool = True) -> Change | None:
        candidates, shared = self.scan_groups()
        likely = candidates[:MOST_CANDIDATES]
        fresh = next((each for each in likely if not self.is_told(each) and self.is_of_enough(each)), None)
        if fresh:
            noise = float(shared[self.panel.groups.index(fresh.conditions)])
            whole = self.of_everybody(fresh) or self.of_all_values(fresh)
            return whole or self.of_two(self.of_pair(fresh, noise))
        everybody = self.scan_everybody() if in_everybody else None
        if everybody and everybody.q_value < ALPHA:
            return None if self.is_told(everybody) else everybody
        return None

    def explain(self, most: int, in_everybody: bool = True) -> list[Change]:
        """All that is found: so many further changes at most, of groups, and of everybody where that is asked for."""
        for _ in range(most):
            change = self.next_change(in_everybody)
            if change is None:
                break
            self.found.append(change)
            self.take_out(self.panel.members(change.conditions), change.height, change.values)
        return self.found


# -- any table of leaves -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class LeafTable(Groups):
    """The attributes of a table of leaves; `weight` is what is expected of each, shape (leaves,)."""

    attributes: Mapping[str, NDArray[np.str_]]
    weight: Array
    least_share: float

    @property
    def size(self) -> int:
        return len(self.weight)

    @cached_property
    def groups(self) -> list[Conditions]:
        values = {name: [str(each) for each in np.unique(of)] for name, of in self.attributes.items()}
        least, total = self.least_share * self.weight.sum(), self.weight.sum()
        return [
            group
            for group in singles_and_pairs(values)
            if least <= self.weight[self.members(group)].sum() <= total - least
        ]


@dataclass
class Leaves:
    """Counts of leaves against what is expected of each; each of shape (leaves, weeks)."""

    panel: LeafTable
    actual: Array
    expected: Array
    variance: Array
    name: str = "counts"
    noise: Noise = field(default_factory=lambda: Noise(white=1.0, ratio=0.0, persistence=0.0))
    among: Array = field(init=False)

    def __post_init__(self) -> None:
        self.among = np.ones(len(self.actual))
        weeks = self.actual.shape[1]
        here = np.array([0])
        at_once = Bank(np.ones((1, 1)), np.array([STEP]), here, here - 1)
        self.bank = at_once if weeks == 1 else bank_of(weeks)

    @property
    def family(self) -> int:
        return len(self.panel.groups) + 1

    @cached_property
    def null(self) -> NullTail:
        _, sampling = self.contrasts(self.panel.membership, self.panel.groups)
        covariance = self.noise.covariance(np.median(sampling, axis=0, keepdims=True), np.zeros(1))
        weeks = len(covariance[0])
        flat = np.ones((weeks, min(weeks - 1, 1)))
        return simulated_tail(covariance, flat, self.bank, np.random.default_rng(0))

    @property
    def inflation(self) -> Array:
        return np.ones(len(self.bank.since))

    own_inflation = inflation

    def known_groups(self) -> None:
        return None

    def contrasts(self, membership: Floats, groups: Sequence[Conditions]) -> tuple[Array, Array]:
        inside = membership * self.among
        own, sampling = self._course(inside)
        others, of_others = self._course(self.among - inside)
        return own - others, sampling + of_others

    def _course(self, marks: Array) -> tuple[Array, Array]:
        actual, expected = np.maximum(marks @ self.actual, 0), np.maximum(marks @ self.expected, 0)
        return np.log((actual + 0.5) / (expected + 0.5)), (marks @ self.variance) / (expected + 0.5) ** 2

    def own_residual(self, leaves: NDArray[np.bool_]) -> tuple[Array, Array, float]:
        course, sampling = self._course(leaves[None] * self.among)
        return course, sampling, shared_variance(course[0], sampling[0], self.noise)

    def total(self, leaves: NDArray[np.bool_]) -> float:
        return float(self.actual[leaves].sum())

    def most_squared_t(self, leaves: NDArray[np.bool_], during: Array) -> float:
        # what these count, and in which unit, is unknown
        return np.inf

    def own_base(self) -> Array:
        weeks = self.actual.shape[1]
        return np.ones((weeks, min(weeks - 1, 1)))

    @contextmanager
    def without(self, leaves: NDArray[np.bool_]) -> Iterator[None]:
        kept, self.among = self.among, 1.0 - leaves
        try:
            yield
        finally:
            self.among = kept

    def take_out(self, leaves: NDArray[np.bool_], height: float, shape: Array) -> None:
        self.expected = np.where(leaves[:, None], self.expected * np.exp(height * shape), self.expected)


def scan(
    attributes: Mapping[str, ArrayLike],
    actual: ArrayLike,
    expected: ArrayLike,
    variance: ArrayLike,
    *,
    most: int = 5,
    least_share: float = 0.0,
) -> pd.DataFrame:
    """The groups that explain how leaves differ from what is expected of them, what explains most first.

    Args:
        attributes: by name the value of each leaf; each of shape (leaves,).
        actual, expected: additive counts of each leaf, shape (leaves,) at one point in time, or (leaves, weeks).
        variance: of actual - expected, as if all leaves varied independently; same shape. For counts: expected.
        most: groups to return at most.
        least_share: of all that is expected; smaller groups are not looked at, nor those that leave less outside.

    Returns:
        A row per group beyond chance (`q_value` < 0.05, Bonferroni over all groups): rank; conditions (attribute and
        value; `{}` for all leaves); shape, since and until (number of the first week and of the one after the last; a
        single point in time is a step since 0); log_ratio of the group to all others (of all leaves: to what is
        expected), net of what ranks before it, with its standard error; score (squared t less penalties for freedom);
        actual and expected, sums over the weeks of the change; difference, actual - expected.

    Raises:
        ValueError: shapes that do not fit, or a series of fewer than 20 weeks.
    """
    counts = [np.asarray(each, dtype=float) for each in (actual, expected, variance)]
    counts = [each[:, None] if each.ndim == 1 else each for each in counts]
    values = {name: np.asarray(each).astype(str) for name, each in attributes.items()}
    if len({each.shape for each in counts}) > 1 or any(
        len(each) != len(counts[0]) for each in values.values()
    ):
        raise ValueError("actual, expected and variance must have one shape, with a row for each leaf.")
    if 1 < counts[0].shape[1] < LEAST_SERIES:
        raise ValueError(f"A series needs {LEAST_SERIES} weeks: it has {counts[0].shape[1]}.")
    table = LeafTable(values, counts[1].sum(axis=1), least_share)
    changes = Explainer(Leaves(table, *counts)).explain(most)
    rows = [_row(table, change, counts[0], counts[1]) for change in changes]
    return pd.DataFrame(rows, columns=COLUMNS).assign(rank=np.arange(1, len(rows) + 1))


COLUMNS = [
    *("rank", "conditions", "shape", "since", "until", "log_ratio", "error", "score", "q_value"),
    *("actual", "expected", "difference"),
]


def _row(table: LeafTable, change: Change, actual: Array, expected: Array) -> dict[str, object]:
    inside, during = table.members(change.conditions), change.values > 0
    found, usual = (float(each[np.ix_(inside, during)].sum()) for each in (actual, expected))
    return {
        "conditions": change.conditions,
        "shape": change.shape,
        "since": change.since,
        "until": change.until,
        "log_ratio": change.height,
        "error": change.error,
        "score": change.score,
        "q_value": change.q_value,
        "actual": found,
        "expected": usual,
        "difference": found - usual,
    }
