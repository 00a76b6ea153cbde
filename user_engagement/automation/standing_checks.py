"""Standing checks: they check the instance and the source rather than a run.

A sensor evaluates them, and records each result that differs from the one before.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from user_engagement.assets.common import published_key
from user_engagement.assets.freshness import (
    FRESH,
    NOT_FAILED,
    cohorts_key,
    compare,
    fresh_checks,
    loaded_months,
    not_failed_checks,
    older_than_activity,
)
from user_engagement.automation.attempts import attempts_at, loading_runs, serving_runs
from user_engagement.contracts.raw import USER_ENGAGEMENT
from user_engagement.dagster_internals import COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES as ENDED
from user_engagement.errors import SourceError, WarehouseBusyError, WarehouseError
from user_engagement.settings import Settings
from user_engagement.sources import Source

ALL_FRESH = "all fresh"
"""The sensor's cursor while nothing is late. Dagster does not store an empty cursor; it would keep the old time."""


@dataclass(frozen=True)
class Outcome:
    """The result of a standing check, if it were evaluated now."""

    check: dg.AssetCheckKey
    passed: bool
    description: str
    metadata: Mapping[str, str | int]

    def result(self) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(
            passed=self.passed,
            asset_key=self.check.asset_key,
            check_name=self.check.name,
            severity=dg.AssetCheckSeverity.ERROR,
            description=self.description,
            metadata=dict(self.metadata),
        )

    def evaluation(self) -> dg.AssetCheckEvaluation:
        return dg.AssetCheckEvaluation(
            asset_key=self.check.asset_key,
            check_name=self.check.name,
            passed=self.passed,
            metadata=dict(self.metadata),
            severity=dg.AssetCheckSeverity.ERROR,
            description=self.description,
        )


def freshness(
    instance: dg.DagsterInstance, source: Source, settings: Settings, keys: Sequence[str], now: datetime
) -> list[Outcome]:
    """Whether the marts and the publication contain all data of the source, late and changed rows included.

    The checks also fail if the source cannot be read.

    Raises:
        WarehouseBusyError: another process holds the warehouse file that has the source's tables.
    """
    try:
        compared = compare(instance, source, settings, keys)
        source_day = newest_complete_day(source, settings, now)
    except WarehouseBusyError:
        raise
    except (SourceError, WarehouseError) as error:
        description = f"The source cannot be read. {error}"
        return [Outcome(check, False, description, {}) for check in fresh_checks(settings)]
    outdated, held_up = compared.outdated, [each.sentence() for each in compared.held_up]
    older = older_than_activity(instance, settings, loaded_months(instance, settings, keys))
    published = published_day(instance, settings)
    metadata: dict[str, str | int] = {
        "newest_day_published": published or "none",
        "newest_day_in_source": str(source_day or "none"),
        "months_that_differ": len(outdated),
    }
    if outdated or older or held_up or published is None:
        sentences = [
            f"The marts end on {published or 'no day yet'}; the source has data through {source_day}."
        ]
        if outdated:
            months = ", ".join(outdated)
            sentences.append(
                f"Changed since the last load: {months}. Run refresh_activity for these months, then refresh_cohorts."
            )
        elif older:
            sentences.append(f"{older} Run refresh_cohorts for all months.")
        passed, description = False, " ".join([*sentences, *held_up])
    else:
        passed, description = True, f"The marts contain all data of the source, through {published}."
    return [Outcome(check, passed, description, metadata) for check in fresh_checks(settings)]


def newest_complete_day(source: Source, settings: Settings, now: datetime) -> date | None:
    """The newest day of engagement in the source, yesterday or `AS_OF` at the latest; None without any."""
    report = source.inspect(USER_ENGAGEMENT)
    yesterday = now.astimezone(settings.zone).date() - timedelta(days=1)
    return min(report.last_day, settings.as_of or yesterday) if report and report.last_day else None


def published_day(instance: dg.DagsterInstance, settings: Settings) -> str | None:
    """The last day of the generation that was published last."""
    records = instance.fetch_materializations(published_key(settings), limit=1).records
    if not records or records[0].asset_materialization is None:
        return None
    return str(records[0].asset_materialization.metadata["as_of"].value)


def failed_months(instance: dg.DagsterInstance, settings: Settings, keys: Sequence[str]) -> list[Outcome]:
    """Whether the last run of each month succeeded."""
    found = []
    covered = (loading_runs(settings), serving_runs(settings, cohorts_key(settings)))
    for check, runs in zip(not_failed_checks(settings), covered, strict=True):
        failed = sorted(attempts_at(instance, runs, keys).failures)
        description = "The last run of each month succeeded."
        if failed:
            description = (
                f"Months whose last run failed or was cancelled ({len(failed)}): {', '.join(failed)}. Open the run, "
                "fix the cause of its error, then materialize these months again. Sensors also retry them."
            )
        found.append(Outcome(check, not failed, description, {"months_left_failed": len(failed)}))
    return found


