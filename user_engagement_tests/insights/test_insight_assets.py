"""Insights on whole companies: from files through the warehouse to tables, without and with planted stories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from functools import cache
from pathlib import Path

import dagster as dg
import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from user_engagement import simulation
from user_engagement.assets.dbt import dbt_resource
from user_engagement.assets.insights import compute, insight_assets, schema_of_table
from user_engagement.insights.tables import TABLES, to_arrow
from user_engagement.partitions import monthly_partitions
from user_engagement.settings import Settings, load_settings
from user_engagement.warehouse import open_warehouse
from user_engagement_tests.support.companies import (
    AS_OF,
    STORIES,
    THROUGH,
    TOLD,
    explained,
    findings,
    reduced,
    verdict,
)
from user_engagement_tests.support.worlds import at_home


def test_every_table_is_documented_with_a_grain_of_its_own_columns() -> None:
    for name, table in TABLES.items():
        assert set(table.grain) <= set(table.columns), name
        assert all(meaning.endswith(".") for _, meaning in table.columns.values()), name
        assert "observed_through" in table.columns


def test_an_empty_table_keeps_its_columns_and_types() -> None:
    table = to_arrow("decline_brief", pd.DataFrame(columns=list(TABLES["decline_brief"].columns)))
    assert table.schema.field("since").type == pa.date32()
    assert table.num_rows == 0


def test_a_column_without_a_value_keeps_its_type() -> None:
    """A brief whose findings have no date once could not be stored."""
    row = pd.DataFrame([dict.fromkeys(list(TABLES["decline_brief"].columns), np.nan) | {"rank": 1}])
    assert to_arrow("decline_brief", row).schema == TABLES["decline_brief"].schema()


def test_a_column_that_is_missing_is_an_error() -> None:
    with pytest.raises(KeyError):
        to_arrow("risk_calibration", pd.DataFrame({"decile": [1]}))


def test_tables_are_replaced_all_or_none(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    first, second = pa.table({"n": [1]}), pa.table({"n": [2, 3]})
    open_warehouse(settings).replace_tables("insights", {"a": first, "b": first})
    with pytest.raises(duckdb.Error):
        open_warehouse(settings).replace_tables("insights", {"a": second, "not a name": second})
    open_warehouse(settings).replace_tables("insights", {"b": second})
    with duckdb.connect(str(settings.warehouse_file), read_only=True) as connection:
        assert connection.sql("select n from insights.a").fetchall() == [(1,)]
        assert connection.sql("select count(*) from insights.b").fetchall() == [(2,)]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A company of 1,500 users through all of dbt."""
    folder = tmp_path_factory.mktemp("small")
    with at_home(folder / "home"):
        config = simulation.WorldConfig(users=1_500)
        simulation.write_files(config, THROUGH, folder / "source")
        settings = load_settings(
            home=folder / "home",
            source="files",
            source_path=str(folder / "source"),
            as_of=AS_OF,
            insights=True,
        )
        reduced(settings)
        return settings


@pytest.mark.long
@pytest.mark.slow
def test_the_assets_write_every_table_with_its_grain(small: Settings) -> None:
    partitions = monthly_partitions(date(2025, 1, 1), AS_OF)
    with at_home(small.home):
        result = dg.materialize(
            insight_assets(small, partitions), resources={"user_engagement_dbt": dbt_resource(small)}
        )
    assert result.success
    with duckdb.connect(str(small.warehouse_file), read_only=True) as connection:
        for name, table in TABLES.items():
            held = connection.table(f"{schema_of_table(name)}.{name}").to_arrow_table().to_pandas()
            assert list(held.columns) == list(table.columns), name
            assert not held.duplicated(list(table.grain)).any(), name
            if name != "finding_series":  # a company of so few users may have no finding
                assert len(held) > 0, name
    brief = result.asset_materializations_for_node("insight_tables")[0]
    assert "Why engagement changed" in str(brief.metadata["brief"].value)


