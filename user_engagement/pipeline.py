"""Runs the whole pipeline inside this process: check the source, load months, rebuild marts, publish."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import dagster as dg

from user_engagement.assets.common import table_of
from user_engagement.assets.freshness import compare, is_up_to_date
from user_engagement.assets.source_loss import refuse_loss
from user_engagement.code_location import build_definitions, first_month
from user_engagement.contracts.raw import RAW_TABLES, USER_SIGNUPS
from user_engagement.dagster_internals import InMemoryJob, execute_run_iterator
from user_engagement.errors import RunFailedError, SettingsError, SourceError
from user_engagement.inputs.fingerprints import REBUILD_TAG, SOURCE_STATE, source_state
from user_engagement.inputs.held_up import HeldUp, find_held_up, refuse_waiting, waiting_months
from user_engagement.inputs.variables import refuse_segments
from user_engagement.instance.home import open_instance
from user_engagement.instance.run_launcher import host_tag
from user_engagement.instance.source_of_home import claim_home, refuse_other_source
from user_engagement.partitions import Months, contiguous_ranges, first_of_month, key_of, monthly_partitions
from user_engagement.settings import PREFIX, Settings
from user_engagement.sources import Source, TableReport, open_source
from user_engagement.warehouse import open_source_tables, open_warehouse

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Step:
    """A job over a range of months; ``loads`` says whether it reads the source."""

    job: str
    months: Months
    loads: bool


@dataclass(frozen=True)
class Plan:
    """What a run will do: the ranges of months to load, and the signup months whose cohorts it rebuilds.

    ``cohorts`` is None if everything is up to date. ``state`` is the source's state that the run loads completely;
    None if it leaves months out. ``rebuild``: whether tables are rebuilt although their inputs have not changed.
    """

    source: Source
    reports: tuple[TableReport, ...] = ()
    load: tuple[Months, ...] = ()
    cohorts: Months | None = None
    state: str | None = None
    rebuild: bool = False

    def steps(self) -> Iterator[Step]:
        if self.cohorts is None:
            return
        if self.load == (self.cohorts,):
            yield Step("everything", self.cohorts, loads=True)
            return
        for months in self.load:
            yield Step("refresh_activity", months, loads=True)
        if not self.load:
            # the horizon or a setting may have changed, so the models that use them are rebuilt
            yield Step("refresh_activity", Months(self.cohorts.last, self.cohorts.last), loads=False)
        yield Step("refresh_cohorts", self.cohorts, loads=False)


def plan(settings: Settings, full: bool = False, rebuild: bool = False) -> Plan:
    """Checks every table of the source, and decides which months to load.

    With ``START``, ``END`` or ``full``, the run loads the requested months, changed or not; otherwise it loads the
    months whose source has changed since their last load. If no month, setting or code has changed since the current
    generation was published, the plan is empty unless ``rebuild`` is set.

    Raises:
        SettingsError: the home was loaded from another source, or the horizon lies in the future.
        SourceError: the source breaks its contract, has lost most of what was loaded, or has nothing in the months
            asked for. Nothing was written.
    """
    refuse_other_source(settings)
    today = datetime.now(settings.zone).date()
    if settings.as_of and settings.as_of > today:
        raise SettingsError(f"{PREFIX}AS_OF={settings.as_of}: lies in the future; today is {today}.")
    source = open_source(settings, open_source_tables)
    is_partial = bool(settings.start or settings.end)
    if not (full or rebuild or is_partial) and open_warehouse(settings).exists():
        with open_instance(settings) as instance:
            if is_up_to_date(instance, source, settings, datetime.now(UTC)):
                return Plan(source)
    # before reading the rows: data that arrives meanwhile must count as a change
    state = None if is_partial else source_state(source, settings)
    for table in RAW_TABLES:
        refuse_loss(source, table, settings)
    reports = tuple(report for table in RAW_TABLES if (report := source.inspect(table)))
    signups = next(report for report in reports if report.table is USER_SIGNUPS)
    if not (settings.segments_are_default or open_warehouse(settings).exists()):
        refuse_segments(
            settings, [*(column.name for column in USER_SIGNUPS.required), *signups.extra_columns]
        )
    if signups.first_day is None:
        raise SourceError(
            f"{signups.locations[0]}: no signup has a usable date, so there is nothing to load."
        )
    if signups.first_day > (settings.as_of or today):
        horizon = f"{PREFIX}AS_OF={settings.as_of}" if settings.as_of else f"today, {today}"
        raise SourceError(
            f"{signups.locations[0]}: the first signup is on {signups.first_day}, after {horizon}."
        )
    first = first_month(source, settings)
    calendar = monthly_partitions(first, settings.as_of)
    newest = date.fromisoformat(calendar.get_partition_keys()[-1])
    last = min(max(first_of_month(r.last_day) for r in reports if r.last_day), newest)
    load = Months(max(settings.start or first, first), min(settings.end or last, newest))
    if load.first > load.last:
        raise SourceError(
            f"nothing to load: the source has data from {first:%Y-%m} to {last:%Y-%m}. Change --start or --end."
        )
    cohorts = Months(first, max(last, load.last))
    keys = [key for key in calendar.get_partition_keys() if key <= key_of(last)]
    if full or is_partial or not open_warehouse(settings).exists():
        ranges = _without_waiting(load, find_held_up(source, settings, calendar.get_partition_keys()))
        return Plan(source, reports, ranges, cohorts, state, full or rebuild)
    with open_instance(settings) as instance:
        outdated = compare(instance, source, settings, keys).outdated
    ranges = tuple(contiguous_ranges(date.fromisoformat(key) for key in outdated))
    return Plan(source, reports, ranges, cohorts, state, rebuild)


def _without_waiting(load: Months, held_up: Sequence[HeldUp]) -> tuple[Months, ...]:
    waiting = waiting_months(held_up)
    asked = load.keys()
    free = [key for key in asked if key not in waiting]
    if not free:
        refuse_waiting(held_up, asked)
    return tuple(contiguous_ranges(date.fromisoformat(key) for key in free))


def run(
    settings: Settings,
    planned: Plan,
    on_event: Callable[[dg.DagsterEvent], None] = lambda _: None,
    on_line: Callable[[str], None] = lambda _: None,
) -> None:
    """Runs the planned jobs one after the other, on the instance that the UI shows.

    ``on_event`` receives each Dagster event, ``on_line`` each line that dbt prints.

    Raises:
        RunFailedError: a step failed. Slices that it had not finished are unchanged.
    """
    if planned.cohorts is None:
        return
    claim_home(settings)
    state = {SOURCE_STATE: planned.state} if planned.state else {}
    rebuild = {REBUILD_TAG: "true"} if planned.rebuild else {}
    # what Dagster writes there is in its events and errors, too
    with contextlib.redirect_stderr(io.StringIO()), open_instance(settings) as instance:
        # after the instance: the process that parses the dbt project needs the time
        definitions = build_definitions(settings, planned.source)
        for step in planned.steps():
            job = definitions.resolve_job_def(settings.dagster_name(step.job))
            keys = job.asset_layer.executable_asset_keys
            started = instance.create_run_for_job(
                job_def=job,
                run_config=QUIET,
                tags={**step.months.tags(), **host_tag(), **state, **rebuild},
                asset_selection=None if step.loads else {key for key in keys if table_of(key)[0] != "raw"},
            )
            with contextlib.redirect_stdout(_Lines(on_line)):
                failed_checks: list[dg.AssetCheckEvaluation] = []
                for event in execute_run_iterator(InMemoryJob(job), started, instance):
                    on_event(event)
                    if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                        evaluation = event.asset_check_evaluation_data
                        if not evaluation.passed and evaluation.severity == dg.AssetCheckSeverity.ERROR:
                            failed_checks.append(evaluation)
                    _raise_if_failed(event, failed_checks)


class _Lines(io.TextIOBase):
    """A text stream that passes complete lines to a function."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._on_line(line)
        return len(text)


