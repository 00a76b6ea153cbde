from __future__ import annotations

import gzip
import json
import sqlite3
import tempfile
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from snowplow_analytics_sdk import event_transformer
from snowplow_analytics_sdk.snowplow_event_transformation_exception import (
    SnowplowEventTransformationException,
)

from user_engagement.contracts.raw import CHURN_DATA, REJECTED_ROWS, USER_ENGAGEMENT, USER_SIGNUPS, Window
from user_engagement.contracts.snowplow import ENRICHED_EVENT
from user_engagement.errors import SourceError
from user_engagement.settings import load_settings
from user_engagement.simulation import Dirt, WorldConfig, write_files
from user_engagement.simulation.snowplow import write_snowplow
from user_engagement.sources import open_source
from user_engagement.sources.files import FilesSource
from user_engagement.sources.snowplow import SnowplowSource, SnowplowTableSource
from user_engagement.sources.snowplow.files import enriched_events
from user_engagement.sources.snowplow.session_sql import EXTRA_COLUMNS, FIELDS_READ
from user_engagement_tests.support.postgres import running_server
from user_engagement_tests.support.snowplow_events import (
    NOON,
    OTHER,
    Event,
    contexts,
    event,
    line,
    made_up_events,
    struct,
    tstamp,
)

ALWAYS = Window()


