"""Users who are forgotten in Snowflake: no table names them, and no load brings them back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from dagster._core.test_utils import environ

from user_engagement.contracts.raw import USER_ENGAGEMENT, Window
from user_engagement.forgetting import forget
from user_engagement.pipeline import plan, run
from user_engagement.settings import Settings, TableMapping
from user_engagement.sources.warehouse import WarehouseSource
from user_engagement.warehouse.forgotten import read_forgotten
from user_engagement.warehouse.snowflake.source_tables import SnowflakeTables
from user_engagement.warehouse.snowflake.warehouse import SnowflakeWarehouse
from user_engagement_tests.support.company import busy_users, with_long_ids
from user_engagement_tests.support.comparing import assert_same_marts
from user_engagement_tests.support.snowflake import Snowflake
from user_engagement_tests.support.worlds import exported

pytestmark = pytest.mark.slow


@pytest.mark.long
def test_they_leave_marts_as_without_them_and_do_not_come_back(
    snowflake: Snowflake, settings_for: Callable[..., Settings], company: Path, tmp_path: Path
) -> None:
    users = busy_users(company)
    hosted = settings_for(warehouse="snowflake", source_path=with_long_ids(company, tmp_path / "whole"))
    run(hosted, plan(hosted))
    proof = forget(hosted, users)
    assert proof.left == ()
    assert proof.removed["raw.user_signups"] >= 2
    assert proof.removed["user_level.user_numbers"] == 2
    part = with_long_ids(company, tmp_path / "part", users)
    embedded = settings_for(home=tmp_path / "embedded", source_path=part)
    with environ({"USER_ENGAGEMENT_HOME": str(embedded.home)}):
        run(embedded, plan(embedded))
        wanted = exported(embedded, tmp_path / "wanted")
    assert_same_marts(exported(hosted, tmp_path / "found"), wanted)
    run(hosted, plan(hosted, full=True))
    named = ", ".join(f"'{user}'" for user in users)
    for table in ("raw.user_signups", "raw.user_engagement", "raw.churn_data", "user_level.user_numbers"):
        assert snowflake.rows(f"select count(*) from {table} where user_id in ({named})") == [(0,)]


def test_a_slice_of_tables_in_the_account_leaves_them_where_they_are(
    snowflake: Snowflake, tmp_path: Path
) -> None:
    snowflake.rows("create schema crm")
    snowflake.rows(
        "create table crm.sessions as select * from (values ('customer-1', '2025-03-05', '60', 'visit'),"
        " ('customer-2', '2025-03-06', '60', 'visit'), ('customer-1', 'soon', '60', 'visit'))"
        " as rows_found (user_id, engagement_date, session_duration, interaction_type)"
    )
    forgotten = tmp_path / "forgotten.json"
    read_forgotten(forgotten).including(["customer-1"]).write(forgotten)
    mapped = {USER_ENGAGEMENT.name: TableMapping("crm.sessions")}
    source = WarehouseSource(SnowflakeTables(snowflake.account, None), mappings=mapped)
    warehouse = SnowflakeWarehouse(snowflake.account, "500MB", forgotten)
    loaded = warehouse.replace_slice(source.extract(USER_ENGAGEMENT, Window()))
    assert (loaded.rows, loaded.rejected_rows) == (1, 0)
    assert snowflake.rows("select user_id from raw.user_engagement") == [("customer-2",)]
    assert len(snowflake.rows("select * from crm.sessions")) == 3
