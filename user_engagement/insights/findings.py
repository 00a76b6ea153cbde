"""Findings: causes in their metric's unit and in active days, each once, the one that matters most first."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from user_engagement.insights.effects import MEASURE_OF, Effect, Effects
from user_engagement.insights.explain import Measures
from user_engagement.insights.measurement import Outage
from user_engagement.insights.measures import HALF, Measure
from user_engagement.insights.names import (
    ACTIVATION,
    ACTIVE_USERS,
    CHURN,
    DAYS,
    DURATION,
    EPISODE,
    FREQUENCY,
    LENGTH,
    MEASUREMENT,
    MIX,
    NEW_USERS,
    OF_COHORTS,
    PEOPLE,
    RAMP,
    RESURRECTION,
    RETENTION,
    SESSIONS,
    SIGNUPS,
    SLOPE,
    STEP,
    USE,
)
from user_engagement.insights.panel import LEVEL, Panel
from user_engagement.insights.readings import (
    Amount,
    Reading,
    as_shown,
    dated,
    dates,
    lost_by_signups,
    metric_parts,
    noise_of_rates,
    read,
    window_of,
    without,
)
from user_engagement.insights.scan import Change, Conditions
from user_engagement.insights.shapes import Array, fitted
from user_engagement.insights.statistics import ALPHA, Z

CHAIN = (SIGNUPS, NEW_USERS, ACTIVATION, CHURN, USE, RESURRECTION, SESSIONS, LENGTH)
"""From signing up to the length of a session: the earliest link that broke is the finding."""
NEAR_WEEKS = 6
OLDER_WEEKS = 8
"""Between what new users and what older users show of one change: cohorts say little of a week."""
LEAST_OF_MIX = 0.002
"""Of the retention of all users: what a shift of who signs up changes at least, to be worth a sentence."""
LEAST_T = 3.0
"""Of a link of the chain that is named as part of a change found otherwise."""


@dataclass(frozen=True)
class Finding:
    """One row of the brief, before words; `lost` by what is counted (`active_days`, `active_users`), a week."""

    change: Change
    kind: str
    metric: str
    conditions: Conditions
    since: pd.Timestamp | None
    since_low: pd.Timestamp | None
    since_high: pd.Timestamp | None
    until: pd.Timestamp | None
    value_expected: float
    effect: Amount
    value_actual: float
    lost: dict[str, Amount]
    lost_now: dict[str, Amount]
    users: int
    q_value: float
    also: tuple[str, ...] = ()
    series: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)
    churn_reason: str | None = None
    share_of_gap: float | None = None
    lost_days: tuple[pd.Timestamp, ...] = ()

    @property
    def direction(self) -> str:
        moved = self.effect.value if self.kind == MIX else self.change.height
        return "up" if moved > 0 else "down"

    @property
    def is_confirmed(self) -> bool:
        """Whether the metric moved as the change did, by an amount that matters, once larger causes are taken out."""
        sign = np.sign(self.change.height)
        nearest = min(sign * self.effect.low, sign * self.effect.high)
        if self.kind == MIX:
            return abs(self.effect.value) >= LEAST_OF_MIX * self.value_expected
        return self.kind == MEASUREMENT or (nearest > 0 and not self.contradicts_itself)

    @property
    def contradicts_itself(self) -> bool:
        """Whether harm surely adds active days, or its opposite surely takes some."""
        lost = self.lost[DAYS]
        return lost.high < 0 if self.is_adverse else lost.low > 0

    @property
    def is_adverse(self) -> bool:
        return self.kind == MEASUREMENT or (self.direction == "down") != (self.metric == CHURN)


class Readers:
    """Measures in which changes found earlier are taken out; made when they are first asked for.

    Attributes:
        panel: leaves that no change tells apart are one leaf of it, as a reading needs no more.
    """

    def __init__(self, made: Measures, changes: Iterable[Change]) -> None:
        groups = [change.conditions for change in changes]
        self.panel, self._leaf_of = made.panel.joined(groups)
        self._made = made
        self._measures: dict[str, Measure] = {}
        self._taken: list[Change] = []

    def measure(self, name: str) -> Measure:
        if name not in self._measures:
            self._measures[name] = self._made.joined(name, self.panel, self._leaf_of)
            for change in self._taken:
                self._take_out(self._measures[name], change)
        return self._measures[name]

    def take_out(self, change: Change) -> None:
        for measure in self._measures.values():
            self._take_out(measure, change)
        self._taken.append(change)

    def _take_out(self, measure: Measure, change: Change) -> None:
        cohorts = measure.name in OF_COHORTS
        if change.measure in (NEW_USERS, ACTIVATION) and measure.name in (USE, ACTIVE_USERS):
            measure.renew(self.panel.members(change.conditions), change.since)
            return
        if cohorts != (change.measure in OF_COHORTS) or (cohorts and change.measure != measure.name):
            return
        if change.kind in (MEASUREMENT, MIX):
            return
        shown = as_shown(measure, change)
        measure.take_out(self.panel.members(change.conditions), read(measure, shown).height, shown.values)


def merged(changes: list[Change]) -> list[tuple[Change, tuple[str, ...]]]:
    """Changes with the links of the chain that follow from each; consequences are no findings of their own."""
    order = [*(c for c in changes if c.kind == MEASUREMENT), *(c for c in changes if c.kind != MEASUREMENT)]
    order.sort(key=lambda c: (c.kind != MEASUREMENT, CHAIN.index(c.measure)))
    kept: list[tuple[Change, tuple[str, ...]]] = []
    for change in order:
        for place, (cause, also) in enumerate(kept):
            if follows(change, cause):
                name = {USE: RETENTION, LENGTH: DURATION}.get(change.measure, change.measure)
                if is_earlier(change, cause):
                    before = {USE: RETENTION}.get(cause.measure, cause.measure)
                    kept[place] = (change, (*also, before))
                elif name not in also:
                    kept[place] = (cause, (*also, name))
                break
        else:
            kept.append((change, ()))
    return kept


def is_earlier(change: Change, cause: Change) -> bool:
    """Whether of two changes that follow from each other the one that stands later in the chain says more."""
    # users who leave sooner are fewer every week, and new users make up more of all: the week is known by the cause
    is_slow = change.shape == SLOPE and cause.shape != SLOPE
    if cause.measure == CHURN:
        is_sure = abs(change.t) > abs(cause.t) and not is_slow
        returns = change.measure == RESURRECTION and change.height > 0 > cause.height
        return is_sure and (change.measure == USE or returns)
    if cause.measure in (NEW_USERS, ACTIVATION) and change.measure == USE:
        # new users have a course of their own by then: what is left, older users went through
        is_near = abs(change.since - cause.since) <= OLDER_WEEKS
        return is_near and not is_slow and change.height * cause.height > 0 and abs(change.t) > abs(cause.t)
    if (cause.measure, change.measure) != (USE, RESURRECTION) or min(change.height, cause.height) < 0:
        return False
    # users who are brought back stay for a while: all at once in a burst, or more every week; those of low activity are
    # most of them
    at_once = change.shape == EPISODE and cause.shape in (STEP, RAMP)
    is_of_level = LEVEL in cause.conditions and LEVEL not in change.conditions
    return at_once or is_of_level or (change.shape == STEP and cause.shape == SLOPE)


def follows(change: Change, cause: Change) -> bool:
    """Whether a change may be a consequence of a cause: of the same users, or a part of them, and as old at most."""
    if cause.kind == MIX or (cause.measure == SIGNUPS and change.measure != SIGNUPS):
        return False
    if cause.measure == change.measure and cause.kind != MEASUREMENT:
        return False
    mine, theirs = change.conditions.items(), cause.conditions.items()
    if change.measure == RESURRECTION and cause.measure == USE and min(change.height, cause.height) > 0:
        # of which levels of activity say nothing
        theirs = {name: value for name, value in cause.conditions.items() if name != LEVEL}.items()
    is_near = abs(change.since - cause.since) <= NEAR_WEEKS
    if mine == theirs:
        # who is active on ever fewer days pauses more, and so returns more
        is_slow = cause.measure == USE and cause.shape == SLOPE
        lasting = is_slow or cause.measure in (NEW_USERS, ACTIVATION, CHURN)
        is_of_use = change.measure not in (SESSIONS, LENGTH)
        return is_near or (lasting and is_of_use and change.since > cause.since)
    if change.measure in (SESSIONS, LENGTH):
        return False
    if (cause.measure, change.measure) == (CHURN, RESURRECTION) and mine <= theirs:
        # who has left for good is missed among those who return, in the whole that they were a part of as well
        return cause.height > 0 > change.height and change.since > cause.since
    # what all users went through sets no group apart from the others
    is_part = bool(theirs) and theirs <= mine
    return is_near and (is_part or (cause.kind == MEASUREMENT and (theirs <= mine or mine <= theirs)))


# -- one finding -------------------------------------------------------------------------------------------


def finding_of(readers: Readers, effects: Effects, effect: Effect, also: tuple[str, ...]) -> Finding:
    """A change in the unit of the earliest link of the chain that it broke."""
    panel, change = readers.panel, effect.change
    if (
        change.kind == MEASUREMENT
        and change.measure == USE
        and change.shape == EPISODE
        and not change.conditions
    ):
        return lapse_finding(panel, change)
    if change.kind == MEASUREMENT and change.t == -99.0:
        return recording_finding(panel, change, also)
    if change.kind == MIX:
        return mix_finding(readers, change, also)
    metric, reading, further = link_of(readers, change)
    window = window_of(panel, change, change.measure)
    leaves = panel.members(change.conditions)
    done, could = metric_parts(panel, metric, leaves)
    total = max(could[window].sum(), 1e-9)
    actual = float(done[window].sum() / total)
    expected = without(reading.curves[:, window], done[window]) / total
    moved = actual - expected
    first, last = dates(readers.measure(change.measure), change)
    has_week = change.shape != SLOPE
    also = tuple(name for name in (*also, *further) if name != metric)
    return Finding(
        change=change,
        kind=change.kind,
        metric=metric,
        conditions=change.conditions,
        since=panel.weeks[change.since] if has_week else None,
        since_low=panel.weeks[first] if has_week else None,
        since_high=panel.weeks[last] if has_week else None,
        until=panel.weeks[change.until] if change.until is not None else None,
        value_expected=float(expected[0]),
        value_actual=actual,
        effect=Amount(*(float(each) for each in (moved[0], moved.min(), moved.max()))),
        **amounts(effects, effect),
        users=users_of(panel, change, leaves),
        q_value=change.q_value,
        also=tuple(dict.fromkeys(also)),
        series=series_of(panel, metric, leaves, reading),
    )


def link_of(readers: Readers, change: Change) -> tuple[str, Reading, tuple[str, ...]]:
    """The earliest link of the chain that a change shows in, how it does, and the links that follow."""
    if change.measure == LENGTH:
        return DURATION, read(readers.measure(DURATION), change), ()
    if change.measure != USE:
        return change.measure, read(readers.measure(change.measure), change), ()
    readings = {name: read(readers.measure(name), change) for name in (RETENTION, RESURRECTION, FREQUENCY)}
    sign = np.sign(change.height)
    shown = [name for name, reading in readings.items() if reading.t * sign > LEAST_T]
    if not shown:
        shown = [max(readings, key=lambda name: readings[name].t * sign)]
    if (
        shown[0] == RESURRECTION
        and FREQUENCY in shown
        and readings[FREQUENCY].t * sign > readings[RESURRECTION].t * sign
    ):
        shown = [FREQUENCY, RESURRECTION]
    return shown[0], readings[shown[0]], tuple(shown[1:])


def users_of(panel: Panel, change: Change, leaves: NDArray[np.bool_]) -> int:
    if change.measure in OF_COHORTS:
        window = window_of(panel, change, change.measure)
        return int(panel.leaves.cohorts["signups"][leaves][:, window].sum())
    week = window_of(panel, change, change.measure)[-1]
    return int(panel.leaves.total("active_users_28", leaves)[:, week].sum())


def amounts(effects: Effects, effect: Effect) -> dict[str, dict[str, Amount]]:
    """What a change takes a week: `lost_now` in the last weeks, `lost` in these or those of an episode."""
    panel, change = effects.panel, effect.change
    last = np.arange(len(panel.weeks))[-4:]
    windows = {"lost": window_of(panel, change, USE), "lost_now": last}

    def lost(count: str, window: NDArray[np.int64]) -> Amount:
        if change.measure == SIGNUPS:
            return signups_amount(panel, change, count, window)
        return effects.missing(effect, count, window)

    return {
        name: {count: lost(count, window) for count in (DAYS, PEOPLE)} for name, window in windows.items()
    }


def signups_amount(panel: Panel, change: Change, count: str, window: NDArray[np.int64]) -> Amount:
    """What the missing signups would have had; the interval holds the noise of the change and that of users' habits."""

    def lost(height: float) -> Array:
        return np.array(
            [lost_by_signups(panel, [part], count, window) for part in shortfall(panel, change, height)]
        )

    parts = lost(change.height)
    value = float(parts.sum())
    habits = Z * np.array(
        [noise_of_rates(panel, leaves, count) for leaves, _ in shortfall(panel, change, change.height)]
    )
    by_height = [float(lost(change.height + Z * sign * change.error).sum()) - value for sign in (1, -1)]
    noise = float(((parts * habits) ** 2).sum())
    low, high = (math.sqrt(edge**2 + noise) for edge in (min(*by_height, 0.0), max(*by_height, 0.0)))
    return Amount(value, value - low, value + high)


