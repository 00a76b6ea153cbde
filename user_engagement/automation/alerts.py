"""Sensors that tell people what needs them: failed runs, failed checks and stale assets, and when these are mended.

An alert counts as sent once its delivery has succeeded, so it may arrive twice, with the same id, but is not lost.
Runs that the command line starts are not watched, since it reports their failure itself; their checks are.
"""

import json
import logging
import re
import time
from collections.abc import Mapping
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
from user_engagement.automation.evaluations import latest_evaluations
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
HOLD_BACK = timedelta(days=1)
# Dagster ends an evaluation after 60 seconds, and a delivery may take 35
START_DELIVERIES_SECONDS = 20
FAILED_ROWS = "dagster_dbt/failed_row_count"
OUTDATED = (
    "Look whether the source delivers, whether runs fail or wait in the queue, and whether sensors and schedules"
    " are switched on; then run what rebuilds the asset."
)
FRESHNESS: dict[FreshnessState, tuple[Severity, str, str]] = {
    FreshnessState.FAIL: ("error", "is stale", f"It is older than its freshness policy allows. {OUTDATED}"),
    FreshnessState.WARN: ("warning", "is almost stale", f"Its freshness policy soon fails. {OUTDATED}"),
    FreshnessState.PASS: ("info", "is fresh again", "It was rebuilt in the meantime."),
}


def build_alert_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """The sensors, running unless switched off, with the delivery that the settings name."""
    delivery = delivery_of(settings)
    return [run_failures_sensor(delivery), stale_or_failed_checks_sensor(delivery)]


# -- failed runs -------------------------------------------------------------------------------------------


def run_failures_sensor(delivery: Delivery) -> dg.SensorDefinition:
    """Alerts of every failed run of this code location, in their order, one a tick.

    A receiver that cannot be reached holds them back for a day; a refused alert is passed over, and its tick fails.
    """

    @dg.run_failure_sensor(
        name="run_failures",
        minimum_interval_seconds=10,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Says which run failed, in which step, for which months, why, and what to do.",
    )
    def run_failures(context: dg.RunFailureSensorContext) -> DagsterRunReaction:
        alert = alert_of_run(context)
        try:
            delivery.deliver(alert, context.log)
        except DeliveryError as error:
            if isinstance(error, AlertRefusedError) or datetime.now(UTC) - alert.occurred_at > HOLD_BACK:
                raise
            # after any other error Dagster would take the run for handled
            raise dg.DagsterError(str(error)) from None
        # ends the tick, so that it is saved that this run is done, whatever becomes of the next one's alert
        return DagsterRunReaction(context.dagster_run, run_status=dg.DagsterRunStatus.FAILURE)

    return run_failures


def alert_of_run(context: dg.RunFailureSensorContext) -> Alert:
    """What failed in a run, why, and how to repeat it."""
    run = context.dagster_run
    record = context.instance.get_run_record_by_id(run.run_id)
    ended = record.end_time if record else None
    partitions = partitions_of(run.tags)
    name = "Run of selected assets" if run.job_name.startswith("__") else f"Job {run.job_name}"
    is_retried = run.tags.get(WILL_RETRY_TAG) == "true"
    advice = (
        "Dagster starts it again by itself."
        if is_retried
        else "Mend the cause, then re-execute the run from its failure or materialize its partitions again."
    )
    return Alert(
        kind="run_failed",
        severity="warning" if is_retried else "error",
        title=f"{name} failed" + (f" for {partitions}" if partitions else ""),
        text=f"{what_failed(context)} What was published last stays. Run {run.run_id} has the whole log. {advice}",
        occurred_at=datetime.fromtimestamp(ended, UTC) if ended else datetime.now(UTC),
        asset_keys=tuple(sorted(key.to_user_string() for key in run.asset_selection or ())),
        job_name=run.job_name,
        run_id=run.run_id,
    )


def partitions_of(tags: Mapping[str, str]) -> str | None:
    """The partition, or the first and the last one, that the tags of a run name."""
    first = tags.get(ASSET_PARTITION_RANGE_START_TAG, tags.get(PARTITION_NAME_TAG))
    last = tags.get(ASSET_PARTITION_RANGE_END_TAG, first)
    return first if first == last else f"{first} to {last}"


def what_failed(context: dg.RunFailureSensorContext) -> str:
    """The first step that failed and its innermost error, or what ended a run in which no step failed."""
    steps = context.get_step_failure_events()
    if not steps:
        # a run that is marked as failed from outside has no such data, only a message
        error = getattr(context.failure_event.event_specific_data, "error", None)
        return one_line(error) if error else shortened(context.failure_event.message or "It gave no reason.")
    error = steps[0].step_failure_data.error
    others = f" (and {len(steps) - 1} more)" if len(steps) > 1 else ""
    return f"Step {steps[0].step_key}{others}: {one_line(error) if error else 'it gave no reason.'}"


def one_line(error: SerializableErrorInfo) -> str:
    """The error at the root of a chain, or the `dagster.Failure` in it, without the module of its class."""
    while error.cause and error.cls_name != dg.Failure.__name__:
        error = error.cause
    return shortened(re.sub(r"^(\w+\.)+", "", error.message))


