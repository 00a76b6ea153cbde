"""Users who leave sooner: more of a group cancel, and from the same week on ever fewer of it are active.

Few users cancel in a week, and who leaves is missed slowly: either may be chance. Both from the same week on seldom
are, and the week that both tell is surer than that of either.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from user_engagement.insights.measures import Measure
from user_engagement.insights.names import BEHAVIOUR, RAMP, SLOPE, STEP
from user_engagement.insights.scan import (
    LEAST_HELD,
    LEFT_SHARE,
    LEFT_T,
    PAIR_PENALTY,
    QUARTER,
    Change,
    Conditions,
    Explainer,
    Shown,
)
from user_engagement.insights.shapes import Array, Fits, NullTail, drawn_without_change, fitted, tail_of
from user_engagement.insights.statistics import ALPHA

CANCELLING, MISSED = (STEP, RAMP), (RAMP, SLOPE)
"""How a rise of cancellations begins, and how those who left are missed."""
LEAST_OF_EACH = 2.0
"""t of more cancellations, and of fewer active users."""
LEAST_CANCELLED = 5.0
"""`LEAST_HELD` of cancellations, which need not be sure by themselves."""
MOST_GROUPS = 3


@dataclass(frozen=True)
class Side:
    """One of the two measures; `kinds` are the shapes that leavers show in it, `sign` is that of their heights."""

    measure: Measure
    kinds: tuple[str, ...]
    sign: float

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """Those of the bank's shapes, in the order of their first weeks."""
        bank = self.measure.bank
        places = np.flatnonzero(np.isin(bank.kinds, self.kinds))
        return places[np.argsort(bank.since[places], kind="stable")]

    def by_week(self, t: Array) -> tuple[Array, NDArray[np.int64]]:
        """The largest t in the direction of leavers by first week, and its shape's place; each (series, weeks).

        Args:
            t: of all shapes of the bank; shape (series, shapes).
        """
        return self._by_week(t[:, self.places])

    def best_alone(self, fits: Shown) -> Array:
        """The best score of each series in this measure; shape (series,)."""
        t = fits.told(LEAST_HELD)
        return np.where(t != 0, t**2 - self.measure.bank.penalties, 0.0).max(1)

    def _by_week(self, t: Array) -> tuple[Array, NDArray[np.int64]]:
        """The same of the shapes at `places` alone."""
        bank, signed = self.measure.bank, np.maximum(self.sign * t, 0)
        since = bank.since[self.places]
        largest, place = np.zeros((len(t), len(bank.values))), np.zeros((len(t), len(bank.values)), int)
        for week, first in zip(*np.unique(since, return_index=True), strict=True):
            shapes = slice(first, np.searchsorted(since, week, side="right"))
            largest[:, week] = signed[:, shapes].max(1)
            place[:, week] = self.places[shapes][signed[:, shapes].argmax(1)]
        return largest, place

    def without_change(self, rng: np.random.Generator) -> Array:
        """The largest t by first week of series that hold nothing but noise; shape (draws, weeks)."""
        covariance = self.measure.random.typical
        flat = np.ones((covariance.shape[1], 1))
        drawn = drawn_without_change(covariance, rng)
        return self._by_week(fitted(drawn, covariance, flat, self.measure.bank.only(self.places)).t)[0]


def find_leavers(use: Explainer, churn: Explainer) -> None:
    """Groups whose users leave sooner, as changes that are found of churn, the surest first.

    Args:
        use, churn: the measures, without what each of them tells by itself; each change is taken out of both.
    """
    leavers = Leavers(use, churn)
    for _ in range(MOST_GROUPS):
        if not leavers.find_next():
            break


