"""The pipeline on a real Dagster instance with real dbt: whole runs, slices, checks that stop what follows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import pandas as pd
import pytest
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from user_engagement import pipeline
from user_engagement.code_location import build_definitions
from user_engagement.contracts.marts import MARTS, PER_USER_MARTS
from user_engagement.errors import SettingsError
from user_engagement.inputs.publication import is_current
from user_engagement.insights.tables import TABLES as INSIGHTS
from user_engagement.instance.home import open_instance
from user_engagement.publishing.generations import read_manifest, resolve
from user_engagement.settings import Settings
from user_engagement_tests.support.company import THROUGH
from user_engagement_tests.support.frames import assert_equal, marts

pytestmark = pytest.mark.slow

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def run(settings: Settings) -> None:
    pipeline.run(settings, pipeline.plan(settings))


def materialize(settings: Settings, job: str, first: str, last: str) -> dg.ExecuteInProcessResult:
    tags = {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}
    with open_instance(settings) as instance:
        job_def = build_definitions(settings).resolve_job_def(job)
        return job_def.execute_in_process(instance=instance, tags=tags, raise_on_error=False)


def test_a_segment_that_is_no_column_of_the_signups_is_refused_before_anything_is_loaded(
    settings_for: Callable[..., Settings],
) -> None:
    settings = settings_for(segments=("country", "colour"))
    with pytest.raises(
        SettingsError, match=r"SEGMENTS: colour is no column of user_signups; it has user_id, "
    ):
        pipeline.plan(settings)
    assert not settings.warehouse_file.exists()


@pytest.mark.usefixtures("with_extras")
def test_a_run_builds_and_publishes_every_mart_and_insight(settings_for: Callable[..., Settings]) -> None:
    settings = settings_for()
    run(settings)
    found = marts(settings)
    assert all(len(frame) for frame in found.values())
    assert all((frame.observed_through == settings.as_of).all() for frame in found.values())
    assert sorted(found["kpi_summary"].position) == list(range(1, len(found["kpi_summary"]) + 1))
    assert found["kpi_summary"].definition.str.len().min() > 20
    generation = resolve(settings.published_dir)
    aggregated = set(MARTS) - set(PER_USER_MARTS)
    assert set(read_manifest(generation).tables) == (aggregated | set(INSIGHTS)) - {"at_risk_users"}
    assert 10_000 < (generation / "report.html").stat().st_size < 1_500_000
    for name in aggregated:
        pd.testing.assert_frame_equal(pd.read_parquet(generation / f"{name}.parquet"), found[name])


@pytest.mark.long
def test_a_run_with_nothing_new_rebuilds_nothing_until_the_source_a_setting_or_what_is_published_changes(
    settings_for: Callable[..., Settings], company: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(company, source)
    settings = settings_for(source_path=str(source))
    assert not is_current(settings, NOW)
    run(settings)
    assert list(pipeline.plan(settings).steps()) == []
    assert is_current(settings, NOW)
    for changed in (
        pipeline.plan(settings, rebuild=True),
        pipeline.plan(settings_for(source_path=str(source), inactivity_days=21)),
        pipeline.plan(settings_for(source_path=str(source), as_of=THROUGH - timedelta(days=1))),
    ):
        assert changed.load == ()
        assert [step.job for step in changed.steps()] == ["refresh_activity", "refresh_cohorts"]
    assert not is_current(settings_for(source_path=str(source), inactivity_days=21), NOW)
    materialize(settings, "refresh_activity", "2025-03-01", "2025-03-01")
    assert not is_current(settings, NOW)
    assert list(pipeline.plan(settings).steps()), "what somebody loaded in the UI is not yet published"
    run(settings)
    assert list(pipeline.plan(settings).steps()) == []
    assert is_current(settings, NOW)
    os.utime(next(file for file in source.rglob("user_engagement*") if file.is_file()))
    assert not is_current(settings, NOW)
    assert pipeline.plan(settings).load != ()
    run(settings)
    shutil.rmtree(resolve(settings.published_dir))
    assert list(pipeline.plan(settings).steps()), "there is nothing to look at any more"
    assert not is_current(settings, NOW)


@pytest.mark.long
def test_a_run_that_a_check_stops_says_what_the_check_found(
    settings_for: Callable[..., Settings], tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "user_signups.csv").write_text(
        "user_id,signup_date,product_type,country\n1,2025-01-03,basic,AT\n2,2025-02-05,basic,BE\n"
    )
    (source / "user_engagement.csv").write_text(
        "user_id,engagement_date,session_duration,interaction_type\n1,2025-01-04,60,visit\n2,2025-02-06,60,visit\n"
    )
    settings = settings_for(source_path=str(source), as_of="2025-02-28")
    run(settings)
    (source / "user_signups.csv").write_text(
        "user_id,signup_date,product_type\n1,2025-01-03,basic\n2,2025-02-05,basic\n"
    )
    with pytest.raises(
        pipeline.RunFailedError, match=r"source_schema of raw/user_signups: Missing .* country"
    ):
        run(settings)


@pytest.mark.long
def test_cohort_partitions_and_kpis_carry_figures_that_the_ui_can_plot(
    settings_for: Callable[..., Settings],
) -> None:
    settings = settings_for()
    run(settings)
    retention = marts(settings)["cohort_retention"]
    with open_instance(settings) as instance:
        key = dg.AssetKey(["cohorts", "cohort_retention"])
        records = instance.fetch_materializations(dg.AssetRecordsFilter(asset_key=key), limit=20).records
        latest = instance.get_latest_materialization_event(dg.AssetKey(["marts", "kpi_summary"]))
    plotted = {r.partition_key: r.asset_materialization.metadata for r in records if r.asset_materialization}
    january = retention[
        (retention.segment_name == "all")
        & (retention.period_kind == "relative_month")
        & (retention.period_number == 1)
        & (pd.to_datetime(retention.signup_month) == "2025-01-01")
    ].iloc[0]
    assert plotted["2025-01-01"]["cohort_size"].value == january.cohort_size
    assert plotted["2025-01-01"]["month_1_retention"].value == january.retention_rate
    assert 0 < plotted["2025-01-01"]["churn_rate"].value < 1
    assert "month_1_retention" not in plotted["2025-05-01"], "a censored cohort has no rate yet"
    assert latest
    assert latest.asset_materialization
    summary = latest.asset_materialization.metadata
    kpis = marts(settings)["kpi_summary"].set_index("kpi").value.dropna()
    assert len(kpis) > 10
    assert {name: summary[name].value for name in kpis.index} == kpis.to_dict()


@pytest.mark.long
def test_a_failing_check_on_staging_stops_the_marts_and_keeps_what_was_published(
    settings_for: Callable[..., Settings],
) -> None:
    settings = settings_for()
    run(settings)
    before, published = marts(settings), resolve(settings.published_dir)
    with duckdb.connect(str(settings.warehouse_file)) as connection:
        connection.execute("delete from raw.user_signups")
    definitions = build_definitions(settings)
    keys = definitions.resolve_asset_graph().materializable_asset_keys
    with open_instance(settings) as instance:
        result = definitions.resolve_job_def("everything").execute_in_process(
            instance=instance,
            tags={ASSET_PARTITION_RANGE_START_TAG: "2025-01-01", ASSET_PARTITION_RANGE_END_TAG: "2025-05-01"},
            asset_selection=[key for key in keys if key.path[0] != "raw"],
            raise_on_error=False,
        )
    assert not result.success
    assert [c.check_name for c in result.get_asset_check_evaluations() if not c.passed] == [
        "has_rows_stg_user_signups_"
    ]
    assert_equal(marts(settings), before)
    assert resolve(settings.published_dir) == published
