"""The scan of any table of leaves: a case worked out by hand, what must not matter, and that findings come from it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from user_engagement.insights.analysis import company_panel
from user_engagement.insights.measures import Measure
from user_engagement.insights.names import BEHAVIOUR, LENGTH, SESSIONS, STEP
from user_engagement.insights.scan import LEAST_HELD, Change, Explainer, LeafTable, Leaves, fits_of, scan
from user_engagement.insights.shapes import Bank, Noise, bank_of
from user_engagement_tests.support.counted_company import counted_company

COUNTRIES, DEVICES = ("DE", "US", "BR", "IN"), ("desktop", "phone", "tablet")
LEAVES = np.array(list(product(COUNTRIES, DEVICES)))
ATTRIBUTES = {"country": LEAVES[:, 0], "device": LEAVES[:, 1]}
US_PHONE = (LEAVES == ("US", "phone")).all(axis=1)


def drawn(seed: int, factor: np.ndarray, weeks: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Poisson counts of leaves whose expectation times a factor, shape (leaves, weeks), and the expectation."""
    expected = np.full((len(LEAVES), weeks), 1000.0)
    return np.random.default_rng(seed).poisson(expected * factor).astype(float), expected


def test_a_pair_at_one_point_in_time_has_the_log_ratio_and_error_worked_out_by_hand() -> None:
    expected = np.full(len(LEAVES), 1000.0)
    actual = np.where(US_PHONE, 600.0, 1000.0)
    found = scan(ATTRIBUTES, actual, expected, variance=expected)
    assert found.conditions.tolist() == [{"country": "US", "device": "phone"}]
    row = found.iloc[0]
    # 600 instead of 1000, beside eleven leaves with 11,000 each way; a half is added to every count
    assert row.log_ratio == pytest.approx(np.log(600.5 / 1000.5))
    error = np.sqrt(1000 / 1000.5**2 + 11_000 / 11_000.5**2)
    assert row.error == pytest.approx(error, rel=1e-6)
    # the penalty of a pair is 6
    assert row.score == pytest.approx((row.log_ratio / error) ** 2 - 6, rel=1e-6)
    assert (row.actual, row.expected, row.difference) == (600, 1000, -400)
    assert (row["shape"], row.since) == ("step", 0)


def test_a_value_is_named_where_all_of_its_parts_fell() -> None:
    actual, expected = drawn(1, np.where(LEAVES[:, :1] == "US", 0.7, 1.0))
    found = scan(ATTRIBUTES, actual, expected, variance=expected)
    assert found.conditions.tolist() == [{"country": "US"}]
    assert found.log_ratio[0] == pytest.approx(np.log(0.7), abs=4 * found.error[0])


def test_what_all_leaves_share_is_no_groups_but_everybodys() -> None:
    actual, expected = drawn(2, np.full((len(LEAVES), 1), 0.8))
    found = scan(ATTRIBUTES, actual, expected, variance=expected)
    assert found.conditions.tolist() == [{}]
    assert found.log_ratio[0] == pytest.approx(np.log(0.8), abs=4 * found.error[0])


def test_three_attributes_are_named_where_the_third_splits_a_pair() -> None:
    leaves = np.array(list(product(COUNTRIES, DEVICES, ("basic", "pro"))))
    names = {"country": leaves[:, 0], "device": leaves[:, 1], "product": leaves[:, 2]}
    of_pair, of_three = ((leaves[:, :size] == ("US", "phone", "pro")[:size]).all(axis=1) for size in (2, 3))
    expected = np.full(len(leaves), 1000.0)
    for inside, named in ((of_pair, ["country", "device"]), (of_three, ["country", "device", "product"])):
        actual = np.random.default_rng(4).poisson(expected * np.where(inside, 0.5, 1.0)).astype(float)
        found = scan(names, actual, expected, variance=expected)
        assert [sorted(each) for each in found.conditions] == [named]


