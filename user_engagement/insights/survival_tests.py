"""Is the difference real? Survival of segments compared: log-rank tests, Cox regression, hazard by tenure."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.duration.hazard_regression import PHReg

from user_engagement.insights.cells import OTHER, TENURES, pooled
from user_engagement.insights.statistics import ALPHA, Floats, Z, benjamini_hochberg, ratio, two_sided

MOST_ROWS = 4_000
"""Users in a Cox regression, drawn at random where there are more: it costs their number squared."""
TENURE_STARTS = (0, 7, 28, 84, 182, 273, 364)
HAZARD_DAYS = 28

TEST_COLUMNS = [
    *("churn_kind", "segment_name", "compared_values", "users", "churned"),
    *("statistic", "degrees_of_freedom", "p_value", "q_value", "is_significant"),
]
RATIO_COLUMNS = [
    *("churn_kind", "segment_name", "segment_value", "reference_value", "hazard_ratio", "ci_low", "ci_high"),
    *("p_value", "q_value", "is_significant", "proportionality_p_value", "users", "churned"),
]
HAZARD_COLUMNS = [
    *("churn_kind", "segment_name", "segment_value", "tenure", "tenure_days", "user_days", "churned"),
    *("hazard", "ci_low", "ci_high"),
]


def survival_tests(survival_cells: pd.DataFrame, dimensions: list[str]) -> pd.DataFrame:
    """Log-rank tests of equal survival in the values of each segment.

    Args:
        survival_cells: users by churn_kind, days_since_signup (of churn, or of the last observed day), is_churned
            and the dimensions.

    Returns:
        One row per churn_kind and segment_name with at least two values (those with fewer than 100 users pooled):
        chi-square statistic, degrees_of_freedom, p_value, and q_value, Benjamini-Hochberg over the table.
    """
    rows = []
    for kind, cells in survival_cells.groupby("churn_kind"):
        for name in dimensions:
            named = pooled(cells, [name])
            churned = named.users.where(named.is_churned, 0)
            statistic, freedom = log_rank(
                named[name].to_numpy(),
                named.days_since_signup.to_numpy(),
                named.is_churned.to_numpy(bool),
                named.users.to_numpy(float),
            )
            if freedom:
                rows.append(
                    {
                        "churn_kind": kind,
                        "segment_name": name,
                        "compared_values": freedom + 1,
                        "users": int(named.users.sum()),
                        "churned": int(churned.sum()),
                        "statistic": statistic,
                        "degrees_of_freedom": freedom,
                        "p_value": float(stats.chi2.sf(statistic, freedom)),
                    }
                )
    table = pd.DataFrame(rows, columns=TEST_COLUMNS)
    table["q_value"] = benjamini_hochberg(table.p_value.astype(float))
    table["is_significant"] = table.q_value < ALPHA
    return table


def log_rank(group: np.ndarray, day: np.ndarray, is_event: np.ndarray, users: Floats) -> tuple[float, int]:
    """Chi-square statistic and degrees of freedom of the log-rank test over groups; 0 degrees for one group.

    Rows are users with one group, day and outcome. Observed less expected events, with the hypergeometric
    covariance for ties: Mantel 1966 (PMID 5910392); Peto & Peto 1972, doi:10.2307/2344317.
    """
    groups, codes = np.unique(group.astype(str), return_inverse=True)
    days, at = np.unique(day, return_inverse=True)
    events, leaving = np.zeros((len(days), len(groups))), np.zeros((len(days), len(groups)))
    np.add.at(leaving, (at, codes), users)
    np.add.at(events, (at, codes), users * is_event)
    at_risk = leaving[::-1].cumsum(axis=0)[::-1]
    happened = events.sum(1) > 0
    events, at_risk = events[happened], at_risk[happened]
    d, n = events.sum(1), at_risk.sum(1)
    excess = (events - at_risk * (d / n)[:, None]).sum(0)
    share = at_risk / n[:, None]
    scale = d * ratio(n - d, n - 1)
    scale = np.where(n > 1, scale, 0)
    covariance = np.diag((share * scale[:, None]).sum(0)) - (share * scale[:, None]).T @ share
    freedom = int(np.linalg.matrix_rank(covariance)) if len(groups) > 1 else 0
    if freedom == 0:
        return 0.0, 0
    return float(excess @ np.linalg.pinv(covariance) @ excess), freedom


def hazard_ratios(survival_cells: pd.DataFrame, dimensions: list[str], seed: int) -> pd.DataFrame:
    """Cox regression of churn on all segments at once.

    Ratios of hazards between a value and its segment's most frequent one, at equal values of the other segments.
    Values with fewer than 100 users are pooled and fitted, but not told; users of values whose ratio would be zero or
    infinite are left out.
    Cox 1972, doi:10.1111/j.2517-6161.1972.tb00899.x, ties as Efron 1977, doi:10.1080/01621459.1977.10480613. The
    proportional-hazards check correlates scaled Schoenfeld residuals with the rank of time: Grambsch & Therneau
    1994, doi:10.1093/biomet/81.3.515.

    Args:
        survival_cells: as for `survival_tests`.
        seed: of the users drawn, where there are more than 4,000.

    Returns:
        One row per churn_kind, segment_name and segment_value but the reference, with `users` and `churned` of the
        value among those in the model.
    """
    tables = [
        _cox(cells, dimensions, np.random.default_rng(seed)).assign(churn_kind=kind)
        for kind, cells in survival_cells.groupby("churn_kind")
    ]
    table = pd.concat([each for each in tables if len(each)] or [pd.DataFrame(columns=RATIO_COLUMNS)])
    table["q_value"] = benjamini_hochberg(table.p_value.astype(float))
    table["is_significant"] = table.q_value < ALPHA
    return table.reindex(columns=RATIO_COLUMNS).reset_index(drop=True)


def _cox(cells: pd.DataFrame, dimensions: list[str], rng: np.random.Generator) -> pd.DataFrame:
    counts = cells.users.to_numpy(np.int64)
    if counts.sum() > MOST_ROWS:
        counts = rng.multivariate_hypergeometric(counts, MOST_ROWS, method="marginals")
    users = cells.loc[cells.index.repeat(counts), [*dimensions, "days_since_signup", "is_churned"]]
    named = _comparable(pooled(users.assign(users=1), dimensions), dimensions)
    columns, rows, others = [], [], []
    for name in dimensions:
        values = list(named.loc[named[name] != OTHER, name].value_counts().index)
        for value in sorted(values[1:]):
            member = (named[name] == value).to_numpy()
            columns.append(member.astype(float))
            rows.append(
                {
                    "segment_name": name,
                    "segment_value": value,
                    "reference_value": values[0],
                    "users": int(member.sum()),
                    "churned": int(named.is_churned[member].sum()),
                }
            )
        others.append((named[name] == OTHER).to_numpy(float))
    if not rows:
        return pd.DataFrame(columns=RATIO_COLUMNS)
    design = _with_independent(np.column_stack(columns), others)
    # a churn on the signup day is one within it, so that nobody is at risk for no time at all
    days = named.days_since_signup.to_numpy(float) + 1
    model = PHReg(days, design, status=named.is_churned.to_numpy(int), ties="efron")
    fit = model.fit(disp=False)
    told = slice(len(rows))
    error = np.asarray(fit.bse)[told]
    effect = np.asarray(fit.params)[told]
    return pd.DataFrame(rows).assign(
        hazard_ratio=np.exp(effect),
        ci_low=np.exp(effect - Z * error),
        ci_high=np.exp(effect + Z * error),
        p_value=two_sided(effect / error),
        proportionality_p_value=proportionality(
            np.asarray(fit.schoenfeld_residuals), days, np.asarray(fit.cov_params())
        )[told],
    )


def _comparable(named: pd.DataFrame, dimensions: list[str]) -> pd.DataFrame:
    """The users without those of values whose ratio would be zero or infinite.

    That is where nobody of the value churned, or nobody else before all of the value were gone.
    """
    left = -1
    while len(named) != left:
        left = len(named)
        for name in dimensions:
            for value in sorted(named[name].unique()):
                member, churned = named[name] == value, named.is_churned.astype(bool)
                days = named.days_since_signup
                is_separate = days[~member & churned].min() > days[member].max()
                if not member.all() and (is_separate or not churned[member].any()):
                    named = named.loc[~member]
    return named


def _with_independent(design: Floats, columns: list[Floats]) -> Floats:
    """The design and those columns that it does not hold already, as the same users may be rare in two segments."""
    for column in columns:
        wider = np.column_stack([design, column])
        if np.linalg.matrix_rank(np.column_stack([wider, np.ones(len(wider))])) == wider.shape[1] + 1:
            design = wider
    return design


def proportionality(residuals: Floats, days: Floats, covariance: Floats) -> Floats:
    """p-values of ratios that do not change with tenure, one per covariate.

    Args:
        residuals: Schoenfeld's; shape (users, covariates), null for users without an event.
        days: of the users.
        covariance: of the coefficients.
    """
    happened = ~np.isnan(residuals).any(axis=1)
    scaled = residuals[happened] @ covariance * happened.sum()
    time = stats.rankdata(days[happened])
    time = time - time.mean()
    variance = happened.sum() * np.diag(covariance) * (time**2).sum()
    return stats.chi2.sf(ratio((time @ scaled) ** 2, variance), 1)


def tenure_hazards(survival_cells: pd.DataFrame, dimensions: list[str]) -> pd.DataFrame:
    """Churn per user and 28 days at risk, by days since signup.

    A user is at risk on each day from signup to churn, that day included. The interval is that of a Poisson count:
    Garwood 1936, doi:10.1093/biomet/28.3-4.437.

    Returns:
        One row per churn_kind, segment_name (`all` included), segment_value (those with fewer than 100 users of the
        kind pooled) and tenure.
    """
    starts = np.array(TENURE_STARTS)
    ends = np.append(starts[1:], np.iinfo(np.int32).max)
    # before rows are repeated, while each user counts once
    kinds = [pooled(cells, dimensions) for _, cells in survival_cells.groupby("churn_kind")]
    survival_cells = pd.concat(kinds or [survival_cells])
    days = survival_cells.days_since_signup.to_numpy()[:, None]
    users = survival_cells.users.to_numpy()[:, None]
    at_risk = users * np.clip(np.minimum(days + 1, ends) - starts, 0, None)
    churned = users * survival_cells.is_churned.to_numpy()[:, None] * ((days >= starts) & (days < ends))
    columns = pd.MultiIndex.from_product([["user_days", "churned"], starts], names=[None, "tenure_days"])
    counts = pd.DataFrame(np.column_stack([at_risk, churned]), survival_cells.index, columns)
    named = survival_cells[["churn_kind", *dimensions]].assign(all="all")
    parts = [
        counts.groupby([named.churn_kind, named[name].rename("segment_value")])
        .sum()
        .stack("tenure_days", future_stack=True)
        .reset_index()
        .assign(segment_name=name)
        for name in ("all", *dimensions)
    ]
    table = pd.concat(parts, ignore_index=True)
    table = table[table.user_days > 0]
    table["tenure"] = np.array(TENURES[1:])[np.searchsorted(starts, table.tenure_days)]
    months = table.user_days / HAZARD_DAYS
    table["hazard"] = table.churned / months
    table["ci_low"] = (
        np.where(table.churned > 0, stats.chi2.ppf(ALPHA / 2, 2 * table.churned), 0) / 2 / months
    )
    table["ci_high"] = stats.chi2.ppf(1 - ALPHA / 2, 2 * table.churned + 2) / 2 / months
    return table.reindex(columns=HAZARD_COLUMNS).reset_index(drop=True)
