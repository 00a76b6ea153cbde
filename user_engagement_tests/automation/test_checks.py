"""Checks that keep wrong numbers from being published, or say that something is unusual."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from user_engagement.automation.jobs import COHORTS_JOB, EVERYTHING_JOB, INGEST_JOB
from user_engagement.contracts.marts import MARTS
from user_engagement.partitions import Months
from user_engagement.publishing.generations import read_manifest, resolve
from user_engagement.settings import load_settings
from user_engagement.warehouse import open_warehouse
from user_engagement.warehouse.duckdb.warehouse import DuckDBWarehouse
from user_engagement_tests.support.operated import Operated, operated
from user_engagement_tests.support.worlds import at_home

FIRST, LAST = date(2024, 1, 1), date(2024, 6, 30)
ALL = Months(FIRST, date(2024, 6, 1))


def write_source(folder: Path, country: bool = True, daily: int = 3) -> None:
    """Two users with a few sessions every day; in June ``daily`` of them a day."""
    folder.mkdir(exist_ok=True)
    head, values = (",country", (",AT", ",BE")) if country else ("", ("", ""))
    signups = "".join(f"{user},2024-01-01,free{values[user - 1]}\n" for user in (1, 2))
    (folder / "user_signups.csv").write_text(f"user_id,signup_date,product_type{head}\n{signups}")
    days = [FIRST + timedelta(n) for n in range((LAST - FIRST).days + 1)]
    rows = [
        f"{1 + n % 2},{day},60,visit" for day in days for n in range(daily if day >= date(2024, 6, 1) else 3)
    ]
    text = "\n".join(["user_id,engagement_date,session_duration,interaction_type", *rows, ""])
    (folder / "user_engagement.csv").write_text(text)


@contextmanager
def at(folder: Path) -> Iterator[Operated]:
    settings = load_settings(
        home=folder / "home", source="files", source_path=str(folder / "source"), as_of=LAST
    )
    with at_home(folder / "home"), operated(settings) as found:
        yield found


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loaded")
    write_source(folder / "source")
    with at(folder) as pipeline:
        assert execute(pipeline, EVERYTHING_JOB).success
    return folder


@pytest.fixture
def pipeline(tmp_path: Path, loaded: Path) -> Iterator[Operated]:
    shutil.copytree(loaded, tmp_path, symlinks=True, dirs_exist_ok=True)
    with at(tmp_path) as found:
        yield found


def execute(pipeline: Operated, job: str, months: Months = ALL) -> dg.ExecuteInProcessResult:
    job_def = pipeline.definitions.resolve_job_def(job)
    return job_def.execute_in_process(instance=pipeline.instance, tags=months.tags(), raise_on_error=False)


def failed_checks(result: dg.ExecuteInProcessResult) -> dict[str, tuple[str, str]]:
    """Severity and description of each check that did not pass, by its name."""
    return {
        e.check_name: (e.severity.value, e.description or "")
        for e in result.get_asset_check_evaluations()
        if not e.passed
    }


def generation(pipeline: Operated) -> int:
    return read_manifest(resolve(pipeline.settings.published_dir)).generation


# -- the source's columns ----------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.slow
def test_a_new_column_is_a_warning_and_is_loaded_and_the_next_load_says_nothing(pipeline: Operated) -> None:
    file = Path(str(pipeline.settings.source_path)) / "user_signups.csv"
    header, *rows = file.read_text().splitlines()
    file.write_text("\n".join([f"{header},plan", *(f"{row},gold" for row in rows), ""]))
    result = execute(pipeline, INGEST_JOB)
    assert result.success
    assert failed_checks(result) == {"source_schema": ("WARN", "New in the source, and kept: plan.")}
    assert failed_checks(execute(pipeline, INGEST_JOB)) == {}


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_column_that_metrics_rest_on_stops_everything_when_it_is_gone_until_it_is_accepted(
    pipeline: Operated,
) -> None:
    before = generation(pipeline)
    write_source(Path(str(pipeline.settings.source_path)), country=False)
    result = execute(pipeline, EVERYTHING_JOB)
    assert not result.success
    severity, description = failed_checks(result)["source_schema"]
    assert severity == "ERROR"
    assert "used by metrics: country" in description
    assert generation(pipeline) == before
    with open_warehouse(pipeline.settings).reader() as reader:
        values = reader.query(
            "select distinct segment_value from marts.churn_monthly where segment_name = 'country'"
        )
    assert sorted(values.column(0).to_pylist()) == ["AT", "BE"]
    assert execute(pipeline, EVERYTHING_JOB).success
    assert generation(pipeline) > before


# -- rows by month -----------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.slow
def test_each_month_of_a_range_run_records_its_own_rows(loaded: Path) -> None:
    months = ALL.keys()

    def rows(pipeline: Operated, *path: str) -> list[object]:
        records = pipeline.instance.fetch_materializations(dg.AssetKey(path), limit=100).records
        found = {r.partition_key: r.asset_materialization for r in records}
        return [
            found[key].metadata["dagster/partition_row_count"].value  # type: ignore[union-attr]
            for key in months
        ]

    days = [31, 29, 31, 30, 31, 30]
    with at(loaded) as pipeline:
        assert rows(pipeline, "raw", "user_engagement") == [3 * n for n in days]
        assert rows(pipeline, "raw", "user_signups") == [2, 0, 0, 0, 0, 0]
        assert rows(pipeline, "activity", "row_counts") == days
        assert rows(pipeline, "cohorts", "user_history") == [2, 0, 0, 0, 0, 0]


@pytest.mark.long
@pytest.mark.slow
def test_a_models_columns_name_the_columns_that_they_come_from(loaded: Path) -> None:
    with at(loaded) as pipeline:
        records = pipeline.instance.fetch_materializations(
            dg.AssetKey(["activity", "users"]), limit=1
        ).records
    metadata = records[0].asset_materialization.metadata  # type: ignore[union-attr]
    origins = metadata["dagster/column_lineage"].value.deps_by_column  # type: ignore[union-attr]
    signups = dg.AssetKey(["staging", "stg_user_signups"])
    assert dg.TableColumnDep(signups, "signup_date") in origins["signup_date"]


# -- the marts ---------------------------------------------------------------------------------------------


def test_a_missing_column_and_one_of_another_type_are_breaches() -> None:
    columns = {"table_name": "VARCHAR", "reason": "VARCHAR", "rows": "DECIMAL(38,0)", "added": "DATE"}
    assert MARTS["data_quality"].breaches(columns) == [
        "column rows is DECIMAL(38,0), not BIGINT or INTEGER",
        "column observed_through is missing",
    ]


@pytest.mark.long
@pytest.mark.slow
def test_a_mart_that_breaks_the_contract_is_not_published(pipeline: Operated) -> None:
    before = generation(pipeline)
    with DuckDBWarehouse.of(pipeline.settings).connect() as connection:
        connection.execute("alter table marts.survival rename column at_risk to users_at_risk")
    # the models are left out, which would mend it
    keys = [dg.AssetKey(["marts", "survival"]), dg.AssetKey(["published", "generation"])]
    checks = [dg.AssetCheckKey(keys[0], "mart_contract")]
    job = dg.define_asset_job("j", dg.AssetSelection.assets(keys[1]) | dg.AssetSelection.checks(*checks))
    definitions = dg.Definitions.merge(pipeline.definitions, dg.Definitions(jobs=[job]))
    result = definitions.resolve_job_def("j").execute_in_process(
        instance=pipeline.instance, raise_on_error=False
    )
    assert failed_checks(result)["mart_contract"] == ("ERROR", "survival: column at_risk is missing.")
    assert not result.success
    assert generation(pipeline) == before


@pytest.mark.long
@pytest.mark.slow
def test_cohorts_of_different_horizons_are_never_published_together(pipeline: Operated) -> None:
    before = generation(pipeline)
    source = Path(str(pipeline.settings.source_path))
    events = source / "user_engagement.csv"
    events.write_text(events.read_text().replace("\n1,2024-06-30", "\n1,2024-07-05"))
    settings = pipeline.settings.model_copy(update={"as_of": date(2024, 7, 5)})
    july = Months(date(2024, 7, 1), date(2024, 7, 1))
    with operated(settings) as later:
        assert execute(later, INGEST_JOB, july).success
        result = execute(later, COHORTS_JOB, july)
        assert not result.success
        assert failed_checks(result)["every_cohort_is_as_new_as_its_activity"][0] == "ERROR"
        assert generation(later) == before
        assert execute(later, COHORTS_JOB, Months(FIRST, july.last)).success
        assert generation(later) > before


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(
    ("daily", "is_unusual"),
    [
        (3, False),
        (1, True),
        *(pytest.param(*case, marks=pytest.mark.exhaustive) for case in [(4, False), (9, True)]),
    ],
)
def test_a_newest_month_of_unusual_volume_is_a_warning(
    pipeline: Operated, daily: int, is_unusual: bool
) -> None:
    write_source(Path(str(pipeline.settings.source_path)), daily=daily)
    with operated(pipeline.settings.model_copy(update={"accept_loss": True})) as accepting:
        result = execute(accepting, EVERYTHING_JOB)
    assert result.success
    failed = failed_checks(result)
    assert ("volume_is_usual" in failed) is is_unusual
    assert all(severity == "WARN" for severity, _ in failed.values())
    doubts = read_manifest(resolve(pipeline.settings.published_dir)).doubts
    assert {doubt.check: doubt.text for doubt in doubts} == {name: text for name, (_, text) in failed.items()}
