"""The marts against the contract's brute-force oracle, in worlds that hypothesis draws."""

from __future__ import annotations

import tempfile
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from user_engagement_tests.support.contract import TYPES, check_contract
from user_engagement_tests.support.oracle import KEYS, Row, retention_window
from user_engagement_tests.support.worlds import World, frame_of, marts_of, small_world, worlds

pytestmark = pytest.mark.slow

WITHOUT_SHRINKING = (Phase.explicit, Phase.generate)
IN_WORLDS = settings(
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)


def run_and_check(world: World, command: str = "run") -> None:
    with tempfile.TemporaryDirectory() as folder:
        check_contract(world, marts_of(world, Path(folder), command))


# -- any world ---------------------------------------------------------------------------------------------


@settings(IN_WORLDS, max_examples=3, phases=WITHOUT_SHRINKING)
@given(worlds())
def test_every_mart_holds_what_the_contract_says(world: World) -> None:
    run_and_check(world)


@pytest.mark.long
@settings(IN_WORLDS, max_examples=2)
@given(worlds(min_users=1, max_users=3))
def test_worlds_of_hardly_anybody_break_nothing(world: World) -> None:
    run_and_check(world)


@pytest.mark.slow
@settings(IN_WORLDS, max_examples=12, phases=WITHOUT_SHRINKING)
@given(worlds(max_users=90))
@pytest.mark.exhaustive
def test_the_marts_hold_and_the_data_tests_pass_in_more_and_larger_worlds(world: World) -> None:
    run_and_check(world, "build")


# -- one thing at a time -----------------------------------------------------------------------------------


def signup(user_id: str, day: str, product_type: str = "basic") -> Row:
    return {"user_id": user_id, "signup_date": day, "product_type": product_type}


def session(user_id: str, day: str, interaction_type: str = "visit", **further: str) -> Row:
    row = {
        "user_id": user_id,
        "engagement_date": day,
        "session_duration": "60",
        "interaction_type": interaction_type,
    }
    return {**row, **further}


@pytest.mark.long
def test_columns_have_the_types_of_the_contract(tmp_path: Path) -> None:
    world = small_world([signup("7", "2024-01-01")], [session("7", "2024-01-02")], as_of=date(2024, 3, 31))
    wrong = [
        f"{name}.{field.name} is {field.type}"
        for name, table in marts_of(world, tmp_path).items()
        for field in table.schema
        if field.name in TYPES and not TYPES[field.name](field.type)
    ]
    assert not wrong


@pytest.mark.long
def test_without_a_setting_the_horizon_is_the_newest_day_of_engagement_until_yesterday(
    tmp_path: Path,
) -> None:
    sessions = [session("7", "2024-01-02"), session("7", "2024-03-05T23:00:00Z"), session("7", "2099-01-01")]
    world = small_world(
        [signup("7", "2024-01-01")], sessions, as_of=date(2024, 3, 6), timezone="Asia/Kolkata"
    )
    check_contract(world, marts_of(world, tmp_path, as_of=None))


@pytest.mark.long
def test_relative_months_keep_to_the_signup_day_across_month_ends_and_leap_days(tmp_path: Path) -> None:
    """Users who act once: on the first day of a period, or on the last day of the one before."""
    signups, sessions = [], []
    for signup_day in (
        date(2023, 1, 31),
        date(2024, 1, 29),
        date(2024, 1, 31),
        date(2024, 2, 28),
        date(2024, 2, 29),
    ):
        for k in (1, 2, 3):
            for days_before in (0, 1):
                user_id = f"{signup_day} {k} {days_before}"
                first_of_period, _ = retention_window(signup_day, "relative_month", k)
                signups.append(signup(user_id, f"{signup_day}"))
                sessions.append(session(user_id, f"{first_of_period - timedelta(days=days_before)}"))
    assert {"2024-02-29", "2024-03-31", "2024-04-30", "2024-03-28"} <= {
        row["engagement_date"] for row in sessions
    }
    world = small_world(signups, sessions, as_of=date(2024, 7, 30))
    check_contract(world, marts_of(world, tmp_path))


@pytest.mark.long
def test_users_from_before_data_start_count_as_active_and_in_nothing_else(tmp_path: Path) -> None:
    cancelled: list[Row] = [{"user_id": "7", "churn_date": "2024-02-02"}]
    world = small_world(
        [signup("7", "2024-01-01")],
        [session("7", "2024-02-10")],
        cancelled,
        as_of=date(2024, 3, 31),
        data_start=date(2024, 2, 1),
    )
    marts = marts_of(world, tmp_path)
    check_contract(world, marts)
    assert max(marts["active_users_daily"]["mau"].to_pylist()) == 1
    assert marts["user_lifecycle"]["declared_churn_date"].to_pylist() == [None]
    assert marts["cohort_retention"].num_rows == marts["survival"].num_rows == 0


@pytest.mark.long
def test_the_churn_of_a_month_that_data_start_cuts_is_not_complete(tmp_path: Path) -> None:
    """The churn of those who signed up in its first days is left out, as in a month that the first signup cuts."""
    world = small_world(
        [signup("7", "2024-01-01"), signup("8", "2024-02-12")],
        [session("7", "2024-02-10")],
        as_of=date(2024, 3, 31),
        data_start=date(2024, 2, 10),
    )
    churn = frame_of(marts_of(world, tmp_path)["churn_monthly"])
    complete = {row.month: row.is_complete for row in churn[churn.segment_name == "all"].itertuples()}
    assert complete[date(2024, 2, 1)] is False
    assert complete[date(2024, 3, 1)] is True


@pytest.mark.long
def test_rows_that_differ_in_any_column_are_not_identical(tmp_path: Path) -> None:
    pages = ("/", "/", "/plans")
    sessions = [session("7", "2024-01-02", page=page) for page in pages]
    world = small_world([signup("7", "2024-01-01")], sessions, as_of=date(2024, 3, 31))
    check_contract(world, marts_of(world, tmp_path))


@pytest.mark.long
def test_an_interaction_that_is_called_all_is_not_mistaken_for_the_total(tmp_path: Path) -> None:
    sessions = [session("7", "2024-01-02", "all"), session("7", "2024-01-03", "visit")]
    world = small_world([signup("7", "2024-01-01")], sessions, as_of=date(2024, 3, 31))
    metrics = frame_of(marts_of(world, tmp_path)["session_metrics"])
    assert not metrics.duplicated(KEYS["session_metrics"]).any()


@pytest.mark.long
def test_a_window_of_less_than_a_week_passes_the_data_tests(tmp_path: Path) -> None:
    """`mau` is then less than `wau`, and rightly so."""
    sessions = [session("7", "2024-01-02"), session("8", "2024-01-05")]
    world = small_world(
        [signup("7", "2024-01-01"), signup("8", "2024-01-01")],
        sessions,
        as_of=date(2024, 1, 31),
        active_window_days=2,
    )
    check_contract(world, marts_of(world, tmp_path, "build"))
