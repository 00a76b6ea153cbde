"""One run of the whole pipeline inside this process: check the source, load months, rebuild what follows."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime

import dagster as dg

from user_engagement.assets.fingerprints import SOURCE_STATE, source_state
from user_engagement.assets.freshness import compare, is_up_to_date
from user_engagement.assets.source_loss import refuse_loss
from user_engagement.code_location import build_definitions
from user_engagement.contracts.raw import RAW_TABLES, USER_SIGNUPS
from user_engagement.dagster_internals import InMemoryJob, execute_run_iterator
from user_engagement.errors import SettingsError, SourceError
from user_engagement.instance.home import open_instance
from user_engagement.instance.run_launcher import host_tag
from user_engagement.instance.source_of_home import claim_home, refuse_other_source
from user_engagement.partitions import Months, contiguous_ranges, first_of_month, key_of, monthly_partitions
from user_engagement.settings import PREFIX, Settings
from user_engagement.sources import Source, TableReport, open_source
from user_engagement.warehouse import open_warehouse

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

    ``cohorts`` is None where everything is up to date and there is nothing to do. ``state`` is the source's state
    that the run brings everything up to; None if it leaves out months.
    """

    source: Source
    reports: tuple[TableReport, ...] = ()
    load: tuple[Months, ...] = ()
    cohorts: Months | None = None
    state: str | None = None

    def steps(self) -> Iterator[Step]:
        if self.cohorts is None:
            return
        if self.load == (self.cohorts,):
            yield Step("everything", self.cohorts, loads=True)
            return
        for months in self.load:
            yield Step("refresh_activity", months, loads=True)
        if not self.load:
            # the horizon or a setting may have changed: what reads them is rebuilt without the source
            yield Step("refresh_activity", Months(self.cohorts.last, self.cohorts.last), loads=False)
        yield Step("refresh_cohorts", self.cohorts, loads=False)


class RunFailedError(Exception):
    """The run did not succeed; the message says which step failed and why."""


def plan(settings: Settings, full: bool = False, rebuild: bool = False) -> Plan:
    """Checks every table of the source, and decides on the months.

    With ``START`` or ``END`` set, or ``full``, the months asked for are loaded whether they changed or not;
    otherwise those whose source changed since they were last loaded. If nothing did, and settings and code are those
    with which the current generation was published, there is nothing to do, unless ``rebuild`` is set.

    Raises:
        SettingsError: the home was loaded from another source, or the horizon lies in the future.
        SourceError: the source breaks its contract, has lost most of what was loaded, or has nothing in the months
            asked for. Nothing was written.
    """
    refuse_other_source(settings)
    today = datetime.now(settings.zone).date()
    if settings.as_of and settings.as_of > today:
        raise SettingsError(f"{PREFIX}AS_OF={settings.as_of}: lies in the future; today is {today}.")
    source = open_source(settings)
    is_partial = bool(settings.start or settings.end)
    if not (full or rebuild or is_partial) and open_warehouse(settings).exists():
        with open_instance(settings) as instance:
            if is_up_to_date(instance, source, settings, datetime.now(UTC)):
                return Plan(source)
    # before reading: what arrives meanwhile must look like a change afterwards
    state = None if is_partial else source_state(source, settings)
    for table in RAW_TABLES:
        refuse_loss(source, table, settings)
    reports = tuple(report for table in RAW_TABLES if (report := source.inspect(table)))
    signups = next(report for report in reports if report.table is USER_SIGNUPS)
    if signups.first_day is None:
        raise SourceError(
            f"{signups.locations[0]}: there are no signups with a usable date, so there is nothing to load."
        )
    first = first_of_month(signups.first_day)
    calendar = monthly_partitions(first, settings.as_of)
    newest = date.fromisoformat(calendar.get_last_partition_key() or key_of(first))
    if newest < first:
        raise SourceError(
            f"{signups.locations[0]}: the first signup is of {signups.first_day}, after {settings.as_of}."
        )
    last = min(max(first_of_month(r.last_day) for r in reports if r.last_day), newest)
    load = Months(max(settings.start or first, first), min(settings.end or last, newest))
    if load.first > load.last:
        raise SourceError(
            f"nothing to load: the source holds {first:%Y-%m} to {last:%Y-%m}; change --start or --end."
        )
    cohorts = Months(first, max(last, load.last))
    if full or is_partial or not open_warehouse(settings).exists():
        return Plan(source, reports, (load,), cohorts, state)
    keys = [key for key in calendar.get_partition_keys() if key <= key_of(last)]
    with open_instance(settings) as instance:
        outdated = compare(instance, source, settings, keys).outdated
    ranges = tuple(contiguous_ranges(date.fromisoformat(key) for key in outdated))
    return Plan(source, reports, ranges, cohorts, state)


def run(
    settings: Settings,
    planned: Plan,
    on_event: Callable[[dg.DagsterEvent], None] = lambda _: None,
    on_line: Callable[[str], None] = lambda _: None,
) -> None:
    """Runs the planned jobs one after the other, on the instance that the UI shows.

    ``on_event`` is told Dagster's events, ``on_line`` what dbt prints while it works.

    Raises:
        RunFailedError: a step failed; what it had not finished is as it was before.
    """
    if planned.cohorts is None:
        return
    claim_home(settings)
    definitions = build_definitions(settings, planned.source)
    state = {SOURCE_STATE: planned.state} if planned.state else {}
    with open_instance(settings) as instance:
        for step in planned.steps():
            job = definitions.resolve_job_def(step.job)
            keys = job.asset_layer.executable_asset_keys
            started = instance.create_run_for_job(
                job_def=job,
                run_config=QUIET,
                tags={**step.months.tags(), **host_tag(), **state},
                asset_selection=None if step.loads else {key for key in keys if key.path[0] != "raw"},
            )
            with contextlib.redirect_stdout(_Lines(on_line)):
                for event in execute_run_iterator(InMemoryJob(job), started, instance):
                    on_event(event)
                    _raise_if_failed(event)


class _Lines(io.TextIOBase):
    """A text stream that hands on whole lines."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._on_line(line)
        return len(text)


def _raise_if_failed(event: dg.DagsterEvent) -> None:
    if event.event_type == dg.DagsterEventType.STEP_FAILURE:
        error = event.step_failure_data.error
        while error and error.cause:
            error = error.cause
        failure = event.step_failure_data.user_failure_data
        message = failure.description if failure else (error.message if error else event.message)
        raise RunFailedError(f"{event.step_key}: {_essence(message or '')}")
    if event.event_type == dg.DagsterEventType.RUN_FAILURE:
        raise RunFailedError(event.message or "the run failed")


def _essence(message: str) -> str:
    """What went wrong, without the command line and the advice that dbt's wrapper puts before it."""
    return re.sub(r"\n\s*\n+", "\n", message.rpartition("Errors parsed from dbt logs:")[2]).strip()
