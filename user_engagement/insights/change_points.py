"""Since when? Scans weekly series for the week in which their level changed.

A series is a number of events a week out of an exposure, such as users who stayed out of those who could. What the
tenure of the exposed explains is taken out first by indirect standardisation (Breslow & Day 1987, Statistical
Methods in Cancer Research II, ISBN 978-92-832-0182-3): the week's expected events E are those of its bands of tenure
at their rates over all weeks, and the ratio z of observed to expected events is what is scanned.

The null model lets z drift: a constant, a straight line and, from two years on, a yearly wave (which those that
a value is held against share), fitted with weights E, as the variance of z is in proportion to 1 / E
(quasi-likelihood: Wedderburn 1974, doi:10.1093/biomet/61.3.439). A step in each possible week is added to it in turn;
the greatest reduction of the weighted sum of squares, relative to that sum, is the likelihood-ratio statistic
(supremum over an unknown change point: Andrews 1993, doi:10.2307/2951764). Its null distribution is simulated with
noise of which as much is slow as of the residuals, so that a series that wanders is not taken for one that broke.

Shares of signups do not drift by themselves; there the null model is a constant, and the alternatives are rises (or
falls) from one level to another that take between a week and a year.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import signal, stats

from user_engagement.insights.cells import EVERYBODY, pooled
from user_engagement.insights.decomposition import MAIN_DEVICE, dimensions_of
from user_engagement.insights.statistics import ALPHA, Floats, benjamini_hochberg, ratio

LEAST_WEEKS = 24
LEAST_EXPOSURE = 0.25
"""Of the median week: a series begins with the first week that has as much."""
LEAST_EVENTS = 5.0
"""Expected events a week: below it a series is not scanned."""
MARGIN = 8
"""Weeks at either end of a series in which no change is looked for."""
YEAR = 365.25 / 7
LEAST_CHANGE = 0.05
"""A relative change that is smaller is not called one, however certain it is."""
COARSE_DRAWS, FINE_DRAWS = 499, 4_999
"""Simulated series; the many only where the few leave the p-value near its lower end."""
RISES = (1, 4, 8, 13, 26, 39, 52)
"""Weeks that a change of a share may take."""
SIGNUP_SHARE, SESSIONS = "signup_share", "sessions"
PERSISTENCE = 0.95
"""Of slow noise, from week to week: who happens to be among the users changes over months."""
SLOW_SHARES = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.95)
MATCHED_LAGS = (1, 2, 3, 4)
MATCHED_DRAWS = 100
REPEATED = ("retention", "frequency", SESSIONS)
"""Metrics of which the same users are part week after week, so that there is slow noise for certain."""
CAUTION = 0.7
"""Standard deviations that the autocorrelation of these may have been found too small by."""

SEGMENT = ["metric", "segment_name", "segment_value"]
SERIES = [*SEGMENT, "against"]
OWN, OTHERS = "own", "others"
COUNTS = ["exposure", "events"]
COLUMNS = [
    *SERIES,
    *("first_week", "last_week", "weeks", "change_week", "change_low", "change_high"),
    *("rate_before", "rate_after", "relative_change", "ci_low", "ci_high"),
    *("events", "exposure", "p_value", "q_value", "is_significant"),
]


@dataclass(frozen=True)
class Scan:
    """What a scan found; places are columns of the shapes."""

    place: int
    plausible: Floats
    step: float
    low: float
    high: float
    level: float
    p_value: float


def weekly_series(weekly_cells: pd.DataFrame, dimensions: list[str]) -> pd.DataFrame:
    """Series of everybody and of each value of the dimensions, and of each value's share of the signups.

    Args:
        weekly_cells: one row per metric, week_start, tenure and combination of the dimensions, with exposure and
            events.

    Returns:
        One row per metric, segment_name, segment_value, against and week_start, with exposure, events and expected
        events. `against` is `own`: what is expected are the series' own rates of each tenure over all weeks; or
        `others`: the rates of the dimension's other values in the same week, so that what happens to everybody is
        no change.
    """
    by = ["metric", "week_start", "tenure"]
    everybody = weekly_cells.groupby(by)[COUNTS].sum().reset_index()
    parts = [_against_own(everybody.assign(segment_name=EVERYBODY, segment_value=EVERYBODY))]
    for name in dimensions:
        values = weekly_cells.groupby([*by, name])[COUNTS].sum().reset_index()
        values = values.rename(columns={name: "segment_value"}).assign(segment_name=name)
        meaningful = [
            name in dimensions_of(metric, [name]) and metric != SESSIONS for metric in values.metric
        ]
        parts += [_against_own(values[meaningful]), _against_others(values[meaningful])]
        if name != MAIN_DEVICE:
            parts.append(_against_own(_signup_shares(values)))
    return pd.concat(parts, ignore_index=True)


def session_series(weekly_cells: pd.DataFrame, weekly_sessions: pd.DataFrame) -> pd.DataFrame:
    """Sessions on each device and of each interaction type per active user: series as of `weekly_series`.

    Args:
        weekly_cells: as for `weekly_series`; the metric `sessions` has the active users as exposure.
        weekly_sessions: sessions by week_start, tenure, device_type and interaction_type.
    """
    by = ["week_start", "tenure"]
    active = weekly_cells[weekly_cells.metric == SESSIONS].groupby(by).exposure.sum()
    parts = []
    for name in ("device_type", "interaction_type"):
        named = pooled(weekly_sessions, [name], users="sessions")
        sessions = named.groupby([name, *by]).sessions.sum().unstack(name, fill_value=0)
        spread = sessions.reindex(active.index, fill_value=0).stack().rename("events").reset_index()
        spread = spread.rename(columns={name: "segment_value"}).join(active, on=by)
        parts.append(_against_own(spread.assign(metric=SESSIONS, segment_name=name)))
    return pd.concat(parts, ignore_index=True)


def _signup_shares(values: pd.DataFrame) -> pd.DataFrame:
    signups = values[values.metric == "activation"]
    shares = signups.pivot_table(
        index="week_start", columns="segment_value", values="exposure", aggfunc="sum"
    )
    long = shares.fillna(0).stack().rename("events").reset_index()
    long["exposure"] = long.groupby("week_start").events.transform("sum")
    return long.assign(metric=SIGNUP_SHARE, segment_name=values.segment_name.iloc[0], tenure="new")


def _against_own(values: pd.DataFrame) -> pd.DataFrame:
    bands = values.groupby([*SEGMENT, "tenure"])[COUNTS].transform("sum")
    rate = np.nan_to_num(ratio(bands.events, bands.exposure))
    return _per_week(values.assign(against=OWN, expected=values.exposure * rate))


def _against_others(values: pd.DataFrame) -> pd.DataFrame:
    rest = values.groupby(["metric", "week_start", "tenure"])[COUNTS].transform("sum") - values[COUNTS]
    comparable = values.assign(against=OTHERS, expected=values.exposure * ratio(rest.events, rest.exposure))
    return _per_week(comparable[rest.exposure > 0])


def _per_week(values: pd.DataFrame) -> pd.DataFrame:
    return values.groupby([*SERIES, "week_start"])[[*COUNTS, "expected"]].sum().reset_index()


def change_points(series: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The likeliest week of change of each series, and whether there was one.

    Args:
        series: as from `weekly_series`.
        seed: of the simulated null series.

    Returns:
        One row per metric, segment_name, segment_value and against with at least 24 weeks and 5 expected events a week.
        `change_week` is the first week of the new level (for `signup_share`, of the rise), `change_low` to
        `change_high` the weeks whose likelihood ratio to it is within the 95 % quantile of chi-square(1), an
        approximation. Rates are events over exposure before that week and from it on; `relative_change` is the step
        relative to the fitted level before it, with a 95 % interval. p_value is simulated; q_value is
        Benjamini-Hochberg over all series. `is_significant`: q_value < 0.05 and a change of at least 5 %.
    """
    rng = np.random.default_rng(seed)
    found = [_change_point(of_series, rng) for _, of_series in series.groupby(SERIES, sort=True)]
    table = pd.DataFrame([row for row in found if row], columns=COLUMNS)
    table["q_value"] = benjamini_hochberg(table.p_value.astype(float))
    material = table.relative_change.astype(float).abs() >= LEAST_CHANGE
    table["is_significant"] = (table.q_value < ALPHA) & material
    return table


