"""Who and where: contributions add up within a segment, and what merely grows with the rest is no finding."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from user_engagement.insights.contributions import contributions


def kind_cells(rows: list[tuple[str, str, str, int, int, int]]) -> pd.DataFrame:
    table = pd.DataFrame(
        rows, columns=["period", "product_type", "interaction_type", "users", "total", "squares"]
    )
    return table.assign(metric="sessions", tenure="28-83 days", country=np.where(table.users % 2, "DE", "FR"))


CELLS = kind_cells(
    [
        ("before", "basic", "view", 400, 1600, 8000),
        ("before", "pro", "view", 300, 1200, 6000),
        ("before", "pro", "rare", 30, 40, 60),
        ("after", "basic", "view", 800, 3200, 16000),
        ("after", "pro", "view", 301, 1200, 6000),
        ("after", "pro", "rare", 20, 40, 60),
    ]
)


def test_contributions_add_up_to_the_change_within_each_segment() -> None:
    table = contributions(CELLS, ["product_type", "country"], weeks=4)
    for _, of_segment in table.groupby("segment_name"):
        assert of_segment.contribution.sum() == pytest.approx((4440 - 2840) / 4)
        assert of_segment.excess.sum() == pytest.approx(0, abs=1e-9)
        assert of_segment.share_of_change.sum() == pytest.approx(1)


def test_excess_is_what_a_cell_has_beyond_the_growth_of_all() -> None:
    table = contributions(CELLS, ["product_type"], weeks=4).set_index(["segment_value", "interaction_type"])
    pro = table.loc[("pro", "view")]
    assert (pro.value_before, pro.value_after, pro.contribution) == (300, 300, 0)
    assert pro.expected == pytest.approx(300 * 4440 / 2840)
    assert pro.excess == pytest.approx(300 - pro.expected)
    assert pro["rank"] == 1
    assert pro.is_significant


def test_sparse_cells_are_pooled_and_say_so() -> None:
    table = contributions(CELLS, ["product_type"], weeks=4)
    pooled = table[table.is_pooled]
    assert pooled[["segment_value", "tenure", "interaction_type"]].to_numpy().tolist() == [["other"] * 3]
    assert (pooled.users_before.item(), pooled.users_after.item()) == (30, 20)


@pytest.mark.slow
def test_intervals_cover_an_excess_of_zero_in_95_of_100_samples() -> None:
    rng = np.random.default_rng(6)
    covered = []
    for _ in range(150):
        rows = []
        for period, mean in (("before", 300), ("after", 420)):  # everything grows alike
            for product, share in (("a", 1.0), ("b", 0.7), ("c", 0.5)):
                sessions = rng.negative_binomial(2, 0.2, rng.poisson(mean * share)) + 1
                rows.append((period, product, "view", len(sessions), sessions.sum(), (sessions**2).sum()))
        table = contributions(kind_cells(rows), ["product_type"], weeks=4)
        covered += list((table.ci_low <= 0) & (table.ci_high >= 0))
    # 427.5 of 450, give or take three standard errors, which dependence within a sample makes at most 8
    assert 404 <= sum(covered) <= 448


def test_a_period_without_users_has_no_contributions() -> None:
    assert contributions(CELLS[CELLS.period == "after"], ["product_type"], weeks=4).empty