def mix_finding(readers: Readers, change: Change, also: tuple[str, ...]) -> Finding:
    """A shift of who signs up, in the retention of all users: each group's own, at other weights."""
    panel = readers.panel
    window = np.arange(len(panel.weeks))[-4:]
    inside = panel.members(change.conditions)

    def retention(height: float) -> float:
        weights, rates = [], []
        for leaves, missing in shortfall(panel, change, height):
            done, could = metric_parts(panel, RETENTION, leaves)
            rates.append(done[window].sum() / max(could[window].sum(), 1))
            weights.append(
                could[window].mean() + lost_by_signups(panel, [(leaves, missing)], "recent_users", window)
            )
        return float(np.average(rates, weights=np.maximum(weights, 1e-9)))

    done, could = metric_parts(panel, RETENTION, panel.members({}))
    actual = float(done[window].sum() / max(could[window].sum(), 1))
    expected = [retention(change.height + Z * sign * change.error) for sign in (0, 1, -1)]
    effects = [actual - each for each in expected]
    first, last = dates(readers.measure(SIGNUPS), change)
    reading = read(readers.measure(SIGNUPS), change)
    series = series_of(panel, SIGNUPS, inside, reading)
    lost = {count: signups_amount(panel, change, count, window) for count in (DAYS, PEOPLE)}
    has_week = change.shape != SLOPE
    return Finding(
        change=change,
        kind=MIX,
        metric=RETENTION,
        conditions=change.conditions,
        since=panel.weeks[change.since] if has_week else None,
        since_low=panel.weeks[first] if has_week else None,
        since_high=panel.weeks[last] if has_week else None,
        until=panel.weeks[change.until] if change.until is not None else None,
        value_expected=expected[0],
        effect=Amount(effects[0], min(effects[1:]), max(effects[1:])),
        value_actual=actual,
        lost=lost,
        lost_now=lost,
        users=users_of(panel, change, inside),
        q_value=change.q_value,
        also=also,
        series=series,
    )


