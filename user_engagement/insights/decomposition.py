"""Mix or behaviour? What of a metric's change is due to other kinds of users, and what to users acting otherwise.

A metric is a mean over users, M = sum over cells of share x rate. Between two periods both factors change. The
Shapley value gives each factor the mean of its effect over both orders of changing them (Shapley 1953,
doi:10.1515/9781400881970-018; for two factors it is the midpoint formula of Kitagawa 1955,
doi:10.1080/01621459.1955.10501299):

    mix        (s1 - s0) x (r0 + r1) / 2, taken relative to the mean rate, so that a value's mix is its own
    behaviour  (r1 - r0) x (s0 + s1) / 2

They add up to the change, with no residual. A cell without users in one period has no rate there; it is given the
rate of the other period, so that its coming or going is mix alone. With two dimensions the formula is applied to the
outer one, and once more to the rates within its values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, permutations
from zlib import crc32

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from user_engagement.insights.cells import AFTER, BEFORE, EVERYBODY, pooled
from user_engagement.insights.statistics import (
    ALPHA,
    Floats,
    ranked,
    ratio,
)
from user_engagement.insights.threads import mapped

NEW_USER_METRICS = ("activation", "new_user_retention")
METRICS = (*NEW_USER_METRICS, "retention", "churn", "frequency")
TENURE, MAIN_DEVICE = "tenure", "main_device"
DRAWS = 400
COUNTS = ["users", "total", "squares"]
MIX, INNER_MIX, BEHAVIOUR, TOTAL = "mix", "inner_mix", "behaviour", "total"


@dataclass(frozen=True)
class Effects:
    """Contributions to a change in a mean: `mix` per outer value, the other two per cell.

    The last axis is that of the values or cells; axes before it are those of the counts.
    """

    mix: Floats
    inner_mix: Floats
    behaviour: Floats

    def total(self) -> Floats:
        return self.mix.sum(-1) + self.inner_mix.sum(-1) + self.behaviour.sum(-1)


def effects(users_0: Floats, total_0: Floats, users_1: Floats, total_1: Floats, outer: Floats) -> Effects:
    """The exact decomposition of total_1 / users_1 - total_0 / users_0, both summed over cells.

    Args:
        users_0, total_0, users_1, total_1: users and sums of the measure in each period; shape (..., cells).
        outer: membership of the cells in outer values, 0 or 1; shape (cells, outer values).

    A period without any user has no mean: everything is then null.
    """
    outer_0, outer_1 = users_0 @ outer, users_1 @ outer
    rate_0, rate_1 = _filled(ratio(total_0, users_0), ratio(total_1, users_1))
    share_0 = ratio(outer_0, outer_0.sum(-1, keepdims=True))
    share_1 = ratio(outer_1, outer_1.sum(-1, keepdims=True))
    within_0, within_1 = _filled(ratio(users_0, outer_0 @ outer.T), ratio(users_1, outer_1 @ outer.T))
    mean_0, mean_1 = (within_0 * rate_0) @ outer, (within_1 * rate_1) @ outer
    middle = (mean_0 + mean_1) / 2
    overall = ((share_0 * mean_0).sum(-1, keepdims=True) + (share_1 * mean_1).sum(-1, keepdims=True)) / 2
    weight = ((share_0 + share_1) / 2) @ outer.T
    return Effects(
        mix=(share_1 - share_0) * (middle - overall),
        inner_mix=weight * (within_1 - within_0) * ((rate_0 + rate_1) / 2 - middle @ outer.T),
        behaviour=weight * (rate_1 - rate_0) * (within_0 + within_1) / 2,
    )


def _filled(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """What is unknown in one is that of the other, and 0 where it is in neither."""
    return (
        np.nan_to_num(np.where(np.isnan(first), second, first)),
        np.nan_to_num(np.where(np.isnan(second), first, second)),
    )


def resampled(
    users: Floats, total: Floats, squares: Floats, draws: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Users and totals of `draws` bootstrap samples of the users, each of shape (draws, cells).

    Drawing users with replacement makes the users of cells multinomial. Within a cell the total of a measure of
    0 or 1 is then binomial, and that of any other is taken as normal with the cell's mean and variance, so that no
    row per user is needed. Efron 1979, doi:10.1214/aos/1176344552.
    """
    size = int(users.sum())
    drawn = rng.multinomial(size, ratio(users, size), draws).astype(float)
    mean = np.nan_to_num(ratio(total, users))
    if np.array_equal(total, squares):
        return drawn, rng.binomial(drawn.astype(int), np.clip(mean, 0, 1)).astype(float)
    variance = np.maximum(np.nan_to_num(ratio(squares, users)) - mean**2, 0)
    return drawn, drawn * mean + np.sqrt(drawn * variance) * rng.standard_normal(drawn.shape)


