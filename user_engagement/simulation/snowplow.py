"""Writes the engagement of a world as Snowplow enriched event files, and sends it to a collector.

One session of the world becomes

- a page view at its start,
- a page ping after the minimum visit and then after each heartbeat, as long as the session lasts,
- a structured event of category ``engagement`` at its end, whose action is the interaction type.

A quarter of the sessions begin before the login: only their last event has the user id, their other events
have only the device's ``domain_userid``. Late rows are in the file of the day on which they arrived. Duplicate
deliveries repeat all events of their session with the same event ids.

Grouping these events into sessions recovers the user, start, interaction type and device type of every session.
The differences are:

- engaged time is the duration rounded down to minimum visit + whole heartbeats: up to one heartbeat less.
  Sessions shorter than the minimum visit have no pings, so their elapsed time counts, which always equals the
  duration;
- a session over midnight is one row for each of its days;
- missing, zero, negative and absurd durations (beyond the longest possible session) all become null, as events
  cannot distinguish them;
- duplicate deliveries are removed event by event, and give no rows of their own.
"""

from __future__ import annotations

import gzip
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO, cast

import duckdb
import numpy as np
import pyarrow as pa

from user_engagement.contracts.snowplow import ENRICHED_EVENT
from user_engagement.simulation import streams
from user_engagement.simulation.activity import LONGEST_SESSION
from user_engagement.simulation.config import WorldConfig
from user_engagement.simulation.deliveries import deliveries
from user_engagement.simulation.errors import SimulationError
from user_engagement.simulation.population import DEVICES, population
from user_engagement.simulation.world import load_config

APP_ID = "simulated-product"
SITE = "https://app.example.com"
CATEGORY = "engagement"
ANONYMOUS_SHARE = 0.25
"""The share of sessions that begin before the user logs in."""

LINES_AT_ONCE = 100_000
COMPRESSION = 4
"""The files are a third larger than with gzip's level 6, and take half the time."""

WEB_PAGE = "iglu:com.snowplowanalytics.snowplow/web_page/jsonschema/1-0-0"
CONTEXTS = "iglu:com.snowplowanalytics.snowplow/contexts/jsonschema/1-0-0"
VENDOR = "com.snowplowanalytics.snowplow"

USERAGENTS = {
    "phone": "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/126.0 Mobile Safari/537.36",
    "desktop": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36",
    "tablet": "Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Version/17.5 Safari/604.1",
}
DEVICE_TYPES = {"phone": "Mobile", "desktop": "Computer", "tablet": "Tablet"}

# in the order of the rows, and of time within each; `step` is 0 for the view, `pings` + 1 for the last event
EVENTS = """
    with sessions as (
        select
            cast(user_id as varchar) as user_id, engagement_date as started, interaction_type, device_type,
            {prefix_of_session} as prefix, {prefix_of_device} as device_prefix, anonymous,
            case when session_duration between 0 and {longest} then session_duration else 0 end as seconds,
            case when seconds between {minimum} and {longest}
                then (seconds - {minimum}) // {heartbeat} + 1 else 0 end as pings,
            to_days(cast(delivered - cast(engagement_date as date) as integer)) as delay
        from rows
    ),
    stepped as (select *, unnest(range(pings + 2)) as step from sessions)
    select
        *,
        case when step = 0 then 'page_view' when step <= pings then 'page_ping' else 'struct' end as event,
        case when anonymous and step <= pings then '' else user_id end as known_user,
        started + to_seconds(case when step = 0 then 0 when step <= pings then {minimum} + (step - 1) * {heartbeat}
            else seconds end) as happened,
        prefix || format('{{:012x}}', step + 1) as event_id,
        prefix || '000000000000' as session_id,
        prefix || 'ffffffffffff' as view_id,
        device_prefix || '000000000001' as domain_userid
    from stepped
"""


