"""Sensors that bring the warehouse up to what the source holds, and a daily schedule in case they are off.

They reconcile: what there is to do follows from the source and from the events of the Dagster instance, and from
nothing that a sensor remembers. A run that failed, was killed or never started leaves its months as they were, so
they are asked for again, after a pause that grows with each failure.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES, RunRecord

from user_engagement.assets.freshness import Comparison, behind_activity, compare, loaded_months
from user_engagement.assets.published import PUBLISHED_KEY
from user_engagement.assets.raw import SOURCE_TAG, raw_key
from user_engagement.automation.alerts import latest_evaluations
from user_engagement.automation.jobs import COHORTS_JOB, EVERYTHING_JOB, INGEST_JOB
from user_engagement.contracts.raw import RAW_TABLES
from user_engagement.partitions import Months, months_of_run, stretches
from user_engagement.settings import Settings
from user_engagement.sources import Source

FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(hours=1)
RUNS_LOOKED_AT = 200
UPSTREAM = ("raw", "staging", "lookups", "activity")
ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]

Requests = list[dg.RunRequest] | dg.SkipReason


def pause_after(failures: int) -> timedelta:
    """How long to wait after so many failures in a row: doubling from 30 seconds, at most an hour."""
    return min(FIRST_PAUSE * 2 ** (min(failures, 20) - 1), LONGEST_PAUSE)


@dataclass(frozen=True)
class Work:
    """Runs that do one thing: jobs as a whole, or any run that is about one of the assets."""

    jobs: frozenset[str]
    assets: frozenset[dg.AssetKey]

    def is_done_by(self, run: dg.DagsterRun) -> bool:
        chosen = run.asset_selection
        return bool(chosen & self.assets) if chosen else run.job_name in self.jobs


LOADING = Work(frozenset((INGEST_JOB, EVERYTHING_JOB)), frozenset(raw_key(table) for table in RAW_TABLES))
SERVING = Work(frozenset((COHORTS_JOB, EVERYTHING_JOB)), frozenset((PUBLISHED_KEY,)))


@dataclass(frozen=True)
class Attempts:
    """What runs are about to do for each month, and how often and when they failed last since they succeeded."""

    busy: Mapping[str, str]
    failures: Mapping[str, tuple[int, datetime]]

    def next_start(self, key: str) -> datetime | None:
        """When a month may be tried again after failures; None without any."""
        if key not in self.failures:
            return None
        failed, last = self.failures[key]
        return last + pause_after(failed)

    def may_start(self, key: str, now: datetime) -> bool:
        return key not in self.busy and (self.next_start(key) or now) <= now

    def why_not(self, keys: Iterable[str]) -> str:
        """Why these months, none of which may start, have to wait: each reason with its months."""
        waiting = groupby(keys, key=self._reason)
        return "; ".join(f"{reason}: {', '.join(months)}" for reason, months in waiting)

    def _reason(self, key: str) -> str:
        if key in self.busy:
            return f"run {self.busy[key][:8]} is about"
        return f"failed {self.failures[key][0]} times, tried again at {self.next_start(key):%H:%M:%S} UTC"


def attempts_at(
    instance: dg.DagsterInstance,
    work: Work,
    keys: Sequence[str],
    mark: Callable[[Sequence[str]], str] | None = None,
) -> Attempts:
    """The unfinished runs of each month, and its failures since the last success.

    With ``mark``, which says how the source looks now in some months, runs that were asked for when it looked
    otherwise do not count: a source that has been mended is loaded at once.
    """

    def months(records: Sequence[RunRecord]) -> Iterator[tuple[RunRecord, list[str]]]:
        for record in records:
            if work.is_done_by(record.dagster_run):
                yield record, months_of_run(record.dagster_run.tags, keys)

    unfinished = instance.get_run_records(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES))
    busy = {key: record.dagster_run.run_id for record, covered in months(unfinished) for key in covered}
    settled: set[str] = set()
    failures: dict[str, tuple[int, datetime]] = {}
    for record, covered in months(
        instance.get_run_records(dg.RunsFilter(statuses=ENDED), limit=RUNS_LOOKED_AT)
    ):
        run = record.dagster_run
        asked_for = run.tags.get(SOURCE_TAG)
        looks_alike = not (mark and asked_for) or asked_for == mark(covered)
        if run.status == dg.DagsterRunStatus.SUCCESS or not looks_alike:
            settled.update(covered)
            continue
        for key in set(covered) - settled:
            count, newest = failures.get(key, (0, _ended(record)))
            failures[key] = (count + 1, newest)
    return Attempts(busy, failures)


def _ended(record: RunRecord) -> datetime:
    if record.end_time:
        return datetime.fromtimestamp(record.end_time, UTC)
    return record.update_timestamp.replace(tzinfo=UTC)


# -- new source data ---------------------------------------------------------------------------------------


def requests_for_new_data(
    instance: dg.DagsterInstance, source: Source, settings: Settings, keys: Sequence[str], now: datetime
) -> Requests:
    """Runs of the months whose source differs from what was loaded last, one for each stretch of them.

    Raises:
        SourceError: the source cannot be read.
    """
    if settings.source == "simulated" and not settings.simulated_home.exists():
        return dg.SkipReason("There is no simulated company yet. Run: user-engagement simulate")
    found = compare(instance, source, settings, keys)
    if not found.outdated:
        tables = ", ".join(table.name for table in RAW_TABLES)
        return dg.SkipReason(
            f"Compared {tables} in {len(keys)} months, {keys[0]} to {keys[-1]}, with what was loaded last: "
            "nothing differs."
        )
    attempts = attempts_at(instance, LOADING, keys, found.mark)
    due = [key for key in found.outdated if attempts.may_start(key, now)]
    if not due:
        return dg.SkipReason(
            f"{len(found.outdated)} months differ from what was loaded last; {attempts.why_not(found.outdated)}."
        )
    return [_load(months, found) for months in stretches(date.fromisoformat(key) for key in due)]


def _load(months: Months, found: Comparison) -> dg.RunRequest:
    # without a run key, which would allow one such run ever, also after it failed
    return dg.RunRequest(tags={**months.tags(), SOURCE_TAG: found.mark(months.keys())})


def broken_checks(instance: dg.DagsterInstance, graph: AssetGraph) -> list[str]:
    """The checks that nothing may be published against: blocking, of what cohorts are made of, and failed.

    Within a run Dagster holds up what depends on them; here it is another run that would go on.
    """
    blocking = [
        key
        for key in graph.asset_check_keys
        if graph.get(key).blocking and graph.get(key.asset_key).group_name in UPSTREAM
    ]
    return sorted(
        f"{key.name} of {key.asset_key.to_user_string()}"
        for key, record in latest_evaluations(instance, blocking).items()
        if record.evaluation
        and not record.evaluation.passed
        and record.evaluation.severity == dg.AssetCheckSeverity.ERROR
    )


def requests_for_cohorts(
    instance: dg.DagsterInstance, graph: AssetGraph, keys: Sequence[str], now: datetime
) -> Requests:
    """One run over all signup months, if cohorts or what is published are older than the newest activity."""
    months = loaded_months(instance, keys)
    behind = behind_activity(instance, months)
    if not months or behind is None:
        return dg.SkipReason(
            f"Compared cohorts of {len(months)} signup months, and what is published, with activity: nothing is older."
        )
    if loading := attempts_at(instance, LOADING, keys).busy:
        return dg.SkipReason(f"{behind} Run {next(iter(loading.values()))[:8]} still loads activity.")
    if broken := broken_checks(instance, graph):
        return dg.SkipReason(f"{behind} Nothing is published while checks fail: {', '.join(broken)}.")
    attempts = attempts_at(instance, SERVING, keys)
    if not attempts.may_start(months[-1], now):
        return dg.SkipReason(f"{behind} A new run waits: {attempts.why_not(months[-1:])}.")
    return [dg.RunRequest(tags=Months(*map(date.fromisoformat, (months[0], months[-1]))).tags())]


# -- definitions -------------------------------------------------------------------------------------------


def build_sensors(
    settings: Settings, source: Source, partitions: dg.MonthlyPartitionsDefinition
) -> list[dg.SensorDefinition]:
    status = dg.DefaultSensorStatus.RUNNING if settings.automation else dg.DefaultSensorStatus.STOPPED

    @dg.sensor(
        job_name=INGEST_JOB,
        minimum_interval_seconds=30,
        default_status=status,
        description="Loads exactly the months whose source is not as it was when they were loaded last.",
    )
    def new_source_data(context: dg.SensorEvaluationContext) -> Requests:
        keys = partitions.get_partition_keys()
        return requests_for_new_data(context.instance, source, settings, keys, datetime.now(UTC))

    @dg.sensor(
        job_name=COHORTS_JOB,
        minimum_interval_seconds=30,
        default_status=status,
        description="Rebuilds cohorts of all signup months, marts and what is published, once activity is newer.",
    )
    def cohorts_follow_activity(context: dg.SensorEvaluationContext) -> Requests:
        keys = partitions.get_partition_keys()
        return requests_for_cohorts(context.instance, _graph(context), keys, datetime.now(UTC))

    return [new_source_data, cohorts_follow_activity]


def _graph(context: dg.SensorEvaluationContext | dg.ScheduleEvaluationContext) -> AssetGraph:
    assert context.repository_def, "there is one wherever sensors and schedules are evaluated"
    return context.repository_def.asset_graph


def build_schedules(
    settings: Settings, source: Source, partitions: dg.MonthlyPartitionsDefinition
) -> list[dg.ScheduleDefinition]:
    """Once a day what the sensors do all day, for instances that run without them."""
    status = dg.DefaultScheduleStatus.RUNNING if settings.automation else dg.DefaultScheduleStatus.STOPPED

    @dg.schedule(
        job_name=INGEST_JOB,
        cron_schedule="0 5 * * *",
        execution_timezone=settings.timezone,
        default_status=status,
    )
    def daily_load(context: dg.ScheduleEvaluationContext) -> Requests:
        """Loads the months whose source has changed."""
        keys = partitions.get_partition_keys()
        return requests_for_new_data(context.instance, source, settings, keys, datetime.now(UTC))

    @dg.schedule(
        job_name=COHORTS_JOB,
        cron_schedule="0 6 * * *",
        execution_timezone=settings.timezone,
        default_status=status,
    )
    def daily_refresh(context: dg.ScheduleEvaluationContext) -> Requests:
        """Rebuilds and publishes what is older than the newest activity."""
        keys = partitions.get_partition_keys()
        return requests_for_cohorts(context.instance, _graph(context), keys, datetime.now(UTC))

    return [daily_load, daily_refresh]
