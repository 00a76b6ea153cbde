"""Source `warehouse` over Snowplow's table of events in Snowflake: its sessions are those of files with the events."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from dagster._core.test_utils import environ

from user_engagement.contracts.raw import REJECTED_ROWS, USER_ENGAGEMENT, Window
from user_engagement.errors import SourceError
from user_engagement.sources.normalise import ValueRules
from user_engagement.sources.snowplow import SnowplowSource
from user_engagement.sources.snowplow.session_sql import FIELDS_READ, SessionRules
from user_engagement.sources.warehouse.events import WarehouseEvents
from user_engagement.warehouse.snowflake import source_tables
from user_engagement.warehouse.snowflake.connection import connect
from user_engagement.warehouse.snowflake.source_tables import SnowflakeTables
from user_engagement_tests.support.proxy import Cut, cut_wire
from user_engagement_tests.support.snowflake import Snowflake
from user_engagement_tests.support.snowplow_events import Event, content, event, history, line

pytestmark = [pytest.mark.slow, pytest.mark.long]

ZONE = "Asia/Tokyo"
TIMES = [name for name in FIELDS_READ if name.endswith("_tstamp")]
TEXTS = [name for name in FIELDS_READ if name not in (*TIMES, "contexts", "derived_contexts")]
CONTEXTS = {
    "web_page": "contexts_com_snowplowanalytics_snowplow_web_page_1",
    "yauaa_context": "contexts_nl_basjes_yauaa_context_1",
    "client_session": "contexts_com_snowplowanalytics_snowplow_client_session_1",
    "spiders_and_robots": "contexts_com_iab_snowplow_spiders_and_robots_1",
}
AT = datetime(2025, 3, 1)
EVENTS_TABLE = ", ".join(
    [
        *(f"{name} varchar" for name in TEXTS),
        *(f"{name} timestamp_ntz" for name in TIMES),
        *(f"{name} array" for name in CONTEXTS.values()),
        "load_tstamp timestamp_ntz",
    ]
)


def entities(given: Event, kind: str) -> str | None:
    """The data of a context's entities, as the loader puts them into an ARRAY."""
    both = [json.loads(given[name])["data"] for name in ("contexts", "derived_contexts") if name in given]
    found = [each["data"] for listed in both for each in listed if f"/{kind}/" in each["schema"]]
    return json.dumps(found) if found else None


def arrive(snowflake: Snowflake, events: Sequence[Event], at: datetime) -> None:
    columns = [*TEXTS, *TIMES, *CONTEXTS.values(), "load_tstamp"]
    values = ["%s"] * (len(TEXTS) + len(TIMES)) + ["parse_json(%s)"] * len(CONTEXTS) + ["%s"]
    with connect(snowflake.account) as connection, connection.cursor() as cursor:
        cursor.execute("create schema if not exists atomic")
        cursor.execute(f"create table if not exists atomic.events ({EVENTS_TABLE})")
        for each in events:
            given = [each.get(name) or None for name in (*TEXTS, *TIMES)]
            arrays = [entities(each, kind) for kind in CONTEXTS]
            cursor.execute(
                f"insert into atomic.events ({', '.join(columns)}) select {', '.join(values)}",
                (*given, *arrays, at),
            )


def context(kind: str, **data: object) -> str:
    entity = {"schema": f"iglu:com.example/{kind}/jsonschema/1-0-0", "data": data}
    return json.dumps({"schema": "iglu:com.example/contexts/jsonschema/1-0-1", "data": [entity]})


def devices() -> list[Event]:
    """A session for each way in which an event says what it happened on, or that a bot did it."""
    fields = [
        {"dvce_type": "Computer"},
        {"dvce_type": "unknown", "useragent": "Mozilla (Windows NT 10)"},
        {"derived_contexts": context("yauaa_context", deviceClass="Phone")},
        {"derived_contexts": context("yauaa_context", deviceClass="Robot Mobile")},
        {"derived_contexts": context("spiders_and_robots", spiderOrRobot=True)},
        {"derived_contexts": context("spiders_and_robots", spiderOrRobot=False)},
        {"useragent": "Mozilla (iPad)"},
        {"useragent": "Android tablet"},
        {"useragent": "cubot phone Mobi"},
        {"useragent": "Feed\nfetcher bot"},
        {"platform": "mob"},
        {"contexts": context("client_session", sessionId="m1", userId="phone-1"), "domain_sessionid": ""},
    ]
    return [
        event(3600 * n, **{"user_id": "carol", "domain_sessionid": f"d{n}", "contexts": "", **each})
        for n, each in enumerate(fields)
    ]


