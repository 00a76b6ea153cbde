"""What `user-engagement doctor` says, and what mends it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
from dagster._core.test_utils import environ

from user_engagement.warehouse.snowflake.doctor import (
    examine,
    judged_grants,
    judged_loader,
    judged_parameters,
    judged_schemas,
)
from user_engagement_tests.support.snowflake import PASSWORD, Snowflake

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_an_account_that_will_do_passes_and_nothing_is_left_in_it(snowflake: Snowflake) -> None:
    findings = {finding.name: finding for finding in examine(snowflake.account)}
    assert all(finding.passed for finding in findings.values())
    assert list(findings) == [
        "connection",
        "role",
        "warehouse",
        "clock",
        "session",
        "database",
        "rights",
        "loading role",
        "reader role",
    ]
    assert [row[1] for row in snowflake.rows("show schemas")] == ["information_schema"]


def test_a_schema_of_another_role_is_named_with_the_grant(snowflake: Snowflake) -> None:
    owners = {"RAW": snowflake.account.role, "MARTS": "SYSADMIN", "PUBLIC": "ACCOUNTADMIN"}
    found = judged_schemas(owners, snowflake.account)
    assert not found.passed
    assert found.remedy == (
        f"grant ownership on schema {snowflake.database}.MARTS to role USER_ENGAGEMENT_ROLE copy current grants;"
    )


def test_a_session_parameter_that_is_not_as_set_is_named_with_the_statement_that_sets_it(
    snowflake: Snowflake,
) -> None:
    found = judged_parameters(
        {"TIMEZONE": "UTC", "WEEK_START": "7", "TIMESTAMP_INPUT_FORMAT": "DD/MM/YYYY"}, snowflake.account
    )
    assert not found.passed
    assert found.remedy == "alter user loader set WEEK_START = 1 TIMESTAMP_INPUT_FORMAT = 'AUTO';"
    assert judged_parameters(
        {"WEEK_START": "1", "QUOTED_IDENTIFIERS_IGNORE_CASE": "false"}, snowflake.account
    ).passed


def test_a_loading_role_that_may_change_the_source_is_named_with_the_statement_that_takes_it_back(
    snowflake: Snowflake,
) -> None:
    """The source `warehouse` needs to read, no more; a mistake could otherwise replace a table of the source."""
    account = snowflake.account
    own = [
        ("USAGE", "DATABASE", snowflake.database),
        ("CREATE SCHEMA", "DATABASE", snowflake.database),
        ("OWNERSHIP", "SCHEMA", f"{snowflake.database}.RAW"),
        ("OWNERSHIP", "TABLE", f"{snowflake.database}.RAW.USER_SIGNUPS"),
        ("OPERATE", "WAREHOUSE", "USER_ENGAGEMENT_WH"),
    ]
    reading = [("USAGE", "SCHEMA", "CRM.PUBLIC"), ("SELECT", "TABLE", "CRM.PUBLIC.SESSIONS")]
    assert judged_loader([*own, *reading], account).passed
    owned = ("OWNERSHIP", "TABLE", f"{snowflake.database}.RAWER.SESSIONS")
    found = judged_loader([*own, *reading, owned, ("INSERT", "TABLE", "CRM.PUBLIC.SESSIONS")], account)
    assert not found.passed
    assert found.remedy == (
        f"grant ownership on TABLE {snowflake.database}.RAWER.SESSIONS to role <its owner> copy current grants; "
        "revoke INSERT on TABLE CRM.PUBLIC.SESSIONS from role USER_ENGAGEMENT_ROLE;"
    )


def test_a_reader_who_may_read_rows_of_users_is_named_with_the_statement_that_takes_it_back(
    snowflake: Snowflake,
) -> None:
    with environ({"SNOWFLAKE_READER_ROLE": "reader"}):
        account = snowflake.account
    database = ("USAGE", "DATABASE", snowflake.database)
    mart = ("SELECT", "TABLE", f"{snowflake.database}.COHORTS.COHORT_RETENTION")
    marts = ("USAGE", "SCHEMA", f"{snowflake.database}.COHORTS")
    users = ("SELECT", "VIEW", f"{snowflake.database}.USER_LEVEL.USER_ACTIVITY_DAILY")
    elsewhere = ("SELECT", "TABLE", "OTHER.RAW.USER_SIGNUPS")
    assert judged_grants([database, mart, marts, elsewhere], account).passed
    assert "grant usage on database" in judged_grants([mart], account).remedy
    assert (
        judged_grants([database, mart, users], account).remedy
        == f"revoke SELECT on VIEW {snowflake.database}.USER_LEVEL.USER_ACTIVITY_DAILY from role READER;"
    )
    for schema in ("USER_LEVEL", "RAW", "STAGING"):
        usage = ("USAGE", "SCHEMA", f"{snowflake.database}.{schema}")
        assert judged_grants([database, mart, marts, usage], account).remedy == (
            f"revoke USAGE on SCHEMA {snowflake.database}.{schema} from role READER;"
        )


def test_a_grant_on_what_is_to_come_is_named_where_it_would_show_users(snowflake: Snowflake) -> None:
    """The setup that was documented granted the use of all future schemas of the database."""
    name = snowflake.database
    with environ({"SNOWFLAKE_READER_ROLE": "reader"}):
        snowflake.rows(f"grant select on future views in schema {name}.marts to role reader")
        assert all(finding.passed for finding in examine(snowflake.account))
        snowflake.rows(f"grant usage on future schemas in database {name} to role reader")
        snowflake.rows(f"grant select on future tables in schema {name}.user_level to role reader")
        found = list(examine(snowflake.account))[-1]
    assert set(found.remedy.split("; ")) == {
        f"revoke USAGE on future SCHEMAS in database {name} from role READER",
        f"revoke SELECT on future TABLES in schema {name}.USER_LEVEL from role READER;",
    }


def test_who_cannot_log_in_gets_one_finding(snowflake: Snowflake) -> None:
    with environ({"SNOWFLAKE_PORT": "9", "SNOWFLAKE_NETWORK_TIMEOUT": "1"}):
        found = list(examine(snowflake.account))
    assert [(finding.name, finding.passed) for finding in found] == [("connection", False)]
    assert "network policies" in found[0].remedy
    assert PASSWORD not in str(found)


@pytest.mark.slow
def test_the_command_says_all_of_it(snowflake: Snowflake, command: Command) -> None:
    done = command("doctor")
    assert done.returncode == 0, done.stderr
    assert "✓ rights: can create a schema" in done.stdout


def test_the_command_without_variables_names_them(command: Command) -> None:
    done = command("doctor")
    assert done.returncode == 2
    assert "SNOWFLAKE_ACCOUNT: Field required" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_full_check_compares_both_warehouses_and_drops_its_schemas(
    snowflake: Snowflake, command: Command
) -> None:
    done = command("doctor", "--full")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all marts are equal" in done.stdout
    assert [row[1] for row in snowflake.rows("show schemas")] == ["information_schema"]
