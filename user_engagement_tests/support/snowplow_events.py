"""Snowplow events by hand and at random."""

from __future__ import annotations

import itertools
import json
import random
from datetime import datetime, timedelta
from typing import Any

from user_engagement.contracts.snowplow import ENRICHED_EVENT

NOON = datetime(2025, 3, 10, 12, 0, 0)
WEB_PAGE = "iglu:com.snowplowanalytics.snowplow/web_page/jsonschema/1-0-0"
OTHER = "iglu:com.example/other/jsonschema/1-0-0"

numbers = itertools.count()

Event = dict[str, str]


def tstamp(seconds: float, start: datetime = NOON) -> str:
    return (start + timedelta(seconds=seconds)).isoformat(" ", "milliseconds")


def contexts(view: str) -> str:
    entities = [{"schema": OTHER, "data": {"id": "no"}}, {"schema": WEB_PAGE, "data": {"id": view}}]
    return json.dumps(
        {"schema": "iglu:com.snowplowanalytics.snowplow/contexts/jsonschema/1-0-1", "data": entities}
    )


def event(seconds: float = 0, name: str = "page_view", view: str | None = "view", **fields: str) -> Event:
    """An event of alice's session s1, so many seconds after noon; fields change or add what it says."""
    happened = tstamp(seconds)
    known = {"event_id": f"event-{next(numbers)}", "user_id": "alice", "domain_userid": "laptop"}
    times = dict.fromkeys(("collector_tstamp", "derived_tstamp", "dvce_created_tstamp"), happened)
    session = {"domain_sessionid": "s1", "event": name, "event_name": name}
    return known | times | session | ({"contexts": contexts(view)} if view else {}) | fields


def struct(seconds: float, action: str, **fields: str) -> Event:
    return event(seconds, "event", event="struct", se_category="cart", se_action=action, **fields)


def line(given: Event) -> str:
    assert set(given) <= set(ENRICHED_EVENT)
    return "\t".join(given.get(name, "") for name in ENRICHED_EVENT)


def made_up_events(seed: int, count: int) -> list[Event]:
    """Events of a few users and devices around the turn of two months, in the order of nothing."""
    draw = random.Random(seed)
    begins = datetime(2025, 1, 30, 12)
    made = []
    for number in range(count):
        at = tstamp(draw.randrange(33 * 86_400), begins)
        made.append(
            event(
                name=draw.choice(["page_view", "page_ping", "link_click"]),
                view=draw.choice([None, "a", "b"]),
                user_id=draw.choice(["", "alice", "bob"]),
                domain_userid=draw.choice(["", "laptop", "phone"]),
                domain_sessionid=draw.choice(["", *(f"s{n}" for n in range(count // 3))]),
                derived_tstamp=draw.choice([at, at, at, ""]),
                collector_tstamp=draw.choice([at, at, at, "", "no time"]),
                dvce_created_tstamp=at,
                event_id=f"e{draw.randrange(count)}" if draw.random() < 0.3 else f"u{number}",
            )
        )
    return made


def history(seed: int) -> list[Event]:
    """Events in the order of nothing, some of bots, some delivered again within their session.

    No two have the same time of collection: which delivery was the first does not depend on the order of rows.
    """
    draw = random.Random(seed)
    events = [each | {"event_id": f"u{number}"} for number, each in enumerate(made_up_events(seed, 90))]
    for number, each in enumerate(events):
        each["collector_tstamp"] = each["collector_tstamp"] and tstamp(number, datetime(2025, 2, 1))
        if draw.random() < 0.1:
            each["useragent"] = "Googlebot/2.1"
    again = [each | {"collector_tstamp": tstamp(1000 + n)} for n, each in enumerate(draw.sample(events, 9))]
    draw.shuffle(made := [*events, *again])
    return made


def content(rows: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """What rows say beside their lineage, in an order of their own."""
    return sorted(tuple(str(value) for name, value in sorted(row.items()) if name[0] != "_") for row in rows)