def shortfall(panel: Panel, change: Change, height: float) -> list[tuple[NDArray[np.bool_], Array]]:
    """Signups that a change took, by week: of the group, and as many more of all others where the mix changed."""
    inside = panel.members(change.conditions)
    signups = panel.leaves.cohorts["signups"]
    group = signups[inside].sum(0) + HALF
    if change.kind != MIX:
        return [(inside, group * np.expm1(-height * change.values))]
    others = signups[~inside].sum(0) + HALF
    odds = group / others * np.exp(-height * change.values)
    moved = group - (group + others) * odds / (1 + odds)
    return [(inside, -moved), (~inside, moved)]


def recording_finding(panel: Panel, change: Change, also: tuple[str, ...]) -> Finding:
    """What is no longer recorded, from the active days that only showed by it before it stopped."""
    weekly = {name: panel.leaves.by_week(name) for name in ("days_by_vanished", DAYS, PEOPLE)}
    before = slice(max(0, change.since - 8), change.since)
    ratios = weekly["days_by_vanished"][before] / np.maximum(weekly["active_days"][before], 1)
    window = np.arange(len(panel.weeks))[-4:]
    now = float(weekly["active_days"][window].mean())
    middle, spread = float(ratios.mean()), float(ratios.std(ddof=1) if len(ratios) > 1 else 0.0)
    lost = Amount(now * middle, now * max(middle - Z * spread, 0), now * (middle + Z * spread))
    none = Amount(0.0, 0.0, 0.0)
    week = panel.weeks[change.since]
    total = weekly["active_days"] + weekly["days_by_vanished"]
    expected = weekly["active_days"] * (1 + middle)
    after = np.arange(len(panel.weeks)) >= change.since
    spread_of = expected * spread
    series = pd.DataFrame(
        {
            "week": panel.weeks,
            "actual": total,
            "expected": np.where(after, expected, total),
            "expected_low": np.where(after, expected - Z * spread_of, total),
            "expected_high": np.where(after, expected + Z * spread_of, total),
            "users": weekly["active_users"],
        }
    )
    return Finding(
        change=change,
        kind=MEASUREMENT,
        metric="active_users",
        conditions=change.conditions,
        since=week,
        since_low=week,
        since_high=week,
        until=None,
        value_expected=now * (1 + middle),
        value_actual=now,
        effect=-lost,
        lost={DAYS: lost, PEOPLE: none},
        lost_now={DAYS: lost, PEOPLE: none},
        users=int(panel.leaves.total("active_users_28", panel.members(change.conditions))[:, -1].sum())
        if set(change.conditions) <= set(panel.attributes)
        else 0,
        q_value=0.0,
        also=also,
        series=series,
    )


