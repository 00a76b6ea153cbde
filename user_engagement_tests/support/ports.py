"""Ports for servers of tests that run in several processes at once."""

from __future__ import annotations

import itertools
import os

from user_engagement.dashboard.ports import is_free

# below the range that the kernel gives to connections; each worker of pytest-xdist has a part of its own, and repeated
# runs on one machine begin at different places in it
PORTS_PER_WORKER = 1000
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_offsets = itertools.count(os.getpid())


def unused_port() -> int:
    """A free port that no other test process chooses, and that this one has not given out lately."""
    first = 12_000 + PORTS_PER_WORKER * (WORKER % 16)
    ports = (first + offset % PORTS_PER_WORKER for offset in _offsets)
    return next(port for port in ports if is_free(port, reusing=False))
