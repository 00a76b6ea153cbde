"""How large a change is in a metric's own unit, since when it may have begun, and what it takes in active days."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from user_engagement.insights.measures import COMPLETE, HALF, Measure
from user_engagement.insights.names import (
    ACTIVATION,
    ACTIVE_USERS,
    CHURN,
    DURATION,
    EPISODE,
    FREQUENCY,
    NEW_USERS,
    OF_COHORTS,
    RAMP,
    RESURRECTION,
    RETENTION,
    SESSIONS,
    SIGNUPS,
    SLOPE,
    STEP,
)
from user_engagement.insights.panel import Panel
from user_engagement.insights.scan import Change, Explainer
from user_engagement.insights.shapes import (
    RAMP_WEEKS,
    Array,
    Bank,
    Fits,
    bank_of,
    fitted,
    understatement,
    without_odd_weeks,
)
from user_engagement.insights.statistics import Z

LAST_WEEKS = 4
DATED_WITHIN = 3.84
"""95 % quantile of chi-square(1): weeks whose likelihood ratio to the best is within it may be the first."""
LONG_RAMP_WEEKS = 13
"""That a change of behaviour which is found as gradual may take as well."""
SURE_T = 8.0
"""t of cancellations from which they alone tell the week."""
RATE_WEEKS = 26
"""Weeks whose rates by tenure tell what a new user would have done."""


@dataclass(frozen=True)
class Reading:
    """A change as one measure shows it.

    Attributes:
        height, error, t: of the shape, in log ratios.
        curves: the change as a log ratio week by week: the likeliest one, then the bounds of those whose beginning and
            height are nearly as likely (profile likelihood, 95 %); shape (curves, weeks).
        gap: log ratio of each week to what is expected of it; shape (weeks,).
        spread: its standard deviation; shape (weeks,).
    """

    height: float
    error: float
    t: float
    curves: Array
    gap: Array
    spread: Array


@dataclass(frozen=True)
class Amount:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float

    def __neg__(self) -> Amount:
        return Amount(-self.value, -self.high, -self.low)

    def moved(self, by: float) -> Amount:
        return Amount(self.value + by, self.low + by, self.high + by)

    def __add__(self, other: Amount) -> Amount:
        """The sum of two amounts that vary independently of each other."""
        low = np.hypot(self.value - self.low, other.value - other.low)
        high = np.hypot(self.high - self.value, other.high - other.value)
        value = self.value + other.value
        return Amount(value, value - float(low), value + float(high))


@dataclass(frozen=True)
class Course:
    """The course of a change's group: against all others, or of everybody against the season.

    Attributes:
        series: log ratios; clean: the same without odd weeks; each of shape (1, weeks).
        base: what it may do without a change; shape (weeks, terms).
        covariance: that its shapes are fitted with; shape (1, weeks, weeks).
        usable: weeks with enough counts; shape (weeks,).
        shared: variance of what the users of a week share.
    """

    series: Array
    clean: Array
    base: Array
    covariance: Array
    usable: NDArray[np.bool_]
    shared: float


def course_of(measure: Measure, change: Change) -> Course:
    explainer, leaves = Explainer(measure), measure.panel.members(change.conditions)
    if change.conditions:
        marks = leaves[None].astype(np.float32)
        series, sampling = measure.contrasts(marks, [change.conditions])
        base, shared = explainer.flat, explainer.shared_beside(series, sampling, change)
    else:
        series, sampling, shared = measure.own_residual(leaves)
        base = measure.own_base()
    usable = measure.noise.usable(sampling)
    covariance = measure.noise.covariance(sampling, np.array([shared]))
    return Course(series, without_odd_weeks(series, usable), base, covariance, usable[0], shared)


def read(measure: Measure, change: Change) -> Reading:
    """Fits the shape of a change to its group's course."""
    course = course_of(measure, change)
    usable = course.usable
    fit = fitted(course.clean, course.covariance, course.base, measure.bank)
    own = fitted(course.clean, course.covariance, course.base, change.bank)
    t, height, error = (float(each[0, 0]) for each in (own.t, own.height, own.error))
    terms = np.column_stack([course.base, change.values])[usable]
    inverse = np.linalg.inv(course.covariance[0][np.ix_(usable, usable)])
    known = terms.T @ inverse
    weights = np.linalg.pinv(known @ terms) @ known
    level = course.base @ (weights @ course.clean[0][usable])[:-1]
    if change.conditions:
        rest = course.clean[0] - level - height * change.values
        wider = understatement(rest, course.covariance[0], usable)
        variance = wider**2 * np.diagonal(course.covariance[0])
    else:
        whole = measure.own_covariance(course.shared)
        wider = float(np.sqrt(weights[-1] @ whole[np.ix_(usable, usable)] @ weights[-1])) / error
        variance = np.diagonal(whole)
    return Reading(
        height,
        error * wider if np.isfinite(error) else 0.0,
        t,
        curves_of(measure.bank, change, fit, (t, height, error), wider),
        np.where(usable, course.series[0] - level, np.nan),
        np.sqrt(np.where(usable, variance, np.nan)),
    )