def _raise_if_failed(event: dg.DagsterEvent, failed_checks: Sequence[dg.AssetCheckEvaluation]) -> None:
    if event.event_type == dg.DagsterEventType.STEP_FAILURE:
        error = event.step_failure_data.error
        while error and error.cause:
            error = error.cause
        if error and error.cls_name == dg.DagsterExecutionInterruptedError.__name__:
            raise KeyboardInterrupt
        failure = event.step_failure_data.user_failure_data
        message = failure.description if failure else (error.message if error else event.message)
        found = "".join(f"\n{_found_by(check)}" for check in failed_checks)
        raise RunFailedError(f"{event.step_key}: {_essence(message or '')}{found}")
    if event.event_type == dg.DagsterEventType.RUN_FAILURE:
        raise RunFailedError(event.message or "the run failed")


def _found_by(check: dg.AssetCheckEvaluation) -> str:
    """A sentence with the result of a failed check, and what to do."""
    rows = check.metadata.get("dagster_dbt/failed_row_count")
    found = check.description or (f"{rows.value} rows fail it." if rows else "no reason was given.")
    return (
        f"{check.check_name} of {check.asset_key.to_user_string()}: {found} The last publication stays in place. "
        "Fix the data in the source, or the rule, and run again."
    )


def _essence(message: str) -> str:
    """The error itself, without the command line and the advice that dagster-dbt puts before it."""
    said = re.sub(r"\n\s*\n+", "\n", message.rpartition("Errors parsed from dbt logs:")[2]).strip()
    return re.sub(r"^user_engagement(\.\w+)*\.\w+Error: ", "", said)
