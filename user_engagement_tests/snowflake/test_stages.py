"""Source `warehouse` over files in a stage: Snowflake loads what is new, and the rows mean what files mean."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from dagster._core.test_utils import environ
from pyarrow.csv import write_csv

from user_engagement.contracts.raw import (
    RAW_TABLES,
    REJECTED_ROWS,
    USER_ENGAGEMENT,
    USER_SIGNUPS,
    RawTable,
    Window,
)
from user_engagement.errors import SettingsError, SourceError
from user_engagement.partitions import Months
from user_engagement.pipeline import plan, run
from user_engagement.settings import TableMapping, load_settings
from user_engagement.sources import Source, open_source
from user_engagement.sources.files import FilesSource
from user_engagement.sources.warehouse import WarehouseSource
from user_engagement.warehouse import Warehouse, open_source_tables
from user_engagement.warehouse.duckdb.warehouse import DuckDBWarehouse
from user_engagement.warehouse.snowflake import loading, source_tables, stages
from user_engagement.warehouse.snowflake.doctor import examine
from user_engagement.warehouse.snowflake.source_tables import SnowflakeTables
from user_engagement_tests.snowflake.test_source_tables import ROWS, marts_of, settings_of
from user_engagement_tests.support.comparing import assert_same_marts
from user_engagement_tests.support.proxy import Cut, cut_wire
from user_engagement_tests.support.snowflake import Snowflake

pytestmark = pytest.mark.slow

SESSIONS = "@crm.lake/user_engagement/"


@dataclass(frozen=True)
class Lake:
    """A bucket with a stage over its folder `exports`."""

    snowflake: Snowflake
    folder: Path

    def put(self, name: str, content: bytes) -> None:
        """Delivers a file, unless it is there already, as programs that synchronise folders do."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists() or file.read_bytes() != content:
            file.write_bytes(content)

    def source(self, **mapping: Any) -> WarehouseSource:
        mapped = {USER_ENGAGEMENT.name: TableMapping(**{"table": SESSIONS, **mapping})}
        return WarehouseSource(SnowflakeTables(self.snowflake.account, None), mappings=mapped)