def curves_of(bank: Bank, change: Change, fit: Fits, own: tuple[float, float, float], wider: float) -> Array:
    """A change as a log ratio week by week, and the bounds of what is nearly as likely; shape (curves, weeks).

    The deviance of a beginning and a height is that of the beginning, at its best height, and that of the height. Both
    together may be as large as the quantile: this is the profile likelihood of whatever follows from both.

    Args:
        fit: of all shapes of the bank, one series. own: t, height and its error of the change itself.
        wider: how much larger the error of a height is than the fit says.
    """
    t, height, error = own
    if not np.isfinite(error):
        return np.zeros((1, len(change.values)))
    deviance = np.maximum(t**2 - fit.t[0] ** 2, 0) / wider**2
    same = alike(bank, change) & (fit.t[0] * t > 0) & (deviance <= DATED_WITHIN)
    near = np.flatnonzero(same & adjoining(bank.since, same, change.since))
    reach = np.sqrt(DATED_WITHIN - deviance[near]) * fit.error[0, near] * wider
    heights = [(change.values, height, Z * error * wider)]
    heights += [
        (bank.values[:, place], fit.height[0, place], far) for place, far in zip(near, reach, strict=True)
    ]
    bounds = [values * (middle + sign * far) for values, middle, far in heights for sign in (1, -1)]
    return np.array([change.values * height, *bounds])


def adjoining(since: NDArray[np.int64], chosen: NDArray[np.bool_], start: int) -> NDArray[np.bool_]:
    """Those of the chosen shapes whose first weeks make one stretch around a week, without a gap of three weeks."""
    weeks = np.unique(np.append(since[chosen], start))
    stretch = np.cumsum(np.diff(weeks, prepend=weeks[0]) > 2)
    return np.isin(since, weeks[stretch == stretch[weeks == start]])


def squared_t(measure: Measure, change: Change, bank: Bank | None = None) -> Array:
    """Squared t of all shapes of a bank, by default the measure's, in the course of a change's group; (shapes,)."""
    course = course_of(measure, change)
    return fitted(course.clean, course.covariance, course.base, bank or measure.bank).t[0] ** 2


def alike(bank: Bank, change: Change) -> NDArray[np.bool_]:
    """Shapes of the change's kind, that end when it does; shape (shapes,)."""
    same = bank.kinds == change.shape
    if change.until is not None:
        same = same & (np.abs(bank.until - change.until) <= 1)
    return same


def alternatives(measure: Measure, change: Change, bank: Bank | None = None) -> Array:
    """Squared t of all shapes of the change's kind in its group's course; -inf of others; shape (shapes,)."""
    bank = bank or measure.bank
    return np.where(alike(bank, change), squared_t(measure, change, bank), -np.inf)


def dated(measure: Measure, change: Change, use: Measure) -> Change:
    """A gradual change with the beginning and the length that its own group's noise makes likeliest.

    Who cancels does so at the next renewal, so that a change of churn is blurred over weeks, and a step looks gradual.
    Several beginnings are about as likely: it begins in the median of them, each weighted by its likelihood. Where
    cancellations alone are not sure, whom activity misses from a week on says more.

    Args:
        use: active days, out of which larger causes are taken.
    """
    bank = measure.bank
    if change.shape == RAMP and change.measure not in (SIGNUPS, CHURN):
        bank = bank_of(len(bank.values), ramps=(RAMP_WEEKS, LONG_RAMP_WEEKS))
    squares = alternatives(measure, change, bank)
    if change.measure == CHURN:
        squares = np.where(np.isin(bank.kinds, (STEP, RAMP)), squared_t(measure, change), -np.inf)
        evidence = squares
        if change.conditions and change.height > 0 and abs(change.t) < SURE_T:
            evidence = squares + missed_since(use, change)[bank.since]
        order = np.argsort(bank.since, kind="stable")
        weights = np.cumsum(np.exp((evidence[order] - evidence.max()) / 2))
        since = bank.since[order[np.searchsorted(weights, weights[-1] / 2)]]
        squares = np.where(bank.since == since, squares, -np.inf)
    return replace(change, bank=bank.only(np.array([int(squares.argmax())])))


def missed_since(use: Measure, change: Change) -> Array:
    """The largest squared t of ever fewer active days of a change's group, by first week; shape (weeks,)."""
    course = course_of(use, change)
    t = fitted(course.clean, course.covariance, course.base, use.bank).t[0]
    missed = np.isin(use.bank.kinds, (RAMP, SLOPE)) & (t < 0)
    result = np.zeros(len(use.bank.values))
    np.maximum.at(result, use.bank.since[missed], t[missed] ** 2)
    return result


