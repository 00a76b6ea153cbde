"""Viewers of the running dashboard while generations are swapped and a writer holds the warehouse."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect

from user_engagement_tests.support.serving import dashboard, publish_marts

pytestmark = pytest.mark.slow
READERS, SWAPS, VIEWED = 4, 8, 6
"""How many view it at a time, and how many swaps happen and how many generations are seen before it ends."""
LIMIT_SECONDS = 120


def tagged(marts: dict[str, pa.Table], tag: int) -> dict[str, pa.Table]:
    """The marts with one number in two of them: monthly active users are ``tag`` on every day and in the KPIs."""
    days, kpis = marts["active_users_daily"], marts["kpi_summary"]
    value = pc.if_else(pc.equal(kpis["kpi"], "mau"), float(tag), kpis["value"])
    return {
        **marts,
        "active_users_daily": replaced(days, "mau", pa.array([tag] * len(days), pa.int64())),
        "kpi_summary": replaced(kpis, "value", value),
    }


def replaced(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, column)


def view(address: str, ended: threading.Event, tags: list[set[str]], failures: list[object]) -> None:
    """Reruns the overview in one session, and notes which tags each view shows."""
    try:
        with connect(address.replace("http", "ws") + "/_stcore/stream", max_size=None) as socket:
            while not ended.is_set():
                message = BackMsg()
                message.rerun_script.query_string = "page=overview&range=3m"
                socket.send(message.SerializeToString())
                html = rerun(socket)
                shown: set[str] = set()
                for kpi in ("mau", "active_users"):
                    shown |= set(re.findall(rf'data-kpi="{kpi}".*?ue-value">([\d,]+)<', html, re.DOTALL))
                tags.append(shown)
    except BaseException as error:
        failures.append(error)


def rerun(socket: object) -> str:
    """The HTML of a whole view; an exception shown in it is one here."""
    html = []
    while True:
        message = ForwardMsg.FromString(socket.recv(timeout=60, decode=False))
        element = message.delta.new_element
        assert not element.HasField("exception"), element.exception
        html.append(element.html.body)
        if message.WhichOneof("type") == "script_finished":
            return "".join(html)


@pytest.mark.long
def test_no_view_is_torn_while_generations_are_swapped_twice_a_second(
    tmp_path: Path, marts: dict[str, pa.Table]
) -> None:
    published = tmp_path / "published"
    publish_marts(published, tagged(marts, 1000))
    tags: list[set[str]] = []
    failures: list[object] = []
    # as a running pipeline does
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")), dashboard(tmp_path) as address:
        ended = threading.Event()
        readers = [
            threading.Thread(target=view, args=(address, ended, tags, failures)) for _ in range(READERS)
        ]
        for reader in readers:
            reader.start()
        begun, swaps = time.monotonic(), 0
        while time.monotonic() < begun + LIMIT_SECONDS and not failures:
            swaps += 1
            publish_marts(published, tagged(marts, 1000 + swaps))
            if swaps >= SWAPS and len(set().union(*tags)) >= VIEWED:
                break
            time.sleep(max(0.0, begun + swaps * 0.5 - time.monotonic()))
        ended.set()
        for reader in readers:
            reader.join()
    assert failures == []
    assert [shown for shown in tags if len(shown) != 1] == [], "torn, or without its numbers"
    assert len(set().union(*tags)) >= VIEWED, "the views followed the swaps"
