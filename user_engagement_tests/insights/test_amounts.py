"""Errors and amounts of changes against the delta method, simulated changes and companies whose losses are known."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest

import user_engagement.insights.panel
from user_engagement.insights.analysis import company_panel
from user_engagement.insights.effects import Effects, newer_beside_older, of_other_habits
from user_engagement.insights.explain import Measures, new_user_changes
from user_engagement.insights.findings import amounts, shortfall, story_of
from user_engagement.insights.measures import Measure
from user_engagement.insights.names import (
    BEHAVIOUR,
    CHURN,
    DAYS,
    LENGTH,
    MIX,
    NEW_USERS,
    SIGNUPS,
    SLOPE,
    STEP,
    USE,
)
from user_engagement.insights.panel import Panel
from user_engagement.insights.readings import (
    Amount,
    curves_of,
    read,
)
from user_engagement.insights.scan import Change, Explainer
from user_engagement.insights.shapes import Noise, bank_of, fitted
from user_engagement_tests.support.counted_company import DAYS_A_WEEK, WEEKS, counted_company

SINCE, LAST = 30, np.arange(len(WEEKS))[-4:]


def panel_of_company(**company: object) -> Panel:
    panel = company_panel(counted_company(**company), {})  # type: ignore[arg-type]
    assert panel is not None
    return panel


def step_of(measure: Measure, since: int, conditions: dict[str, str]) -> Change:
    bank = measure.bank
    place = np.flatnonzero((bank.kinds == STEP) & (bank.since == since))
    change = Change(measure.name, conditions, BEHAVIOUR, 0.0, 0.0, 0.0, bank.only(place), 0.0)
    return replace(change, height=read(measure, change).height)


@pytest.fixture(scope="module")
def fallen() -> Panel:
    """All users are active 40 % less since a week, on the days of their first week as well."""
    return panel_of_company(seed=11, activity=lambda rows: np.where(rows.week >= SINCE, 0.6, 1.0))


def test_a_cohort_of_a_few_users_of_whom_none_came_back_is_as_odd_as_its_deviance() -> None:
    """Its logarithm alone once made a finding in a company without a cause: t was twice as large."""
    week, is_odd = 30, {"country": "BR", "device": "phone"}

    def activity(rows: pd.DataFrame) -> np.ndarray:
        odd = (rows[list(is_odd)] == pd.Series(is_odd)).all(axis=1)
        return np.where(odd & (rows.signup_week == week), 0.0, 1.0)

    panel = panel_of_company(seed=4, users=1_500, activity=activity)
    measure = Measure(panel, NEW_USERS)
    conditions = {"country": "BR", "main_device": "phone"}
    inside = panel.members(conditions)
    series, variance = measure.contrasts(inside[None].astype(np.float32), [conditions])
    days, users = (measure.cells.dense(counts)[:, 0] for counts in (measure.actual, measure.exposure))
    expected = users[inside, week].sum() * days.sum() / users.sum()
    assert days[inside, week].sum() == 0
    # of a Poisson count of nothing, the deviance is twice what was expected
    assert series[0, week] / np.sqrt(variance[0, week]) == pytest.approx(-np.sqrt(2 * expected), rel=0.25)


def test_signups_are_no_surer_once_their_fall_is_explained(fallen: Panel) -> None:
    """Where 40 % of them were left, groups with two signups a week were findings of their own."""
    measure = Measure(fallen, SIGNUPS)
    everybody, conditions = fallen.members({}), {"country": "BR"}
    inside = fallen.members(conditions)[None].astype(np.float32)
    _, before = measure.contrasts(inside, [conditions])
    measure.take_out(everybody, float(np.log(0.4)), (np.arange(len(WEEKS)) >= SINCE).astype(float))
    _, after = measure.contrasts(inside, [conditions])
    assert after == pytest.approx(before)


def test_the_error_of_all_users_is_that_of_the_delta_method_where_there_is_one_tenure(fallen: Panel) -> None:
    measure = Measure(fallen, LENGTH)
    done, could = (cells[:, 0].astype(float) for cells in (measure.drawn, measure.drawn_exposure))
    influence = done / done.sum(0) - could / could.sum(0)
    difference = influence[:, 50] - influence[:, 20]
    expected = len(done) / (len(done) - 1) * (difference**2).sum()
    covariance = measure.own_covariance(shared=0.0)
    found = covariance[50, 50] + covariance[20, 20] - 2 * covariance[50, 20]
    assert found == pytest.approx(expected, rel=0.03)


def test_a_change_that_its_own_metric_contradicts_is_no_finding(fallen: Panel) -> None:
    """Of a company with much else going on, one was said to lose signups that had more than expected."""
    measures = Measures(fallen)
    fall = step_of(measures.fresh(USE), SINCE, {})
    assert [finding.direction for finding in story_of(measures, [fall]).findings] == ["down"]
    assert story_of(measures, [replace(fall, height=-fall.height)]).findings == ()


def test_what_a_week_shares_adds_to_the_error_of_all_users(fallen: Panel) -> None:
    measure = Measure(fallen, LENGTH)
    more = measure.own_covariance(shared=0.01) - measure.own_covariance(shared=0.0)
    assert np.diagonal(more) == pytest.approx(np.full(len(WEEKS), 0.01))


def test_what_a_slow_change_adds_up_to_is_covered_although_its_beginning_is_not_known() -> None:
    rng = np.random.default_rng(12)
    weeks, draws, fall = 60, 200, -0.5
    bank, base = bank_of(weeks), np.ones((weeks, 1))
    covariance = Noise(1.0, 0.3, 0.9).covariance(np.full((1, weeks), 0.004), np.zeros(1))
    noise = rng.standard_normal((draws, weeks)) @ np.linalg.cholesky(covariance[0]).T
    series = fall * np.arange(weeks) / (weeks - 1) + noise
    fit = fitted(series, covariance, base, bank)
    covered = 0
    for row in range(draws):
        one = replace(fit, t=fit.t[[row]], height=fit.height[[row]], error=fit.error)
        place = int(np.where(bank.kinds == SLOPE, one.t[0] ** 2, -1).argmax())
        own = (one.t[0, place], one.height[0, place], one.error[0, place])
        change = Change(USE, {}, BEHAVIOUR, own[0], own[1], own[2], bank.only(np.array([place])), 0.0)
        curves = curves_of(bank, change, one, own, wider=1.0)
        covered += curves[:, -1].min() <= fall <= curves[:, -1].max()
    assert 0.92 <= covered / draws <= 1


def test_a_step_whose_week_is_sure_has_the_interval_of_its_height_alone() -> None:
    weeks = 60
    bank, base = bank_of(weeks), np.ones((weeks, 1))
    series = -0.5 * (np.arange(weeks) >= SINCE)[None] + np.random.default_rng(13).normal(0, 0.01, (1, weeks))
    fit = fitted(series, 0.01**2 * np.eye(weeks)[None], base, bank)
    place = int(np.flatnonzero((bank.kinds == STEP) & (bank.since == SINCE))[0])
    own = (fit.t[0, place], fit.height[0, place], fit.error[0, place])
    change = Change(USE, {}, BEHAVIOUR, own[0], own[1], own[2], bank.only(np.array([place])), 0.0)
    curves = curves_of(bank, change, fit, own, wider=2.0)
    assert curves[:, -1].min() == pytest.approx(own[1] - 1.96 * 2 * own[2], rel=1e-3)
    assert curves[:, -1].max() == pytest.approx(own[1] + 1.96 * 2 * own[2], rel=1e-3)


def test_users_in_the_week_of_their_signup_lose_as_well(fallen: Panel) -> None:
    change = step_of(Measure(fallen, USE), SINCE, {})
    everybody = np.ones(len(fallen.users), bool)
    days = fallen.leaves.total(DAYS, everybody)
    effects = Effects(Measures(fallen), [change])
    effect = effects.estimated(change)
    later, first = (replace(effect, **without) for without in ({"first": []}, {"pieces": {DAYS: []}}))
    for part, kept in ((later, days[1:, LAST].sum()), (first, days[0, LAST].sum())):
        lost = effects.missing(part, DAYS, LAST)
        assert lost.low < kept / 4 * (1 / 0.6 - 1) < lost.high


def test_amounts_of_other_users_add_up_with_the_root_of_their_squared_errors() -> None:
    total = Amount(10.0, 7.0, 14.0) + Amount(1.0, -3.0, 4.0)
    assert (total.value, total.low, total.high) == (11.0, 6.0, 16.0)


def test_what_new_users_miss_is_covered_by_its_interval() -> None:
    worse = {"seed": 14, "activity": lambda rows: np.where(rows.signup_week >= SINCE, 0.6, 1.0)}
    panel, as_before = panel_of_company(**worse), panel_of_company(seed=14)
    (change,) = new_user_changes(Measures(panel), Measure(panel, USE))
    assert (change.measure, change.conditions, change.since) == (NEW_USERS, {}, SINCE)
    now, before = (
        each.leaves.total(DAYS, np.ones(len(each.users), bool))[:, LAST].sum() / 4
        for each in (panel, as_before)
    )
    effects = Effects(Measures(panel), [change])
    lost = effects.missing(effects.estimated(change), DAYS, LAST)
    assert lost.low < before - now < lost.high
    assert lost.high - lost.low < before - now


@pytest.mark.parametrize("a_week", [0.03, 0.1])
def test_what_users_take_with_them_who_leave_sooner_is_covered(a_week: float) -> None:
    """Whoever signs up after the change is exposed to it for less time: a rise by week alone told too little."""

    def activity(rows: pd.DataFrame) -> np.ndarray:
        stays = np.random.default_rng(1).geometric(a_week, rows.index.max() + 1)
        leaves_at = np.maximum(rows.signup_week, SINCE) + stays[rows.index]
        return np.where((rows.country == "US") & (rows.week >= leaves_at), 0.0, 1.0)

    company = {"seed": 17, "users": 12_000}
    panel, as_before = panel_of_company(**company, activity=activity), panel_of_company(**company)
    bank = Measure(panel, USE).bank
    step = bank.only(np.flatnonzero((bank.kinds == STEP) & (bank.since == SINCE)))
    change = Change(CHURN, {"country": "US"}, BEHAVIOUR, 9.0, 1.0, 0.1, step, 81.0)
    effects = Effects(Measures(panel), [change])
    lost = effects.missing(effects.estimated(change), DAYS, LAST)
    now, before = (
        each.leaves.total(DAYS, np.ones(each.size, bool))[:, LAST].sum() / 4 for each in (panel, as_before)
    )
    assert lost.low < before - now < lost.high
    assert lost.value == pytest.approx(before - now, rel=0.25)


def test_users_by_week_of_signup_and_tenure_are_those_counted_one_by_one(fallen: Panel) -> None:
    signups = np.random.default_rng(1).integers(0, 50, len(WEEKS)).astype(float)
    expected = np.zeros((len(fallen.tenures), len(WEEKS)))
    for signup in range(20, len(WEEKS)):
        for week in range(signup, len(WEEKS)):
            band = np.searchsorted(fallen.tenures, week - signup, side="right") - 1
            expected[band, week] += signups[signup]
    assert newer_beside_older(fallen, signups, 20) == pytest.approx(expected)


def test_what_a_group_of_new_users_misses_beside_all_new_users_is_counted_once() -> None:
    def activity(rows: pd.DataFrame, of_group: float) -> np.ndarray:
        is_group = (rows.country == "US") & (rows.signup_week >= SINCE)
        return np.where(rows.signup_week >= SINCE - 8, 0.7, 1.0) * np.where(is_group, of_group, 1.0)

    panel, as_before = (
        panel_of_company(seed=16, users=20_000, activity=partial(activity, of_group=factor))
        for factor in (0.6, 1.0)
    )
    of_all = step_of(Measure(panel, NEW_USERS), SINCE - 8, {})
    of_group = replace(
        of_all, conditions={"country": "US"}, bank=step_of(Measure(panel, NEW_USERS), SINCE, {}).bank
    )
    effects = Effects(Measures(panel), [of_all, of_group])
    effects.found = [effects.estimated(of_all)]
    lost = effects.missing(effects.estimated(of_group), DAYS, LAST)
    now, before = (
        each.leaves.total(DAYS, np.ones(each.size, bool))[:, LAST].sum() / 4 for each in (panel, as_before)
    )
    assert lost.low < before - now < lost.high
    assert lost.value == pytest.approx(before - now, rel=0.15)


@pytest.mark.parametrize("is_device", [True, False])
def test_users_of_other_devices_lose_what_they_do_on_a_device_and_nothing_where_its_users_changed(
    fallen: Panel, is_device: bool
) -> None:
    """Of phone users 80 % of the sessions are on phones, of others 20 %; two in five sessions on phones go away."""
    kept = np.where(np.arange(len(WEEKS)) >= SINCE, 0.6, 1.0)
    rows = []
    for habit, share in (("phone", 0.8), ("desktop", 0.2)):
        on_phone, on_desktop = 10_000 * share * kept, 10_000 * (1 - share) * (1.0 if is_device else kept)
        for kind, sessions in (("phone", on_phone), ("desktop", on_desktop)):
            named = {"week_start": WEEKS, "habit": "main_device", "habit_value": habit, "kind": kind}
            rows.append(pd.DataFrame({**named, "sessions": sessions * np.ones(len(WEEKS))}))
    panel = replace(fallen, habit_sessions=pd.concat(rows, ignore_index=True))
    change = step_of(Measure(fallen, USE), SINCE, {"main_device": "phone"})
    between = np.log((1 - 0.4 * 0.8) / (1 - 0.4 * 0.2)) * change.values[None, None]
    found = of_other_habits(panel, change, "main_device", between)[0, 0]
    expected = np.log(1 - 0.4 * 0.2) if is_device else 0.0
    assert found[:SINCE] == pytest.approx(np.zeros(SINCE), abs=1e-9)
    assert found[SINCE:] == pytest.approx(np.full(len(WEEKS) - SINCE, expected), abs=0.001)


@pytest.mark.slow
def test_what_a_mix_takes_is_what_as_many_other_users_would_have_done() -> None:
    """From a week on a third of the new users, rather than a seventh, are of a country whose users do half."""
    covered, half = 0, DAYS_A_WEEK / 2
    for seed in range(20):
        rng = np.random.default_rng(seed)

        def signs_up(person: pd.DataFrame, rng: np.random.Generator = rng) -> pd.Series:
            chance = np.where(
                person.signup_week >= SINCE, 7 / 9, np.where(person.country == "BR", 1 / 3, 1.0)
            )
            return pd.Series(rng.random(len(person)) < chance, person.index)

        panel = panel_of_company(
            seed=seed,
            users=8_000,
            signs_up=signs_up,
            activity=lambda rows: np.where(rows.country == "BR", 0.5, 1.0),
        )
        inside = panel.members({"country": "BR"})
        group, others = (panel.leaves.cohorts["signups"][leaves].sum(0) for leaves in (inside, ~inside))
        moved = group[SINCE:] - (group + others)[SINCE:] / 7
        expected = np.mean([moved[: week + 1 - SINCE].sum() for week in LAST]) * half
        # of the logarithm of a ratio of odds
        counted = [
            each[weeks].sum() for each in (group, others) for weeks in (slice(SINCE), slice(SINCE, None))
        ]
        error = float(np.sqrt(np.sum(1 / np.array(counted))))
        change = step_of(Measure(panel, SIGNUPS), SINCE, {"country": "BR"})
        change = replace(change, kind=MIX, error=error)
        (_, of_group), (_, of_others) = shortfall(panel, change, change.height)
        assert of_group == pytest.approx(-of_others), "as many sign up"
        effects = Effects(Measures(panel), [change])
        lost = amounts(effects, effects.estimated(change))["lost_now"][DAYS]
        covered += lost.low < expected < lost.high
        assert lost.high - lost.low < expected
    assert covered >= 18


@pytest.mark.parametrize(("least", "parts"), [(100, ["0", "1"]), (1_500, [])])
def test_a_pair_is_narrowed_to_a_part_of_enough_users_only(
    fallen: Panel, monkeypatch: pytest.MonkeyPatch, least: int, parts: list[str]
) -> None:
    """Of six leaves of about 1,000 users each, pairs have two and triples one; 22 users were once told as a triple."""
    monkeypatch.setattr(user_engagement.insights.panel, "LEAST_USERS", least)
    values = {"a": "111100", "b": "110011", "c": "101010"}
    panel = replace(fallen, attributes={name: np.array(list(each)) for name, each in values.items()})
    found = panel.parts_of({"a": "1", "b": "1"})
    assert [part["c"] for part in found] == parts


def test_a_group_is_compared_without_the_users_that_are_left_out(fallen: Panel) -> None:
    """Leaving users out gives the same as a company that never had them."""
    measure = Measure(fallen, USE)
    change = step_of(measure, SINCE, {"main_device": "phone"})
    inside = fallen.members({"country": "US"})
    with measure.without(~inside):
        t, height = Explainer(measure).given_shape(inside & fallen.members(change.conditions), change)
    other = Measure(fallen, USE)
    outside = ~inside[other.cells.leaf]
    other.actual[outside] = 0
    other.exposure[outside] = 0
    expected = Explainer(other).given_shape(inside & fallen.members(change.conditions), change)
    assert (t, height) == pytest.approx(expected, rel=1e-3)
