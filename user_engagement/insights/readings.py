"""How large a change is in a metric's own unit, since when it may have begun, and what it takes in active days."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from user_engagement.insights.explain import Change, Explainer, level_of
from user_engagement.insights.measures import COMPLETE, Measure, newer, older
from user_engagement.insights.names import (
    ACTIVATION,
    ACTIVE_USERS,
    CHURN,
    DURATION,
    EPISODE,
    FREQUENCY,
    NEW_USERS,
    OF_COHORTS,
    RESURRECTION,
    RETENTION,
    SESSIONS,
    SIGNUPS,
)
from user_engagement.insights.panel import HABITS, Panel
from user_engagement.insights.shapes import (
    MOST_VARIANCE,
    Array,
    fitted,
    understatement,
    without_odd_weeks,
)
from user_engagement.insights.statistics import Z

LAST_WEEKS = 4
DATED_WITHIN = 3.84
"""95 % quantile of chi-square(1): weeks whose likelihood ratio to the best is within it may be the first."""
STANDARDISING_ROUNDS = 6
RATE_WEEKS = 26
"""Weeks whose rates by tenure tell what a new user would have done."""


@dataclass(frozen=True)
class Reading:
    """A change as one measure shows it.

    Attributes:
        height, error, t: of the shape, in log ratios.
        gap: log ratio of each week to what is expected of it; shape (weeks,).
        spread: its standard deviation; shape (weeks,).
    """

    height: float
    error: float
    t: float
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


def read(measure: Measure, change: Change) -> Reading:
    """Fits the shape of a change to its group's course: against all others, or of everybody against the season."""
    leaves = measure.panel.members(change.conditions)
    explainer = Explainer(measure)
    if change.conditions:
        marks = leaves[None].astype(np.float32)
        series, sampling = measure.contrasts(marks, np.array([level_of(change.conditions)]))
        base = explainer.flat
        shared = explainer.shared_beside(series, sampling, change)
    else:
        series, sampling, shared = measure.own_residual(leaves)
        base = measure.own_base()
    usable = measure.noise.total() * sampling < MOST_VARIANCE
    covariance = measure.noise.covariance(sampling, np.array([shared]))
    clean = without_odd_weeks(series, usable)
    fit = fitted(clean, covariance, base, change.bank)
    t, height, error = (float(each[0, 0]) for each in (fit.t, fit.height, fit.error))
    terms = np.column_stack([base, change.values])[usable[0]]
    inverse = np.linalg.inv(covariance[0][np.ix_(usable[0], usable[0])])
    known = terms.T @ inverse
    level = np.linalg.lstsq(known @ terms, known @ clean[0][usable[0]], rcond=None)[0][:-1]
    gap = np.where(usable[0], series[0] - base @ level, np.nan)
    wider = understatement(clean[0] - base @ level - height * change.values, covariance[0], usable[0])
    spread = wider * np.sqrt(np.where(usable[0], np.diagonal(covariance[0]), np.nan))
    error *= wider
    return Reading(height, error if np.isfinite(error) else 0.0, t, gap, spread)


def squared_t(measure: Measure, change: Change) -> Array:
    """Squared t of all shapes of the bank in the course of a change's group; shape (shapes,)."""
    explainer = Explainer(measure)
    if change.conditions:
        marks = measure.panel.members(change.conditions)[None].astype(np.float32)
        series, sampling = measure.contrasts(marks, np.array([level_of(change.conditions)]))
        base, shared = explainer.flat, explainer.shared_beside(series, sampling, change)
    else:
        series, sampling, shared = measure.own_residual(measure.panel.members({}))
        base = measure.own_base()
    usable = measure.noise.total() * sampling < MOST_VARIANCE
    covariance = measure.noise.covariance(sampling, np.array([shared]))
    return fitted(without_odd_weeks(series, usable), covariance, base, measure.bank).t[0] ** 2


def alternatives(measure: Measure, change: Change) -> Array:
    """Squared t of all shapes of the change's kind in its group's course; -inf of others; shape (shapes,)."""
    alike = measure.bank.kinds == change.shape
    if change.until is not None:
        alike &= np.abs(measure.bank.until - change.until) <= 1
    return np.where(alike, squared_t(measure, change), -np.inf)


def dated(measure: Measure, change: Change) -> Change:
    """A gradual change with the beginning and the length that its own group's noise makes likeliest."""
    place = int(alternatives(measure, change).argmax())
    return replace(change, bank=measure.bank.only(np.array([place])))


