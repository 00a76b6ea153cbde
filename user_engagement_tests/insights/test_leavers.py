"""Users who leave sooner, where neither cancellations nor activity alone are beyond chance."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from user_engagement.insights.analysis import company_panel
from user_engagement.insights.explain import Measures
from user_engagement.insights.leavers import find_leavers, median_week
from user_engagement.insights.names import CHURN, USE
from user_engagement.insights.scan import Explainer
from user_engagement_tests.support.counted_company import counted_company

SINCE, LEAVING = 40, 0.015


def searched(leaves: Callable[[pd.DataFrame], np.ndarray]) -> tuple[Explainer, Explainer]:
    """Use and churn of a company, with what each of them tells alone."""
    panel = company_panel(counted_company(seed=3, users=7_000, leaves=leaves), {})  # type: ignore[arg-type]
    assert panel is not None
    measures = Measures(panel)
    use, churn = Explainer(measures.to_scan(USE)), Explainer(measures.to_scan(CHURN))
    use.explain(3)
    churn.explain(3, in_everybody=False)
    return use, churn


@pytest.mark.slow
def test_a_country_whose_users_leave_sooner_is_found_where_neither_measure_alone_is_sure() -> None:
    use, churn = searched(
        lambda rows: np.where((rows.country == "DE") & (rows.week >= SINCE), 2.0, 1.0) * LEAVING
    )
    assert not use.found
    assert not churn.found
    find_leavers(use, churn)
    (change,) = churn.found
    assert change.conditions == {"country": "DE"}
    assert abs(change.since - SINCE) <= 2
    assert np.exp(change.height) == pytest.approx(2.0, rel=0.35)
    assert change.is_dated
    # it is taken out of both, so that neither finds it again
    find_leavers(use, churn)
    assert churn.found == [change]


@pytest.mark.slow
def test_users_who_leave_as_ever_are_no_finding() -> None:
    use, churn = searched(lambda rows: np.full(len(rows), LEAVING))
    find_leavers(use, churn)
    assert not use.found
    assert not churn.found


def test_of_weeks_that_are_about_as_likely_the_median_is_told() -> None:
    # e^-2 for each difference of four: weeks 5, 6 and 7 share nearly all of the likelihood
    assert median_week(np.array([0, 0, 4, 0, 16, 30, 30, 30, 16, 0.0])) == 6
    assert median_week(np.array([0, 0, 0, 40, 10, 9, 9, 9.0])) == 3
