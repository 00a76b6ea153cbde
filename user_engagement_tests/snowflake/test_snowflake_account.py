"""The account's variables, and that what is secret in them stays so."""

from __future__ import annotations

import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from user_engagement.errors import SettingsError, WarehouseError
from user_engagement.warehouse.snowflake.account import load_account
from user_engagement_tests.support.company import THROUGH

SECRET = "s3cret-that-nobody-may-see"
ACCOUNT = {
    "ACCOUNT": "org-account",
    "USER": "loader",
    "ROLE": "engagement",
    "WAREHOUSE": "wh",
    "DATABASE": "analytics",
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "PRIVATE_KEY_PATH",
        "PRIVATE_KEY_PASSPHRASE",
        "TOKEN",
        "AUTHENTICATOR",
        "PASSWORD",
        "HOST",
        "PORT",
    ):
        monkeypatch.delenv(f"SNOWFLAKE_{name}", raising=False)
    for name, value in ACCOUNT.items():
        monkeypatch.setenv(f"SNOWFLAKE_{name}", value)


def test_names_are_folded_once_and_schemas_get_the_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNOWFLAKE_PASSWORD", SECRET)
    monkeypatch.setenv("SNOWFLAKE_SCHEMA_PREFIX", "dev_")
    account = load_account()
    assert account.table_name("raw", "user_signups") == "ANALYTICS.DEV_RAW.USER_SIGNUPS"


@pytest.mark.parametrize(
    ("variables", "arguments"),
    [
        ({"PASSWORD": SECRET}, {"password": SECRET}),
        ({"TOKEN": SECRET}, {"authenticator": "programmatic_access_token", "token": SECRET}),
        ({"TOKEN": SECRET, "AUTHENTICATOR": "oauth"}, {"authenticator": "oauth", "token": SECRET}),
    ],
)
def test_a_secret_reaches_the_connector_alone(
    variables: dict[str, str], arguments: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"SNOWFLAKE_{name}", value)
    account = load_account()
    given = account.connection_arguments(asset="a")
    assert given.items() >= arguments.items()
    assert given["socket_timeout"] == 120
    assert SECRET not in repr(account) + str(account) + account.model_dump_json()


def test_a_key_pair_is_named_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = tmp_path / "key.p8"
    key.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    monkeypatch.setenv("SNOWFLAKE_PRIVATE_KEY_PATH", str(key))
    monkeypatch.setenv("SNOWFLAKE_PRIVATE_KEY_PASSPHRASE", SECRET)
    given = load_account().connection_arguments()
    assert given["authenticator"] == "SNOWFLAKE_JWT"
    assert given["private_key_file"] == str(key)
    assert given["private_key_file_pwd"] == SECRET


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ROLE", "", "SNOWFLAKE_ROLE: Field required"),
        ("DATABASE", "a; drop table b", "SNOWFLAKE_DATABASE: String should match"),
        ("PORT", "many", "SNOWFLAKE_PORT: Input should be a valid integer"),
        ("TOKEN", SECRET, "SNOWFLAKE_TOKEN and SNOWFLAKE_PASSWORD is set"),
        ("PASSWORD", "", "none of them is set"),
        ("PRIVATE_KEY_PATH", "/nowhere/key.p8", "set one of"),
    ],
)
def test_a_mistake_is_named_and_no_secret_with_it(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNOWFLAKE_PASSWORD", SECRET)
    monkeypatch.setenv(f"SNOWFLAKE_{name}", value)
    with pytest.raises(SettingsError, match=message) as error:
        load_account()
    assert SECRET not in "".join(traceback.format_exception(error.value))


def test_who_cannot_log_in_is_told_so_without_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    from user_engagement.warehouse.snowflake.connection import connect

    monkeypatch.setenv("SNOWFLAKE_PASSWORD", SECRET)
    for name, value in {"HOST": "127.0.0.1", "PORT": "9", "PROTOCOL": "http", "NETWORK_TIMEOUT": "1"}.items():
        monkeypatch.setenv(f"SNOWFLAKE_{name}", value)
    with pytest.raises(WarehouseError, match="loader cannot log in") as error, connect(load_account()):
        pass
    assert SECRET not in "".join(traceback.format_exception(error.value))


@pytest.mark.long
@pytest.mark.slow
def test_with_duckdb_nothing_of_snowflake_is_imported(company: Path, tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from user_engagement.settings import load_settings\n"
        "from user_engagement import cli, pipeline\n"
        "from user_engagement.publishing import export\n"
        "from user_engagement.code_location import build_definitions\n"
        f"settings = load_settings(home={str(tmp_path)!r}, source='files', source_path={str(company)!r},"
        f" as_of='{THROUGH}')\n"
        "build_definitions(settings)\n"
        "theirs = ('snowflake.', 'dagster_snowflake', 'dbt.adapters.snowflake')\n"
        "print([name for name in sys.modules if name.startswith(theirs)])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stdout
