"""The Dagster instance under ``USER_ENGAGEMENT_HOME/dagster``."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import dagster as dg
from dagster._core.instance.ref import InstanceRef

from user_engagement.settings import PROJECT_ROOT, Settings


def prepare_dagster_home(settings: Settings) -> Path:
    """The instance's folder, with the project's ``dagster.yaml`` unless it has its own."""
    home = settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        shutil.copyfile(PROJECT_ROOT / "dagster.yaml", home / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(home)
    return home


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """The instance that the UI shows too, for runs inside this process. Use it as a context manager.

    It stores events in batches, and keeps no copies of the output of steps: the command line shows progress of
    its own, and the stock copying starts two processes for every step.
    """
    home = prepare_dagster_home(settings)
    os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", "1000")
    overrides = {
        "compute_logs": {
            "module": "dagster._core.storage.noop_compute_log_manager",
            "class": "NoOpComputeLogManager",
            "config": {},
        },
        "event_log_storage": {
            "module": "user_engagement.event_log",
            "class": "BatchingEventLogStorage",
            # where the stock storage keeps it
            "config": {"base_dir": str(home / "history" / "runs")},
        },
    }
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home), overrides=overrides))
