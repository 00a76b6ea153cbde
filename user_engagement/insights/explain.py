"""Which groups changed, in which way, since when: the causes that explain most, one after the other.

The group and shape that explain most are taken out, and what is left is looked at again, until nothing is left beyond
chance. Groups come before everybody: what a group alone went through is no change of all. Links of the chain from
signing up to the length of a session are looked at in order, so that a consequence is not listed beside its cause.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from user_engagement.insights.measurement import GONE, TWICE, UNIT, Outage, Vanished
from user_engagement.insights.measures import Measure, older
from user_engagement.insights.names import (
    ACQUISITION,
    ACTIVATION,
    BEHAVIOUR,
    CHURN,
    EPISODE,
    LENGTH,
    LENGTH_SCALE,
    MEASUREMENT,
    MIX,
    NEW_USERS,
    OF_COHORTS,
    RAMP,
    RESURRECTION,
    SESSIONS,
    SIGNUPS,
    SLOPE,
    STEP,
    USE,
)
from user_engagement.insights.panel import HABITS, LEVEL, Conditions, Panel
from user_engagement.insights.shapes import (
    MOST_VARIANCE,
    Array,
    Bank,
    fitted,
    shared_variance,
    without_odd_weeks,
)
from user_engagement.insights.statistics import ALPHA

USUAL_SCORE = 12.0
"""The best score of a series without a change, about."""
LEAST_TREND = 2.7
"""t from which older users, or the weeks before, show something."""
SOON_WEEKS = 12
FOLLOWING_WEEKS = 26
"""In which a drift of older users shows."""
NEARLY_AS_LIKELY = 6.0
"""Difference of scores."""
DRIFT_WEEKS = 8
"""Before a change of new users: what began earlier is a drift of all users."""
EXPLAINED = 0.5
"""Share of the new users' change above which a drift of all users may be all of it."""
SPARED = 0.4
"""Share of the new users' change below which older users are spared."""
FAMILY = 8
"""Measures that every group is scanned in."""
PAIR_PENALTY = 6.0
LEAST_USERS = 100
MOST_CANDIDATES = 25
AT_ONCE = 40


@dataclass(frozen=True)
class Change:
    """A change of a measure in a group of users: `height` is the log ratio where its shape, a bank of one, is 1."""

    measure: str
    conditions: Conditions
    kind: str
    t: float
    height: float
    error: float
    bank: Bank
    score: float
    q_value: float = 0.0

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


# -- one scan ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scan:
    """The best shape of each series: its place in the bank, score (squared t less the shape's penalty), t, height."""

    place: NDArray[np.int64]
    score: Array
    t: Array
    height: Array
    error: Array