def put(file: Path, lines: Iterable[str]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    raw = "".join(f"{each}\n" for each in lines).encode()
    file.write_bytes(gzip.compress(raw) if file.suffix == ".gz" else raw)
    return file


def source_of(folder: Path, events: Iterable[Event], zone: str = "UTC", **options: Any) -> SnowplowSource:
    put(folder / "part-0.tsv", map(line, events))
    return SnowplowSource(folder, zone, **options)


def sessions(source: SnowplowSource | SnowplowTableSource, window: Window = ALWAYS) -> list[dict[str, Any]]:
    return source.extract(USER_ENGAGEMENT, window).rows.read_all().to_pylist()


def rejected(source: SnowplowSource | SnowplowTableSource) -> list[dict[str, Any]]:
    return source.extract(USER_ENGAGEMENT, ALWAYS).rejected.read_all().to_pylist()


def the_session(folder: Path, *events: Event, zone: str = "UTC", **options: Any) -> dict[str, Any]:
    (session,) = sessions(source_of(folder, events, zone, **options))
    return session


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small world with all dirt, as plain files and as enriched events."""
    home = tmp_path_factory.mktemp("world")
    config = WorldConfig(users=100, reference_end=date(2025, 3, 1), dirt=Dirt(absurd_durations=0.04))
    write_files(config, date(2025, 2, 10), home / "plain")
    write_snowplow(config, date(2025, 2, 10), home / "events", gz=True)
    return home


@pytest.fixture(scope="module")
def engaged(world: Path) -> SnowplowSource:
    return SnowplowSource(world / "events")


# -- the format ------------------------------------------------------------------------------------------


def test_the_fields_are_those_of_snowplows_own_sdk_in_its_order() -> None:
    assert tuple(name for name, _ in event_transformer.ENRICHED_EVENT_FIELD_TYPES) == ENRICHED_EVENT
    assert len(ENRICHED_EVENT) == 131


def parsed_from(files: list[Path]) -> list[dict[str, Any]]:
    with duckdb.connect() as connection:
        return connection.sql(enriched_events(files)).to_arrow_table().to_pylist()


def as_the_sdk_says(values: dict[str, Any]) -> dict[str, Any]:
    """Values by name, typed as the SDK types the fields of a line."""
    said: dict[str, Any] = {}
    for name, convert in event_transformer.ENRICHED_EVENT_FIELD_TYPES:
        if values[name] is not None:
            said.update(convert(name, values[name]))
    return said


@pytest.mark.slow
def test_parsed_lines_equal_what_snowplows_sdk_makes_of_them(world: Path) -> None:
    files = sorted((world / "events").rglob("*.gz"))[30:34]
    lines = [each for file in files for each in gzip.decompress(file.read_bytes()).decode().splitlines()]
    parsed = parsed_from(files)
    assert len(parsed) == len(lines) > 500
    for text, values in zip(lines, parsed, strict=True):
        assert as_the_sdk_says(values) == event_transformer.transform(text, add_geolocation_data=False)


def test_every_one_of_the_131_fields_is_found_in_its_place(tmp_path: Path) -> None:
    converters = dict(event_transformer.ENRICHED_EVENT_FIELD_TYPES)
    samples = {
        event_transformer.convert_int: str,
        event_transformer.convert_bool: lambda position: str(position % 2),
        event_transformer.convert_double: lambda position: f"{position}.5",
        event_transformer.convert_tstamp: lambda position: tstamp(position),
        event_transformer.convert_contexts: lambda position: contexts(f"view {position}"),
        event_transformer.convert_unstruct: lambda position: json.dumps(
            {"schema": OTHER, "data": {"schema": OTHER, "data": {"at": position}}}
        ),
    }
    full = {
        name: samples.get(converters[name], lambda at: f'"value" \\{at} ä,;')(position)
        for position, name in enumerate(ENRICHED_EVENT)
    }
    file = put(tmp_path / "full.tsv", [line(full)])
    (values,) = parsed_from([file])
    assert {name: values[name] for name in ENRICHED_EVENT} == full
    assert as_the_sdk_says(values) == event_transformer.transform(line(full), add_geolocation_data=False)


@pytest.mark.parametrize("text", [line(event())[:-1], line(event()) + "\t", "no event"])
def test_lines_that_snowplows_sdk_refuses_are_broken_lines_here(tmp_path: Path, text: str) -> None:
    with pytest.raises(SnowplowEventTransformationException, match="Expected 131 fields"):
        event_transformer.transform(text)
    put(tmp_path / "a.tsv", [line(event()), text])
    assert SnowplowSource(tmp_path).inspect(USER_ENGAGEMENT).rejected == 1  # type: ignore[union-attr]


# -- durations -------------------------------------------------------------------------------------------


def test_engaged_time_is_the_heartbeat_for_each_further_ping_and_the_minimum_visit(tmp_path: Path) -> None:
    # pings at 5, 15, 25, 35 s: (4 - 1) x 10 + 5
    pings = [event(5 + 10 * beat, "page_ping") for beat in range(4)]
    assert the_session(tmp_path, event(0), *pings, struct(300, "buy"))["session_duration"] == 35.0


def test_pings_within_one_heartbeat_interval_count_once(tmp_path: Path) -> None:
    # 12:00:12 and 12:00:18 lie in one interval of ten seconds, 12:00:21 in the next: (2 - 1) x 10 + 5
    pings = [event(seconds, "page_ping") for seconds in (12, 18, 21)]
    assert the_session(tmp_path, event(0), *pings)["session_duration"] == 15.0


def test_every_page_view_with_pings_adds_its_own_time(tmp_path: Path) -> None:
    # view a: (3 - 1) x 10 + 5 = 25; view b, open in another tab at the same time: (1 - 1) x 10 + 5 = 5; c has none
    pings = [event(at, "page_ping", view) for at, view in ((5, "a"), (15, "a"), (25, "a"), (15, "b"))]
    views = [event(at, view=view) for at, view in ((0, "a"), (10, "b"), (40, "c"))]
    assert the_session(tmp_path, *views, *pings)["session_duration"] == 30.0


def test_heartbeat_and_minimum_visit_are_those_of_the_tracker(tmp_path: Path) -> None:
    pings = [event(30 + 30 * beat, "page_ping") for beat in range(3)]
    options: dict[str, Any] = {"heartbeat_seconds": 30, "minimum_visit_seconds": 20}
    assert the_session(tmp_path, event(0), *pings, **options)["session_duration"] == 80.0


def test_a_session_without_pings_lasts_from_its_first_to_its_last_event(tmp_path: Path) -> None:
    assert the_session(tmp_path, event(0), struct(90.5, "buy"))["session_duration"] == 90.5


def test_pings_that_name_no_page_view_do_not_count(tmp_path: Path) -> None:
    assert the_session(tmp_path, event(0), event(7, "page_ping", view=None))["session_duration"] == 7.0


def test_elapsed_time_takes_no_notice_of_pings(tmp_path: Path) -> None:
    events = event(0), event(5, "page_ping"), struct(60, "buy")
    assert the_session(tmp_path, *events, duration="elapsed")["session_duration"] == 60.0


def test_a_single_event_tells_no_duration(tmp_path: Path) -> None:
    assert the_session(tmp_path, event(0))["session_duration"] is None


def test_a_tracker_that_pings_never_or_before_it_starts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="A page ping every 0 s"):
        SnowplowSource(tmp_path, heartbeat_seconds=0)


# -- users -----------------------------------------------------------------------------------------------


def test_events_before_the_login_belong_to_who_logs_in_on_the_device(tmp_path: Path) -> None:
    session = the_session(tmp_path, event(0, user_id=""), event(60))
    assert (session["user_id"], session["events"], session["engagement_date"]) == ("alice", "2", NOON)


def test_a_device_without_any_login_has_sessions_of_nobody(tmp_path: Path) -> None:
    session = the_session(tmp_path, event(0, user_id="", domain_userid="unknown"))
    assert (session["user_id"], session["event_id"]) == (None, "s1")


def test_on_a_shared_device_nobody_owns_a_session_without_a_login(tmp_path: Path) -> None:
    events = [
        event(0, domain_sessionid="first"),
        event(60, domain_sessionid="second", user_id="bob"),
        event(30, domain_sessionid="anonymous", user_id=""),
    ]
    found = {row["domain_sessionid"]: row["user_id"] for row in sessions(source_of(tmp_path, events))}
    assert found == {"first": "alice", "second": "bob", "anonymous": None}


def test_within_a_session_the_next_login_owns_what_came_before_and_the_last_what_comes_after(
    tmp_path: Path,
) -> None:
    users = ["", "alice", "", "bob", "", "alice"]
    events = [event(60 * minute, user_id=user) for minute, user in enumerate(users)]
    found = sorted(sessions(source_of(tmp_path, events)), key=lambda row: row["engagement_date"])
    assert [(row["user_id"], row["events"]) for row in found] == [
        ("alice", "2"),
        ("bob", "2"),
        ("alice", "2"),
    ]
    assert len({row["event_id"] for row in found}) == 3


@pytest.mark.parametrize("placeholder", ["null", "undefined", " ", "\u00a0", "NaN"])
def test_a_placeholder_is_no_user_and_takes_over_nothing(tmp_path: Path, placeholder: str) -> None:
    events = [event(0, user_id=placeholder), event(5, user_id="alice "), event(9, user_id=placeholder)]
    session = the_session(tmp_path, *events)
    assert (session["user_id"], session["events"]) == ("alice", "3")


def test_two_users_in_one_browser_session_are_two_rows_with_ids_of_their_own(tmp_path: Path) -> None:
    rows = sessions(source_of(tmp_path, [event(0), event(60, user_id="bob"), event(90, user_id="bob")]))
    assert [(row["event_id"], row["session_duration"]) for row in rows] == [
        ("s1/alice", None),
        ("s1/bob", 30.0),
    ]


# -- repeated events -------------------------------------------------------------------------------------


def test_an_event_delivered_again_counts_once_and_is_counted_as_repeated(tmp_path: Path) -> None:
    ping = event(15, "page_ping")
    again = ping | {"collector_tstamp": tstamp(4000), "etl_tstamp": tstamp(5000)}
    session = the_session(tmp_path, again, event(0), event(5, "page_ping"), ping, ping)
    assert (session["events"], session["duplicate_events"], session["session_duration"]) == ("3", "2", 15.0)


def test_the_delivery_that_was_collected_first_stays(tmp_path: Path) -> None:
    first = struct(0, "first")
    later = first | {"se_action": "later", "collector_tstamp": tstamp(1)}
    assert the_session(tmp_path, later, first)["interaction_type"] == "first"


def test_of_deliveries_collected_at_the_same_time_the_first_in_source_order_stays(tmp_path: Path) -> None:
    first = struct(0, "a")
    put(tmp_path / "b" / "part-1.tsv.gz", [line(first | {"se_action": "b"})])
    put(tmp_path / "a" / "part-1.tsv.gz", [line(first)])
    (session,) = sessions(SnowplowSource(tmp_path))
    assert (session["interaction_type"], session["_source"]) == ("a", "a/part-1.tsv.gz")


def test_events_without_an_id_are_never_taken_for_repeated(tmp_path: Path) -> None:
    session = the_session(tmp_path, event(0, event_id=""), event(0, event_id=""))
    assert (session["events"], session["duplicate_events"]) == ("2", "0")


def test_a_session_delivered_again_keeps_its_id(tmp_path: Path) -> None:
    events = [event(0), struct(60, "buy")]
    before = sessions(source_of(tmp_path / "once", events))
    put(tmp_path / "twice" / "part-1.tsv", map(line, events))
    after = sessions(source_of(tmp_path / "twice", events))
    assert [row["event_id"] for row in before] == [row["event_id"] for row in after] == ["s1/alice"]


# -- what was done, on what ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "interaction"),
    [
        ([event(0), event(5, "page_ping"), event(15, "page_ping")], "page_view"),
        ([event(0), event(1), event(2), struct(3, "search")], "search"),
        ([struct(0, "search"), struct(1, "buy"), struct(2, "search")], "search"),
        ([struct(0, "search"), struct(1, "buy")], "buy"),
        ([struct(0, "")], "cart"),
        ([event(0), event(1, "link_click", event="unstruct")], "link_click"),
        ([event(0, "", event="transaction")], "transaction"),
    ],
)
def test_a_session_is_named_by_what_it_did_most(
    tmp_path: Path, events: list[Event], interaction: str
) -> None:
    assert the_session(tmp_path, *events)["interaction_type"] == interaction


WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148"
ANDROID_PHONE = "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Mobile Safari/537.36"
ANDROID_TABLET = "Mozilla/5.0 (Linux; Android 14; SM-X910) AppleWebKit/537.36 Safari/537.36"
IPAD = "Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148"


@pytest.mark.parametrize(
    ("fields", "device"),
    [
        ({"dvce_type": "Computer", "useragent": IPHONE}, "desktop"),
        ({"dvce_type": "Mobile"}, "phone"),
        ({"dvce_type": "Tablet", "dvce_ismobile": "1"}, "tablet"),
        ({"dvce_type": "Game console"}, "game console"),
        ({"dvce_type": "Unknown", "useragent": WINDOWS}, "desktop"),
        ({"derived_contexts": '{"data":[{"data":{"deviceClass":"Phone"}}]}', "useragent": WINDOWS}, "phone"),
        ({"useragent": IPHONE}, "phone"),
        ({"useragent": ANDROID_PHONE, "dvce_ismobile": "1"}, "phone"),
        ({"useragent": ANDROID_TABLET, "dvce_ismobile": "1"}, "tablet"),
        ({"useragent": IPAD}, "tablet"),
        ({"dvce_ismobile": "1"}, "phone"),
        ({"platform": "mob"}, "phone"),
        ({"useragent": "curl/8.5.0", "platform": "srv"}, None),
        ({}, None),
    ],
)
def test_the_device_is_told_by_the_best_field_there_is(tmp_path: Path, fields: Event, device: str) -> None:
    assert the_session(tmp_path, event(0, **fields))["device_type"] == device


def test_the_first_event_that_tells_a_device_tells_it_for_the_session(tmp_path: Path) -> None:
    events = event(9, dvce_type="Computer"), event(5, dvce_type="Mobile"), event(0)
    assert the_session(tmp_path, *events)["device_type"] == "phone"


def test_events_without_a_session_make_one_row_per_user_and_day_and_no_duration(tmp_path: Path) -> None:
    hours = [0, 5 * 3600, 11 * 3600 + 3599, 12 * 3600]
    events = [struct(seconds, "api_call", domain_sessionid="", event_id=f"e{seconds}") for seconds in hours]
    rows = sessions(source_of(tmp_path, events))
    assert [(r["event_id"], r["events"], r["session_duration"]) for r in rows] == [
        ("alice/2025-03-10", "3", None),
        ("alice/2025-03-11", "1", None),
    ]


# -- days and months -------------------------------------------------------------------------------------


def test_a_session_over_midnight_has_a_part_on_each_of_its_days(tmp_path: Path) -> None:
    late = datetime(2025, 1, 31, 23, 59, 50)
    times = [{n: tstamp(s, late) for n in ("derived_tstamp", "dvce_created_tstamp")} for s in (0, 5, 15, 25)]
    events = [event(0, "page_ping" if number else "page_view", **at) for number, at in enumerate(times)]
    source = source_of(tmp_path, events)
    january, february = Window(date(2025, 1, 1), date(2025, 2, 1)), Window(date(2025, 2, 1), date(2025, 3, 1))
    (before,), (after,) = sessions(source, january), sessions(source, february)
    assert (before["engagement_date"], before["session_duration"], before["events"]) == (late, 5.0, "2")
    assert after["engagement_date"] == datetime(2025, 2, 1, 0, 0, 5)
    # together as much as without midnight between them: two heartbeats and the minimum visit
    assert (after["session_duration"], after["events"]) == (20.0, "2")
    assert {before["interaction_type"], after["interaction_type"]} == {"page_view"}
    assert before["event_id"] == "s1/alice" != after["event_id"]


def test_elapsed_time_is_divided_at_midnight(tmp_path: Path) -> None:
    late = datetime(2025, 1, 31, 23, 50)
    events = [event(0, derived_tstamp=tstamp(seconds, late)) for seconds in (0, 1200)]
    found = [row["session_duration"] for row in sessions(source_of(tmp_path, events))]
    assert found == [600.0, 600.0]


def test_a_session_ends_after_half_an_hour_without_events_whatever_its_id_says(tmp_path: Path) -> None:
    hour, day = 3600, 86_400
    seconds = [0, 600, 600 + 1800, hour * 3, 90 * day]
    found = sessions(source_of(tmp_path, [event(0, derived_tstamp=tstamp(s)) for s in seconds]))
    assert [(row["engagement_date"], row["session_duration"]) for row in found] == [
        (NOON, 2400.0),
        (NOON + timedelta(hours=3), None),
        (NOON + timedelta(days=90), None),
    ]
    assert len({row["event_id"] for row in found}) == 3
    patient = source_of(tmp_path / "patient", [event(0), event(hour)], visit_timeout_seconds=hour)
    assert [row["session_duration"] for row in sessions(patient)] == [3600.0]


def test_parts_of_a_session_keep_their_ids_when_events_are_delivered_again(tmp_path: Path) -> None:
    events = [event(0), event(7200, event_id="later")]
    before = {row["event_id"] for row in sessions(source_of(tmp_path, events))}
    after = {row["event_id"] for row in sessions(source_of(tmp_path, [*events, events[1]]))}
    assert len(before) == 2
    assert after == before


def test_pings_that_come_alone_add_neither_a_day_nor_time(tmp_path: Path) -> None:
    visit = [event(0), *(event(seconds, "page_ping") for seconds in (5, 15, 25))]
    day = 86_400
    later = [event(day, "page_ping"), event(day, "page_ping", domain_sessionid="alone")]
    source = source_of(tmp_path, [*visit, *later])
    (session,) = sessions(source)
    assert (session["session_duration"], session["events"], session["page_pings"]) == (25.0, "5", "4")
    assert [row["reason"] for row in rejected(source)] == ["stray_pings"]


def test_mobile_sessions_and_devices_are_those_of_the_client_session(tmp_path: Path) -> None:
    client = "iglu:com.snowplowanalytics.snowplow/client_session/jsonschema/1-0-2"
    held = [{"schema": client, "data": {"sessionId": "mobile", "userId": "handset"}}]
    mobile = {
        "contexts": json.dumps({"schema": "x", "data": held}),
        "domain_userid": "",
        "domain_sessionid": "",
    }
    events = [event(0, user_id="", platform="mob", **mobile), event(300, platform="mob", **mobile)]
    session = the_session(tmp_path, *events)
    assert (session["event_id"], session["domain_userid"]) == ("mobile/alice", "handset")
    assert (session["session_duration"], session["device_type"]) == (300.0, "phone")


IAB = "iglu:com.iab.snowplow/spiders_and_robots/jsonschema/1-0-0"


@pytest.mark.parametrize(
    "fields",
    [
        {"useragent": "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"},
        {"useragent": "facebookexternalhit/1.1"},
        {"derived_contexts": json.dumps({"data": [{"schema": IAB, "data": {"spiderOrRobot": True}}]})},
        {"derived_contexts": '{"data":[{"data":{"deviceClass":"Robot"}}]}'},
    ],
)
def test_bots_are_left_out_and_counted_unless_they_are_wanted(tmp_path: Path, fields: Event) -> None:
    events = [event(0), event(0, domain_sessionid="bot", user_id="crawler", **fields)]
    source = source_of(tmp_path, events)
    assert [row["user_id"] for row in sessions(source)] == ["alice"]
    assert [(row["reason"], row["user_id"]) for row in rejected(source)] == [("bot", "crawler")]
    assert len(sessions(source_of(tmp_path, events, with_bots=True))) == 2


@pytest.mark.parametrize(
    "clock", ["1970-01-01 00:00:00.000", "9999-12-31 23:59:59.000", "0001-01-01 00:00:00"]
)
def test_a_clock_that_is_not_believed_leaves_the_collectors_time(tmp_path: Path, clock: str) -> None:
    never = {"derived_tstamp": clock, "collector_tstamp": clock}
    events = [event(0, derived_tstamp=clock), event(0, user_id="bob", domain_sessionid="s2", **never)]
    source = source_of(tmp_path, events)
    assert [(row["user_id"], row["engagement_date"]) for row in sessions(source)] == [("alice", NOON)]
    assert [(row["user_id"], row["reason"], row["date_value"]) for row in rejected(source)] == [
        ("bob", "implausible_date", clock)
    ]


def test_a_phone_whose_name_ends_like_a_bots_is_none(tmp_path: Path) -> None:
    cubot = "Mozilla/5.0 (Linux; Android 9; CUBOT P30) AppleWebKit/537.36 Chrome/99 Mobile Safari/537.36"
    assert the_session(tmp_path, event(0, useragent=cubot))["user_id"] == "alice"


@pytest.mark.parametrize(
    ("zone", "start"),
    [
        ("UTC", datetime(2025, 3, 30, 0, 30)),
        ("Europe/Berlin", datetime(2025, 3, 30, 1, 30)),
        ("America/Los_Angeles", datetime(2025, 3, 29, 17, 30)),
        ("Pacific/Kiritimati", datetime(2025, 3, 30, 14, 30)),
    ],
)
def test_the_day_is_that_of_the_zone_and_the_duration_that_of_the_clock(
    tmp_path: Path, zone: str, start: datetime
) -> None:
    # over the hour that Berlin's clocks skip
    utc = datetime(2025, 3, 30, 0, 30)
    events = [event(0, derived_tstamp=tstamp(seconds, utc)) for seconds in (0, 7200)]
    source = source_of(tmp_path, events, zone, visit_timeout_seconds=7200)
    (session,) = sessions(source)
    assert (session["engagement_date"], session["session_duration"]) == (start, 7200.0)
    report = source.inspect(USER_ENGAGEMENT)
    assert report is not None
    assert report.first_day == report.last_day == start.date()


@pytest.mark.parametrize(
    "written", ["2025-03-10 10:00:00", "2025-03-10T10:00:00.000Z", "2025-03-10 12:00:00+02"]
)
def test_times_are_utc_unless_they_say_otherwise(tmp_path: Path, written: str) -> None:
    assert the_session(tmp_path, event(0, derived_tstamp=written))["engagement_date"] == datetime(
        2025, 3, 10, 10
    )


def test_without_a_derived_time_the_collectors_counts(tmp_path: Path) -> None:
    session = the_session(tmp_path, event(0, derived_tstamp=""), event(9, derived_tstamp="soon"))
    assert (session["engagement_date"], session["session_duration"]) == (NOON, 9.0)


def rows_without(extracted: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Rows, in an order of their own, without the time of extraction."""
    return sorted(rows_key({k: v for k, v in row.items() if k != "_extracted_at"}) for row in extracted)


def rows_key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(str(value) for value in row.values())


@pytest.mark.slow
@settings(max_examples=8)
@given(
    seed=st.integers(0, 10_000),
    cuts=st.lists(st.dates(date(2025, 1, 28), date(2025, 3, 10)), unique=True, max_size=6).map(sorted),
    zone=st.sampled_from(["UTC", "Asia/Kolkata", "America/New_York"]),
)
def test_months_together_hold_each_session_once_and_whole(seed: int, cuts: list[date], zone: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = source_of(Path(folder), made_up_events(seed, 60), zone)
        whole = sessions(source)
        bounds = [None, *cuts, None]
        parts = [row for start, end in pairwise(bounds) for row in sessions(source, Window(start, end))]
        assert rows_without(parts) == rows_without(whole)
        for start, end in pairwise(bounds):
            for row in sessions(source, Window(start, end)):
                day = row["engagement_date"].date()
                assert (start or date.min) <= day < (end or date.max)


# -- accounting ------------------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=8)
@given(seed=st.integers(0, 10_000))
def test_every_line_is_in_a_session_or_repeated_or_broken(seed: int) -> None:
    events = made_up_events(seed, 80)
    with tempfile.TemporaryDirectory() as folder:
        lines = [line(each) for each in events]
        put(Path(folder) / "a.tsv", [*lines[:40], "broken", "", *lines[40:], lines[3] + "\tmore"])
        source = SnowplowSource(folder)
        report, refused = source.inspect(USER_ENGAGEMENT), rejected(source)
        assert report is not None
        kept = sessions(source)
        assert report.rows == len(kept) + len(refused)
        assert report.rejected == len(refused)
        broken = [
            row
            for row in refused
            if row["date_value"] in ("1 fields, expected 131", "132 fields, expected 131")
        ]
        assert [row["_row_number"] for row in broken] == [41, 83]
        if len(refused) == len(broken):
            counted = sum(int(row["events"]) + int(row["duplicate_events"]) for row in kept)
            assert counted + len(broken) == 82


def test_a_line_with_the_wrong_number_of_fields_is_rejected_with_its_place_and_reason(tmp_path: Path) -> None:
    put(tmp_path / "good.tsv", [line(event())])
    put(tmp_path / "mixed.tsv", ["", line(event(1)), line(event(2)).rpartition("\t")[0]])
    source = SnowplowSource(tmp_path)
    (row,) = rejected(source)
    assert (row["table_name"], row["reason"], row["user_id"]) == ("user_engagement", "unparseable_date", None)
    assert (row["date_value"], row["_source"], row["_row_number"]) == (
        "130 fields, expected 131",
        "mixed.tsv",
        3,
    )
    assert [(r["events"], r["_source"], r["_row_number"]) for r in sessions(source)] == [("2", "good.tsv", 1)]


@pytest.mark.parametrize(
    ("fields", "reason", "value"),
    [
        ({"derived_tstamp": "", "collector_tstamp": ""}, "null_date", None),
        ({"derived_tstamp": "yesterday", "collector_tstamp": ""}, "unparseable_date", "yesterday"),
        (
            {"derived_tstamp": "", "collector_tstamp": "2025-02-30 10:00:00"},
            "unparseable_date",
            "2025-02-30 10:00:00",
        ),
        (
            {"derived_tstamp": "", "collector_tstamp": "", "user_id": "", "domain_userid": ""},
            "null_user_id",
            None,
        ),
    ],
)
def test_a_session_without_any_usable_time_is_one_rejected_row(
    tmp_path: Path, fields: Event, reason: str, value: str | None
) -> None:
    lost = [event(0, domain_sessionid="lost", **fields), event(0, domain_sessionid="lost", **fields)]
    source = source_of(tmp_path, [event(0), *lost])
    (row,) = rejected(source)
    assert (row["reason"], row["date_value"]) == (reason, value)
    assert len(sessions(source)) == 1


def test_an_event_without_a_time_counts_into_its_session_but_moves_no_end_of_it(tmp_path: Path) -> None:
    timeless = struct(0, "buy", derived_tstamp="", collector_tstamp="never")
    session = the_session(tmp_path, timeless, event(0), event(30))
    assert (session["engagement_date"], session["session_duration"]) == (NOON, 30.0)
    assert (session["events"], session["interaction_type"]) == ("3", "buy")


def test_rows_have_the_schema_that_the_warehouse_expects(tmp_path: Path) -> None:
    source = source_of(tmp_path, [event(0)])
    extract = source.extract(USER_ENGAGEMENT, ALWAYS)
    report = source.inspect(USER_ENGAGEMENT)
    assert report is not None
    assert report.extra_columns == EXTRA_COLUMNS
    assert extract.rows.schema == USER_ENGAGEMENT.schema(EXTRA_COLUMNS)
    assert extract.rejected.schema == REJECTED_ROWS.schema()
    assert extract.rows.read_all().num_rows == 1
    assert extract.rejected.read_all().num_rows == 0


@pytest.mark.slow
def test_signups_and_churn_come_from_the_other_source(world: Path) -> None:
    other = FilesSource(world / "plain")
    settings = load_settings(
        source="snowplow", source_path=str(world / "events"), users_path=str(world / "plain")
    )
    source = open_source(settings)
    for table in (USER_SIGNUPS, CHURN_DATA):
        assert source.inspect(table) == other.inspect(table)
        assert source.fingerprint(table) == other.fingerprint(table)
        mine, theirs = (each.extract(table, ALWAYS).rows.read_all() for each in (source, other))
        assert mine.drop_columns("_extracted_at").equals(theirs.drop_columns("_extracted_at"))


# -- what is new -----------------------------------------------------------------------------------------

JANUARY, FEBRUARY = datetime(2025, 1, 15), datetime(2025, 2, 15)


def session_of(start: datetime, session: str, **fields: str) -> Event:
    return event(0, derived_tstamp=tstamp(0, start), domain_sessionid=session, **fields)


def test_only_the_months_whose_sessions_change_have_another_fingerprint(tmp_path: Path) -> None:
    source = source_of(tmp_path, [session_of(JANUARY, "a"), session_of(FEBRUARY, "b")])
    before = source.fingerprint(USER_ENGAGEMENT)
    assert list(before) == ["2025-01-01", "2025-02-01"]
    again = SnowplowSource(tmp_path).fingerprint(USER_ENGAGEMENT)
    assert again == before
    put(tmp_path / "part-1.tsv", [line(session_of(FEBRUARY, "c"))])
    after = source.fingerprint(USER_ENGAGEMENT)
    assert [month for month in after if after[month] != before[month]] == ["2025-02-01"]


def test_a_login_marks_the_earlier_month_whose_session_it_gives_a_user(tmp_path: Path) -> None:
    source = source_of(
        tmp_path, [session_of(JANUARY, "a", user_id=""), session_of(JANUARY, "b", domain_userid="x")]
    )
    before = source.fingerprint(USER_ENGAGEMENT)
    put(tmp_path / "part-1.tsv", [line(session_of(FEBRUARY, "c"))])
    after = source.fingerprint(USER_ENGAGEMENT)
    assert after["2025-01-01"] != before["2025-01-01"]
    assert {row["user_id"] for row in sessions(source)} == {"alice"}


def test_rejected_rows_count_with_the_first_month_of_all(tmp_path: Path) -> None:
    source = source_of(tmp_path, [session_of(JANUARY, "a")])
    put(tmp_path / "part-1.tsv", ["broken"])
    assert list(source.fingerprint(USER_ENGAGEMENT)) == ["1000-01-01", "2025-01-01"]


# -- files -----------------------------------------------------------------------------------------------


def test_plain_and_gzipped_files_in_folders_are_read_together(tmp_path: Path) -> None:
    names = (
        "a.tsv",
        "run=2025-03-10/part-00000.tsv.gz",
        "b.txt",
        "c.gz",
        "run=x/part-0001",
        "d.txt.gz",
        "[e]*?.tsv",
    )
    for seconds, name in enumerate(names):
        put(tmp_path / name, [line(event(seconds))])
    put(tmp_path / "_SUCCESS", [])
    put(tmp_path / ".hidden.json", ["{}"])
    put(tmp_path / "empty.tsv", [])
    source = SnowplowSource(tmp_path)
    report = source.inspect(USER_ENGAGEMENT)
    assert report is not None
    assert len(report.locations) == len(names) + 1
    assert [row["events"] for row in sessions(source)] == [str(len(names))]


def test_windows_line_ends_and_quotes_and_backslashes_are_no_trouble(tmp_path: Path) -> None:
    events = [event(at, page_title='a "quoted\\ title', user_id='"al\\ice') for at in (0, 30)]
    (tmp_path / "a.tsv").write_bytes("\r\n".join(map(line, events)).encode())
    (session,) = sessions(SnowplowSource(tmp_path))
    assert (session["user_id"], session["session_duration"]) == ('"al\\ice', 30.0)


def test_new_files_are_noticed_and_change_the_session_that_they_add_to(tmp_path: Path) -> None:
    source = source_of(tmp_path, [event(0)])
    assert [row["events"] for row in sessions(source)] == ["1"]
    before = source.extract(USER_ENGAGEMENT, ALWAYS)
    put(tmp_path / "part-1.tsv", [line(event(30))])
    assert [row["events"] for row in sessions(source)] == ["2"]
    assert before.rows.read_all()["events"].to_pylist() == ["1"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "no such folder. Give the folder"),
        ({}, "no enriched events here"),
        ({"events.parquet": b"PAR1"}, r"events.parquet: not a kind of file that can be read \(.tsv"),
        ({"a.tsv": b"fine\n\xff\xfe\n"}, "a.tsv, line 2: not valid UTF-8"),
        ({"a.tsv.gz": b"not gzip"}, "a.tsv.gz: not a complete gzip file"),
        (
            {"a.tsv.gz": gzip.compress(line(event()).encode() * 99)[:-50]},
            "a.tsv.gz: not a complete gzip file",
        ),
        ({"a.tsv": b"x" * 2_100_000}, "a.tsv, line 1: the line is longer than 2 MB"),
        (
            {"a.tsv": b"\nid,name\n1,x\n", "b.tsv": b"2\t3\n"},
            "a.tsv, line 2: found 1 tab-separated fields, expected the 131 of a Snowplow enriched event; no line of 3",
        ),
        (
            {"a.tsv": line(event(derived_tstamp="now", collector_tstamp="")).encode()},
            "a.tsv: none of 1 events has a usable derived_tstamp or collector_tstamp; the first found is 'now'",
        ),
    ],
)
def test_what_cannot_be_read_is_one_clear_line(
    tmp_path: Path, files: dict[str, bytes] | None, message: str
) -> None:
    folder = tmp_path / "events"
    if files is not None:
        folder.mkdir()
    for name, content in (files or {}).items():
        (folder / name).write_bytes(content)
    source = SnowplowSource(folder)
    for method in (source.inspect, lambda table: source.extract(table, ALWAYS)):
        with pytest.raises(SourceError, match=message) as error:
            method(USER_ENGAGEMENT)
        assert "\n" not in str(error.value)


