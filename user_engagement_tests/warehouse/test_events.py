"""Source `warehouse` over a table of Snowplow events: sessions that SQL in the warehouse makes, bit by bit.

What makes all sessions at once out of the same table, `SnowplowTableSource`, is the truth.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from user_engagement.contracts.raw import REJECTED_ROWS, USER_ENGAGEMENT, Window
from user_engagement.errors import SettingsError, SourceError
from user_engagement.pipeline import plan
from user_engagement.settings import TableMapping, load_settings
from user_engagement.sources import open_source
from user_engagement.sources.normalise import ValueRules
from user_engagement.sources.snowplow import SnowplowTableSource
from user_engagement.sources.snowplow.session_sql import FIELDS_READ, SessionRules
from user_engagement.sources.warehouse import events as warehouse_events
from user_engagement.sources.warehouse.events import WarehouseEvents
from user_engagement.sources.warehouse.tables import Workspace
from user_engagement.warehouse import open_source_tables
from user_engagement.warehouse.duckdb.source_tables import DuckDBTables
from user_engagement.warehouse.duckdb.warehouse import DuckDBWarehouse
from user_engagement_tests.support.snowplow_events import Event, content, event, history

ALWAYS = Window()
BEGINS = datetime(2025, 3, 1)
DAY = timedelta(days=1)
ZONE = "Asia/Tokyo"
COLUMNS = (*FIELDS_READ, "load_tstamp")


class Collector:
    """The table ``atomic.events`` in a DuckDB file beside the warehouse, or inside it."""

    def __init__(self, folder: Path, is_inside: bool = False) -> None:
        self.warehouse = DuckDBWarehouse(folder / "warehouse.duckdb", "500MB")
        self.file = self.warehouse.file if is_inside else folder / "collected.duckdb"
        self.path = None if is_inside else str(self.file)
        self.rules = SessionRules(ValueRules(ZONE))
        kinds = {"load_tstamp": "timestamp"}
        columns = ", ".join(f"{name} {kinds.get(name, 'varchar')}" for name in COLUMNS)
        self.execute("create schema atomic", f"create table atomic.events ({columns})")

    def execute(self, *statements: str) -> None:
        with duckdb.connect(str(self.file)) as connection:
            for statement in statements:
                connection.execute(statement)

    def load(self, events: Sequence[Event], at: datetime | None) -> None:
        rows = [(*(each.get(name) or None for name in FIELDS_READ), at) for each in events]
        with duckdb.connect(str(self.file)) as connection:
            marks = ", ".join("?" for _ in COLUMNS)
            if rows:
                connection.executemany(f"insert into atomic.events values ({marks})", rows)

    @property
    def source(self) -> WarehouseEvents:
        """The source as a new process has it."""
        tables = DuckDBTables(self.warehouse, self.path)
        return WarehouseEvents(tables, "atomic.events", self.rules, look_back=DAY)

    def loaded(self, window: Window = ALWAYS) -> dict[str, list[tuple[Any, ...]]]:
        """The raw rows and the rejected ones after a load of the window."""
        self.warehouse.replace_slice(self.source.extract(USER_ENGAGEMENT, window))
        with self.warehouse.reader() as reader:
            return {
                name: content(reader.query(f"select * from raw.{name}").to_pylist())
                for name in (USER_ENGAGEMENT.name, REJECTED_ROWS.name)
            }

    def version(self) -> int:
        """How often sessions were made."""
        with self.warehouse.connect() as connection:
            return connection.execute("select version from event_sessions.progress").fetchall()[0][0]

    def wanted(self) -> dict[str, list[tuple[Any, ...]]]:
        timeout = self.rules.visit_timeout_seconds
        whole = SnowplowTableSource(f"duckdb:///{self.file}", ZONE, visit_timeout_seconds=timeout)
        extract = whole.extract(USER_ENGAGEMENT, ALWAYS)
        rows, rejected = extract.rows.read_all(), extract.rejected.read_all()
        return {
            USER_ENGAGEMENT.name: content(rows.to_pylist()),
            REJECTED_ROWS.name: content(rejected.to_pylist()),
        }


@pytest.fixture
def collector(tmp_path: Path) -> Collector:
    return Collector(tmp_path)


# -- the truth ---------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.slow
@settings(max_examples=4)
@given(
    seed=st.integers(0, 10_000),
    cuts=st.lists(st.integers(20, 98), min_size=1, max_size=4, unique=True).map(sorted),
    hours=st.lists(st.integers(1, 100), min_size=5, max_size=5),
)
def test_events_that_come_bit_by_bit_give_the_sessions_of_all_at_once(
    seed: int, cuts: list[int], hours: list[int]
) -> None:
    """Late events, late logins, events delivered again: each load brings some of them, hours or days later."""
    events = history(seed)
    with tempfile.TemporaryDirectory() as folder:
        collector, at = Collector(Path(folder)), BEGINS
        bounds = [0, *cuts, len(events)]
        for start, end, pause in zip(bounds, bounds[1:], hours, strict=False):
            at += timedelta(hours=pause)
            collector.load(events[start:end], at)
            collector.source.inspect(USER_ENGAGEMENT)
        assert collector.loaded() == collector.wanted()


@pytest.mark.slow
def test_a_first_refresh_goes_month_by_month_also_after_it_was_interrupted(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events of all times were put into sessions at once, which took memory and disk for all of them.

    The look-back is a day, and events are delivered again months later, in sessions of other names: all of them must be
    found all the same.
    """
    events = history(12)
    later = {"domain_sessionid": "again", "collector_tstamp": "2025-06-05 12:00:00"}
    repeated = [{**each, **later} for each in events[:20] if each.get("event_id")]
    loads = [events[:40], events[40:70], [], [*events[70:], *repeated]]
    for month, each in enumerate(loads):
        collector.load(each, BEGINS + 31 * month * DAY)
    collector.load([event(0, domain_sessionid="undated")], at=None)
    write, steps = warehouse_events._Refresh._write, []

    def interrupted(refresh: Any) -> None:
        steps.append(refresh.work.run(f"select count(*) from {refresh.names['incoming']}")[0][0])
        if len(steps) == 2:
            raise KeyboardInterrupt
        write(refresh)

    monkeypatch.setattr(warehouse_events._Refresh, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        collector.source.inspect(USER_ENGAGEMENT)
    assert collector.loaded() == collector.wanted()
    # what was written before stays; the look-back reads none of it again, and the month without events writes nothing
    assert steps == [41, 30, 30, len(loads[3])]


@pytest.mark.slow
def test_months_loaded_in_any_order_and_again_hold_each_session_once(collector: Collector) -> None:
    collector.load(history(5), BEGINS)
    cuts = [None, date(2025, 2, 1), date(2025, 3, 1), None]
    months = [Window(start, end) for start, end in pairwise(cuts)]
    for month in (*reversed(months), months[1]):
        found = collector.loaded(month)
    assert found == collector.wanted()
    assert len(found["user_engagement"]) > 30


# -- what is made again ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_late_login_gives_a_user_to_old_sessions_of_the_device_and_marks_their_month(
    collector: Collector,
) -> None:
    january = event(0, user_id="", domain_sessionid="s0", derived_tstamp="2025-01-10 12:00:00")
    february = event(0, user_id="bob", domain_userid="other", derived_tstamp="2025-02-10 12:00:00")
    collector.load([january, february], BEGINS)
    before = collector.source.fingerprint(USER_ENGAGEMENT)
    collector.load([event(0, domain_sessionid="s9", derived_tstamp="2025-03-10 12:00:00")], BEGINS + 40 * DAY)
    after = collector.source.fingerprint(USER_ENGAGEMENT)
    assert {month for month in after if after[month] != before.get(month)} == {"2025-01-01", "2025-03-01"}
    assert collector.loaded() == collector.wanted()
    # a second user of the device takes it back
    collector.load([event(0, user_id="eve", domain_sessionid="s10")], BEGINS + 80 * DAY)
    assert collector.source.fingerprint(USER_ENGAGEMENT)["2025-01-01"] == before["2025-01-01"]
    assert collector.loaded() == collector.wanted()


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        "delete from atomic.events where user_id = 'alice'",
        "insert into atomic.events by name select * replace (event_id || 'x' as event_id) from atomic.events",
    ],
)
def test_events_that_come_or_go_before_the_look_back_make_all_sessions_anew(
    collector: Collector, change: str
) -> None:
    events = history(6)
    collector.load(events[:50], BEGINS)
    collector.load(events[50:], BEGINS + 30 * DAY)
    collector.loaded()
    collector.execute(change)
    assert collector.loaded() == collector.wanted()


