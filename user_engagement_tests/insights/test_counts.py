"""Counts without the cells of nobody against the same counts as full arrays."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from user_engagement.insights.analysis import company_panel
from user_engagement.insights.counts import Cells, Counts
from user_engagement.insights.explain import Measures
from user_engagement.insights.measures import ECHOES, Measure, newer, older, season
from user_engagement.insights.names import SESSIONS, SIGNUPS, USE
from user_engagement.insights.panel import LEVEL, Panel
from user_engagement.insights.threads import mapped
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


@pytest.mark.parametrize("name", [USE, SIGNUPS])
@pytest.mark.parametrize("group", [{}, {"country": "US"}, {"country": "US", "main_device": "mobile"}])
def test_what_groups_total_after_a_change_is_taken_out_is_what_their_leaves_do(
    panel: Panel, name: str, group: dict[str, str]
) -> None:
    measure = Measure(panel, name)
    shape = np.clip((np.arange(len(panel.weeks)) - 20) / 10, 0, 1)
    measure.contrasts(panel.membership, panel.groups)
    assert measure.totals
    measure.take_out(panel.members(group), -0.4, shape)
    for (counts, of_groups), kept in measure.totals.items():
        marks = panel.membership if of_groups else np.ones((1, panel.size), np.float32)
        assert kept == pytest.approx(
            measure.cells.totals(marks, getattr(measure, counts)), rel=1e-4, abs=1e-3
        )


def test_leaves_are_the_same_in_whatever_order_the_counts_come() -> None:
    rollups = counted_company(seed=23, users=500)
    panel = company_panel(rollups, {})  # type: ignore[arg-type]
    rollups.weekly_counts = rollups.weekly_counts.sample(frac=1, random_state=1)
    shuffled = company_panel(rollups, {})  # type: ignore[arg-type]
    assert panel is not None
    assert shuffled is not None
    assert all(np.array_equal(panel.attributes[name], shuffled.attributes[name]) for name in panel.attributes)
    for counts, others in ((panel.leaves, shuffled.leaves), (panel.buckets, shuffled.buckets)):
        for name in ("active_days", "users", "log_seconds"):
            dense = counts.cells.dense(counts.weekly[name])
            assert dense == pytest.approx(others.cells.dense(others.weekly[name]), rel=1e-5)


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


def test_levels_of_activity_are_told_apart_only_where_they_say_something() -> None:
    rollups = counted_company(seed=22, users=2_000)
    cells, level = rollups.group_cells, pd.Series(["low", "high"] * 3)
    rollups.group_cells = cells.assign(activity_level=level)
    panel = company_panel(rollups, {})  # type: ignore[arg-type]
    assert panel is not None
    measures = Measures(panel)
    assert measures.fresh(USE).panel is panel
    # of three countries and two devices each has one level, so that leaving it out joins none of them
    assert LEVEL in panel.attributes
    assert LEVEL not in measures.fresh(SESSIONS).panel.attributes
    for groups in ([{"country": "US"}], [{LEVEL: "low"}]):
        coarse, leaf_of = panel.joined(groups)
        joined = measures.joined(SESSIONS, coarse, leaf_of)
        alike = measures.fresh(SESSIONS, by_level=True).joined(coarse, leaf_of)
        for one, other in ((joined.actual, alike.actual), (joined.exposure, alike.exposure)):
            assert joined.cells.dense(one) == pytest.approx(alike.cells.dense(other), rel=1e-4)


def test_january_counts_as_a_season_only_where_there_are_two() -> None:
    first = pd.Timestamp("2024-02-05")
    one, two = (season(first, length, ECHOES) for length in (90, 110))
    assert (one.shape[1], two.shape[1]) == (3, 5)
    assert two[:, 3:].sum(0) == pytest.approx([4, 4])


def test_what_is_mapped_may_map_by_itself() -> None:
    assert mapped(lambda each: mapped(lambda other: each * other, [1, 2]), [3, 4]) == [[3, 6], [4, 8]]