def typed(events: Sequence[Event]) -> list[Event]:
    """Events as a table with columns of timestamps can hold them."""
    return [
        {name: value for name, value in each.items() if value and (name not in TIMES or value[0] == "2")}
        for each in events
    ]


def source_of(snowflake: Snowflake) -> WarehouseEvents:
    tables = SnowflakeTables(snowflake.account, None)
    return WarehouseEvents(tables, "atomic.events", SessionRules(ValueRules(ZONE)), timedelta(days=1))


def loaded(snowflake: Snowflake) -> dict[str, list[tuple[str, ...]]]:
    warehouse = snowflake.warehouse
    warehouse.replace_slice(source_of(snowflake).extract(USER_ENGAGEMENT, Window()))
    with warehouse.reader() as reader:
        return {
            name: content(reader.query(f"select * from raw.{name}").to_pylist())
            for name in (USER_ENGAGEMENT.name, REJECTED_ROWS.name)
        }


def wanted(folder: Path, events: Sequence[Event]) -> dict[str, list[tuple[str, ...]]]:
    folder.mkdir(exist_ok=True)
    (folder / "part-0.tsv").write_text("".join(f"{line(each)}\n" for each in events))
    extract = SnowplowSource(folder, ZONE).extract(USER_ENGAGEMENT, Window())
    rows, rejected = extract.rows.read_all(), extract.rejected.read_all()
    return {
        USER_ENGAGEMENT.name: content(rows.to_pylist()),
        REJECTED_ROWS.name: content(rejected.to_pylist()),
    }


def test_events_in_snowflake_become_the_sessions_of_files_load_by_load(
    snowflake: Snowflake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second load brings late events, logins and repeated deliveries, weeks after the first."""
    monkeypatch.setattr(source_tables, "MARK_SECONDS", 0.0)
    events = [each for each in typed([*devices(), *history(11)]) if "\n" not in each.get("useragent", "")]
    first, second = events[:70], events[70:]
    arrive(snowflake, first, AT)
    assert loaded(snowflake) == wanted(tmp_path / "first", first)
    arrive(snowflake, second, AT + timedelta(days=20))
    assert loaded(snowflake) == wanted(tmp_path / "both", events)
    left = snowflake.rows("show tables in schema event_sessions")
    assert sorted(row[1] for row in left) == ["EVENTS", "PROGRESS", "SESSIONS", "UNITS"]


def test_while_the_table_says_that_it_is_as_it_was_its_events_are_not_read(snowflake: Snowflake) -> None:
    arrive(snowflake, [event(0)], AT)
    before = source_of(snowflake).fingerprint(USER_ENGAGEMENT)

    def reads() -> int:
        return snowflake.emulator.statements().lower().count("incoming__")

    read = reads()
    assert source_of(snowflake).fingerprint(USER_ENGAGEMENT) == before
    assert reads() == read > 0
    snowflake.rows("insert into atomic.events select * from atomic.events")
    source_of(snowflake).fingerprint(USER_ENGAGEMENT)
    assert reads() > read


@pytest.mark.parametrize(
    "statement",
    [
        "update",
        "insert into",
        pytest.param("delete from", marks=pytest.mark.exhaustive),
        pytest.param("commit", marks=pytest.mark.exhaustive),
    ],
)
def test_a_lost_answer_leaves_each_session_whole_and_once(
    snowflake: Snowflake, tmp_path: Path, statement: str
) -> None:
    """What is sent again after its answer was lost runs twice on the emulator."""
    events = [event(60 * n, domain_sessionid=f"s{n % 3}") for n in range(9)]
    arrive(snowflake, events, AT)
    source_of(snowflake).inspect(USER_ENGAGEMENT)
    arrive(snowflake, later := [event(3600, domain_sessionid="s1")], AT + timedelta(days=9))
    cut = Cut(statement, "after")
    with cut_wire(snowflake.emulator.port, cut) as port, environ({"SNOWFLAKE_PORT": str(port)}):
        source_of(snowflake).inspect(USER_ENGAGEMENT)
    assert cut.made == 1
    assert loaded(snowflake) == wanted(tmp_path, [*events, *later])


def test_a_table_of_events_without_rights_is_one_sentence_with_the_grants(snowflake: Snowflake) -> None:
    with pytest.raises(
        SourceError, match=r"atomic.events: no such table of events, or no right.* grant select"
    ):
        source_of(snowflake).inspect(USER_ENGAGEMENT)
