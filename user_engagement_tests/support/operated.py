"""A pipeline as an instance with sensors runs it, tick by tick, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import dagster as dg

from user_engagement.automation.jobs import COHORTS_JOB, INGEST_JOB
from user_engagement.automation.sensors import requests_for_cohorts, requests_for_new_data
from user_engagement.automation.standing_checks import Outcome, failed_months, freshness
from user_engagement.code_location import build_definitions, first_month
from user_engagement.instance.home import open_instance
from user_engagement.partitions import monthly_partitions, months_of_run
from user_engagement.settings import Settings
from user_engagement.sources import Source, open_source


@dataclass
class Operated:
    """The state of a code server; ``now`` stands for the clock of its sensors, and moves when asked to."""

    settings: Settings
    instance: dg.DagsterInstance
    source: Source
    definitions: dg.Definitions
    keys: Sequence[str]
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def wait(self, **time: float) -> None:
        self.now += timedelta(**time)

    def new_data(self) -> list[dg.RunRequest] | str:
        """A tick of `new_source_data`: what it requests, or why nothing."""
        found = requests_for_new_data(self.instance, self.source, self.settings, self.keys, self.now)
        return found.skip_message or "" if isinstance(found, dg.SkipReason) else found

    def behind(self) -> list[dg.RunRequest] | str:
        """A tick of `cohorts_follow_activity`."""
        graph = self.definitions.resolve_asset_graph()
        found = requests_for_cohorts(self.instance, self.settings, graph, self.keys, self.now)
        return found.skip_message or "" if isinstance(found, dg.SkipReason) else found

    def months(self, requests: list[dg.RunRequest] | str) -> list[list[str]]:
        """The months of each run that was requested, as ``2024-03``."""
        assert not isinstance(requests, str), requests
        return [[key[:7] for key in months_of_run(r.tags, self.keys)] for r in requests]

    def execute(self, job: str, requests: list[dg.RunRequest] | str) -> bool:
        """Runs what was requested; whether all of it succeeded."""
        assert not isinstance(requests, str), requests
        job_def = self.definitions.resolve_job_def(job)
        results = [
            job_def.execute_in_process(instance=self.instance, tags=dict(r.tags), raise_on_error=False)
            for r in requests
        ]
        self.now = datetime.now(UTC)
        return all(result.success for result in results)

    def settle(self) -> list[str]:
        """Ticks and runs until nothing is requested any more; the jobs that ran, in their order."""
        ran = []
        while True:
            for job, tick in ((INGEST_JOB, self.new_data), (COHORTS_JOB, self.behind)):
                if not isinstance(requests := tick(), str):
                    assert self.execute(job, requests)
                    ran += [job] * len(requests)
                    break
            else:
                return ran

    def standing(self) -> dict[str, Outcome]:
        """Every standing check, by its name."""
        found = freshness(self.instance, self.source, self.settings, self.keys, self.now)
        failed = failed_months(self.instance, self.settings, self.keys)
        return {str(s.check.name): s for s in (*found, *failed[:1])}


@contextmanager
def operated(settings: Settings) -> Iterator[Operated]:
    source = open_source(settings)
    keys = monthly_partitions(first_month(source, settings), settings.as_of).get_partition_keys()
    with open_instance(settings) as instance:
        yield Operated(settings, instance, source, build_definitions(settings, source), keys)
