"""Sensors that alert people to failed runs, failed checks and stale assets, and to their recovery.

An alert counts as sent once its delivery has succeeded. So it may arrive twice, with the same id, but it is not lost.
The command line reports the failure of the runs that it starts, so the sensors ignore those runs. They do report the
checks of those runs.
"""

import json
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from user_engagement.automation.delivery import (
    Alert,
    AlertRefusedError,
    Delivery,
    DeliveryError,
    Severity,
    delivery_of,
)
from user_engagement.automation.digests import digest_sensor
from user_engagement.automation.evaluations import latest_evaluations
from user_engagement.automation.jobs import COHORTS_JOB, EVERYTHING_JOB, INGEST_JOB
from user_engagement.dagster_internals import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
    WILL_RETRY_TAG,
    AssetCheckExecutionRecord,
    AssetGraph,
    DagsterRunReaction,
    FreshnessState,
    FreshnessStateRecord,
    SerializableErrorInfo,
)
from user_engagement.settings import Settings

LONGEST_ERROR = 600
LONGEST_RETRY = timedelta(days=1)
# Dagster ends an evaluation after 60 seconds, and a delivery may take 35
START_DELIVERIES_SECONDS = 20
FAILED_ROWS = "dagster_dbt/failed_row_count"
OUTDATED = (
    "Check whether the source delivers, whether runs fail or wait in the queue, and whether sensors and schedules"
    " are switched on. Then run the job that rebuilds the asset."
)
FRESHNESS: dict[FreshnessState, tuple[Severity, str, str]] = {
    FreshnessState.FAIL: ("error", "is stale", f"It is older than its freshness policy allows. {OUTDATED}"),
    FreshnessState.WARN: ("warning", "is almost stale", f"Its freshness policy will fail soon. {OUTDATED}"),
    FreshnessState.PASS: ("info", "is fresh again", "It was rebuilt in the meantime."),
}


@dataclass(frozen=True)
class Watched:
    """What alerts are about: these assets, and the jobs of these names. By default everything of the code location."""

    assets: frozenset[dg.AssetKey] | None = None
    jobs: frozenset[str] = frozenset()

    def includes(self, key: dg.AssetKey) -> bool:
        return self.assets is None or key in self.assets

    def includes_run(self, run: dg.DagsterRun) -> bool:
        if self.assets is None or run.job_name in self.jobs:
            return True
        if not run.asset_selection:
            # Dagster's own job over all assets of the code location
            return run.job_name.startswith("__")
        return bool(self.assets & run.asset_selection)


EVERYTHING = Watched()


def build_alert_sensors(settings: Settings, assets: frozenset[dg.AssetKey]) -> list[dg.SensorDefinition]:
    """Both alert sensors and the digest, switched on, with the delivery that the settings name.

    Alerts are about these assets and this project's jobs, whatever else the code location holds.
    """
    delivery = delivery_of(settings)
    jobs = frozenset(settings.dagster_name(job) for job in (INGEST_JOB, COHORTS_JOB, EVERYTHING_JOB))
    watched = Watched(assets, jobs)
    return [
        run_failures_sensor(delivery, watched, settings.dagster_name("run_failures")),
        stale_or_failed_checks_sensor(delivery, watched, settings.dagster_name("stale_or_failed_checks")),
        digest_sensor(settings, delivery),
    ]


# -- failed runs -------------------------------------------------------------------------------------------


def run_failures_sensor(
    delivery: Delivery, watched: Watched = EVERYTHING, name: str = "run_failures"
) -> dg.SensorDefinition:
    """Sends an alert for every failed run that is watched, oldest first, one per tick.

    While the receiver cannot be reached, the sensor retries the same run for up to a day. When the receiver refuses an
    alert, the tick fails and the sensor goes on to the next run.
    """

    @dg.run_failure_sensor(
        name=name,
        minimum_interval_seconds=10,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Reports each failed run: its job, months, step and error, and what to do.",
    )
    def run_failures(context: dg.RunFailureSensorContext) -> DagsterRunReaction | None:
        if not watched.includes_run(context.dagster_run):
            return None
        alert = alert_of_run(context)
        try:
            delivery.deliver(alert, context.log)
        except DeliveryError as error:
            if isinstance(error, AlertRefusedError) or datetime.now(UTC) - alert.occurred_at > LONGEST_RETRY:
                raise
            # Dagster counts the run as handled after any error of another class
            raise dg.DagsterError(str(error)) from None
        # ends the tick, so Dagster saves that this run is done, even if the alert of the next run fails
        return DagsterRunReaction(context.dagster_run, run_status=dg.DagsterRunStatus.FAILURE)

    return run_failures