@pytest.mark.long
@pytest.mark.slow
def test_equal_warehouses_give_equal_tables(small: Settings) -> None:
    (first, text), (second, again) = compute(small), compute(small)
    assert text == again
    assert [name for name in first if not first[name].equals(second[name])] == []


def short_history(home: Path, as_of: date) -> tuple[dict[str, pa.Table], str]:
    """The tables and the brief of 300 users who came from 1 January 2025 on."""
    through = as_of + timedelta(days=3)
    with at_home(home / "home"):
        config = replace(simulation.WorldConfig(users=300), reference_end=through)
        simulation.write_files(config, through, home / "source")
        settings = load_settings(
            home=home / "home",
            source="files",
            source_path=str(home / "source"),
            as_of=as_of,
        )
        reduced(settings)
        return compute(settings)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(
    "as_of", [date(2025, 1, 29), pytest.param(date(2025, 3, 20), marks=pytest.mark.exhaustive)]
)
def test_a_warehouse_without_enough_history_still_has_all_tables(tmp_path: Path, as_of: date) -> None:
    tables, text = short_history(tmp_path, as_of)
    assert set(tables) == set(TABLES)
    assert "There is not enough history" in text
    assert tables["growth_change"].num_rows == tables["change_decomposition"].num_rows == 0


@pytest.mark.long
@pytest.mark.slow
def test_16_weeks_of_history_are_enough_for_all_tables(tmp_path: Path) -> None:
    tables, text = short_history(tmp_path, date(2025, 4, 27))
    assert "There is not enough history" not in text
    assert tables["engagement_bridge"].num_rows > 0
    assert tables["growth_change"].num_rows > 0


Told = Callable[[int, str], dict[str, pd.DataFrame]]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """What is said of a company of 20,000 users, by its seed and the name of its stories."""
    folder = tmp_path_factory.mktemp("companies")

    @cache
    def of(seed: int, stories: str) -> dict[str, pd.DataFrame]:
        return next(explained(folder, {seed: STORIES[stories]}, users=20_000))[1]

    return of


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "stories", "story"),
    [
        *((7, "all four", story) for story in TOLD),
        *(
            pytest.param(seed, story, story, marks=pytest.mark.exhaustive)
            for seed, story in enumerate(TOLD, start=31)
        ),
    ],
)
def test_a_planted_story_is_named_with_its_segment_direction_and_month(
    told: Told, seed: int, stories: str, story: str
) -> None:
    found = verdict(story, told(seed, stories))
    assert found["users and direction"]
    assert found["and month, give or take one"]


PART_OF = {
    "channel_mix": "paid_social",
    "onboarding_change": "New users",
    "price_change": "standard",
    "mobile_release": "phone",
}
"""What the label of each story's part of the bridge holds."""


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("measure", ["active_days", "weekly_active_users"])
def test_each_part_of_the_bridge_is_what_the_company_would_have_without_that_story_alone(
    told: Told, measure: str
) -> None:
    """New users' part once held half of what a release on phones took from them."""
    bridge = told(7, "all four")["engagement_bridge"].query("measure == @measure")
    truth = simulation.truth(simulation.WorldConfig(seed=7, stories=STORIES["all four"]), AS_OF)
    without = {each.without: getattr(each, measure) for each in truth.counterfactuals}
    assert bridge.amount.iloc[-1] == pytest.approx(without["none"], rel=0.001)
    assert bridge.amount[:-1].sum() == pytest.approx(bridge.amount.iloc[-1])
    parts = bridge[bridge["rank"].notna()]
    missed = {}
    for story, words in PART_OF.items():
        (part,) = parts[parts.label.str.contains(words)].itertuples()
        if not part.amount_low <= without["none"] - without[story] <= part.amount_high:
            missed[story] = (without["none"] - without[story], part.amount_low, part.amount_high)
    assert missed == {}


@pytest.mark.slow
@pytest.mark.exhaustive
def test_without_a_story_there_is_nothing_to_tell(told: Told) -> None:
    """A finding is allowed in 5 % of companies, which `benchmarks/insights.py` counts; this one has none."""
    assert findings(told(41, "none")).empty