def _change_point(series: pd.DataFrame, rng: np.random.Generator) -> dict[str, object] | None:
    # the few users of a company's first weeks wander more than their number explains
    series = series.loc[(series.exposure >= LEAST_EXPOSURE * series.exposure.median()).cummax()]
    weeks = pd.DatetimeIndex(series.week_start)
    exposure, events, expected = (series[name].to_numpy(float) for name in (*COUNTS, "expected"))
    if len(weeks) < LEAST_WEEKS or expected.mean() < LEAST_EVENTS or (expected <= 0).any():
        return None
    metric, segment_name, segment_value, against = series.iloc[0][SERIES]
    number = np.arange(len(weeks))
    if metric == SIGNUP_SHARE:
        null, (shapes, starts) = np.ones((len(weeks), 1)), rises(len(weeks))
    else:
        null, (shapes, starts) = drift(len(weeks), with_wave=against == OWN), steps(len(weeks))
    caution = CAUTION if metric in REPEATED else 0.0
    scan = scanned(events / expected, expected, null, shapes, caution, rng)
    start = starts[scan.place]
    plausible = starts[scan.plausible.astype(bool)]
    earlier = number < start
    return {
        "metric": metric,
        "segment_name": segment_name,
        "segment_value": segment_value,
        "against": against,
        "first_week": weeks[0],
        "last_week": weeks[-1],
        "weeks": len(weeks),
        "change_week": weeks[start],
        "change_low": weeks[plausible.min()],
        "change_high": weeks[plausible.max()],
        "rate_before": float(ratio(events[earlier].sum(), exposure[earlier].sum())),
        "rate_after": float(ratio(events[~earlier].sum(), exposure[~earlier].sum())),
        "relative_change": scan.step / scan.level,
        "ci_low": scan.low / scan.level,
        "ci_high": scan.high / scan.level,
        "events": int(events.sum()),
        "exposure": int(exposure.sum()),
        "p_value": scan.p_value,
    }