def lapse_finding(panel: Panel, change: Change) -> Finding:
    """Weeks of which days, or nearly all events, were not recorded: what they counted and what they missed."""
    assert change.until is not None
    window = np.arange(change.since, change.until)
    outage = outage_of(panel, change)
    missing = (
        outage.missing if outage else {count: nearly_all(panel, window, count) for count in (DAYS, PEOPLE)}
    )
    lost = {count: mean_of_weeks(*of_weeks) for count, of_weeks in missing.items()}
    weekly = panel.leaves.by_week(PEOPLE)
    expected, spread = weekly.copy(), np.zeros(len(weekly))
    expected[window] += missing[PEOPLE][0]
    spread[window] = missing[PEOPLE][1]
    series = pd.DataFrame(
        {
            "week": panel.weeks,
            "actual": weekly,
            "expected": expected,
            "expected_low": expected - Z * spread,
            "expected_high": expected + Z * spread,
            "users": weekly.astype(int),
        }
    )
    none = Amount(0.0, 0.0, 0.0)
    return Finding(
        change=change,
        kind=MEASUREMENT,
        metric="active_users",
        conditions={},
        since=panel.weeks[change.since],
        since_low=panel.weeks[change.since],
        since_high=panel.weeks[change.since],
        until=panel.weeks[0] + pd.Timedelta(weeks=change.until),
        value_expected=float(expected[window].mean()),
        value_actual=float(weekly[window].mean()),
        effect=-lost[PEOPLE],
        lost=lost,
        lost_now=lost if change.until >= len(panel.weeks) else {DAYS: none, PEOPLE: none},
        users=round(float(expected[window].mean())),
        q_value=0.0,
        series=series,
        lost_days=outage.days if outage else (),
    )