def decompose(cells: pd.DataFrame, dimensions: list[str], seed: int, draws: int = DRAWS) -> pd.DataFrame:
    """Decompositions of every metric over every dimension, and over all ordered pairs of them.

    Args:
        cells: one row per metric, period (`before`, `after`) and combination of the dimensions: users, total (sum
            of the measure over users), squares (sum of its squares).
        dimensions: columns of the cells; those that say nothing about new users are left out for their metrics.

    Returns:
        One row per metric, dimension, inner_dimension (null for one dimension), effect (`total`, `mix`,
        `inner_mix`, `behaviour`) and segment_value (`all` for the sum; values of the dimension only when it is
        alone), with contribution in the metric's unit and a 95 % percentile interval from `draws` bootstrap samples
        of users. Metrics with an empty period are left out.
    """
    metrics = list(cells.groupby("metric", sort=False))
    of_metrics = mapped(
        lambda each: list(_of_metric(str(each[0]), each[1], dimensions, seed, draws)), metrics
    )
    rows = list(chain.from_iterable(of_metrics))
    if not rows:
        return pd.DataFrame(columns=COLUMNS)
    table = pd.DataFrame(rows)
    totals = table[table.effect == TOTAL].set_index(["metric", "dimension", "inner_dimension"]).contribution
    keys = pd.MultiIndex.from_frame(table[["metric", "dimension", "inner_dimension"]])
    table["share_of_change"] = ratio(table.contribution, totals.reindex(keys).to_numpy())
    table["inner_dimension"] = table.inner_dimension.replace("", None)
    compared = table[(table.segment_value == EVERYBODY) & (table.effect != TOTAL)]
    sizes = compared.assign(size=compared.contribution.abs())
    table["rank"] = ranked(sizes, "size", "metric", ascending=False).reindex(table.index)
    return table[COLUMNS]


COLUMNS = [
    *("metric", "dimension", "inner_dimension", "effect", "segment_value"),
    *("value_before", "value_after", "users_before", "users_after", "share_before", "share_after"),
    *("contribution", "ci_low", "ci_high", "share_of_change", "rank"),
]


def dimensions_of(metric: str, dimensions: list[str]) -> list[str]:
    """The dimensions that make sense for a metric.

    New users have no tenure; and a main device is known only of those who came back, which is what is measured.
    """
    return [
        name for name in dimensions if metric not in NEW_USER_METRICS or name not in (TENURE, MAIN_DEVICE)
    ]


def _of_metric(
    metric: str, cells: pd.DataFrame, dimensions: list[str], seed: int, draws: int
) -> Iterator[dict[str, object]]:
    """Of one metric: each dimension alone, then the ordered pairs."""
    used = dimensions_of(metric, dimensions)
    cells = pooled(cells, used)
    if set(cells.period) != {BEFORE, AFTER}:
        return
    for chosen in [*((name,) for name in used), *permutations(used, 2)]:
        # each decomposition has draws of its own, whatever others there are
        rng = np.random.default_rng([seed, crc32("/".join((metric, *chosen)).encode())])
        inner = chosen[1] if len(chosen) > 1 else ""
        for row in _decomposed(counted(cells, list(chosen)), len(chosen) > 1, rng, draws):
            yield {"metric": metric, "dimension": chosen[0], "inner_dimension": inner, **row}


