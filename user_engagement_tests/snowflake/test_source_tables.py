"""Source `warehouse` in Snowflake: tables of the account are read where they lie, and mean what files mean."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from dagster._core.test_utils import environ

from user_engagement.contracts.raw import RAW_TABLES, REJECTED_ROWS, USER_ENGAGEMENT, RawTable, Window
from user_engagement.partitions import Months
from user_engagement.pipeline import plan, run
from user_engagement.settings import TableMapping
from user_engagement.sources import Source
from user_engagement.sources.files import FilesSource
from user_engagement.sources.warehouse import WarehouseSource
from user_engagement.warehouse import Warehouse
from user_engagement.warehouse.duckdb.warehouse import DuckDBWarehouse
from user_engagement.warehouse.snowflake import loading, source_tables
from user_engagement.warehouse.snowflake.connection import connect
from user_engagement.warehouse.snowflake.source_tables import SnowflakeTables
from user_engagement_tests.support.comparing import assert_same_marts
from user_engagement_tests.support.dirty_sessions import ROWS, session
from user_engagement_tests.support.postgres import copy_into, running_server
from user_engagement_tests.support.proxy import Cut, cut_wire
from user_engagement_tests.support.snowflake import (
    Emulator,
    Snowflake,
    database_of,
    marts_of,
    settings_of,
)

pytestmark = pytest.mark.slow


def written(snowflake: Snowflake, name: str, rows: list[dict[str, Any]]) -> None:
    """The rows as texts in a table of the account."""
    columns = ", ".join(f"{column} varchar" for column in rows[0])
    marks = ", ".join(["%s"] * len(rows[0]))
    with connect(snowflake.account) as connection, connection.cursor() as cursor:
        cursor.execute("create schema if not exists crm")
        cursor.execute(f"create or replace table crm.{name} ({columns})")
        for row in rows:
            cursor.execute(f"insert into crm.{name} values ({marks})", tuple(row.values()))


def loaded(source: Source, warehouse: Warehouse, table: RawTable) -> tuple[Counter[Any], Counter[Any]]:
    """Values of the raw table's rows, and of the rejected ones."""
    warehouse.replace_slice(source.extract(table, Window()))
    with warehouse.reader() as reader:
        rows = reader.query(f"select * from raw.{table.name}")
        rejected = reader.query(f"select * from raw.{REJECTED_ROWS.name}")
    return tuple(
        Counter(tuple(row[name] for name in sorted(row) if name[0] != "_") for row in found.to_pylist())
        for found in (rows, rejected)
    )


@pytest.mark.parametrize(
    "zone",
    [
        "Europe/Berlin",
        pytest.param("UTC", marks=pytest.mark.exhaustive),
        pytest.param("America/Los_Angeles", marks=pytest.mark.exhaustive),
    ],
)
def test_texts_mean_in_snowflake_what_they_mean_in_files(
    snowflake: Snowflake, tmp_path: Path, zone: str
) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    (tmp_path / "user_engagement.jsonl").write_bytes(lines.encode())
    written(snowflake, "sessions", ROWS)
    files = loaded(
        FilesSource(tmp_path, zone), DuckDBWarehouse(tmp_path / "w.duckdb", "500MB"), USER_ENGAGEMENT
    )
    mapped = {USER_ENGAGEMENT.name: TableMapping("crm.sessions")}
    source = WarehouseSource(SnowflakeTables(snowflake.account, None), zone, mapped)
    found = loaded(source, snowflake.warehouse, USER_ENGAGEMENT)
    assert [(got - want, want - got) for got, want in zip(found, files, strict=True)] == [
        (Counter(), Counter())
    ] * 2
    assert sum(files[1].values()) >= 10