def outage_of(panel: Panel, change: Change) -> Outage | None:
    weeks = (change.since, change.until)
    return next((each for each in panel.outages if (each.since, each.until) == weeks), None)


def nearly_all(panel: Panel, window: NDArray[np.int64], count: str) -> Array:
    """What weeks are below those around them, and how much these vary; shape (2, weeks of the window)."""
    weekly = panel.leaves.by_week(count)
    first, end = window[0], window[-1] + 1
    around = np.r_[weekly[max(0, first - 4) : first], weekly[end : end + 4]]
    return np.array([around.mean() - weekly[window], np.full(len(window), around.std(ddof=1))])


def mean_of_weeks(means: Array, spreads: Array) -> Amount:
    """The mean over weeks that vary independently of each other; what was not recorded is not below 0."""
    mean, spread = float(means.mean()), float(np.sqrt((spreads**2).sum()) / len(spreads))
    return Amount(mean, max(mean - Z * spread, 0.0), mean + Z * spread)


def series_of(panel: Panel, metric: str, leaves: NDArray[np.bool_], reading: Reading) -> pd.DataFrame:
    """The metric week by week, and what was expected of it, with 95 % bounds of a single week."""
    done, could = metric_parts(panel, metric, leaves)
    with np.errstate(invalid="ignore", divide="ignore"):
        actual = np.where(could > 0, done / could, np.nan)
    expected = actual * np.exp(-reading.gap)
    table = pd.DataFrame(
        {
            "week": panel.weeks,
            "actual": actual,
            "expected": expected,
            "expected_low": expected * np.exp(-Z * reading.spread),
            "expected_high": expected * np.exp(Z * reading.spread),
            "users": panel.leaves.total("active_users_28", leaves).sum(0).astype(int),
        }
    )
    if metric in OF_COHORTS:
        table["users"] = panel.leaves.cohorts["signups"][leaves].sum(0).astype(int)
    return table


