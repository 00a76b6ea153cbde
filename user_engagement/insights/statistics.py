"""The few formulas that several insights share. All are vectorised over numpy arrays."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from user_engagement.insights.cells import LEAST_USERS

Z = float(stats.norm.ppf(0.975))
ALPHA = 0.05
"""Level of every test and interval."""

Floats = NDArray[np.float64]


def benjamini_hochberg(p_values: ArrayLike) -> Floats:
    """Adjusted p-values; null p-values are tests that were not made, and stay null.

    Benjamini & Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x.
    """
    p = np.asarray(p_values, dtype=float)
    adjusted = np.full(p.shape, np.nan)
    made = ~np.isnan(p)
    if made.any():
        adjusted[made] = multipletests(p[made], method="fdr_bh")[1]
    return adjusted


def rate_with_interval(numerator: ArrayLike, denominator: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Rate, lower and upper 95 % bound; null over nothing.

    Below 100 users the interval is exact (Clopper & Pearson 1934, doi:10.1093/biomet/26.4.404), from 100 on that of
    Wilson 1927, doi:10.1080/01621459.1927.10502953.
    """
    count, nobs = np.asarray(numerator, dtype=float), np.asarray(denominator, dtype=float)
    known = np.where(nobs > 0, nobs, np.nan)
    exact, score = (np.asarray(proportion_confint(count, known, method=name)) for name in ("beta", "wilson"))
    low, high = np.where(nobs < LEAST_USERS, exact, score)
    return count / known, low, high


def newcombe(
    count_1: ArrayLike, nobs_1: ArrayLike, count_2: ArrayLike, nobs_2: ArrayLike
) -> tuple[Floats, Floats, Floats]:
    """Difference of two independent rates, first less second, with its 95 % interval; null over nothing.

    Method 10 of Newcombe 1998, doi:10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I.
    """
    first, second = (np.asarray(count, dtype=float) for count in (count_1, count_2))
    of_first, of_second = (np.where(np.asarray(nobs) > 0, nobs, np.nan) for nobs in (nobs_1, nobs_2))
    low, high = confint_proportions_2indep(first, of_first, second, of_second, method="newcomb")
    return first / of_first - second / of_second, np.asarray(low), np.asarray(high)


def two_sided(z: ArrayLike) -> Floats:
    """p-value of a standard normal statistic."""
    return 2 * stats.norm.sf(np.abs(np.asarray(z, dtype=float)))


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> Floats:
    """Quotient, null where there is nothing to divide by."""
    top, bottom = np.asarray(numerator, dtype=float), np.asarray(denominator, dtype=float)
    return np.divide(top, bottom, out=np.full(np.broadcast(top, bottom).shape, np.nan), where=bottom != 0)


def ranked(table: pd.DataFrame, by: str, within: str, ascending: bool) -> pd.Series:
    """Ranks from 1 within groups, ties by row order."""
    return table.groupby(within)[by].rank(method="first", ascending=ascending).astype("Int64")
