"""The progress and the summary of a run in the terminal."""

from __future__ import annotations

import re
import time
from collections import Counter
from datetime import date
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    # a run that finds nothing new does without them
    import dagster as dg

    from user_engagement.partitions import Months
    from user_engagement.pipeline import Plan

DBT_START = re.compile(r"(?P<number>\d+) of (?P<total>\d+) START (?:sql \w+ model|test) (?P<name>\S+)")


class RunProgress:
    """Shows the current step of a run in a live line, and prints a line for each step that is done."""

    def __init__(self, console: Console) -> None:
        self.loaded: Counter[str] = Counter()
        self.rejected: dict[str, int] = {}
        self._loaded: dict[str, int] = {}
        self._console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("starting")
        self._step_started = time.monotonic()
        self._assets: dict[str, str] = {}
        self._checks = 0

    def __enter__(self) -> RunProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show_step(self, step: str) -> None:
        self._progress.update(self._task, description=escape(step))

    def on_day(self, day: date, done: int, total: int) -> None:
        self.show_step(f"simulating {day} ({done} of {total} days)")

    def show_plan(self, plan: Plan) -> None:
        for report in plan.reports:
            days = f", {report.first_day} to {report.last_day}" if report.first_day else ""
            self._print_done(f"source {report.table.name}: {report.rows:,} rows{days}")

    def on_event(self, event: dg.DagsterEvent) -> None:
        kind = event.event_type_value
        if kind == "STEP_START":
            self._step_started = time.monotonic()
            self._assets, self._loaded, self._checks = {}, {}, 0
            self.show_step(_step_name(event.step_key or ""))
        elif kind == "ASSET_MATERIALIZATION":
            self._materialized(event)
        elif kind == "ASSET_CHECK_EVALUATION":
            self._checked(event)
        elif kind == "STEP_SUCCESS":
            self.loaded.update(self._loaded)
            detail = "  ".join(self._assets.values())
            if len(self._assets) != 1:
                detail = f"{len(self._assets)} tables" if self._assets else f"{self._checks} checks"
            self._print_done(
                f"{_step_name(event.step_key or '')}: {detail}, {time.monotonic() - self._step_started:.1f} s"
            )

    def on_line(self, line: str) -> None:
        """Shows the model or test that dbt starts; Dagster's event for it comes much later."""
        if started := DBT_START.match(line):
            self.show_step(f"{started['name']} ({started['number']} of {started['total']})")

    def _materialized(self, event: dg.DagsterEvent) -> None:
        from user_engagement.assets.common import table_of

        materialization = event.step_materialization_data.materialization
        name = "/".join(table_of(materialization.asset_key))
        metadata = {key: value.value for key, value in materialization.metadata.items()}
        if "replaced_rows" in metadata:
            # the event of each month has the counts of the whole range
            self._loaded[name] = _number(metadata, "loaded_rows")
            self.rejected[name] = _number(metadata, "rejected_rows")
        rows = metadata.get("loaded_rows", metadata.get("dagster/row_count"))
        self._assets[name] = f"{rows:,} rows" if isinstance(rows, int) else "done"
        self.show_step(name)

    def _checked(self, event: dg.DagsterEvent) -> None:
        from user_engagement.assets.common import PUBLISHED, table_of

        self._checks += 1
        evaluation = event.asset_check_evaluation_data
        # the summary shows what is doubtful in the publication
        if not evaluation.passed and table_of(evaluation.asset_key) != PUBLISHED:
            self._console.print(
                f"[yellow]check failed[/] {escape(evaluation.asset_key.to_user_string())}: "
                f"{escape(evaluation.check_name)} ({evaluation.severity.value.lower()})"
            )

    def _print_done(self, line: str) -> None:
        self._console.print(f"[green]✓[/] {escape(line)}", highlight=False)


def _number(metadata: dict[str, Any], key: str) -> int:
    value = metadata.get(key)
    return value if isinstance(value, int) else 0


def _step_name(key: str) -> str:
    return key.replace("__", "/")


def loading_summary(plan: Plan | None, progress: RunProgress) -> str:
    """A sentence with the months loaded, the months left unchanged, and the rows loaded into each raw table.

    Without a plan, or with an empty one, nothing was new.
    """
    if plan is None or plan.cohorts is None:
        return (
            "\nNothing new: source, settings and code have not changed since the last publication, so nothing was "
            "rebuilt. Use --rebuild to rebuild anyway."
        )
    if not plan.load:
        return f"\nNothing new in the source: no month was loaded. The marts of {_range_of(plan.cohorts)} were rebuilt."
    loaded = ", ".join(_range_of(months) for months in plan.load)
    rest = (
        "" if plan.load == (plan.cohorts,) else f" Other months of {_range_of(plan.cohorts)} were not loaded."
    )
    tables = ", ".join(f"{name.removeprefix('raw/')} {rows:,}" for name, rows in progress.loaded.items())
    rejected = sum(progress.rejected.values())
    rows = "row" if rejected == 1 else "rows"
    rejected_note = f" {rejected:,} {rows} had no usable date (raw.rejected_rows)." if rejected else ""
    return f"\nLoaded {loaded}: {tables}.{rest}{rejected_note}"


def _range_of(months: Months) -> str:
    first, last = f"{months.first:%Y-%m}", f"{months.last:%Y-%m}"
    return first if first == last else f"{first} to {last}"