def write_snowplow(
    world: WorldConfig | Path,
    through: date,
    target: Path,
    *,
    since: date | None = None,
    gz: bool = False,
    heartbeat_seconds: int = 10,
    minimum_visit_seconds: int = 5,
) -> list[Path]:
    """Write enriched events to the folder `target`, one file for each day of delivery; return the paths.

    `world` is a configuration or the home of a world. The events are those of the rows that `advance` writes to
    the source systems through the day `through`, dirt included; with `since`, only those delivered from that day
    on. The same world gives the same bytes, in one step or day by day.

    Raises SimulationError for a day out of range, a home without a world, a heartbeat that is not positive, and a
    folder that cannot be written.
    """
    config, first, last = _days(world, since, through)
    query = _events(heartbeat_seconds, minimum_visit_seconds)
    paths = []
    with duckdb.connect() as connection:
        for day, rows in deliveries(config, population(config, through), first, last):
            connection.register("rows", _keyed(rows, config.day(day)))
            lines = f"select {_line()} as line from ({query})"
            paths.append(_write_day(target, config.day(day), _lines(connection, lines), gz))
    return paths


def emit(
    world: WorldConfig | Path,
    day: date,
    collector: str,
    limit: int,
    *,
    heartbeat_seconds: int = 10,
    minimum_visit_seconds: int = 5,
) -> int:
    """Send at most `limit` events delivered on a day to a collector; return how many it accepted.

    The official tracker sends them and creates new event ids, so events sent twice are two events of one session.
    The true timestamp of an event is its time in the world.

    Raises SimulationError as `write_snowplow` does, if the tracker is not installed, and if the collector cannot
    be reached or refuses events; the collector keeps the events that it accepted before.
    """
    if limit < 1:
        raise SimulationError(f"limit is {limit}: send at least one event.")
    config, number, _ = _days(world, day, day)
    query = _events(heartbeat_seconds, minimum_visit_seconds)
    with duckdb.connect() as connection:
        for _, rows in deliveries(config, population(config, day), number, number):
            connection.register("rows", _keyed(rows, day))
        events = connection.sql(f"select *, epoch_ms(happened) as ms from ({query}) limit {limit}")
        return _send(events.to_arrow_table().to_pylist(), collector)


def _days(world: WorldConfig | Path, since: date | None, through: date) -> tuple[WorldConfig, int, int]:
    config = world if isinstance(world, WorldConfig) else load_config(world)
    last = config.last_day_number(through)
    first = 0 if since is None else max(0, config.day_number(since))
    if first > last:
        raise SimulationError(f"{since} is after {through}: give the first day before the last.")
    return config, first, last


def _events(heartbeat: int, minimum: int) -> str:
    if heartbeat < 1 or minimum < 0:
        raise SimulationError(
            f"A heartbeat of {heartbeat} s after {minimum} s cannot be simulated: "
            "give whole seconds, at least 1 and 0."
        )
    return EVENTS.format(
        prefix_of_session=_prefix("session_key"),
        prefix_of_device=_prefix("device_key"),
        heartbeat=heartbeat,
        minimum=minimum,
        longest=LONGEST_SESSION,
    )


def _keyed(rows: pa.Table, delivered: date) -> pa.Table:
    """The rows with their day of delivery, and 64 bits for the ids of each session and each user's device."""
    session = streams.mix(rows["event_id"].to_numpy().astype(np.uint64))
    device = rows["device_type"].combine_chunks().indices.fill_null(len(DEVICES)).to_numpy()
    owner = rows["user_id"].to_numpy().astype(np.uint64) * np.uint64(len(DEVICES) + 1)
    columns = {
        "delivered": np.full(len(rows), delivered, dtype="datetime64[D]"),
        "session_key": session,
        "device_key": streams.branch(streams.mix(owner + device.astype(np.uint64)), "device"),
        "anonymous": streams.lanes(streams.following(session))[:, 0] < streams.lane_share(ANONYMOUS_SHARE),
    }
    for name, values in columns.items():
        rows = rows.append_column(name, pa.array(values))
    return rows


