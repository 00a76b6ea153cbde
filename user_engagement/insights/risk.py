"""Who is at risk? Active users by the probability of doing nothing in the next 28 days.

A logistic regression on recency and frequency, each against the user's own habit, fitted on past days and judged on a
later one that it has not seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from scipy.optimize import minimize
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_linear_model import GLM
from statsmodels.tools import add_constant

from user_engagement.insights.statistics import Floats, Z, rate_with_interval, ratio

LEAST_OUTCOMES = 50
"""Users of each outcome to fit on; with fewer nothing is predicted."""
MOST_LISTED = 500
RIDGE = 1e-3
"""Keeps coefficients finite where an outcome can be told perfectly."""
FITTED_BACK, EVALUATED_BACK = (56, 84), 28
TOP_SHARE = 0.10

EVALUATION_COLUMNS = [
    *("measure", "value", "ci_low", "ci_high", "users", "inactive_users", "fitted_on", "evaluated_on")
]
CALIBRATION_COLUMNS = ["decile", "users", "predicted_rate", "observed_rate", "ci_low", "ci_high"]
LIST_COLUMNS = [
    *("rank", "user_number", "probability", "days_since_last_active", "usual_gap_days"),
    *("active_days_28", "tenure_days", "reason"),
]
CELL_COLUMNS = ["segment_cell", "users", "expected_inactive"]
GROUP_COLUMNS = ["segment_name", "segment_value", "users", "expected_inactive", "expected_rate"]


@dataclass(frozen=True)
class Risk:
    """`evaluation` per measure, `calibration` per decile of predicted risk, `listed` per user at risk.

    `cells` holds users and expected_inactive (the sum of their probabilities) per segment_cell.
    """

    evaluation: pd.DataFrame
    calibration: pd.DataFrame
    listed: pd.DataFrame
    cells: pd.DataFrame


def risk(risk_features: pd.DataFrame, as_of: pd.Timestamp) -> Risk:
    """Predictions for the users who were active in the 28 days up to `as_of`.

    Args:
        risk_features: one row per cutoff and user active in the 28 days up to it: segment_cell, days_since_last_active,
            active_span_days (first to last active day), active_days, active_days_28, tenure_days, and
            is_inactive_later, null on `as_of` itself. Cutoffs are 0, 28, 56 and 84 days before `as_of`; the model is
            fitted on the last two, whose outcomes end before the one that it is judged on begins its own.

    Returns:
        Empty tables where either outcome is too rare to fit on.
    """
    days_back = (as_of - pd.to_datetime(risk_features.cutoff)).dt.days
    outcome = risk_features.is_inactive_later.astype(float)
    fitted, evaluated, current = days_back.isin(FITTED_BACK), days_back == EVALUATED_BACK, days_back == 0
    each = outcome[fitted].value_counts()
    if len(each) < 2 or each.min() < LEAST_OUTCOMES or outcome[evaluated].nunique() < 2:
        return Risk(
            *(
                pd.DataFrame(columns=c)
                for c in (EVALUATION_COLUMNS, CALIBRATION_COLUMNS, LIST_COLUMNS, CELL_COLUMNS)
            )
        )
    design = _design(risk_features)
    scale = design[fitted].std(axis=0)
    centre = design[fitted].mean(axis=0)
    design = add_constant((design - centre) / np.where(scale > 0, scale, 1), has_constant="add")
    probability = 1 / (1 + np.exp(-design @ coefficients(design[fitted], outcome[fitted].to_numpy())))
    return Risk(
        evaluation=_evaluation(
            probability[evaluated],
            risk_features.days_since_last_active[evaluated].to_numpy(float),
            outcome[evaluated].to_numpy(),
        ).assign(
            fitted_on=as_of - pd.Timedelta(days=min(FITTED_BACK)),
            evaluated_on=as_of - pd.Timedelta(days=EVALUATED_BACK),
        ),
        calibration=calibration(probability[evaluated], outcome[evaluated].to_numpy()),
        listed=_listed(risk_features[current], probability[current]),
        cells=risk_features[current]
        .assign(probability=probability[current])
        .groupby("segment_cell", as_index=False)
        .agg(users=("probability", "size"), expected_inactive=("probability", "sum")),
    )


def coefficients(design: Floats, outcome: Floats) -> Floats:
    """Logistic regression with a ridge penalty, by Newton's method; shape (columns,)."""
    model = GLM(outcome, design, family=Binomial())
    users, columns = design.shape
    return minimize(
        lambda each: RIDGE * each @ each / 2 - model.loglike(each) / users,
        np.zeros(columns),
        jac=lambda each: RIDGE * each - model.score(each) / users,
        hess=lambda each: RIDGE * np.eye(columns) - model.hessian(each) / users,
        method="Newton-CG",
    ).x


