"""Which columns a model's columns come from, in the SQL that dbt sent."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from user_engagement.assets.column_lineage import column_lineage, compiled_models

SIGNUPS, USERS = dg.AssetKey(["staging", "signups"]), dg.AssetKey(["activity", "users"])
TABLES = {
    ("staging", "signups"): (SIGNUPS, {"user_id": "varchar", "signup_date": "date", "country": "varchar"}),
    ("activity", "users"): (USERS, {"user_id": "varchar", "active_days": "bigint"}),
}
QUERY = """
    with __dbt__cte__first as (select * from {staging}.signups),
    joined as (
        select first.country, first.signup_date, users.active_days, 1 as constant
        from __dbt__cte__first as first left join {activity}.users as users on first.user_id = users.user_id
    ),
    final as (
        select country, min(signup_date) as since, sum(active_days) / count(*) as rate,
            count(*) as users, max(constant) as one
        from joined group by country
    )
    select * from final
"""


@pytest.mark.parametrize(
    ("dialect", "staging", "activity"),
    [
        ("duckdb", '"warehouse"."staging"', '"warehouse"."activity"'),
        ("snowflake", "ANALYTICS.TEAM_STAGING", "ANALYTICS.TEAM_ACTIVITY"),
    ],
)
def test_columns_are_followed_through_ephemeral_models_stars_and_aggregates(
    dialect: str, staging: str, activity: str
) -> None:
    found = column_lineage(QUERY.format(staging=staging, activity=activity), TABLES, dialect)
    assert found
    origins = {
        column: [(dep.asset_key, dep.column_name) for dep in deps]
        for column, deps in found.deps_by_column.items()
    }
    assert origins == {
        "country": [(SIGNUPS, "country")],
        "since": [(SIGNUPS, "signup_date")],
        "rate": [(USERS, "active_days")],
        "users": [],
        "one": [],
    }


def test_sql_that_cannot_be_understood_has_no_lineage_and_fails_nothing() -> None:
    assert column_lineage("select from where", TABLES, "duckdb") is None


def test_models_are_found_among_what_dbt_compiled_and_their_tests_are_not(tmp_path: Path) -> None:
    folder = tmp_path / "compiled" / "project" / "models" / "marts"
    (folder / "_models.yml").mkdir(parents=True)
    (folder / "churn.sql").write_text("select 1")
    (folder / "_models.yml" / "not_null_churn.sql").write_text("select 2")
    assert compiled_models(tmp_path) == {"churn": "select 1"}
    assert compiled_models(tmp_path / "nothing was built") == {}
