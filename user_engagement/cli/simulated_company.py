"""Creates the simulated company of a home, or advances it in time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

from user_engagement import simulation
from user_engagement.settings import Settings

DEFAULT_USERS = 20_000


def yesterday(settings: Settings) -> date:
    return datetime.now(settings.zone).date() - timedelta(days=1)


def world_config(settings: Settings, users: int | None = None) -> simulation.WorldConfig:
    """The configuration of the existing world, or of a new one; ``users`` is the requested number of signups."""
    home = settings.simulated_home
    if simulation.reached(home) is None:
        return simulation.WorldConfig(seed=settings.seed, users=users or DEFAULT_USERS)
    config = simulation.load_config(home)
    return config if users is None else simulation.WorldConfig(seed=settings.seed, users=users)


def simulate(
    settings: Settings,
    users: int | None,
    through: date | None,
    on_progress: Callable[[date, int, int], None] | None = None,
) -> simulation.Summary:
    """Creates the world, or advances it through a day (default: yesterday, or the day that it has reached if later).

    Raises:
        SimulationError: the size or seed is not that of the world, or the day is before the one that it has reached.
    """
    home = settings.simulated_home
    reached = simulation.reached(home)
    if through is None:
        through = max(yesterday(settings), reached) if reached else yesterday(settings)
    return simulation.advance(home, world_config(settings, users), through, on_progress=on_progress)


def write_snowplow_files(settings: Settings) -> Path:
    """Writes the missing days of the world as Snowplow enriched files; returns their folder."""
    home = settings.simulated_home
    folder = home / "snowplow"
    reached = simulation.reached(home)
    written = sorted(date.fromisoformat(p.name.partition("=")[2]) for p in folder.glob("run=*"))
    if reached is not None and (not written or written[-1] < reached):
        since = written[-1] + timedelta(days=1) if written else None
        simulation.write_snowplow(
            home,
            reached,
            folder,
            since=since,
            gz=True,
            heartbeat_seconds=settings.snowplow_heartbeat_seconds,
            minimum_visit_seconds=settings.snowplow_minimum_visit_seconds,
        )
    return folder


def ensure_world(settings: Settings, on_progress: Callable[[date, int, int], None] | None = None) -> None:
    """Creates the world if there is none yet."""
    if simulation.reached(settings.simulated_home) is None:
        simulate(settings, users=None, through=settings.as_of, on_progress=on_progress)


def emit_day(settings: Settings, collector: str, day: date | None, limit: int) -> int:
    """Sends the events of a day (default: the newest) to a collector; returns how many it accepted."""
    home = settings.simulated_home
    return simulation.emit(
        home,
        day or _reached(settings),
        collector,
        limit,
        heartbeat_seconds=settings.snowplow_heartbeat_seconds,
        minimum_visit_seconds=settings.snowplow_minimum_visit_seconds,
    )


def write_truth(settings: Settings, folder: Path) -> list[Path]:
    """Writes the planted causes and their effects, and each user's true churn day and cause; returns the paths."""
    return list(simulation.truth(settings.simulated_home, _reached(settings)).write(folder))


def _reached(settings: Settings) -> date:
    home = settings.simulated_home
    reached = simulation.reached(home)
    if reached is None:
        message = f"{home}: there is no simulated company yet. Run: user-engagement simulate"
        raise simulation.SimulationError(message)
    return reached
