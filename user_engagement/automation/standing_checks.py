"""Standing checks: about the instance and the source rather than about a run.

A sensor evaluates them, and reports those that end otherwise than before.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from user_engagement.assets.common import PUBLISHED_KEY
from user_engagement.assets.freshness import (
    COHORTS_KEY,
    FRESH,
    FRESH_CHECKS,
    NOT_FAILED,
    NOT_FAILED_CHECKS,
    behind_activity,
    compare,
    loaded_months,
)
from user_engagement.automation.attempts import LOADING, SERVING, Work, attempts_at
from user_engagement.contracts.raw import USER_ENGAGEMENT
from user_engagement.dagster_internals import COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES as ENDED
from user_engagement.errors import SourceError
from user_engagement.settings import Settings
from user_engagement.sources import Source

WORK = dict(
    zip(
        NOT_FAILED_CHECKS,
        (
            LOADING,
            Work(SERVING.jobs, frozenset((COHORTS_KEY,))),
        ),
        strict=True,
    )
)
"""Of each check, the runs that it concerns."""

ALL_FRESH = "all fresh"
"""The sensor's cursor while nothing is late; Dagster would not store an empty one, and so keep the old time."""


@dataclass(frozen=True)
class Standing:
    """How a standing check would end now."""

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
) -> list[Standing]:
    """Whether the marts and what is published hold what the source holds, late and changed rows included.

    A source that cannot be read fails the checks as well.
    """
    try:
        outdated = compare(instance, source, settings, keys).outdated
        held = newest_day_held(source, settings, now)
    except SourceError as error:
        return [Standing(check, False, f"The source cannot be read. {error}", {}) for check in FRESH_CHECKS]
    behind = behind_activity(instance, loaded_months(instance, keys))
    published = published_day(instance)
    metadata: dict[str, str | int] = {
        "newest_day_published": published or "none",
        "newest_day_in_source": str(held or "none"),
        "months_that_differ": len(outdated),
    }
    if outdated or behind or published is None:
        said = [f"The marts reach {published or 'no day yet'}; the source holds data through {held}."]
        if outdated:
            months = ", ".join(outdated)
            said.append(
                f"Not as it was loaded last: {months}. Run refresh_activity for them, then refresh_cohorts."
            )
        elif behind:
            said.append(f"{behind} Run refresh_cohorts for all months.")
        passed, description = False, " ".join(said)
    else:
        passed, description = True, f"All that the source holds is in the marts, which reach {published}."
    return [Standing(check, passed, description, metadata) for check in FRESH_CHECKS]


def newest_day_held(source: Source, settings: Settings, now: datetime) -> date | None:
    """The newest day of engagement in the source that may be complete."""
    report = source.inspect(USER_ENGAGEMENT)
    yesterday = now.astimezone(settings.zone).date() - timedelta(days=1)
    return min(report.last_day, settings.as_of or yesterday) if report and report.last_day else None


def published_day(instance: dg.DagsterInstance) -> str | None:
    """The last day of the generation that was published last."""
    records = instance.fetch_materializations(PUBLISHED_KEY, limit=1).records
    if not records or records[0].asset_materialization is None:
        return None
    return str(records[0].asset_materialization.metadata["as_of"].value)


def left_failed(instance: dg.DagsterInstance, keys: Sequence[str]) -> list[Standing]:
    """Whether the last run about each month succeeded."""
    found = []
    for check, work in WORK.items():
        failed = sorted(attempts_at(instance, work, keys).failures)
        description = "The last run about each month succeeded."
        if failed:
            description = (
                f"{len(failed)} months whose last run failed or was cancelled: {', '.join(failed)}. Look at the run's "
                "error, mend its cause, then materialize these months again; sensors also try again by themselves."
            )
        found.append(Standing(check, not failed, description, {"months_left_failed": len(failed)}))
    return found


