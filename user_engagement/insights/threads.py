"""Work on all processors: numpy and scipy let go of the interpreter while they compute."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_THREADS = 4
"""Only a part of the work is done in threads: more of them gain little."""


@lru_cache(maxsize=1)
def workers() -> int:
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MOST_THREADS, available)


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers(), thread_name_prefix="insights")


def mapped(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """The function of each item, in order; the function must not use `mapped` itself."""
    given = list(items)
    if workers() == 1 or len(given) == 1:
        return [function(each) for each in given]
    return list(_pool().map(function, given))
