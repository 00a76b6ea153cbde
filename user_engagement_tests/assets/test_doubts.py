"""What is said of doubtful data, and that nothing is said of sound data."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from user_engagement.assets.doubts import (
    Loaded,
    find_doubts,
    ids_written_otherwise,
    long_sessions,
    most_left_out,
    no_cancellations,
    odd_newest_days,
    repeated_months,
    unusual_volume,
)
from user_engagement.assets.published import check_results
from user_engagement.inputs.first_days import begin_after_strays
from user_engagement.settings import load_settings
from user_engagement.warehouse.duckdb.warehouse import DuckDBWarehouse

TODAY = date(2025, 7, 1)
LAST = date(2025, 6, 30)


def steady(rows: int = 100, days: int = 200, last: date = LAST) -> dict[date, int]:
    return {last - timedelta(n): rows for n in range(days)}


def poisson(mean: float, seed: int) -> dict[date, int]:
    """Days of a small source whose rows come at random, none on many of them."""
    chance = random.Random(seed)
    return {day: count for day in steady(1) if (count := int(chance.gauss(mean, mean**0.5) + 0.5)) > 0}


@pytest.fixture
def loaded(tmp_path: Path) -> Iterator[Any]:
    """Makes what the checks look at, over a warehouse whose signups end with the engagement."""
    warehouse = DuckDBWarehouse(tmp_path / "warehouse.duckdb", "500MB")
    with warehouse.connect() as connection:
        connection.execute(
            "create schema raw; create schema user_level; create schema lookups; create schema marts"
        )
        connection.execute(
            "create table raw.user_signups as select '7' as user_id, date '2025-01-01' as signup_date"
        )
        unknown = "select unnest(['007', '8', 'x', null])"
        connection.execute(f"create table raw.churn_data as {unknown} as user_id")
        connection.execute("""
            create table raw.rejected_rows as select
                'user_signups' as table_name, 'unparseable_date' as reason, '01.04.2025' as date_value,
                'user_signups.csv' as _source, 7 as _row_number;
            create table raw.user_engagement as
                select date '2025-06-29' as engagement_date, unnest([86401.0, 9e5, 60.0]) as session_duration;
            create table user_level.identical_days as
                select date '2025-03-02' as activity_date, 400 as repetitions;
        """)
        connection.execute(f"create table user_level.user_days as {unknown} as unknown_user_id")
    with warehouse.reader() as reader:

        def make(
            days: Mapping[date, int], as_of: date = LAST, reasons: Mapping[Any, int] | None = None
        ) -> Loaded:
            return Loaded(reader, load_settings(), TODAY, as_of, days, reasons or {})

        yield make


def test_a_newest_day_with_a_part_of_its_rows_is_doubtful(loaded: Any) -> None:
    (found,) = odd_newest_days(loaded({**steady(), LAST: 31}))
    assert "30 Jun 2025, has 31 rows; the same weekday of the 8 weeks before had 100 or more" in found


def test_a_quiet_weekday_is_not(loaded: Any) -> None:
    mondays = {day: rows for day, rows in steady().items() if day.weekday() != LAST.weekday()}
    assert not list(odd_newest_days(loaded({**mondays, LAST: 1})))


def test_rows_far_behind_the_horizon_and_in_the_future_are_counted(loaded: Any) -> None:
    days = {**steady(last=date(2025, 5, 1)), date(2025, 6, 20): 1, date(2031, 1, 1): 3}
    stray, future = odd_newest_days(loaded(days, as_of=date(2025, 5, 1)))
    assert "the newest row is of 20 Jun 2025, far from the other days" in stray
    assert "3 rows after today, 1 Jul 2025" in future


def test_an_empty_table_of_engagement_is_doubtful(loaded: Any) -> None:
    (found,) = odd_newest_days(loaded({}))
    assert found.startswith("user_engagement: no row has a usable date")


def test_signups_of_days_to_come_are_counted(loaded: Any) -> None:
    eve = date(2024, 12, 31)
    before_the_signup = replace(loaded(steady(last=eve - timedelta(1)), as_of=eve - timedelta(1)), today=eve)
    (found,) = odd_newest_days(before_the_signup)
    assert found == "user_signups: 1 row after today, 31 Dec 2024: these users are not known yet."


def test_an_as_of_after_the_newest_day_is_doubtful_and_one_before_is_a_choice(loaded: Any) -> None:
    set_after = replace(loaded(steady(last=date(2025, 6, 1))), settings=load_settings(as_of=LAST))
    (found,) = odd_newest_days(set_after)
    assert "AS_OF is 30 Jun 2025, but the newest engagement is of 1 Jun 2025" in found
    set_before = replace(
        loaded(steady(), as_of=date(2025, 5, 1)), settings=load_settings(as_of=date(2025, 5, 1))
    )
    assert not list(odd_newest_days(set_before))


@pytest.mark.parametrize(("days", "factor"), [(7, 2.5), (28, 2.0), (28, 0.3)])
def test_newest_weeks_of_another_volume_are_doubtful(loaded: Any, days: int, factor: float) -> None:
    changed = {LAST - timedelta(n): int(100 * factor) for n in range(days)}
    (found,) = unusual_volume(loaded({**steady(), **changed}))
    assert f"{sum(changed.values()):,} rows" in found
    assert not list(unusual_volume(loaded(steady())))


@pytest.mark.slow
@pytest.mark.parametrize("mean", [0.5, 3, 40])
@pytest.mark.parametrize("seed", range(20))
def test_small_sources_raise_no_false_alarm(loaded: Any, mean: float, seed: int) -> None:
    days = poisson(mean, seed)
    source = loaded(days, as_of=max(days))
    assert not [*odd_newest_days(source), *unusual_volume(source)]


def test_most_rows_left_out_for_one_reason_are_doubtful(loaded: Any) -> None:
    table = "user_engagement"
    reasons = {(table, "total"): 100, (table, "orphan"): 51, (table, "before_signup"): 50, (table, "kept"): 0}
    assert list(most_left_out(loaded({}, reasons=reasons))) == [
        "user_engagement: 51 of 100 rows belong to no known user; compare the ids of both tables."
    ]
    # a table with a row for each user, and no date for those who stayed
    churn = {("churn_data", "total"): 100, ("churn_data", "null_date"): 90}
    assert not list(most_left_out(loaded({}, reasons=churn)))


def test_a_hundredth_of_dates_that_cannot_be_read_are_doubtful(loaded: Any) -> None:
    table = "user_signups"
    (found,) = most_left_out(loaded({}, reasons={(table, "total"): 1000, (table, "unparseable_date"): 11}))
    assert found == (
        "user_signups: 11 of 1,000 rows have a date that cannot be read, such as 01.04.2025 in user_signups.csv, "
        "row 7; write dates as 2025-03-31 or 2025-03-31 14:05:00."
    )
    assert not list(
        most_left_out(loaded({}, reasons={(table, "total"): 1000, (table, "unparseable_date"): 10}))
    )


def test_a_source_without_cancellations_is_doubtful(loaded: Any) -> None:
    (found,) = no_cancellations(loaded({}))
    assert found.startswith("churn_data: no cancellation was loaded, so declared churn is 0 %.")
    assert not list(no_cancellations(loaded({}, reasons={("churn_data", "total"): 1})))


def test_a_month_with_a_copied_file_is_doubtful_among_others(loaded: Any) -> None:
    march = {day: 30 for day in steady() if day.month == 3}
    (found,) = repeated_months(loaded({**steady(), **march}))
    assert found.startswith("user_engagement: 400 of 930 rows of 2025-03 repeat another row exactly")
    assert not list(repeated_months(loaded(steady())))
    # where most rows of the table are repeated, that is said of the table
    assert not list(repeated_months(loaded(march)))


def test_durations_in_milliseconds_are_doubtful(loaded: Any) -> None:
    (found,) = long_sessions(loaded(steady()))
    assert (
        "2 of 3 session_durations of the last 4 weeks are longer than USER_ENGAGEMENT_MAX_SESSION_SECONDS"
        in found
    )
    assert "86,400 s, up to 900,000" in found
    assert not list(long_sessions(loaded(steady(), as_of=date(2025, 3, 31))))


def test_ids_that_differ_in_leading_zeros_alone_are_doubtful_and_unknown_ones_are_not(loaded: Any) -> None:
    found = list(ids_written_otherwise(loaded({}, reasons={("user_engagement", "orphan"): 1})))
    assert len(found) == 1
    assert (
        "user_engagement: 1 user id of user_signups in other capitals or with other leading zeros, such as 007"
        in found[0]
    )


def test_a_few_signups_long_before_all_others_are_strays() -> None:
    bulk = {f"2025-{month:02}-01": 50 for month in range(1, 7)}
    assert begin_after_strays({"1998-05-01": 1, "2011-05-01": 2, **bulk}) == date(2025, 1, 1)
    assert begin_after_strays({"2023-12-01": 1, **bulk}) == date(2025, 1, 1)
    # a slow beginning, an earlier launch, and next to no data
    assert begin_after_strays({"2024-01-01": 1, **bulk}) is None
    assert begin_after_strays({"2020-01-01": 40, **bulk}) is None
    assert begin_after_strays({"2020-01-01": 1, "2025-01-01": 12}) is None


def test_every_doubt_is_in_the_result_of_its_check(tmp_path: Path) -> None:
    warehouse = DuckDBWarehouse(tmp_path / "warehouse.duckdb", "500MB")
    with warehouse.connect() as connection:
        connection.execute("""
            create schema raw; create schema activity; create schema user_level;
            create schema lookups; create schema marts;
            create table raw.user_signups as select date '2025-01-01' as signup_date;
            create table raw.user_engagement as
                select timestamp '2025-06-29 10:00' as engagement_date, 60.0 as session_duration;
            create table user_level.identical_days as
                select date '2025-03-02' as activity_date, 1 as repetitions;
            create table lookups.horizon as select date '2025-06-30' as as_of;
            create table activity.row_counts as
                select cast(d as date) as activity_date, 100 as total_rows
                from (select unnest(range(date '2025-01-01', date '2025-07-01', interval 1 day)) as d);
            create table activity.outages as select date '2025-02-03' as outage_date;
            create table user_level.repeated_events as
                select * from (values
                    ('e1', 'a', date '2025-03-01'), ('e1', 'b', date '2025-03-01'),
                    ('e2', 'a', date '2025-03-01'), ('e2', 'a', date '2025-03-09'),
                    ('e3', 'a', date '2025-03-01'), ('e3', 'a', date '2025-03-01')
                ) as listed(event_id, user_id, activity_date);
            create table marts.data_quality as
                select 'user_engagement' as table_name, 'bot' as reason, 1 as "rows"
                union all select 'user_engagement', 'total', 18101
                union all select 'churn_data', 'total', 10
        """)
    with warehouse.reader() as reader:
        doubts = find_doubts(reader, load_settings(), datetime(2025, 7, 1, 12, tzinfo=UTC))
    assert {doubt.check: doubt.text for doubt in doubts} == {
        "no_day_is_missing": (
            "user_engagement: 1 day without any row, which the days around make all but impossible: 3 Feb 2025. "
            "Retention and activity over two such days or more in a row are marked incomplete. Load the rows that "
            "are missing."
        ),
        "no_row_was_set_aside": (
            "user_engagement: 1 row of bots and crawlers was left out (see SNOWPLOW_BOTS)."
        ),
        "event_ids_are_unique": (
            "user_engagement: 1 event id with rows of several users and 1 event id with rows days apart, such as e1, "
            "4 rows in all. The first row of an id counts alone. If the ids of each user are counted on their own, set "
            "USER_ENGAGEMENT_EVENT_IDS_PER_USER=true; otherwise make them unique, or leave the column out."
        ),
    }
    results = {result.check_name: result for result in check_results(doubts)}
    assert {name: result.description for name, result in results.items() if not result.passed} == {
        doubt.check: doubt.text for doubt in doubts
    }
