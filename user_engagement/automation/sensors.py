"""Sensors that keep the warehouse up to date with the source, and daily schedules in case the sensors are off.

They reconcile: each tick compares the source with the events of the Dagster instance, and keeps no state of its own.
A run that failed, was killed or never started leaves its months outdated. So the sensors request them again, after a
pause that grows with each failure.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime

import dagster as dg

from user_engagement.assets.common import asset_key, table_of
from user_engagement.assets.freshness import Comparison, compare, loaded_months, older_than_activity
from user_engagement.automation.attempts import attempts_at, loading_runs, serving_runs
from user_engagement.automation.evaluations import latest_evaluations
from user_engagement.automation.jobs import COHORTS_JOB, INGEST_JOB, INGESTED
from user_engagement.contracts.raw import RAW_TABLES
from user_engagement.dagster_internals import AssetGraph
from user_engagement.errors import WarehouseBusyError
from user_engagement.inputs.fingerprints import SOURCE_TAG
from user_engagement.partitions import Months, contiguous_ranges
from user_engagement.settings import Settings
from user_engagement.sources import Source

Requests = list[dg.RunRequest] | dg.SkipReason


# -- new source data ---------------------------------------------------------------------------------------


def requests_for_new_data(
    instance: dg.DagsterInstance, source: Source, settings: Settings, keys: Sequence[str], now: datetime
) -> Requests:
    """One run for each contiguous range of months whose source has changed since their last load.

    Raises:
        SourceError: the source cannot be read.
    """
    if settings.source == "simulated" and not settings.simulated_home.exists():
        return dg.SkipReason("There is no simulated company yet. Run: user-engagement simulate")
    try:
        found = compare(instance, source, settings, keys)
    except WarehouseBusyError as busy:
        return dg.SkipReason(str(busy))
    held_up = "".join(f" {each.sentence()}" for each in found.held_up)
    if not found.outdated:
        tables = ", ".join(table.name for table in RAW_TABLES)
        return dg.SkipReason(
            f"Compared {tables} in {len(keys)} months, {keys[0]} to {keys[-1]}, with their last loads: "
            f"nothing has changed.{held_up}"
        )
    attempts = attempts_at(instance, loading_runs(settings), keys, found.digest)
    due = [key for key in found.outdated if attempts.may_start(key, now)]
    if not due:
        return dg.SkipReason(
            f"Months changed since their last load: {len(found.outdated)}; {attempts.reasons_to_wait(found.outdated)}."
            f"{held_up}"
        )
    return [_load(months, found) for months in contiguous_ranges(date.fromisoformat(key) for key in due)]


def _load(months: Months, found: Comparison) -> dg.RunRequest:
    # no run key: Dagster starts a key only once, and so would never retry a failed run
    return dg.RunRequest(tags={**months.tags(), SOURCE_TAG: found.digest(months.keys())})


def failed_blocking_checks(instance: dg.DagsterInstance, settings: Settings, graph: AssetGraph) -> list[str]:
    """The failed blocking checks of the tables that cohorts are built from; nothing is published while one fails.

    Dagster stops the assets that depend on such a check only within the same run. Cohorts are built in another run.
    """

    def concerns_inputs(key: dg.AssetKey) -> bool:
        schema, table = table_of(key)
        return schema in INGESTED and key == asset_key(settings, schema, table)

    blocking = [
        key for key in graph.asset_check_keys if graph.get(key).blocking and concerns_inputs(key.asset_key)
    ]
    return sorted(
        f"{key.name} of {key.asset_key.to_user_string()}"
        for key, record in latest_evaluations(instance, blocking).items()
        if record.evaluation
        and not record.evaluation.passed
        and record.evaluation.severity == dg.AssetCheckSeverity.ERROR
    )


def requests_for_cohorts(
    instance: dg.DagsterInstance, settings: Settings, graph: AssetGraph, keys: Sequence[str], now: datetime
) -> Requests:
    """One run over all signup months, if cohorts or the publication are older than the newest activity."""
    months = loaded_months(instance, settings, keys)
    outdated = older_than_activity(instance, settings, months)
    if not months or outdated is None:
        return dg.SkipReason(
            f"Compared cohorts of {len(months)} signup months and the publication with activity: all are up to date."
        )
    if loading := attempts_at(instance, loading_runs(settings), keys).busy:
        return dg.SkipReason(f"{outdated} Run {next(iter(loading.values()))[:8]} is still loading activity.")
    if failed := failed_blocking_checks(instance, settings, graph):
        return dg.SkipReason(f"{outdated} Nothing is published while checks fail: {', '.join(failed)}.")
    attempts = attempts_at(instance, serving_runs(settings), keys)
    if not attempts.may_start(months[-1], now):
        return dg.SkipReason(f"{outdated} The next run has to wait: {attempts.reasons_to_wait(months[-1:])}.")
    return [dg.RunRequest(tags=Months(*map(date.fromisoformat, (months[0], months[-1]))).tags())]


# -- definitions -------------------------------------------------------------------------------------------


def build_sensors(
    settings: Settings, source: Source, partitions: dg.MonthlyPartitionsDefinition
) -> list[dg.SensorDefinition]:
    status = dg.DefaultSensorStatus.RUNNING if settings.automation else dg.DefaultSensorStatus.STOPPED

    @dg.sensor(
        name=settings.dagster_name("new_source_data"),
        job_name=settings.dagster_name(INGEST_JOB),
        minimum_interval_seconds=30,
        default_status=status,
        description="Loads exactly the months whose source has changed since their last load.",
    )
    def new_source_data(context: dg.SensorEvaluationContext) -> Requests:
        keys = partitions.get_partition_keys()
        return requests_for_new_data(context.instance, source, settings, keys, datetime.now(UTC))

    @dg.sensor(
        name=settings.dagster_name("cohorts_follow_activity"),
        job_name=settings.dagster_name(COHORTS_JOB),
        minimum_interval_seconds=30,
        default_status=status,
        description="Rebuilds cohorts of all signup months, marts and the publication once activity is newer.",
    )
    def cohorts_follow_activity(context: dg.SensorEvaluationContext) -> Requests:
        keys = partitions.get_partition_keys()
        return requests_for_cohorts(context.instance, settings, _graph(context), keys, datetime.now(UTC))

    return [new_source_data, cohorts_follow_activity]


def _graph(context: dg.SensorEvaluationContext | dg.ScheduleEvaluationContext) -> AssetGraph:
    assert context.repository_def, "sensors and schedules are evaluated in a code location"
    return context.repository_def.asset_graph


def build_schedules(
    settings: Settings, source: Source, partitions: dg.MonthlyPartitionsDefinition
) -> list[dg.ScheduleDefinition]:
    """Daily schedules that do the work of the sensors, for instances whose sensors are off."""
    status = dg.DefaultScheduleStatus.RUNNING if settings.automation else dg.DefaultScheduleStatus.STOPPED

    @dg.schedule(
        name=settings.dagster_name("daily_load"),
        job_name=settings.dagster_name(INGEST_JOB),
        cron_schedule="0 5 * * *",
        execution_timezone=settings.timezone,
        default_status=status,
    )
    def daily_load(context: dg.ScheduleEvaluationContext) -> Requests:
        """Loads the months whose source has changed."""
        keys = partitions.get_partition_keys()
        return requests_for_new_data(context.instance, source, settings, keys, datetime.now(UTC))

    @dg.schedule(
        name=settings.dagster_name("daily_refresh"),
        job_name=settings.dagster_name(COHORTS_JOB),
        cron_schedule="0 6 * * *",
        execution_timezone=settings.timezone,
        default_status=status,
    )
    def daily_refresh(context: dg.ScheduleEvaluationContext) -> Requests:
        """Rebuilds and publishes cohorts and marts that are older than the newest activity."""
        keys = partitions.get_partition_keys()
        return requests_for_cohorts(context.instance, settings, _graph(context), keys, datetime.now(UTC))

    return [daily_load, daily_refresh]
