"""What a source may lose between two loads, and what it may not."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest

from user_engagement.assets.source_loss import Held, loss
from user_engagement.contracts.raw import USER_ENGAGEMENT
from user_engagement.sources import Source
from user_engagement.sources.database import DatabaseSource
from user_engagement.sources.files import FilesSource

MONTHS = ["2025-01-01", "2025-02-01", "2025-03-01", "2025-04-01", "2025-05-01"]
ROWS = {"2025-01-01": 31, "2025-02-01": 28, "2025-03-01": 30}
"""One row a day from the first day of the year to 30 March."""


def held(*rows: int, last_day: date = date(2025, 5, 31)) -> Held:
    return Held(dict(zip(MONTHS, rows, strict=False)), last_day if any(rows) else None)


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (held(100, 100, 100, 100, 100), None),
        (held(95, 90, 100, 100, 100), None),
        (held(100, 100, 100, 100, 60), None),
        (held(100, 100, 0, 100, 100), None),
        (
            held(100, 100, 100, 100, 4),
            "lost 96 of the 500 rows that were loaded (lost of 2025-05: 96 of 100)",
        ),
        (
            held(0, 0, 100, 100, 100),
            "lost 200 of the 500 rows that were loaded (lost of 2025-01: 100 of 100, 2025-02",
        ),
        (
            held(100, 100, 100, last_day=date(2025, 3, 31)),
            "it now ends on 2025-03-31, before it ended on 2025-05-31",
        ),
        (
            held(300, 100, 100, 0, 0, last_day=date(2025, 5, 30)),
            "lost of 2025-04: 100 of 100, 2025-05: 100 of 100",
        ),
        (held(), "lost 500 of the 500 rows that were loaded"),
    ],
)
def test_the_newest_month_or_several_that_lost_most_of_their_rows_are_a_loss(
    now: Held, said: str | None
) -> None:
    found = loss(USER_ENGAGEMENT, now, held(100, 100, 100, 100, 100))
    assert (found is None) if said is None else (found is not None and said in found)


def test_a_few_rows_of_an_early_month_are_deletions() -> None:
    assert loss(USER_ENGAGEMENT, held(0, 5000), held(12, 5000)) is None


def test_an_emptied_table_is_a_loss_however_small() -> None:
    assert "lost 3 of the 3 rows" in str(loss(USER_ENGAGEMENT, held(), held(3)))


def days() -> list[str]:
    return [str(date(2025, 1, 1) + timedelta(n)) for n in range(sum(ROWS.values()))]


def csv_file(folder: Path) -> Source:
    lines = ["user_id,engagement_date,session_duration,interaction_type"]
    lines += [f"1,{day},60,visit" for day in [*days(), "never"]]
    (folder / "user_engagement.csv").write_text("\n".join(lines) + "\n")
    return FilesSource(folder)


def parquet_files(folder: Path) -> Source:
    """A file for each month, and one over two months."""
    (folder / "user_engagement").mkdir()
    with duckdb.connect() as connection:
        connection.execute(
            "create table t as select '1' as user_id, d::timestamp as engagement_date, 60.0 as session_duration, "
            "'visit' as interaction_type from (select unnest(?::date[]) as d)",
            [days()],
        )
        for name, first, end in (("a", "2025-01-01", "2025-02-01"), ("b", "2025-02-01", "2025-04-01")):
            file = folder / "user_engagement" / f"{name}.parquet"
            selected = f"select * from t where engagement_date >= '{first}' and engagement_date < '{end}'"
            connection.execute(f"copy ({selected}) to '{file}'")
    return FilesSource(folder)


def database(folder: Path) -> Source:
    with sqlite3.connect(folder / "shop.sqlite") as connection:
        connection.execute(
            "create table user_engagement (user_id, engagement_date text, session_duration, interaction_type)"
        )
        connection.executemany(
            "insert into user_engagement values (1, ?, 60, 'visit')", [(day,) for day in [*days(), "never"]]
        )
    return DatabaseSource(f"sqlite:///{folder / 'shop.sqlite'}")


@pytest.mark.parametrize("make", [csv_file, parquet_files, database])
def test_every_source_counts_its_rows_by_month(make: Callable[[Path], Source], tmp_path: Path) -> None:
    assert make(tmp_path).monthly_rows(USER_ENGAGEMENT) == ROWS