def alert_of_run(context: dg.RunFailureSensorContext) -> Alert:
    """The alert for a failed run: what failed, why, and how to run it again."""
    run = context.dagster_run
    record = context.instance.get_run_record_by_id(run.run_id)
    ended = record.end_time if record else None
    partitions = partitions_of(run.tags)
    name = "Run of selected assets" if run.job_name.startswith("__") else f"Job {run.job_name}"
    is_retried = run.tags.get(WILL_RETRY_TAG) == "true"
    advice = (
        "Dagster retries it automatically."
        if is_retried
        else "Fix the cause, then re-execute the run from its failure or materialize its partitions again."
    )
    return Alert(
        kind="run_failed",
        severity="warning" if is_retried else "error",
        title=f"{name} failed" + (f" for {partitions}" if partitions else ""),
        text=(
            f"{failure_summary(context)} The last publication stays in place."
            f" See the log of run {run.run_id}. {advice}"
        ),
        occurred_at=datetime.fromtimestamp(ended, UTC) if ended else datetime.now(UTC),
        asset_keys=tuple(sorted(key.to_user_string() for key in run.asset_selection or ())),
        job_name=run.job_name,
        run_id=run.run_id,
    )


def partitions_of(tags: Mapping[str, str]) -> str | None:
    """The partition in the tags of a run, or its first and last partition; None if it has none."""
    first = tags.get(ASSET_PARTITION_RANGE_START_TAG, tags.get(PARTITION_NAME_TAG))
    last = tags.get(ASSET_PARTITION_RANGE_END_TAG, first)
    return first if first == last else f"{first} to {last}"


def failure_summary(context: dg.RunFailureSensorContext) -> str:
    """The first failed step and its innermost error, or the error of a run in which no step failed."""
    steps = context.get_step_failure_events()
    if not steps:
        # a run that was marked as failed from outside has only a message
        error = getattr(context.failure_event.event_specific_data, "error", None)
        return (
            one_line(error) if error else shortened(context.failure_event.message or "No reason was given.")
        )
    error = steps[0].step_failure_data.error
    others = f" (and {len(steps) - 1} more)" if len(steps) > 1 else ""
    return f"Step {steps[0].step_key}{others}: {one_line(error) if error else 'no reason was given.'}"


def one_line(error: SerializableErrorInfo) -> str:
    """The message of the root cause, or of the `dagster.Failure` in the chain, without the module of its class."""
    while error.cause and error.cls_name != dg.Failure.__name__:
        error = error.cause
    return shortened(re.sub(r"^(\w+\.)+", "", error.message))


def shortened(text: str) -> str:
    """The text as one line. A long text keeps both ends: dbt begins with its command and ends with the error."""
    line = " ".join(text.split())
    if len(line) > LONGEST_ERROR:
        line = f"{line[: LONGEST_ERROR // 3]} ... {line[-LONGEST_ERROR * 2 // 3 :]}"
    return line if line.endswith((".", "!", "?")) else f"{line}."


# -- checks and freshness ----------------------------------------------------------------------------------