class Leavers:
    """What cancellations and activity together tell of the groups whose users leave sooner."""

    def __init__(self, use: Explainer, churn: Explainer) -> None:
        self.use, self.churn = use, churn
        self.missed = Side(use.measure, MISSED, -1.0)
        self.cancelled = Side(churn.measure, CANCELLING, 1.0)

    @cached_property
    def null(self) -> NullTail:
        rng = np.random.default_rng(0)
        return tail_of(sum(side.without_change(rng) ** 2 for side in (self.cancelled, self.missed)).max(1))

    def find_next(self) -> bool:
        """Takes the surest group that is not told yet out of both measures; whether there is one beyond chance."""
        known = self.use.panel.groups
        groups = [group for group in self.churn.panel.groups if group in known]
        if not groups:
            return False
        places = [self.churn.panel.groups.index(group) for group in groups]
        rows = [known.index(group) for group in groups]
        (cancelled, _), (missed, shared) = self.churn.fits_of_groups(), self.use.fits_of_groups()
        more, of_more = (each[places] for each in self.cancelled.by_week(cancelled.told(LEAST_CANCELLED)))
        fewer, of_fewer = (each[rows] for each in self.missed.by_week(missed.told(LEAST_HELD)))
        together = np.where(np.minimum(more, fewer) >= LEAST_OF_EACH, more**2 + fewer**2, 0.0)
        # a change of one measure alone is better told by that measure
        alone = np.maximum(self.cancelled.best_alone(cancelled)[places], self.missed.best_alone(missed)[rows])
        together = np.where(together > alone[:, None], together, 0.0)
        scores = together.max(1) - PAIR_PENALTY * np.array([len(group) > 1 for group in groups])
        for row in np.argsort(-scores, kind="stable"):
            q_value = min(1.0, self.churn.measure.family * self.null.p_value(float(scores[row])))
            if q_value >= ALPHA:
                break
            since = median_week(together[row])
            change = changed(self.churn.measure, groups[row], cancelled, (places[row], of_more[row, since]))
            in_use = changed(self.use.measure, groups[row], missed, (rows[row], of_fewer[row, since]))
            if self.churn.is_told(change) or self.use.is_told(in_use) or self.is_told(change):
                continue
            change, in_use = self.narrowed(change, in_use, float(shared[rows[row]]))
            for each, scanned in ((change, self.churn), (in_use, self.use)):
                scanned.take_out(scanned.panel.members(each.conditions), each.height, each.values)
            t, score = float(np.sqrt(together[row, since])), float(scores[row])
            self.churn.found.append(replace(change, t=t, score=score, q_value=q_value, is_dated=True))
            return True
        return False

    def is_told(self, change: Change) -> bool:
        """Whether one of the measures tells of the same group in the same quarter."""
        return any(
            each.conditions == change.conditions and abs(each.since - change.since) <= QUARTER
            for each in (*self.use.found, *self.churn.found)
        )

    def narrowed(self, change: Change, in_use: Change, shared: float) -> tuple[Change, Change]:
        """The change in both measures of the part of the group whose users alone leave sooner, if there is one."""
        panel = self.churn.panel
        t, height = self.use.given_shape(self.use.panel.members(in_use.conditions), in_use, shared)
        part = self.use.narrowed(replace(in_use, t=t, height=height), shared, panel.attributes.keys())
        if part.conditions == in_use.conditions:
            return change, in_use
        inside = panel.members(part.conditions)
        t, height = self.churn.given_shape(inside, change, conditions=part.conditions)
        with self.churn.measure.without(inside):
            rest, left = self.churn.given_shape(panel.members(change.conditions) & ~inside, change)
        if height < change.height or (rest > LEFT_T and left > LEFT_SHARE * height):
            return change, in_use
        return replace(change, conditions=part.conditions, t=t, height=height), part


def changed(measure: Measure, group: Conditions, fits: Fits, place: tuple[int, int]) -> Change:
    """A change of a group as one measure shows it; `place` is that of the series and the shape among the fits."""
    t, height, error = (float(each[place]) for each in (fits.t, fits.height, fits.error))
    bank = measure.bank.only(np.array([place[1]]))
    return Change(measure.name, group, BEHAVIOUR, t, height, error, bank, t**2)


def median_week(together: Array) -> int:
    """The median of the first weeks, each weighted by its likelihood; squared t of shape (weeks,)."""
    weights = np.where(together > 0, np.exp((together - together.max()) / 2), 0.0).cumsum()
    return int(np.searchsorted(weights, weights[-1] / 2))
