"""Where signups, engagement and churn are extracted from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from importlib.metadata import entry_points
from typing import Any

from user_engagement.contracts.raw import CHURN_DATA, USER_ENGAGEMENT, USER_SIGNUPS
from user_engagement.errors import SettingsError
from user_engagement.settings import PREFIX, SOURCES, SOURCES_GROUP, Settings, TableMapping
from user_engagement.sources.base import BATCH_ROWS, Extract, Source, TableReport
from user_engagement.sources.composite import CompositeSource
from user_engagement.sources.files import FilesSource
from user_engagement.sources.normalise import ValueRules
from user_engagement.sources.personal import PERSONAL_COLUMNS
from user_engagement.sources.warehouse import STAGE, SourceTables, WarehouseSource

__all__ = ["BATCH_ROWS", "Extract", "Source", "TableReport", "open_source"]


# where the simulator, which is no part of the pipeline, writes below `Settings.simulated_home`
SIMULATED_DATABASE = "oltp.sqlite"
SIMULATED_EVENTS = "platform"
SIMULATED_TABLES: Mapping[str, TableMapping] = {
    USER_SIGNUPS.name: TableMapping("users", {"signup_date": "signed_up_at"}, "updated_at"),
    CHURN_DATA.name: TableMapping("cancellations", {"churn_date": "churned_at"}, "updated_at"),
}


def open_source(settings: Settings, open_tables: Callable[[Settings], SourceTables] | None = None) -> Source:
    """The source that the settings name, of a kind of the project's or of an installed package's. Nothing is read yet.

    Args:
        settings: the kind of source, and its place.
        open_tables: opens the tables that the warehouse can read, for the source of that kind.

    Raises:
        SettingsError: the kind of source needs a place that is not set.
    """
    if settings.source == "simulated":
        return simulated_source(settings)
    if settings.source == "snowplow":
        return snowplow_source(settings)
    if settings.source != "warehouse" and any(each.events for each in settings.source_tables.values()):
        raise SettingsError(
            f"{PREFIX}SOURCE_TABLES: only source warehouse reads events by a mapping. Use source snowplow, with "
            f"{PREFIX}SNOWPLOW_TABLE for a table of another database."
        )
    if settings.source not in SOURCES:
        return entry_points(group=SOURCES_GROUP)[settings.source].load()(settings)
    if settings.source == "warehouse":
        assert open_tables, "only the warehouse can read its tables"
        engagement = warehouse_source(settings, open_tables(settings))
    else:
        engagement = place_of(settings, settings.source_path, settings.source)
    return engagement if settings.users_path is None else with_users(users_source(settings), engagement)


def with_users(users: Source, engagement: Source) -> Source:
    """Signups and churn from one source, engagement from another."""
    return CompositeSource(
        {USER_SIGNUPS.name: users, CHURN_DATA.name: users, USER_ENGAGEMENT.name: engagement}
    )


def rules_of(settings: Settings) -> ValueRules:
    return ValueRules(
        settings.timezone, settings.missing_words, settings.earliest_date, settings.sentinel_dates
    )


def chosen_segments(settings: Settings) -> tuple[str, ...]:
    """Columns that somebody asked for by name."""
    return () if settings.segments_are_default else settings.segments


def place_of(settings: Settings, place: str | None, kind: str) -> Source:
    """The source of a kind, `files` or `database`, at a folder or URL."""
    if place is None:
        what = "the database's URL" if kind == "database" else "the folder of the files"
        raise SettingsError(f"{PREFIX}SOURCE_PATH: source {kind} needs {what}; set it, or use --path.")
    if kind == "files":
        return FilesSource(place, settings.timezone, rules_of(settings), chosen_segments(settings))
    # SQLAlchemy and drivers are imported for those who use them
    from user_engagement.sources.database import DatabaseSource

    return DatabaseSource(
        place,
        settings.timezone,
        settings.source_tables,
        set(PERSONAL_COLUMNS) - set(chosen_segments(settings)),
        rules_of(settings),
    )


def warehouse_source(settings: Settings, tables: SourceTables) -> Source:
    """Tables that the warehouse reads by itself.

    Raises:
        SettingsError: a mapping other than that of engagement says that it holds events.
    """
    rows = _warehouse_rows(settings, tables)
    holding = [name for name, mapping in settings.source_tables.items() if mapping.events]
    if staged := [name for name in holding if settings.source_tables[name].table.startswith(STAGE)]:
        raise SettingsError(
            f"{PREFIX}SOURCE_TABLES: events of {', '.join(staged)} are read from a table, not from a stage. "
            "Load them with Snowplow's loader, or read the files with source snowplow."
        )
    if not holding:
        return rows
    if holding != [USER_ENGAGEMENT.name]:
        raise SettingsError(
            f"{PREFIX}SOURCE_TABLES: events become rows of {USER_ENGAGEMENT.name} only, not of {', '.join(holding)}."
        )
    # the rules are imported for those who have events
    from user_engagement.sources.snowplow.session_sql import SessionRules
    from user_engagement.sources.warehouse.events import WarehouseEvents

    made = SessionRules(
        rules_of(settings),
        settings.snowplow_heartbeat_seconds,
        settings.snowplow_minimum_visit_seconds,
        settings.snowplow_duration,
        settings.snowplow_visit_timeout_seconds,
        settings.snowplow_bots,
    )
    look_back = timedelta(days=settings.snowplow_look_back_days)
    table = settings.source_tables[USER_ENGAGEMENT.name].table
    return with_users(rows, WarehouseEvents(tables, table, made, look_back))


def _warehouse_rows(settings: Settings, tables: SourceTables) -> Source:
    return WarehouseSource(
        tables,
        settings.timezone,
        settings.source_tables,
        set(PERSONAL_COLUMNS) - set(chosen_segments(settings)),
        rules_of(settings),
    )


def users_source(settings: Settings) -> Source:
    """Where signups and churn come from: a database if a URL is given, else a folder of files."""
    kind = "database" if settings.users_path and "://" in settings.users_path else "files"
    return place_of(settings, settings.users_path, kind)


def snowplow_source(settings: Settings) -> Source:
    """Snowplow events, from a folder of enriched files or a table, with signups and churn from elsewhere."""
    from user_engagement.sources.snowplow import SnowplowSource, SnowplowTableSource

    if settings.source_path is None or settings.users_path is None:
        missing = "SOURCE_PATH" if settings.source_path is None else "USERS_PATH"
        raise SettingsError(
            f"{PREFIX}{missing}: source snowplow needs SOURCE_PATH, the folder (or database URL) of the events, "
            "and USERS_PATH, the folder or database URL of signups and churn."
        )
    options: dict[str, Any] = {
        "heartbeat_seconds": settings.snowplow_heartbeat_seconds,
        "minimum_visit_seconds": settings.snowplow_minimum_visit_seconds,
        "duration": settings.snowplow_duration,
        "visit_timeout_seconds": settings.snowplow_visit_timeout_seconds,
        "with_bots": settings.snowplow_bots,
        "memory_limit": settings.memory_limit,
        "rules": rules_of(settings),
    }
    place, timezone = settings.source_path, settings.timezone
    if "://" in place:
        events = SnowplowTableSource(place, timezone, table=settings.snowplow_table, **options)
    else:
        events = SnowplowSource(place, timezone, **options)
    return with_users(users_source(settings), events)


def simulated_source(settings: Settings) -> Source:
    """The simulated company's database and event files, read as any customer's would be."""
    from user_engagement.sources.database import DatabaseSource

    users = DatabaseSource(
        f"sqlite:///{settings.simulated_home / SIMULATED_DATABASE}",
        settings.timezone,
        SIMULATED_TABLES,
        rules=rules_of(settings),
    )
    return with_users(
        users, FilesSource(settings.simulated_home / SIMULATED_EVENTS, settings.timezone, rules_of(settings))
    )
