"""The batching event log writes what the stock one would have written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.events.log import EventLogEntry
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from user_engagement.instance.event_log import BatchingEventLogStorage

MONTHS = dg.MonthlyPartitionsDefinition(start_date="2025-01-01", end_date="2025-07-01")


@dg.asset(partitions_def=MONTHS, backfill_policy=dg.BackfillPolicy.single_run())
def months() -> None: ...


@dg.asset_check(asset=months)
def fine() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


CHECK = dg.AssetCheckKey(months.key, "fine")


def history(folder: Path, storage: str | None) -> tuple[list[Any], list[Any]]:
    """Runs the same job on an instance of the storage; its events and checks, read back by the stock storage."""
    overrides = {}
    if storage:
        module, _, name = storage.rpartition(".")
        config = {"base_dir": str(folder / "history" / "runs")}
        overrides = {"event_log_storage": {"module": module, "class": name, "config": config}}
    folder.mkdir()
    definitions = dg.Definitions(
        assets=[months], asset_checks=[fine], jobs=[dg.define_asset_job("all_months")]
    )
    tags = {
        "dagster/asset_partition_range_start": "2025-01-01",
        "dagster/asset_partition_range_end": "2025-06-01",
    }
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(folder), overrides=overrides)) as instance:
        result = definitions.resolve_job_def("all_months").execute_in_process(instance=instance, tags=tags)
        run_id = result.run_id
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(folder))) as instance:
        assert instance.get_materialized_partitions(months.key) == set(MONTHS.get_partition_keys())
        assert instance.get_latest_materialization_event(months.key) is not None
        events = sorted(described(entry) for entry in instance.all_logs(run_id) if entry.is_dagster_event)
        checks = instance.event_log_storage.get_asset_check_execution_history(CHECK, limit=20)
        assert checks[0].status is AssetCheckExecutionRecordStatus.SUCCEEDED
        return events, [(check.status, check.run_id == run_id) for check in checks]


def described(entry: EventLogEntry) -> tuple[str, str | None, str | None]:
    event = entry.get_dagster_event()
    return event.event_type_value, event.step_key, str(event.partition)


@pytest.mark.slow
@pytest.mark.parametrize("batch", ["0", "1000"])
def test_batched_events_are_those_of_the_stock_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: str
) -> None:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", batch)
    name = f"{BatchingEventLogStorage.__module__}.{BatchingEventLogStorage.__name__}"
    assert history(tmp_path / "batching", name) == history(tmp_path / "stock", None)
