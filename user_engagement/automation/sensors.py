"""Sensors that bring the warehouse up to what the source holds, and a daily schedule in case they are off.

They reconcile: what there is to do follows from the source and from the events of the Dagster instance, and from
nothing that a sensor remembers. A run that failed, was killed or never started leaves its months as they were, so
they are asked for again, after a pause that grows with each failure.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime

import dagster as dg

from user_engagement.assets.fingerprints import SOURCE_TAG
from user_engagement.assets.freshness import Comparison, behind_activity, compare, loaded_months
from user_engagement.automation.attempts import LOADING, SERVING, attempts_at
from user_engagement.automation.evaluations import latest_evaluations
from user_engagement.automation.jobs import COHORTS_JOB, INGEST_JOB
from user_engagement.contracts.raw import RAW_TABLES
from user_engagement.dagster_internals import AssetGraph
from user_engagement.partitions import Months, contiguous_ranges
from user_engagement.settings import Settings
from user_engagement.sources import Source

UPSTREAM = ("raw", "staging", "lookups", "activity")

Requests = list[dg.RunRequest] | dg.SkipReason


# -- new source data ---------------------------------------------------------------------------------------


def requests_for_new_data(
    instance: dg.DagsterInstance, source: Source, settings: Settings, keys: Sequence[str], now: datetime
) -> Requests:
    """Runs of the months whose source differs from what was loaded last, one for each contiguous range of them.

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
    return [_load(months, found) for months in contiguous_ranges(date.fromisoformat(key) for key in due)]


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
