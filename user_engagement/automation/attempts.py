"""Past and current runs of each month: which months are busy, how often they failed, and when to try again."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby

import dagster as dg

from user_engagement.assets.common import published_key, raw_key
from user_engagement.automation.jobs import COHORTS_JOB, EVERYTHING_JOB, INGEST_JOB
from user_engagement.contracts.raw import RAW_TABLES
from user_engagement.dagster_internals import NOT_FINISHED_STATUSES
from user_engagement.inputs.fingerprints import SOURCE_TAG
from user_engagement.partitions import months_of_run
from user_engagement.settings import Settings

FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(hours=1)
RUNS_CONSIDERED = 200
ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


def pause_after(failures: int) -> timedelta:
    """The pause after this many failures in a row: 30 seconds, then twice as long each time, at most an hour."""
    return min(FIRST_PAUSE * 2 ** (min(failures, 20) - 1), LONGEST_PAUSE)


@dataclass(frozen=True)
class RunSelection:
    """Runs of one of the jobs as a whole, and runs of selected assets that include one of the assets."""

    jobs: frozenset[str]
    assets: frozenset[dg.AssetKey]

    def includes(self, run: dg.DagsterRun) -> bool:
        chosen = run.asset_selection
        return bool(chosen & self.assets) if chosen else run.job_name in self.jobs


def loading_runs(settings: Settings) -> RunSelection:
    return _runs(settings, INGEST_JOB, *(raw_key(settings, table) for table in RAW_TABLES))


def serving_runs(settings: Settings, asset: dg.AssetKey | None = None) -> RunSelection:
    """The runs that rebuild ``asset``, by default the publication."""
    return _runs(settings, COHORTS_JOB, asset or published_key(settings))


def _runs(settings: Settings, job: str, *assets: dg.AssetKey) -> RunSelection:
    names = (settings.dagster_name(name) for name in (job, EVERYTHING_JOB))
    return RunSelection(frozenset(names), frozenset(assets))


@dataclass(frozen=True)
class Attempts:
    """The attempts at each month: ``busy`` maps a month to the unfinished run that covers it.

    ``failures`` maps a month to the number of its failures since its last success, and to the time of the newest one.
    """

    busy: Mapping[str, str]
    failures: Mapping[str, tuple[int, datetime]]

    def next_start(self, key: str) -> datetime | None:
        """The time (UTC) from which a failed month may be tried again; None if it has not failed."""
        if key not in self.failures:
            return None
        failed, last = self.failures[key]
        return last + pause_after(failed)

    def may_start(self, key: str, now: datetime) -> bool:
        return key not in self.busy and (self.next_start(key) or now) <= now

    def reasons_to_wait(self, keys: Iterable[str]) -> str:
        """Each reason why some of these months have to wait, with those months; none of them may start."""
        waiting = groupby(keys, key=self._reason)
        return "; ".join(f"{reason}: {', '.join(months)}" for reason, months in waiting)

    def _reason(self, key: str) -> str:
        if key in self.busy:
            return f"covered by run {self.busy[key][:8]}"
        return f"failed {self.failures[key][0]} times, next attempt at {self.next_start(key):%H:%M:%S} UTC"


def attempts_at(
    instance: dg.DagsterInstance,
    selection: RunSelection,
    keys: Sequence[str],
    digest: Callable[[Sequence[str]], str] | None = None,
) -> Attempts:
    """The unfinished runs of each month, and its failures since its last success.

    ``digest`` computes the source's current digest for some months. If it is given, failures of runs that were
    requested for another state of the source do not count, so that a corrected source is loaded at once.
    """

    def months(records: Sequence[dg.RunRecord]) -> Iterator[tuple[dg.RunRecord, list[str]]]:
        for record in records:
            if selection.includes(record.dagster_run):
                yield record, months_of_run(record.dagster_run.tags, keys)

    unfinished = instance.get_run_records(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES))
    busy = {key: record.dagster_run.run_id for record, covered in months(unfinished) for key in covered}
    settled: set[str] = set()
    failures: dict[str, tuple[int, datetime]] = {}
    for record, covered in months(
        instance.get_run_records(dg.RunsFilter(statuses=ENDED), limit=RUNS_CONSIDERED)
    ):
        run = record.dagster_run
        requested_for = run.tags.get(SOURCE_TAG)
        is_same_source = not (digest and requested_for) or requested_for == digest(covered)
        if run.status == dg.DagsterRunStatus.SUCCESS or not is_same_source:
            settled.update(covered)
            continue
        for key in set(covered) - settled:
            count, newest = failures.get(key, (0, _ended(record)))
            failures[key] = (count + 1, newest)
    return Attempts(busy, failures)


def _ended(record: dg.RunRecord) -> datetime:
    if record.end_time:
        return datetime.fromtimestamp(record.end_time, UTC)
    return record.update_timestamp.replace(tzinfo=UTC)
