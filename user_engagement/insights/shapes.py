"""What a change may look like over the weeks, and how surely a noisy series holds one.

A series is compared with each shape by generalised least squares: residuals of the same users are alike from week to
week, and what all users of a week share (weather, holidays) is noise as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dtrtri

from user_engagement.insights.names import EPISODE, RAMP, SLOPE, STEP

Array = NDArray[np.floating]

RAMP_WEEKS = 6
SLOPE_WEEKS = 26
EPISODE_WEEKS = (2, 3, 4, 6, 8, 10, 12, 16, 20, 26)
SHARED_PERSISTENCE = 0.5
"""From week to week, of the noise that users share."""
PERSISTENCES = (0.9, 0.95, 0.98)
PERSISTENT_RATIOS = (0.0, 0.1, 0.3, 1.0, 3.0, 8.0)
MOST_VARIANCE = 0.25
"""Of a log ratio: weeks with more hold too few counts for a normal logarithm."""
MOST_SHARING_VARIANCE = 0.1
"""The same for weeks that say what users share, of which few counts would say too much."""
LEAST_WEEKS_USED = 10
LEAST_RANDOM_GROUPS = 9
LEAST_BEFORE = 6
"""Weeks of a series before a change."""
DRAWS_AT_ONCE = 250
"""So that what is computed of them fits into a cache."""
NULL_DRAWS, TAIL_FROM, NULL_FREEDOM = 2_000, 0.9, 100
PENALTIES = {STEP: 0.0, RAMP: 4.0, SLOPE: 6.0, EPISODE: 8.0}
"""Off the squared t of a shape: those with more freedom fit noise more often."""


@dataclass(frozen=True)
class Bank:
    """All shapes over the weeks: `values` (weeks, shapes), and of each its kind, first week and first week after."""

    values: Array
    kinds: NDArray[np.str_]
    since: NDArray[np.int64]
    until: NDArray[np.int64]

    @cached_property
    def penalties(self) -> Array:
        return np.array([PENALTIES[kind] for kind in self.kinds])

    @cached_property
    def covers(self) -> Array:
        """1 where a shape has more than a trace of its change, else 0; shape (weeks, shapes)."""
        return (self.values > 0.05) * 1.0

    @cached_property
    def is_flat(self) -> NDArray[np.bool_]:
        """Steps and episodes: 1 from their first week to the one before `after`, else 0."""
        return np.isin(self.kinds, (STEP, EPISODE))

    @cached_property
    def after(self) -> NDArray[np.int64]:
        return np.where(self.until >= 0, self.until, len(self.values))

    def only(self, places: NDArray[np.int64]) -> Bank:
        return Bank(self.values[:, places], self.kinds[places], self.since[places], self.until[places])


@dataclass(frozen=True)
class Noise:
    """Variance of a log ratio per its sampling variance: `white` each week anew, `white * ratio` persisting."""

    white: float
    ratio: float
    persistence: float

    def total(self) -> float:
        return self.white * (1 + self.ratio)

    def usable(self, sampling: Array) -> NDArray[np.bool_]:
        """Whether log ratios with these sampling variances say something; shape as that of the variances."""
        return self.total() * sampling < MOST_VARIANCE

    def covariance(self, sampling: Array, shared: Array) -> Array:
        """Of log ratios with the sampling variances, shape (series, weeks), and shared noise, shape (series,).

        Returns shape (series, weeks, weeks). Weeks of too little data have so much variance that they say nothing.
        """
        weeks = sampling.shape[1]
        usable = self.usable(sampling)
        root = np.sqrt(sampling)
        lasting = autoregressive(weeks, self.persistence)
        common = autoregressive(weeks, SHARED_PERSISTENCE)
        result = self.white * self.ratio * root[:, :, None] * root[:, None, :] * lasting
        result += shared[:, None, None] * common
        diagonal = np.arange(weeks)
        result[:, diagonal, diagonal] += self.white * sampling + 1e-9 + np.where(usable, 0, 1e6)
        return result


@dataclass(frozen=True)
class Fits:
    """Of each series and shape: t, the height of the shape, and its standard error; each of shape (series, shapes)."""

    t: Array
    height: Array
    error: Array


@lru_cache(maxsize=16)
def autoregressive(weeks: int, persistence: float) -> Array:
    """Correlations that fall with the distance of two weeks; shape (weeks, weeks), kept, so not to be written to."""
    apart = np.abs(np.subtract.outer(np.arange(weeks), np.arange(weeks)))
    return persistence**apart


@lru_cache(maxsize=4)
def bank_of(
    weeks: int, lengths: tuple[int, ...] = EPISODE_WEEKS, ramps: tuple[int, ...] = (RAMP_WEEKS,)
) -> Bank:
    """Steps up to two weeks before the end, ramps, lasting slopes, and episodes that are over.

    Args:
        lengths: weeks of the episodes.
        ramps: weeks that a change takes to be complete; negative where it is a share that grows evenly, whose log
            ratio rises fast at first.
    """
    week = np.arange(weeks)
    starts = range(LEAST_BEFORE, weeks - 1)
    shapes: list[tuple[Array, str, int, int]] = [((week >= since) * 1.0, STEP, since, -1) for since in starts]
    shapes += [
        (bent(np.clip((week - since + 1) / abs(ramp), 0, 1), ramp < 0), RAMP, since, -1)
        for since in starts
        for ramp in ramps
        if since <= weeks - 6
    ]
    shapes += [
        (((week >= since) & (week < since + length)) * 1.0, EPISODE, since, since + length)
        for since in starts
        for length in lengths
        if since + length <= weeks - 2
    ]
    shapes += [
        (np.clip((week - since) / SLOPE_WEEKS, 0, None), SLOPE, since, -1) for since in range(0, weeks - 8, 2)
    ]
    values, kinds, sinces, untils = zip(*shapes, strict=True)
    return Bank(np.array(values).T, np.array(kinds), np.array(sinces), np.array(untils))


def bent(rise: Array, is_share: bool) -> Array:
    """The log of 1 + 4 x rise, the whole of which is 1: how a share that grows evenly to fivefold looks as a log."""
    return np.log1p(4 * rise) / np.log(5) if is_share else rise


def fitted(series: Array, covariance: Array, base: Array, bank: Bank) -> Fits:
    """Generalised least squares of each series on a base and, one at a time, each of the shapes.

    Args:
        series: shape (series, weeks).
        covariance: shape (series, weeks, weeks), or (1, weeks, weeks) for one that all have.
        base: what a series may do without a change; shape (weeks, terms).
    """
    pulled, length = _beside(series, covariance, base, bank)
    product = np.empty((len(series), len(bank.since)))
    product[:, bank.is_flat] = _stretches(pulled, bank.since[bank.is_flat], bank.after[bank.is_flat])
    product[:, ~bank.is_flat] = pulled @ bank.values[:, ~bank.is_flat]
    usable = length > 0
    safe = np.where(usable, length, 1.0)
    root = np.sqrt(safe)
    return Fits(
        t=np.where(usable, product / root, 0.0),
        height=np.where(usable, product / safe, 0.0),
        error=np.where(usable, 1 / root, np.inf),
    )


def _beside(series: Array, covariance: Array, base: Array, bank: Bank) -> tuple[Array, Array]:
    """Each series times the weights of pairs of weeks, and each shape's quadratic form in these.

    The weight of a pair of weeks is what the inverse covariance leaves of it beside the base. A step or an episode is
    1 over a stretch of weeks: its quadratic form is the sum over a square, read off running sums.

    Returns arrays of shape (series, weeks) and (covariances, shapes); 0 of shapes that the base all but holds.
    """
    inverse = inverse_of(covariance)
    along = (inverse @ base).transpose(0, 2, 1)
    held = np.linalg.solve(along @ base, along)
    # of one covariance, all series are columns of one matrix
    is_one = len(inverse) == 1
    columns = series.T[None] if is_one else series[:, :, None]
    pulled = inverse @ columns - along.transpose(0, 2, 1) @ (held @ columns)
    pulled = pulled[0].T if is_one else pulled[:, :, 0]
    own, by_base = (np.empty((len(covariance), len(bank.since))) for _ in range(2))
    first, after = bank.since[bank.is_flat], bank.after[bank.is_flat]
    own[:, bank.is_flat] = _squares(inverse, first, after)
    left, right = (_stretches(each, first, after) for each in (along, held))
    by_base[:, bank.is_flat] = (left * right).sum(1)
    if not bank.is_flat.all():
        curved = bank.values[:, ~bank.is_flat]
        moved = (inverse.reshape(-1, inverse.shape[2]) @ curved).reshape(len(inverse), *curved.shape)
        own[:, ~bank.is_flat] = np.einsum("gwk,wk->gk", moved, curved)
        by_base[:, ~bank.is_flat] = ((along @ curved) * (held @ curved)).sum(1)
    length = own - by_base
    return pulled, np.where(length > np.maximum(0.02 * own, 1e-9), length, 0.0)


def inverse_of(covariance: Array) -> Array:
    """Inverses of positive definite matrices, by Cholesky: a third of the operations of a general inverse."""
    result = np.empty_like(covariance)
    for place, matrix in enumerate(covariance):
        factor, failed = dpotrf(matrix.T)
        if failed:
            raise np.linalg.LinAlgError("The covariance is not positive definite.")
        root, _ = dtrtri(factor)
        result[place] = root @ root.T
    return result


def _squares(weights: Array, first: NDArray[np.int64], after: NDArray[np.int64]) -> Array:
    """Sums over the squares of weeks from `first` to before `after` of each symmetric matrix; (matrices, squares)."""
    size = weights.shape[1] + 1
    sums = np.zeros((len(weights), size, size))
    np.cumsum(weights, 1, out=sums[:, 1:, 1:])
    np.cumsum(sums[:, 1:, 1:], 2, out=sums[:, 1:, 1:])
    corner = np.diagonal(sums, axis1=1, axis2=2)
    across = sums.reshape(len(weights), -1).take(first * size + after, 1)
    return corner.take(after, 1) + corner.take(first, 1) - 2 * across


def _stretches(series: Array, first: NDArray[np.int64], after: NDArray[np.int64]) -> Array:
    """Sums of the last axis from `first` to before `after`."""
    running = np.zeros((*series.shape[:-1], series.shape[-1] + 1))
    np.cumsum(series, -1, out=running[..., 1:])
    return running.take(after, -1) - running.take(first, -1)


@dataclass(frozen=True)
class NullTail:
    """The upper tail of the best score of a series without any change: exponential beyond its 90 % quantile."""

    start: float
    scale: float

    def p_value(self, score: float) -> float:
        return float(min(1.0, (1 - TAIL_FROM) * np.exp(-(score - self.start) / self.scale)))

    def score_at(self, p_value: float) -> float:
        """The score that a series without a change exceeds with this probability."""
        return float(self.start - self.scale * np.log(p_value / (1 - TAIL_FROM)))


def drawn_without_change(covariance: Array, rng: np.random.Generator) -> Array:
    """Series that hold nothing but noise of one covariance, shape (1, weeks, weeks); shape (draws, weeks).

    The noise of a real series is itself estimated: each draw has a variance of its own, inverse chi-square.
    """
    drawn = rng.standard_normal((NULL_DRAWS, covariance.shape[1])) @ np.linalg.cholesky(covariance[0]).T
    return drawn * np.sqrt(NULL_FREEDOM / rng.chisquare(NULL_FREEDOM, NULL_DRAWS))[:, None]


def tail_of(scores: Array) -> NullTail:
    """The tail of the best scores of series without a change; shape (draws,)."""
    start = float(np.quantile(scores, TAIL_FROM))
    return NullTail(start, float((scores[scores > start] - start).mean()))


def simulated_tail(covariance: Array, base: Array, bank: Bank, rng: np.random.Generator) -> NullTail:
    """Scans series that hold nothing but noise of one covariance, shape (1, weeks, weeks)."""
    pulled, length = _beside(drawn_without_change(covariance, rng), covariance, base, bank)
    scores = np.full(NULL_DRAWS, -1.0)
    for is_flat in (True, False):
        places = np.flatnonzero((length[0] > 0) & (bank.is_flat == is_flat))
        if len(places):
            scores = np.maximum(scores, _largest(pulled, length[0, places], bank.only(places)))
    return tail_of(scores)


def _largest(pulled: Array, length: Array, bank: Bank) -> Array:
    """The best score of shapes that are all flat or all curved, of each series; shape (series,).

    Args:
        pulled, length: of the series and the shapes, as `_beside` returns them.
    """
    best = np.empty(len(pulled))
    for start in range(0, len(pulled), DRAWS_AT_ONCE):
        part = np.ascontiguousarray(pulled[start : start + DRAWS_AT_ONCE].T)
        if bank.is_flat.all():
            running = np.concatenate([np.zeros((1, part.shape[1])), part.cumsum(0)])
            t = running[bank.after] - running[bank.since]
        else:
            t = bank.values.T @ part
        t *= t
        t /= length[:, None]
        t -= bank.penalties[:, None]
        best[start : start + DRAWS_AT_ONCE] = t.max(0)
    return best


@dataclass(frozen=True)
class RandomGroups:
    """How random groups of users, which have no cause, differ from all others, and what a scan finds in them.

    Attributes:
        contrasts: log ratios; sampling: their variances, were all counts Poisson; each of shape (groups, weeks).
        noise: fitted to them. bank: shapes that are scanned for.
    """

    contrasts: Array
    sampling: Array
    noise: Noise
    bank: Bank

    @cached_property
    def inflation(self) -> Array:
        """How large t of a shape's kind gets, as a root mean square, at least 1; shape (shapes,)."""
        weeks = self.sampling.shape[1]
        usable = self.noise.usable(self.sampling)
        enough = usable.sum(1) >= min(20, weeks // 2)
        result = np.ones(len(self.bank.since))
        if enough.sum() <= LEAST_RANDOM_GROUPS:
            return result
        clean = without_odd_weeks(self.contrasts[enough], usable[enough])
        covariance = self.noise.covariance(self.sampling[enough], np.zeros(int(enough.sum())))
        t = fitted(clean, covariance, np.ones((weeks, 1)), self.bank).t
        for kind in np.unique(self.bank.kinds):
            alike = self.bank.kinds == kind
            # of slopes that hardly begin before the end there is nothing to see
            shown = t[:, alike][t[:, alike] != 0]
            result[alike] = max(1.0, float(np.sqrt((shown**2).mean()))) if len(shown) else 1.0
        return result

    @cached_property
    def null(self) -> NullTail:
        """The tail of the best score of a series with the noise of a typical group."""
        flat = np.ones((self.sampling.shape[1], 1))
        return simulated_tail(self.typical, flat, self.bank, np.random.default_rng(0))

    @cached_property
    def typical(self) -> Array:
        """The covariance of a typical group; shape (1, weeks, weeks)."""
        middle = np.median(self.sampling, axis=0, keepdims=True)
        return self.noise.covariance(middle, np.zeros(1))


def fit_noise(contrasts: Array, sampling: Array) -> Noise:
    """White and persistent user noise, by maximum likelihood from random groups of users, which have no cause.

    Args:
        contrasts: log ratios of random groups to all others; shape (groups, weeks).
        sampling: their variances, were all counts Poisson; shape (groups, weeks).
    """
    usable = np.median(sampling, axis=0) <= np.quantile(np.median(sampling, axis=0), 0.7)
    if usable.sum() < LEAST_WEEKS_USED:
        return Noise(1.5, 0.3, 0.95)
    scaled = contrasts[:, usable] / np.sqrt(sampling[:, usable])
    level = 1 / np.sqrt(sampling[:, usable])
    best, most = Noise(1.0, 0.0, 0.95), -np.inf
    for persistence in PERSISTENCES:
        lasting = autoregressive(int(usable.sum()), persistence)
        for ratio in PERSISTENT_RATIOS:
            root = np.linalg.cholesky(np.eye(len(lasting)) + ratio * lasting)
            inverse = np.linalg.inv(root)
            y, mean = scaled @ inverse.T, level @ inverse.T
            slope = (y * mean).sum(1) / (mean * mean).sum(1)
            rest = ((y - slope[:, None] * mean) ** 2).sum()
            white = max(rest / (y.size - len(y)), 1e-12)
            likelihood = -len(y) * np.log(np.diag(root)).sum() - y.size / 2 * np.log(white)
            if likelihood > most:
                most, best = likelihood, Noise(float(white), ratio, persistence)
    return best


def without_odd_weeks(series: Array, usable: NDArray[np.bool_]) -> Array:
    """Single weeks that stand out (Hampel) as the median of the five around them; the last two weeks stay."""
    result = series.copy()
    masks, mask_of = np.unique(usable, axis=0, return_inverse=True)
    for number, mask in enumerate(masks):
        places, rows = np.flatnonzero(mask), np.flatnonzero(mask_of == number)
        if len(places) < 5:
            continue
        values = series[np.ix_(rows, places)]
        padded = np.pad(values, ((0, 0), (2, 2)), mode="edge")
        middle = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5, axis=1), axis=2)
        scatter = np.sqrt(robust_variance(np.diff(values)) / 2)[:, None] + 1e-9
        away = (values - middle) / scatter
        after = np.pad(values, ((0, 0), (0, 1)), mode="edge")[:, 1:]
        # not a burst that fades: of users who are brought back some come in the week after
        is_single = (away < 0) | (after - middle < 2 * scatter)
        odd = (np.abs(away) > 4) & is_single & (np.arange(len(places)) < len(places) - 2)
        result[np.ix_(rows, places)] = np.where(odd, middle, values)
    return result


