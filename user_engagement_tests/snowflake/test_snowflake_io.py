"""Raw tables in Snowflake over the wire: slices replaced whole, once, also when the wire is cut."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import dagster as dg
import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dagster._core.test_utils import environ
from snowflake import connector
from snowflake.connector import cursor

from user_engagement.contracts.raw import REJECTED_ROWS, USER_ENGAGEMENT, USER_SIGNUPS, RawTable, Window
from user_engagement.errors import WarehouseError
from user_engagement.sources.base import Extract
from user_engagement.warehouse import LoadedSlice
from user_engagement.warehouse.io_manager import RawIOManager
from user_engagement.warehouse.snowflake import loading, warehouse
from user_engagement.warehouse.snowflake.connection import connect, rows_of
from user_engagement.warehouse.snowflake.doctor import examine
from user_engagement_tests.support.proxy import Cut, cut_wire
from user_engagement_tests.support.snowflake import PASSWORD, Snowflake

pytestmark = pytest.mark.slow

JANUARY, FEBRUARY = (
    Window(None, date(2025, 2, 1)),
    Window(date(2025, 2, 1), None),
)
CUTS = [
    ("copy into", "before"),
    ("delete from", "after"),
    ("insert into", "before"),
    ("insert into", "after"),
    ("commit", "before"),
    ("commit", "after"),
    pytest.param("create transient table if", "after", marks=pytest.mark.exhaustive),
    pytest.param("put 'file", "before", marks=pytest.mark.exhaustive),
    pytest.param("copy into", "after", marks=pytest.mark.exhaustive),
    pytest.param("delete from", "before", marks=pytest.mark.exhaustive),
]


def batches_of(schema: pa.Schema, rows: Sequence[dict[str, Any]]) -> pa.RecordBatchReader:
    return pa.Table.from_pylist([dict(row) for row in rows], schema=schema).to_reader()


def extract_of(
    window: Window,
    rows: Sequence[dict[str, Any]],
    table: RawTable = USER_SIGNUPS,
    further: tuple[str, ...] = (),
    rejected: Sequence[dict[str, Any]] = (),
) -> Extract:
    return Extract(
        table,
        window,
        batches_of(table.schema(further), rows),
        batches_of(REJECTED_ROWS.schema(), rejected),
    )


def signup(user: str, day: int, month: int = 1, **more: Any) -> dict[str, Any]:
    return {"user_id": user, "signup_date": datetime(2025, month, day, 8, 30), "product_type": "pro", **more}


def load(found: Snowflake, extract: Extract) -> LoadedSlice:
    return found.warehouse.replace_slice(extract)


def users(found: Snowflake) -> list[str]:
    return [row[0] for row in found.rows("select user_id from raw.user_signups order by user_id")]


def test_a_slice_is_replaced_and_the_other_months_stay(snowflake: Snowflake) -> None:
    load(snowflake, extract_of(JANUARY, [signup("a", 1), signup("b", 31)]))
    load(snowflake, extract_of(FEBRUARY, [signup("c", 1, 2)]))
    loaded = load(snowflake, extract_of(JANUARY, [signup("d", 5)]))
    assert loaded == LoadedSlice(rows=1, replaced_rows=2, rejected_rows=0, table_rows=2)
    assert users(snowflake) == ["c", "d"]


def test_a_slice_may_become_empty_and_a_table_be_made_of_nothing(snowflake: Snowflake) -> None:
    assert load(snowflake, extract_of(JANUARY, [])).table_rows == 0
    load(snowflake, extract_of(JANUARY, [signup("a", 1)]))
    load(snowflake, extract_of(JANUARY, []))
    assert users(snowflake) == []


def test_values_arrive_as_they_were(snowflake: Snowflake) -> None:
    """Nulls in every type, microseconds, text that looks like something else, names that SQL has to quote."""
    further = ("plan", "my column", "größe", "select")
    rows = [
        signup("007", 1, plan="Ünïcode 'quoted' \\ \n", **{"my column": "x", "größe": "xl", "select": "1"}),
        {**signup(" 1e3", 1), "signup_date": datetime(2025, 1, 31, 23, 59, 59, 999999), "product_type": None},
    ]
    load(snowflake, extract_of(JANUARY, rows, further=further))
    events = [
        {"user_id": "a", "engagement_date": datetime(2025, 1, 1), "session_duration": 0.1 + 0.2},
        {"user_id": None, "engagement_date": datetime(2025, 1, 2), "session_duration": None},
    ]
    load(snowflake, extract_of(JANUARY, events, USER_ENGAGEMENT))
    assert snowflake.rows(
        'select user_id, signup_date, product_type, plan, "my column", "größe", "SELECT", _row_number '
        "from raw.user_signups order by user_id desc"
    ) == [
        ("007", datetime(2025, 1, 1, 8, 30), "pro", "Ünïcode 'quoted' \\ \n", "x", "xl", "1", None),
        (" 1e3", datetime(2025, 1, 31, 23, 59, 59, 999999), None, None, None, None, None, None),
    ]
    assert snowflake.rows(
        "select user_id, session_duration from raw.user_engagement order by engagement_date"
    ) == [
        ("a", 0.1 + 0.2),
        (None, None),
    ]


def test_columns_are_matched_by_name_and_new_ones_are_added(snowflake: Snowflake) -> None:
    load(snowflake, extract_of(JANUARY, [signup("a", 1, plan="old")], further=("plan", "team")))
    load(
        snowflake,
        extract_of(FEBRUARY, [signup("b", 1, 2, plan="new", city="Rome")], further=("city", "plan")),
    )
    found = snowflake.rows("select user_id, plan, city, team from raw.user_signups order by user_id")
    assert found == [("a", "old", None, None), ("b", "new", "Rome", None)]


def test_a_column_of_another_type_is_refused_and_nothing_is_loaded(snowflake: Snowflake) -> None:
    snowflake.rows("create schema raw")
    snowflake.rows("create table raw.user_signups (user_id varchar, signup_date date)")
    with pytest.raises(
        WarehouseError, match="signup_date is DATE in the warehouse but must be TIMESTAMP_NTZ"
    ):
        load(snowflake, extract_of(JANUARY, [signup("a", 1)]))
    assert users(snowflake) == []


def test_a_row_outside_the_slice_is_refused_and_the_slice_stays(snowflake: Snowflake) -> None:
    load(snowflake, extract_of(FEBRUARY, [signup("a", 1, 2)]))
    with pytest.raises(WarehouseError, match="1 of 2 rows are not dated within the slice"):
        load(snowflake, extract_of(FEBRUARY, [signup("b", 1, 2), signup("c", 31, 1)]))
    assert users(snowflake) == ["a"]


def test_rejected_rows_are_replaced_with_their_table(snowflake: Snowflake) -> None:
    bad = {"reason": "unparseable_date", "date_value": "soon"}
    first = {"table_name": "user_signups", "user_id": "a", **bad}
    load(snowflake, extract_of(JANUARY, [], rejected=[first, {**first, "user_id": "b"}]))
    other = {"table_name": "user_engagement", "user_id": "z", **bad}
    load(snowflake, extract_of(JANUARY, [], USER_ENGAGEMENT, rejected=[other]))
    load(snowflake, extract_of(FEBRUARY, [], rejected=[{**first, "user_id": "c"}]))
    assert snowflake.rows("select user_id from raw.rejected_rows order by user_id") == [("c",), ("z",)]


def test_no_staging_table_is_left_nor_its_history_paid_for(snowflake: Snowflake) -> None:
    load(snowflake, extract_of(JANUARY, [signup("a", 1)]))
    found = snowflake.rows(
        f"select table_name from {snowflake.database}.information_schema.tables order by 1"
    )
    assert [row[0] for row in found] == ["REJECTED_ROWS", "USER_SIGNUPS", "USER_SIGNUPS__LOCK"]
    sent = snowflake.emulator.statements().lower()
    created = re.findall(rf"table {snowflake.database.lower()}\.raw\.\w+__load_\w+ .*", sent)
    assert created
    assert all(statement.endswith("data_retention_time_in_days = 0;") for statement in created)


def test_computed_tables_are_replaced_with_their_types_and_all_at_once(snowflake: Snowflake) -> None:
    columns = {
        "name": pa.array(["a", None], pa.string()),
        "day": pa.array([date(2025, 1, 31), None], pa.date32()),
        "users": pa.array([2**40, None], pa.int64()),
        "rate": pa.array([0.1, None], pa.float64()),
        "is_new": pa.array([True, None], pa.bool_()),
    }
    first = pa.table(columns)
    snowflake.warehouse.replace_tables("insights", {"one": first, "none": first.slice(0, 0)})
    assert read(snowflake, "one").to_pylist() == first.to_pylist()
    assert read(snowflake, "one").schema.types == first.schema.types
    assert read(snowflake, "none").num_rows == 0
    changed = pa.table({**columns, "name": pa.array([1.5, 2.5])})
    with pytest.raises(WarehouseError, match="column name is TEXT in the warehouse but must be FLOAT"):
        snowflake.warehouse.replace_tables("insights", {"one": first.slice(0, 1), "none": changed})
    assert read(snowflake, "one").num_rows == 2
    snowflake.warehouse.replace_tables("insights", {"one": first.slice(1), "none": first})
    assert (read(snowflake, "one").num_rows, read(snowflake, "none").num_rows) == (1, 2)


def test_readers_may_read_computed_tables_that_name_no_user_and_go_on_when_these_are_replaced(
    snowflake: Snowflake,
) -> None:
    """Insight tables were granted to nobody: dbt grants its own models alone."""
    rows = pa.table({"users": pa.array([1, 2], pa.int64())})
    users = f"{snowflake.database}.USER_LEVEL"
    with environ({"SNOWFLAKE_READER_ROLE": "reader"}):
        for _ in range(2):
            snowflake.warehouse.replace_tables("insights", {"decline_brief": rows})
            snowflake.warehouse.replace_tables("user_level", {"at_risk_users": rows})
            found = snowflake.rows("show grants to role reader")
            assert found[1:] == [("SELECT", "TABLE", f"{snowflake.database}.INSIGHTS.DECLINE_BRIEF")]
        snowflake.rows(f"grant usage on schema {users} to role reader")
        snowflake.rows(f"grant select on table {users}.AT_RISK_USERS to role reader")
        found = list(examine(snowflake.account, ["insights.decline_brief"]))
    assert found[-1].remedy == (
        f"revoke USAGE on SCHEMA {users} from role READER; "
        f"revoke SELECT on TABLE {users}.AT_RISK_USERS from role READER;"
    )


def read(snowflake: Snowflake, table: str) -> pa.Table:
    with snowflake.warehouse.reader() as reader:
        return reader.ordered("insights", table).read_all()


@pytest.mark.parametrize(("statement", "when"), CUTS)
def test_a_cut_connection_leaves_the_slice_whole_and_once(
    snowflake: Snowflake, statement: str, when: Literal["before", "after"]
) -> None:
    """What is sent again after its answer was lost runs twice on the emulator; a count notices, and all is redone."""
    load(snowflake, extract_of(JANUARY, [signup("old", 1)]))
    load(snowflake, extract_of(FEBRUARY, [signup("z", 1, 2)]))
    cut = Cut(statement, when)
    with cut_wire(snowflake.emulator.port, cut) as port, environ({"SNOWFLAKE_PORT": str(port)}):
        loaded = load(snowflake, extract_of(JANUARY, [signup("a", 1), signup("b", 2)]))
    assert cut.made == 1
    assert (loaded.rows, loaded.table_rows) == (2, 3)
    assert users(snowflake) == ["a", "b", "z"]


# the connector asks to cancel what timed out, in a thread of its own, over the same dead wire
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.exhaustive
def test_a_connection_that_stays_cut_keeps_the_old_slice_and_says_so(snowflake: Snowflake) -> None:
    load(snowflake, extract_of(JANUARY, [signup("old", 1)]))
    cut = Cut("insert into", "before", times=1_000)
    with (
        cut_wire(snowflake.emulator.port, cut) as port,
        environ(
            {
                "SNOWFLAKE_PORT": str(port),
                "SNOWFLAKE_NETWORK_TIMEOUT": "1",
                "SNOWFLAKE_STATEMENT_TIMEOUT": "2",
            }
        ),
        pytest.raises(WarehouseError, match="not loaded in 3 attempts"),
    ):
        load(snowflake, extract_of(JANUARY, [signup("new", 1)]))
    assert users(snowflake) == ["old"]


# -- loads at the same time --------------------------------------------------------------------------------


def test_two_loads_at_a_time_leave_each_slice_whole_and_once(
    snowflake: Snowflake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two months, and one of them twice."""
    monkeypatch.setattr(loading, "WAITS", (0.5, 1, 2, 4, 8))
    load(snowflake, extract_of(FEBRUARY, []))
    slices = [
        (JANUARY, [signup(f"j{n}", 1) for n in range(20)]),
        (FEBRUARY, [signup(f"f{n}", 1, 2) for n in range(20)]),
        (JANUARY, [signup(f"j{n}", 1) for n in range(20)]),
    ]
    with ThreadPoolExecutor(3) as threads:
        done = list(threads.map(lambda each: load(snowflake, extract_of(*each)), slices))
    assert [each.rows for each in done] == [20, 20, 20]
    assert users(snowflake) == sorted([f"{month}{n}" for month in "jf" for n in range(20)])


