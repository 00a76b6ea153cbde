"""The pipeline as it is operated: sensors, backfills and standing checks on running `user-engagement dev`.

Each story has a home and processes of its own. They are told at the same time, since what takes long in them is to
wait for Dagster's next tick: sensors look every 30 or 60 seconds, and backfills move on every 30.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import psutil
import pyarrow as pa
import pytest

from user_engagement.automation.attempts import FIRST_PAUSE
from user_engagement.settings import load_settings
from user_engagement_tests.support.comparing import assert_same
from user_engagement_tests.support.servers import (
    SETTLED_SECONDS,
    STOP_SECONDS,
    Deployment,
    Run,
    files_of,
    running,
)
from user_engagement_tests.support.worlds import exported

pytestmark = [pytest.mark.slow, pytest.mark.waits, pytest.mark.timeout(1200), pytest.mark.long]

USERS, THROUGH, NEXT_DAY = "300", "2025-07-31", "2025-08-01"
"""A small company. August begins with the next day, which also brings an event of July that is late."""
SENSORS = ("new_source_data", "cohorts_follow_activity")
QUIET = {"new_source_data": "nothing has changed", "cohorts_follow_activity": "all are up to date"}
"""What each of them says when there is nothing to do."""

INGEST = {"raw", "staging", "lookups", "activity"}
JANUARY, FEBRUARY, MARCH, APRIL, MAY = (f"2025-{month:02d}-01" for month in range(1, 6))
FRESH = ("published/generation", "as_new_as_source")
NOT_FAILED = ("raw/user_engagement", "no_month_left_failed")
STALE_HOURS = "0.025"
"""The shortest that Dagster allows with a warning before: it is fresh for 67 seconds, and stale after 90."""


@dataclass(frozen=True)
class Homes:
    """Loaded homes to copy, the source of the second, and where stories make their copies.

    ``simulated`` has a simulated company through `THROUGH`; ``filed`` files of another one, a file for each month.
    """

    simulated: Path
    filed: Path
    source: Path
    folder: Path

    def copy(self, home: Path, name: str) -> Path:
        return shutil.copytree(home, self.folder / name, symlinks=True)


Story = Callable[[Homes], None]


# -- sensors -----------------------------------------------------------------------------------------------


def a_new_day_is_loaded_and_published_within_two_ticks_by_the_runs_that_it_takes(homes: Homes) -> None:
    home = homes.copy(homes.simulated, "a_new_day")
    with running(Deployment(home)) as dagster:
        loaded = dagster.runs()
        settle(dagster)
        assert dagster.runs() == loaded, "there was nothing new yet"

        arrived = time.time()
        dagster.call("simulate", "--users", USERS, "--through", NEXT_DAY)
        settle(dagster, since=arrived)
        load, _ = done = dagster.runs()[len(loaded) :]
        assert outline(done) == [
            ("refresh_activity", "2025-07-01", "2025-08-01", "SUCCESS"),
            ("refresh_cohorts", "2025-01-01", "2025-08-01", "SUCCESS"),
        ]
        for sensor, since in zip(SENSORS, (arrived, load.ended), strict=True):
            assert "SUCCESS" in [tick.status for tick in dagster.ticks(sensor, since)[:2]]

        *_, tick = dagster.ticks(SENSORS[0])
        assert tick.reason.startswith("Compared user_signups, user_engagement, churn_data in ")
        # once more, although it ends as before: Dagster shows no check that is older than its asset
        until_check(dagster, *NOT_FAILED, "SUCCEEDED")
        until_check(dagster, *FRESH, "SUCCEEDED")
    before, after = manifest(homes.simulated), manifest(home)
    assert (before["as_of"], after["as_of"]) == (THROUGH, NEXT_DAY)
    assert after["generation"] == before["generation"] + 1


def a_run_killed_while_it_loads_leaves_the_old_slice_and_is_asked_for_again(homes: Homes) -> None:
    kill_while_loading(homes, "killed_run", lambda _, run: run.kill())


def a_run_killed_with_everything_else_leaves_the_old_slice_and_is_asked_for_again(homes: Homes) -> None:
    kill_while_loading(homes, "killed_everything", lambda dagster, _: dagster.kill())


def kill_while_loading(homes: Homes, name: str, kill: Callable[[Deployment, psutil.Process], None]) -> None:
    home = homes.copy(homes.simulated, name)
    before = contents(home)
    with running(Deployment(home)) as dagster:
        began = len(dagster.runs())
        events = deliver_late_events(home)
        kill(dagster, loading(dagster, events, home / "warehouse.duckdb"))
        dagster.until(lambda: not is_held(home), STOP_SECONDS)
        assert_same(contents(home), before)
        if not dagster.family():
            dagster.start()
        settle(dagster)
        killed, again, _ = done = dagster.runs()[began:]
    assert outline(done) == [
        ("refresh_activity", "2025-03-01", "2025-03-01", "FAILURE"),
        ("refresh_activity", "2025-03-01", "2025-03-01", "SUCCESS"),
        ("refresh_cohorts", "2025-01-01", "2025-07-01", "SUCCESS"),
    ]
    assert again.created - killed.ended > FIRST_PAUSE.total_seconds()

    undisturbed = homes.copy(homes.simulated, f"beside_{name}")
    deliver_late_events(undisturbed)
    Deployment(undisturbed).call("run")
    assert_same(marts(home), marts(undisturbed))


def settle(dagster: Deployment, since: float = 0) -> None:
    """Returns when both sensors have looked since that time and since the last run, and found nothing to do."""

    def has_settled() -> bool:
        rest = max([since, *(run.ended for run in dagster.runs())])
        newest = {sensor: dagster.ticks(sensor, rest)[-1:] for sensor in SENSORS}
        return all(ticks and QUIET[sensor] in ticks[0].reason for sensor, ticks in newest.items())

    dagster.until(has_settled, SETTLED_SECONDS, every=1)


def outline(runs: list[Run]) -> list[tuple[str | None, ...]]:
    return [(run.job, *run.months, run.status) for run in runs]


def manifest(home: Path) -> dict[str, Any]:
    return json.loads((home / "published" / "current" / "manifest.json").read_text())


def deliver_late_events(home: Path) -> Path:
    """A million events of March, so that their load takes a second or more; the file."""
    folder = home / "sources" / "platform" / "user_engagement" / "late"
    folder.mkdir()
    unfinished = folder / "events.csv.tmp"
    with duckdb.connect() as connection:
        connection.execute(f"""
            copy (
                select 'late-' || n as event_id, 'visitor-' || n % 100 as user_id,
                    timestamp '2025-03-01' + to_seconds(2 * n) as engagement_date,
                    60 as session_duration, 'visit' as interaction_type, 'phone' as device_type
                from range(1_000_000) as numbers(n)
            ) to '{unfinished}' (format csv)
        """)
    return unfinished.rename(folder / "events.csv")


def loading(dagster: Deployment, *files: Path) -> psutil.Process:
    """The process that has source and warehouse open, suspended: a load's transaction is then under way."""
    caught: list[psutil.Process] = []

    def has_open(process: psutil.Process) -> bool:
        with suppress(psutil.Error):
            return {str(file) for file in files} <= {opened.path for opened in process.open_files()}
        return False

    def catch() -> bool:
        for process in filter(has_open, dagster.family()):
            process.suspend()
            if has_open(process):
                caught.append(process)
            else:
                process.resume()
        return bool(caught)

    dagster.until(catch, SETTLED_SECONDS, every=0.1)
    return caught[0]


