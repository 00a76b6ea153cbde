"""All settings, read from the environment and validated once.

A wrong value raises a `SettingsError` that names the variable, the value and what is allowed.
"""

from __future__ import annotations

import os
import re
from datetime import date
from difflib import get_close_matches
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.dataclasses import dataclass
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from user_engagement.errors import SettingsError

PREFIX = "USER_ENGAGEMENT_"
PACKAGE = Path(__file__).resolve().parent
_SHIPPED = PACKAGE / "shipped"
PROJECT_ROOT = _SHIPPED if _SHIPPED.exists() else PACKAGE.parent
"""The folder with the dbt project, ``dagster.yaml`` and ``workspace.yaml``: the checkout, or copies in the package."""
SHIPPED_DBT_PROJECT = PROJECT_ROOT / "user_engagement_dbt"
DEFAULT_SEGMENTS = ("product_type", "acquisition_channel", "country")
MOST_SESSION_SECONDS = 366 * 86_400
IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*")
KPI_LIMIT = re.compile(r"([a-z][a-z0-9_]*)\s*(<=|>=|<|>)\s*(-?\d+(?:\.\d+)?)")
THIS_HOST = ("127.0.0.1", "::1", "localhost")
VISIBLE_ASCII = re.compile(r"[!-~]+")
ADDRESS = re.compile(r"(\*|[^@\s*]+)@[^@\s*]+")
SHORTEST_KEY = 32
SOURCES = ("simulated", "files", "database", "snowplow", "warehouse")
SOURCES_GROUP = "user_engagement.sources"
"""Entry points of further kinds of sources: functions that take the settings and return a `Source`."""
ALERTS_GROUP = "user_engagement.alerts"
"""Entry points of further ways of alerts: functions that take the settings and return a `Delivery`."""
PREFIX_END = "__"
"""Between the prefix and the name of what Dagster shows."""
_SQL_WORDS = """
    account all alter analyse analyze and any array as asc asymmetric between both by case cast check collate
    column connect constraint create cross current database default deferrable delete desc describe distinct do
    drop else end except exists false fetch following for foreign from full grant group gscluster having ilike
    in increment initially inner insert intersect into is issue join lambda lateral leading left like limit
    localtime localtimestamp minus natural not null of offset on only or order organization placing pivot
    primary qualify references regexp returning revoke right rlike row rows sample schema select set show some
    start summarize symmetric table tablesample then to trailing trigger true try_cast union unique unpivot
    update using values variadic view when whenever where window with
"""
SQL_WORDS = frozenset(_SQL_WORDS.split())
"""Words that neither warehouse takes for a column's name unquoted."""
_OWN_COLUMNS = """
    active_calendar_months active_day_n active_days active_days_30 active_relative_months days_since_signup
    declared_churn_date first_active_date in_scope inactive_churn_count inactive_churn_date is_inactive
    last_active_date lifecycle_state observed_through reactivated_date segment_cell sessions signed_up_at
    signup_date signup_month signup_number user_id user_number
"""
OWN_COLUMNS = frozenset(_OWN_COLUMNS.split())
"""Columns that the models add to a user's own."""
MISSING_WORDS = (
    *(
        "nan",
        "-nan",
        "nat",
        "null",
        "nil",
        "none",
        "undefined",
        "<na>",
        "n/a",
        "\\n",
        "(null)",
        "<null>",
        "[null]",
        "(none)",
    ),
    # errors of spreadsheets, and an object that JavaScript was to write as text
    *("#n/a", "#na", "#n/a n/a", "#null!", "#ref!", "#value!", "#name?", "#div/0!", "[object object]"),
)
EARLIEST_DATE = date(1971, 1, 1)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class TableMapping:
    """The table and columns of a source's database that hold a raw table.

    Args:
        table: the table or view, schema-qualified where it is not in the default schema.
        columns: name in the raw table to name of the source's column; others keep their names.
        updated_at: the source's column that changes with every change of a row, for fingerprints.
        events: the kind of events that the table holds, out of which sessions are made; None if its rows are sessions.
    """

    table: str
    columns: dict[str, str] = Field(default_factory=dict)
    updated_at: str | None = None
    events: Literal["snowplow"] | None = None