def test_a_load_waits_until_another_load_of_the_table_has_ended(
    snowflake: Snowflake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "WAITS", (0.5,) * 60)
    load(snowflake, extract_of(JANUARY, [signup("old", 1)]))
    with connect(snowflake.account) as connection, ThreadPoolExecutor(1) as threads:
        rows_of(connection, "begin transaction")
        rows_of(connection, "update raw.user_signups__lock set loads = loads + 1")
        waiting = threads.submit(load, snowflake, extract_of(JANUARY, [signup("new", 1)]))
        with pytest.raises(TimeoutError):
            waiting.result(timeout=3)
        assert users(snowflake) == ["old"]
        rows_of(connection, "commit")
        assert waiting.result().rows == 1
    assert users(snowflake) == ["new"]


LOCKED = b"""{"success": false, "code": "000625", "message": "Statement 1 has locked table T in transaction 2",
"data": {"sqlState": "57014", "errorCode": "000625", "queryId": "3"}}"""


def test_a_table_that_another_transaction_holds_is_loaded_in_the_next_attempt(snowflake: Snowflake) -> None:
    """Snowflake reports a lock timeout as an error of the statement, which was once taken for final."""
    cut = Cut("delete from", "before", answer=(200, LOCKED))
    with cut_wire(snowflake.emulator.port, cut) as port, environ({"SNOWFLAKE_PORT": str(port)}):
        load(snowflake, extract_of(JANUARY, [signup("a", 1)]))
    assert cut.made == 1
    assert users(snowflake) == ["a"]