# -- all of them -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Story:
    """All findings in their order, and what no finding explains, a week, by what is counted."""

    findings: tuple[Finding, ...]
    actual: dict[str, float]
    unexplained: dict[str, Amount]
    least_change: float | None


def story_of(measures: Measures, changes: Iterable[Change]) -> Story:
    causes = merged(list(changes))
    named = [change for change, _ in causes]
    readers, effects = Readers(measures, named), Effects(measures, named)
    panel, findings = readers.panel, []
    for found, also in causes:
        is_blurred = found.shape == RAMP or (found.shape == STEP and found.measure == CHURN)
        is_open = is_blurred and not found.is_dated
        change = dated(readers.measure(found.measure), found, readers.measure(USE)) if is_open else found
        effect = effects.estimated(change, also)
        finding = finding_of(readers, effects, effect, also)
        if finding.is_confirmed:
            findings.append(finding)
            readers.take_out(change)
            effects.found.append(effect)
    effects.settle()
    findings = [
        replace(finding, **amounts(effects, effect)) if effect.pieces[DAYS] else finding
        for finding, effect in zip(findings, effects.found, strict=True)
    ]
    last = np.arange(len(panel.weeks))[-4:]
    actual = {count: float(panel.leaves.by_week(count)[last].mean()) for count in (DAYS, PEOPLE)}
    unexplained = {}
    for count, name in MEASURE_OF.items():
        rest = left_over(effects.beside(name, effects.found), actual[count], last)
        unexplained[count] = rest.moved(-effects.together(count, last))
    gap = sum(each.lost_now[DAYS].value for each in findings) - unexplained[DAYS].value
    noise = abs(unexplained[DAYS].high - unexplained[DAYS].low) / 2
    shared = [
        replace(each, share_of_gap=share_of(each, gap) if abs(gap) > noise else None) for each in findings
    ]
    ordered = sorted(shared, key=importance)
    return Story(tuple(ordered), actual, unexplained, least_change(readers.measure(USE)))


def least_change(measure: Measure) -> float | None:
    """The smallest lasting relative change of everybody, eight weeks old, that would have been found."""
    weeks = len(measure.panel.weeks)
    series, sampling, shared = measure.own_residual(measure.panel.members({}))
    covariance = measure.noise.covariance(sampling, np.array([shared]))
    bank = measure.bank
    step = bank.only(np.flatnonzero((bank.kinds == STEP) & (bank.since == max(weeks - 8, 6))))
    error = float(fitted(series, covariance, measure.own_base(), step).error[0, 0])
    height = error * float(np.sqrt(max(measure.null.score_at(ALPHA / measure.family), 0)))
    return float(-np.expm1(-height)) if np.isfinite(height) else None


def share_of(finding: Finding, gap: float) -> float | None:
    share = finding.lost_now[DAYS].value / gap
    return share if 0 <= share <= 1 else None


def importance(finding: Finding) -> tuple[object, ...]:
    """Faults of recording, then harm that lasts by the active days lost, then the rest."""
    over = finding.change.shape == EPISODE
    size = abs(finding.lost[DAYS].value)
    relative = abs(finding.change.height)
    return (finding.kind != MEASUREMENT, not finding.is_adverse, over, -size, -relative)


def left_over(measure: Measure, actual: float, window: NDArray[np.int64]) -> Amount:
    """What is above (or below) the course expected after all findings, a week."""
    residual, sampling, shared = measure.own_residual(measure.panel.members({}))
    # the mean of the window, as a sum over the weeks of the course before the base is taken off
    weights = measure.net_of_base(np.eye(residual.shape[1]), sampling)[:, window].mean(axis=1)
    spread = float(np.sqrt(weights @ measure.own_covariance(shared) @ weights))
    middle = float(residual[0][window].mean())
    bounds = [actual * -np.expm1(-(middle + Z * sign * spread)) for sign in (0, -1, 1)]
    return Amount(*(float(each) for each in bounds))