@pytest.mark.slow
def test_events_that_go_within_the_look_back_take_their_sessions_with_them(collector: Collector) -> None:
    collector.load([event(0), event(0, domain_sessionid="s2")], BEGINS)
    assert len(collector.loaded()["user_engagement"]) == 2
    collector.execute("delete from atomic.events where domain_sessionid = 's2'")
    assert collector.loaded() == collector.wanted()
    assert len(collector.loaded()["user_engagement"]) == 1


def test_without_new_events_nothing_is_made(collector: Collector) -> None:
    collector.load(history(7), BEGINS)
    collector.source.inspect(USER_ENGAGEMENT)
    made = collector.version()
    source = collector.source
    assert source.fingerprint(USER_ENGAGEMENT) == collector.source.fingerprint(USER_ENGAGEMENT)
    assert source.state(USER_ENGAGEMENT) == collector.source.state(USER_ENGAGEMENT)
    assert collector.version() == made


@pytest.mark.slow
def test_other_rules_make_all_sessions_anew(collector: Collector) -> None:
    collector.load(history(8), BEGINS)
    half_an_hour = collector.loaded()
    collector.rules = replace(collector.rules, visit_timeout_seconds=20 * 86_400)
    assert collector.loaded() == collector.wanted() != half_an_hour


@pytest.mark.slow
def test_of_two_processes_the_slower_one_starts_again_and_no_event_counts_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = Collector(tmp_path, is_inside=True)
    collector.load(history(9), BEGINS)
    read_progress, others = warehouse_events._read_progress, [collector.source]

    def overtaken(work: Workspace, rules: str) -> Any:
        progress = read_progress(work, rules)
        if others:
            others.pop().inspect(USER_ENGAGEMENT)
        return progress

    monkeypatch.setattr(warehouse_events, "_read_progress", overtaken)
    assert collector.loaded() == collector.wanted()
    assert not others


