"""The metrics layer: MetricFlow computes the KPIs from the marts, under the names and definitions that people see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pandas as pd
import pytest
from dbt.contracts.graph.semantic_manifest import SemanticManifest
from metricflow.engine.metricflow_engine import MetricFlowEngine, MetricFlowQueryRequest
from metricflow.protocols.sql_client import SqlEngine
from metricflow.sql.render.duckdb_renderer import DuckDbSqlPlanRenderer
from metricflow_semantics.model.dbt_manifest_parser import parse_manifest_from_dbt_generated_manifest
from metricflow_semantics.model.semantic_manifest_lookup import SemanticManifestLookup

from user_engagement import pipeline
from user_engagement.assets.dbt import load_manifest
from user_engagement.inputs.dbt_project import profile_variables
from user_engagement.inputs.parsed_project import parsed_manifest
from user_engagement.settings import Settings, load_settings
from user_engagement_tests.support.company import THROUGH
from user_engagement_tests.support.worlds import at_home

pytestmark = [pytest.mark.slow, pytest.mark.long]

Query = Callable[..., pd.DataFrame]

BY_SEGMENT = {
    "dau": ("day", "activity_date", "dau", "marts.active_users_daily"),
    "wau": ("day", "activity_date", "wau", "marts.active_users_daily"),
    "mau": ("day", "activity_date", "mau", "marts.active_users_daily"),
    "stickiness": ("day", "activity_date", "stickiness", "marts.active_users_daily"),
    "churn_rate_declared": (
        "month",
        "month",
        "churn_rate",
        "marts.churn_monthly where churn_kind = 'declared' and is_complete",
    ),
    "churn_rate_inactive": (
        "month",
        "month",
        "churn_rate",
        "marts.churn_monthly where churn_kind = 'inactive' and is_complete",
    ),
    "retention_1_month": (
        "month",
        "signup_month",
        "retention_rate_eligible",
        "cohorts.cohort_retention where period_kind = 'relative_month' and period_number = 1",
    ),
    "sessions_per_user": (
        "month",
        "month",
        "sessions_per_user",
        "marts.engagement_frequency where is_complete",
    ),
    "active_days_per_user": (
        "month",
        "month",
        "active_days_per_user",
        "marts.engagement_frequency where is_complete",
    ),
}
"""By metric: the grain of its time, and the mart's column for it, its column for the value, and its rows."""


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


@pytest.fixture(scope="module")
def metrics(settings: Settings, sql: Query, tmp_path_factory: pytest.TempPathFactory) -> Query:
    """Queries metrics by names of dimensions, as `mf query` does: MetricFlow writes the SQL."""
    variables = profile_variables(settings)
    manifest = parsed_manifest(
        settings.dbt_project_dir, settings.warehouse, settings.dbt_target_dir, variables
    )
    written = tmp_path_factory.mktemp("manifest") / "semantic_manifest.json"
    SemanticManifest(manifest).write_json_to_file(str(written))
    dialect: Any = SimpleNamespace(
        sql_engine_type=SqlEngine.DUCKDB, sql_plan_renderer=DuckDbSqlPlanRenderer()
    )
    lookup = SemanticManifestLookup(parse_manifest_from_dbt_generated_manifest(written.read_text()))
    engine = MetricFlowEngine(lookup, dialect)

    def query(*names: str, by: tuple[str, ...] = ()) -> pd.DataFrame:
        request = MetricFlowQueryRequest.create(metric_names=names, group_by_names=by)
        return sql(engine.explain(request).sql_statement.without_descriptions.sql)

    return query


def test_every_kpi_is_a_metric_of_the_same_name_label_and_definition(
    settings: Settings, kpis: pd.DataFrame
) -> None:
    metrics = {each["name"]: each for each in load_manifest(settings)["metrics"].values()}
    said = {
        name: (each["label"], each["description"]) for name, each in metrics.items() if name in kpis.index
    }
    assert said == dict(zip(kpis.index, zip(kpis.label, kpis.definition, strict=True), strict=True))


def test_a_metric_has_the_value_of_its_kpi(metrics: Query, kpis: pd.DataFrame) -> None:
    """Those of the last complete month by month, the others without a time."""
    month = kpis.loc["churn_rate_declared"]
    monthly = (kpis.period_start == month.period_start) & (kpis.period_end == month.period_end)
    assert 0 < monthly.sum() < len(kpis)
    latest = metrics(*kpis.index[~monthly]).iloc[0]
    by_month = (
        metrics(*kpis.index[monthly], by=("metric_time__month",)).set_index("metric_time__month").sort_index()
    )
    assert by_month.index[-1] == month.period_start, "no month that is not over"
    found = pd.concat([latest, by_month.iloc[-1]]).astype(float)
    pd.testing.assert_series_equal(found, kpis.value[found.index], rtol=1e-12, check_names=False)
    assert found.notna().sum() == len(kpis) - 1, "the company is too young for retention after 6 months"


@pytest.mark.parametrize("metric", BY_SEGMENT)
def test_a_metric_by_segment_and_time_is_the_mart_row_for_row(
    metric: str, metrics: Query, sql: Query
) -> None:
    grain, time, value, rows = BY_SEGMENT[metric]
    expected = sql(
        f"select {time}::timestamp as time, segment_name || ': ' || segment_value as segment,"
        f" {value}::double as value from {rows}"
    )
    found = metrics(metric, by=(f"metric_time__{grain}", "segment")).set_axis(expected.columns, axis=1)
    found, expected = (each.sort_values(["time", "segment"], ignore_index=True) for each in (found, expected))
    assert expected.value.nunique() > 10
    pd.testing.assert_frame_equal(found, expected, rtol=1e-12)


def test_users_of_different_attributes_are_not_added_up(metrics: Query, kpis: pd.DataFrame) -> None:
    by_attribute = metrics("mau", by=("activity_day__segment_name",))
    assert len(by_attribute) == 4
    assert set(by_attribute.mau) == {kpis.value["mau"]}