def _prefix(key: str) -> str:
    """All but the last twelve digits of a version-4 UUID, from 64 bits."""
    digits = f"format('{{:016x}}', {key})"
    return f"({digits}[1:8] || '-' || {digits}[9:12] || '-4' || {digits}[13:15] || '-a' || {digits}[16:16] || '00-')"


# -- files -----------------------------------------------------------------------------------------------


def _line() -> str:
    """The SQL expression for one line of an enriched file: the values of `_FIELDS`, and tabs for all fields."""
    pieces, literal = [], ""
    for position, name in enumerate(ENRICHED_EVENT):
        literal += "\t" if position else ""
        if name in _FIELDS:
            pieces += [_quoted(literal), _FIELDS[name]] if literal else [_FIELDS[name]]
            literal = ""
    return f"concat({', '.join([*pieces, _quoted(literal + chr(10))])})"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _per_device(values: dict[str, str]) -> str:
    """The SQL expression for the value of the row's device; an empty text if the device is missing."""
    cases = " ".join(f"when {_quoted(device)} then {_quoted(value)}" for device, value in values.items())
    return f"case device_type {cases} else '' end"


def _only_for(event: str, value: str) -> str:
    return f"case when event = {_quoted(event)} then {value} else '' end"


_FIELDS = {
    "app_id": _quoted(APP_ID),
    "platform": "'web'",
    "etl_tstamp": "cast(happened + delay + interval 5 minute as varchar) || '.500'",
    "collector_tstamp": "cast(happened + delay as varchar) || '.200'",
    "dvce_created_tstamp": "cast(happened as varchar) || '.000'",
    "event": "event",
    "event_id": "event_id",
    "name_tracker": "'sp'",
    "v_tracker": "'js-3.24.0'",
    "v_collector": "'ssc-3.2.0'",
    "v_etl": "'snowplow-enrich-4.2.0'",
    "user_id": "known_user",
    "domain_userid": "domain_userid",
    "domain_sessionidx": "'1'",
    "page_url": f"{_quoted(SITE + '/')} || interaction_type",
    "page_title": "interaction_type",
    "page_urlscheme": "'https'",
    "page_urlhost": "'app.example.com'",
    "page_urlport": "'443'",
    "page_urlpath": "'/' || interaction_type",
    "contexts": (
        f"""'{{"schema":"{CONTEXTS}","data":[{{"schema":"{WEB_PAGE}","data":{{"id":"' || view_id || '"}}}}]}}'"""
    ),
    "se_category": _only_for("struct", _quoted(CATEGORY)),
    "se_action": _only_for("struct", "interaction_type"),
    "pp_xoffset_min": _only_for("page_ping", "'0'"),
    "pp_xoffset_max": _only_for("page_ping", "'0'"),
    "pp_yoffset_min": _only_for("page_ping", "'0'"),
    "pp_yoffset_max": _only_for("page_ping", "cast(step * 40 as varchar)"),
    "useragent": _per_device(USERAGENTS),
    "br_lang": "'en'",
    "br_cookies": "'1'",
    "dvce_type": _per_device(DEVICE_TYPES),
    "dvce_ismobile": _per_device({"phone": "1", "desktop": "0", "tablet": "1"}),
    "doc_charset": "'UTF-8'",
    "dvce_sent_tstamp": "cast(happened + delay as varchar) || '.200'",
    "domain_sessionid": "session_id",
    "derived_tstamp": "cast(happened as varchar) || '.000'",
    "event_vendor": f"case event when 'struct' then 'com.google.analytics' else '{VENDOR}' end",
    "event_name": "case event when 'struct' then 'event' else event end",
    "event_format": "'jsonschema'",
    "event_version": "'1-0-0'",
}
"""The SQL of each field that has a value, over the columns of EVENTS; none is ever null."""