def shortened(text: str) -> str:
    """A sentence on one line. Of a long text both ends stay: dbt begins with its command and ends with the error."""
    line = " ".join(text.split())
    if len(line) > LONGEST_ERROR:
        line = f"{line[: LONGEST_ERROR // 3]} ... {line[-LONGEST_ERROR * 2 // 3 :]}"
    return line if line.endswith((".", "!", "?")) else f"{line}."


# -- checks and freshness ----------------------------------------------------------------------------------


def stale_or_failed_checks_sensor(delivery: Delivery) -> dg.SensorDefinition:
    """Alerts once of each check or asset that begins to fail or to be stale, changes severity, or is well again."""

    @dg.sensor(
        name="stale_or_failed_checks",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Says once which checks fail and which assets are stale, and when they are well again.",
    )
    def stale_or_failed_checks(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        assert context.repository_def, "a sensor is evaluated in its code location"
        graph = context.repository_def.asset_graph
        alerts = {**check_alerts(context.instance, graph), **freshness_alerts(context.instance, graph)}
        before = json.loads(context.cursor) if context.cursor else {}
        told, problems = tell_changes(alerts, before, delivery, context.log)
        if problems and told == before:
            # a failed tick shows best, and there is nothing that it would keep from being saved
            raise DeliveryError(" ".join(problems))
        context.update_cursor(json.dumps(told, sort_keys=True))
        reason = f"Looked at {len(alerts)} checks and freshness states. Not well, and told of: {len(told)}."
        return dg.SkipReason(" ".join([reason, *problems]))

    return stale_or_failed_checks


def tell_changes(
    alerts: Mapping[str, Alert], before: Mapping[str, Severity], delivery: Delivery, log: logging.Logger
) -> tuple[dict[str, Severity], list[str]]:
    """Delivers the alerts of what is not as it was told before.

    Args:
        alerts: how each check and asset is now; "info" means well.
        before: what was told last of those that were not well.

    Returns:
        What has now been told of those that are not well, without any that are gone from the code location; and
        what kept alerts from being delivered, which will be tried again.
    """
    told: dict[str, Severity] = {subject: before.get(subject, "info") for subject in alerts}
    changed = [subject for subject, alert in alerts.items() if alert.severity != told[subject]]
    problems: list[str] = []
    end = time.monotonic() + START_DELIVERIES_SECONDS
    for position, subject in enumerate(changed):
        if time.monotonic() > end:
            problems.append(f"Alerts that wait for the next tick: {len(changed) - position}.")
            break
        try:
            delivery.deliver(alerts[subject], log)
        except DeliveryError as error:
            log.error("%s", error)
            problems.append(str(error))
        else:
            told[subject] = alerts[subject].severity
    return {subject: severity for subject, severity in told.items() if severity != "info"}, problems


def check_alerts(instance: dg.DagsterInstance, graph: AssetGraph) -> dict[str, Alert]:
    """An alert of the latest evaluation of each check that was evaluated at all."""
    evaluations = latest_evaluations(instance, list(graph.asset_check_keys))
    return {
        f"check {key.to_user_string()}": alert_of_check(record, graph.get(key).blocking)
        for key, record in evaluations.items()
    }


def alert_of_check(record: AssetCheckExecutionRecord, blocking: bool) -> Alert:
    """How a check ended, what that holds up, and what to do."""
    event, evaluation = record.event, record.evaluation
    assert event, "a check that ended has its event"
    assert evaluation, "and in it how it ended"
    asset = record.key.asset_key.to_user_string()
    severity: Severity = "info"
    said = [shortened(evaluation.description)] if evaluation.description else []
    if not evaluation.passed:
        severity = "error" if evaluation.severity == dg.AssetCheckSeverity.ERROR else "warning"
        if FAILED_ROWS in evaluation.metadata:
            said.append(f"Rows that fail it: {evaluation.metadata[FAILED_ROWS].value}.")
        said += [
            "Nothing that depends on the asset is rebuilt or published until it passes."
            if blocking and severity == "error"
            else "Nothing waits for it.",
            "Look at it on the asset's page, mend the data or the rule, and materialize the asset again.",
        ]
    return Alert(
        kind="check_recovered" if evaluation.passed else "check_failed",
        severity=severity,
        title=f"Check {record.key.name} of {asset} {'passes again' if evaluation.passed else 'failed'}",
        text=" ".join(said) or "There is nothing to do.",
        occurred_at=datetime.fromtimestamp(event.timestamp, UTC),
        asset_keys=(asset,),
        check_name=record.key.name,
        run_id=record.run_id,
    )


def freshness_alerts(instance: dg.DagsterInstance, graph: AssetGraph) -> dict[str, Alert]:
    """An alert of the freshness of each asset with a policy, as Dagster's daemon found it last.

    Assets that were never materialized have none.
    """
    keys = [node.key for node in graph.asset_nodes if node.freshness_policy_or_from_metadata]
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