# -- refusals ----------------------------------------------------------------------------------------------


def test_a_table_that_is_none_of_events_is_refused_with_what_it_has(collector: Collector) -> None:
    with pytest.raises(SourceError, match=r"atomic.none: no such table of events.* Found atomic.events"):
        WarehouseEvents(collector.source.tables, "atomic.none", collector.rules).inspect(USER_ENGAGEMENT)
    collector.execute("create table atomic.other as select 1 as event_id")
    with pytest.raises(SourceError, match=r"atomic.other: column event_name, .* is missing. Found event_id"):
        WarehouseEvents(collector.source.tables, "atomic.other", collector.rules).inspect(USER_ENGAGEMENT)


def test_a_table_without_one_usable_time_is_refused(collector: Collector) -> None:
    collector.load([event(0, derived_tstamp="soon", collector_tstamp="")], BEGINS)
    with pytest.raises(SourceError, match=r"atomic.events: none of 1 events has a usable .*'soon'"):
        collector.source.inspect(USER_ENGAGEMENT)


def test_only_engagement_can_be_events_and_only_in_the_warehouse(tmp_path: Path) -> None:
    events = TableMapping("atomic.events", events="snowplow")
    signups = load_settings(home=tmp_path, source="warehouse", source_tables={"user_signups": events})
    with pytest.raises(
        SettingsError, match=r"events become rows of user_engagement only, not of user_signups"
    ):
        open_source(signups, open_source_tables)
    database = load_settings(home=tmp_path, source="database", source_tables={"user_engagement": events})
    with pytest.raises(SettingsError, match=r"only source warehouse reads events by a mapping"):
        open_source(database)


@pytest.mark.slow
def test_signups_come_from_rows_while_engagement_comes_from_events(collector: Collector) -> None:
    collector.load([event(0)], BEGINS)
    collector.execute(
        "create schema crm",
        "create table crm.people as select 'alice' as user_id, date '2025-01-01' as signup_date, 'pro' as product_type",
    )
    given = load_settings(
        home=collector.warehouse.file.parent,
        source="warehouse",
        source_path=str(collector.file),
        source_tables={
            "user_signups": TableMapping("crm.people"),
            "user_engagement": TableMapping("atomic.events", events="snowplow"),
        },
    )
    planned = plan(given)
    assert {report.table.name: report.rows for report in planned.reports} == {
        "user_signups": 1,
        "user_engagement": 1,
    }