def is_held(home: Path) -> bool:
    """Whether a process has the warehouse: one that was killed has it until the last of its threads has ended."""
    try:
        duckdb.connect(str(home / "warehouse.duckdb"), read_only=True).close()
    except duckdb.IOException:
        return True
    return False


def contents(home: Path) -> dict[str, pa.Table]:
    """What was loaded of the events, and a mart that is made of them, while nobody holds the warehouse."""
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        return {
            table: connection.sql(f"select * from {table} order by all").to_arrow_table()
            for table in ("raw.user_engagement", "user_level.user_days", "marts.active_users_daily")
        }


def marts(home: Path) -> dict[str, pa.Table]:
    return exported(load_settings(home=home), home / "marts")


# -- backfills ---------------------------------------------------------------------------------------------


def backfills_of_one_month_and_of_a_range_queue_and_one_of_all_months_changes_nothing(homes: Homes) -> None:
    home, wanted = homes.copy(homes.filed, "backfilled"), marts(homes.filed)
    change_cohorts(home)
    assert not marts(home)["cohort_retention"].equals(wanted["cohort_retention"])
    with running(Deployment(home, **operated_by_hand(homes.source))) as dagster:
        backfills = [
            dagster.backfill({"cohorts"}, [FEBRUARY]),
            dagster.backfill({"cohorts"}, [MARCH, APRIL, MAY]),
        ]
        (one, (month,)), (other, (stretch,)) = (dagster.backfilled(backfill) for backfill in backfills)
        assert (one, month.months) == ("COMPLETED_SUCCESS", (FEBRUARY, FEBRUARY))
        assert (other, stretch.months) == ("COMPLETED_SUCCESS", (MARCH, MAY))
        first, second = sorted((month, stretch), key=lambda run: run.started)
        assert second.started > first.ended, "one run at a time writes to the warehouse"
        assert_same(marts(home), wanted)

        status, runs = dagster.backfilled(dagster.backfill())
        assert status == "COMPLETED_SUCCESS"
        assert {run.status for run in runs} == {"SUCCESS"}
        assert runs[0].months == (JANUARY, MAY)
        # no run says what is stale before the last one has published
        assert dagster.check("cohorts/cohort_retention", "as_new_as_source")[0] == "SKIPPED"
    assert_same(marts(home), wanted)
    assert manifest(home)["generation"] == manifest(homes.filed)["generation"] + 1


