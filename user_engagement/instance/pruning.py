"""Removes what runs leave behind: dbt's folders, Dagster's runs, and temporary files of processes that are gone."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import psutil

from user_engagement.settings import Settings
from user_engagement.sources.data_files import SCRATCH

ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
RECENT_SECONDS = 3600
"""What is younger may belong to a run that is not over."""


def prune(instance: dg.DagsterInstance, settings: Settings) -> None:
    """Removes runs and their folders that are older than `KEEP_DAYS`, or beyond the newest `KEEP_RUNS`.

    Runs of an instance that is not the home's own stay: others keep theirs there, too.
    """
    prune_folders(settings.dbt_target_dir / "runs", settings)
    if Path(instance.root_directory).resolve() == settings.dagster_home.resolve():
        prune_runs(instance, settings)
    prune_scratch(Path(tempfile.gettempdir()))


def prune_folders(folder: Path, settings: Settings) -> None:
    """Removes the oldest folders within a folder."""
    found = sorted(_aged(folder.glob("*")), reverse=True)
    oldest = time.time() - settings.keep_days * 86_400
    for position, (changed, path) in enumerate(found):
        is_old = changed < oldest or position >= settings.keep_runs
        if is_old and time.time() - changed > RECENT_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def prune_runs(instance: dg.DagsterInstance, settings: Settings) -> None:
    """Removes the oldest runs that ended, but none with the newest materialization of an asset's partition.

    Those say what is up to date, however old they are.
    """
    limit = datetime.now(UTC) - timedelta(days=settings.keep_days)
    records = instance.get_run_records(dg.RunsFilter(statuses=list(ENDED)))
    old = [
        record.dagster_run.run_id
        for position, record in enumerate(records)
        if position >= settings.keep_runs or record.create_timestamp < limit
    ]
    if old:
        for run_id in set(old) - _needed_runs(instance):
            instance.delete_run(run_id)


def _needed_runs(instance: dg.DagsterInstance) -> set[str]:
    """The runs with the newest materialization of each asset, and of each of its partitions."""
    log, needed = instance.event_log_storage, set[str]()
    for key in instance.all_asset_keys():
        latest = log.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION)
        wanted = dg.AssetRecordsFilter(asset_key=key, storage_ids=list(latest.values()))
        found = instance.fetch_materializations(wanted, limit=len(latest)).records if latest else []
        newest = instance.fetch_materializations(key, limit=1).records
        needed |= {record.run_id for record in (*found, *newest)}
    return needed


def prune_scratch(folder: Path) -> None:
    """Removes temporary folders of sources whose process is gone."""
    for changed, path in _aged(folder.glob(f"{SCRATCH}*")):
        process = re.match(rf"{SCRATCH}(\d+)-", path.name)
        is_gone = process is not None and not psutil.pid_exists(int(process[1]))
        if is_gone and time.time() - changed > RECENT_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def _aged(paths: Iterable[Path]) -> list[tuple[float, Path]]:
    found = []
    for path in paths:
        with suppress(OSError):  # another process may remove it at the same time
            found.append((path.stat().st_mtime, path))
    return found