# the connector asks to cancel what timed out, in a thread of its own, over the same wire
@pytest.mark.long
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_outage_is_retried_and_then_reported_in_one_sentence(snowflake: Snowflake) -> None:
    """The connector raises `ServiceUnavailableError` for it, which is no OperationalError."""
    cut = Cut("insert into", "before", times=1_000, answer=(503, b""))
    with (
        cut_wire(snowflake.emulator.port, cut) as port,
        environ(
            {
                "SNOWFLAKE_PORT": str(port),
                "SNOWFLAKE_NETWORK_TIMEOUT": "1",
                "SNOWFLAKE_STATEMENT_TIMEOUT": "2",
            }
        ),
        pytest.raises(WarehouseError, match="not loaded in 3 attempts"),
    ):
        load(snowflake, extract_of(JANUARY, [signup("a", 1)]))
    assert cut.made >= 3


def test_the_connector_cancels_no_statement_that_snowflake_lets_run(
    snowflake: Snowflake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It arms a timer with `network_timeout` and cancels what runs then: every COPY of five minutes died of it."""
    armed: list[float] = []

    class Recorded(vars(cursor)["_TrackedQueryCancellationTimer"]):
        def __init__(self, interval: float, *more: Any) -> None:
            armed.append(interval)
            super().__init__(interval, *more)

    monkeypatch.setattr(cursor, "_TrackedQueryCancellationTimer", Recorded)
    with environ({"SNOWFLAKE_STATEMENT_TIMEOUT": "7200"}):
        parameters = snowflake.account.connection_arguments()["session_parameters"]
        snowflake.rows("select 1")
    ended_by_snowflake = (
        parameters["STATEMENT_TIMEOUT_IN_SECONDS"] + parameters["STATEMENT_QUEUED_TIMEOUT_IN_SECONDS"]
    )
    assert ended_by_snowflake == 14_400
    assert armed
    assert all(seconds > ended_by_snowflake for seconds in armed)


def test_a_long_slice_is_loaded_by_months_and_months_that_are_empty_now_are_emptied(
    snowflake: Snowflake, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = Window()
    load(snowflake, extract_of(everything, [signup(f"old {month}", 3, month) for month in range(1, 7)]))
    monkeypatch.setattr(loading, "ROWS_PER_LOAD", 3)
    rows = [signup(f"{month}-{n}", 3, month) for month in (1, 2, 5) for n in range(2)]
    bad = {"table_name": "user_signups", "reason": "null_date", "user_id": "z"}
    loaded = load(snowflake, extract_of(everything, rows, rejected=[bad]))
    assert loaded == LoadedSlice(rows=6, replaced_rows=6, rejected_rows=1, table_rows=6)
    assert users(snowflake) == sorted(row["user_id"] for row in rows)
    assert snowflake.rows("select user_id from raw.rejected_rows") == [("z",)]
    deleted = re.findall(
        r"delete from \S+user_signups where (.*?);?$", snowflake.emulator.statements().lower(), re.M
    )
    assert [condition.strip() for condition in deleted[-3:]] == [
        "signup_date < '2025-02-01'",
        "signup_date >= '2025-02-01' and signup_date < '2025-05-01'",
        "signup_date >= '2025-05-01'",
    ]


def test_parquet_has_large_row_groups_however_small_the_batches_were(tmp_path: Path) -> None:
    """Batches of a few hundred rows once became row groups of a few hundred rows."""
    numbers = range(1_500_000)
    with duckdb.connect() as rows:
        rows.register("numbers", pa.table({"n": pa.array(numbers)}).to_reader(max_chunksize=500))
        part = loading._write(
            rows, "select n, 'x' as \"my column\" from numbers", "t", tmp_path / "out", "true"
        )
    files = [pq.ParquetFile(file).metadata for file in (tmp_path / "out").iterdir()]
    groups = [[each.row_group(n).num_rows for n in range(each.num_row_groups)] for each in files]
    assert part.rows == sum(map(sum, groups)) == len(numbers)
    assert min(size for sizes in groups for size in sizes[:-1]) >= 262_144
    assert len(files) > 1
    assert part.types == {"N": "NUMBER(38,0)", "my column": "VARCHAR"}


def test_a_sensor_that_asks_twice_a_minute_logs_in_six_times_an_hour(
    snowflake: Snowflake, monkeypatch: pytest.MonkeyPatch
) -> None:
    logins, clock, connect = count(), [0.0], connector.connect

    def counted(**arguments: Any) -> Any:
        next(logins)
        return connect(**arguments)

    load(snowflake, extract_of(JANUARY, []))
    monkeypatch.setattr(connector, "connect", counted)
    monkeypatch.setattr(warehouse, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    for tick in range(120):
        clock[0] = 1_000_000 + 30.0 * tick
        assert snowflake.warehouse.exists()
    assert next(logins) == 6


def test_a_warehouse_without_the_schema_is_asked_again(snowflake: Snowflake) -> None:
    assert not snowflake.warehouse.exists()
    load(snowflake, extract_of(JANUARY, []))
    assert snowflake.warehouse.exists()


# -- through Dagster ---------------------------------------------------------------------------------------

CALENDAR = dg.MonthlyPartitionsDefinition("2025-01-01", end_date="2025-04-01")


def test_an_asset_stores_its_slice_and_one_downstream_reads_it_as_a_frame(snowflake: Snowflake) -> None:
    seen: list[pd.DataFrame] = []

    @dg.asset(
        key=["raw", "user_signups"],
        partitions_def=CALENDAR,
        metadata={"partition_expr": "signup_date"},
        io_manager_key="raw",
    )
    def signups(context) -> Extract:
        january = context.partition_key == "2025-01-01"
        return extract_of(*((JANUARY, [signup("a", 1)]) if january else (FEBRUARY, [signup("b", 1, 2)])))

    @dg.asset(
        ins={"found": dg.AssetIn(key=["raw", "user_signups"])},
        partitions_def=CALENDAR,
        io_manager_key="nothing",
    )
    def frame(found: pd.DataFrame) -> None:
        seen.append(found)

    manager = RawIOManager(warehouse=snowflake.warehouse)
    resources = {"raw": manager, "nothing": dg.mem_io_manager}
    done = [
        dg.materialize([signups, frame], partition_key=month, resources=resources)
        for month in ("2025-01-01", "2025-02-01")
    ]
    assert all(result.success for result in done)
    assert [list(found["user_id"]) for found in seen] == [["a"], ["b"]]
    metadata = done[1].asset_materializations_for_node("raw__user_signups")[0].metadata
    assert metadata["dagster/partition_row_count"].value == 1
    assert metadata["dagster/row_count"].value == 2
    assert PASSWORD not in repr(done[1].all_events)
    assert PASSWORD not in str(manager)
