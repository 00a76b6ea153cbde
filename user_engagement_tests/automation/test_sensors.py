"""What sensors request: exactly what differs from what was loaded last, again after failures, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from user_engagement import simulation
from user_engagement.assets.common import raw_key
from user_engagement.assets.freshness import ACTIVITY, BY_MONTH, activity_key
from user_engagement.assets.raw import SCHEMA_CHECK
from user_engagement.automation.attempts import LONGEST_PAUSE, pause_after
from user_engagement.automation.jobs import COHORTS_JOB, INGEST_JOB
from user_engagement.cli import simulated_company
from user_engagement.contracts.raw import USER_ENGAGEMENT
from user_engagement.errors import SourceError
from user_engagement.settings import load_settings
from user_engagement.warehouse import open_warehouse
from user_engagement_tests.support.frames import assert_equal, marts
from user_engagement_tests.support.operated import Operated, operated
from user_engagement_tests.support.worlds import at_home

MONTHS = ("2024-01", "2024-02", "2024-03", "2024-04")
SIGNUPS = (
    "user_id,signup_date,product_type,plan\n1,2024-01-03,free,a\n2,2024-02-10,paid,b\n3,2024-04-01,paid,a\n"
)
DAYS = 8  # of known users, from signup on
EVENTS = "user_id,engagement_date,session_duration,interaction_type\n"

pytestmark = pytest.mark.slow


def write_source(folder: Path) -> None:
    """Events in a file a month, of which every user has one in each month."""
    (folder / "user_engagement").mkdir(parents=True)
    (folder / "user_signups.csv").write_text(SIGNUPS)
    for month in MONTHS:
        rows = "".join(f"{user},{month}-15,60,visit\n" for user in (1, 2, 3))
        (folder / "user_engagement" / f"{month}.csv").write_text(EVENTS + rows)


def add(folder: Path, month: str, row: str) -> None:
    file = folder / "user_engagement" / f"{month}.csv"
    file.write_text(file.read_text() + row + "\n")


@contextmanager
def at(folder: Path) -> Iterator[Operated]:
    """The pipeline whose home and source are in a folder."""
    source = str(folder / "source")
    settings = load_settings(
        home=folder / "home", source="files", source_path=source, as_of=date(2024, 4, 30)
    )
    with at_home(folder / "home"), operated(settings) as found:
        yield found


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the sensors have loaded everything."""
    folder = tmp_path_factory.mktemp("loaded")
    write_source(folder / "source")
    with at(folder) as pipeline:
        assert pipeline.settle() == [INGEST_JOB, COHORTS_JOB]
    return folder


@pytest.fixture
def pipeline(tmp_path: Path, loaded: Path) -> Iterator[Operated]:
    """A copy of it, to go on from."""
    shutil.copytree(loaded, tmp_path, symlinks=True, dirs_exist_ok=True)
    with at(tmp_path) as found:
        yield found


@pytest.fixture
def source(pipeline: Operated, tmp_path: Path) -> Path:
    return tmp_path / "source"


def started(pipeline: Operated, job: str, first: str, last: str) -> dg.DagsterRun:
    """A run that another process works on."""
    tags = {
        "dagster/asset_partition_range_start": f"{first}-01",
        "dagster/asset_partition_range_end": f"{last}-01",
    }
    job_def = pipeline.definitions.resolve_job_def(job)
    return pipeline.instance.create_run_for_job(job_def, status=dg.DagsterRunStatus.STARTED, tags=tags)


# -- what is requested -------------------------------------------------------------------------------------


@pytest.mark.long
def test_an_empty_warehouse_is_filled_in_one_run_and_then_the_cohorts_in_one(tmp_path: Path) -> None:
    write_source(tmp_path / "source")
    with at(tmp_path) as unloaded:
        requests = unloaded.new_data()
        assert unloaded.months(requests) == [list(MONTHS)]
        assert "0 signup months" in str(unloaded.behind())
        assert unloaded.execute(INGEST_JOB, requests)
        assert unloaded.months(unloaded.behind()) == [list(MONTHS)]


def test_an_unchanged_source_requests_nothing_and_says_what_was_compared(pipeline: Operated) -> None:
    said = str(pipeline.new_data())
    assert "user_signups, user_engagement, churn_data in 4 months, 2024-01-01 to 2024-04-01" in said
    assert "nothing has changed" in said
    assert "all are up to date" in str(pipeline.behind())


def test_exactly_the_months_that_changed_are_requested_neighbours_in_one_run(
    pipeline: Operated, source: Path
) -> None:
    for month in ("2024-01", "2024-03", "2024-04"):
        add(source, month, f"1,{month}-20,30,visit")
    assert pipeline.months(pipeline.new_data()) == [["2024-01"], ["2024-03", "2024-04"]]