def robust_variance(values: Array) -> Array:
    """Of the last axis, from the median absolute deviation about 0: 0.4549 is the median of chi-square(1)."""
    return np.median(np.abs(values), axis=-1) ** 2 / 0.4549


def understatement(residual: Array, covariance: Array, usable: NDArray[np.bool_]) -> float:
    """How much more four-week means of a residual vary than its covariance says, as a ratio of deviations; at least 1.

    What all users go through together shows only in their own course, which no random groups tell anything of.

    Args:
        residual: shape (weeks,). covariance: shape (weeks, weeks). usable: shape (weeks,).
    """
    places = np.flatnonzero(usable)
    if len(places) < LEAST_WEEKS_USED:
        return 1.0
    windows = np.lib.stride_tricks.sliding_window_view(places, 4)
    means = residual[windows].mean(axis=1)
    stated = covariance[windows[:, :, None], windows[:, None, :]].mean(axis=(1, 2))
    return max(1.0, float(np.sqrt((means**2 / stated).mean())))


def shared_variance(series: Array, sampling: Array, noise: Noise) -> float:
    """Variance of what the users of a group share in a week, beyond the noise of the users themselves; one series."""
    usable = noise.total() * sampling < MOST_SHARING_VARIANCE
    pairs = usable[1:] & usable[:-1]
    if pairs.sum() < LEAST_WEEKS_USED:
        return 0.0
    own = (sampling[1:] + sampling[:-1]) * noise.white * (1 + noise.ratio * (1 - noise.persistence))
    return max(0.0, float(robust_variance(np.diff(series)[pairs]) - np.median(own[pairs])))