@pytest.mark.slow
def test_little_memory_is_enough(world: Path, engaged: SnowplowSource) -> None:
    frugal = SnowplowSource(world / "events", memory_limit="90MB")
    assert content(sessions(frugal)) == content(sessions(engaged))


def test_too_little_memory_is_one_clear_line(world: Path) -> None:
    with pytest.raises(SourceError, match=r"Making sessions needs more room: .* Raise the memory limit"):
        SnowplowSource(world / "events", memory_limit="9MB").inspect(USER_ENGAGEMENT)


# -- tables ----------------------------------------------------------------------------------------------


def duckdb_table(file: Path, events: list[Event]) -> SnowplowTableSource:
    put(file.with_suffix(".tsv"), map(line, events))
    with duckdb.connect(str(file)) as connection:
        text = enriched_events([file.with_suffix(".tsv")])
        times = "collector_tstamp, derived_tstamp, dvce_created_tstamp"
        typed = ", ".join(f"cast({name} as timestamp) as {name}" for name in times.split(", "))
        views = 'from_json(contexts, \'{"data":[{"data":{"id":"VARCHAR"}}]}\').data[2:2]'
        connection.execute("create schema atomic")
        connection.execute(
            f"create table atomic.events as select * replace ({typed}), "
            f"list_transform({views}, lambda each: each.data) as contexts_com_snowplowanalytics_snowplow_web_page_1 "
            f"from ({text})"
        )
        connection.execute("alter table atomic.events drop contexts")
    return SnowplowTableSource(f"duckdb:///{file}", "Asia/Tokyo")


