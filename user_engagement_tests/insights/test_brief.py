"""The answer in words: it names what was planted, says when nothing was, and claims no cause."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest
from user_engagement.insights.change_points import COLUMNS as CHANGE_COLUMNS
from user_engagement.insights.change_points import OTHERS

from user_engagement.insights.brief import decline_brief, markdown
from user_engagement.insights.decomposition import decompose

PERIODS = pd.DataFrame(
    {
        "period": ["before", "after"],
        "first_day": ["2024-01-01", "2024-12-30"],
        "last_day": ["2024-01-28", "2025-01-26"],
        "first_signup_day": ["2023-09-11", "2024-09-09"],
        "last_signup_day": ["2023-12-03", "2024-12-01"],
    }
)
GROWTH = pd.DataFrame(
    {
        "segment_name": ["all"],
        "segment_value": ["all"],
        "before_week": [pd.Timestamp("2024-01-22")],
        "after_week": [pd.Timestamp("2025-01-20")],
        "active_before": 900,
        "active_after": 1000,
        "change": 100,
        "new_users": 500,
        "resurrected_users": 200,
        "churned_users": 600,
        "loss_rate_before": 0.1,
        "loss_rate_after": 0.2,
        "loss_rate_change": 0.1,
        "ci_low": 0.05,
        "ci_high": 0.15,
    }
)
DIMENSIONS = ["product_type", "tenure"]
NO_CHANGES = pd.DataFrame(columns=CHANGE_COLUMNS)


def cells(rates: dict[tuple[str, str], float], users: int = 2000, metric: str = "retention") -> pd.DataFrame:
    """Users of two products in two periods, who do something at the given rates, exactly."""
    rows = [
        {
            "metric": metric,
            "period": period,
            "product_type": product,
            "main_device": "phone",
            "tenure": "28-83 days",
            "users": users,
            "total": round(users * rate),
            "squares": round(users * rate),
        }
        for (period, product), rate in rates.items()
    ]
    return pd.DataFrame(rows)


def brief(period_cells: pd.DataFrame, changes: pd.DataFrame = NO_CHANGES) -> pd.DataFrame:
    decomposition = decompose(period_cells, DIMENSIONS, seed=1)
    return decline_brief(period_cells, decomposition, changes, GROWTH, PERIODS, DIMENSIONS, seed=1)


FALLEN = cells(
    {("before", "basic"): 0.8, ("before", "pro"): 0.8, ("after", "basic"): 0.8, ("after", "pro"): 0.6}
)


def test_a_group_that_changed_alone_is_named_with_its_numbers() -> None:
    row = brief(FALLEN).iloc[0]
    assert (row.kind, row.metric, row.segment_name, row.segment_value) == (
        "behaviour",
        "retention",
        "product_type",
        "pro",
    )
    assert (row.direction, row.is_adverse) == ("down", True)
    # 20 points of half of the users, which is the whole change
    assert row.effect == pytest.approx(-0.1)
    assert row.share_of_change == pytest.approx(1)
    assert row.ci_low < -0.1 < row.ci_high
    assert (row.value_before, row.value_after, row.users_before, row.users_after) == (0.8, 0.6, 2000, 2000)
    assert "product_type pro (80.0 % to 60.0 %)" in row.finding


def test_it_is_dated_by_its_departure_from_the_others() -> None:
    change = dict.fromkeys(CHANGE_COLUMNS) | {
        "metric": "retention",
        "segment_name": "product_type",
        "segment_value": "pro",
        "against": OTHERS,
        "change_week": pd.Timestamp("2024-06-03"),
        "change_low": pd.Timestamp("2024-05-27"),
        "change_high": pd.Timestamp("2024-06-10"),
        "relative_change": -0.25,
        "p_value": 0.001,
    }
    assert brief(FALLEN, pd.DataFrame([change])).since.iloc[0] == pd.Timestamp("2024-06-03")
    own = change | {"against": "own"}
    rose = change | {"relative_change": 0.25}
    uncertain = change | {"p_value": 0.2}
    long_ago = change | {"change_low": pd.Timestamp("2023-01-02"), "change_high": pd.Timestamp("2023-02-06")}
    for other in (own, rose, uncertain, long_ago):
        row = brief(FALLEN, pd.DataFrame([other])).iloc[0]
        assert pd.isna(row.since)
        assert "no single week stands out" in row.finding


def test_a_change_of_everybody_is_one_of_everybody() -> None:
    rates = {("before", "basic"): 0.8, ("before", "pro"): 0.7, ("after", "basic"): 0.6, ("after", "pro"): 0.5}
    table = brief(cells(rates))
    assert list(table.segment_value) == ["all", "all"]
    assert list(table.kind) == ["behaviour", "headline"]
    assert table.effect.iloc[0] == pytest.approx(-0.2)
    assert "went down for all users (75.0 % to 55.0 %)" in table.finding.iloc[0]


def test_what_is_left_when_a_group_was_found_is_told_of_all_other_users() -> None:
    after = {"basic": 0.7, "plus": 0.7, "pro": 0.4}
    table = brief(
        cells({("before", v): 0.8 for v in after} | {("after", v): rate for v, rate in after.items()})
    )
    assert set(table.segment_value[table.kind == "behaviour"]) == {"all", "pro"}
    row = table[(table.kind == "behaviour") & (table.segment_value == "all")].iloc[0]
    assert (row.users_before, row.users_after) == (4000, 4000)
    assert "went down for all other users (80.0 % to 70.0 %)" in row.finding
    assert "what changed for all other users" in row.next_step


def test_other_kinds_of_users_are_mix() -> None:
    mixed = cells(
        {("before", "basic"): 0.8, ("before", "pro"): 0.4, ("after", "basic"): 0.8, ("after", "pro"): 0.4}
    )
    growing = (mixed.period == "after") & (mixed.product_type == "pro")
    mixed.loc[growing, ["users", "total", "squares"]] *= 3
    row = brief(mixed).iloc[0]
    assert (row.kind, row.segment_value) == ("mix", "pro")
    # half of the users, then three quarters; 0.6 becomes 0.5
    assert (row.value_before, row.value_after) == (0.5, 0.75)
    assert row.effect == pytest.approx(-0.1)
    assert "more of the users are product_type pro (50 % to 75 %)" in row.finding


def test_churn_that_rises_is_adverse_and_churn_that_falls_is_not() -> None:
    rates = {
        ("before", "basic"): 0.05,
        ("before", "pro"): 0.05,
        ("after", "basic"): 0.05,
        ("after", "pro"): 0.15,
    }
    worse = cells(rates, metric="churn")
    assert brief(worse)[["direction", "is_adverse"]].iloc[0].tolist() == ["up", True]
    better = worse.assign(period=worse.period.map({"before": "after", "after": "before"}))
    assert brief(better)[["direction", "is_adverse"]].iloc[0].tolist() == ["down", False]


def test_harmful_findings_come_before_greater_but_favourable_ones() -> None:
    rates = {
        ("before", "basic"): 0.5,
        ("before", "pro"): 0.6,
        ("after", "basic"): 0.9,
        ("after", "pro"): 0.55,
    }
    table = brief(cells(rates))
    assert table.is_adverse.tolist()[:2] == [True, False]
    assert list(table["rank"]) == [1, 2, 3]


def test_no_significant_change_is_said_in_so_many_words() -> None:
    same = cells({(period, product): 0.7 for period in ("before", "after") for product in ("basic", "pro")})
    table = brief(same)
    assert list(table.kind) == ["no_change", "headline"]
    assert table.finding.iloc[0].startswith("No significant change")


def test_chance_alone_makes_findings_no_more_often_than_stated() -> None:
    rng, with_findings = np.random.default_rng(1), 0
    for _ in range(60):
        chance = cells(
            {(p, v): rng.binomial(2000, 0.7) / 2000 for p in ("before", "after") for v in ("basic", "pro")}
        )
        with_findings += brief(chance).kind.iloc[0] != "no_change"
    # 5 % of 60 is 3; more than 9 would happen once in a thousand such tests
    assert with_findings <= 9


def test_a_history_too_short_says_what_is_missing() -> None:
    table = decline_brief(
        FALLEN, pd.DataFrame(), NO_CHANGES, GROWTH.iloc[:0], PERIODS.iloc[:0], DIMENSIONS, seed=1
    )
    assert list(table.kind) == ["no_change"]
    assert "16 weeks" in table.finding.iloc[0]


def test_the_growth_accounting_is_the_last_word() -> None:
    row = brief(FALLEN).iloc[-1]
    assert row.kind == "headline"
    assert "500 new + 200 back - 600 lost" in row.finding


def test_no_sentence_claims_a_cause() -> None:
    text = " ".join(brief(FALLEN).finding).lower()
    assert not [word for word in ("because", "caused", "due to", "led to", "thanks to") if word in text]


def test_markdown_has_a_line_per_finding_in_order() -> None:
    table = brief(FALLEN)
    lines = markdown(table, date(2025, 1, 27)).splitlines()
    assert "2025-01-27" in lines[0]
    assert [line for line in lines if line.startswith("1. ")] == [
        f"1. {table.finding.iloc[0]} _{table.next_step.iloc[0]}_"
    ]


def test_that_users_grow_older_is_told_after_what_changed_at_equal_tenure() -> None:
    young = cells(
        {("before", "basic"): 0.9, ("before", "pro"): 0.9, ("after", "basic"): 0.9, ("after", "pro"): 0.9}
    )
    old = cells(
        {("before", "basic"): 0.6, ("before", "pro"): 0.6, ("after", "basic"): 0.6, ("after", "pro"): 0.6}
    )
    old = old.assign(tenure="364+ days")
    old.loc[old.period == "after", ["users", "total", "squares"]] *= 3
    table = brief(pd.concat([young, old], ignore_index=True))
    assert list(table.kind) == ["no_change", "mix", "headline"]
    # half of the users, then three quarters
    assert table.segment_value.iloc[1] == "364+ days"
    assert table.effect.iloc[1] == pytest.approx(0.25 * (0.6 - 0.9))