def test_a_change_of_all_groups_is_everybodys_even_where_they_changed_by_different_amounts() -> None:
    rise = np.array([{"DE": 1.5, "US": 1.6, "BR": 1.8, "IN": 2.2}[country] for country in LEAVES[:, 0]])
    actual, expected = drawn(7, rise[:, None])
    found = scan(ATTRIBUTES, actual, expected, variance=expected)
    assert found.conditions.tolist() == [{}]


def test_two_causes_are_found_one_after_the_other_the_larger_first() -> None:
    factor = np.where(US_PHONE, 0.5, 1.0) * np.where(LEAVES[:, 1] == "tablet", 1.2, 1.0)
    actual, expected = drawn(3, factor[:, None])
    found = scan(ATTRIBUTES, actual, expected, variance=expected)
    assert found.conditions.tolist() == [{"country": "US", "device": "phone"}, {"device": "tablet"}]
    assert found["rank"].tolist() == [1, 2]


def test_a_series_is_dated_and_its_counts_are_those_of_the_change() -> None:
    week = np.arange(60)
    factor = np.where(US_PHONE[:, None] & (week >= 40), 0.7, 1.0)
    actual, expected = drawn(6, factor, weeks=60)
    found = scan(ATTRIBUTES, actual, expected, variance=expected)
    assert found.conditions.tolist() == [{"country": "US", "device": "phone"}]
    assert (found["shape"][0], found.since[0]) == ("step", 40)
    assert found.expected[0] == 20 * 1000
    assert found.actual[0] == actual[US_PHONE][:, 40:].sum()


def test_of_tables_without_a_cause_at_most_one_in_ten_has_a_group() -> None:
    nothing = np.ones((len(LEAVES), 1))
    found = []
    for seed in range(100):
        actual, expected = drawn(100 + seed, nothing)
        found.append(len(scan(ATTRIBUTES, actual, expected, variance=expected)))
    assert np.count_nonzero(found) <= 10


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), parts=st.integers(2, 4))
def test_neither_the_order_of_leaves_nor_how_finely_they_are_cut_matters(seed: int, parts: int) -> None:
    actual, expected = drawn(seed, np.where(LEAVES[:, :1] == "US", 0.8, 1.0))
    whole = scan(ATTRIBUTES, actual, expected, variance=expected)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(LEAVES) * parts)
    shares = rng.dirichlet(np.ones(parts), len(LEAVES)).T.reshape(-1, 1)[order]
    cut = [np.tile(each, (parts, 1))[order] * shares for each in (actual, expected)]
    names = {name: np.tile(values, parts)[order] for name, values in ATTRIBUTES.items()}
    other = scan(names, cut[0], cut[1], variance=cut[1])
    pd.testing.assert_frame_equal(whole, other, check_exact=False, rtol=1e-6)