def drift(weeks: int, with_wave: bool) -> Floats:
    """What a series may do without breaking; shape (weeks, terms)."""
    number = np.arange(weeks)
    terms = [np.ones(weeks), (number - number.mean()) / weeks]
    if with_wave and weeks >= 2 * YEAR:
        terms += [np.cos(2 * np.pi * number / YEAR), np.sin(2 * np.pi * number / YEAR)]
    return np.column_stack(terms)


def steps(weeks: int) -> tuple[Floats, np.ndarray]:
    """Steps in every week but those near the ends, shape (weeks, steps), and their weeks."""
    starts = np.arange(MARGIN, weeks - MARGIN + 1)
    return (np.arange(weeks)[:, None] >= starts).astype(float), starts


def rises(weeks: int) -> tuple[Floats, np.ndarray]:
    """Straight rises between two levels, shape (weeks, rises), and the weeks in which they begin."""
    starts = np.arange(MARGIN, weeks - MARGIN + 1)
    start, length = (each.ravel() for each in np.meshgrid(starts, RISES, indexing="ij"))
    shapes = np.clip((np.arange(weeks)[:, None] - start + 1) / length, 0, 1)
    return shapes, start


def scanned(
    z: Floats, weight: Floats, null: Floats, shapes: Floats, caution: float, rng: np.random.Generator
) -> Scan:
    """The shape that, added to the null model, explains most of z.

    Args:
        z: the series; shape (weeks,).
        weight: its inverse relative variance; shape (weeks,).
        null: terms of the null model; shape (weeks, terms).
        shapes: the alternatives; shape (weeks, alternatives).
        caution: standard deviations by which more of the noise is taken as slow than was found.
    """
    root = np.sqrt(weight / weight.mean())
    basis = np.linalg.qr(null * root[:, None])[0]
    residual = _without(basis, z * root)
    directions = _without(basis, shapes * root[:, None])
    length = np.sqrt((directions**2).sum(0))
    directions = directions / np.where(length > 1e-9, length, np.inf)
    gains = (directions.T @ residual) ** 2
    place = int(gains.argmax())
    total = float(residual @ residual)
    noise = residual - directions[:, place] * (directions[:, place] @ residual)
    slow = slow_share(noise, basis, directions, caution, rng)
    statistic = gains[place] / max(total, 1e-300)
    p_value = 1.0
    for draws in (COARSE_DRAWS, FINE_DRAWS):
        simulated = _explained(directions, basis, _noise(len(z), slow, draws, rng))
        p_value = float((1 + (simulated >= statistic).sum()) / (1 + draws))
        if p_value > 0.02:
            break
    # slow noise moves a step by more than its week-to-week scatter tells
    drawn = _without(basis, _noise(len(z), slow, COARSE_DRAWS, rng))
    steps_drawn = directions[:, place] @ drawn
    inflation = float((steps_drawn**2).mean() / ((drawn**2).sum(axis=0) - steps_drawn**2).mean())
    free = len(z) - null.shape[1] - 1
    step = float(directions[:, place] @ residual / length[place])
    error = np.sqrt(float(noise @ noise) * inflation) / length[place] * stats.t.ppf(1 - ALPHA / 2, free)
    design = np.column_stack([null, shapes[:, place]]) * root[:, None]
    fit = np.linalg.lstsq(design, z * root, rcond=None)[0]
    level = float(np.average(null @ fit[:-1], weights=shapes[:, place] > 0))
    # likelihood ratio to the best: n log(RSS / RSS of the best), as for normal errors of unknown variance
    behind = len(z) * np.log(np.maximum(total - gains, 1e-300) / max(total - gains[place], 1e-300))
    plausible = behind / max(1.0, inflation * free) <= stats.chi2.ppf(1 - ALPHA, 1)
    return Scan(place, plausible, step, step - error, step + error, level, p_value)


