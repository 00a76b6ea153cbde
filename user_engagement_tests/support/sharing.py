"""What is slow to make is made once in a run of the tests, for all of its workers."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(
    factory: pytest.TempPathFactory, worker: str, name: str, make: Callable[[Path], object]
) -> Path:
    """A folder that the first worker to ask for it makes; the others wait for it, and must not write into it.

    Args:
        worker: pytest-xdist's fixture `worker_id`. make: gets the folder, which is empty.
    """
    base = factory.getbasetemp()
    folder = (base if worker == "master" else base.parent) / name
    is_made = folder.with_suffix(".made")
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_made.exists():
            folder.mkdir()
            make(folder)
            is_made.touch()
    return folder