@dataclass(frozen=True)
class Counted:
    """Counts of cells in both periods, 0 where there is nobody.

    Attributes:
        values: of the outer dimension, in order; outer: the place there of each cell, shape (cells,).
        counts: users, total and squares, before and after; shape (2, 3, cells).
    """

    values: pd.Index
    outer: NDArray[np.int64]
    counts: Floats


def counted(cells: pd.DataFrame, by: list[str]) -> Counted:
    """Counts by the values of one dimension, or of an outer and an inner one, in order of these."""
    (outer, values), *inner = (pd.factorize(cells[name], sort=True) for name in by)
    width = len(inner[0][1]) if inner else 1
    present, number = np.unique(outer * width + (inner[0][0] if inner else 0), return_inverse=True)
    number = number + len(present) * (cells.period == AFTER).to_numpy()
    sums = [np.bincount(number, cells[name], 2 * len(present)).reshape(2, -1) for name in COUNTS]
    return Counted(pd.Index(values), present // width, np.stack(sums, axis=1))


def _decomposed(
    cells: Counted, is_nested: bool, rng: np.random.Generator, draws: int
) -> Iterator[dict[str, object]]:
    before, after = cells.counts
    membership = (cells.outer[:, None] == np.arange(len(cells.values))).astype(float)
    found = effects(*before[:2], *after[:2], membership)
    drawn = effects(*resampled(*before, draws, rng), *resampled(*after, draws, rng), membership)
    parts = {
        TOTAL: (found.total(), drawn.total()),
        MIX: (found.mix.sum(), drawn.mix.sum(-1)),
        BEHAVIOUR: (found.behaviour.sum(), drawn.behaviour.sum(-1)),
    }
    if is_nested:
        parts[INNER_MIX] = (found.inner_mix.sum(), drawn.inner_mix.sum(-1))
    everybody = cells.counts.sum(-1, keepdims=True)
    yield from _described(
        [EVERYBODY] * len(parts), list(parts), *_columns(parts.values()), everybody, everybody
    )
    if not is_nested:
        counts = cells.counts @ membership
        for effect, each, many in (
            (MIX, found.mix, drawn.mix),
            (BEHAVIOUR, found.behaviour, drawn.behaviour),
        ):
            yield from _described(cells.values, [effect] * len(each), each, many, counts, everybody)


def _columns(parts: Iterable[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """Contributions, shape (parts,), and those of the draws, shape (draws, parts)."""
    found, drawn = zip(*parts, strict=True)
    return np.array(found), np.column_stack(drawn)


def _described(
    values: Iterable[str],
    effects: list[str],
    contributions: Floats,
    drawn: Floats,
    counts: Floats,
    everybody: Floats,
) -> Iterator[dict[str, object]]:
    """A row per effect, with metric, users and share of its value in both periods.

    Args:
        drawn: shape (draws, effects). counts: shape (2, 3, effects). everybody: shape (2, 3, 1).
    """
    # a period of which a draw has nobody has no mean
    quantile = np.nanquantile if np.isnan(drawn).any() else np.quantile
    low, high = quantile(drawn, [ALPHA / 2, 1 - ALPHA / 2], axis=0)
    counts = np.broadcast_to(counts, (*counts.shape[:2], len(effects)))
    rates, shares = ratio(counts[:, 1], counts[:, 0]), ratio(counts[:, 0], everybody[:, 0])
    for place, (value, effect) in enumerate(zip(values, effects, strict=True)):
        yield {
            "effect": effect,
            "segment_value": value,
            "contribution": contributions[place],
            "ci_low": low[place],
            "ci_high": high[place],
            **{
                f"{name}_{period}": column[number, place]
                for number, period in enumerate((BEFORE, AFTER))
                for name, column in (("value", rates), ("users", counts[:, 0].astype(int)), ("share", shares))
            },
        }