def as_shown(measure: Measure, change: Change) -> Change:
    """A change as another measure shows it: who leaves sooner is missed by ever more; who was brought back stays."""
    lasts = change.measure == RESURRECTION or (change.measure == CHURN and change.shape != EPISODE)
    if not lasts or measure.name == change.measure:
        return change
    bank = measure.bank
    lasting = (bank.until < 0) & (np.abs(bank.since - change.since) <= 1)
    penalties = bank.penalties
    if change.measure == CHURN:
        # that something changed is known: what is open is how fast those who left add up, which they never do at once
        lasting, penalties = lasting & (bank.kinds != STEP), np.zeros_like(penalties)
    likely = np.where(lasting, squared_t(measure, change) - penalties, -np.inf)
    return replace(change, bank=bank.only(np.array([int(likely.argmax())])))


def dates(measure: Measure, change: Change) -> tuple[int, int]:
    """First and last week that the change may have begun in: those that explain nearly as much."""
    squares = alternatives(measure, change)
    near = measure.bank.since[squares >= squares.max() - DATED_WITHIN]
    return min(int(near.min()), change.since), max(int(near.max()), change.since)


def window_of(panel: Panel, change: Change, name: str) -> NDArray[np.int64]:
    """The weeks that a change is measured in: the last complete ones, or those of an episode that is over."""
    if change.until is not None and change.shape == EPISODE:
        return np.arange(change.since, change.until)
    seen = (
        np.flatnonzero(panel.observed[COMPLETE[name]]) if name in OF_COHORTS else np.arange(len(panel.weeks))
    )
    return seen[-LAST_WEEKS:]


def metric_parts(panel: Panel, metric: str, leaves: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Numerator and denominator of a metric, week by week, as people read it; each of shape (weeks,)."""

    def weekly(name: str, from_tenure: int = 0) -> Array:
        return panel.leaves.total(name, leaves)[from_tenure:].sum(0)

    def cohorts(name: str) -> Array:
        return panel.leaves.cohorts[name][leaves].sum(0).astype(float)

    ones = np.ones(len(panel.weeks))
    if metric == FREQUENCY:
        return np.convolve(weekly("active_days"), np.ones(LAST_WEEKS))[: len(ones)], weekly("active_users_28")
    if metric == RESURRECTION:
        returned = weekly("active_users", 1) - weekly("retained_users", 1)
        return returned, weekly("users", 1) - weekly("recent_users", 1)
    names = {
        ACTIVATION: ("activated_users", "signups"),
        NEW_USERS: ("early_active_days", "signups"),
        RETENTION: ("retained_users", "recent_users"),
        CHURN: ("churned_users", "recent_users"),
        SESSIONS: ("sessions", "active_days"),
        DURATION: ("session_seconds", "sessions"),
    }
    if metric == SIGNUPS:
        return cohorts("signups"), ones
    if metric == ACTIVE_USERS:
        return weekly("active_users"), ones
    done, could = names[metric]
    if metric in OF_COHORTS:
        return cohorts(done), cohorts(could)
    later = int(metric in (RETENTION, CHURN))
    return weekly(done, later), weekly(could, later)


# -- in active days, or active users, a week ---------------------------------------------------------------


def without(curves: Array, actual: Array) -> Array:
    """What counts would add up to without a change of their log ratio; shape (curves,).

    Args:
        curves: shape (curves, weeks). actual: shape (weeks,); 0 where the change left nothing.
    """
    return np.exp(np.clip(-curves, -6, 6)) @ (actual + HALF) - HALF * len(actual)


def noise_of_rates(panel: Panel, leaves: NDArray[np.bool_], count: str) -> float:
    """Relative standard error of what users of some leaves do, from how random groups of users differ."""
    cells, size = panel.buckets.cells, panel.buckets.cells.shape[0]
    late = cells.week >= cells.shape[2] - RATE_WEEKS
    done, users = (
        np.bincount(cells.leaf[late], panel.buckets.weekly[name][late], size) for name in (count, "users")
    )
    rates = done / np.maximum(users, 1)
    of_leaves = panel.leaves.total("users", leaves)[:, -RATE_WEEKS:].sum()
    return float(rates.std(ddof=1) / max(rates.mean(), 1e-9) * np.sqrt(users.mean() / max(of_leaves, 1)))


def lost_by_signups(
    panel: Panel, missing: list[tuple[NDArray[np.bool_], Array]], count: str, window: NDArray[np.int64]
) -> float:
    """What users who did not sign up would have had, a week: some leaves, and their missing signups by week."""
    weeks = len(panel.weeks)
    total = 0.0
    for leaves, shortfall in missing:
        done = panel.leaves.total(count, leaves)[:, -RATE_WEEKS:].sum(1)
        could = panel.leaves.total("users", leaves)[:, -RATE_WEEKS:].sum(1)
        could[0] = panel.leaves.cohorts["signups"][leaves][:, -RATE_WEEKS:].sum()
        rate = done / np.maximum(could, 1)
        for week in window:
            age = week - np.arange(weeks)
            alive = age >= 0
            band = np.searchsorted(panel.tenures, age[alive], side="right") - 1
            total += float((shortfall[alive] * rate[band]).sum())
    return total / len(window)
