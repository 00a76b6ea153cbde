"""Source `warehouse` over files in a stage: Snowflake loads what is new by itself, and the rows mean what files mean."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from user_engagement.contracts.raw import REJECTED_ROWS, USER_ENGAGEMENT, RawTable, Window
from user_engagement.settings import TableMapping
from user_engagement.sources import Source
from user_engagement.sources.files import FilesSource
from user_engagement.sources.warehouse import WarehouseSource
from user_engagement.warehouse import Warehouse
from user_engagement.warehouse.duckdb.warehouse import DuckDBWarehouse
from user_engagement.warehouse.snowflake import source_tables
from user_engagement.warehouse.snowflake.source_tables import SnowflakeTables
from user_engagement_tests.snowflake.test_source_tables import ROWS
from user_engagement_tests.support.snowflake import Snowflake

pytestmark = pytest.mark.slow

SESSIONS = "@crm.lake/user_engagement/"


@dataclass(frozen=True)
class Lake:
    """A bucket with a stage over its folder `exports`."""

    snowflake: Snowflake
    folder: Path

    def put(self, name: str, content: bytes) -> None:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
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
    yield Lake(snowflake, folder)


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
    assert found[0] and len(found[1]) > 1
    held = lake.snowflake.rows("select * from staged_files.user_engagement limit 1")
    assert "a@example.org" not in str(held)