def risk_groups(cells: pd.DataFrame, segment_values: pd.DataFrame) -> pd.DataFrame:
    """Where the users at risk are: active users and how many of them are expected to become inactive, by group.

    Args:
        cells: as `Risk.cells`.
        segment_values: one row per segment_cell and segment_name, `all` included, with segment_value.

    Returns:
        One row per segment value, `all` for everybody; the values of a segment add up to that. expected_rate is in
        [0, 1].
    """
    keys = ["segment_name", "segment_value"]
    groups = segment_values.merge(cells, on="segment_cell").groupby(keys, as_index=False)
    table = groups[["users", "expected_inactive"]].sum()
    return table.assign(expected_rate=ratio(table.expected_inactive, table.users))[GROUP_COLUMNS]


def usual_gap(features: pd.DataFrame) -> pd.Series:
    """Mean days between a user's active days; null for users with one."""
    return (features.active_span_days / (features.active_days - 1)).where(features.active_days > 1)


def _design(features: pd.DataFrame) -> Floats:
    gap = usual_gap(features).fillna(28.0).clip(lower=1)
    recency = features.days_since_last_active
    return np.column_stack(
        [
            np.log1p(recency),
            recency,
            np.log(gap),
            np.log1p(recency / gap),
            np.log(features.active_days_28),
            np.log(features.active_days),
            np.log1p(features.tenure_days),
            features.active_days == 1,
        ]
    ).astype(float)


def area_under_curve(score: Floats, outcome: Floats) -> tuple[float, float]:
    """AUC (the probability that a positive scores above a negative, ties half) and its standard error.

    DeLong, DeLong & Clarke-Pearson 1988, doi:10.2307/2531595, with midranks (Sun & Xu 2014,
    doi:10.1109/LSP.2014.2337313).
    """
    positive = outcome == 1
    m, n = int(positive.sum()), int((~positive).sum())
    overall = stats.rankdata(score)
    above = (overall[positive] - stats.rankdata(score[positive])) / n
    below = 1 - (overall[~positive] - stats.rankdata(score[~positive])) / m
    return float(above.mean()), float(np.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n))


def calibration(probability: Floats, outcome: Floats) -> pd.DataFrame:
    """Mean prediction, and observed share with its interval, by decile of the prediction (1 is the lowest)."""
    order = stats.rankdata(probability, method="ordinal") - 1
    cells = pd.DataFrame(
        {"decile": (order * 10 // len(order)).astype(int) + 1, "p": probability, "y": outcome}
    )
    sums = cells.groupby("decile").agg(users=("y", "size"), predicted_rate=("p", "mean"), y=("y", "sum"))
    observed, low, high = rate_with_interval(sums.y, sums.users)
    return sums.assign(observed_rate=observed, ci_low=low, ci_high=high).reset_index()[CALIBRATION_COLUMNS]


def _evaluation(probability: Floats, recency: Floats, outcome: Floats) -> pd.DataFrame:
    users, inactive = len(outcome), int(outcome.sum())
    base, base_low, base_high = rate_with_interval(inactive, users)
    top = probability >= np.quantile(probability, 1 - TOP_SHARE)
    lift, low, high = (each / base for each in rate_with_interval(outcome[top].sum(), top.sum()))
    squared = (probability - outcome) ** 2
    error = squared.std(ddof=1) / np.sqrt(users)
    flat = (base - outcome) ** 2
    flat_error = flat.std(ddof=1) / np.sqrt(users)
    rows = {
        "auc": _with_interval(*area_under_curve(probability, outcome)),
        "auc_recency_alone": _with_interval(*area_under_curve(recency, outcome)),
        "lift_top_decile": (lift, low, high),
        "brier_score": _with_interval(squared.mean(), error),
        "brier_score_base_rate": _with_interval(flat.mean(), flat_error),
        "base_rate": (base, base_low, base_high),
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["value", "ci_low", "ci_high"], dtype=float)
    return table.rename_axis("measure").reset_index().assign(users=users, inactive_users=inactive)


def _with_interval(value: float, error: float) -> tuple[float, float, float]:
    return value, value - Z * error, value + Z * error


def _listed(features: pd.DataFrame, probability: Floats) -> pd.DataFrame:
    table = features.assign(probability=probability, usual_gap_days=usual_gap(features))
    table = table.sort_values(by=["probability", "user_number"], ascending=[False, True]).head(MOST_LISTED)
    silent = table.days_since_last_active.astype(int).astype(str)
    late = ratio(table.days_since_last_active, table.usual_gap_days)
    usual = table.usual_gap_days.round(1).astype(str)
    reason = np.where(
        table.active_days == 1,
        "active on one day only, " + silent + " days ago",
        np.where(
            late > 1,
            "silent for " + silent + " days, usually back after " + usual,
            "rarely active: every " + usual + " days",
        ),
    )
    return table.assign(reason=reason, rank=np.arange(1, len(table) + 1))[LIST_COLUMNS].reset_index(drop=True)