@pytest.mark.long
def test_late_events_request_their_own_old_month(pipeline: Operated, source: Path) -> None:
    (source / "user_engagement" / "late.csv").write_text(EVENTS + "2,2024-02-20,30,visit\n")
    assert pipeline.months(pipeline.new_data()) == [["2024-02"]]
    assert pipeline.settle() == [INGEST_JOB, COHORTS_JOB]
    found = marts(pipeline.settings)["user_activity_daily"]
    assert found.activity_date.astype(str).tolist().count("2024-02-20") == 1


@pytest.mark.exhaustive
def test_rows_and_files_that_are_gone_count_as_a_change(pipeline: Operated, source: Path) -> None:
    (source / "user_engagement" / "2024-03.csv").unlink()
    assert pipeline.months(pipeline.new_data()) == [["2024-03"]]
    assert pipeline.settle() == [INGEST_JOB, COHORTS_JOB]
    days = marts(pipeline.settings)["user_activity_daily"].activity_date.astype(str)
    assert not days.str.startswith("2024-03").any()


def test_a_row_corrected_in_place_requests_its_month(pipeline: Operated, source: Path) -> None:
    file = source / "user_engagement" / "2024-02.csv"
    file.write_text(file.read_text().replace(",60,", ",61,"))
    # the same size: only the time of change tells
    os.utime(file, (file.stat().st_atime, file.stat().st_mtime + 5))
    assert pipeline.months(pipeline.new_data()) == [["2024-02"]]


def test_months_that_a_run_is_about_are_left_to_it_whoever_asked_for_it(
    pipeline: Operated, source: Path
) -> None:
    for month in ("2024-01", "2024-03"):
        add(source, month, f"1,{month}-20,30,visit")
    run = started(pipeline, INGEST_JOB, "2024-02", "2024-03")
    assert pipeline.months(pipeline.new_data()) == [["2024-01"]]
    started(pipeline, "everything", "2024-01", "2024-01")
    assert f"covered by run {run.run_id[:8]}: 2024-03-01" in str(pipeline.new_data())


def test_a_warehouse_that_is_gone_is_filled_again(pipeline: Operated) -> None:
    pipeline.settings.warehouse_file.unlink()
    assert pipeline.months(pipeline.new_data()) == [list(MONTHS)]


def test_another_time_zone_requests_every_month(pipeline: Operated) -> None:
    settings = pipeline.settings.model_copy(update={"timezone": "Asia/Tokyo"})
    with operated(settings) as moved:
        assert moved.months(moved.new_data()) == [list(MONTHS)]


def test_a_simulated_company_that_is_not_there_yet_is_asked_for(tmp_path: Path) -> None:
    with (
        at_home(tmp_path / "home"),
        operated(load_settings(home=tmp_path / "home", source="simulated")) as empty,
    ):
        assert "user-engagement simulate" in str(empty.new_data())


# -- after failures ----------------------------------------------------------------------------------------


def test_pauses_double_up_to_an_hour() -> None:
    assert [pause_after(n).total_seconds() for n in (1, 2, 3, 8)] == [30, 60, 120, 3600]
    assert pause_after(10_000) == LONGEST_PAUSE


