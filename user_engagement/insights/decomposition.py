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

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from zlib import crc32

import numpy as np
import pandas as pd

from user_engagement.insights.cells import AFTER, BEFORE, EVERYBODY, pooled
from user_engagement.insights.statistics import (
    ALPHA,
    Floats,
    ranked,
    ratio,
)

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
    rows = [
        row
        for metric, of_metric in cells.groupby("metric", sort=False)
        for row in _of_metric(str(metric), of_metric, dimensions, seed, draws)
    ]
    if not rows:
        return pd.DataFrame(columns=COLUMNS)
    table = pd.concat(rows, ignore_index=True)
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
) -> Iterator[pd.DataFrame]:
    """Of one metric: each dimension alone, then the ordered pairs."""
    used = dimensions_of(metric, dimensions)
    cells = pooled(cells, used)
    if set(cells.period) != {BEFORE, AFTER}:
        return
    for chosen in [*((name,) for name in used), *permutations(used, 2)]:
        # each decomposition has draws of its own, whatever others there are
        rng = np.random.default_rng([seed, crc32("/".join((metric, *chosen)).encode())])
        yield _decomposed(metric, cells, list(chosen), rng, draws)


def _decomposed(
    metric: str, cells: pd.DataFrame, chosen: list[str], rng: np.random.Generator, draws: int
) -> pd.DataFrame:
    counts = counted(cells, chosen)
    before, after = (tuple(counts[period][name].to_numpy(float) for name in COUNTS) for period in PERIODS)
    values = pd.Index(counts.index.get_level_values(0).unique())
    membership = (counts.index.get_level_values(0).to_numpy()[:, None] == values.to_numpy()).astype(float)
    found = effects(*before[:2], *after[:2], membership)
    drawn = effects(*resampled(*before, draws, rng), *resampled(*after, draws, rng), membership)
    nested = len(chosen) > 1
    parts = {
        TOTAL: (found.total(), drawn.total()),
        MIX: (found.mix.sum(), drawn.mix.sum(-1)),
        BEHAVIOUR: (found.behaviour.sum(), drawn.behaviour.sum(-1)),
    }
    if nested:
        parts[INNER_MIX] = (found.inner_mix.sum(), drawn.inner_mix.sum(-1))
    summed = pd.DataFrame(
        [{"effect": name, "contribution": each, **_interval(many)} for name, (each, many) in parts.items()]
    )
    tables = [_described(summed.assign(segment_value=EVERYBODY), counts, None)]
    if not nested:
        for effect, each, many in (
            (MIX, found.mix, drawn.mix),
            (BEHAVIOUR, found.behaviour, drawn.behaviour),
        ):
            rows = pd.DataFrame({"segment_value": values, "contribution": each, **_interval(many)})
            tables.append(_described(rows.assign(effect=effect), counts, values))
    inner = chosen[1] if nested else ""
    return pd.concat(tables).assign(metric=metric, dimension=chosen[0], inner_dimension=inner)


PERIODS = (BEFORE, AFTER)


def counted(cells: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Counts per value with a column for each period and count, 0 where there is nobody."""
    sums = cells.groupby(["period", *by])[COUNTS].sum().unstack("period", fill_value=0)
    full = pd.MultiIndex.from_product([PERIODS, COUNTS])
    return sums.swaplevel(axis=1).reindex(columns=full, fill_value=0)


def _interval(draws: Floats) -> dict[str, Floats]:
    low, high = np.nanquantile(draws, [ALPHA / 2, 1 - ALPHA / 2], axis=0)
    return {"ci_low": low, "ci_high": high}


def _described(rows: pd.DataFrame, counts: pd.DataFrame, values: pd.Index | None) -> pd.DataFrame:
    """The rows with the metric, users and share of their values in both periods; of everybody if None."""
    for period in PERIODS:
        of_period = counts[period]
        everybody = of_period.users.sum()
        chosen = of_period.sum() if values is None else of_period.groupby(level=0).sum().loc[values]
        users, total = np.asarray(chosen["users"], dtype=float), np.asarray(chosen["total"], dtype=float)
        rows[f"value_{period}"] = ratio(total, users)
        rows[f"users_{period}"] = users.astype(int)
        rows[f"share_{period}"] = ratio(users, everybody)
    return rows
