"""Which files cannot be read, and of which days they may hold rows."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import date
from pathlib import Path, PurePath

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from user_engagement.contracts.raw import USER_ENGAGEMENT, Window
from user_engagement.errors import SourceError
from user_engagement.sources.files import FilesSource
from user_engagement.sources.files.dated_names import days_in_name

HEADER = "user_id,engagement_date,session_duration,interaction_type\n"


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("2025-03.csv", (2025, 3, 1), (2025, 3, 31)),
        ("202402.csv", (2024, 2, 1), (2024, 2, 29)),
        ("events_20250304.csv.gz", (2025, 3, 4), (2025, 3, 4)),
        ("events_2025-03-04T23-59-00.jsonl", (2025, 3, 4), (2025, 3, 4)),
        ("2025030412.parquet", (2025, 3, 4), (2025, 3, 4)),
        ("2025/03/04/x.csv", (2025, 3, 4), (2025, 3, 4)),
        ("year=2025/month=3/day=04/p.parquet", (2025, 3, 4), (2025, 3, 4)),
        ("year=2024/p.csv", (2024, 1, 1), (2024, 12, 31)),
        # the date of the export says nothing beside that of the partition
        ("dt=2025-03-04/export-20261126.parquet", (2025, 3, 4), (2025, 3, 4)),
        ("2025-01-01_2025-03-31.csv", (2025, 1, 1), (2025, 3, 31)),
        ("part-2025-03-00001.csv", (2025, 3, 1), (2025, 3, 31)),
    ],
)
def test_the_dates_in_a_path_tell_which_days_a_file_holds(
    name: str, first: tuple[int, int, int], last: tuple[int, int, int]
) -> None:
    assert days_in_name(PurePath(name)) == (date(*first), date(*last))


@pytest.mark.parametrize(
    "name", ["part-0001.csv", "events.csv", "2025-02-30.csv", "month=03/a.csv", "1234567890.csv"]
)
def test_a_path_without_a_date_tells_nothing(name: str) -> None:
    assert days_in_name(PurePath(name)) is None


def lines(*days: str) -> str:
    return HEADER + "".join(f"1,{day},60,visit\n" for day in days)


def cut_gzip(file: Path) -> Path:
    file = file.with_suffix(".csv.gz")
    file.write_bytes(gzip.compress(lines(*["2025-02-03"] * 20_000).encode())[:-200])
    return file


def cut_parquet(file: Path) -> Path:
    file = file.with_suffix(".parquet")
    pq.write_table(pa.table({"user_id": ["1"], "engagement_date": ["2025-02-03"]}), file)
    file.write_bytes(file.read_bytes()[:-10])
    return file


def other_encoding(file: Path) -> Path:
    file.write_bytes(lines("2025-02-03").encode("utf-16"))
    return file


def no_text(file: Path) -> Path:
    file.write_bytes(b"PK\x03\x04\x00\x00" * 9)
    return file


def empty(file: Path) -> Path:
    file.touch()
    return file


def ragged(file: Path) -> Path:
    file.write_text(lines("2025-02-03") + "2,2025-02-04\n")
    return file


@pytest.mark.slow
@pytest.mark.parametrize("damage", [cut_gzip, cut_parquet, other_encoding, no_text, empty, ragged])
def test_one_damaged_file_leaves_the_others_readable(tmp_path: Path, damage: Callable[[Path], Path]) -> None:
    folder = tmp_path / "user_engagement"
    folder.mkdir()
    (folder / "2025-01.csv").write_text(lines("2025-01-01", "2025-01-31"))
    (folder / "2025-03.csv").write_text(lines("2025-03-05"))
    broken = damage(folder / "2025-02.csv")
    source = FilesSource(tmp_path)
    (found,) = source.unreadable(USER_ENGAGEMENT)
    assert (tmp_path / found.name, found.first_day, found.last_day) == (
        broken,
        date(2025, 2, 1),
        date(2025, 2, 28),
    )
    assert str(broken) in found.reason
    assert sorted(source.fingerprint(USER_ENGAGEMENT)) == ["2025-01-01", "2025-03-01"]
    assert source.extract(USER_ENGAGEMENT, Window()).rows.read_all().num_rows == 3
    broken.unlink()
    (folder / "2025-02.csv").write_text(lines("2025-02-03"))
    assert not source.unreadable(USER_ENGAGEMENT)
    assert source.extract(USER_ENGAGEMENT, Window()).rows.read_all().num_rows == 4


def test_days_beside_the_dates_in_names_are_those_of_other_files(tmp_path: Path) -> None:
    """Deliveries of a day with late rows: the file that cannot be read may have such rows, too."""
    folder = tmp_path / "user_engagement"
    folder.mkdir()
    (folder / "2025-02-01.csv").write_text(lines("2025-01-30", "2025-02-01"))
    empty(folder / "2025-03-02.csv")
    (found,) = FilesSource(tmp_path).unreadable(USER_ENGAGEMENT)
    assert (found.first_day, found.last_day) == (date(2025, 2, 28), date(2025, 3, 2))


def test_a_table_without_any_readable_file_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "user_engagement"
    folder.mkdir()
    empty(folder / "2025-02.csv")
    with pytest.raises(SourceError, match=r"2025-02\.csv: the first line is empty"):
        FilesSource(tmp_path).inspect(USER_ENGAGEMENT)
