"""Source `warehouse` on DuckDB: what it refuses, when it counts again, and a file that another process holds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from user_engagement.automation.sensors import requests_for_new_data
from user_engagement.contracts.raw import CHURN_DATA, REJECTED_ROWS, USER_ENGAGEMENT, USER_SIGNUPS, Window
from user_engagement.errors import SourceError, WarehouseBusyError
from user_engagement.settings import Settings, TableMapping, load_settings
from user_engagement.sources import open_source
from user_engagement.sources.warehouse import WarehouseSource
from user_engagement.warehouse import open_source_tables
from user_engagement.warehouse.duckdb.source_tables import DuckDBTables
from user_engagement.warehouse.duckdb.warehouse import DuckDBWarehouse

SIGNUPS = (
    "create schema crm; create table crm.people as "
    "select 'a' as user_id, {} as signup_date, 'pro' as product_type"
)
SESSIONS = (
    "create schema crm; create table crm.sessions as select 'a' as user_id, '2025-03-01' as engagement_date, "
    "{} as session_duration, 'visit' as interaction_type"
)
MAPPINGS = {
    USER_SIGNUPS.name: TableMapping("crm.people", updated_at="changed"),
    USER_ENGAGEMENT.name: TableMapping("crm.sessions"),
}


class CountingTables(DuckDBTables):
    """Counts the queries over the tables."""

    queries = 0

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        self.queries += 1
        return super().rows(sql)


@pytest.fixture
def warehouse(tmp_path: Path) -> DuckDBWarehouse:
    return DuckDBWarehouse(tmp_path / "warehouse.duckdb", "500MB")


def execute(file: Path, *statements: str) -> None:
    with duckdb.connect(file) as connection:
        for statement in statements:
            connection.execute(statement)


def source_of(warehouse: DuckDBWarehouse, **mappings: TableMapping) -> WarehouseSource:
    return WarehouseSource(DuckDBTables(warehouse, None), mappings={**MAPPINGS, **mappings})


# -- refusals ----------------------------------------------------------------------------------------------


def test_the_projects_own_raw_tables_are_no_source_of_themselves(warehouse: DuckDBWarehouse) -> None:
    """The slice would be deleted, and then copied from where it no longer is."""
    execute(warehouse.file, "create schema raw")
    with pytest.raises(
        SourceError, match=r"RAW.user_signups: tables in the schema raw are this project's own"
    ):
        source_of(warehouse, user_signups=TableMapping("RAW.user_signups")).inspect(USER_SIGNUPS)


def test_a_warehouse_file_that_is_not_there_is_not_created(warehouse: DuckDBWarehouse) -> None:
    with pytest.raises(SourceError, match=r"there is no warehouse file yet"):
        source_of(warehouse).inspect(USER_SIGNUPS)
    assert not warehouse.file.exists()


def test_a_text_that_is_no_number_is_refused_before_anything_is_written(warehouse: DuckDBWarehouse) -> None:
    execute(warehouse.file, SESSIONS.format("'60 s'"))
    with pytest.raises(SourceError, match=r"crm.sessions: session_duration is '60 s', expected a number"):
        source_of(warehouse).extract(USER_ENGAGEMENT, Window())


def test_dates_that_are_all_unusable_and_columns_of_another_type_are_refused(
    warehouse: DuckDBWarehouse,
) -> None:
    execute(warehouse.file, SIGNUPS.format("'soon'"), "alter table crm.people add column changed integer")
    with pytest.raises(SourceError, match=r"crm.people: no signup_date is usable; the first is 'soon'"):
        source_of(warehouse).inspect(USER_SIGNUPS)
    execute(warehouse.file, "alter table crm.people alter signup_date type boolean using true")
    with pytest.raises(SourceError, match=r"crm.people: column signup_date is BOOLEAN, expected a date"):
        source_of(warehouse).inspect(USER_SIGNUPS)


def test_churn_may_be_absent_unless_it_is_mapped(warehouse: DuckDBWarehouse) -> None:
    execute(warehouse.file, SIGNUPS.format("date '2025-03-01'"))
    assert source_of(warehouse).inspect(CHURN_DATA) is None
    loaded = warehouse.replace_slice(source_of(warehouse).extract(CHURN_DATA, Window()))
    assert (loaded.rows, loaded.rejected_rows) == (0, 0)
    mapped = source_of(warehouse, churn_data=TableMapping("crm.gone"))
    with pytest.raises(SourceError, match=r"crm.gone: no such table for churn_data.* Found crm.people"):
        mapped.inspect(CHURN_DATA)


def test_a_table_that_vanishes_before_the_load_leaves_the_slice_and_says_so(
    warehouse: DuckDBWarehouse,
) -> None:
    execute(warehouse.file, SESSIONS.format("60"))
    source = source_of(warehouse)
    warehouse.replace_slice(source.extract(USER_ENGAGEMENT, Window()))
    extract = source.extract(USER_ENGAGEMENT, Window())
    execute(warehouse.file, "drop table crm.sessions")
    with pytest.raises(SourceError, match=r"user_engagement: cannot be read. Nothing was loaded"):
        warehouse.replace_slice(extract)
    with warehouse.connect() as connection:
        assert connection.execute("select count(*) from raw.user_engagement").fetchall() == [(1,)]


# -- changes -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_row_that_comes_goes_moves_or_says_that_it_changed_changes_its_months_alone(
    warehouse: DuckDBWarehouse,
) -> None:
    execute(
        warehouse.file,
        SIGNUPS.format("date '2025-03-01'"),
        "alter table crm.people add column changed timestamp default timestamp '2025-04-01'",
        "insert into crm.people values ('b', '2025-04-01', 'pro', '2025-04-01')",
    )
    source = source_of(warehouse)
    for statement, months in (
        ("insert into crm.people values ('c', '2025-04-02', 'pro', '2025-04-02')", {"2025-04-01"}),
        (
            "update crm.people set product_type = 'x', changed = '2025-05-01' where user_id = 'a'",
            {"2025-03-01"},
        ),
        (
            "update crm.people set signup_date = '2025-03-02' where user_id = 'c'",
            {"2025-03-01", "2025-04-01"},
        ),
        ("delete from crm.people where user_id = 'b'", {"2025-04-01"}),
        ("insert into crm.people values ('d', null, 'pro', null)", {"1000-01-01"}),
    ):
        before, state = source.fingerprint(USER_SIGNUPS), source.state(USER_SIGNUPS)
        execute(warehouse.file, statement)
        after = source.fingerprint(USER_SIGNUPS)
        assert {m for m in before | after if before.get(m) != after.get(m)} == months, statement
        assert source.state(USER_SIGNUPS) != state


def test_while_an_attached_file_is_as_it_was_nothing_is_counted_again(
    warehouse: DuckDBWarehouse, tmp_path: Path
) -> None:
    execute(tmp_path / "shop.duckdb", SESSIONS.format("60"))
    tables = CountingTables(warehouse, str(tmp_path / "shop.duckdb"))
    source = WarehouseSource(tables, mappings=MAPPINGS)
    before = source.fingerprint(USER_ENGAGEMENT), source.inspect(USER_ENGAGEMENT)
    assert tables.queries == 2
    assert (source.fingerprint(USER_ENGAGEMENT), source.inspect(USER_ENGAGEMENT)) == before
    assert tables.queries == 2
    execute(tmp_path / "shop.duckdb", "insert into crm.sessions from crm.sessions")
    report = source.inspect(USER_ENGAGEMENT)
    assert report
    assert (report.rows, tables.queries) == (2, 3)


def test_row_numbers_do_not_depend_on_the_slice(warehouse: DuckDBWarehouse) -> None:
    execute(
        warehouse.file,
        SESSIONS.format("60"),
        "insert into crm.sessions select 'u' || i, cast(date '2025-02-20' + cast(i % 20 as integer) as varchar), i, "
        "'visit' from range(200) as numbers(i)",
    )
    source, march = source_of(warehouse), datetime(2025, 3, 1).date()
    numbers = []
    for windows in ([Window()], [Window(march, None), Window(None, march)]):
        for window in windows:
            warehouse.replace_slice(source.extract(USER_ENGAGEMENT, window))
        with warehouse.connect() as connection:
            query = "select user_id, engagement_date, _row_number from raw.user_engagement order by all"
            numbers.append(connection.execute(query).fetchall())
    assert numbers[0] == numbers[1]
    assert len({number for *_, number in numbers[0]}) == 201


def test_rejected_rows_are_named_and_counted_once_however_often_they_are_loaded(
    warehouse: DuckDBWarehouse,
) -> None:
    execute(
        warehouse.file,
        SESSIONS.format("60"),
        "insert into crm.sessions values ('b', '2025-02-30', 1, 'visit'), (' ', 'soon', 1, 'visit')",
    )
    for _ in range(2):
        warehouse.replace_slice(source_of(warehouse).extract(USER_ENGAGEMENT, Window()))
    with warehouse.connect() as connection:
        query = f"select reason, user_id, date_value, _source from raw.{REJECTED_ROWS.name} order by all"
        assert connection.execute(query).fetchall() == [
            ("null_user_id", None, "soon", "crm.sessions"),
            ("unparseable_date", "b", "2025-02-30", "crm.sessions"),
        ]


# -- a file that another process holds ---------------------------------------------------------------------


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Settings]:
    """Settings of a home whose warehouse file another process has open."""
    settings = load_settings(
        home=tmp_path,
        source="warehouse",
        source_tables={name: {"table": mapping.table} for name, mapping in MAPPINGS.items()},
    )
    execute(settings.warehouse_file, SIGNUPS.format("date '2025-03-01'"))
    program = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(settings.warehouse_file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == b"open\n"
        yield settings
    finally:
        process.communicate(timeout=30)


@pytest.mark.slow
def test_a_sensor_skips_while_a_run_holds_the_file_that_has_the_sources_tables(held: Settings) -> None:
    source = open_source(held, open_source_tables)
    with pytest.raises(WarehouseBusyError):
        source.fingerprint(USER_SIGNUPS)
    with dg.DagsterInstance.ephemeral() as instance:
        skipped = requests_for_new_data(instance, source, held, ["2025-03-01"], datetime.now(UTC))
    assert isinstance(skipped, dg.SkipReason)
    assert "holds this file" in str(skipped.skip_message)
