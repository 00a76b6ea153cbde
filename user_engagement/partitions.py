"""One monthly calendar for every partitioned asset.

Raw signups and cohort models are partitioned by month of signup, all other assets by the month of the activity or the
churn. With one shared definition a user selects months once for the whole graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import dagster as dg

from user_engagement.contracts.raw import Window
from user_engagement.dagster_internals import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

KEY_FORMAT = "%Y-%m-%d"


def first_of_month(day: date) -> date:
    return day.replace(day=1)


def next_month(day: date) -> date:
    return first_of_month(first_of_month(day) + timedelta(days=32))


def monthly_partitions(first_month: date, as_of: date | None) -> dg.MonthlyPartitionsDefinition:
    """The months from ``first_month`` through the month of ``as_of``, or through the current month."""
    # without the offset Dagster leaves out a month that is not over yet
    return dg.MonthlyPartitionsDefinition(
        start_date=first_month.strftime(KEY_FORMAT),
        end_date=next_month(as_of).strftime(KEY_FORMAT) if as_of else None,
        end_offset=1,
    )


def window_of(partitions: dg.MonthlyPartitionsDefinition, keys: dg.PartitionKeyRange) -> Window:
    """The days of a range of months. The calendar's first month has no lower bound, its last month no upper bound.

    So rows dated before or after the calendar belong to the slice of its first or last month.
    """
    start = date.fromisoformat(keys.start)
    end = next_month(date.fromisoformat(keys.end))
    is_first = keys.start == partitions.get_first_partition_key()
    is_last = keys.end == partitions.get_last_partition_key()
    return Window(None if is_first else start, None if is_last else end)


def key_of(month: date) -> str:
    return first_of_month(month).strftime(KEY_FORMAT)


@dataclass(frozen=True)
class Months:
    """A range of months by their first days, both included."""

    first: date
    last: date

    def tags(self) -> dict[str, str]:
        return {
            ASSET_PARTITION_RANGE_START_TAG: key_of(self.first),
            ASSET_PARTITION_RANGE_END_TAG: key_of(self.last),
        }

    def keys(self) -> list[str]:
        """The partition key of each month."""
        month, keys = self.first, []
        while month <= self.last:
            keys.append(key_of(month))
            month = next_month(month)
        return keys


def months_of_run(tags: Mapping[str, str], keys: Sequence[str]) -> list[str]:
    """The partition keys that a run with these tags covers; none if it has no partitions."""
    start = tags.get(ASSET_PARTITION_RANGE_START_TAG, tags.get(PARTITION_NAME_TAG))
    end = tags.get(ASSET_PARTITION_RANGE_END_TAG, start)
    return [key for key in keys if start and end and start <= key <= end]


def contiguous_ranges(months: Iterable[date]) -> Iterator[Months]:
    """Groups sorted months into ranges without gaps, one per run."""
    current: Months | None = None
    for month in months:
        if current and month == next_month(current.last):
            current = Months(current.first, month)
            continue
        if current:
            yield current
        current = Months(month, month)
    if current:
        yield current