def sqlite_table(file: Path, events: list[Event]) -> SnowplowTableSource:
    connection = sqlite3.connect(file)
    connection.execute(f"create table events ({', '.join(FIELDS_READ)})")
    values = [tuple(each.get(name) for name in FIELDS_READ) for each in events]
    connection.executemany(f"insert into events values ({', '.join('?' for _ in FIELDS_READ)})", values)
    connection.commit()
    connection.close()
    return SnowplowTableSource(f"sqlite:///{file}", "Asia/Tokyo", table="events")


def postgresql_table(url: str, events: list[Event]) -> SnowplowTableSource:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    kinds = {name: sa.DateTime if name.endswith("_tstamp") else sa.Text for name in FIELDS_READ}
    table = sa.Table(
        "events", sa.MetaData(schema="atomic"), *(sa.Column(n, kind) for n, kind in kinds.items())
    )
    with engine.begin() as connection:
        connection.execute(sa.schema.CreateSchema("atomic"))
        table.create(connection)
        values = [{name: each.get(name) or None for name in FIELDS_READ} for each in events]
        for row in values:
            for name in ("derived_tstamp", "collector_tstamp", "dvce_created_tstamp"):
                row[name] = row[name] and datetime.fromisoformat(row[name])  # type: ignore[assignment]
        connection.execute(sa.insert(table), values)
    return SnowplowTableSource(url, "Asia/Tokyo")