def test_typed_columns_mean_in_snowflake_what_they_mean_in_parquet(
    snowflake: Snowflake, tmp_path: Path
) -> None:
    moments = [datetime(2025, 3, 1, 23, 59, 59, 999_999), datetime(1900, 1, 1), None, datetime(9999, 12, 31)]
    table = pa.table(
        {
            "user_id": pa.array([2.0, 3.5, None, 1e16]),
            "engagement_date": pa.array(moments, pa.timestamp("us")),
            "session_duration": pa.array([60, None, 0, -5], pa.int64()),
            "interaction_type": pa.array([" visit", "NA", "null", ""]),
            "event_id": pa.array([0, 7, None, 2**60], pa.int64()),
            "first": pa.array([True, False, None, True]),
        }
    )
    pq.write_table(table, tmp_path / "user_engagement.parquet")
    loading.replace_tables(snowflake.account, "crm", {"sessions": table})
    files = loaded(FilesSource(tmp_path), DuckDBWarehouse(tmp_path / "w.duckdb", "500MB"), USER_ENGAGEMENT)
    mapped = {USER_ENGAGEMENT.name: TableMapping("crm.sessions")}
    source = WarehouseSource(SnowflakeTables(snowflake.account, None), mappings=mapped)
    assert loaded(source, snowflake.warehouse, USER_ENGAGEMENT) == files


# -- whole runs --------------------------------------------------------------------------------------------

MAPPED: dict[str, Any] = {
    "user_signups": {"table": "crm.people", "columns": {"user_id": "uid", "signup_date": "created_at"}},
    "user_engagement": {"table": "crm.sessions"},
    "churn_data": {"table": "crm.cancellations"},
}
TABLES = {"user_signups": "people", "user_engagement": "sessions", "churn_data": "cancellations"}
RENAMED = {"user_id": "uid", "signup_date": "created_at"}


def delivered(snowflake: Snowflake, company: Path, rows_of_march: float = 1) -> None:
    """The company's tables in the account, with a share of the sessions of a month."""
    tables = {table.name: pq.read_table(company / f"{table.name}.parquet") for table in RAW_TABLES}
    people = tables["user_signups"]
    tables["user_signups"] = people.rename_columns([RENAMED.get(name, name) for name in people.column_names])
    sessions = tables["user_engagement"]
    march = pc.starts_with(pc.strftime(sessions["engagement_date"], "%Y-%m"), "2025-03")
    kept = pc.or_(pc.invert(march), pa.array([n % 10 < 10 * rows_of_march for n in range(len(sessions))]))
    tables["user_engagement"] = sessions.filter(kept)
    placed = {TABLES[name]: with_wide_integers(rows) for name, rows in tables.items()}
    loading.replace_tables(snowflake.account, "crm", placed)


def with_wide_integers(table: pa.Table) -> pa.Table:
    """Integers as wide as a warehouse's table has them."""
    fields = [f.with_type(pa.int64()) if pa.types.is_integer(f.type) else f for f in table.schema]
    return table.cast(pa.schema(fields))


@pytest.mark.exhaustive
def test_tables_of_the_account_give_the_marts_of_files_and_nothing_passes_through_this_process(
    snowflake: Snowflake, company: Path, tmp_path: Path
) -> None:
    """Half of a month's sessions come late: that month alone is loaded again."""
    embedded = settings_of(tmp_path / "files", source="files", source_path=str(company))
    hosted = settings_of(tmp_path / "tables", source="warehouse", warehouse="snowflake", source_tables=MAPPED)
    delivered(snowflake, company, rows_of_march=0.5)
    before = snowflake.emulator.statements().lower().count("put 'file")
    with environ({"USER_ENGAGEMENT_HOME": str(hosted.home)}):
        run(hosted, plan(hosted))
        assert plan(hosted).load == ()
    assert snowflake.emulator.statements().lower().count("put 'file") == before
    delivered(snowflake, company)
    march = date(2025, 3, 1)
    with environ({"USER_ENGAGEMENT_HOME": str(hosted.home)}):
        planned = plan(hosted)
        assert planned.load == (Months(march, march),)
        run(hosted, planned)
        assert plan(hosted).load == ()
    with environ({"USER_ENGAGEMENT_HOME": str(embedded.home)}):
        run(embedded, plan(embedded))
    assert_same_marts(marts_of(hosted, tmp_path / "found"), marts_of(embedded, tmp_path / "wanted"))


