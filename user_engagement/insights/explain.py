"""Every change of a company, measure by measure along the chain from signing up to the length of a session."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from user_engagement.insights.leavers import find_leavers
from user_engagement.insights.measurement import GONE, HABIT_OF, TWICE, UNIT, Outage, Vanished
from user_engagement.insights.measures import Measure, older, untold
from user_engagement.insights.names import (
    ACQUISITION,
    ACTIVATION,
    CHURN,
    EPISODE,
    LENGTH,
    LENGTH_SCALE,
    MEASUREMENT,
    MIX,
    NEW_USERS,
    RESURRECTION,
    SESSIONS,
    SIGNUPS,
    SLOPE,
    STEP,
    USE,
)
from user_engagement.insights.panel import LEVEL, WEEKLY, Panel
from user_engagement.insights.scan import Change, Explainer
from user_engagement.insights.shapes import Bank

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


# -- the chain of measures ---------------------------------------------------------------------------------


VANISHED_HEIGHT = -3.0
"""Log ratio of what stopped to what was."""


class Measures:
    """The measures of a panel, each made once, when it is first asked for.

    Only of use do levels of activity say something: all others are of leaves that these do not tell apart.
    """

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        self._made: dict[tuple[str, bool], Measure] = {}
        self._panels: dict[tuple[str, ...], tuple[Panel, NDArray[np.int64]]] = {}
        self._coarser: dict[int, tuple[NDArray[np.int64], NDArray[np.int64] | None]] = {}

    def fresh(self, name: str, by_level: bool | None = None) -> Measure:
        """A measure that nothing is taken out of yet.

        Args:
            by_level: whether its leaves are those of the panel; by default where levels say something about it.
        """
        by_level = name == USE if by_level is None else by_level
        if (name, by_level) not in self._made:
            self._made[name, by_level] = Measure(self.panel if by_level else self._without_levels[0], name)
        return self._made[name, by_level].fresh()

    def to_scan(self, name: str) -> Measure:
        """The same, with leaves joined that only attributes tell apart which say nothing about it."""
        names = untold(name)
        measure = self.fresh(name)
        if not set(names) & set(measure.panel.attributes):
            return measure
        if names not in self._panels:
            self._panels[names] = measure.panel.without_attributes(names)
        return measure.joined(*self._panels[names])

    def joined(self, name: str, panel: Panel, leaf_of: NDArray[np.int64]) -> Measure:
        """The same, of a panel of coarser leaves; `leaf_of` is the one of each leaf of the whole panel."""
        if id(leaf_of) not in self._coarser:
            _, base_of = self._without_levels
            coarser = np.zeros(base_of.max() + 1, int)
            coarser[base_of] = leaf_of
            self._coarser[id(leaf_of)] = leaf_of, coarser if (coarser[base_of] == leaf_of).all() else None
        _, coarser = self._coarser[id(leaf_of)]
        if name == USE or coarser is None:
            return self.fresh(name, by_level=True).joined(panel, leaf_of)
        return self.fresh(name).joined(panel, coarser)

    @cached_property
    def _without_levels(self) -> tuple[Panel, NDArray[np.int64]]:
        if LEVEL not in self.panel.attributes:
            return self.panel, np.arange(self.panel.size)
        return self.panel.without_attributes([LEVEL], (*WEEKLY, "users"))


def changes_of(measures: Measures, vanished: list[Vanished]) -> list[Change]:
    """Every change of a company that is beyond chance."""
    panel, use = measures.panel, measures.to_scan(USE)
    found = [outage_change(panel, outage) for outage in panel.outages]
    found += [change for each in vanished if (change := recording_change(use, each))]
    found += new_user_changes(measures, use)
    in_use = Explainer(use)
    found += [dated_by_fact(change, vanished) for change in in_use.explain(6)]
    found += signup_changes(measures.to_scan(SIGNUPS))
    churn = measures.to_scan(CHURN)
    if churn.actual.any():
        in_churn = Explainer(churn, found)
        in_churn.explain(3, in_everybody=False)
        find_leavers(in_use, in_churn)
        found += in_churn.explain(3)
    for name in (RESURRECTION, SESSIONS, LENGTH):
        measure = measures.to_scan(name)
        if measure.actual.any():
            found += Explainer(measure, found).explain(3)
    return [of_recording(change) for change in found]


def of_recording(change: Change) -> Change:
    """A change that no behaviour makes is one of recording or delivery."""
    jumped = {
        SESSIONS: change.height > TWICE,
        LENGTH: abs(change.height) > UNIT / LENGTH_SCALE,
        USE: change.height < GONE,
    }
    is_overnight = change.shape in (STEP, EPISODE)
    # an attribute of events is recorded by a part of the tracking
    of_events = change.measure == SESSIONS and set(change.conditions) <= set(HABIT_OF.values())
    broad = len(change.conditions) <= int(change.measure == USE or of_events)
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
            for change in Explainer(measures.to_scan(name)).explain(3)
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
            take_out_mix(explainer, inside, change)
        else:
            explainer.take_out(inside, change.height, change.values)
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


def take_out_mix(explainer: Explainer, inside: NDArray[np.bool_], change: Change) -> None:
    signups = explainer.panel.leaves.cohorts["signups"]
    late = change.values > 0.5
    share = signups[inside][:, late].sum() / max(signups[:, late].sum(), 1)
    odds = share / (1 - share) * np.exp(-change.height)
    before = odds / (1 + odds)
    explainer.take_out(inside, float(np.log(share / before)), change.values)
    explainer.take_out(~inside, float(np.log((1 - share) / (1 - before))), change.values)