def as_shown(measure: Measure, change: Change) -> Change:
    """A change as another measure shows it: who leaves sooner is missed by ever more, so that use falls slowly."""
    if change.measure != CHURN or measure.name == CHURN or change.shape == EPISODE:
        return change
    bank = measure.bank
    lasting = (bank.until < 0) & (np.abs(bank.since - change.since) <= 1)
    likely = np.where(lasting, squared_t(measure, change) - bank.penalties, -np.inf)
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
        return panel.leaves.weekly[name][leaves][:, from_tenure:].sum((0, 1)).astype(float)

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


def lost_by_users(
    panel: Panel, change: Change, reading: Reading, count: str, window: NDArray[np.int64]
) -> Amount:
    """What users of a group would have had on top, a week, had they not changed; negative is a gain.

    Args:
        count: `active_days` or `active_users`.
    """
    leaves = panel.members(change.conditions)
    actual = panel.leaves.weekly[count][leaves][:, 1:, window].sum((0, 1))
    shape = change.values[window]

    def lost(height: float) -> float:
        return float((actual * np.expm1(np.clip(-height * shape, -6, 6))).mean())

    return _over(lost, reading)


def _over(lost: object, reading: Reading) -> Amount:
    heights = (reading.height, reading.height + Z * reading.error, reading.height - Z * reading.error)
    value, one, two = (lost(height) for height in heights)  # type: ignore[operator]
    return Amount(value, min(one, two), max(one, two))


def lost_by_cohorts(
    panel: Panel, change: Change, reading: Reading, count: str, window: NDArray[np.int64]
) -> Amount:
    """What users who signed up since a change would have had on top, a week, had they been as those before."""
    leaves = panel.members(change.conditions)
    weeks = len(panel.weeks)
    before = older(panel.tenures, weeks, change.since)
    signups = panel.leaves.cohorts["signups"][leaves]
    users = panel.leaves.weekly["users"][leaves]
    users[:, 0] = signups
    done, could = ((cells * before).sum(2) for cells in (panel.leaves.weekly[count][leaves], users))
    keenness, rate = standardised(panel, leaves, done, could)
    actual = panel.leaves.weekly[count][leaves].sum(0)
    exposure = np.tensordot(keenness, users, 1)
    arrivals = keenness @ signups
    recent = before & (np.arange(weeks) >= change.since)[None]
    expected_of_older = (exposure * rate[:, None] * recent).sum(0)
    course = np.where(
        expected_of_older > 0, (actual * recent).sum(0) / np.maximum(expected_of_older, 1e-9), 1.0
    )
    usual = rate[:, None] * course[None]
    since = newer(panel.tenures, weeks, change.since)
    expected = (exposure * usual * since)[:, window].sum()
    beside = (newer_beside_older(panel, arrivals, change.since) * usual * ~since)[:, window].sum()
    value = float(expected - (actual * since)[:, window].sum()) / len(window)
    # of those who share a band of tenure with older users as much is taken as of the others
    value *= 1 + beside / max(expected, 1)
    relative = reading.error / max(abs(reading.height), 1e-9)
    return Amount(value, value - Z * abs(value) * relative, value + Z * abs(value) * relative)


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
    users = np.zeros((len(panel.tenures), len(panel.weeks)))
    for week in range(since, len(panel.weeks)):
        ages = week - np.arange(since, week + 1)
        band = np.searchsorted(panel.tenures, ages, side="right") - 1
        np.add.at(users[:, week], band, signups[since : week + 1])
    return users


def lost_by_signups(
    panel: Panel, missing: list[tuple[NDArray[np.bool_], Array]], count: str, window: NDArray[np.int64]
) -> float:
    """What users who did not sign up would have had, a week: some leaves, and their missing signups by week."""
    weeks = len(panel.weeks)
    total = 0.0
    for leaves, shortfall in missing:
        done = panel.leaves.weekly[count][leaves][:, :, -RATE_WEEKS:].sum((0, 2))
        could = panel.leaves.weekly["users"][leaves][:, :, -RATE_WEEKS:].sum((0, 2))
        could[0] = panel.leaves.cohorts["signups"][leaves][:, -RATE_WEEKS:].sum()
        rate = done / np.maximum(could, 1)
        for week in window:
            age = week - np.arange(weeks)
            alive = age >= 0
            band = np.searchsorted(panel.tenures, age[alive], side="right") - 1
            total += float((shortfall[alive] * rate[band]).sum())
    return total / len(window)