@contextmanager
def held(pipeline: Operated) -> Iterator[None]:
    """Another process has the warehouse open meanwhile."""
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(pipeline.settings.warehouse_file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        yield
        holder.kill()


@pytest.mark.long
def test_a_failed_month_is_asked_for_again_after_a_pause_that_grows(pipeline: Operated, source: Path) -> None:
    add(source, "2024-03", "1,2024-03-20,30,visit")
    with held(pipeline):
        for pause in (30, 60):
            requests = pipeline.new_data()
            assert pipeline.months(requests) == [["2024-03"]]
            assert not pipeline.execute(INGEST_JOB, requests)
            pipeline.wait(seconds=pause - 5)
            assert "next attempt at" in str(pipeline.new_data())
            pipeline.wait(seconds=10)
    assert pipeline.settle() == [INGEST_JOB, COHORTS_JOB]
    assert len(marts(pipeline.settings)["user_activity_daily"]) == DAYS + 1


@pytest.mark.long
def test_what_failed_before_the_source_changed_holds_up_nothing(pipeline: Operated, source: Path) -> None:
    add(source, "2024-03", "1,2024-03-20,30,visit")
    with held(pipeline):
        assert not pipeline.execute(INGEST_JOB, pipeline.new_data())
    assert "next attempt at" in str(pipeline.new_data())
    add(source, "2024-03", "1,2024-03-21,30,visit")
    assert pipeline.settle() == [INGEST_JOB, COHORTS_JOB]
    assert len(marts(pipeline.settings)["user_activity_daily"]) == DAYS + 2


def test_a_source_that_cannot_be_read_fails_the_tick_and_the_check_and_nothing_is_lost(
    pipeline: Operated, source: Path
) -> None:
    add(source, "2024-03", "1,2024-03-20,soon,visit")
    with pytest.raises(SourceError, match=r"2024-03.csv, line 5: session_duration is 'soon'"):
        pipeline.new_data()
    stale = pipeline.standing()["as_new_as_source"]
    assert not stale.passed
    assert "session_duration is 'soon'" in stale.description
    assert len(marts(pipeline.settings)["user_activity_daily"]) == DAYS


def test_cancelled_runs_count_as_failures(pipeline: Operated, source: Path) -> None:
    add(source, "2024-03", "1,2024-03-20,30,visit")
    run = started(pipeline, INGEST_JOB, "2024-03", "2024-03")
    pipeline.instance.report_run_canceled(run)
    pipeline.now = datetime.now(UTC)
    assert "failed 1 times" in str(pipeline.new_data())
    pipeline.wait(seconds=31)
    assert pipeline.months(pipeline.new_data()) == [["2024-03"]]


# -- cohorts -----------------------------------------------------------------------------------------------


@pytest.mark.long
def test_cohorts_follow_several_activity_runs_once_and_wait_for_those_that_still_load(
    pipeline: Operated, source: Path
) -> None:
    for month in ("2024-01", "2024-03"):
        add(source, month, f"1,{month}-20,30,visit")
    assert pipeline.execute(INGEST_JOB, pipeline.new_data())
    loading = started(pipeline, INGEST_JOB, "2024-04", "2024-04")
    assert "still loading activity" in str(pipeline.behind())
    pipeline.instance.report_run_canceled(loading)
    requests = pipeline.behind()
    assert pipeline.months(requests) == [list(MONTHS)]
    assert pipeline.execute(COHORTS_JOB, requests)
    assert "all are up to date" in str(pipeline.behind())


@pytest.mark.long
def test_cohorts_rebuilt_without_publishing_are_published_all_the_same(
    pipeline: Operated, source: Path
) -> None:
    add(source, "2024-04", "1,2024-04-20,30,visit")
    assert pipeline.execute(INGEST_JOB, pipeline.new_data())
    keys = [dg.AssetKey(["cohorts", n]) for n in ("user_history", "cohort_retention", "user_lifecycle")]
    pipeline.definitions.resolve_job_def(COHORTS_JOB).execute_in_process(
        instance=pipeline.instance, tags=dict(pipeline.behind()[0].tags), asset_selection=keys
    )
    pipeline.now = datetime.now(UTC) + timedelta(hours=1)
    assert pipeline.months(pipeline.behind()) == [list(MONTHS)]


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("first", "last"),
    [
        (date(2025, 4, 1), date(2025, 4, 2)),
        pytest.param(date(2025, 3, 20), date(2025, 4, 18), marks=pytest.mark.exhaustive),
    ],
    ids=["2 days", "30 days"],
)
def test_days_one_by_one_are_the_marts_of_one_load(tmp_path: Path, first: date, last: date) -> None:
    config = simulation.WorldConfig(users=250)
    days = [first + timedelta(n) for n in range((last - first).days + 1)]
    with at_home(tmp_path / "daily"):
        settings = load_settings(home=tmp_path / "daily", source="simulated")
        simulated_company.simulate(settings, users=config.users, through=first - timedelta(days=1))
        with operated(settings) as pipeline:
            pipeline.settle()
            for day in days:
                simulated_company.simulate(settings, users=None, through=day)
                # the cohorts follow at once, or after some days that were loaded meanwhile
                if day.day % 3:
                    assert pipeline.execute(INGEST_JOB, pipeline.new_data()), day
                else:
                    assert pipeline.settle() == [INGEST_JOB, COHORTS_JOB], day
            pipeline.settle()
        one_by_one = marts(settings)
    with at_home(tmp_path / "at once"):
        settings = load_settings(home=tmp_path / "at once", source="simulated")
        simulated_company.simulate(settings, users=config.users, through=last)
        with operated(settings) as pipeline:
            pipeline.settle()
        assert_equal(one_by_one, marts(settings))


# -- what the UI shows about it ----------------------------------------------------------------------------


@pytest.mark.long
def test_checks_are_red_while_the_source_is_ahead_and_green_after_the_refresh(
    pipeline: Operated, source: Path
) -> None:
    fresh = pipeline.standing()["as_new_as_source"]
    assert fresh.passed
    assert "2024-04-30" in fresh.description
    add(source, "2024-03", "1,2024-03-20,30,visit")
    stale = pipeline.standing()["as_new_as_source"]
    assert not stale.passed
    assert "2024-03-01" in stale.description
    assert pipeline.execute(INGEST_JOB, pipeline.new_data())
    half = pipeline.standing()["as_new_as_source"]
    assert not half.passed
    assert "older than the newest activity" in half.description
    pipeline.settle()
    assert pipeline.standing()["as_new_as_source"].passed