def build_standing_checks(
    settings: Settings, source: Source, partitions: dg.MonthlyPartitionsDefinition
) -> list[dg.AssetChecksDefinition]:
    @dg.multi_asset_check(
        name=FRESH,
        specs=[
            dg.AssetCheckSpec(
                FRESH, asset=check.asset_key, description="This asset contains all data of the source."
            )
            for check in fresh_checks(settings)
        ],
        can_subset=True,
    )
    def as_new_as_source(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        if not materializes_assets(context):
            now, keys = datetime.now(UTC), partitions.get_partition_keys()
            yield from selected_results(context, freshness(context.instance, source, settings, keys, now))

    @dg.multi_asset_check(
        name=NOT_FAILED,
        specs=[
            dg.AssetCheckSpec(
                NOT_FAILED, asset=check.asset_key, description="The last run of every month succeeded."
            )
            for check in not_failed_checks(settings)
        ],
        can_subset=True,
    )
    def no_month_left_failed(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        if not materializes_assets(context):
            yield from selected_results(
                context, failed_months(context.instance, settings, partitions.get_partition_keys())
            )

    return [as_new_as_source, no_month_left_failed]


def materializes_assets(context: dg.AssetCheckExecutionContext) -> bool:
    """Whether the run also materializes assets, as a backfill does. Checked before its end, its months would fail."""
    if context.run.asset_selection:
        context.log.info(
            "Not evaluated: this run has not ended. The sensor standing_checks evaluates this check."
        )
    return bool(context.run.asset_selection)


def selected_results(
    context: dg.AssetCheckExecutionContext, outcomes: Sequence[Outcome]
) -> Iterator[dg.AssetCheckResult]:
    return (outcome.result() for outcome in outcomes if outcome.check in context.selected_asset_check_keys)


def changed_evaluations(
    instance: dg.DagsterInstance, outcomes: Sequence[Outcome]
) -> list[dg.AssetCheckEvaluation]:
    """Evaluations of the checks whose result differs from the last one, or whose last result Dagster does not show.

    Dagster hides a result that is older than the asset, and one that is followed by a run that planned the check.
    """
    keys = [outcome.check for outcome in outcomes]
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    assets = [record.asset_entry for record in instance.get_asset_records([key.asset_key for key in keys])]
    materialized_at = {
        asset.asset_key: asset.last_materialization_record.timestamp
        for asset in assets
        if asset.last_materialization_record
    }
    found = []
    for outcome in outcomes:
        record = latest.get(outcome.check)
        since = materialized_at.get(outcome.check.asset_key, 0)
        is_shown = record and record.status in ENDED and record.event and record.event.timestamp > since
        known = record.evaluation if record and is_shown else None
        if known is None or (known.passed, known.description) != (outcome.passed, outcome.description):
            found.append(outcome.evaluation())
    return found


def build_check_sensor(
    settings: Settings, source: Source, partitions: dg.MonthlyPartitionsDefinition
) -> dg.SensorDefinition:
    @dg.sensor(
        name=settings.dagster_name("standing_checks"),
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING
        if settings.automation
        else dg.DefaultSensorStatus.STOPPED,
        description="Checks whether the marts are as new as the source, and which months have failed.",
    )
    def standing_checks(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        now, keys, instance = datetime.now(UTC), partitions.get_partition_keys(), context.instance
        outcomes = failed_months(instance, settings, keys)
        cursor = context.cursor or ALL_FRESH
        since = None if cursor == ALL_FRESH else datetime.fromisoformat(cursor)
        if settings.source != "simulated" or settings.simulated_home.exists():
            try:
                found = freshness(instance, source, settings, keys, now)
            except WarehouseBusyError as busy:
                return dg.SensorResult(skip_reason=str(busy), cursor=cursor)
            since = None if found[0].passed else since or now
            # new data gets time to be loaded before the checks fail
            grace = timedelta(minutes=settings.stale_after_minutes)
            if since is None or now - since >= grace:
                outcomes += found
        events = changed_evaluations(instance, outcomes)
        return dg.SensorResult(
            skip_reason=f"Evaluated {len(outcomes)} checks; {len(events)} results have changed.",
            asset_events=events,
            cursor=since.isoformat() if since else ALL_FRESH,
        )

    return standing_checks
