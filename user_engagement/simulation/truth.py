"""The planted causes and the true fate of each user, with which findings are compared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from user_engagement.simulation import activity
from user_engagement.simulation.config import CHANNELS, COUNTRIES, PRODUCTS, WorldConfig
from user_engagement.simulation.lifetimes import NEVER
from user_engagement.simulation.population import CHURN_REASONS, DEVICES, Population, population
from user_engagement.simulation.stories import Planted, Stories
from user_engagement.simulation.world import load_config

WEEKS = 4


@dataclass(frozen=True)
class Counterfactual:
    """Activity in the last four complete weeks, Monday to Sunday, of a world without some of its stories.

    `without` names the missing story: `none` is the world as it is, `all` is a world without any story. Both measures
    are means per week: distinct active users, and their active days. Every user draws the same numbers in each of
    these worlds, so the differences between the worlds are the effects of the stories.
    """

    without: str
    weekly_active_users: float
    active_days: float


@dataclass(frozen=True)
class Truth:
    """The planted stories, their effects, and one row for each user who signed up through `through`.

    Columns of `users`: user_id, signup_date, product_type, acquisition_channel, country and main_device without
    gaps (the sources lack some), activated (in the first week), sessions_per_day (the rate of the
    first weeks, before weekday, season and story), silent_churn_date (the first day without the intention
    to come back), declared_churn_date (of the cancellation), churn_date and churn_cause (`silent` or
    `declared`, whichever is first), churn_reason (as given when cancelling), return_date (a second spell)
    and second_churn_date (its end).

    Dates are latent: the simulator knows them even if they lie after `through`. Null means not within ten
    years.
    """

    through: date
    stories: list[Planted]
    counterfactuals: list[Counterfactual]
    users: pa.Table

    def write(self, target: Path) -> tuple[Path, Path]:
        """Write stories.json and users.parquet to the folder `target`, and return their paths."""
        target.mkdir(parents=True, exist_ok=True)
        stories, users = target / "stories.json", target / "users.parquet"
        planted = {
            "through": self.through,
            "stories": [asdict(story) for story in self.stories],
            "counterfactuals": [asdict(each) for each in self.counterfactuals],
        }
        stories.write_text(json.dumps(planted, indent=2, default=date.isoformat), encoding="utf-8")
        pq.write_table(self.users, users)
        return stories, users


def truth(world: WorldConfig | Path, through: date) -> Truth:
    """The truth about a world, given by its configuration or its home, for the users through `through`.

    Raises SimulationError for a day out of range, and for a home without a world.
    """
    config = world if isinstance(world, WorldConfig) else load_config(world)
    config.last_day_number(through)
    return Truth(
        through,
        config.stories.planted(),
        list(_counterfactuals(config, through)),
        _users(config, population(config, through)),
    )


def _counterfactuals(config: WorldConfig, through: date) -> Iterator[Counterfactual]:
    """The world as it is, without each of its stories in turn, and without all of them."""
    names = [story.name for story in fields(config.stories) if getattr(config.stories, story.name)]
    worlds = {
        "none": config.stories,
        **{name: replace(config.stories, **{name: None}) for name in names},
        "all": Stories.none(),
    }
    for without, stories in worlds.items():
        users, days = _weekly_activity(replace(config, stories=stories), through)
        yield Counterfactual(without, users, days)


def _weekly_activity(config: WorldConfig, through: date) -> tuple[float, float]:
    """Active users and active days per week, over the last four complete weeks, or fewer in a younger world."""
    last_monday = through + timedelta(days=1) - timedelta(days=(through.weekday() + 1) % 7 + 7)
    newest = config.day_number(last_monday)
    mondays = [monday for monday in range(newest - 7 * (WEEKS - 1), newest + 1, 7) if monday >= 0]
    if not mondays:
        return 0.0, 0.0
    tables = activity.behaviour(config, newest + 7)
    users = population(config, through).active_between(mondays[0], newest + 6)
    weeks = [
        [
            np.unique(activity.sessions_on(day, users, tables).rows["user_id"])
            for day in range(monday, monday + 7)
        ]
        for monday in mondays
    ]
    distinct = [len(np.unique(np.concatenate(week))) for week in weeks]
    active_days = [sum(len(day) for day in week) for week in weeks]
    return float(np.mean(distinct)), float(np.mean(active_days))


def _users(config: WorldConfig, users: Population) -> pa.Table:
    churn_day = np.minimum(users.silent_day, users.declared_day)
    cause = np.where(users.silent_day <= users.declared_day, "silent", "declared")
    cancels = users.declared_day < NEVER
    return pa.table(
        {
            "user_id": users.user_id,
            "signup_date": _dates(config, users.signup_day),
            "product_type": np.array(PRODUCTS)[users.product],
            "acquisition_channel": np.array(CHANNELS)[users.channel],
            "country": np.array(COUNTRIES)[users.country],
            "main_device": np.array(DEVICES)[users.main_device],
            "activated": users.activated,
            "sessions_per_day": users.rate,
            "silent_churn_date": _dates(config, users.silent_day),
            "declared_churn_date": _dates(config, users.declared_day),
            "churn_date": _dates(config, churn_day),
            "churn_cause": pa.array(cause, mask=churn_day == NEVER),
            "churn_reason": pa.array(np.array(CHURN_REASONS)[users.churn_reason], mask=~cancels),
            "return_date": _dates(config, users.return_day),
            "second_churn_date": _dates(config, users.second_gone_day),
        }
    )


def _dates(config: WorldConfig, day: NDArray[np.int32]) -> pa.Array:
    start = int(np.datetime64(config.start, "D").astype(np.int64))
    return pa.array((day + start).astype(np.int32), pa.int32(), mask=day >= NEVER).cast(pa.date32())