def a_failed_month_is_shown_until_it_is_retried_alone_and_marts_are_stale_until_they_follow(
    homes: Homes,
) -> None:
    home = homes.copy(homes.filed, "failed_month")
    source = shutil.copytree(homes.source, homes.folder / "failing_source")
    march, may = (source / "user_engagement" / f"{month[:7]}.csv" for month in (MARCH, MAY))
    variables = {
        **operated_by_hand(source),
        "USER_ENGAGEMENT_STALE_AFTER_MINUTES": "0",
        "USER_ENGAGEMENT_STALE_AFTER_HOURS": STALE_HOURS,
        "FRESHNESS_DAEMON_INTERVAL_SECONDS": "5",
    }
    with running(Deployment(home, **variables)) as dagster:
        append_event(may)
        dagster.switch_on("standing_checks")
        assert f"Changed since the last load: {MAY}." in until_check(dagster, *FRESH, "FAILED")
        until_check(dagster, *NOT_FAILED, "SUCCEEDED")

        append_event(march, duration="soon")
        status, _ = dagster.backfilled(dagster.backfill(INGEST, [MARCH]))
        assert status == "COMPLETED_FAILED"
        assert failed_months(dagster) == [(MARCH, MARCH)]
        said = until_check(dagster, *NOT_FAILED, "FAILED")
        assert f"failed or was cancelled (1): {MARCH}." in said

        dagster.until(lambda: freshness(dagster) == "DEGRADED", SETTLED_SECONDS)
        march.write_text(march.read_text().replace("soon", "60"))
        status, (retried,) = dagster.backfilled(dagster.backfill(INGEST, [MARCH]))
        assert (status, retried.months) == ("COMPLETED_SUCCESS", (MARCH, MARCH))
        assert failed_months(dagster) == []
        until_check(dagster, *NOT_FAILED, "SUCCEEDED")

        for job, first in (("refresh_activity", MAY), ("refresh_cohorts", JANUARY)):
            run = dagster.launch(job, first, MAY)
            dagster.until(lambda run=run: dagster.run(run)["status"] == "SUCCESS", SETTLED_SECONDS)
        dagster.until(lambda: freshness(dagster) == "HEALTHY", SETTLED_SECONDS)
        until_check(dagster, *FRESH, "SUCCEEDED")


