"""The answer in words: what changed, for whom, since when, how much of it that explains, and where to look next.

A finding is the part of a metric's change that a group of users explains, by acting differently (`behaviour`) or by
being more or fewer (`mix`). All tests that could have made a finding are one family, controlled by
Benjamini-Hochberg. Users are compared within bands of tenure throughout. That a company's users grow older or
younger is told apart, after the findings, where it harms a metric.

Comparing periods shows that a group changed and others did not. It does not show what made it change, so that the
sentences name no cause.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pandas as pd

from user_engagement.insights.cells import AFTER, BEFORE, EVERYBODY, pooled
from user_engagement.insights.change_points import OTHERS, OWN, SIGNUP_SHARE
from user_engagement.insights.decomposition import (
    BEHAVIOUR,
    INNER_MIX,
    METRICS,
    MIX,
    NEW_USER_METRICS,
    TENURE,
    TOTAL,
    contrasts,
    decompose,
    dimensions_of,
)
from user_engagement.insights.statistics import ALPHA, Z, benjamini_hochberg, two_sided

LEAST_EFFECT = 0.01
"""Of the users, or of the active days, that were there to lose: smaller effects are not worth a sentence."""
MOST_PEELED = 3
"""Groups found per metric, each among the users that are not in those before it."""
MOST_FINDINGS = 10
HEADLINE, NO_CHANGE = "headline", "no_change"
COLUMNS = [
    *("rank", "kind", "metric", "segment_name", "segment_value", "direction", "is_adverse"),
    *("since", "since_low", "since_high", "effect", "ci_low", "ci_high", "change", "share_of_change"),
    *("value_before", "value_after", "users_before", "users_after", "q_value", "finding", "next_step"),
]
WORDS = {
    "activation": "coming back in the first week",
    "new_user_retention": "activity of new users on days 28 to 55",
    "retention": "staying active from one 4-week period to the next",
    "churn": "churn within 4 weeks",
    "frequency": "active days in 4 weeks per active user",
}


@dataclass(frozen=True)
class Evidence:
    """What a test of one possible finding looked at; `is_rest` if it is of those whom groups before it left."""

    kind: str
    metric: str
    segment_name: str
    segment_value: str
    effect: float
    error: float
    value_before: float
    value_after: float
    users_before: int
    users_after: int
    is_rest: bool = False

    @property
    def p_value(self) -> float:
        return float(two_sided(self.effect / self.error)) if self.error > 0 else 1.0


def decline_brief(
    period_cells: pd.DataFrame,
    decomposition: pd.DataFrame,
    changes: pd.DataFrame,
    growth: pd.DataFrame,
    periods: pd.DataFrame,
    dimensions: list[str],
    seed: int,
) -> pd.DataFrame:
    """Ranked findings on why engagement changed.

    Args:
        period_cells: as for `decompose`.
        decomposition: of these cells.
        changes: change points of the same metrics and segments, and of `signup_share`.
        growth: growth accounting of the change, one row per segment.
        periods: rows `before` and `after` with first_day, last_day and first_signup_day; none if the history is
            too short to compare.
        dimensions: of the cells.

    Returns:
        One row per finding, harmful ones first, then by the share of users or active days lost. `effect` is in the
        metric's unit, `share_of_change` relative to the metric's change. Without findings the first row says so. Then
        come harmful changes of the users' tenure, and last the headline: the growth accounting of weekly active users.
    """
    if periods.empty:
        return _table([_nothing("There is not enough history to compare two periods: 16 weeks are needed.")])
    found = []
    totals = decomposition[decomposition.effect == TOTAL].drop_duplicates("metric").set_index("metric")
    mixes = list(_mixes(decomposition, dimensions))
    broad = contrasts(period_cells, dimensions)
    overall = {metric: _behaviour(_of(period_cells, metric), metric, mixes, seed) for metric in totals.index}
    p_values = np.concatenate(
        [[each.p_value for each in (*mixes, *overall.values())], broad.p_value.to_numpy(float)]
    )
    # what is looked at within the groups that are found is held against the level that was found for the whole family
    level = ALPHA * (benjamini_hochberg(p_values) < ALPHA).mean()
    for metric in METRICS:
        if metric in totals.index:
            found += [each for each in mixes if each.metric == metric]
            found += _peeled(_of(period_cells, metric), metric, level, mixes, dimensions, seed)
    rows = _told(found, level, totals, changes, periods) or [_nothing(_no_change(periods))]
    # as many tests as metrics with tenures, apart from the family: a company's users nearly always grow older
    ageing = [each for each in _ageing(decomposition) if _is_adverse(each)]
    aged = _told(ageing, ALPHA / len(ageing) if ageing else 0.0, totals, changes, periods)
    return _table([*rows[:MOST_FINDINGS], *aged, *_headline(growth)])


def markdown(brief: pd.DataFrame, as_of: date) -> str:
    """The brief as a Markdown list, most important first."""
    head = f"**Why engagement changed**, as of {as_of.isoformat()}"
    findings = [
        f"{row.rank}. {row.finding}" + (f" _{row.next_step}_" if row.next_step else "")
        for row in brief.itertuples()
    ]
    return "\n".join([head, "", *findings, ""])


# -- what may be found -------------------------------------------------------------------------------------


def _told(
    found: list[Evidence], level: float, totals: pd.DataFrame, changes: pd.DataFrame, periods: pd.DataFrame
) -> list[dict[str, object]]:
    """Rows of what is significant at the level and large enough to matter, harmful ones first, then by size."""
    rows = []
    for each in found:
        total = totals.loc[each.metric]
        there = _there_to_lose(each.metric, float(total.value_before))
        if each.p_value <= level and abs(each.effect) >= LEAST_EFFECT * there:
            q_value = each.p_value * ALPHA / level
            rows.append(_row(each, float(total.contribution), there, q_value, changes, periods))
    return sorted(rows, key=lambda row: (not row["is_adverse"], -row["size"]))


def _is_adverse(each: Evidence) -> bool:
    return (each.effect < 0) != (each.metric == "churn")


def _of(cells: pd.DataFrame, metric: str) -> pd.DataFrame:
    return cells[cells.metric == metric]


def _there_to_lose(metric: str, value: float) -> float:
    """Users who stay, for a rate of leaving; else the metric itself."""
    return 1 - value if metric == "churn" else value


def _error(low: float, high: float) -> float:
    return (high - low) / (2 * Z)


def _mixes(decomposition: pd.DataFrame, dimensions: list[str]) -> Iterator[Evidence]:
    """The mix of each dimension, within tenure where there is any, named after the value whose share changed most."""
    for metric, of_metric in decomposition.groupby("metric", sort=False):
        summed = of_metric.segment_value == EVERYBODY
        for name in dimensions_of(str(metric), dimensions):
            if name == TENURE:
                continue
            if metric in NEW_USER_METRICS:
                chosen = (of_metric.dimension == name) & of_metric.inner_dimension.isna()
                row = of_metric[summed & chosen & (of_metric.effect == MIX)]
            else:
                chosen = (of_metric.dimension == TENURE) & (of_metric.inner_dimension == name)
                row = of_metric[summed & chosen & (of_metric.effect == INNER_MIX)]
            values = of_metric[
                ~summed
                & (of_metric.dimension == name)
                & (of_metric.effect == MIX)
                & (np.sign(of_metric.contribution) == np.sign(row.contribution.sum()))
            ]
            if len(row) and len(values):
                yield _mix(str(metric), name, row.iloc[0], values)


def _ageing(decomposition: pd.DataFrame) -> Iterator[Evidence]:
    """The mix of tenures of each metric that has any."""
    mixes = decomposition[
        (decomposition.dimension == TENURE)
        & decomposition.inner_dimension.isna()
        & (decomposition.effect == MIX)
    ]
    for metric, of_metric in mixes.groupby("metric", sort=False):
        summed = of_metric.segment_value == EVERYBODY
        yield _mix(str(metric), TENURE, of_metric[summed].iloc[0], of_metric[~summed])


def _mix(metric: str, name: str, effect: pd.Series, values: pd.DataFrame) -> Evidence:
    # of two whose shares changed alike, the one that grew
    moved = (values.share_after - values.share_before).round(9)
    value = values.loc[(moved.abs() + 1e-12 * moved).idxmax()]
    return Evidence(
        kind=MIX,
        metric=metric,
        segment_name=name,
        segment_value=str(value.segment_value),
        effect=float(effect.contribution),
        error=_error(effect.ci_low, effect.ci_high),
        value_before=float(value.share_before),
        value_after=float(value.share_after),
        users_before=int(effect.users_before),
        users_after=int(effect.users_after),
    )


def _behaviour(cells: pd.DataFrame, metric: str, mixes: list[Evidence], seed: int) -> Evidence:
    """The change of behaviour of the users of some cells, net of tenure and of the dimension with most mix."""
    most = max(
        (each for each in mixes if each.metric == metric), key=lambda each: abs(each.effect), default=None
    )
    adjusted = [*([TENURE] if metric not in NEW_USER_METRICS else []), *([most.segment_name] if most else [])]
    if not adjusted:
        cells, adjusted = cells.assign(**{EVERYBODY: EVERYBODY}), [EVERYBODY]
    table = decompose(cells, adjusted, seed)
    inner = table.inner_dimension == adjusted[1] if len(adjusted) > 1 else table.inner_dimension.isna()
    row = table[(table.dimension == adjusted[0]) & inner & (table.effect == BEHAVIOUR)].iloc[0]
    return Evidence(
        kind=BEHAVIOUR,
        metric=metric,
        segment_name=EVERYBODY,
        segment_value=EVERYBODY,
        effect=float(row.contribution),
        error=_error(row.ci_low, row.ci_high),
        value_before=float(row.value_before),
        value_after=float(row.value_after),
        users_before=int(row.users_before),
        users_after=int(row.users_after),
    )


def _peeled(
    cells: pd.DataFrame,
    metric: str,
    level: float,
    mixes: list[Evidence],
    dimensions: list[str],
    seed: int,
) -> Iterator[Evidence]:
    """The group that departs most from the others, then the one that does among these, and so on; last, all left.

    A group's effect is what it adds to the metric by having moved further than the others, that of those left is
    what the metric would have moved by had all acted as they did.
    """
    left = everybody = pooled(cells, dimensions_of(metric, dimensions))
    for _ in range(MOST_PEELED):
        table = contrasts(left, dimensions)
        table = table[(table.p_value <= level) & (table.contrast * table.behaviour > 0)]
        if table.empty:
            break
        best = table.loc[table.p_value.idxmin()]
        in_group = left[best.segment_name] == best.segment_value
        share = _mean_share(left[in_group], everybody)
        yield Evidence(
            kind=BEHAVIOUR,
            metric=metric,
            segment_name=best.segment_name,
            segment_value=best.segment_value,
            effect=best.contrast * share,
            error=_error(best.ci_low, best.ci_high) * share,
            value_before=best.value_before,
            value_after=best.value_after,
            users_before=int(best.users_before),
            users_after=int(best.users_after),
        )
        left = left[~in_group]
    if set(left.period) == {BEFORE, AFTER}:
        yield replace(_behaviour(left, metric, mixes, seed), is_rest=len(left) < len(everybody))


def _mean_share(cells: pd.DataFrame, everybody: pd.DataFrame) -> float:
    shares = cells.groupby("period").users.sum() / everybody.groupby("period").users.sum()
    return float(shares.reindex([BEFORE, AFTER], fill_value=0).mean())


# -- words -------------------------------------------------------------------------------------------------


def _row(
    each: Evidence, change: float, there: float, q_value: float, changes: pd.DataFrame, periods: pd.DataFrame
) -> dict[str, object]:
    since = _since(each, changes, periods)
    row = {
        "kind": each.kind,
        "metric": each.metric,
        "segment_name": each.segment_name,
        "segment_value": each.segment_value,
        "direction": "down" if each.effect < 0 else "up",
        "is_adverse": _is_adverse(each),
        **since,
        "effect": each.effect,
        "ci_low": each.effect - Z * each.error,
        "ci_high": each.effect + Z * each.error,
        "change": change,
        "share_of_change": each.effect / change if change else np.nan,
        "value_before": each.value_before,
        "value_after": each.value_after,
        "users_before": each.users_before,
        "users_after": each.users_after,
        "q_value": q_value,
        "size": abs(each.effect) / there,
        "is_rest": each.is_rest,
    }
    return {**row, "finding": _sentence(row), "next_step": _next_step(row)}


def _since(each: Evidence, changes: pd.DataFrame, periods: pd.DataFrame) -> dict[str, object]:
    """When the group's series broke, if it may have between the periods, and did in the same direction.

    A group is held against the others, so that what happened to everybody does not date its own departure.
    """
    is_mix = each.kind == MIX
    moved = each.value_after - each.value_before if is_mix else each.effect
    bounds = periods.set_index("period")
    first = "first_signup_day" if is_mix or each.metric in NEW_USER_METRICS else "first_day"
    against = OTHERS if each.kind == BEHAVIOUR and each.segment_name != EVERYBODY else OWN
    found = changes[
        (changes.against == against)
        & (changes.metric == (SIGNUP_SHARE if is_mix else each.metric))
        & (changes.segment_name == each.segment_name)
        & (changes.segment_value == each.segment_value)
        & (changes.p_value < ALPHA)
        & (np.sign(changes.relative_change.astype(float)) == np.sign(moved))
        & (pd.to_datetime(changes.change_high) >= pd.Timestamp(bounds[first]["before"]))
        & (pd.to_datetime(changes.change_low) <= pd.Timestamp(bounds.last_day["after"]))
    ]
    if found.empty:
        return {"since": None, "since_low": None, "since_high": None}
    row = found.iloc[0]
    return {"since": row.change_week, "since_low": row.change_low, "since_high": row.change_high}


def _amount(metric: str, value: float) -> str:
    return f"{value:.1f}" if metric == "frequency" else f"{100 * value:.1f} %"


def _effect(metric: str, row: dict[str, object]) -> str:
    scale, unit = (1, "days") if metric == "frequency" else (100, "points")
    effect, low, high = (float(str(row[name])) * scale for name in ("effect", "ci_low", "ci_high"))
    return f"{effect:+.1f} {unit} (95 % interval {low:+.1f} to {high:+.1f})"


def _group(row: dict[str, object]) -> str:
    name = str(row["segment_name"])
    if name == TENURE:
        return f"of tenure {row['segment_value']}"
    if name == EVERYBODY:
        return "all other users" if row["is_rest"] else "all users"
    return f"{name} {row['segment_value']}"


def _when(row: dict[str, object]) -> str:
    if row["since"] is None:
        return "no single week stands out as its beginning"
    return f"since the week of {pd.Timestamp(str(row['since'])).date().isoformat()}"


def _sentence(row: dict[str, object]) -> str:
    metric = str(row["metric"])
    numbers = f"n = {row['users_before']:,} and {row['users_after']:,}"
    share = 100 * float(str(row["share_of_change"]))
    explains = (
        f"{_effect(metric, row)}, {share:.0f} % of the change" if np.isfinite(share) else _effect(metric, row)
    )
    if row["kind"] == MIX:
        before, after = (f"{100 * float(str(row[name])):.0f} %" for name in ("value_before", "value_after"))
        grew = "more" if float(str(row["value_after"])) > float(str(row["value_before"])) else "fewer"
        return (
            f"Mix: {grew} of the users are {_group(row)} ({before} to {after}), {_when(row)}. "
            f"That goes with {explains} in {WORDS[metric]}; {numbers}."
        )
    before, after = (_amount(metric, float(str(row[name]))) for name in ("value_before", "value_after"))
    if row["segment_name"] == EVERYBODY:
        return (
            f"Behaviour: {WORDS[metric]} went {row['direction']} for {_group(row)} ({before} to {after}), "
            f"{_when(row)}. At equal tenure and mix that is {explains}; {numbers}."
        )
    return (
        f"Behaviour: {WORDS[metric]} went {row['direction']} for {_group(row)} ({before} to {after}) by more than for "
        f"others, {_when(row)}. At equal tenure the difference makes {explains}; {numbers}."
    )


def _next_step(row: dict[str, object]) -> str:
    around = "" if row["since"] is None else f" around {pd.Timestamp(str(row['since'])).date().isoformat()}"
    if row["segment_name"] == TENURE:
        return (
            "That users grow older or younger is the trace of earlier signups: look at how these developed."
        )
    if row["kind"] == MIX:
        return f"Look at what brings {_group(row)}{around}, and whether these users are worth what they cost."
    if not row["is_adverse"]:
        return f"Find out what improved for {_group(row)}{around}, and whether it can be done elsewhere."
    if row["metric"] in NEW_USER_METRICS:
        return f"Look at what new users meet in their first days: what changed{around}?"
    return f"Look at what changed for {_group(row)}{around}: releases, prices, campaigns, outages."


def _no_change(periods: pd.DataFrame) -> str:
    bounds = periods.set_index("period")
    days = [pd.Timestamp(bounds.last_day[name]).date().isoformat() for name in (BEFORE, AFTER)]
    return (
        f"No significant change: between the periods that end on {days[0]} and {days[1]}, at equal tenure, "
        "no group of users changed in number or behaviour by more than chance explains."
    )


def _nothing(finding: str) -> dict[str, object]:
    return {"kind": NO_CHANGE, "finding": finding, "next_step": ""}


def _headline(growth: pd.DataFrame) -> Iterator[dict[str, object]]:
    for row in growth[growth.segment_name == EVERYBODY].itertuples():
        weeks = [pd.Timestamp(str(day)).date().isoformat() for day in (row.before_week, row.after_week)]
        yield {
            "kind": HEADLINE,
            "metric": "weekly_active_users",
            "segment_name": EVERYBODY,
            "segment_value": EVERYBODY,
            "direction": "down" if row.change < 0 else "up",
            "is_adverse": bool(row.change < 0),
            "effect": float(row.change),
            "change": float(row.change),
            "share_of_change": 1.0,
            "value_before": float(row.active_before),
            "value_after": float(row.active_after),
            "users_before": row.active_before,
            "users_after": row.active_after,
            "finding": (
                f"Weekly active users went from {row.active_before:,} (week of {weeks[0]}) to {row.active_after:,} "
                f"(week of {weeks[1]}): {row.new_users:,} new + {row.resurrected_users:,} back - "
                f"{row.churned_users:,} lost. Of a week's active users {100 * row.loss_rate_before:.1f} % were absent "
                f"in the next before, {100 * row.loss_rate_after:.1f} % after (difference "
                f"{100 * row.loss_rate_change:+.1f} points, {100 * row.ci_low:+.1f} to {100 * row.ci_high:+.1f})."
            ),
            "next_step": "",
        }


def _table(rows: list[dict[str, object]]) -> pd.DataFrame:
    return pd.DataFrame(rows).reindex(columns=COLUMNS).assign(rank=np.arange(1, len(rows) + 1))
