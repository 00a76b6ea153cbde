"""Source `warehouse` over a table of Snowplow events: sessions that SQL in the warehouse makes, bit by bit.

What makes all sessions at once out of the same table, `SnowplowTableSource`, is the truth.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from user_engagement.contracts.raw import REJECTED_ROWS, USER_ENGAGEMENT, Window
from user_engagement.sources.normalise import ValueRules
from user_engagement.sources.snowplow import SnowplowTableSource
from user_engagement.sources.snowplow.session_sql import FIELDS_READ, SessionRules
from user_engagement.sources.warehouse.events import WarehouseEvents
from user_engagement.warehouse.duckdb.source_tables import DuckDBTables
from user_engagement.warehouse.duckdb.warehouse import DuckDBWarehouse
from user_engagement_tests.sources.test_snowplow import Event, made_up_events, tstamp

ALWAYS = Window()
BEGINS = datetime(2025, 3, 1)
DAY = timedelta(days=1)
ZONE = "Asia/Tokyo"
COLUMNS = (*FIELDS_READ, "load_tstamp")


class Collector:
    """A DuckDB file with the table ``atomic.events``, and a warehouse beside it."""

    def __init__(self, folder: Path, look_back: timedelta = DAY) -> None:
        self.file = folder / "collected.duckdb"
        self.warehouse = DuckDBWarehouse(folder / "warehouse.duckdb", "500MB")
        self.look_back = look_back
        kinds = {"load_tstamp": "timestamp"}
        columns = ", ".join(f"{name} {kinds.get(name, 'varchar')}" for name in COLUMNS)
        self.execute("create schema atomic", f"create table atomic.events ({columns})")

    def execute(self, *statements: str) -> None:
        with duckdb.connect(str(self.file)) as connection:
            for statement in statements:
                connection.execute(statement)

    def load(self, events: Sequence[Event], at: datetime) -> None:
        rows = [(*(each.get(name) or None for name in FIELDS_READ), at) for each in events]
        with duckdb.connect(str(self.file)) as connection:
            marks = ", ".join("?" for _ in COLUMNS)
            if rows:
                connection.executemany(f"insert into atomic.events values ({marks})", rows)

    @property
    def source(self) -> WarehouseEvents:
        """The source as a new process has it."""
        tables = DuckDBTables(self.warehouse, str(self.file))
        return WarehouseEvents(tables, "atomic.events", SessionRules(ValueRules(ZONE)), self.look_back)

    def loaded(self, window: Window = ALWAYS) -> dict[str, list[tuple[Any, ...]]]:
        """The raw rows and the rejected ones after a load of the window."""
        self.warehouse.replace_slice(self.source.extract(USER_ENGAGEMENT, window))
        with self.warehouse.reader() as reader:
            return {
                name: content(reader.query(f"select * from raw.{name}").to_pylist())
                for name in (USER_ENGAGEMENT.name, REJECTED_ROWS.name)
            }

    def wanted(self) -> dict[str, list[tuple[Any, ...]]]:
        extract = SnowplowTableSource(f"duckdb:///{self.file}", ZONE).extract(USER_ENGAGEMENT, ALWAYS)
        rows, rejected = extract.rows.read_all(), extract.rejected.read_all()
        return {
            USER_ENGAGEMENT.name: content(rows.to_pylist()),
            REJECTED_ROWS.name: content(rejected.to_pylist()),
        }


def content(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What rows say beside their lineage, in an order of their own."""
    return sorted(tuple(str(value) for name, value in sorted(row.items()) if name[0] != "_") for row in rows)


@pytest.fixture
def collector(tmp_path: Path) -> Collector:
    return Collector(tmp_path)


# -- the truth ---------------------------------------------------------------------------------------------


def history(seed: int) -> list[Event]:
    """Events in the order of nothing, some of bots, some delivered again within their session."""
    draw = random.Random(seed)
    events = [each | {"event_id": f"u{number}"} for number, each in enumerate(made_up_events(seed, 90))]
    for number, each in enumerate(events):
        # the first delivery is that of the earliest collection: no two are collected at the same time
        each["collector_tstamp"] = each["collector_tstamp"] and tstamp(number, datetime(2025, 2, 1))
        if draw.random() < 0.1:
            each["useragent"] = "Googlebot/2.1"
    again = [each | {"collector_tstamp": tstamp(1000 + n)} for n, each in enumerate(draw.sample(events, 9))]
    return [*events, *again]


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    cuts=st.lists(st.integers(1, 98), min_size=1, max_size=4, unique=True).map(sorted),
    hours=st.lists(st.integers(1, 100), min_size=5, max_size=5),
)
def test_events_that_come_bit_by_bit_give_the_sessions_of_all_at_once(
    seed: int, cuts: list[int], hours: list[int]
) -> None:
    """Late events, late logins, events delivered again: each load brings some of them, hours or days later."""
    events = history(seed)
    random.Random(seed).shuffle(events)
    with tempfile.TemporaryDirectory() as folder:
        collector, at = Collector(Path(folder)), BEGINS
        bounds = [0, *cuts, len(events)]
        for start, end, pause in zip(bounds, bounds[1:], hours, strict=False):
            at += timedelta(hours=pause)
            collector.load(events[start:end], at)
            assert collector.loaded() == collector.wanted()
