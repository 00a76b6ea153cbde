"""A world on disk: create it, advance it in time, and recover after a crash.

    <home>/world.json      the configuration and the day reached, replaced atomically
    <home>/oltp.sqlite     users and cancellations, unless another database is given
    <home>/platform/user_engagement/   see `event_files`

Days are written in batches that end with a month. For each batch the event files come first, then the rows
of the database in one transaction, then world.json. After a crash the next advance removes everything
after the day in world.json and writes it again. As every draw is a function of its address, the result is the
same as without the crash.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy.engine import URL, Engine

from user_engagement.simulation import event_files, oltp
from user_engagement.simulation.config import WorldConfig, config_from_json, config_to_json
from user_engagement.simulation.deliveries import deliveries
from user_engagement.simulation.errors import SimulationError
from user_engagement.simulation.population import Population, population

GENERATOR = 1
"""Incremented with every change that gives other rows for the same configuration."""

OnProgress = Callable[[date, int, int], None]
"""Called after each day with that day, the days done and the days to do."""


@dataclass(frozen=True)
class Summary:
    """The days and rows that one call of `advance` wrote; `days` is 0 if the world had already reached `through`."""

    home: Path
    through: date
    days: int
    users: int
    cancellations: int
    events: int

    def __str__(self) -> str:
        if not self.days:
            return f"The simulated world in {self.home} has already reached {self.through}: nothing to do."
        return (
            f"Simulated {self.days:,} days through {self.through}: {self.users:,} signups, "
            f"{self.cancellations:,} cancellations, {self.events:,} events."
        )


@dataclass(frozen=True)
class _State:
    """The content of world.json. `database` is None for the SQLite file next to it, otherwise a URL, no password."""

    config: WorldConfig
    reached: date
    database: str | None
    unfinished: bool


def advance(
    home: Path,
    config: WorldConfig,
    through: date,
    database_url: str | None = None,
    on_progress: OnProgress | None = None,
) -> Summary:
    """Create the source systems under `home`, or advance them, through the day `through`.

    Raises SimulationError if `through` is before the day reached or out of range, if the world has another
    configuration or database, if its files were changed, if the database or the folder cannot be used, and if
    another process is advancing the same world.
    """
    config.last_day_number(through)
    with _writable(home), _locked(home):
        state = _load(home) if _state_file(home).exists() else None
        url = _database(home, database_url)
        stored_url = None if database_url is None else oltp.shown_url(url)
        if state is not None:
            _check_same_world(home, state, config, through, stored_url)
            if through == state.reached and not state.unfinished:
                return Summary(home, through, days=0, users=0, cancellations=0, events=0)
        with oltp.connected(url) as engine:
            if state is None:
                state = _create(home, config, stored_url, engine)
            return _write_days(home, engine, state, through, on_progress)


def load_config(home: Path) -> WorldConfig:
    """The configuration of the world under `home`. Raises SimulationError if there is none."""
    return _load(home).config


def database_file(home: Path) -> Path:
    """The SQLite file of the world under `home`; used unless another database was given."""
    return home / "oltp.sqlite"


def events_folder(home: Path) -> Path:
    """The folder of the event files of the world under `home`."""
    return home / "platform" / "user_engagement"


def reached(home: Path) -> date | None:
    """The last day of the world under `home`; None if there is no world or no day yet."""
    if not _state_file(home).exists():
        return None
    state = _load(home)
    return state.reached if state.reached >= state.config.start else None


def _write_days(
    home: Path, engine: Engine, state: _State, through: date, on_progress: OnProgress | None
) -> Summary:
    config = state.config
    first, last = config.day_number(state.reached) + 1, config.day_number(through)
    users = population(config, through)
    _remove_unfinished(home, engine, state, users)
    _save(home, replace(state, unfinished=True))
    written = np.zeros(3, dtype=np.int64)
    batch_begins = first
    for day, rows in deliveries(config, users, first, last):
        event_files.write_day(events_folder(home), config.day(day), rows)
        written[2] += len(rows)
        if day == last or config.day(day + 1).day == 1:
            with engine.begin() as connection:
                written[:2] += oltp.write_days(connection, config, users, batch_begins, day)
            _save(home, replace(state, reached=config.day(day), unfinished=day < last))
            batch_begins = day + 1
        if on_progress is not None:
            on_progress(config.day(day), day - first + 1, last - first + 1)
    if first > last:
        _save(home, replace(state, unfinished=False))
    new_users, cancellations, events = written.tolist()
    return Summary(home, through, last - first + 1, new_users, cancellations, events)


def _create(home: Path, config: WorldConfig, stored_url: str | None, engine: Engine) -> _State:
    if any(events_folder(home).glob("*")):
        raise SimulationError(
            f"{events_folder(home)} has files, but {home} has no world.json: use an empty folder."
        )
    oltp.create_tables(engine)
    state = _State(config, config.start - timedelta(days=1), stored_url, unfinished=True)
    _save(home, state)
    return state


def _remove_unfinished(home: Path, engine: Engine, state: _State, users: Population) -> None:
    """Remove what a crash left after the day reached; check that all users up to that day are there."""
    last = state.config.day_number(state.reached)
    expected = int(np.searchsorted(users.signup_day, last, side="right"))
    with engine.begin() as connection:
        if state.unfinished:
            oltp.remove_after(connection, state.config, last, expected)
            event_files.remove_after(events_folder(home), state.reached)
        found = oltp.count_users(connection)
    if found != expected:
        raise SimulationError(
            f"{oltp.shown_url(engine.url)} has {found:,} users, but the world in {home} had {expected:,} "
            f"on {state.reached}: remove {home} and that database's tables, and start again."
        )


def _check_same_world(
    home: Path, state: _State, config: WorldConfig, through: date, stored_url: str | None
) -> None:
    for name in (each.name for each in fields(config)):
        made_with, given = getattr(state.config, name), getattr(config, name)
        if made_with != given:
            raise SimulationError(
                f"The world in {home} was made with {name}={made_with}, not {given}: "
                f"use {made_with}, or another folder for another world."
            )
    if state.database != stored_url:
        raise SimulationError(
            f"The world in {home} lives in {state.database or 'its own SQLite file'}, "
            f"not in {stored_url or 'its own SQLite file'}: give the same database, or another folder."
        )
    if through < state.reached:
        raise SimulationError(
            f"The world in {home} has reached {state.reached}, and time moves only forward: "
            f"ask for that day or later instead of {through}, or use another folder."
        )


def _database(home: Path, database_url: str | None) -> URL:
    if database_url is None:
        return URL.create("sqlite", database=str(database_file(home)))
    return oltp.parse_url(database_url)


@contextmanager
def _writable(home: Path) -> Iterator[None]:
    try:
        home.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise SimulationError(
            f"{error.filename or home} cannot be written ({error.strerror}): fix this, or choose another folder."
        ) from error


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    with (home / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SimulationError(
                f"Another process is advancing the world in {home}: let it finish."
            ) from None
        yield


def _state_file(home: Path) -> Path:
    return home / "world.json"


def _load(home: Path) -> _State:
    path = _state_file(home)
    if not path.exists():
        raise SimulationError(f"There is no simulated world in {home}: create one first.")
    try:
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        generator = stored["generator"]
        if generator == GENERATOR:
            return _State(
                config=config_from_json(stored["config"]),
                reached=date.fromisoformat(stored["reached"]),
                database=stored["database"],
                unfinished=stored["unfinished"],
            )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SimulationError(f"{path} cannot be read ({error}): remove {home} and start again.") from None
    raise SimulationError(
        f"{path} was written by generator {generator}, and generator {GENERATOR} draws other numbers: "
        f"remove {home} and start again."
    )


def _save(home: Path, state: _State) -> None:
    content = {
        "generator": GENERATOR,
        "reached": state.reached.isoformat(),
        "unfinished": state.unfinished,
        "database": state.database,
        "config": config_to_json(state.config),
    }
    unfinished = _state_file(home).with_suffix(".tmp")
    with unfinished.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(_state_file(home))
