from __future__ import annotations

from pathlib import Path

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest

from user_engagement.simulation import SimulationError, advance, write_files
from user_engagement_tests.support.simulated_worlds import SMALL, database_rows, day, read_events

END = day(99)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("world")
    advance(home, SMALL, END)
    return home


@pytest.mark.parametrize("of_home", [True, False], ids=["of a home", "of a configuration"])
def test_parquet_files_hold_the_rows_of_the_source_systems(home: Path, tmp_path: Path, of_home: bool) -> None:
    paths = write_files(home if of_home else SMALL, END, tmp_path)
    assert sorted(paths) == ["churn_data", "user_engagement", "user_signups"]
    delivered = read_events(home).drop(columns="delivered_on")
    assert pq.read_table(paths["user_engagement"]).to_pandas().equals(delivered)
    rows = database_rows(home)
    assert _texts(paths["user_signups"]) == [tuple(map(str, row[:5])) for row in rows["users"]]
    churned = sorted(rows["cancellations"], key=lambda row: row[1])
    assert _texts(paths["churn_data"]) == [tuple(map(str, row[:3])) for row in churned]


def test_csv_files_hold_the_same_rows_as_parquet_files(tmp_path: Path) -> None:
    as_csv = write_files(SMALL, END, tmp_path, "csv")
    as_parquet = write_files(SMALL, END, tmp_path, "parquet")
    for name, path in as_csv.items():
        read = f"select * from read_csv('{path}', header = true, nullstr = '\\N')"
        texts = f"select * from read_parquet('{as_parquet[name]}')"
        columns = [row[0] for row in duckdb.execute(f"describe {texts}").fetchall()]
        assert [row[0] for row in duckdb.execute(f"describe {read}").fetchall()] == columns
        compared = ", ".join(f"coalesce({column}::varchar, '')" for column in columns)
        left, right = (
            duckdb.execute(f"select {compared} from ({query})").fetchall() for query in (read, texts)
        )
        assert left == right


def test_nothing_after_the_day_asked_for_is_in_the_files(tmp_path: Path) -> None:
    paths = write_files(SMALL, day(49), tmp_path)
    for name, column in (
        ("user_signups", "signup_date"),
        ("user_engagement", "engagement_date"),
        ("churn_data", "churn_date"),
    ):
        newest = pq.read_table(paths[name])[column].to_pandas().max()
        assert newest < pd.Timestamp(day(50)), name


@pytest.mark.parametrize(
    ("through", "file_format", "message"),
    [
        (END, "xlsx", "The format is 'xlsx': choose parquet or csv"),
        (day(-1), "csv", "cannot be simulated through 2024-12-31"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is(
    tmp_path: Path, through, file_format, message: str
) -> None:
    with pytest.raises(SimulationError, match=message):
        write_files(SMALL, through, tmp_path / "new", file_format)
    assert not (tmp_path / "new").exists()


def test_a_home_without_a_world_has_no_files_to_write(tmp_path: Path) -> None:
    with pytest.raises(SimulationError, match="There is no simulated world"):
        write_files(tmp_path, END, tmp_path / "new")


def _texts(path: Path) -> list[tuple[str, ...]]:
    frame = pq.read_table(path).to_pandas()
    moments = frame.select_dtypes("datetime").columns
    frame[moments] = frame[moments].apply(lambda column: column.dt.strftime("%Y-%m-%d %H:%M:%S.%f"))
    return [tuple(map(str, row)) for row in frame.itertuples(index=False)]