def content(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """All that rows say but where they were read, and when."""
    return sorted(rows_key({name: value for name, value in row.items() if name[0] != "_"}) for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize("table", [duckdb_table, sqlite_table])
def test_a_table_of_events_gives_the_sessions_of_the_files(tmp_path: Path, table: Any) -> None:
    events = [each | {"collector_tstamp": tstamp(at)} for at, each in enumerate(made_up_events(3, 200))]
    of_files = source_of(tmp_path / "files", events, "Asia/Tokyo")
    of_table = table(tmp_path / "events.db", events)
    assert content(sessions(of_table)) == content(sessions(of_files))
    report, other = of_table.inspect(USER_ENGAGEMENT), of_files.inspect(USER_ENGAGEMENT)
    assert (report.rows, report.rejected, report.first_day) == (other.rows, other.rejected, other.first_day)  # type: ignore[union-attr]


@pytest.mark.slow
def test_a_table_of_a_real_postgresql_gives_the_sessions_of_the_files(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    events = [each | {"collector_tstamp": tstamp(at)} for at, each in enumerate(made_up_events(4, 200))]
    of_files = source_of(tmp_path, events, "Asia/Tokyo")
    with running_server() as server, server.database() as url:
        assert content(sessions(postgresql_table(url, events))) == content(sessions(of_files))


def test_a_duckdb_table_is_given_back_before_its_rows_are_read(tmp_path: Path) -> None:
    file = tmp_path / "warehouse.duckdb"
    extract = duckdb_table(file, [event(0)]).extract(USER_ENGAGEMENT, ALWAYS)
    with duckdb.connect(str(file), config={"memory_limit": "300MB"}) as warehouse:
        warehouse.register("extracted", extract.rows)
        assert warehouse.execute("select count(*) from extracted").fetchall() == [(1,)]


def test_events_added_to_a_table_are_noticed(tmp_path: Path) -> None:
    file = tmp_path / "events.db"
    source = sqlite_table(file, [event(0)])
    assert [row["events"] for row in sessions(source)] == ["1"]
    with sqlite3.connect(file) as connection:
        names = ", ".join(FIELDS_READ)
        changed = names.replace("event_id", "'another'")
        connection.execute(f"insert into events ({names}) select {changed} from events")
    assert [row["events"] for row in sessions(source)] == ["2"]


@pytest.mark.parametrize(
    ("address", "table", "message"),
    [
        ("duckdb:///{0}/no.duckdb", "atomic.events", "no.duckdb: no such DuckDB file"),
        ("duckdb:///{0}/text.duckdb", "atomic.events", "text.duckdb: cannot be opened"),
        ("duckdb:///{0}/good.duckdb", "atomic.event", "atomic.event: no such table"),
        ("sqlite:///{0}/no.db", "events", "no such file"),
        ("sqlite:///{0}/good.db", "event", "event: no such table"),
        (
            "sqlite:///{0}/good.db",
            "other",
            "other: column event_name, collector_tstamp, .* is missing. Found event_id",
        ),
        ("postgresql+psycopg://u:secret@127.0.0.1:1/db", "atomic.events", "127.0.0.1"),
    ],
)
def test_a_table_that_cannot_be_read_is_one_clear_line_without_a_password(
    tmp_path: Path, address: str, table: str, message: str
) -> None:
    (tmp_path / "text.duckdb").write_text("no database")
    duckdb_table(tmp_path / "good.duckdb", [event(0)])
    sqlite_table(tmp_path / "good.db", [event(0)])
    with sqlite3.connect(tmp_path / "good.db") as connection:
        connection.execute("create table other (event_id)")
    source = SnowplowTableSource(address.format(tmp_path), table=table)
    with pytest.raises(SourceError, match=message) as error:
        source.inspect(USER_ENGAGEMENT)
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)


# -- the simulated world ---------------------------------------------------------------------------------


def plain_sessions(world: Path) -> dict[str, dict[str, Any]]:
    """The world's sessions as its files have them, the first delivery of each."""
    rows = FilesSource(world / "plain").extract(USER_ENGAGEMENT, ALWAYS).rows.read_all().to_pylist()
    return {row["event_id"]: row for row in reversed(rows)}


def whole(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sessions whose parts, one for each day, are together again."""
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda each: each["engagement_date"]):
        found.setdefault((row["domain_sessionid"], row["user_id"]), []).append(row)
    return [
        parts[0]
        | {name: str(sum(int(part[name]) for part in parts)) for name in ("events", "duplicate_events")}
        | {"session_duration": sum(part["session_duration"] or 0 for part in parts) or None}
        for parts in found.values()
    ]


def about(row: dict[str, Any]) -> tuple[Any, ...]:
    return (row["user_id"], row["engagement_date"], row["interaction_type"], row["device_type"] or "")


@pytest.mark.slow
def test_events_of_a_world_give_back_the_sessions_of_its_files(world: Path, engaged: SnowplowSource) -> None:
    rows = whole(sessions(engaged))
    plain = plain_sessions(world)
    assert len(rows) > 500
    assert sorted(map(about, rows)) == sorted(map(about, plain.values()))
    user_days = {(row["user_id"], row["engagement_date"].date()) for row in rows}
    assert user_days == {(row["user_id"], row["engagement_date"].date()) for row in plain.values()}


def paired(world: Path, source: SnowplowSource) -> list[tuple[float | None, float | None]]:
    """Durations of the same session, by the files and by the events."""
    ordered = (sorted(each, key=about) for each in (plain_sessions(world).values(), whole(sessions(source))))
    return [(plain["session_duration"], row["session_duration"]) for plain, row in zip(*ordered, strict=True)]


def test_engaged_time_of_a_world_is_its_durations_rounded_down_to_heartbeats(
    world: Path, engaged: SnowplowSource
) -> None:
    pairs = paired(world, engaged)
    for plain, seconds in pairs:
        if plain is None or plain <= 0 or plain > 6 * 3600:
            assert seconds is None
        elif plain < 5:
            assert seconds == plain
        else:
            assert seconds == 5 + 10 * ((plain - 5) // 10)
    assert {None, 0.0, 172_800.0} <= {plain for plain, _ in pairs}


@pytest.mark.slow
def test_elapsed_time_of_a_world_is_its_durations(world: Path) -> None:
    source = SnowplowSource(world / "events", duration="elapsed")
    for plain, elapsed in paired(world, source):
        assert elapsed == (plain if plain is not None and 0 < plain <= 6 * 3600 else None)


def test_duplicate_deliveries_of_a_world_are_repeated_events(world: Path, engaged: SnowplowSource) -> None:
    delivered = pq.read_table(world / "plain" / "user_engagement.parquet").num_rows
    rows = whole(sessions(engaged))
    repeated = [row for row in rows if row["duplicate_events"] != "0"]
    assert len(repeated) == delivered - len(rows) > 0
    assert all(row["duplicate_events"] == row["events"] for row in repeated)


@pytest.mark.slow
def test_days_of_a_world_follow_the_zone(world: Path) -> None:
    zone = ZoneInfo("Asia/Tokyo")
    rows = whole(sessions(SnowplowSource(world / "events", "Asia/Tokyo")))
    moved = [
        row["engagement_date"].replace(tzinfo=UTC).astimezone(zone) for row in plain_sessions(world).values()
    ]
    assert sorted(row["engagement_date"] for row in rows) == sorted(at.replace(tzinfo=None) for at in moved)
