"""Counts without the cells of nobody against the same counts as full arrays."""

from __future__ import annotations

import numpy as np
import pytest

from user_engagement.insights.analysis import company_panel
from user_engagement.insights.counts import Cells, Counts
from user_engagement.insights.measures import Measure, newer, older
from user_engagement.insights.names import SESSIONS, USE
from user_engagement.insights.panel import Panel
from user_engagement_tests.support.counted_company import counted_company

LEAVES, TENURES, WEEKS = 40, 5, 12


@pytest.fixture(scope="module")
def full() -> np.ndarray:
    """Counts of which most are 0; shape (leaves, tenures, weeks)."""
    rng = np.random.default_rng(1)
    return rng.poisson(3, (LEAVES, TENURES, WEEKS)) * (rng.random((LEAVES, TENURES, WEEKS)) < 0.2)


@pytest.fixture(scope="module")
def counts(full: np.ndarray) -> Counts:
    tenure, week, leaf = np.nonzero(full.transpose(1, 2, 0))
    cells = Cells(*(each.astype(np.int32) for each in (leaf, tenure, week)), (LEAVES, TENURES, WEEKS))
    cohorts = {"signups": full.sum(1).astype(np.float32)}
    return Counts(cells, {"days": full[leaf, tenure, week].astype(np.float32)}, cohorts)


@pytest.fixture(scope="module")
def panel() -> Panel:
    panel = company_panel(counted_company(seed=21, users=2_000), {})  # type: ignore[arg-type]
    assert panel is not None
    return panel


@pytest.mark.parametrize("groups", [1, 30])
def test_totals_of_groups_are_those_of_the_full_array(full: np.ndarray, counts: Counts, groups: int) -> None:
    cells, days = counts.cells, counts.weekly["days"]
    marks = (np.random.default_rng(2).random((groups, LEAVES)) < 0.4).astype(np.float32)
    assert np.array_equal(cells.dense(days), full)
    assert np.array_equal(cells.totals(marks, days), np.tensordot(marks, full, 1))
    assert np.array_equal(cells.by_tenure(days), full.sum(2))
    assert np.array_equal(counts.by_week("days"), full.sum((0, 1)))
    inside = np.flatnonzero(cells.leaf < 10)
    of_some = full * (np.arange(LEAVES) < 10)[:, None, None]
    assert np.array_equal(cells.totals(marks, days[inside], inside), np.tensordot(marks, of_some, 1))


def test_joined_leaves_have_the_sums_of_their_leaves(full: np.ndarray, counts: Counts) -> None:
    leaf_of = np.random.default_rng(3).permutation(np.arange(LEAVES) % 7)
    joined = counts.joined(leaf_of, ["days"])
    expected = np.array([full[leaf_of == leaf].sum(0) for leaf in range(7)])
    assert np.array_equal(joined.cells.dense(joined.weekly["days"]), expected)
    assert np.array_equal(joined.cohorts["signups"], expected.sum(1))


def test_a_measure_of_joined_leaves_shows_the_same_of_a_group(panel: Panel) -> None:
    group = {"country": "US"}
    for name, (coarse, leaf_of) in (
        (USE, panel.joined([group])),
        (SESSIONS, panel.without_attributes(["main_device"])),
    ):
        measure = Measure(panel, name)
        of_all, of_joined = (
            each.contrasts(each.panel.members(group)[None].astype(np.float32), [group])
            for each in (measure, measure.joined(coarse, leaf_of))
        )
        assert coarse.size < panel.size
        for found, expected in zip(of_joined, of_all, strict=True):
            assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_new_users_of_a_group_get_bands_of_their_own(panel: Panel) -> None:
    measure, since = Measure(panel, USE), 30
    inside, before = panel.members({"country": "US"}), measure.cells.dense(measure.actual)
    tenures, weeks = measure.tenures, len(panel.weeks)
    new, stays = newer(tenures, weeks, since), older(tenures, weeks, since)
    measure.renew(inside, since)
    after = measure.cells.dense(measure.actual)
    assert np.array_equal(after[~inside][:, : len(tenures)], before[~inside])
    assert not after[~inside][:, len(tenures) :].any()
    assert np.array_equal(after[inside][:, : len(tenures)], before[inside] * stays)
    assert after[inside][:, len(tenures) :].sum(1) == pytest.approx((before[inside] * new).sum(1))
