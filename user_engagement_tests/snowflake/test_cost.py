"""What `benchmarks/snowflake_cost.py` says of statements, of runs, and of an account's query history."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from datetime import date
from types import ModuleType

import duckdb
import pytest

from user_engagement.settings import PROJECT_ROOT
from user_engagement_tests.support.snowflake import Snowflake

MONTH = date(2024, 3, 1)
HISTORY = "query_id varchar, query_tag varchar, start_time timestamp_ltz, bytes_scanned number, execution_time number"
ATTRIBUTED = "query_id varchar, credits_attributed_compute float"


@pytest.fixture
def cost(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(PROJECT_ROOT / "benchmarks")
    return importlib.import_module("snowflake_cost")


@pytest.fixture
def tables() -> Iterator[duckdb.DuckDBPyConnection]:
    """Ten rows in each of four months, a view of them, and a checksum for each month."""
    with duckdb.connect() as connection:
        connection.execute("create schema activity")
        connection.execute(
            "create table activity.user_days as select 100 * m + d as id, m * d as sessions, "
            "make_timestamp(2024, m, d, 12, 0, 0) as activity_date, 'unread' as comment "
            "from range(1, 5) as months(m), range(1, 11) as days(d)"
        )
        connection.execute(
            "create view activity.seen as select id, sessions, activity_date::date as seen_on from activity.user_days"
        )
        connection.execute(
            "create table activity.checksums as select date_trunc('month', activity_date)::date as activity_month, "
            "sum(sessions) as built_from from activity.user_days group by 1"
        )
        yield connection


def test_a_statement_scans_the_columns_that_it_reads_for_the_days_that_it_bounds(
    cost: ModuleType, tables: duckdb.DuckDBPyConnection
) -> None:
    company = cost.Company(tables)
    weights = company.weights("activity.user_days")
    both = weights["sessions"] + weights["activity_date"]
    query = "with read as (select * from activity.seen) select sum(sessions) from read"
    march = "seen_on >= date '2024-03-01' and seen_on < date '2024-04-01'"
    half = "seen_on >= date '2024-03-01'"
    either = "seen_on < date '2024-02-01' or seen_on >= date '2024-04-01'"

    def scanned(sql: str) -> float:
        return company.bytes_scanned(cost.Statement("any", sql), MONTH)

    assert scanned(query) == weights["sessions"]
    assert scanned(f"{query} where {march}") == both / 4
    assert scanned(f"{query} where {half}") == both / 2
    assert scanned(f"{query} where {either}") == both
    assert scanned("select 1") == 0


def test_a_model_of_outdated_months_scans_checksums_whole_and_of_the_rest_the_month(
    cost: ModuleType, tables: duckdb.DuckDBPyConnection
) -> None:
    company = cost.Company(tables)
    days, checksums = company.weights("activity.user_days"), company.weights("activity.checksums")
    query = (
        "select sum(sessions), any_value(built_from) from activity.user_days inner join activity.checksums "
        "on date_trunc('month', activity_date) = activity_month group by activity_month"
    )
    read = days["sessions"] + days["activity_date"]
    for whole, share in ((frozenset({"activity.checksums"}), 1 / 4), (None, 1)):
        statement = cost.Statement("activity/model", query, whole)
        assert company.bytes_scanned(statement, MONTH) == read * share + sum(checksums.values())


def test_bytes_grow_on_the_line_through_both_sizes_and_credits_are_those_of_an_x_small(
    cost: ModuleType,
) -> None:
    assert cost.extrapolated((100, 50.0), (300, 90.0), 1_000) == 230  # 30 and a fifth of the sessions
    assert cost.extrapolated((100, 7.0), (300, 7.0), 1_000) == 7
    # 8 GB by 8 threads of 0.1 GB/s each are 10 seconds; 100 statements take another 10
    ran = cost.Run({"a": 6e9, "b": 2e9}, statements=100)
    assert cost.seconds_of(ran, 0.1e9) == pytest.approx(20)
    assert cost.credits_of(20, 1) == pytest.approx(80 / 3600)  # and a minute until it sleeps
    assert cost.credits_of(20, 24) == pytest.approx(24 * 80 / 3600)
    assert cost.credits_of(7200, 24) == 24  # it never sleeps


@pytest.mark.slow
def test_an_accounts_history_is_added_up_by_asset(cost: ModuleType, snowflake: Snowflake) -> None:
    """Statements of others, and older ones, are left out; a statement without attributed credits counts as none."""
    usage = "snowflake.account_usage"
    for sql in (
        "create database if not exists snowflake",
        f"create schema if not exists {usage}",
        f"create or replace table {usage}.query_history ({HISTORY})",
        f"create or replace table {usage}.query_attribution_history ({ATTRIBUTED})",
    ):
        snowflake.rows(sql)
    ours = '{{"app": "user-engagement", "asset": "{}"}}'
    for query, tag, hours, scanned, milliseconds, credits_ in (
        ("1", ours.format("activity/user_days"), 1, 3_000, 1_500, 0.5),
        ("2", ours.format("activity/user_days"), 2, 4_000, 500, None),
        ("3", ours.format("marts/survival"), 3, 50, 250, 0.125),
        ("4", ours.format("marts/survival"), 25, 10**9, 10**6, 9.0),
        ("5", '{"app": "another", "asset": "marts/survival"}', 1, 10**9, 10**6, 9.0),
        ("6", "no json", 1, 10**9, 10**6, 9.0),
    ):
        snowflake.rows(
            f"insert into {usage}.query_history select '{query}', '{tag}', "
            f"dateadd('hour', -{hours}, current_timestamp()), {scanned}, {milliseconds}"
        )
        if credits_ is not None:
            snowflake.rows(f"insert into {usage}.query_attribution_history select '{query}', {credits_}")
    assert cost.account_history(days=1) == [
        cost.Billed("activity/user_days", 2, 7_000, 2.0, 0.5),
        cost.Billed("marts/survival", 1, 50, 0.25, 0.125),
    ]