def _lines(connection: duckdb.DuckDBPyConnection, query: str) -> Iterator[memoryview]:
    """The bytes of the query's texts, in Arrow's buffers."""
    for batch in connection.sql(query).to_arrow_reader(LINES_AT_ONCE):
        texts = batch.column(0).cast(pa.large_string())
        _, offsets, content = texts.buffers()
        bounds = np.frombuffer(offsets, dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
        yield memoryview(content)[bounds[0] : bounds[-1]]


def _write_day(target: Path, day: date, parts: Iterator[memoryview], gz: bool) -> Path:
    """Write the file of one day atomically."""
    path = target / f"run={day.isoformat()}" / f"part-00000.tsv{'.gz' if gz else ''}"
    unfinished = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            with _compressed(file, gz) as stream:
                for part in parts:
                    stream.write(part)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise SimulationError(
            f"{error.filename or target} cannot be written ({error.strerror}): fix this, or choose another folder."
        ) from error
    return path


@contextmanager
def _compressed(file: BinaryIO, gz: bool) -> Iterator[BinaryIO]:
    """The file itself, or a gzip stream into it. The stream has no name and time, which would differ between runs."""
    if not gz:
        yield file
        return
    with gzip.GzipFile(filename="", mode="wb", compresslevel=COMPRESSION, fileobj=file, mtime=0) as stream:
        yield cast("BinaryIO", stream)


# -- collector -------------------------------------------------------------------------------------------


def _send(events: list[dict[str, Any]], collector: str) -> int:
    try:
        # installed only where events are emitted
        from snowplow_tracker.emitters import Emitter
        from snowplow_tracker.tracker import Tracker
    except ImportError:
        raise SimulationError(
            "snowplow-tracker is not installed: install the extra user-engagement[snowplow]."
        ) from None
    logging.getLogger("snowplow_tracker.emitters").setLevel(logging.ERROR)
    accepted: list[Any] = []

    def refused(_: int, unsent: list[Any]) -> None:
        raise SimulationError(
            f"{collector} did not accept {len(unsent)} events, after {len(accepted):,} that it accepted: "
            "check that a Snowplow collector answers at this address."
        )

    try:
        emitter = Emitter(collector, request_timeout=10, on_success=accepted.extend, on_failure=refused)
    except ValueError as error:
        raise SimulationError(f"{collector!r} is not the address of a collector: {error}") from None
    tracker = Tracker("simulation", emitter, app_id=APP_ID, encode_base64=False)
    for event in events:
        tracker.track(_tracked(event))
    emitter.flush()
    return len(accepted)


def _tracked(event: dict[str, Any]) -> Any:
    from snowplow_tracker.events.page_ping import PagePing
    from snowplow_tracker.events.page_view import PageView
    from snowplow_tracker.events.structured_event import StructuredEvent
    from snowplow_tracker.self_describing_json import SelfDescribingJson
    from snowplow_tracker.subject import Subject

    subject = Subject().set_platform("web").set_domain_user_id(event["domain_userid"])
    subject.set_domain_session_id(event["session_id"]).set_domain_session_index(1)
    if event["known_user"]:
        subject.set_user_id(event["known_user"])
    if event["device_type"]:
        subject.set_useragent(USERAGENTS[event["device_type"]])
    common = {
        "event_subject": subject,
        "context": [SelfDescribingJson(WEB_PAGE, {"id": event["view_id"]})],
        "true_timestamp": event["ms"],
    }
    url = f"{SITE}/{event['interaction_type']}"
    if event["event"] == "page_view":
        return PageView(page_url=url, page_title=event["interaction_type"], **common)
    if event["event"] == "page_ping":
        return PagePing(page_url=url, page_title=event["interaction_type"], **common)
    return StructuredEvent(category=CATEGORY, action=event["interaction_type"], **common)