def build_standing_checks(
    settings: Settings, source: Source, partitions: dg.MonthlyPartitionsDefinition
) -> list[dg.AssetChecksDefinition]:
    @dg.multi_asset_check(
        name=FRESH,
        specs=[
            dg.AssetCheckSpec(
                FRESH, asset=check.asset_key, description="All that the source holds has arrived here."
            )
            for check in FRESH_CHECKS
        ],
        can_subset=True,
    )
    def as_new_as_source(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        if not materializes_assets(context):
            now, keys = datetime.now(UTC), partitions.get_partition_keys()
            yield from selected(context, freshness(context.instance, source, settings, keys, now))

    @dg.multi_asset_check(
        name=NOT_FAILED,
        specs=[
            dg.AssetCheckSpec(
                NOT_FAILED, asset=check.asset_key, description="No month's last run has failed."
            )
            for check in NOT_FAILED_CHECKS
        ],
        can_subset=True,
    )
    def no_month_left_failed(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        if not materializes_assets(context):
            yield from selected(context, left_failed(context.instance, partitions.get_partition_keys()))

    return [as_new_as_source, no_month_left_failed]


def materializes_assets(context: dg.AssetCheckExecutionContext) -> bool:
    """Whether the run also materializes assets, a backfill for one: it would find undone what it is about to do."""
    if context.run.asset_selection:
        context.log.info("Left to the sensor standing_checks, since this run has not ended.")
    return bool(context.run.asset_selection)


def selected(
    context: dg.AssetCheckExecutionContext, standings: Sequence[Standing]
) -> Iterator[dg.AssetCheckResult]:
    return (s.result() for s in standings if s.check in context.selected_asset_check_keys)


def changed(instance: dg.DagsterInstance, standings: Sequence[Standing]) -> list[dg.AssetCheckEvaluation]:
    """Evaluations of the checks that do not end as they did last, or whose last end Dagster does not show.

    It shows none that is older than the asset, or that was followed by a run which has yet to evaluate the check.
    """
    keys = [standing.check for standing in standings]
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    assets = [record.asset_entry for record in instance.get_asset_records([key.asset_key for key in keys])]
    made = {
        asset.asset_key: asset.last_materialization_record.timestamp
        for asset in assets
        if asset.last_materialization_record
    }
    found = []
    for standing in standings:
        record = latest.get(standing.check)
        since = made.get(standing.check.asset_key, 0)
        is_shown = record and record.status in ENDED and record.event and record.event.timestamp > since
        known = record.evaluation if record and is_shown else None
        if known is None or (known.passed, known.description) != (standing.passed, standing.description):
            found.append(standing.evaluation())
    return found


def build_check_sensor(
    settings: Settings, source: Source, partitions: dg.MonthlyPartitionsDefinition
) -> dg.SensorDefinition:
    @dg.sensor(
        name="standing_checks",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING
        if settings.automation
        else dg.DefaultSensorStatus.STOPPED,
        description="Says when the source has moved on and the marts have not, and which months are left failed.",
    )
    def standing_checks(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        now, keys, instance = datetime.now(UTC), partitions.get_partition_keys(), context.instance
        standings = left_failed(instance, keys)
        cursor = context.cursor or ALL_FRESH
        since = None if cursor == ALL_FRESH else datetime.fromisoformat(cursor)
        if settings.source != "simulated" or settings.simulated_home.exists():
            found = freshness(instance, source, settings, keys, now)
            since = None if found[0].passed else since or now
            # what has just arrived is given the time that it takes to load it
            grace = timedelta(minutes=settings.stale_after_minutes)
            if since is None or now - since >= grace:
                standings += found
        events = changed(instance, standings)
        return dg.SensorResult(
            skip_reason=f"Evaluated {len(standings)} checks, of which {len(events)} end otherwise than before.",
            asset_events=events,
            cursor=since.isoformat() if since else ALL_FRESH,
        )

    return standing_checks