def best_shapes(
    measure: Measure,
    series: Array,
    sampling: Array,
    shared: Array,
    base: Array,
    bank: Bank,
    inflation: Array,
    allowed: NDArray[np.bool_] | None = None,
    sign: float = 0.0,
) -> Scan:
    """Scans series, shape (series, weeks), for the shape of the bank that explains each of them most.

    Args:
        allowed: shapes that may be found; shape (series, shapes).
        sign: of the heights that may be found; 0 for both.
    """
    usable = measure.noise.total() * sampling < MOST_VARIANCE
    enough = usable.sum(1) >= min(20, series.shape[1] // 2)
    clean = without_odd_weeks(series, usable)
    first = np.argmax(usable, axis=1)
    results = []
    for start in range(0, len(series), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        covariance = measure.noise.covariance(sampling[part], shared[part])
        fits = fitted(clean[part], covariance, base, bank)
        t = fits.t / inflation
        if len(bank.since) > 1:
            late = bank.since[None, :] >= first[part, None] + 8
            t = np.where(late | (bank.kinds == SLOPE)[None, :], t, 0)
        t = np.where(enough[part, None], t, 0)
        if allowed is not None:
            t = np.where(allowed[part], t, 0)
        if sign:
            t = np.where(t * sign > 0, t, 0)
        score = np.where(np.abs(t) > 0, t**2 - bank.penalties, -1)
        # of a large change the likelihood alone says which shape it has: what random groups show is taken off, not
        # divided by
        likely = (t * inflation) ** 2 - bank.penalties - USUAL_SCORE * (inflation**2 - 1)
        place = np.where(np.abs(t) > 0, likely, -np.inf).argmax(1)
        row = np.arange(len(place))
        results.append(
            (place, score[row, place], t[row, place], fits.height[row, place], fits.error[row, place])
        )
    return Scan(*(np.concatenate(column) for column in zip(*results, strict=True)))


def level_of(conditions: Conditions) -> bool:
    return LEVEL in conditions


class Explainer:
    """One measure, and the changes found in it so far."""

    def __init__(self, measure: Measure) -> None:
        self.measure = measure
        self.panel = measure.panel
        self.flat = np.ones((len(self.panel.weeks), 1))
        self.found: list[Change] = []

    def scan_groups(self) -> tuple[list[Change], Array]:
        """What each group shows against all others, the surest first; and the shared noise of each group."""
        panel, measure = self.panel, self.measure
        if not panel.groups:
            return [], np.zeros(0)
        levels = np.array([level_of(group) for group in panel.groups], dtype=bool)
        series, sampling = measure.contrasts(panel.membership, levels)
        shared = self.shared_by_attribute(series, sampling)
        known = panel.cumulative_users[:, np.maximum(measure.bank.since - 2, 0)] >= LEAST_USERS
        scan = best_shapes(
            measure, series, sampling, shared, self.flat, measure.bank, measure.inflation, allowed=known
        )
        candidates = []
        for place, group in enumerate(panel.groups):
            pair = len(group) > 1
            if not self.tells(group):
                continue
            change = self.change(scan, place, group, float(scan.score[place] - PAIR_PENALTY * pair))
            if change.q_value < ALPHA:
                candidates.append(change)
        return sorted(candidates, key=lambda each: -each.score), shared

    def tells(self, group: Conditions) -> bool:
        """Whether a group says something about the measure: habits of new users are part of what they do."""
        if self.measure.name == SIGNUPS:
            return not set(group) & set(HABITS)
        if self.measure.name in OF_COHORTS:
            return not set(group) & {"interaction_type", LEVEL}
        return self.measure.name == USE or LEVEL not in group

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
        family = FAMILY * (len(self.panel.groups) + 1)
        return min(1.0, family * self.measure.null.p_value(score))

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

    def scan_everybody(
        self,
        leaves: NDArray[np.bool_] | None = None,
        sign: float = 0.0,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Change | None:
        """What everybody's own course shows beside the season."""
        measure = self.measure
        leaves = np.ones(len(self.panel.users), bool) if leaves is None else leaves
        course, sampling, shared = measure.own_residual(leaves)
        scan = best_shapes(
            measure,
            course,
            sampling,
            np.array([shared]),
            measure.own_base(),
            measure.bank,
            # of use, what users do by themselves averages out over all of them
            np.ones(1) if measure.name == USE else measure.inflation,
            allowed=None if allowed is None else allowed[None],
            sign=sign,
        )
        return self.change(scan, 0, {}, float(scan.score[0])) if scan.score[0] > 0 else None

    def given_shape(
        self, leaves: NDArray[np.bool_], change: Change, shared: float = 0.0, has_level: bool = False
    ) -> tuple[float, float]:
        """t and height of a given shape in some leaves against all others."""
        series, sampling = self.measure.contrasts(leaves[None].astype(np.float32), np.array([has_level]))
        return self._one(series, sampling, shared, self.flat, change)

    def own_shape(self, change: Change) -> tuple[float, float]:
        """t and height of a given shape in everybody's own course."""
        leaves = np.ones(len(self.panel.users), bool)
        course, sampling, shared = self.measure.own_residual(leaves)
        return self._one(course, sampling, shared, self.measure.own_base(), change)

    def own_height(self, leaves: NDArray[np.bool_], change: Change) -> float:
        """Height of a given shape in the own course of some leaves."""
        course, sampling, shared = self.measure.own_residual(leaves)
        return self._one(course, sampling, shared, self.measure.own_base(), change)[1]

    def _one(
        self, series: Array, sampling: Array, shared: float, base: Array, change: Change
    ) -> tuple[float, float]:
        usable = self.measure.noise.total() * sampling < MOST_VARIANCE
        clean = without_odd_weeks(series, usable)
        covariance = self.measure.noise.covariance(sampling, np.array([shared]))
        fits = fitted(clean, covariance, base, change.bank)
        return float(fits.t[0, 0]), float(fits.height[0, 0])

    # -- which of several readings of the same change ----------------------------------------------------------

    def is_told(self, change: Change) -> bool:
        """Part, whole or neighbour of a change that is found: without that group's users nothing is left of it."""
        for other in self.found:
            if abs(change.since - other.since) > (7 if other.shape == RAMP else 4):
                continue
            mine, theirs = change.conditions.items(), other.conditions.items()
            if not mine and abs(change.t) > abs(other.t):
                continue  # more than what is left of a group's change
            if mine <= theirs or theirs <= mine:
                return True
            if self.measure.name == SIGNUPS:
                continue
            outside = self.panel.members(other.conditions)
            with self.measure.without(outside):
                t, _ = self.given_shape(
                    self.panel.members(change.conditions) & ~outside,
                    change,
                    has_level=level_of(change.conditions),
                )
            if abs(t) < 4 or t * change.t < 0:
                return True
        return False

    def promoted(self, change: Change, shared: float) -> Change:
        """The parent of a pair, where the rest of the parent changed as well."""
        if len(change.conditions) != 2:
            return change
        pair, best = self.panel.members(change.conditions), change
        for name, value in change.conditions.items():
            parent = {name: value}
            rest = self.panel.members(parent) & ~pair
            with self.measure.without(pair):
                t, height = self.given_shape(rest, change, shared, level_of(change.conditions))
            if t * np.sign(change.height) > 2.8 and (height / change.height > 0.4 or abs(t) > 5):
                t, height = self.given_shape(self.panel.members(parent), change, shared, level_of(parent))
                if abs(t) > 4.5 and (best is change or abs(t) > abs(best.t)):
                    best = replace(change, conditions=parent, t=t, height=height)
        return best

    def of_two(self, change: Change) -> Change:
        """Of the two values of an attribute the one whose own course changed."""
        if len(change.conditions) != 1:
            return change
        ((name, value),) = change.conditions.items()
        values = self.panel.attributes[name]
        others = [str(each) for each in np.unique(values) if each not in (value, "none")]
        if len(others) != 1:
            return change
        mine, theirs = (abs(self.own_height(values == each, change)) for each in (value, others[0]))
        if theirs <= mine:
            return change
        return replace(change, conditions={name: others[0]}, height=-change.height, t=-change.t)

    # -- all of them -------------------------------------------------------------------------------------------

    def next_change(self) -> Change | None:
        candidates, shared = self.scan_groups()
        fresh = next((each for each in candidates[:MOST_CANDIDATES] if not self.is_told(each)), None)
        if fresh:
            noise = shared[self.panel.groups.index(fresh.conditions)]
            return self.of_two(self.promoted(fresh, float(noise)))
        everybody = self.scan_everybody()
        if everybody and everybody.q_value < ALPHA:
            return None if self.is_told(everybody) else everybody
        return None

    def explain(self, most: int) -> list[Change]:
        for _ in range(most):
            change = self.next_change()
            if change is None:
                break
            self.found.append(change)
            self.measure.take_out(self.panel.members(change.conditions), change.height, change.values)
        return self.found


# -- the chain of measures ---------------------------------------------------------------------------------


VANISHED_HEIGHT = -3.0
"""Log ratio of what stopped to what was."""


class Measures:
    """The measures of a panel, each made once, when it is first asked for."""

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        self._made: dict[str, Measure] = {}

    def fresh(self, name: str) -> Measure:
        """A measure that nothing is taken out of yet."""
        if name not in self._made:
            self._made[name] = Measure(self.panel, name)
        return self._made[name].fresh()


def changes_of(measures: Measures, vanished: list[Vanished], outages: list[Outage]) -> list[Change]:
    """Every change of a company that is beyond chance."""
    panel, use = measures.panel, measures.fresh(USE)
    found = [outage_change(panel, outage) for outage in outages]
    found += [change for each in vanished if (change := recording_change(use, each))]
    found += new_user_changes(measures, use)
    found += [dated_by_fact(change, vanished) for change in Explainer(use).explain(6)]
    found += signup_changes(measures.fresh(SIGNUPS))
    for name in (CHURN, RESURRECTION, SESSIONS, LENGTH):
        measure = measures.fresh(name)
        if measure.actual.sum() > 0:
            found += Explainer(measure).explain(3)
    return [of_recording(change) for change in found]


def of_recording(change: Change) -> Change:
    """A change that no behaviour makes is one of recording or delivery."""
    jumped = {
        SESSIONS: change.height > TWICE,
        LENGTH: abs(change.height) > UNIT / LENGTH_SCALE,
        USE: change.height < GONE,
    }
    is_overnight = change.shape in (STEP, EPISODE)
    broad = len(change.conditions) <= (1 if change.measure == USE else 0)
    if is_overnight and broad and jumped.get(change.measure, False):
        return replace(change, kind=MEASUREMENT)
    return change


def outage_change(panel: Panel, outage: Outage) -> Change:
    """Days without any event: an episode of the weeks that they touch."""
    week = np.arange(len(panel.weeks))
    inside = ((week >= outage.since) & (week < outage.until)).astype(float)
    shape = Bank(inside[:, None], np.array([EPISODE]), np.array([outage.since]), np.array([outage.until]))
    return Change(USE, {}, MEASUREMENT, -99.0, VANISHED_HEIGHT, 0.0, shape, 99.0**2)


def recording_change(use: Measure, vanished: Vanished) -> Change | None:
    """A kind of event that stopped is a fault of recording, unless its users do less of everything else as well."""
    conditions = {vanished.name: vanished.value}
    weeks = len(use.panel.weeks)
    step = use.bank.only(
        np.flatnonzero((use.bank.kinds == STEP) & (use.bank.since == min(vanished.since, weeks - 2)))
    )
    change = Change(USE, conditions, MEASUREMENT, -99.0, VANISHED_HEIGHT, 0.0, step, 99.0**2)
    if vanished.name in use.panel.attributes:
        t, height = Explainer(use).given_shape(use.panel.members(conditions), change)
        if t < -3 and height < -0.25:
            return None
    return change


def dated_by_fact(change: Change, vanished: list[Vanished]) -> Change:
    """A kind of event that stopped dates the change of its users better than the scan."""
    for each in vanished:
        if change.conditions == {each.name: each.value} and 0 <= change.since - each.since <= 6:
            bank = replace(change.bank, since=np.array([each.since]))
            return replace(change, bank=bank)
    return change


def new_user_changes(measures: Measures, use: Measure) -> list[Change]:
    """Changes of whoever signs up from a week on, which older users did not go through."""
    for name in (NEW_USERS, ACTIVATION):
        found = [
            change
            for change in Explainer(measures.fresh(name)).explain(3)
            if change.shape != EPISODE
            and change.since <= len(use.panel.weeks) - 6
            and spares_older(use, change)
        ]
        for change in found:
            use.renew(use.panel.members(change.conditions), change.since)
            use.prepare()
        if found:
            return found
    return []


def spares_older(use: Measure, change: Change) -> bool:
    """Whether users who signed up before the change show next to nothing of it, in the weeks after it began."""
    explainer, weeks = Explainer(use), len(use.panel.weeks)
    week = np.arange(weeks)
    soon = older(use.tenures, weeks, change.since) & (week < change.since + SOON_WEEKS)[None]
    if not change.conditions and drifts(explainer, change):
        return False
    leaves = use.panel.members(change.conditions)
    with use.only(soon):
        if change.conditions:
            t, height = explainer.given_shape(leaves, change)
        else:
            t, height = explainer.own_shape(change)
    return t * np.sign(change.height) < LEAST_TREND or height / change.height < SPARED


def drifts(explainer: Explainer, change: Change) -> bool:
    """Whether a drift that began before a change of new users, and that older users go through, may be all of it."""
    use, sign = explainer.measure, float(np.sign(change.height))
    weeks = len(use.panel.weeks)
    following = np.arange(weeks) < change.since + FOLLOWING_WEEKS
    long_ago = (use.bank.kinds == SLOPE) & (use.bank.since <= change.since - DRIFT_WEEKS)
    with use.only(older(use.tenures, weeks, change.since) & following[None]):
        trend = explainer.scan_everybody(sign=sign, allowed=long_ago)
        best = explainer.scan_everybody(sign=sign)
    if trend is None or best is None or abs(trend.t) < LEAST_TREND:
        return False
    is_older = best.until is None and best.since <= change.since - DRIFT_WEEKS
    is_likely = best.score - trend.score < NEARLY_AS_LIKELY or is_older
    return is_likely and rise(trend, change) > EXPLAINED * abs(change.height)


def rise(trend: Change, change: Change) -> float:
    """How much lower or higher a trend is on average after a change began than before, as a log ratio."""
    after = np.arange(len(trend.values)) >= change.since
    return abs(trend.height * (trend.values[after].mean() - trend.values[~after].mean()))


def signup_changes(measure: Measure) -> list[Change]:
    """Changes of how many sign up; a mix where one group's signups rise as those of all others fall."""
    explainer = Explainer(measure)
    for _ in range(4):
        change = explainer.next_change()
        if change is None:
            break
        inside = measure.panel.members(change.conditions)
        kind = signup_kind(explainer, inside, change)
        explainer.found.append(replace(change, kind=kind))
        if kind == MIX:
            take_out_mix(measure, inside, change)
        else:
            measure.take_out(inside, change.height, change.values)
    return explainer.found


def signup_kind(explainer: Explainer, inside: NDArray[np.bool_], change: Change) -> str:
    """A mix where all signups together changed by less than half of what the group's own change adds to them."""
    if not change.conditions:
        return ACQUISITION
    signups = explainer.panel.leaves.cohorts["signups"]
    before = change.values < 0.05
    share = signups[inside][:, before].sum() / max(signups[:, before].sum(), 1)
    added = np.log1p(share * np.expm1(change.height))
    _, together = explainer.own_shape(change)
    return MIX if abs(together) < abs(added) / 2 else ACQUISITION


def take_out_mix(measure: Measure, inside: NDArray[np.bool_], change: Change) -> None:
    signups = measure.panel.leaves.cohorts["signups"]
    late = change.values > 0.5
    share = signups[inside][:, late].sum() / max(signups[:, late].sum(), 1)
    odds = share / (1 - share) * np.exp(-change.height)
    before = odds / (1 + odds)
    measure.take_out(inside, float(np.log(share / before)), change.values)
    measure.take_out(~inside, float(np.log((1 - share) / (1 - before))), change.values)