def stale_or_failed_checks_sensor(
    delivery: Delivery, watched: Watched = EVERYTHING, name: str = "stale_or_failed_checks"
) -> dg.SensorDefinition:
    """Sends one alert when a check or an asset's freshness starts to fail, changes severity, or recovers."""

    @dg.sensor(
        name=name,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Reports each failing check and stale asset once, and reports its recovery.",
    )
    def stale_or_failed_checks(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        assert context.repository_def, "a sensor is evaluated in its code location"
        graph = context.repository_def.asset_graph
        alerts = {
            **check_alerts(context.instance, graph, watched),
            **freshness_alerts(context.instance, graph, watched),
        }
        before = json.loads(context.cursor) if context.cursor else {}
        reported, problems = deliver_changes(alerts, before, delivery, context.log)
        if problems and reported == before:
            # no progress to save, so the tick may fail, which is easiest to see
            raise DeliveryError(" ".join(problems))
        context.update_cursor(json.dumps(reported, sort_keys=True))
        reason = f"Evaluated {len(alerts)} checks and freshness states. Problems reported: {len(reported)}."
        return dg.SkipReason(" ".join([reason, *problems]))

    return stale_or_failed_checks


def deliver_changes(
    alerts: Mapping[str, Alert], before: Mapping[str, Severity], delivery: Delivery, log: logging.Logger
) -> tuple[dict[str, Severity], list[str]]:
    """Delivers an alert for each check or asset whose severity changed since it was last reported.

    Args:
        alerts: the current state of each check and asset; severity "info" means that it has no problem.
        before: the severity that was last reported for each one with a problem.

    Returns:
        The severities reported so far for those that have a problem and are still in the code location; and the
        reasons why alerts were not delivered, which the next tick tries again.
    """
    reported: dict[str, Severity] = {subject: before.get(subject, "info") for subject in alerts}
    changed = [subject for subject, alert in alerts.items() if alert.severity != reported[subject]]
    problems: list[str] = []
    end = time.monotonic() + START_DELIVERIES_SECONDS
    for position, subject in enumerate(changed):
        if time.monotonic() > end:
            problems.append(f"Alerts left for the next tick: {len(changed) - position}.")
            break
        try:
            delivery.deliver(alerts[subject], log)
        except DeliveryError as error:
            log.error("%s", error)
            problems.append(str(error))
        else:
            reported[subject] = alerts[subject].severity
    return {subject: severity for subject, severity in reported.items() if severity != "info"}, problems


def check_alerts(instance: dg.DagsterInstance, graph: AssetGraph, watched: Watched) -> dict[str, Alert]:
    """An alert for the latest evaluation of each check that was ever evaluated."""
    keys = [key for key in graph.asset_check_keys if watched.includes(key.asset_key)]
    evaluations = latest_evaluations(instance, keys)
    return {
        f"check {key.to_user_string()}": alert_of_check(record, graph.get(key).blocking)
        for key, record in evaluations.items()
    }


def alert_of_check(record: AssetCheckExecutionRecord, blocking: bool) -> Alert:
    """The alert for a check: its result, what waits for it, and what to do."""
    event, evaluation = record.event, record.evaluation
    assert event, "an evaluated check has an event"
    assert evaluation, "the event of an evaluated check has its result"
    asset = record.key.asset_key.to_user_string()
    severity: Severity = "info"
    sentences = [shortened(evaluation.description)] if evaluation.description else []
    if not evaluation.passed:
        severity = "error" if evaluation.severity == dg.AssetCheckSeverity.ERROR else "warning"
        if FAILED_ROWS in evaluation.metadata:
            sentences.append(f"Rows that fail it: {evaluation.metadata[FAILED_ROWS].value}.")
        sentences += [
            "Nothing that depends on the asset is rebuilt or published until it passes."
            if blocking and severity == "error"
            else "Nothing waits for it.",
            "Open it on the asset's page, fix the data or the rule, and materialize the asset again.",
        ]
    return Alert(
        kind="check_recovered" if evaluation.passed else "check_failed",
        severity=severity,
        title=f"Check {record.key.name} of {asset} {'passes again' if evaluation.passed else 'failed'}",
        text=" ".join(sentences) or "There is nothing to do.",
        occurred_at=datetime.fromtimestamp(event.timestamp, UTC),
        asset_keys=(asset,),
        check_name=record.key.name,
        run_id=record.run_id,
    )


def freshness_alerts(instance: dg.DagsterInstance, graph: AssetGraph, watched: Watched) -> dict[str, Alert]:
    """An alert for each asset with a freshness policy, in the state that Dagster's daemon found last.

    Assets that were never materialized have none.
    """
    keys = [
        node.key
        for node in graph.asset_nodes
        if node.freshness_policy_or_from_metadata and watched.includes(node.key)
    ]
    return {
        f"freshness {key.to_user_string()}": alert_of_freshness(record)
        for key, record in instance.get_freshness_state_records(keys).items()
        if record.freshness_state in FRESHNESS
    }


def alert_of_freshness(record: FreshnessStateRecord) -> Alert:
    asset = record.entity_key.to_user_string()
    severity, what, advice = FRESHNESS[record.freshness_state]
    return Alert(
        kind="asset_fresh" if severity == "info" else "asset_stale",
        severity=severity,
        title=f"{asset} {what}",
        text=advice,
        occurred_at=record.updated_at,
        asset_keys=(asset,),
    )