@pytest.mark.exhaustive
def test_every_late_delivery_is_given_time_to_be_loaded_before_a_check_turns_red(
    pipeline: Operated, source: Path
) -> None:
    """The first delivery once had its grace, and the second one none."""
    sensor = next(s for s in pipeline.definitions.sensors or () if s.name == "standing_checks")
    assert isinstance(sensor, dg.SensorDefinition)
    cursor = None
    for day in ("2024-03-20", "2024-03-21"):
        for arrives in (False, True):
            if arrives:
                add(source, "2024-03", f"1,{day},30,visit")
            with dg.build_sensor_context(pipeline.instance, cursor=cursor) as context:
                found = sensor.evaluate_tick(context)
            # as the daemon does: an empty cursor would not be stored
            cursor = found.cursor or cursor
            red = [event for event in found.asset_events if getattr(event, "passed", True) is False]
            assert not red, (day, arrives, red)
        pipeline.settle()


@pytest.mark.long
def test_a_standing_check_says_which_months_are_left_failed_until_they_succeed(
    pipeline: Operated, source: Path
) -> None:
    assert pipeline.standing()["no_month_left_failed"].passed
    add(source, "2024-03", "1,2024-03-20,30,visit")
    with held(pipeline):
        assert not pipeline.execute(INGEST_JOB, pipeline.new_data())
    left = pipeline.standing()["no_month_left_failed"]
    assert not left.passed
    assert left.metadata == {"months_left_failed": 1}
    assert "2024-03-01" in left.description
    pipeline.wait(seconds=31)
    assert pipeline.execute(INGEST_JOB, pipeline.new_data())
    assert pipeline.standing()["no_month_left_failed"].passed


# -- what one model or one check holds up ------------------------------------------------------------------


@pytest.mark.long
def test_a_month_of_which_one_model_was_not_rebuilt_is_loaded_again(tmp_path: Path) -> None:
    write_source(tmp_path / "source")
    with at(tmp_path) as pipeline:
        assert pipeline.execute(INGEST_JOB, pipeline.new_data())
        assert isinstance(pipeline.new_data(), str)
        [loaded] = pipeline.instance.fetch_materializations(
            dg.AssetRecordsFilter(
                asset_key=raw_key(pipeline.settings, USER_ENGAGEMENT), asset_partitions=["2024-03-01"]
            ),
            limit=1,
        ).records
        assert loaded.asset_materialization
        for event in (
            loaded.asset_materialization,
            *(
                dg.AssetMaterialization(activity_key(pipeline.settings, model), partition="2024-03-01")
                for model in BY_MONTH
                if model != ACTIVITY
            ),
        ):
            pipeline.instance.report_runless_asset_event(event)
        assert pipeline.months(pipeline.new_data()) == [["2024-03"]]
        pipeline.instance.report_runless_asset_event(
            dg.AssetMaterialization(activity_key(pipeline.settings), partition="2024-03-01")
        )
        assert isinstance(pipeline.new_data(), str)


@pytest.mark.exhaustive
def test_cohorts_wait_for_a_failed_check_of_what_they_are_made_of(tmp_path: Path) -> None:
    write_source(tmp_path / "source")

    def evaluated(passed: bool) -> dg.AssetCheckEvaluation:
        return dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(["raw", "user_engagement"]),
            check_name=SCHEMA_CHECK,
            passed=passed,
            metadata={},
            severity=dg.AssetCheckSeverity.ERROR,
        )

    with at(tmp_path) as pipeline:
        assert pipeline.execute(INGEST_JOB, pipeline.new_data())
        pipeline.instance.report_runless_asset_event(evaluated(passed=False))
        said = pipeline.behind()
        assert isinstance(said, str)
        assert said.endswith("Nothing is published while checks fail: source_schema of raw/user_engagement.")
        pipeline.instance.report_runless_asset_event(evaluated(passed=True))
        assert pipeline.months(pipeline.behind()) == [list(MONTHS)]


@pytest.mark.long
def test_sensors_do_not_load_a_source_that_lost_a_column_until_someone_accepts_it(tmp_path: Path) -> None:
    write_source(tmp_path / "source")
    signups = tmp_path / "source" / "user_signups.csv"
    signups.write_text(SIGNUPS.replace("plan", "country"))
    with at(tmp_path) as pipeline:
        assert pipeline.execute(INGEST_JOB, pipeline.new_data())
        signups.write_text(SIGNUPS.replace("plan", "region"))
        for _ in range(2):
            pipeline.now += LONGEST_PAUSE
            assert not pipeline.execute(INGEST_JOB, pipeline.new_data())
        with open_warehouse(pipeline.settings).reader() as reader:
            kept = reader.query("select count(country) from raw.user_signups").column(0)[0].as_py()
        assert kept == 3
