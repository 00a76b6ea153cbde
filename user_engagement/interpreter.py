"""How processes of this package treat Python's memory: rarely searched for garbage, and not freed at the end."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

ALLOCATIONS, SEARCHES = 100_000, 50


def collect_less_often() -> None:
    """Searches for garbage after `ALLOCATIONS` new objects instead of Python's 700.

    Dagster and dbt create millions of objects that stay alive; searching them takes a fifth of a short run.
    """
    gc.set_threshold(ALLOCATIONS, SEARCHES, SEARCHES)


@contextmanager
def long_lived() -> Iterator[None]:
    """Whatever is created within it, such as modules, is taken to be needed as long as the process lives."""
    # in the end all is looked at: libraries complain of what is left
    atexit.register(gc.unfreeze)
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def end_at_once(codes: list[int]) -> None:
    """Leaves the process with the last of these codes, if there is one, without freeing the memory object by object.

    That takes a second after a run. Registered with `atexit` before all else it is called last: threads have ended and
    files are cleared away by then.
    """
    if codes:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except OSError:
            # whoever read it has gone: Python says so
            return
        os._exit(codes[-1])
