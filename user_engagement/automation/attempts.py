"""What runs have tried for each month: which months are busy, how often they failed, and when to try again."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby

import dagster as dg

from user_engagement.assets.common import PUBLISHED_KEY, raw_key
from user_engagement.assets.fingerprints import SOURCE_TAG
from user_engagement.automation.jobs import COHORTS_JOB, EVERYTHING_JOB, INGEST_JOB
from user_engagement.contracts.raw import RAW_TABLES
from user_engagement.dagster_internals import NOT_FINISHED_STATUSES
from user_engagement.partitions import months_of_run

FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(hours=1)
RUNS_LOOKED_AT = 200
ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


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

    def months(records: Sequence[dg.RunRecord]) -> Iterator[tuple[dg.RunRecord, list[str]]]:
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


def _ended(record: dg.RunRecord) -> datetime:
    if record.end_time:
        return datetime.fromtimestamp(record.end_time, UTC)
    return record.update_timestamp.replace(tzinfo=UTC)
