"""What the reader role may select in Snowflake, after runs of the whole pipeline and after grants on whole schemas."""

from __future__ import annotations

from pathlib import Path

import pytest
from dagster._core.test_utils import environ

from user_engagement.contracts.marts import MARTS
from user_engagement.errors import WarehouseError
from user_engagement.insights.tables import OF_USERS, TABLES
from user_engagement.pipeline import plan, run
from user_engagement.settings import load_settings
from user_engagement.warehouse.schemas import NAMING_USERS, SCHEMAS
from user_engagement_tests.support.company import THROUGH
from user_engagement_tests.support.snowflake import Snowflake

pytestmark = [pytest.mark.slow, pytest.mark.long]

AGGREGATED = {
    *(f"{mart.schema}.{name}" for name, mart in MARTS.items() if not mart.is_per_user),
    *(f"insights.{name}" for name in TABLES if name not in OF_USERS),
}


def names_of_tables(snowflake: Snowflake, which: str = "") -> set[str]:
    """The tables and views of the pipeline, or those with a column of some kind."""
    columns = f"{snowflake.database}.information_schema.columns"
    found = snowflake.rows(f"select distinct table_schema, table_name from {columns} {which}")
    return {f"{schema}.{name}".lower() for schema, name in found if schema.lower() in SCHEMAS}


def selectable(snowflake: Snowflake) -> set[str]:
    """The tables and views of the pipeline that the role can read when it logs in and tries."""
    names = names_of_tables(snowflake)
    assert len(names) > len(AGGREGATED)
    with environ({"SNOWFLAKE_ROLE": "reader"}):
        return {name for name in names if _reads(snowflake, name)}


def _reads(snowflake: Snowflake, name: str) -> bool:
    try:
        snowflake.rows(f"select count(*) from {snowflake.database}.{name}")
    except WarehouseError as error:
        if "not authorized" in str(error):
            return False
        raise
    return True


@pytest.mark.usefixtures("with_extras")
def test_after_runs_of_the_pipeline_the_reader_reads_exactly_the_aggregated_marts(
    snowflake: Snowflake, company: Path, tmp_path: Path
) -> None:
    """A grant by mistake does not outlive the next run, and the right ones outlive tables that are replaced."""
    settings = load_settings(
        home=tmp_path, source="files", source_path=str(company), as_of=THROUGH, warehouse="snowflake"
    )
    with environ({"USER_ENGAGEMENT_HOME": str(settings.home), "SNOWFLAKE_READER_ROLE": "reader"}):
        run(settings, plan(settings))
        assert selectable(snowflake) == AGGREGATED
        mistakes = ("user_level.user_activity_daily", "user_level.at_risk_users")
        snowflake.rows(f"grant usage on schema {snowflake.database}.user_level to role reader")
        for name in mistakes:
            snowflake.rows(f"grant select on {snowflake.database}.{name} to role reader")
        assert selectable(snowflake) == {*AGGREGATED, *mistakes}
        run(settings, plan(settings, full=True))
    assert selectable(snowflake) == AGGREGATED
    # as a grant on all tables and views of the schemas that name no user, or on future ones
    aggregated = {name for name in names_of_tables(snowflake) if name.split(".")[0] not in NAMING_USERS}
    for schema in {name.split(".")[0] for name in aggregated}:
        snowflake.rows(f"grant usage on schema {snowflake.database}.{schema} to role reader")
    for name in aggregated:
        snowflake.rows(f"grant select on {snowflake.database}.{name} to role reader")
    assert selectable(snowflake) == aggregated > AGGREGATED
    assert not aggregated & names_of_tables(snowflake, "where column_name in ('USER_ID', 'USER_NUMBER')")
