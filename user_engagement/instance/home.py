"""The Dagster instance under ``USER_ENGAGEMENT_HOME/dagster``."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import dagster as dg

from user_engagement.dagster_internals import InstanceRef
from user_engagement.settings import PROJECT_ROOT, Settings

SHIPPED = PROJECT_ROOT / "dagster.yaml"
EVER_SHIPPED = (
    "7a222c1059fa88fc51345411d4f19844fe899a53e3593021eaa608f8504aa992",
    "ccacc837be78f95f04718e971d4c33e1facbb3e98a9035fc78cc6caa4ac36583",
    "1e2e75eb453a8741693c0dcdbe12b253170b1556d0cb0bf0f037858c35ade468",
    "a2fb2da43beb70ec1060ac79b19d1ec7c86b104d3d7af0297b7865124a99e3b8",
)
"""SHA-256 of each version of `SHIPPED`, including the current one: a home's copy of any of them may be replaced."""


def prepare_dagster_home(settings: Settings) -> Path:
    """The instance's folder, with the project's current ``dagster.yaml`` unless the user has changed the copy there."""
    home = settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    config = home / "dagster.yaml"
    shipped = _digest(SHIPPED)
    if not config.exists() or _digest(config) in {*EVER_SHIPPED} - {shipped}:
        shutil.copyfile(SHIPPED, config)
    os.environ["DAGSTER_HOME"] = str(home)
    return home


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """The instance of the home for runs inside this process; the UI shows the same one. Use it as a context manager.

    Unless ``dagster.yaml`` configures event storage and compute logs, this instance stores events in batches and keeps
    no compute logs. The command line shows its own progress, and Dagster's compute logs start two processes per step.
    """
    home = prepare_dagster_home(settings)
    os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", "1000")
    stock, chosen = InstanceRef.config_defaults(str(home)), InstanceRef.from_dir(str(home))
    overrides = {}
    if chosen.compute_logs_data == stock["compute_logs"]:
        overrides["compute_logs"] = {
            "module": "dagster._core.storage.noop_compute_log_manager",
            "class": "NoOpComputeLogManager",
            "config": {},
        }
    if chosen.event_storage_data == stock["event_log_storage"]:
        overrides["event_log_storage"] = {
            "module": "user_engagement.instance.event_log",
            "class": "BatchingEventLogStorage",
            # the folder of Dagster's own storage
            "config": {"base_dir": str(home / "history" / "runs")},
        }
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home), overrides=overrides))


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
