"""Simulated companies, each in a warehouse of its own, and what the insights say of them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import pandas as pd

from user_engagement import simulation
from user_engagement.assets.dbt import dbt_resource, window_args
from user_engagement.assets.insights import read_rollups
from user_engagement.contracts.raw import RAW_TABLES, Window
from user_engagement.inputs.variables import dbt_vars
from user_engagement.insights.analysis import brief_tables
from user_engagement.insights.growth import growth_change
from user_engagement.insights.rollups import Rollups
from user_engagement.settings import Settings, load_settings
from user_engagement.simulation import ChannelMix, MobileRelease, OnboardingChange, PriceChange, Stories
from user_engagement.simulation.config import LATEST_DAYS
from user_engagement.sources import FilesSource
from user_engagement.warehouse import open_warehouse
from user_engagement_tests.support.worlds import at_home

THROUGH = date(2026, 11, 24)
AS_OF = THROUGH - timedelta(days=LATEST_DAYS)
NONE = Stories.none()
STORIES = {
    "none": NONE,
    "channel_mix": replace(NONE, channel_mix=ChannelMix()),
    "onboarding_change": replace(NONE, onboarding_change=OnboardingChange()),
    "price_change": replace(NONE, price_change=PriceChange()),
    "mobile_release": replace(NONE, mobile_release=MobileRelease()),
    "all four": Stories(),
}
TOLD = {
    "channel_mix": (
        "mix",
        ("retention", "new_user_retention"),
        {"acquisition_channel": "paid_social"},
        "down",
        "2025-07",
    ),
    "onboarding_change": ("behaviour", ("activation", "new_user_retention"), {}, "down", "2026-02"),
    "price_change": ("behaviour", ("churn", "retention"), {"product_type": "standard"}, "up", "2026-03"),
    "mobile_release": (
        "behaviour",
        ("retention", "frequency", "sessions_per_day"),
        {"main_device": "phone"},
        "down",
        "2026-05",
    ),
}
"""What the brief has to say of each story: kind, metric (any of them), conditions, direction, month."""


def reduced(settings: Settings) -> Rollups:
    """Loads the source whole, runs dbt on what insights need, and reads it."""
    source = FilesSource(settings.source_path or "", settings.timezone)
    warehouse = open_warehouse(settings)
    for table in RAW_TABLES:
        warehouse.replace_slice(source.extract(table, Window()))
    with open_warehouse(settings).reader() as reader:
        variables = json.dumps(dbt_vars(reader, settings, datetime.now(settings.zone)))
    arguments = ["run", "--vars", variables, *window_args(Window())]
    dbt_resource(settings).cli(arguments, target_path=settings.dbt_target_dir).wait()
    return read_rollups(settings)[0]


def explained(
    work: Path, companies: Mapping[int, Stories], users: int
) -> Iterator[tuple[int, dict[str, pd.DataFrame]]]:
    """The brief, its series and its bridge of a company for each seed, each with stories of its own."""
    for seed, stories in companies.items():
        with tempfile.TemporaryDirectory(dir=work) as folder:
            home, source = Path(folder) / "home", Path(folder) / "source"
            with at_home(home):
                config = simulation.WorldConfig(seed=seed, users=users, stories=stories)
                simulation.write_files(config, THROUGH, source)
                settings = load_settings(home=home, source="files", source_path=str(source), as_of=AS_OF)
                rollups = reduced(settings)
        yield seed, brief_tables(rollups, growth_change(rollups.growth_accounting, rollups.compared_periods))


# -- verdicts ----------------------------------------------------------------------------------------------


def findings(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The rows of the brief that say that something changed."""
    brief = tables["decline_brief"]
    return brief[brief.kind.isin(["behaviour", "mix", "acquisition", "measurement"])]


def verdict(story: str, tables: dict[str, pd.DataFrame]) -> dict[str, bool]:
    """Whether the brief names the story's users and direction, and its month, give or take one."""
    kind, metrics, conditions, direction, month = TOLD[story]
    found = findings(tables)
    named = found[
        (found.kind == kind)
        & found.metric.isin(metrics)
        & (found.conditions == json.dumps(conditions))
        & (found.direction == direction)
    ]
    # a week belongs to the month of its Thursday
    months = pd.PeriodIndex(pd.to_datetime(named.since.dropna()) + pd.Timedelta(days=3), freq="M")
    apart = [abs((each - pd.Period(month)).n) for each in months]
    return {
        "users and direction": len(named) > 0,
        "and month, give or take one": any(each <= 1 for each in apart),
    }