class Settings(BaseSettings):
    """The project's settings; each is read from ``USER_ENGAGEMENT_`` + its name in upper case."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    home: Path = Field(Path(".user_engagement"), description="Folder that holds all state.")
    warehouse: Literal["duckdb", "snowflake"] = Field("duckdb", description="Where the tables live.")
    parallel_loads: int = Field(
        1, ge=1, le=8, description="Runs that may load raw tables at the same time; 1 in DuckDB."
    )
    source: str = Field("simulated", description="Kind of source to extract from.")
    source_path: str | None = Field(
        None, repr=False, description="Folder, database URL, or place in the warehouse, of the source."
    )
    users_path: str | None = Field(
        None, repr=False, description="Folder or database URL of signups and churn, if elsewhere."
    )
    source_tables: dict[str, TableMapping] = Field(
        default_factory=dict,
        description="Names of tables and columns in the source's database or warehouse, as JSON.",
    )
    snowplow_heartbeat_seconds: int = Field(
        10, ge=1, le=3600, description="Interval of Snowplow's page pings."
    )
    snowplow_minimum_visit_seconds: int = Field(
        5, ge=0, le=3600, description="Seconds until the first page ping of a view."
    )
    snowplow_duration: Literal["engaged", "elapsed"] = Field(
        "engaged", description="Duration of a Snowplow session: time engaged, by page pings, or elapsed."
    )
    snowplow_visit_timeout_seconds: int = Field(
        1800, ge=60, le=86_400, description="Time without events after which a Snowplow session ends."
    )
    snowplow_bots: bool = Field(False, description="Count events of bots and crawlers as engagement.")
    snowplow_table: str = Field("atomic.events", description="Table of Snowplow events, if in a database.")
    snowplow_look_back_days: int = Field(
        3,
        ge=0,
        le=365,
        description="Days by which the load times of events in a warehouse may be out of order.",
    )
    start: date | None = Field(None, description="First month to load, YYYY-MM; the source's first if unset.")
    end: date | None = Field(None, description="Last month to load, YYYY-MM; the source's last if unset.")
    as_of: date | None = Field(None, description="Last complete day of data; the newest day if unset.")
    data_start: date | None = Field(None, description="First day on which the events are complete.")
    timezone: str = Field("UTC", description="Time zone of the calendar days.")
    missing_words: Annotated[tuple[str, ...], NoDecode] = Field(
        MISSING_WORDS, description="Words that stand for a missing value, in any case, comma-separated."
    )
    earliest_date: date = Field(
        EARLIEST_DATE, description="Earlier dates are placeholders: no churn, and no usable signup or event."
    )
    sentinel_dates: Annotated[tuple[date, ...], NoDecode] = Field(
        (),
        description="More days that are placeholders, comma-separated; the year 2900 and later always are.",
    )
    event_ids_per_user: bool = Field(
        False,
        description="Whether event ids are unique within a user alone, not in the whole table.",
    )
    accept_loss: bool = Field(
        False, description="Load a source although most of a table, or its newest part, is gone."
    )
    segments: Annotated[tuple[str, ...], NoDecode] = Field(
        DEFAULT_SEGMENTS, description="Signup columns to break metrics down by, comma-separated."
    )
    active_window_days: int = Field(
        28, ge=2, le=366, description="Window of monthly active users (`mau`) in days."
    )
    inactivity_days: int = Field(
        28, ge=2, le=366, description="Days without activity that make a user churn."
    )
    max_session_seconds: float = Field(
        86_400,
        gt=0,
        le=MOST_SESSION_SECONDS,
        description="Longer sessions count as active days, but not in durations.",
    )
    max_periods: int = Field(24, ge=1, le=60, description="Last retention period published.")
    seed: int = Field(7, ge=0, description="Seed of all random numbers.")
    memory_limit: str = Field(
        "2GB",
        pattern=r"(?i)^[1-9]\d*(\.\d+)?\s*(MB|GB|MiB|GiB)$",
        description="Memory limit of DuckDB.",
    )
    models: Path | None = Field(
        None, description="Folder of more dbt models, such as marts/revenue_retention.sql, and their YAML."
    )
    dbt_in_process: bool = Field(True, description="Run dbt inside this process rather than as a subprocess.")
    dagster_prefix: str = Field(
        "",
        pattern=r"^([a-z][a-z0-9_]*)?$",
        description="Put before the keys of assets and the names of groups, jobs, sensors and schedules.",
    )
    automation: bool = Field(True, description="Whether sensors and schedules start switched on.")
    keep_days: int = Field(
        90,
        ge=1,
        description="Days after which a run's folder and its events are removed, if newer runs replaced it.",
    )
    keep_runs: int = Field(
        500,
        ge=10,
        description="Number of newest runs whose folders and events are kept, however many days they cover.",
    )
    stale_after_minutes: float = Field(
        10,
        ge=0,
        description="Minutes that new source data may wait before checks report the marts as stale.",
    )
    stale_after_hours: float = Field(
        36,
        gt=0,
        description="Age in hours at which the freshness policy of marts and published output fails.",
    )
    alert_webhook_url: SecretStr | None = Field(
        None, description="Where alerts are posted, http or https; they go to the log if unset."
    )
    alert_webhook_secret: SecretStr | None = Field(
        None, description="Secret that signs posted alerts; only their receiver knows it."
    )
    alert_urls: SecretStr | None = Field(
        None,
        description="Apprise addresses of Slack, Microsoft Teams, e-mail and others, with blanks between.",
    )
    alert_channels: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Entry points of ways of alerts that a team adds, comma-separated."
    )
    kpi_limits: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="What KPIs are to be, comma-separated: churn_rate_declared < 0.05, retention_1_month > 0.3.",
    )
    insights: bool = Field(True, description="Whether to compute why engagement changes.")
    publish_users: bool = Field(
        False,
        description="Publish `user_lifecycle` and `at_risk_users` too, user ids replaced by keyed hashes.",
    )
    pseudonym_key: SecretStr | None = Field(
        None,
        description="Key of these hashes, at least 32 characters; anybody who has it can recognise users.",
    )
    publish_report: bool = Field(True, description="Write the report, one HTML file, into each generation.")
    csv_escape_formulas: bool = Field(
        True,
        description="Put an apostrophe before text in exported CSV files that a spreadsheet would run as a formula.",
    )
    annotations: Path | None = Field(
        None,
        description="CSV file with columns `day` and `label`: releases and campaigns, drawn on time lines.",
    )
    labels: Path | None = Field(
        None,
        description="CSV file with columns `name` and `label`: the labels of columns and values on screen.",
    )
    dashboard_port: int = Field(
        8501, ge=1024, le=65535, description="Port of the dashboard; the next free one if it is taken."
    )
    dashboard_host: str = Field(
        "127.0.0.1",
        description="Address that the dashboard listens on; any but this host's own wants DASHBOARD_LOGIN or a proxy.",
    )
    dashboard_proxy: str = Field(
        "",
        description="The proxy that asks for a login in place of the dashboard: its name, for who reads the settings.",
    )
    dashboard_address: str = Field(
        "http://127.0.0.1:8501", description="Where readers open the dashboard: the base of links in digests."
    )
    dashboard_login: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Who may log in, by e-mail, comma-separated, `*@example.com` for a domain; no login if unset.",
    )

    @field_validator("start", "end", mode="before")
    @classmethod
    def _month(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return date.fromisoformat(f"{value}-01" if len(value) == len("2025-03") else value)
        except ValueError:
            raise ValueError("not a month; write it as 2025-03") from None

    @field_validator("missing_words", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(dict.fromkeys(word for part in value.split(",") if (word := part.strip().lower())))

    @field_validator("sentinel_dates", mode="before")
    @classmethod
    def _days(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(cls._day(part.strip()) for part in value.split(",") if part.strip())

    @field_validator("as_of", "data_start", "earliest_date", mode="before")
    @classmethod
    def _day(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise ValueError("not a day; write it as 2025-03-31") from None

    @field_validator("home", mode="after")
    @classmethod
    def _home(cls, value: Path) -> Path:
        return value.expanduser()

    @field_validator("start", "end")
    @classmethod
    def _first_of_month(cls, value: date | None) -> date | None:
        return None if value is None else value.replace(day=1)

    @field_validator("source")
    @classmethod
    def _known_source(cls, value: str) -> str:
        kinds = (*SOURCES, *entry_points(group=SOURCES_GROUP).names)
        if value not in kinds:
            raise ValueError(f"no kind of source; use one of {', '.join(kinds)}")
        return value

    @field_validator("kpi_limits", mode="before")
    @classmethod
    def _limits(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        limits = tuple(part.strip() for part in value.split(",") if part.strip())
        for limit in limits:
            if not KPI_LIMIT.fullmatch(limit):
                raise ValueError(f"{limit!r} is no limit; write it as churn_rate_declared < 0.05")
        return limits

    @field_validator("alert_channels", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value

    @field_validator("alert_channels")
    @classmethod
    def _known_channels(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        installed = entry_points(group=ALERTS_GROUP).names
        for name in value:
            if name not in installed:
                raise ValueError(
                    f"{name!r}: no installed package has an entry point of this name in {ALERTS_GROUP}"
                )
        return value

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        # `localtime` means another zone on each machine
        if value not in available_timezones() or value == "localtime":
            raise ValueError("not a time zone name; use one such as UTC or Europe/Berlin")
        return value

    @field_validator("dashboard_login", mode="before")
    @classmethod
    def _addresses(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        addresses = tuple(part.strip().lower() for part in value.split(",") if part.strip())
        for address in addresses:
            if not ADDRESS.fullmatch(address):
                raise ValueError(
                    f"{address!r} is not an e-mail address; write ann@example.com or *@example.com"
                )
        return addresses

    @field_validator("segments", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(dict.fromkeys(part.strip().lower() for part in value.split(",") if part.strip()))

    @field_validator("segments")
    @classmethod
    def _column_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not IDENTIFIER.fullmatch(name) or name in OWN_COLUMNS | SQL_WORDS:
                raise ValueError(
                    f"{name!r} cannot be a segment: it is a word of SQL, a column of the models' own, or not in "
                    "lower-case letters, digits and _; rename the column in the source, or map it to another name"
                )
        return value

    @model_validator(mode="after")
    def _in_order(self) -> Settings:
        if self.start and self.end and self.start > self.end:
            raise ValueError(
                f"{PREFIX}START {self.start:%Y-%m} is after {PREFIX}END {self.end:%Y-%m}; swap them"
            )
        return self

    @model_validator(mode="after")
    def _one_writer_of_a_file(self) -> Settings:
        if self.parallel_loads > 1 and self.warehouse == "duckdb":
            raise ValueError(
                f"{PREFIX}PARALLEL_LOADS={self.parallel_loads}: a DuckDB file takes one writer; set it to 1, or "
                f"{PREFIX}WAREHOUSE=snowflake"
            )
        return self

    # validators of the model, because errors of a field's validator show its value, which is secret here
    @model_validator(mode="after")
    def _signed_webhook(self) -> Settings:
        if self.alert_webhook_url is None:
            return self
        if not _is_http_url(self.alert_webhook_url.get_secret_value()):
            raise ValueError(
                f"{PREFIX}ALERT_WEBHOOK_URL (not shown: it may hold secrets) is not an http or https URL;"
                " write it as https://alerts.example.com/hook"
            )
        if self.alert_webhook_secret is None:
            raise ValueError(
                f"{PREFIX}ALERT_WEBHOOK_SECRET is not set, but {PREFIX}ALERT_WEBHOOK_URL is: set it to a long random"
                " value that the receiver knows too, such as `openssl rand -hex 32` prints"
            )
        return self

    @model_validator(mode="after")
    def _shown_to_nobody_by_mistake(self) -> Settings:
        is_open = self.dashboard_host not in THIS_HOST
        if is_open and not self.dashboard_login and not self.dashboard_proxy:
            raise ValueError(
                f"{PREFIX}DASHBOARD_HOST={self.dashboard_host} shows the dashboard to other machines without a login:"
                f" set {PREFIX}DASHBOARD_LOGIN, or {PREFIX}DASHBOARD_PROXY to the name of the proxy that asks for one"
            )
        return self

    @model_validator(mode="after")
    def _pseudonyms_have_a_key(self) -> Settings:
        if self.publish_users and len(_secret(self.pseudonym_key)) < SHORTEST_KEY:
            raise ValueError(
                f"{PREFIX}PSEUDONYM_KEY is not set, or shorter than {SHORTEST_KEY} characters, but"
                f" {PREFIX}PUBLISH_USERS is on: set it to a long random value, such as `openssl rand -hex 32` prints"
            )
        return self

    def dagster_name(self, name: str) -> str:
        """The name of a group, job, sensor or schedule in Dagster: with the prefix, if there is one."""
        return f"{self.dagster_prefix}{PREFIX_END}{name}" if self.dagster_prefix else name

    @property
    def segments_are_default(self) -> bool:
        return "segments" not in self.model_fields_set

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    @property
    def warehouse_file(self) -> Path:
        return self.home.absolute() / "warehouse.duckdb"

    @property
    def forgotten_file(self) -> Path:
        return self.home.absolute() / "forgotten.json"

    @property
    def published_dir(self) -> Path:
        return self.home.absolute() / "published"

    @property
    def simulated_home(self) -> Path:
        return self.home.absolute() / "sources"

    @property
    def dagster_home(self) -> Path:
        return self.home.absolute() / "dagster"

    @property
    def dbt_target_dir(self) -> Path:
        return self.home.absolute() / "dbt" / self.warehouse

    @property
    def dbt_project_dir(self) -> Path:
        return self.home.absolute() / "dbt" / "project" if self.models else SHIPPED_DBT_PROJECT


def _secret(value: SecretStr | None) -> str:
    return value.get_secret_value() if value else ""


def _is_http_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises if it is not a number
    except ValueError:
        return False
    # a URL must percent-encode everything except visible ASCII
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and VISIBLE_ASCII.fullmatch(text) is not None
    )


def describe(error: ValidationError) -> str:
    """A pydantic error as text, one line per variable: its name, its value and what is allowed."""
    lines = []
    for problem in error.errors():
        message = problem["msg"].removeprefix("Value error, ")
        if not problem["loc"]:
            lines.append(message)
            continue
        name = str(problem["loc"][0])
        field = Settings.model_fields.get(name)
        hint = f" ({field.description})" if field and field.description else ""
        lines.append(f"{PREFIX}{name.upper()}={problem['input']!s}: {message}{hint}")
    return "\n".join(lines)


def _refuse_unknown_names() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for name in sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known):
        near = get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; the settings are {', '.join(sorted(known))}"
        raise SettingsError(f"{name}: there is no such setting{hint}")


def load_settings(**overrides: Any) -> Settings:
    """The settings from the environment; ``overrides`` that are not None replace them.

    Raises:
        SettingsError: a value cannot be used; the message names each such variable.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    _refuse_unknown_names()
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError(describe(error)) from None


@cache
def get_settings() -> Settings:
    """The settings from the environment of this process, read once."""
    return load_settings()