def slow_share(
    noise: Floats, basis: Floats, directions: Floats, caution: float, rng: np.random.Generator
) -> float:
    """The share of the residuals' variance that is slow, in [0, 0.95].

    Fitting drift and a step takes slow variance away. So the share is not read off the residuals' autocorrelation:
    it is the one at which simulated residuals, to which the same was fitted, are as autocorrelated on average as
    these are found to be, with some standard deviations of caution added (indirect inference: Gourieroux, Monfort &
    Renault 1993, doi:10.1002/jae.3950080507).
    """
    expected, scatter = [], []
    for share in SLOW_SHARES:
        drawn = _without(basis, _noise(len(noise), share, MATCHED_DRAWS, rng))
        along = directions.T @ drawn
        best = np.abs(along).argmax(axis=0)
        drawn = drawn - directions[:, best] * along[best, np.arange(MATCHED_DRAWS)]
        found = _autocorrelation(drawn)
        expected.append(found.mean())
        scatter.append(found.std())
    observed = _autocorrelation(noise[:, None])[0] + caution * np.mean(scatter)
    return float(np.interp(observed, np.maximum.accumulate(expected), SLOW_SHARES))


def _autocorrelation(noise: Floats) -> Floats:
    """Mean autocorrelation of columns over the first lags."""
    power = np.maximum((noise**2).sum(axis=0), 1e-300)
    return sum((noise[lag:] * noise[:-lag]).sum(axis=0) for lag in MATCHED_LAGS) / power / len(MATCHED_LAGS)


def _noise(weeks: int, slow: float, draws: int, rng: np.random.Generator) -> Floats:
    """Noise of unit variance, a share of which persists from week to week; shape (weeks, draws)."""
    white = rng.standard_normal((weeks, draws), dtype=np.float32)
    if slow == 0:
        return white
    shocks = rng.standard_normal((weeks, draws), dtype=np.float32) * np.float32(np.sqrt(1 - PERSISTENCE**2))
    shocks[0] /= np.float32(np.sqrt(1 - PERSISTENCE**2))
    lasting = signal.lfilter(*np.array([[1, 0], [1, -PERSISTENCE]], dtype=np.float32), shocks, axis=0)
    return np.float32(np.sqrt(1 - slow)) * white + np.float32(np.sqrt(slow)) * lasting


def _explained(directions: Floats, basis: Floats, noise: Floats) -> Floats:
    """The greatest share of the noise's sum of squares that one of the directions explains, per draw."""
    # directions are orthogonal to the null model: its fit need not be taken out first
    gains = np.abs(directions.T.astype(np.float32) @ noise).max(axis=0) ** 2
    return gains / ((noise**2).sum(axis=0) - ((basis.T.astype(np.float32) @ noise) ** 2).sum(axis=0))


def _without(basis: Floats, y: Floats) -> Floats:
    return y - basis @ (basis.T @ y)