def test_small_groups_are_left_out_where_a_least_share_is_asked_for() -> None:
    actual, expected = drawn(5, np.where(US_PHONE, 0.5, 1.0)[:, None])
    found = scan(ATTRIBUTES, actual, expected, variance=expected, least_share=0.2)
    assert all(len(each) == 1 for each in found.conditions)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="a row for each leaf"):
        scan({"country": ["US"]}, [1.0, 2.0], [1.0, 2.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="needs 20 weeks: it has 5"):
        scan({"country": ["US", "DE"]}, *(np.ones((2, 5)) for _ in range(3)))


def test_findings_of_a_company_are_those_of_a_table_of_its_leaves() -> None:
    """The length of sessions has no tenures, so that a company's leaves are a table as they are."""
    rollups = counted_company(
        seed=15, seconds=lambda rows: np.where((rows.country == "BR") & (rows.week >= 40), 0.7, 1.0)
    )
    panel = company_panel(rollups, {})  # type: ignore[arg-type]
    assert panel is not None
    measure = Measure(panel, LENGTH)
    actual, exposure = (
        measure.cells.dense(counts)[:, 0].astype(float) for counts in (measure.actual, measure.exposure)
    )
    expected = exposure * actual.sum() / exposure.sum()
    variance = expected * measure.noise.white
    table = scan(panel.attributes, actual, expected, variance, most=1)
    (change,) = Explainer(measure).explain(1)
    assert change.conditions == table.conditions[0] == {"country": "BR"}
    assert change.since == table.since[0] == 40
    assert change.height == pytest.approx(table.log_ratio[0], abs=3 * table.error[0])


def test_a_whole_that_shows_only_what_its_part_does_is_no_finding_of_a_later_measure() -> None:
    """Users of a country returned more, which was said beside those on phones there who pause more."""
    week = np.arange(60)
    late = week >= 40
    attributes = {name: np.asarray(values) for name, values in ATTRIBUTES.items()}
    for inside, is_told in ((US_PHONE, True), (attributes["country"] == "US", False)):
        actual, expected = drawn(6, np.where(inside[:, None] & late, 0.7, 1.0), weeks=60)
        measure = Leaves(LeafTable(attributes, expected.sum(1), 0.0), actual, expected, expected)
        explainer = Explainer(measure)
        step = measure.bank.only(np.flatnonzero((measure.bank.kinds == STEP) & (measure.bank.since == 40)))
        cause = Change(
            "counts", {"country": "US", "device": "phone"}, BEHAVIOUR, -9.0, -0.36, 0.04, step, 81.0
        )
        whole = replace(cause, conditions={"country": "US"})
        assert explainer.is_whole_of(whole, cause) == is_told


def test_users_whose_value_is_unknown_show_less_of_what_those_of_a_value_do() -> None:
    here = np.array([40])
    step = Bank(np.ones((60, 1)), np.array([STEP]), here, np.array([-1]))
    known = Change("churn", {"plan": "pro"}, BEHAVIOUR, 9.0, 0.8, 0.09, step, 81.0)
    unknown = replace(known, conditions={"plan": "unknown"}, height=0.5)
    assert Explainer.is_mixture_of(unknown, known)
    assert not Explainer.is_mixture_of(replace(unknown, height=0.9), known)
    assert not Explainer.is_mixture_of(replace(unknown, conditions={"plan": "basic"}), known)


def test_a_change_needs_counts_before_it_as_well_as_after() -> None:
    """Two weeks with nobody, the only ones that were large enough to be read, once stood for the time before."""
    bank, flat = bank_of(60), np.ones((60, 1))
    series, sampling = np.zeros((1, 60)), np.full((1, 60), 0.2)
    series[0, :30] = -2.0
    step = (bank.kinds == STEP) & (bank.since == 30)
    for small_weeks, is_found in ((slice(0), True), (np.r_[:20, 21:29], False)):
        sampling[0, small_weeks] = 1.0
        noise = Noise(white=1.0, ratio=0.0, persistence=0.9)
        fits = fits_of(noise, series, sampling, np.zeros(1), flat, bank, np.ones(len(bank.since)))
        assert (np.abs(fits.told(LEAST_HELD)[0, step]) > 4).all() == is_found
        assert (np.abs(fits.t[0, step]) > 4).all()


def test_a_fall_to_few_counts_is_as_sure_as_its_deviance() -> None:
    panel = company_panel(counted_company(seed=16, users=500), {})  # type: ignore[arg-type]
    assert panel is not None
    measure = Measure(panel, SESSIONS)
    leaves, during = np.arange(panel.size) == 0, (np.arange(60) >= 50) * 1.0
    inside, late = leaves[measure.cells.leaf], (during > 0)[measure.cells.week]
    measure.exposure = np.ones_like(measure.exposure)
    for of_group, share in ((inside, 1 / (inside & late).sum()), (~inside, 1 / (~inside & late).sum())):
        # 20 of each late in the history, and at the same rate before; of all others twice as many
        measure.exposure[of_group] = 20 * share
    measure.actual = measure.exposure * np.where(late & ~inside, 2, 1)
    measure.actual[inside & late] *= 4 / 20
    # 4 where 20 x 2 were expected: 2 (4 ln(4 / 40) - 4 + 40)
    assert measure.most_squared_t(leaves, during) == pytest.approx(53.579, abs=1e-2)
    measure.actual[inside & late] *= 41 / 4
    assert measure.most_squared_t(leaves, during) == np.inf
