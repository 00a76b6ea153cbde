"""The rows that the customer-experience platform delivers on each day, as Arrow tables."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from user_engagement.simulation import activity
from user_engagement.simulation.activity import INTERACTIONS
from user_engagement.simulation.config import LATEST_DAYS, WorldConfig
from user_engagement.simulation.dirt import MISSING_DEVICE, MISSING_DURATION, deliveries_of_day
from user_engagement.simulation.population import DEVICES, Population

DAYS_AT_ONCE = 28
"""Days after which the list of users who may be active is computed again."""

EVENT_SCHEMA = pa.schema(
    [
        pa.field("event_id", pa.int64(), nullable=False),
        pa.field("user_id", pa.int64(), nullable=False),
        pa.field("engagement_date", pa.timestamp("us"), nullable=False),
        pa.field("session_duration", pa.int32()),
        pa.field("interaction_type", pa.dictionary(pa.int8(), pa.string())),
        pa.field("device_type", pa.dictionary(pa.int8(), pa.string())),
    ]
)
"""One row per session; times in UTC, durations in seconds."""


def deliveries(
    config: WorldConfig, users: Population, first: int, last: int
) -> Iterator[tuple[int, pa.Table]]:
    """The rows delivered on each day number from `first` to `last`, both included.

    Also simulates the days before `first` whose late rows arrive on `first` or later.
    """
    tables = activity.behaviour(config, last + 1)
    recent: deque[list[NDArray[np.void]]] = deque(maxlen=LATEST_DAYS + 1)
    candidates = users
    earliest = max(0, first - LATEST_DAYS)
    for day in range(earliest, last + 1):
        if (day - earliest) % DAYS_AT_ONCE == 0:
            candidates = users.active_between(day, day + DAYS_AT_ONCE - 1)
        recent.appendleft(deliveries_of_day(day, activity.sessions_on(day, candidates, tables), config.dirt))
        if day >= first:
            arrived = np.concatenate([rows_by_delay[delay] for delay, rows_by_delay in enumerate(recent)])
            yield day, _as_table(config, arrived)


def _as_table(config: WorldConfig, rows: NDArray[np.void]) -> pa.Table:
    start = int(np.datetime64(config.start, "s").astype(np.int64))
    at = (rows["at"] + start) * 1_000_000
    duration = np.ascontiguousarray(rows["duration"])
    device = np.ascontiguousarray(rows["device"])
    columns = [
        pa.array(np.ascontiguousarray(rows["event_id"])),
        pa.array(np.ascontiguousarray(rows["user_id"])),
        pa.array(at, pa.timestamp("us")),
        pa.array(duration, pa.int32(), mask=duration == MISSING_DURATION),
        _categories(np.ascontiguousarray(rows["interaction"]), INTERACTIONS),
        _categories(device, DEVICES, missing=device == MISSING_DEVICE),
    ]
    return pa.Table.from_arrays(columns, schema=EVENT_SCHEMA)


def _categories(
    codes: NDArray[np.uint8], names: tuple[str, ...], missing: NDArray[np.bool_] | None = None
) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes.view(np.int8), mask=missing), pa.array(names))
