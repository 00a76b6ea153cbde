"""Who is at risk: judged by scikit-learn's measures, on days that the model was not fitted on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from user_engagement.insights.risk import area_under_curve, calibration, risk, risk_groups

AS_OF = pd.Timestamp("2024-06-30")


def features(
    seed: int, users: int = 800, chance: Callable[[np.ndarray], np.ndarray] | None = None
) -> pd.DataFrame:
    """Users of four days, whose chance of inactivity grows with days since they were last active."""
    rng = np.random.default_rng(seed)
    parts = []
    for back in (0, 28, 56, 84):
        recency = rng.integers(0, 28, users)
        active = rng.integers(1, 20, users)
        probability = chance(recency) if chance else 1 / (1 + np.exp(3 - recency / 5))
        parts.append(
            pd.DataFrame(
                {
                    "cutoff": AS_OF - pd.Timedelta(days=back),
                    "user_number": np.arange(users),
                    "segment_cell": np.arange(users) % 3,
                    "days_since_last_active": recency,
                    "active_span_days": active * rng.integers(1, 6, users) * (active > 1),
                    "tenure_days": rng.integers(30, 300, users),
                    "active_days": active,
                    "active_days_28": np.minimum(active, rng.integers(1, 12, users)),
                    "is_inactive_later": pd.Series(rng.random(users) < probability, dtype=object)
                    if back
                    else None,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


@pytest.mark.slow
def test_the_area_under_the_curve_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    outcome = (rng.random(500) < 0.3).astype(float)
    score = np.round(rng.normal(size=500) + outcome, 1)  # with ties
    area, error = area_under_curve(score, outcome)
    assert area == pytest.approx(roc_auc_score(outcome, score))
    resampled = [rng.integers(0, 500, 500) for _ in range(500)]
    assert error == pytest.approx(np.std([roc_auc_score(outcome[i], score[i]) for i in resampled]), rel=0.15)


def test_the_published_measures_are_those_of_the_day_that_was_held_out() -> None:
    table = features(2)
    found = risk(table, AS_OF).evaluation.set_index("measure")
    held_out = table[table.cutoff == AS_OF - pd.Timedelta(days=28)]
    outcome = held_out.is_inactive_later.astype(float)
    recency = held_out.days_since_last_active
    assert found.value["auc_recency_alone"] == pytest.approx(roc_auc_score(outcome, recency))
    assert found.value["base_rate"] == pytest.approx(outcome.mean())
    base = np.full(len(outcome), outcome.mean())
    assert found.value["brier_score_base_rate"] == pytest.approx(brier_score_loss(outcome, base))
    assert found.value["auc"] > 0.8
    assert found.value["brier_score"] < found.value["brier_score_base_rate"]
    assert set(found.users) == {800}


def test_outcomes_of_the_fit_end_before_those_of_the_evaluation_begin() -> None:
    found = risk(features(2), AS_OF).evaluation.iloc[0]
    assert found.fitted_on + pd.Timedelta(days=28) <= found.evaluated_on


def test_the_outcomes_of_the_held_out_day_change_no_prediction() -> None:
    """The model once could have seen the answers that it is judged by."""
    table = features(3)
    held_out = table.cutoff == AS_OF - pd.Timedelta(days=28)
    turned = table.assign(
        is_inactive_later=np.where(
            held_out, 1 - table.is_inactive_later.fillna(0).astype(int), table.is_inactive_later
        )
    )
    pd.testing.assert_frame_equal(risk(table, AS_OF).listed, risk(turned, AS_OF).listed)


def test_predictions_are_calibrated_when_the_world_stays_as_it_is() -> None:
    table = risk(features(4, users=5000), AS_OF).calibration
    assert table.users.sum() == 5000
    covered = ((table.ci_low <= table.predicted_rate) & (table.predicted_rate <= table.ci_high)).sum()
    # ten intervals of 95 %, and a model that is only nearly the true one
    assert covered >= 7


def test_deciles_are_counted_by_hand() -> None:
    table = calibration(np.linspace(0.05, 1, 20), np.array([0, 1] * 10))
    assert list(table.users) == [2] * 10
    assert list(table.observed_rate) == [0.5] * 10
    assert table.predicted_rate.iloc[0] == pytest.approx(0.075)


def test_without_enough_outcomes_nothing_is_predicted() -> None:
    never = risk(features(5, chance=lambda recency: np.zeros(len(recency))), AS_OF)
    assert never.evaluation.empty
    assert never.calibration.empty
    assert never.listed.empty


def test_the_list_is_of_today_and_ends_at_500() -> None:
    listed = risk(features(6), AS_OF).listed
    assert len(listed) == 500
    assert listed.probability.is_monotonic_decreasing
    assert list(listed["rank"][:3]) == [1, 2, 3]


def test_users_at_risk_are_added_up_by_segment_and_are_in_sum_those_of_all() -> None:
    table = features(7)
    cells = risk(table, AS_OF).cells
    assert cells.users.sum() == 800
    names = pd.DataFrame(
        [
            {"segment_cell": cell, "segment_name": name, "segment_value": value}
            for cell in range(3)
            for name, value in (("all", "all"), ("country", "DE" if cell == 0 else "US"))
        ]
    )
    groups = risk_groups(cells, names).set_index(["segment_name", "segment_value"])
    assert groups.expected_inactive["country"].sum() == pytest.approx(groups.expected_inactive["all", "all"])
    today = table[table.cutoff == AS_OF]
    assert groups.users["country", "DE"] == (today.segment_cell == 0).sum()
    assert groups.expected_rate["country", "DE"] == pytest.approx(cells.expected_inactive[0] / cells.users[0])