def operated_by_hand(source: Path) -> dict[str, str]:
    return {**files_of(source), "USER_ENGAGEMENT_AUTOMATION": "false"}


def change_cohorts(home: Path) -> None:
    """Makes all cohorts but the first differ, by so little that no data test objects."""
    with duckdb.connect(str(home / "warehouse.duckdb")) as connection:
        connection.execute(
            f"update cohorts.cohort_retention set ci_low = ci_low / 2 where signup_month >= '{FEBRUARY}'"
        )


def append_event(file: Path, duration: str = "60") -> None:
    *_, last = file.read_text().splitlines()
    event, user, moment, _, *others = last.split(",")
    with file.open("a") as lines:
        lines.write(",".join([f"{event}-{duration}", user, moment, duration, *others]) + "\n")


def until_check(dagster: Deployment, asset: str, name: str, status: str) -> str:
    """Waits until a check has that status; what it says then."""
    dagster.until(lambda: dagster.check(asset, name)[0] == status, SETTLED_SECONDS, every=1)
    return dagster.check(asset, name)[1]


def failed_months(dagster: Deployment) -> list[tuple[str, str]]:
    ranges = dagster.asset("raw/user_engagement")["assetPartitionStatuses"]["ranges"]
    return [(found["startKey"], found["endKey"]) for found in ranges if found["status"] == "FAILED"]


def freshness(dagster: Deployment) -> str:
    return dagster.asset("published/generation")["freshnessStatusInfo"]["freshnessStatus"]


# -- telling them ------------------------------------------------------------------------------------------

STORIES: list[Story] = [
    a_failed_month_is_shown_until_it_is_retried_alone_and_marts_are_stale_until_they_follow,
    a_run_killed_while_it_loads_leaves_the_old_slice_and_is_asked_for_again,
    backfills_of_one_month_and_of_a_range_queue_and_one_of_all_months_changes_nothing,
    a_new_day_is_loaded_and_published_within_two_ticks_by_the_runs_that_it_takes,
]
MORE_STORIES: list[Story] = [
    a_run_killed_with_everything_else_leaves_the_old_slice_and_is_asked_for_again,
]


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory, company: Path) -> Homes:
    folder = tmp_path_factory.mktemp("operations")
    simulated, filed = (
        Deployment(folder / "simulated"),
        Deployment(folder / "filed", **files_of(folder / "source")),
    )
    simulated.call("simulate", "--users", USERS, "--through", THROUGH)
    simulated.call("run")
    write_by_month(company, folder / "source")
    filed.call("run")
    return Homes(simulated.home, filed.home, folder / "source", folder)


def write_by_month(company: Path, source: Path) -> None:
    """The company's files with a CSV file of engagement for each month."""
    shutil.copytree(company, source, ignore=shutil.ignore_patterns("user_engagement*"))
    events = duckdb.read_parquet(str(company / "user_engagement.parquet"))
    (source / "user_engagement").mkdir()
    for month in (JANUARY, FEBRUARY, MARCH, APRIL, MAY):
        of_month = events.filter(f"date_trunc('month', engagement_date) = date '{month}'")
        of_month.order("event_id").write_csv(str(source / "user_engagement" / f"{month[:7]}.csv"))


@pytest.fixture(scope="module")
def told(request: pytest.FixtureRequest, homes: Homes) -> Iterator[dict[Story, Future[None]]]:
    """The stories that were selected, told in as many threads."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    stories = [item.callspec.params["story"] for item in items if item.module is request.module]
    with ThreadPoolExecutor(len(stories)) as threads:
        yield {story: threads.submit(story, homes) for story in stories}


@pytest.mark.parametrize(
    "story",
    [*STORIES, *(pytest.param(story, marks=pytest.mark.exhaustive) for story in MORE_STORIES)],
    ids=lambda story: story.__name__,
)
def test_in_operation(story: Story, told: dict[Story, Future[None]]) -> None:
    told[story].result()
