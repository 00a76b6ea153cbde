"""The source that a home was loaded from: tables of two companies must not mix."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from user_engagement.contracts.raw import RAW_TABLES
from user_engagement.errors import SettingsError
from user_engagement.hashing import digest
from user_engagement.settings import PREFIX, Settings
from user_engagement.sources import open_source
from user_engagement.warehouse import open_source_tables


def refuse_other_source(settings: Settings) -> None:
    """Raises SettingsError if the home was loaded from another source than the one that is set."""
    file = _file(settings)
    if not file.exists():
        return
    before, now = json.loads(file.read_text()), _identity(settings)
    if before["mark"] != now["mark"]:
        raise SettingsError(
            f"{settings.home} was loaded from {before['name']}, and {now['name']} is another source. Give it a home of "
            f"its own, {PREFIX}HOME=DIR, or empty this one and load it anew with --replace. Nothing was written."
        )


def claim_home(settings: Settings) -> None:
    """Notes which source the home is loaded from."""
    settings.home.mkdir(parents=True, exist_ok=True)
    _file(settings).write_text(json.dumps(_identity(settings)))


def replace_source(settings: Settings) -> None:
    """Removes what was loaded and Dagster's memory of it, so that a home takes another source.

    The simulated company and generations stay. The new source is checked first.

    Raises:
        SettingsError: the tables live in a warehouse that is not this home's own.
        SourceError: the source breaks its contract. Nothing was removed.
    """
    if settings.warehouse != "duckdb":
        raise SettingsError(
            "--replace empties a DuckDB warehouse alone; use another database or schema prefix."
        )
    # the simulated company is made by whoever runs it
    if settings.source != "simulated":
        source = open_source(settings, open_source_tables)
        for table in RAW_TABLES:
            source.inspect(table)
    for file in (settings.warehouse_file, Path(f"{settings.warehouse_file}.wal"), _file(settings)):
        file.unlink(missing_ok=True)
    for folder in (settings.dagster_home / "history", settings.dagster_home / "schedules"):
        shutil.rmtree(folder, ignore_errors=True)


def _file(settings: Settings) -> Path:
    return settings.home.absolute() / "source.json"


def _identity(settings: Settings) -> dict[str, str]:
    """What tells sources apart, and a name for people, without a password."""
    if settings.source == "simulated":
        return {"name": "the simulated company", "mark": "simulated"}
    places = [_shown(place) for place in (settings.source_path, settings.users_path) if place]
    if settings.source == "warehouse":
        if settings.source_path and settings.warehouse == "snowflake":
            places[0] = settings.source_path
        places += sorted(mapping.table for mapping in settings.source_tables.values())
    shown = " and ".join(places) or "no place"
    mark = digest([settings.source, *places])
    return {"name": f"{settings.source} in {shown}", "mark": mark}


def _shown(place: str) -> str:
    if "://" not in place:
        return str(Path(place).resolve())
    url = urlsplit(place)
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"
