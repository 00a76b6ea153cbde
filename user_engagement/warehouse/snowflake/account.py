"""Where Snowflake is and who asks: the variables ``SNOWFLAKE_*``, validated once. Imports nothing of Snowflake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from user_engagement.errors import SettingsError

PREFIX = "SNOWFLAKE_"
NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
# of the session: what SQL depends on, whatever account and user say, and how long it may take.
# dbt's sessions get the same from the macro `session_parameters`
SESSION_PARAMETERS: dict[str, str | int | bool] = {
    "DATE_INPUT_FORMAT": "AUTO",
    "DATE_OUTPUT_FORMAT": "YYYY-MM-DD",
    "TIMESTAMP_INPUT_FORMAT": "AUTO",
    "TIMESTAMP_TYPE_MAPPING": "TIMESTAMP_NTZ",
    "TIMEZONE": "UTC",
    "WEEK_START": 1,
    "QUOTED_IDENTIFIERS_IGNORE_CASE": False,
    "ROWS_PER_RESULTSET": 0,
    # of a client that is gone, statements are ended after five minutes
    "ABORT_DETACHED_QUERY": True,
    # seconds that another transaction may hold a table; longer than a lost session keeps its locks
    "LOCK_TIMEOUT": 600,
}


class SnowflakeAccount(BaseSettings):
    """A Snowflake account, and how to log in to it: with a key pair, a token or a password."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    account: str = Field(description="Account identifier, ORGANIZATION-ACCOUNT.")
    user: str = Field(description="User who logs in.")
    role: str = Field(pattern=NAME, description="Role that owns the schemas.")
    warehouse: str = Field(pattern=NAME, description="Virtual warehouse that computes.")
    database: str = Field(pattern=NAME, description="Database that holds the schemas.")
    schema_prefix: str = Field(
        "", pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$", description="Put before the names of the schemas."
    )
    private_key_path: Path | None = Field(None, description="File of the private key, PKCS#8 PEM.")
    private_key_passphrase: SecretStr | None = Field(
        None, description="What the private key is encrypted with."
    )
    token: SecretStr | None = Field(None, description="Programmatic access token, or OAuth access token.")
    authenticator: Literal["programmatic_access_token", "oauth"] = Field(
        "programmatic_access_token", description="Kind of the token."
    )
    password: SecretStr | None = Field(None, description="Password, where nothing better is allowed.")
    host: str | None = Field(None, description="Host, for private links; that of the account if unset.")
    port: int = Field(443, ge=1, le=65535, description="Port of the host.")
    protocol: Literal["https", "http"] = Field("https", description="http for emulators alone.")
    network_timeout: int = Field(
        120, ge=1, le=3600, description="Seconds after which a request that is not answered is sent again."
    )
    statement_timeout: int = Field(
        3600, ge=1, le=86_400, description="Seconds that a statement may run, and as many that it may queue."
    )
    reader_role: str | None = Field(
        None, pattern=NAME, description="Role that may read the aggregated marts; dbt grants it."
    )

    @field_validator("role", "warehouse", "database", "schema_prefix", "reader_role")
    @classmethod
    def _folded(cls, value: str | None) -> str | None:
        return value and value.upper()

    @model_validator(mode="after")
    def _one_way_in(self) -> SnowflakeAccount:
        ways = {
            "PRIVATE_KEY_PATH": self.private_key_path,
            "TOKEN": self.token,
            "PASSWORD": self.password,
        }
        given = [PREFIX + name for name, value in ways.items() if value is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise ValueError(f"set one of {', '.join(PREFIX + name for name in ways)}; {found} is set")
        if self.private_key_path and not self.private_key_path.is_file():
            raise ValueError(f"{PREFIX}PRIVATE_KEY_PATH: there is no file {self.private_key_path}")
        return self

    def schema_name(self, schema: str) -> str:
        """The account's name of one of the project's schemas."""
        return f"{self.schema_prefix}{schema}".upper()

    def table_name(self, schema: str, table: str) -> str:
        return f"{self.database}.{self.schema_name(schema)}.{table.upper()}"

    def connection_arguments(self, **tags: str) -> dict[str, Any]:
        """Arguments of ``snowflake.connector.connect``; ``tags`` are what the query history shows of each query."""
        arguments: dict[str, Any] = {
            "account": self.account,
            "user": self.user,
            "role": self.role,
            "warehouse": self.warehouse,
            "database": self.database,
            "host": self.host,
            "port": self.port,
            "protocol": self.protocol,
            "login_timeout": min(self.network_timeout, 60),
            # Snowflake answers within a minute, if only that a statement is still running
            "socket_timeout": self.network_timeout,
            # a request is repeated for so long; the connector also cancels a *running* statement then, which
            # Snowflake must have ended by itself before
            "network_timeout": 2 * self.statement_timeout + self.network_timeout,
            "autocommit": True,
            "application": "user_engagement",
            "session_parameters": {
                **SESSION_PARAMETERS,
                "QUERY_TAG": json.dumps({"app": "user-engagement", **tags}),
                "STATEMENT_TIMEOUT_IN_SECONDS": self.statement_timeout,
                "STATEMENT_QUEUED_TIMEOUT_IN_SECONDS": self.statement_timeout,
            },
        }
        if self.private_key_path:
            arguments |= {"authenticator": "SNOWFLAKE_JWT", "private_key_file": str(self.private_key_path)}
            if self.private_key_passphrase:
                arguments["private_key_file_pwd"] = self.private_key_passphrase.get_secret_value()
        elif self.token:
            arguments |= {"authenticator": self.authenticator, "token": self.token.get_secret_value()}
        elif self.password:
            arguments["password"] = self.password.get_secret_value()
        return {name: value for name, value in arguments.items() if value is not None}


def load_account(**overrides: Any) -> SnowflakeAccount:
    """The account that the environment names, with ``overrides`` on top.

    Raises:
        SettingsError: a variable is missing or cannot be used; the message names it, and never a secret.
    """
    try:
        return SnowflakeAccount(**overrides)
    except ValidationError as error:
        raise SettingsError("\n".join(_described(problem) for problem in error.errors())) from None


def _described(problem: Any) -> str:
    message = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        return message
    name = str(problem["loc"][0])
    field = SnowflakeAccount.model_fields[name]
    return f"{PREFIX}{name.upper()}: {message} ({field.description})"