@pytest.fixture
def lake(snowflake: Snowflake, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    monkeypatch.setattr(source_tables, "MARK_SECONDS", 0.0)
    bucket = snowflake.database.lower().replace("_", "-")
    snowflake.rows("create schema if not exists crm")
    snowflake.rows(f"create stage crm.lake url = 's3://{bucket}/exports/'")
    folder = snowflake.emulator.buckets / bucket / "exports"
    folder.mkdir(parents=True)
    return Lake(snowflake, folder)


def session(user: str, day: str, **further: Any) -> dict[str, Any]:
    known = {"user_id": user, "engagement_date": day, "session_duration": "60", "interaction_type": "visit"}
    return {**known, **further}


def in_csv(rows: Sequence[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def in_json(rows: Sequence[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def in_parquet(table: pa.Table) -> bytes:
    content = io.BytesIO()
    pq.write_table(table, content)
    return content.getvalue()


def loaded(
    source: Source, warehouse: Warehouse, table: RawTable = USER_ENGAGEMENT
) -> list[list[dict[str, Any]]]:
    """The raw table's rows and the rejected ones, in source order, with the last part of their file's name."""
    warehouse.replace_slice(source.extract(table, Window()))
    with warehouse.reader() as reader:
        found = [reader.query(f"select * from raw.{name}") for name in (table.name, REJECTED_ROWS.name)]
    return [
        sorted(
            (
                {k: v for k, v in sorted(row.items()) if k != "_extracted_at"}
                | {"_source": row["_source"].rpartition("/")[2]}
                for row in rows.to_pylist()
            ),
            key=lambda row: (row["_source"], row["_row_number"]),
        )
        for rows in found
    ]


def users(snowflake: Snowflake) -> list[str]:
    return [row[0] for row in snowflake.rows("select user_id from staged_files.user_engagement order by 1")]


TYPED = pa.table(
    {
        "user_id": pa.array([2.0, 3.5, None, 1e16]),
        "engagement_date": pa.array(
            [datetime(2025, 3, 1, 23, 59, 59, 999_999), datetime(1900, 1, 1), None, datetime(9999, 12, 31)],
            pa.timestamp("us"),
        ),
        "session_duration": pa.array([60, None, 0, -5], pa.int64()),
        "interaction_type": pa.array([" visit", "NA", "null", ""]),
        "event_id": pa.array([0, 7, None, 2**60], pa.int64()),
        "first": pa.array([True, False, None, True]),
        "Email": pa.array(["a@example.org"] * 4),
    }
)
FILES = {
    "csv": {"1.csv": in_csv(ROWS[:20]), "later/2.csv.gz": gzip.compress(in_csv(ROWS[20:]))},
    "json": {"1.jsonl": in_json(ROWS[:20]), "later/2.jsonl.gz": gzip.compress(in_json(ROWS[20:]))},
    "parquet": {
        "1.parquet": in_parquet(TYPED),
        "later/2.parquet": in_parquet(TYPED.slice(1, 2).drop_columns("event_id")),
    },
}


@pytest.mark.parametrize("form", FILES)
def test_files_in_a_stage_mean_what_the_same_files_in_a_folder_mean(
    lake: Lake, tmp_path: Path, form: str
) -> None:
    """Their rows, rejected ones, names and numbers; a column with a person's name does not even reach Snowflake."""
    for name, content in FILES[form].items():
        lake.put(f"user_engagement/{name}", content)
    files = loaded(FilesSource(lake.folder), DuckDBWarehouse(tmp_path / "w.duckdb", "500MB"))
    found = loaded(lake.source(), lake.snowflake.warehouse)
    assert found == files
    assert found[0]
    assert len(found[1]) > 1
    held = lake.snowflake.rows("select * from staged_files.user_engagement limit 1")
    assert "a@example.org" not in str(held)


# -- whole runs ----------------------------------------------------------------------------------------------

STAGED = {table.name: {"table": f"@crm.lake/{table.name}/"} for table in RAW_TABLES}


def deliver(lake: Lake, company: Path, form: str, march: float = 1) -> None:
    """The company's tables in the bucket, sessions in a file a month, with a share of those of March."""
    for table in RAW_TABLES:
        rows = pq.read_table(company / f"{table.name}.parquet")
        if table != USER_ENGAGEMENT:
            lake.put(f"{table.name}/all.{form}", content_of(rows, form))
            continue
        month = pc.strftime(rows["engagement_date"], "%Y-%m").to_pylist()
        for each in sorted(set(month)):
            positions = [n for n, found in enumerate(month) if found == each]
            some = positions[: round(len(positions) * (march if each == "2025-03" else 1))]
            lake.put(f"{table.name}/{each}.{form}", content_of(rows.take(some), form))


def content_of(rows: pa.Table, form: str) -> bytes:
    if form == "parquet":
        return in_parquet(rows)
    content = io.BytesIO()
    write_csv(rows, content)
    return gzip.compress(content.getvalue(), mtime=0)


@pytest.mark.long
@pytest.mark.parametrize("form", ["parquet", "csv.gz"])
def test_files_in_a_stage_give_the_marts_of_the_same_files_and_nothing_passes_through_this_process(
    lake: Lake, company: Path, tmp_path: Path, form: str
) -> None:
    """Half of a month's sessions come late: that month alone is loaded again."""
    hosted = settings_of(tmp_path / "stage", source="warehouse", warehouse="snowflake", source_tables=STAGED)
    deliver(lake, company, form, march=0.5)
    with environ({"USER_ENGAGEMENT_HOME": str(hosted.home)}):
        run(hosted, plan(hosted))
        assert plan(hosted).load == ()
    deliver(lake, company, form)
    march = date(2025, 3, 1)
    with environ({"USER_ENGAGEMENT_HOME": str(hosted.home)}):
        planned = plan(hosted)
        assert planned.load == (Months(march, march),)
        run(hosted, planned)
    puts = re.findall(r"put 'file://\S+ @" + lake.snowflake.database, lake.snowflake.emulator.statements())
    assert puts == []
    embedded = settings_of(tmp_path / "files", source="files", source_path=str(lake.folder))
    with environ({"USER_ENGAGEMENT_HOME": str(embedded.home)}):
        run(embedded, plan(embedded))
    assert_same_marts(marts_of(hosted, tmp_path / "found"), marts_of(embedded, tmp_path / "wanted"))


# -- what changes --------------------------------------------------------------------------------------------


def day(number: int, *names: str) -> bytes:
    return in_csv([session(name, f"2025-03-{number:02}") for name in names])


def statements(snowflake: Snowflake, since: int = 0) -> list[str]:
    """The statements that read or change something, by their first two words."""
    found = snowflake.emulator.statements()[since:].lower().splitlines()
    first = [
        " ".join(line.split()[:2])
        for line in found
        if re.match(r"(list|desc|copy|insert|delete|select|create|alter) ", line)
    ]
    return [each for each in first if each != "alter session"]


def test_new_and_changed_files_are_loaded_and_rows_of_removed_ones_deleted(lake: Lake) -> None:
    """The fingerprint of their months alone changes, also if a changed file has as many rows as before."""
    lake.put("user_engagement/1.csv", day(1, "a", "b"))
    lake.put("user_engagement/2.csv", day(2, "c"))
    lake.put("user_engagement/april.csv", in_csv([session("z", "2025-04-01")]))
    source = lake.source()
    before = source.fingerprint(USER_ENGAGEMENT)
    assert users(lake.snowflake) == ["a", "b", "c", "z"]
    lake.put("user_engagement/1.csv", day(1, "a", "x"))
    lake.put("user_engagement/3.csv", day(3, "late"))
    (lake.folder / "user_engagement/2.csv").unlink()
    after = source.fingerprint(USER_ENGAGEMENT)
    assert users(lake.snowflake) == ["a", "late", "x", "z"]
    assert [month for month in after if after[month] != before[month]] == ["2025-03-01"]
    copied = re.findall(r"copy into \S+ from \S+ files = (\(.*?\))", lake.snowflake.emulator.statements())
    assert copied[-1] == "('user_engagement/1.csv', 'user_engagement/3.csv')"


def test_a_file_that_comes_back_as_it_was_is_loaded_again(lake: Lake) -> None:
    """Snowflake remembers for 64 days that it loaded the file, whose rows were deleted since."""
    lake.put("user_engagement/1.csv", day(1, "a"))
    lake.put("user_engagement/2.csv", day(2, "b"))
    file = lake.folder / "user_engagement/2.csv"
    content, changed = file.read_bytes(), file.stat().st_mtime_ns
    source = lake.source()
    source.inspect(USER_ENGAGEMENT)
    file.unlink()
    source.inspect(USER_ENGAGEMENT)
    assert users(lake.snowflake) == ["a"]
    file.write_bytes(content)
    os.utime(file, ns=(changed, changed))
    source.inspect(USER_ENGAGEMENT)
    assert users(lake.snowflake) == ["a", "b"]


def test_while_no_file_has_changed_a_look_is_a_list_and_nothing_else(lake: Lake) -> None:
    lake.put("user_engagement/1.csv", day(1, "a"))
    source = lake.source()
    before = source.fingerprint(USER_ENGAGEMENT), source.state(USER_ENGAGEMENT)
    so_far = len(lake.snowflake.emulator.statements())
    assert (source.fingerprint(USER_ENGAGEMENT), source.state(USER_ENGAGEMENT)) == before
    looked = statements(lake.snowflake, so_far)
    assert {each.split()[0] for each in looked} == {"list", "desc"}
    # what another process finds loaded is not loaded again
    so_far = len(lake.snowflake.emulator.statements())
    assert lake.source().fingerprint(USER_ENGAGEMENT) == before[0]
    assert not {"copy into", "insert into", "delete from"} & set(statements(lake.snowflake, so_far))


def test_a_column_that_files_gain_is_null_before_and_one_that_is_asked_for_later_is_loaded_from_all(
    lake: Lake,
) -> None:
    lake.put("user_engagement/1.csv", in_csv([session("a", "2025-03-01", email="a@example.org")]))
    lake.source().inspect(USER_ENGAGEMENT)
    lake.put("user_engagement/2.csv", in_csv([session("b", "2025-03-02", email="b@example.org", plan="pro")]))
    report = lake.source().inspect(USER_ENGAGEMENT)
    assert report
    assert report.extra_columns == ("plan",)
    both = "select user_id, plan from staged_files.user_engagement order by 1"
    assert lake.snowflake.rows(both) == [("a", None), ("b", "pro")]
    source = lake.source(columns={"contact": "email"})
    report = source.inspect(USER_ENGAGEMENT)
    assert report
    assert report.extra_columns == ("contact", "plan")
    found = lake.snowflake.rows("select email from staged_files.user_engagement order by 1")
    assert found == [("a@example.org",), ("b@example.org",)]


def parquet_of(users: pa.Array) -> bytes:
    columns = {"engagement_date": datetime(2025, 3, 1), "session_duration": 60.0, "interaction_type": "visit"}
    return in_parquet(
        pa.table({"user_id": users, **{name: [value] * len(users) for name, value in columns.items()}})
    )


def test_a_column_of_integers_and_floats_is_one_of_floats_and_one_that_becomes_text_is_refused(
    lake: Lake,
) -> None:
    lake.put("user_engagement/1.parquet", parquet_of(pa.array([7, 8])))
    lake.put("user_engagement/2.parquet", parquet_of(pa.array([9.0, None])))
    lake.source().inspect(USER_ENGAGEMENT)
    lake.put("user_engagement/3.parquet", parquet_of(pa.array([10])))
    rows, _ = loaded(lake.source(), lake.snowflake.warehouse)
    assert [row["user_id"] for row in rows] == ["7", "8", "9", None, "10"]
    lake.put("user_engagement/4.parquet", parquet_of(pa.array(["007"])))
    with pytest.raises(
        SourceError, match=r"column USER_ID is VARCHAR in new files, but FLOAT in loaded ones.* drop tables"
    ):
        lake.source().inspect(USER_ENGAGEMENT)


def test_files_of_an_internal_stage_are_loaded(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_bytes(day(1, "a", "b"))
    lake.snowflake.rows("create stage crm.own")
    lake.snowflake.rows(f"put 'file://{tmp_path.as_posix()}/1.csv' @crm.own/in auto_compress = false")
    rows, _ = loaded(lake.source(table="@crm.own/in/"), lake.snowflake.warehouse)
    assert [(row["user_id"], row["_source"], row["_row_number"]) for row in rows] == [
        ("a", "1.csv", 1),
        ("b", "1.csv", 2),
    ]


@pytest.mark.parametrize(
    ("listed", "name"),
    [
        ("own/in/1.csv", "in/1.csv"),
        ("s3://lake/exports/1.csv", "exports/1.csv"),
        ("gcs://lake/exports/1.csv", "exports/1.csv"),
        ("azure://account.blob.core.windows.net/lake/exports/1.csv", "exports/1.csv"),
    ],
)
def test_a_file_has_the_name_that_copy_gives_its_rows(listed: str, name: str) -> None:
    assert stages._name(listed) == name


# -- loads that do not end -----------------------------------------------------------------------------------


@pytest.mark.parametrize("statement", ["copy into", "delete from", "insert into", "commit"])
def test_a_lost_answer_leaves_each_file_whole_and_once(lake: Lake, statement: str) -> None:
    """What is sent again after its answer was lost runs twice on the emulator."""
    lake.put("user_engagement/1.csv", day(1, "a", "b"))
    lake.source().inspect(USER_ENGAGEMENT)
    lake.put("user_engagement/1.csv", day(1, "c", "d", "e"))
    cut = Cut(statement, "after")
    with cut_wire(lake.snowflake.emulator.port, cut) as port, environ({"SNOWFLAKE_PORT": str(port)}):
        lake.source().inspect(USER_ENGAGEMENT)
    assert cut.made == 1
    assert users(lake.snowflake) == ["c", "d", "e"]


PROCESS = """
from user_engagement.contracts.raw import USER_ENGAGEMENT
from user_engagement.partitions import Months
from user_engagement.pipeline import plan, run
from user_engagement.settings import TableMapping
from user_engagement.sources.warehouse import WarehouseSource
from user_engagement.warehouse.snowflake.account import load_account
from user_engagement.warehouse.snowflake.source_tables import SnowflakeTables

mapped = {USER_ENGAGEMENT.name: TableMapping("@crm.lake/user_engagement/")}
WarehouseSource(SnowflakeTables(load_account(), None), mappings=mapped).inspect(USER_ENGAGEMENT)
"""


def test_a_process_that_is_killed_in_the_middle_of_a_load_leaves_the_rows_as_they_were(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old rows are deleted and new ones copied when it dies; Snowflake then ends its transaction after a while."""
    lake.put("user_engagement/1.csv", day(1, "a", "b"))
    lake.source().inspect(USER_ENGAGEMENT)
    lake.put("user_engagement/1.csv", day(1, "c", "d", "e"))
    cut = Cut("copy into", "after", times=1_000)
    with cut_wire(lake.snowflake.emulator.port, cut) as port:
        process = subprocess.Popen(
            [sys.executable, "-c", PROCESS], env={**os.environ, "SNOWFLAKE_PORT": str(port)}
        )
        while not cut.made:
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
        process.wait()
    assert users(lake.snowflake) == ["a", "b"]
    monkeypatch.setattr(loading, "WAITS", (0.5,) * 60)
    lake.source().inspect(USER_ENGAGEMENT)
    assert users(lake.snowflake) == ["c", "d", "e"]


def test_two_processes_that_load_at_a_time_load_each_file_once(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "WAITS", (0.2,) * 60)
    lake.put("user_engagement/0.csv", day(1, "first"))
    lake.source().inspect(USER_ENGAGEMENT)
    for number in range(1, 9):
        lake.put(f"user_engagement/{number}.csv", day(number, f"u{number}"))
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda source: source.inspect(USER_ENGAGEMENT), [lake.source() for _ in range(3)]))
    assert users(lake.snowflake) == ["first", *(f"u{number}" for number in range(1, 9))]


def test_no_statement_in_the_transaction_of_a_load_defines_a_table(lake: Lake) -> None:
    """It would commit what is half done."""
    lake.put("user_engagement/1.csv", day(1, "a"))
    lake.source().inspect(USER_ENGAGEMENT)
    lake.put("user_engagement/1.csv", in_csv([session("b", "2025-03-01", plan="pro")]))
    so_far = len(lake.snowflake.emulator.statements())
    lake.source().inspect(USER_ENGAGEMENT)
    lines = lake.snowflake.emulator.statements()[so_far:].lower().splitlines()
    inside = lines[lines.index("begin transaction;") : lines.index("commit;")]
    kinds = [line.split()[0] for line in inside if not line.startswith(("info:", " ", "/*"))]
    assert kinds == ["begin", "update", "select", "delete", "delete", "copy", "select", "insert"]


# -- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, r"^@crm.lake/user_engagement/: no file of user_engagement there. .*SOURCE_TABLES"),
        (
            {
                "1.csv": day(1, "a"),
                "2.csv": b"user_id,engagement_date,interaction_type\nb,2025-03-01,visit\n",
            },
            r"^@crm.lake/user_engagement/: file exports/user_engagement/2.csv: column session_duration is missing",
        ),
        (
            {"1.csv": day(1, "a").replace(b"visit", b"vis\xffit")},
            r"^@crm.lake/user_engagement/: file exports/user_engagement/1.csv, column INTERACTION_TYPE cannot be",
        ),
        (
            {"1.parquet": parquet_of(pa.array(["a"]))[:-20]},
            r"^@crm.lake/user_engagement/: file exports/user_engagement/1.parquet cannot be read. Correct the file",
        ),
        (
            {"1.csv": day(1, "a"), "2.parquet": parquet_of(pa.array(["b"]))},
            r"1.csv and exports/user_engagement/2.parquet are of different kinds. Keep files of one kind",
        ),
        (
            {"1.xlsx": b"a"},
            r"file user_engagement/1.xlsx is of a kind that cannot be read .* Move it elsewhere.",
        ),
        ({"_delta_log/0.json": b"{}", "1.parquet": b""}, r"this is a Delta table"),
        (
            {"1.parquet": parquet_of(pa.array(["a"])), "2.parquet": parquet_of(pa.array([1.5]))},
            r"column USER_ID is FLOAT in file exports/user_engagement/2.parquet, but VARCHAR in others",
        ),
        (
            {"1.csv": day(1, "a"), "2.csv": day(1, "b").replace(b",60,", b",soon,")},
            r"file exports/user_engagement/2.csv, row 1: SESSION_DURATION is 'soon', expected a number",
        ),
    ],
    ids=["none", "column", "text", "damaged", "kinds", "kind", "delta", "types", "value"],
)
def test_what_cannot_be_read_is_one_sentence_and_nothing_is_written(
    lake: Lake, files: dict[str, bytes], said: str
) -> None:
    for name, content in files.items():
        lake.put(f"user_engagement/{name}", content)
    with pytest.raises(SourceError, match=said) as refused:
        lake.source().extract(USER_ENGAGEMENT, Window())
    assert "\n" not in str(refused.value)
    assert ". " in str(refused.value)
    assert not lake.snowflake.warehouse.exists()


def test_a_load_that_is_refused_leaves_the_rows_as_they_were(lake: Lake) -> None:
    lake.put("user_engagement/1.csv", day(1, "a"))
    lake.source().inspect(USER_ENGAGEMENT)
    lake.put("user_engagement/1.csv", day(1, "b"))
    lake.put("user_engagement/2.csv", day(2, "c").replace(b"visit", b"vis\xffit"))
    with pytest.raises(SourceError, match="cannot be read"):
        lake.source().inspect(USER_ENGAGEMENT)
    assert users(lake.snowflake) == ["a"]
    (lake.folder / "user_engagement/2.csv").unlink()
    lake.source().inspect(USER_ENGAGEMENT)
    assert users(lake.snowflake) == ["b"]


def test_a_stage_without_rights_ends_in_one_sentence_with_the_grants_and_the_doctor_says_it(
    lake: Lake, tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    lake.put("user_signups/1.csv", day(1, "a"))
    stage = f'"{lake.snowflake.database}"."CRM"."LAKE"'
    lake.snowflake.rows(f"revoke usage on stage {stage} from role user_engagement_role")
    variables = {
        "USER_ENGAGEMENT_WAREHOUSE": "snowflake",
        "USER_ENGAGEMENT_SOURCE": "warehouse",
        "USER_ENGAGEMENT_SOURCE_TABLES": json.dumps({"user_signups": {"table": "@crm.lake/user_signups/"}}),
    }
    done = command("run", **variables)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "@crm.lake/user_signups/: no such stage, or no right to read it" in done.stderr
    assert f"grant usage on stage {stage} to role USER_ENGAGEMENT_ROLE" in done.stderr
    assert [path.name for path in (tmp_path / "home").rglob("*") if path.is_file()] == []
    assert [row[1] for row in lake.snowflake.rows("show schemas")] == ["CRM", "information_schema"]
    said = command("doctor", **variables)
    assert said.returncode == 1
    assert "✗ stage @crm.lake/user_signups/: no such stage" in said.stdout
    assert f"grant usage on stage {stage} to role USER_ENGAGEMENT_ROLE" in said.stdout


def test_the_doctor_lists_stages(lake: Lake) -> None:
    lake.put("user_engagement/1.csv", day(1, "a"))
    tables = SnowflakeTables(lake.snowflake.account, None)
    found = [
        each
        for each in examine(lake.snowflake.account, stages=[tables.stage(SESSIONS)])
        if each.name.startswith("stage")
    ]
    assert [(each.name, each.passed, each.found) for each in found] == [(f"stage {SESSIONS}", True, "1 file")]


@pytest.mark.parametrize("name", ["@~/in/", "@crm.%sessions/in/", "@a.b.c.d/in/"])
def test_a_stage_that_cannot_be_read_from_is_refused(lake: Lake, name: str) -> None:
    with pytest.raises(SourceError, match=r"write it as @?DATABASE.SCHEMA"):
        lake.source(table=name).inspect(USER_ENGAGEMENT)


def test_events_are_not_read_from_a_stage(lake: Lake, tmp_path: Path) -> None:
    tables = {"user_engagement": {"table": SESSIONS, "events": "snowplow"}}
    settings = load_settings(home=tmp_path, source="warehouse", warehouse="snowflake", source_tables=tables)
    with pytest.raises(
        SettingsError, match="events of user_engagement are read from a table, not from a stage"
    ):
        open_source(settings, open_source_tables)


def test_in_duckdb_a_stage_is_refused_with_the_source_that_reads_files(tmp_path: Path) -> None:
    tables = {"user_signups": {"table": "@crm.lake/user_signups/"}}
    settings = load_settings(home=tmp_path, source="warehouse", source_tables=tables)
    with pytest.raises(
        SourceError, match=r"DuckDB has no stages\. Read user_signups from a folder with the source files"
    ):
        open_source(settings, open_source_tables).inspect(USER_SIGNUPS)
