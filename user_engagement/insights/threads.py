"""Work on all processors: numpy and scipy let go of the interpreter while they compute."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from threading import current_thread
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

NAME = "insights"
MOST_THREADS = 4
"""Only a part of the work is done in threads: more of them gain little."""


@lru_cache(maxsize=1)
def workers() -> int:
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MOST_THREADS, available)


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers(), thread_name_prefix=NAME)


def mapped(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """The function of each item, in order; one after the other where a thread of the pool asks for it."""
    given = list(items)
    if workers() == 1 or len(given) == 1 or current_thread().name.startswith(NAME):
        return [function(each) for each in given]
    return list(_pool().map(function, given))
