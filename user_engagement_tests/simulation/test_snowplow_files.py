from __future__ import annotations

import gzip
import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from user_engagement.contracts.snowplow import ENRICHED_EVENT
from user_engagement.simulation import SimulationError, WorldConfig, advance
from user_engagement.simulation.snowplow import ANONYMOUS_SHARE, emit, write_snowplow
from user_engagement_tests.support.simulated_worlds import CLEAN, SMALL, day, events_of

END = day(20)


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def read(paths: list[Path]) -> list[dict[str, str]]:
    """The events of files in their order, as text by field."""
    lines = [line for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    return [dict(zip(ENRICHED_EVENT, line.split("\t"), strict=True)) for line in lines]


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    return read(write_snowplow(CLEAN, END, tmp_path_factory.mktemp("clean")))


def test_every_day_of_delivery_has_one_file_even_without_events(tmp_path: Path) -> None:
    quiet = WorldConfig(users=1, reference_end=date(2026, 1, 1))
    paths = write_snowplow(quiet, END, tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in paths] == [
        f"run={day(number)}/part-00000.tsv" for number in range(21)
    ]
    assert any(path.stat().st_size == 0 for path in paths)


@pytest.mark.slow
@pytest.mark.parametrize("gz", [False, True])
def test_the_same_world_gives_the_same_bytes_at_once_or_day_by_day(tmp_path: Path, gz: bool) -> None:
    write_snowplow(SMALL, END, tmp_path / "at once", gz=gz)
    for number in range(0, 21, 4):
        through = min(day(number + 3), END)
        write_snowplow(SMALL, through, tmp_path / "advanced", since=day(number), gz=gz)
    assert digests(tmp_path / "at once") == digests(tmp_path / "advanced")


def test_gzipped_files_hold_what_plain_files_do(tmp_path: Path) -> None:
    plain = write_snowplow(SMALL, day(5), tmp_path / "plain")
    packed = write_snowplow(SMALL, day(5), tmp_path / "gz", gz=True)
    assert [path.name for path in packed] == ["part-00000.tsv.gz"] * 6
    for one, other in zip(plain, packed, strict=True):
        assert gzip.decompress(other.read_bytes()) == one.read_bytes()


def test_a_home_and_its_configuration_give_the_same_events(tmp_path: Path) -> None:
    advance(tmp_path / "home", SMALL, day(5))
    write_snowplow(tmp_path / "home", day(5), tmp_path / "of home")
    write_snowplow(SMALL, day(5), tmp_path / "of configuration")
    assert digests(tmp_path / "of home") == digests(tmp_path / "of configuration")


@pytest.mark.slow
def test_a_session_is_a_view_then_pings_while_it_lasts_and_at_its_end_what_was_done(
    events: list[dict[str, str]],
) -> None:
    worlds = events_of(CLEAN, END)
    assert [event["event"] for event in events].count("page_view") == len(worlds)
    by_session: dict[str, list[dict[str, str]]] = {}
    for event in events:
        by_session.setdefault(event["domain_sessionid"], []).append(event)
    for row, session in zip(worlds.to_dict("records"), by_session.values(), strict=True):
        pings = int((row["session_duration"] - 5) // 10) + 1 if row["session_duration"] >= 5 else 0
        assert [event["event"] for event in session] == ["page_view", *["page_ping"] * pings, "struct"]
        assert session[-1]["se_action"] == row["interaction_type"]
        assert session[-1]["user_id"] == str(row["user_id"])
        assert session[0]["derived_tstamp"] == f"{row['engagement_date']}.000"


def test_ids_of_events_sessions_and_views_are_distinct_uuids(events: list[dict[str, str]]) -> None:
    ids = [event["event_id"] for event in events]
    assert len(set(ids)) == len(ids)
    sessions = {event["domain_sessionid"] for event in events}
    assert len(sessions) == sum(event["event"] == "page_view" for event in events)
    assert all([len(part) for part in each.split("-")] == [8, 4, 4, 4, 12] for each in {*ids, *sessions})


def test_a_device_belongs_to_one_user(events: list[dict[str, str]]) -> None:
    owners: dict[str, set[str]] = {}
    for event in events:
        owners.setdefault(event["domain_userid"], set()).add(event["user_id"])
    assert all(len(users - {""}) == 1 for users in owners.values())


def test_about_a_quarter_of_the_sessions_begin_before_the_login(events: list[dict[str, str]]) -> None:
    starts = [event["user_id"] for event in events if event["event"] == "page_view"]
    assert starts.count("") / len(starts) == pytest.approx(ANONYMOUS_SHARE, abs=0.08)
    assert all(event["user_id"] for event in events if event["event"] == "struct")


@pytest.mark.slow
def test_late_events_are_collected_on_the_day_of_their_delivery(tmp_path: Path) -> None:
    late = replace(CLEAN, dirt=replace(CLEAN.dirt, late=0.3))
    paths = write_snowplow(late, END, tmp_path)
    delays = set()
    for path in paths:
        for event in read([path]):
            if event["event"] == "page_view":
                delivered = path.parent.name.removeprefix("run=")
                assert event["collector_tstamp"][:10] == delivered
                happened = date.fromisoformat(event["derived_tstamp"][:10])
                delays.add((date.fromisoformat(delivered) - happened).days)
    assert delays == {0, 1, 2, 3}


def test_pings_follow_the_heartbeat_asked_for(tmp_path: Path) -> None:
    slow = read(write_snowplow(CLEAN, day(5), tmp_path / "slow", heartbeat_seconds=60))
    fast = read(write_snowplow(CLEAN, day(5), tmp_path / "fast", heartbeat_seconds=10))
    pings = [sum(event["event"] == "page_ping" for event in each) for each in (slow, fast)]
    assert pings[1] / pings[0] > 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"through": day(-1)}, "cannot be simulated through 2024-12-31"),
        ({"since": day(30)}, "2025-01-31 is after 2025-01-21"),
        ({"heartbeat_seconds": 0}, "A heartbeat of 0 s"),
        ({"world": Path("nowhere")}, "There is no simulated world in nowhere"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(SimulationError, match=message):
        write_snowplow(**{"world": SMALL, "through": END, "target": tmp_path / "new", **change})
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SimulationError, match=r"cannot be written \(Not a directory\)"):
        write_snowplow(SMALL, END, tmp_path / "file")


