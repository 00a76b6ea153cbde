"""The metrics layer: dbt metrics for BI tools, under the names and definitions that people see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from user_engagement import pipeline
from user_engagement.assets.dbt import load_manifest
from user_engagement.settings import Settings, load_settings
from user_engagement_tests.support.company import THROUGH
from user_engagement_tests.support.worlds import at_home

pytestmark = pytest.mark.slow

Query = Callable[..., pd.DataFrame]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, company: Path) -> Iterator[Settings]:
    home = tmp_path_factory.mktemp("metrics") / "home"
    with at_home(home):
        settings = load_settings(home=home, source="files", source_path=str(company), as_of=THROUGH)
        pipeline.run(settings, pipeline.plan(settings))
        yield settings


@pytest.fixture(scope="module")
def sql(settings: Settings) -> Query:
    def run(query: str) -> pd.DataFrame:
        with duckdb.connect(str(settings.warehouse_file), read_only=True) as connection:
            return connection.sql(query).df()

    return run


@pytest.fixture(scope="module")
def kpis(sql: Query) -> pd.DataFrame:
    return sql("select * from marts.kpi_summary").set_index("kpi")


def test_every_kpi_is_a_metric_of_the_same_name_label_and_definition(
    settings: Settings, kpis: pd.DataFrame
) -> None:
    metrics = {each["name"]: each for each in load_manifest(settings)["metrics"].values()}
    said = {name: (metrics[name]["label"], metrics[name]["description"]) for name in kpis.index}
    assert said == dict(zip(kpis.index, zip(kpis.label, kpis.definition, strict=True), strict=True))
