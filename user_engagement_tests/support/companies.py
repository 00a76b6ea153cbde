"""Simulated companies side by side in one warehouse, and each explained as if it were alone there.

Companies are values of the segment `world`: one run of dbt reduces them all. Combinations of attributes part the users,
so that the cells of one company are its own.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from user_engagement import simulation
from user_engagement.assets.dbt import dbt_resource, dbt_vars, window_args
from user_engagement.assets.insights import read_rollups
from user_engagement.contracts.raw import RAW_TABLES, Window
from user_engagement.insights.analysis import explain
from user_engagement.insights.cells import EVERYBODY
from user_engagement.insights.rollups import Rollups
from user_engagement.settings import DEFAULT_SEGMENTS, Settings, load_settings
from user_engagement.simulation import ChannelMix, MobileRelease, OnboardingChange, PriceChange, Stories
from user_engagement.simulation.config import LATEST_DAYS
from user_engagement.sources import FilesSource
from user_engagement.warehouse import open_warehouse
from user_engagement_tests.support.worlds import at_home

THROUGH = date(2026, 11, 24)
AS_OF = THROUGH - timedelta(days=LATEST_DAYS)
WORLD = "world"
WORLD_DIGITS = 10**11
"""Times the number of a world, added to the ids of its users."""
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
    "channel_mix": ("mix", "new_user_retention", "acquisition_channel", "paid_social", "down", "2025-07"),
    "onboarding_change": ("behaviour", "activation", "all", "all", "down", "2026-02"),
    "price_change": ("behaviour", "churn", "product_type", "standard", "up", "2026-03"),
    "mobile_release": ("behaviour", "frequency", "main_device", "phone", "down", "2026-05"),
}
"""What the brief has to say of each story: kind, metric, segment, direction, month."""


def written(folder: Path, companies: Mapping[int, Stories], users: int) -> Path:
    """The source files of a company per seed, side by side, with ids of their own."""
    for seed, stories in companies.items():
        config = simulation.WorldConfig(seed=seed, users=users, stories=stories)
        with tempfile.TemporaryDirectory() as alone:
            for name, path in simulation.write_files(config, THROUGH, Path(alone)).items():
                (folder / name).mkdir(parents=True, exist_ok=True)
                pq.write_table(told_apart(pq.read_table(path), seed), folder / name / f"{seed:04d}.parquet")
    return folder


def told_apart(table: pa.Table, seed: int) -> pa.Table:
    columns = {name: table[name] for name in table.column_names}
    columns["user_id"] = pc.add(columns["user_id"], pa.scalar(seed * WORLD_DIGITS))
    if "event_id" in columns:
        ids = pc.cast(columns["event_id"], pa.string())
        columns["event_id"] = pc.binary_join_element_wise(f"{seed}", ids, "-")
    if "signup_date" in columns:
        columns[WORLD] = pa.array([f"{seed}"] * len(table))
    return pa.table(columns)


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


def of_world(rollups: Rollups, seed: int) -> Rollups:
    """The rollups of one company, as if it were alone in its warehouse."""
    values = rollups.segment_values
    of_seed = values[(values.segment_name == WORLD) & (values.segment_value == str(seed))]
    cells = set(of_seed.segment_cell)

    def own(table: pd.DataFrame) -> pd.DataFrame:
        return table[table.segment_cell.isin(cells)].reset_index(drop=True)

    growth = rollups.growth_accounting
    growth = growth[(growth.segment_name == WORLD) & (growth.segment_value == str(seed))]
    return replace(
        rollups,
        segment_values=own(values[values.segment_name != WORLD]),
        period_cells=own(rollups.period_cells),
        weekly_cells=own(rollups.weekly_cells),
        weekly_sessions=own(rollups.weekly_sessions),
        growth_accounting=growth.assign(segment_name=EVERYBODY, segment_value=EVERYBODY),
    )


def explained(
    work: Path, companies: Mapping[int, Stories], users: int
) -> Iterator[tuple[int, dict[str, pd.DataFrame]]]:
    """The tables of a company for each seed, each with stories of its own."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        home = Path(folder) / "home"
        source = written(Path(folder) / "source", companies, users)
        with at_home(home):
            settings = load_settings(
                home=home,
                source="files",
                source_path=str(source),
                as_of=AS_OF,
                segments=(*DEFAULT_SEGMENTS, WORLD),
            )
            rollups = reduced(settings)
        for seed in companies:
            yield seed, explain(of_world(rollups, seed), seed)


# -- verdicts ----------------------------------------------------------------------------------------------


def findings(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """What the brief finds at equal tenure; that the users of a young company grow older is true without a story."""
    brief = tables["decline_brief"]
    return brief[brief.kind.isin(["behaviour", "mix"]) & (brief.segment_name != "tenure")]


def verdict(story: str, tables: dict[str, pd.DataFrame]) -> dict[str, bool]:
    """Whether the brief names the story's segment and direction, and its month, and its method ranks it first."""
    kind, metric, name, value, direction, month = TOLD[story]
    found = findings(tables)
    named = found[
        (found.kind == kind)
        & (found.metric == metric)
        & (found.segment_name == name)
        & (found.segment_value == value)
        & (found.direction == direction)
    ]
    # a week belongs to the month of its Thursday
    months = pd.PeriodIndex(pd.to_datetime(named.since.dropna()) + pd.Timedelta(days=3), freq="M")
    apart = [abs((each - pd.Period(month)).n) for each in months]
    return {
        "first in its method": ranks_first(story, tables),
        "segment and direction": len(named) > 0,
        "and month": 0 in apart,
        "and month, give or take one": any(each <= 1 for each in apart),
    }


def ranks_first(story: str, tables: dict[str, pd.DataFrame]) -> bool:
    kind, metric, name, value, _, _ = TOLD[story]
    if name == EVERYBODY or kind == "mix":
        effects = tables["change_decomposition"]
        effects = effects[
            (effects.metric == metric)
            & effects.inner_dimension.isna()
            & (effects.segment_value == EVERYBODY)
            & (effects.effect != "total")
        ]
        if kind == "mix":
            mixes = effects[effects.effect == "mix"]
            return mixes.loc[mixes.contribution.abs().idxmax()].dimension == name
        return effects.loc[effects.contribution.abs().idxmax()].effect == "behaviour"
    contrasts = tables["segment_contrasts"]
    contrasts = contrasts[(contrasts.metric == metric) & (contrasts.segment_name != EVERYBODY)]
    first = contrasts.loc[contrasts.p_value.idxmin()]
    return (first.segment_name, first.segment_value) == (name, value)