# -- collector -------------------------------------------------------------------------------------------


@contextmanager
def collector(status: int = 200) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A collector on this machine: its address, and the events that it was sent."""
    sent: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/com.snowplowanalytics.snowplow/tp2"
            sent.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["data"])
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", sent
    finally:
        server.shutdown()
        server.server_close()


def test_a_collector_is_sent_the_events_that_the_files_hold(tmp_path: Path) -> None:
    written = read(write_snowplow(CLEAN, day(3), tmp_path, since=day(3)))[:57]
    with collector() as (address, sent):
        assert emit(CLEAN, day(3), address, limit=57) == 57
    short = {"pv": "page_view", "pp": "page_ping", "se": "struct"}
    assert [short[event["e"]] for event in sent] == [event["event"] for event in written]
    for name, parameter in (
        ("user_id", "uid"),
        ("domain_userid", "duid"),
        ("domain_sessionid", "sid"),
        ("se_action", "se_ac"),
        ("useragent", "ua"),
    ):
        assert [event.get(parameter, "") for event in sent] == [event[name] for event in written]
    views = [json.loads(event["co"])["data"][0]["data"]["id"] for event in sent]
    assert views == [json.loads(event["contexts"])["data"][0]["data"]["id"] for event in written]
    assert sent[0]["ttm"].endswith("000")
    assert len({event["eid"] for event in sent}) == 57


@pytest.mark.slow
def test_fewer_events_than_the_limit_are_all_sent(tmp_path: Path) -> None:
    written = read(write_snowplow(CLEAN, day(0), tmp_path))
    with collector() as (address, sent):
        assert emit(CLEAN, day(0), address, limit=100_000) == len(sent) == len(written)


def test_a_collector_that_refuses_ends_it_at_once(tmp_path: Path) -> None:
    with collector(status=500) as (address, sent):
        with pytest.raises(
            SimulationError, match=r"did not accept 10 events, after 0 that it accepted: check that"
        ):
            emit(CLEAN, day(3), address, limit=30)
        assert len(sent) == 10


@pytest.mark.parametrize(
    ("address", "limit", "message"),
    [
        ("http://127.0.0.1:1", 5, "http://127.0.0.1:1 did not accept 5 events"),
        ("", 5, "'' is not the address of a collector"),
        ("http://127.0.0.1:1", 0, "limit is 0: send at least one event"),
    ],
)
def test_what_cannot_be_sent_is_one_clear_line(address: str, limit: int, message: str) -> None:
    with pytest.raises(SimulationError, match=message):
        emit(CLEAN, day(3), address, limit)


def test_without_the_tracker_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "snowplow_tracker.emitters", None)
    with pytest.raises(SimulationError, match="snowplow-tracker is not installed: install the extra"):
        emit(CLEAN, day(3), "http://127.0.0.1:1", limit=5)