@pytest.mark.long
def test_the_same_rows_give_the_same_marts_through_files_a_database_and_tables_of_the_account(
    emulator: Emulator, company: Path, tmp_path: Path
) -> None:
    found: dict[str, dict[str, pa.Table]] = {}
    read_from: set[tuple[str]] = set()
    with running_server() as server, server.database() as url:
        copy_into(url, company)
        sources: dict[str, dict[str, Any]] = {
            "files": {"source_path": str(company)},
            "database": {"source_path": url},
            "warehouse": {"source_tables": MAPPED},
        }
        for source, where in sources.items():
            home = tmp_path / source
            hosted = settings_of(home, warehouse="snowflake", source=source, **where)
            with database_of(emulator) as snowflake, environ({"USER_ENGAGEMENT_HOME": str(home)}):
                if source == "warehouse":
                    delivered(snowflake, company)
                run(hosted, plan(hosted))
                read_from.update(snowflake.rows("select distinct _source from raw.user_signups"))
                found[source] = marts_of(hosted, tmp_path / f"marts of {source}")
    assert read_from == {("user_signups.parquet",), ("user_signups",), ("crm.people",)}
    assert_same_marts(found["database"], found["files"])
    assert_same_marts(found["warehouse"], found["files"])


def test_while_a_table_says_that_it_is_as_it_was_nothing_is_counted_again(
    snowflake: Snowflake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_tables, "MARK_SECONDS", 0.0)
    written(snowflake, "sessions", [session("1", "2025-03-05", "60")])
    mapped = {USER_ENGAGEMENT.name: TableMapping("crm.sessions")}
    source = WarehouseSource(SnowflakeTables(snowflake.account, None), mappings=mapped)

    def looks() -> int:
        return snowflake.emulator.statements().lower().count("count(*), cast(null as varchar)")

    before, counted = source.fingerprint(USER_ENGAGEMENT), looks()
    assert source.fingerprint(USER_ENGAGEMENT) == before
    assert looks() == counted > 0
    snowflake.rows("insert into crm.sessions select * from crm.sessions")
    assert source.fingerprint(USER_ENGAGEMENT) != before
    assert looks() > counted


@pytest.mark.parametrize("statement", ["insert into", "delete from", "commit"])
def test_a_lost_answer_leaves_the_slice_whole(snowflake: Snowflake, statement: str) -> None:
    written(snowflake, "sessions", [session(str(n), "2025-03-05", "60") for n in range(5)])
    mapped = {USER_ENGAGEMENT.name: TableMapping("crm.sessions")}
    extract = WarehouseSource(SnowflakeTables(snowflake.account, None), mappings=mapped).extract(
        USER_ENGAGEMENT, Window()
    )
    cut = Cut(statement, "after")
    with (
        cut_wire(snowflake.emulator.port, cut) as port,
        environ({"SNOWFLAKE_PORT": str(port)}),
    ):
        assert snowflake.warehouse.replace_slice(extract).table_rows == 5
    assert cut.made == 1
    assert snowflake.rows("select count(*), count(distinct user_id) from raw.user_engagement") == [(5, 5)]


def test_a_table_without_rights_or_missing_ends_in_one_sentence_with_the_grants(
    snowflake: Snowflake, tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    tables = json.dumps({"user_signups": {"table": "crm.secret"}})
    done = command(
        *("run", "--source", "warehouse"),
        USER_ENGAGEMENT_WAREHOUSE="snowflake",
        USER_ENGAGEMENT_SOURCE_TABLES=tables,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "crm.secret: no such table for user_signups, or no right to read it" in done.stderr
    assert (
        f'grant select on "{snowflake.database}"."CRM"."SECRET" to role USER_ENGAGEMENT_ROLE' in done.stderr
    )
    assert [path.name for path in (tmp_path / "home").rglob("*") if path.is_file()] == []
