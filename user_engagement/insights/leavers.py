"""Users who leave sooner: more of a group cancel, and from the same week on ever fewer of it are active.

Few users cancel in a week, and who leaves is missed slowly: either may be chance. Both from the same week on seldom are,
and the week that both tell is surer than that of either.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from user_engagement.insights.measures import Measure
from user_engagement.insights.names import BEHAVIOUR, RAMP, SLOPE, STEP
from user_engagement.insights.scan import LEFT_SHARE, LEFT_T, PAIR_PENALTY, Change, Conditions, Explainer
from user_engagement.insights.shapes import Array, Bank, Fits, drawn_without_change, fitted, tail_of
from user_engagement.insights.statistics import ALPHA

CANCELLING, MISSED = (STEP, RAMP), (RAMP, SLOPE)
"""How a rise of cancellations begins, and how those who left are missed."""
LEAST_OF_EACH = 2.0
"""t of more cancellations, and of fewer active users."""
LEAST_HELD = 5.0
"""Of cancellations, which need not tell by themselves: inverse variances that the weeks of a shape add up to."""
MOST_GROUPS = 3


@dataclass(frozen=True)
class Side:
    """One of the two measures; `kinds` are the shapes that leavers show in it, `sign` is that of their heights."""

    measure: Measure
    kinds: tuple[str, ...]
    sign: float

    def by_week(self, t: Array) -> tuple[Array, NDArray[np.int64]]:
        """The largest t in the direction of leavers by first week, and the place of its shape; (series, weeks)."""
        bank = self.measure.bank
        largest = np.zeros((len(t), len(bank.values)))
        place = np.zeros(largest.shape, int)
        row = np.arange(len(t))
        for since in range(largest.shape[1]):
            shapes = np.flatnonzero(np.isin(bank.kinds, self.kinds) & (bank.since == since))
            if len(shapes):
                signed = self.sign * t[:, shapes]
                place[:, since] = shapes[signed.argmax(1)]
                largest[:, since] = np.maximum(signed.max(1), 0)
        return largest, place

    def without_change(self, rng: np.random.Generator) -> Array:
        """The largest t by first week of series that hold nothing but noise; shape (draws, weeks)."""
        covariance = self.measure.random.typical
        flat = np.ones((covariance.shape[1], 1))
        drawn = drawn_without_change(covariance, rng)
        return self.by_week(fitted(drawn, covariance, flat, self.measure.bank).t)[0]


def leaver_changes(use: Measure, churn: Measure) -> list[Change]:
    """Groups whose users leave sooner, as changes of churn, the surest first; each is taken out of both measures."""
    if not churn.panel.groups or not churn.actual.any():
        return []
    leavers = Leavers(Side(churn, CANCELLING, 1.0), Side(use, MISSED, -1.0))
    for _ in range(MOST_GROUPS):
        if not leavers.find_next():
            break
    return leavers.found


class Leavers:
    """What cancellations and activity together tell of the groups whose users leave sooner."""

    def __init__(self, churn: Side, use: Side) -> None:
        self.churn, self.use = churn, use
        self.cancelled, self.missed = Explainer(churn.measure), Explainer(use.measure)
        self.found = self.cancelled.found
        rng = np.random.default_rng(0)
        self.null = tail_of((churn.without_change(rng) ** 2 + use.without_change(rng) ** 2).max(1))

    def find_next(self) -> bool:
        """Takes the surest group that is not told yet out of both measures; whether there is one beyond chance."""
        churn, use = self.churn.measure, self.use.measure
        groups = churn.panel.groups
        rows = [use.panel.groups.index(group) for group in groups]
        cancelled, _ = self.cancelled.fits_of_groups(LEAST_HELD)
        missed, shared = self.missed.fits_of_groups()
        missed = Fits(*(each[rows] for each in (missed.t, missed.height, missed.error)))
        (more, of_more), (fewer, of_fewer) = self.churn.by_week(cancelled.t), self.use.by_week(missed.t)
        together = np.where(np.minimum(more, fewer) >= LEAST_OF_EACH, more**2 + fewer**2, 0.0)
        # a change of one measure alone is better told by that measure
        alone = np.maximum(best_alone(cancelled, churn.bank), best_alone(missed, use.bank))
        together = np.where(together > alone[:, None], together, 0.0)
        scores = together.max(1) - PAIR_PENALTY * np.array([len(group) > 1 for group in groups])
        for row in np.argsort(-scores, kind="stable"):
            q_value = min(1.0, churn.family * self.null.p_value(float(scores[row])))
            if q_value >= ALPHA:
                return False
            since = median_week(together[row])
            change = changed(churn, groups[row], cancelled, (row, int(of_more[row, since])))
            if self.cancelled.is_told(change):
                continue
            in_use = changed(use, groups[row], missed, (row, int(of_fewer[row, since])))
            change, in_use = self.narrowed(change, in_use, float(shared[rows[row]]))
            for each, measure in ((change, churn), (in_use, use)):
                measure.take_out(measure.panel.members(each.conditions), each.height, each.values)
            t, score = float(np.sqrt(together[row, since])), float(scores[row])
            self.found.append(replace(change, t=t, score=score, q_value=q_value, is_dated=True))
            return True
        return False

    def narrowed(self, change: Change, in_use: Change, shared: float) -> tuple[Change, Change]:
        """The change in both measures of the part of the group whose users alone leave sooner, if there is one."""
        panel = self.churn.measure.panel
        members = self.use.measure.panel.members(in_use.conditions)
        t, height = self.missed.given_shape(members, in_use, shared)
        part = self.missed.narrowed(replace(in_use, t=t, height=height), shared, panel.attributes.keys())
        if part.conditions == in_use.conditions:
            return change, in_use
        inside = panel.members(part.conditions)
        t, height = self.cancelled.given_shape(inside, change, conditions=part.conditions)
        with self.churn.measure.without(inside):
            rest, left = self.cancelled.given_shape(panel.members(change.conditions) & ~inside, change)
        if rest > LEFT_T and left > LEFT_SHARE * height:
            return change, in_use
        return replace(change, conditions=part.conditions, t=t, height=height), part


def changed(measure: Measure, group: Conditions, fits: Fits, place: tuple[int, int]) -> Change:
    """A change of a group as one measure shows it; `place` is that of the series and the shape among the fits."""
    t, height, error = (float(each[place]) for each in (fits.t, fits.height, fits.error))
    bank = measure.bank.only(np.array([place[1]]))
    return Change(measure.name, group, BEHAVIOUR, t, height, error, bank, t**2)


def best_alone(fits: Fits, bank: Bank) -> Array:
    """The best score of each series in one measure; shape (series,)."""
    return np.where(fits.t != 0, fits.t**2 - bank.penalties, 0.0).max(1)


def median_week(together: Array) -> int:
    """The median of the first weeks, each weighted by its likelihood; squared t of shape (weeks,)."""
    weights = np.where(together > 0, np.exp((together - together.max()) / 2), 0.0).cumsum()
    return int(np.searchsorted(weights, weights[-1] / 2))
