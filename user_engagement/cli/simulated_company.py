"""The simulated company of this home: created, or moved forward in time."""

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
    """The configuration that the world has, or that a new one gets; ``users`` asks for a size."""
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
    """Creates the world, or advances it through a day (yesterday if not given, or as far as it is already).

    Raises:
        SimulationError: another size or seed than the world has, or a day before the one that it has reached.
    """
    home = settings.simulated_home
    reached = simulation.reached(home)
    if through is None:
        through = max(yesterday(settings), reached) if reached else yesterday(settings)
    return simulation.advance(home, world_config(settings, users), through, on_progress=on_progress)


def write_snowplow_files(settings: Settings) -> Path:
    """Writes the days of the world that are not yet there as Snowplow's enriched files; returns their folder."""
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
    """Sends the events of a day of the world, the newest if not given; returns how many the collector took."""
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
    """Writes what was planted, and each user's latent churn day and cause."""
    return list(simulation.truth(settings.simulated_home, _reached(settings)).write(folder))


def _reached(settings: Settings) -> date:
    home = settings.simulated_home
    reached = simulation.reached(home)
    if reached is None:
        message = f"{home}: there is no simulated company yet. Run: user-engagement simulate"
        raise simulation.SimulationError(message)
    return reached
