"""What Dagster shows: the graph, its partitions and its lineage."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from user_engagement.assets.dbt import load_manifest
from user_engagement.code_location import build_definitions
from user_engagement.contracts.marts import MARTS, PER_USER_MARTS
from user_engagement.contracts.raw import RAW_TABLES
from user_engagement.partitions import monthly_partitions, window_of
from user_engagement.settings import PROJECT_ROOT, Settings

pytestmark = pytest.mark.slow

ALERTING = ("run_failures", "stale_or_failed_checks", "digest_of_changes")


@pytest.fixture
def definitions(settings_for: Callable[..., Settings]) -> dg.Definitions:
    return build_definitions(settings_for())


def test_every_asset_says_what_it_is_and_who_owns_it(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.description, key
        assert node.owners, key
        assert node.kinds, key
        assert node.group_name != "default", key


def test_every_asset_names_the_files_that_make_it(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    for key in graph.materializable_asset_keys:
        references = graph.get(key).metadata["dagster/code_references"].code_references
        files = [Path(reference.file_path) for reference in references]
        assert all(file.is_file() for file in files), key
        if key.path[0] in ("activity", "cohorts", "marts"):
            assert files[0].name == f"{key.path[-1]}.sql"
        assert files[-1].suffix == ".py"


def test_every_mart_descends_from_every_source(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    sources = {dg.AssetKey(["source", table.name]) for table in RAW_TABLES}

    def ancestors(key: dg.AssetKey) -> set[dg.AssetKey]:
        parents = graph.get(key).parent_keys
        return set(parents).union(*(ancestors(parent) for parent in parents))

    assert sources <= ancestors(dg.AssetKey(["published", "generation"]))
    assert sources <= ancestors(dg.AssetKey(["marts", "kpi_summary"]))


def test_every_mart_of_the_contract_is_an_asset(definitions: dg.Definitions) -> None:
    keys = definitions.resolve_asset_graph().get_all_asset_keys()
    assert {dg.AssetKey([mart.folder, name]) for name, mart in MARTS.items()} <= set(keys)


def test_lineage_ends_at_what_people_see(settings_for: Callable[..., Settings]) -> None:
    exposures = {each["name"]: each for each in load_manifest(settings_for())["exposures"].values()}
    shown = {
        name: {unique_id.rpartition(".")[2] for unique_id in each["depends_on"]["nodes"]}
        for name, each in exposures.items()
    }
    assert shown["export"] == set(MARTS)
    assert shown["dashboard"] == set(MARTS) - set(PER_USER_MARTS)
    assert "kpi_summary" in shown["digest"]


def test_a_mart_made_from_cohort_retention_closes_no_cycle(settings_for: Callable[..., Settings]) -> None:
    models = PROJECT_ROOT / "examples" / "extensions" / "models"
    definitions = build_definitions(settings_for(models=models))
    dg.Definitions.validate_loadable(definitions)
    mart = definitions.resolve_asset_graph().get(dg.AssetKey(["marts", "revenue_retention"]))
    assert mart.parent_keys == {dg.AssetKey(["cohorts", "cohort_retention"])}


def test_the_prefix_keeps_names_apart_and_jobs_select_the_pipelines_assets_alone(
    settings_for: Callable[..., Settings],
) -> None:
    @dg.asset(key=["marts", "churn_monthly"], group_name="marts")
    def churn_of_the_shop() -> None: ...

    own = build_definitions(settings_for(dagster_prefix="engagement"))
    shop = dg.Definitions(
        assets=[churn_of_the_shop], jobs=[dg.define_asset_job("everything", [churn_of_the_shop])]
    )
    merged = dg.Definitions.merge(own, shop, dg.Definitions(executor=dg.multiprocess_executor))
    dg.Definitions.validate_loadable(merged)
    repository = merged.get_repository_def()
    names = {*(s.name for s in repository.sensor_defs), *(s.name for s in repository.schedule_defs)}
    assert all(name.startswith("engagement__") for name in names)
    job = merged.resolve_job_def("engagement__everything")
    mart = dg.AssetKey(["engagement", "marts", "churn_monthly"])
    assert mart in job.asset_layer.executable_asset_keys
    assert churn_of_the_shop.key not in job.asset_layer.executable_asset_keys
    graph = merged.resolve_asset_graph()
    assert graph.get_all_asset_keys() - {churn_of_the_shop.key} == {
        key for key in graph.get_all_asset_keys() if key.path[0] == "engagement"
    }
    assert {key.asset_key.path[0] for key in graph.asset_check_keys} == {"engagement"}
    assert graph.get(mart).freshness_policy
    assert job.executor_def is dg.in_process_executor


def test_raw_activity_and_cohorts_share_one_monthly_calendar_and_marts_have_none(
    definitions: dg.Definitions,
) -> None:
    graph = definitions.resolve_asset_graph()
    for key in graph.materializable_asset_keys:
        partitioned = key.path[0] in ("raw", "staging", "lookups", "activity", "cohorts")
        assert (graph.get(key).partitions_def is not None) == partitioned, key


def test_a_cohort_depends_on_the_activity_of_its_month_and_of_every_later_one(
    definitions: dg.Definitions,
) -> None:
    graph = definitions.resolve_asset_graph()
    cohort, activity = dg.AssetKey(["cohorts", "user_history"]), dg.AssetKey(["activity", "active_days"])
    months = graph.get(cohort).partitions_def
    assert isinstance(months, dg.MonthlyPartitionsDefinition)
    upstream = graph.get_partition_mapping(
        cohort, activity
    ).get_upstream_mapped_partitions_result_for_partitions(
        months.subset_with_partition_keys(["2025-03-01"]), months, months
    )
    assert list(upstream.partitions_subset.get_partition_keys()) == ["2025-03-01", "2025-04-01", "2025-05-01"]


def test_dbt_tests_are_checks_that_block_what_follows(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    checks = {key.name: key for key in graph.asset_check_keys}
    assert "rows_are_accounted_for" in checks
    assert checks["mau_changes_add_up"].asset_key == dg.AssetKey(["marts", "active_users_daily"])
    specs = [
        spec
        for asset in definitions.assets or []
        if isinstance(asset, dg.AssetsDefinition)
        for spec in asset.check_specs
    ]
    warnings = [spec for spec in specs if not spec.blocking]
    assert {spec.asset_key for spec in warnings} == {dg.AssetKey(["published", "generation"])}
    assert len(specs) > 50


def test_sensors_and_schedules_start_switched_on_unless_the_setting_says_otherwise(
    settings_for: Callable[..., Settings],
) -> None:
    for automation in (True, False):
        found = build_definitions(settings_for(automation=automation))
        ours = [s for s in found.sensors or [] if s.name not in ALERTING]
        states = {s.default_status.value for s in [*ours, *(found.schedules or [])]}
        assert len(ours) == 3
        assert states == {"RUNNING" if automation else "STOPPED"}


def test_churn_retention_and_what_is_published_have_a_freshness_policy(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    watched = {key.to_user_string() for key in graph.get_all_asset_keys() if graph.get(key).freshness_policy}
    assert watched == {
        "cohorts/cohort_retention",
        "marts/churn_monthly",
        "marts/day_n_retention",
        "published/generation",
    }


def test_the_calendar_is_open_at_both_ends_and_closed_in_between() -> None:
    months = monthly_partitions(date(2025, 1, 1), date(2025, 4, 15))
    whole = window_of(months, dg.PartitionKeyRange("2025-01-01", "2025-04-01"))
    assert (whole.start, whole.end) == (None, None)
    inner = window_of(months, dg.PartitionKeyRange("2025-02-01", "2025-03-01"))
    assert (inner.start, inner.end) == (date(2025, 2, 1), date(2025, 4, 1))


@pytest.mark.long
def test_loading_the_code_location_imports_nothing_that_only_some_runs_need(
    settings_for: Callable[..., Settings],
) -> None:
    """Every run's process loads it; statistics and charts alone would double the time."""
    settings = settings_for()
    script = (
        "import sys; import user_engagement.definitions; "
        "print([m for m in sys.modules if m.startswith(('snowflake.', 'dagster_snowflake', 'statsmodels', 'plotly'))])"
    )
    variables = {
        "USER_ENGAGEMENT_HOME": str(settings.home),
        "USER_ENGAGEMENT_SOURCE": "files",
        "USER_ENGAGEMENT_SOURCE_PATH": str(settings.source_path),
    }
    done = subprocess.run([sys.executable, "-W", "error::DeprecationWarning:user_engagement", "-c", script],
                          env=variables, capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.strip() == "[]"


def test_a_source_that_cannot_be_read_still_lets_the_code_location_load(
    settings_for: Callable[..., Settings],
) -> None:
    definitions = build_definitions(settings_for(source_path="nowhere", start="2025-03"))
    months = definitions.resolve_asset_graph().get(dg.AssetKey(["raw", "user_signups"])).partitions_def
    assert isinstance(months, dg.MonthlyPartitionsDefinition)
    assert months.get_first_partition_key() == "2025-03-01"
