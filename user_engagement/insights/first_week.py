"""What do users who stay do first? Behaviours of days 0 to 6 against activity on days 28 to 55.

An association: keen users do more in their first week and stay longer, whatever is done to them. Whether making
others do the same would keep them, only an experiment says.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from user_engagement.insights.cells import EVERYBODY
from user_engagement.insights.statistics import (
    ALPHA,
    Floats,
    Z,
    benjamini_hochberg,
    newcombe,
    rate_with_interval,
    ratio,
    two_sided,
)

OUTCOME = "active on days 28 to 55"
READING = "association"
LEAST_EACH = 20
"""Users with and without a behaviour, below which it is not looked at."""
COLUMNS = [
    *("behaviour", "outcome", "users_with", "retained_with", "rate_with"),
    *("users_without", "retained_without", "rate_without", "difference", "ci_low", "ci_high"),
    *("adjusted_difference", "adjusted_low", "adjusted_high", "p_value", "q_value", "is_significant"),
    *("rank", "reading"),
]


def first_week(first_week_cells: pd.DataFrame) -> pd.DataFrame:
    """Each first-week behaviour against later retention.

    Args:
        first_week_cells: users and retained users who showed a behaviour, by behaviour, segment_cell and
            signup_month; the behaviour `all` has everybody.

    Returns:
        One row per behaviour that at least 20 users showed and 20 did not: both groups' users and rates, the
        difference of the rates with Newcombe's interval, the same adjusted for segments and month of signup by
        Mantel-Haenszel, and the p-value of the Cochran-Mantel-Haenszel test, Benjamini-Hochberg adjusted in
        q_value. Differences are in [-1, 1]; rank is by the adjusted one, largest first.
    """
    strata = ["segment_cell", "signup_month"]
    counts = first_week_cells.set_index(["behaviour", *strata])[["users", "retained"]]
    everybody = counts.loc[EVERYBODY] if EVERYBODY in counts.index.unique(0) else counts.iloc[:0]
    rows = []
    for behaviour in counts.index.unique(0).drop(EVERYBODY, errors="ignore"):
        did = counts.loc[behaviour].reindex(everybody.index, fill_value=0)
        did_not = everybody - did
        if min(did.users.sum(), did_not.users.sum()) >= LEAST_EACH:
            rows.append({"behaviour": behaviour, **_compared(did, did_not)})
    table = pd.DataFrame(rows, columns=COLUMNS)
    table["q_value"] = benjamini_hochberg(table.p_value.astype(float))
    table["is_significant"] = table.q_value < ALPHA
    table = table.sort_values(by=["adjusted_difference", "behaviour"], ascending=[False, True])
    return table.assign(rank=np.arange(1, len(table) + 1), outcome=OUTCOME, reading=READING).reset_index(
        drop=True
    )


def first_week_retention(first_week_curves: pd.DataFrame) -> pd.DataFrame:
    """Activity in the weeks after the first, of users with and without each first-week behaviour.

    Args:
        first_week_curves: eligible_users and retained_users by behaviour, signup_month and week_number; the behaviour
            `all` has everybody.

    Returns:
        One row per behaviour, showed_it and week_number with anybody eligible; of `all` only users who showed it.
        retention_rate is in [0, 1], with its interval.
    """
    counts = first_week_curves.groupby(["behaviour", "week_number"])[
        ["eligible_users", "retained_users"]
    ].sum()
    everybody = counts.loc[[EVERYBODY]].droplevel("behaviour")
    others = counts.drop(EVERYBODY, level="behaviour", errors="ignore")
    without = everybody.reindex(others.index, level="week_number") - others
    table = pd.concat([counts.assign(showed_it=True), without.assign(showed_it=False)]).reset_index()
    table = table[table.eligible_users > 0]
    rate, low, high = rate_with_interval(table.retained_users, table.eligible_users)
    table = table.assign(retention_rate=rate, ci_low=low, ci_high=high)
    return table.sort_values(["behaviour", "showed_it", "week_number"], ascending=[True, False, True])


def _compared(did: pd.DataFrame, did_not: pd.DataFrame) -> dict[str, object]:
    a, n1 = did.retained.to_numpy(float), did.users.to_numpy(float)
    c, n0 = did_not.retained.to_numpy(float), did_not.users.to_numpy(float)
    difference, low, high = newcombe(a.sum(), n1.sum(), c.sum(), n0.sum())
    adjusted, error = mantel_haenszel(a, n1, c, n0)
    return {
        "users_with": int(n1.sum()),
        "retained_with": int(a.sum()),
        "rate_with": a.sum() / n1.sum(),
        "users_without": int(n0.sum()),
        "retained_without": int(c.sum()),
        "rate_without": c.sum() / n0.sum(),
        "difference": float(difference),
        "ci_low": float(low),
        "ci_high": float(high),
        "adjusted_difference": adjusted,
        "adjusted_low": adjusted - Z * error,
        "adjusted_high": adjusted + Z * error,
        "p_value": cochran_mantel_haenszel(a, n1, c, n0),
    }


def mantel_haenszel(a: Floats, n1: Floats, c: Floats, n0: Floats) -> tuple[float, float]:
    """Common difference of rates over strata, and its standard error; null where no stratum has both groups.

    Args:
        a, n1: events and users of the one group in each stratum.
        c, n0: of the other.

    Greenland & Robins 1985, doi:10.2307/2530643.
    """
    both = (n1 > 0) & (n0 > 0)
    a, n1, c, n0 = a[both], n1[both], c[both], n0[both]
    n = n1 + n0
    weight = float((n1 * n0 / n).sum())
    difference = ratio((a * n0 / n - c * n1 / n).sum(), weight)
    variance = (a * (n1 - a) * n0**3 + c * (n0 - c) * n1**3) / (n1 * n0 * n**2)
    return float(difference), float(ratio(np.sqrt(variance.sum()), weight))


def cochran_mantel_haenszel(a: Floats, n1: Floats, c: Floats, n0: Floats) -> float:
    """p-value of equal rates in every stratum, without continuity correction; null if nothing can differ.

    Cochran 1954, doi:10.2307/3001616; Mantel & Haenszel 1959, doi:10.1093/jnci/22.4.719.
    """
    n, m1 = n1 + n0, a + c
    many = n > 1
    a, n1, n0, n, m1 = a[many], n1[many], n0[many], n[many], m1[many]
    expected = n1 * m1 / n
    variance = n1 * n0 * m1 * (n - m1) / (n**2 * (n - 1))
    return float(two_sided(ratio((a - expected).sum(), np.sqrt(variance.sum()))))
