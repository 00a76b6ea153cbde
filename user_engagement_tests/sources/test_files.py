from __future__ import annotations

import gzip
import json
import re
import tempfile
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from user_engagement.contracts.raw import (
    CHURN_DATA,
    REJECTED_ROWS,
    USER_ENGAGEMENT,
    USER_SIGNUPS,
    RawTable,
    Window,
)
from user_engagement.errors import SourceError
from user_engagement.sources.base import BATCH_ROWS
from user_engagement.sources.files import FilesSource

ALWAYS = Window()
JANUARY = Window(date(2025, 1, 1), date(2025, 2, 1))
FEBRUARY = Window(date(2025, 2, 1), date(2025, 3, 1))
SIGNUPS = [("1", "2025-01-31", "free"), ("007", "2025-02-01", "pro")]


def put(file: Path, content: str | bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    raw = content.encode() if isinstance(content, str) else content
    file.write_bytes(gzip.compress(raw) if file.name.lower().endswith(".gz") else raw)
    return file


def put_parquet(file: Path, **columns: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), file)
    return file


def churn_csv(dates: Iterable[str]) -> str:
    return "user_id,churn_date\n" + "".join(f'u{n},"{day}"\n' for n, day in enumerate(dates))


def records(lines: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def rows_of(
    folder: Path, table: RawTable = USER_SIGNUPS, window: Window = ALWAYS, zone: str = "UTC"
) -> list[dict[str, Any]]:
    return window_rows(FilesSource(folder, zone), table, window)


def window_rows(source: FilesSource, table: RawTable, window: Window) -> list[dict[str, Any]]:
    return source.extract(table, window).rows.read_all().to_pylist()


def rejected_of(folder: Path, table: RawTable = USER_SIGNUPS) -> list[dict[str, Any]]:
    return FilesSource(folder).extract(table, Window()).rejected.read_all().to_pylist()


def values(rows: list[dict[str, Any]], *names: str) -> list[Any]:
    return [row[names[0]] if len(names) == 1 else tuple(row[name] for name in names) for row in rows]


def days_read(folder: Path, zone: str = "UTC") -> list[datetime]:
    return values(rows_of(folder, CHURN_DATA, zone=zone), "churn_date")


def message_of(folder: Path, table: RawTable = USER_SIGNUPS) -> str:
    """The refusal, which `inspect` already gives, as one line without anything of a traceback."""
    with pytest.raises(SourceError) as refusal:
        FilesSource(folder).inspect(table)
    message = str(refusal.value)
    assert "\n" not in message
    assert not re.search(r"Traceback|Exception|Error:|Binder|auto_detect|sample_size|strict_mode", message)
    return message


# -- formats and places ------------------------------------------------------------------------------------


def as_csv(file: Path) -> None:
    put(file, "user_id,signup_date,product_type\n" + "".join(",".join(row) + "\n" for row in SIGNUPS))


def as_json_lines(file: Path) -> None:
    put(file, records({"user_id": u, "signup_date": d, "product_type": p} for u, d, p in SIGNUPS))


def as_parquet(file: Path) -> None:
    users, days, products = zip(*SIGNUPS, strict=True)
    put_parquet(file, user_id=users, signup_date=days, product_type=products)


@pytest.mark.parametrize("place", ["User_Signups", "user_signups/2025/part-0"])
@pytest.mark.parametrize(
    ("ending", "write"),
    [
        (".csv", as_csv),
        (".csv.gz", as_csv),
        (".CSV.GZ", as_csv),
        (".jsonl", as_json_lines),
        (".jsonl.gz", as_json_lines),
        (".ndjson", as_json_lines),
        (".ndjson.gz", as_json_lines),
        (".parquet", as_parquet),
    ],
)
def test_every_format_gives_the_same_rows_from_a_file_or_a_folder(
    tmp_path: Path, place: str, ending: str, write: Any
) -> None:
    write(tmp_path / (place + ending))
    report = FilesSource(tmp_path).inspect(USER_SIGNUPS)
    assert report is not None
    assert (report.rows, report.rejected, report.extra_columns) == (2, 0, ())
    assert (report.first_day, report.last_day) == (date(2025, 1, 31), date(2025, 2, 1))
    rows = rows_of(tmp_path)
    assert values(rows, "user_id", "signup_date", "product_type") == [
        ("1", datetime(2025, 1, 31), "free"),
        ("007", datetime(2025, 2, 1), "pro"),
    ]
    assert values(rows, "_source", "_row_number") == [(place + ending, 1), (place + ending, 2)]


def test_files_of_several_formats_in_one_folder_are_one_table(tmp_path: Path) -> None:
    as_csv(tmp_path / "user_signups/a.csv")
    as_json_lines(tmp_path / "user_signups/b.jsonl.gz")
    as_parquet(tmp_path / "user_signups/c.parquet")
    rows = rows_of(tmp_path, window=JANUARY)
    assert values(rows, "user_id") == ["1", "1", "1"]
    assert sorted(values(rows, "_source")) == [
        "user_signups/a.csv",
        "user_signups/b.jsonl.gz",
        "user_signups/c.parquet",
    ]


def test_a_relative_folder_and_one_with_dots_give_the_same_lineage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_csv(tmp_path / "data/user_signups/part[1]/data.csv")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "data")
    for folder in (Path(), Path("../data"), tmp_path / "elsewhere/../data"):
        assert set(values(rows_of(folder), "_source")) == {"user_signups/part[1]/data.csv"}


def test_the_name_of_the_folder_recurring_further_down_stays_in_the_lineage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_csv(tmp_path / "data/user_signups/data/a.csv")
    monkeypatch.chdir(tmp_path)
    assert set(values(rows_of(Path("data")), "_source")) == {"user_signups/data/a.csv"}


ODD_NAMES = [
    "it's",
    "a b",
    "a[1]",
    "a*b",
    "a?b",
    '"quoted"',
    "{a}",
    "100%",
    "é",
    "[!a]",
    "a**",
    "a\\b",
    "a;b",
]


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_a_file_name_is_taken_literally_and_never_as_a_pattern(tmp_path: Path, ending: str) -> None:
    names = [*ODD_NAMES, "a", "a1", "axb", "ab", "b"]
    for name in names:
        file = tmp_path / "churn_data" / (name + ending)
        if ending == ".csv":
            put(file, f'user_id,churn_date\n"{name.replace(chr(34), chr(34) * 2)}",2025-01-01\n')
        elif ending == ".jsonl":
            put(file, records([{"user_id": name, "churn_date": "2025-01-01"}]))
        else:
            put_parquet(file, user_id=[name], churn_date=["2025-01-01"])
    found = values(rows_of(tmp_path, CHURN_DATA), "user_id", "_source", "_row_number")
    assert sorted(found) == sorted((name, f"churn_data/{name}{ending}", 1) for name in names)


def test_a_folder_with_pattern_characters_above_the_files_is_read_too(tmp_path: Path) -> None:
    folder = tmp_path / "data [2025]*?"
    as_csv(folder / "user_signups.csv")
    assert values(rows_of(folder), "user_id") == ["1", "007"]


def test_hidden_marker_and_unfinished_files_are_left_alone(tmp_path: Path) -> None:
    as_csv(tmp_path / "user_signups/a.csv")
    leftovers = ["_SUCCESS", ".a.csv.crc", "b.csv.tmp", "a.csv.crc", "_temporary/0/c.csv", ".git/d.csv"]
    for leftover in leftovers:
        put(tmp_path / "user_signups" / leftover, "half a line")
    assert len(rows_of(tmp_path)) == 2


# -- partition folders -------------------------------------------------------------------------------------


def test_a_partition_folder_gives_the_date_and_extra_columns(tmp_path: Path) -> None:
    for day, country in (("2025-01-31", "DE"), ("2025-02-01", "New%20Zealand")):
        folder = tmp_path / f"user_engagement/engagement_date={day}/Country={country}"
        put(folder / "a.csv", "user_id,session_duration,interaction_type\n7,1.5,view\n")
    report = FilesSource(tmp_path).inspect(USER_ENGAGEMENT)
    assert report is not None
    assert report.extra_columns == ("country",)
    assert (report.first_day, report.last_day) == (date(2025, 1, 31), date(2025, 2, 1))
    assert values(rows_of(tmp_path, USER_ENGAGEMENT, FEBRUARY), "engagement_date", "country") == [
        (datetime(2025, 2, 1), "New Zealand")
    ]


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_hives_default_partition_is_null_and_so_rejected_as_a_date(tmp_path: Path, ending: str) -> None:
    for day in ("2025-01-31", "__HIVE_DEFAULT_PARTITION__"):
        file = tmp_path / f"churn_data/churn_date={day}/a{ending}"
        if ending == ".parquet":
            put_parquet(file, user_id=["7"])
        else:
            put(file, "user_id\n7\n" if ending == ".csv" else records([{"user_id": "7"}]))
    assert len(rows_of(tmp_path, CHURN_DATA)) == 1
    assert values(rejected_of(tmp_path, CHURN_DATA), "reason", "date_value", "user_id") == [
        ("null_date", None, "7")
    ]


def test_a_timestamp_in_a_folder_name_is_decoded(tmp_path: Path) -> None:
    put(tmp_path / "churn_data/churn_date=2025-01-31T23%3A30%3A00%2B01%3A00/a.csv", "user_id\n7\n")
    assert days_read(tmp_path) == [datetime(2025, 1, 31, 22, 30)]


def test_a_partition_folder_above_the_source_does_not_shadow_one_within(tmp_path: Path) -> None:
    folder = tmp_path / "country=FR/data"
    put(folder / "churn_data/country=DE/a.csv", "user_id,churn_date\n7,2025-01-31\n")
    assert values(rows_of(folder, CHURN_DATA), "country") == ["DE"]
    put(tmp_path / "country=FR/plain/churn_data.csv", "user_id,churn_date\n7,2025-01-31\n")
    assert "country" not in rows_of(tmp_path / "country=FR/plain", CHURN_DATA)[0]


def test_a_partition_key_with_punctuation_becomes_a_plain_column_name(tmp_path: Path) -> None:
    put(tmp_path / "churn_data/sales.region (new)=North/a.csv", "user_id,churn_date\n7,2025-01-31\n")
    assert values(rows_of(tmp_path, CHURN_DATA), "sales_region_new_") == ["North"]


def test_a_column_in_the_file_wins_over_a_folder_of_the_same_name(tmp_path: Path) -> None:
    put_parquet(
        tmp_path / "churn_data/churn_date=2025-01-01/a.parquet", user_id=["7"], churn_date=["2025-01-31"]
    )
    assert days_read(tmp_path) == [datetime(2025, 1, 31)]


# -- headers and text --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "USER_ID,Signup_Date,product_type",
        " user id , Signup Date ,PRODUCT TYPE",
        '"user_id","signup-date","product type"',
        'user_id,"signup\ndate",product_type',
        "user_id\u200b,\u00a0signup_date,product_type\u2060",
    ],
)
def test_headers_are_read_in_any_case_and_with_spaces(tmp_path: Path, header: str) -> None:
    put(tmp_path / "user_signups.csv", f"{header}\n7,2025-01-31,free\n")
    assert values(rows_of(tmp_path), "user_id", "signup_date", "product_type", "_row_number") == [
        ("7", datetime(2025, 1, 31), "free", 1)
    ]


def test_columns_are_taken_by_name_in_any_order(tmp_path: Path) -> None:
    put(
        tmp_path / "user_signups.csv",
        "country,product_type,signup_date,user_id\nDE,free,2025-01-31,7\n",
    )
    assert values(rows_of(tmp_path), "user_id", "product_type", "country") == [("7", "free", "DE")]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["without BOM", "with BOM"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_byte_order_mark_line_ends_and_delimiter_do_not_matter(
    tmp_path: Path, mark: bytes, end: str, delimiter: str
) -> None:
    lines = [
        ("user_id", "signup_date", "product_type"),
        ("ü7", "2025-01-31", "café"),
        ("8", "2025-02-01", ""),
    ]
    text = "".join(delimiter.join(line) + end for line in lines)
    put(tmp_path / "user_signups.csv", mark + text.encode())
    assert values(rows_of(tmp_path), "user_id", "product_type") == [("ü7", "café"), ("8", None)]


def test_quoted_commas_newlines_and_quotes_stay_in_their_value(tmp_path: Path) -> None:
    put(
        tmp_path / "user_signups.csv",
        'user_id,signup_date,product_type\r\n1,2025-01-31,"a, b"\r\n2,2025-01-31,"two\r\nlines"\r\n'
        '3,2025-01-31,"said ""so"""\r\n',
    )
    rows = rows_of(tmp_path)
    assert values(rows, "product_type") == ["a, b", "two\r\nlines", 'said "so"']
    assert values(rows, "_row_number") == [1, 2, 3]


def test_a_last_line_without_line_end_and_blank_lines_are_no_trouble(tmp_path: Path) -> None:
    put(tmp_path / "churn_data.csv", "user_id,churn_date\n\n1,2025-01-31\n\n\n2,2025-02-01")
    assert values(rows_of(tmp_path, CHURN_DATA), "user_id", "_row_number") == [("1", 1), ("2", 2)]


def test_a_column_without_a_name_is_kept_by_its_position(tmp_path: Path) -> None:
    put(tmp_path / "churn_data.csv", ",user_id,churn_date\n0,7,2025-01-31\n")
    assert values(rows_of(tmp_path, CHURN_DATA), "column_1", "user_id") == [("0", "7")]


# -- ids ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["7", "007", "7 ", " "], ["7", "007", "7", None]),
        (["7.0", "12.0", "-3.0"], ["7", "12", "-3"]),
        (["7.0", "12"], ["7", "12"]),
        (["7.0", "a", "nan"], ["7", "a", None]),
        (["7.5", "12.0"], ["7.5", "12"]),
        (["007.0", "8.00"], ["007", "8"]),
        (["1e3", "v1.0"], ["1e3", "v1.0"]),
        (["7.0", ""], ["7", None]),
    ],
)
def test_ids_are_trimmed_text_and_an_integer_loses_its_fraction_of_zero(
    tmp_path: Path, written: list[str], read: list[str]
) -> None:
    put(
        tmp_path / "user_signups.csv",
        "user_id,signup_date,product_type\n" + "".join(f"{user},2025-01-31,free\n" for user in written),
    )
    assert values(rows_of(tmp_path), "user_id") == read


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_files_with_ids_as_floats_join_files_of_the_same_shape_with_ids_as_integers(
    tmp_path: Path, ending: str
) -> None:
    """pandas writes the ids of a whole file as floats when one of them is missing; other months are not."""
    for file, users in (("a", ["7", "8"]), ("b", ["7.0", "8.0", None]), ("c", ["9", "7"])):
        lines = [{"user_id": user, "churn_date": "2025-01-31"} for user in users]
        path = tmp_path / f"churn_data/{file}{ending}"
        if ending == ".csv":
            put(path, "user_id,churn_date\n" + "".join(f"{r['user_id'] or ''},2025-01-31\n" for r in lines))
        elif ending == ".jsonl":
            put(path, records(lines))
        else:
            put_parquet(path, user_id=users, churn_date=["2025-01-31"] * len(users))
    rows = sorted(rows_of(tmp_path, CHURN_DATA), key=lambda row: (row["_source"], row["_row_number"]))
    assert values(rows, "user_id") == ["7", "8", "7", "8", None, "9", "7"]
    assert values(rows, "_row_number") == [1, 2, 1, 2, 3, 1, 2]


@pytest.mark.parametrize(
    ("column", "read"),
    [
        (pa.array([7, 12, None], pa.int64()), ["7", "12", None]),
        (pa.array([7, 12, None], pa.uint32()), ["7", "12", None]),
        (pa.array([7, 12, None], pa.float64()), ["7", "12", None]),
        (pa.array([7, 12, None], pa.float32()), ["7", "12", None]),
        (pa.array([7.5, 12, None], pa.float64()), ["7.5", "12", None]),
        (pa.array(["007", "7", None], pa.large_string()), ["007", "7", None]),
        (pa.array([b"007", b"7", None], pa.binary()), ["007", "7", None]),
        (pa.array(["007", "7", None]).dictionary_encode(), ["007", "7", None]),
    ],
    ids=str,
)
def test_ids_in_parquet_columns_of_any_plain_type_become_the_same_text(
    tmp_path: Path, column: pa.Array, read: list[str]
) -> None:
    put_parquet(
        tmp_path / "user_signups.parquet",
        user_id=column,
        signup_date=["2025-01-31"] * 3,
        product_type=["free"] * 3,
    )
    assert values(rows_of(tmp_path), "user_id") == read


def test_a_parquet_column_of_bytes_that_are_no_text_is_left_out(tmp_path: Path) -> None:
    put_parquet(
        tmp_path / "user_signups.parquet",
        user_id=["7", "8"],
        signup_date=["2025-01-31"] * 2,
        product_type=pa.array([b"free", b"paid"], pa.binary()),
        fingerprint=pa.array([b"\xff\x00", b"ok"], pa.binary()),
    )
    rows = rows_of(tmp_path)
    assert values(rows, "product_type") == ["free", "paid"]
    assert "fingerprint" not in rows[0]


def test_json_numbers_and_texts_are_ids_as_they_are_written(tmp_path: Path) -> None:
    users: list[Any] = ["007", 7, "é", 12345678901234567890]
    put(tmp_path / "churn_data.jsonl", records({"user_id": u, "churn_date": "2025-01-31"} for u in users))
    assert values(rows_of(tmp_path, CHURN_DATA), "user_id") == ["007", "7", "é", "12345678901234567890"]


# -- dates -------------------------------------------------------------------------------------------------


ISO_DATES = {
    "2025-01-31": datetime(2025, 1, 31),
    " 2025-01-31 ": datetime(2025, 1, 31),
    "2024-02-29": datetime(2024, 2, 29),
    "2025-01-31 10:20": datetime(2025, 1, 31, 10, 20),
    "2025-01-31T10:20:30": datetime(2025, 1, 31, 10, 20, 30),
    "2025-01-31T10:20:30.5": datetime(2025, 1, 31, 10, 20, 30, 500_000),
    "2025-01-31 10:20:30.123456789": datetime(2025, 1, 31, 10, 20, 30, 123_456),
    "2025-01-31T10:20:30Z": datetime(2025, 1, 31, 10, 20, 30),
    "2025-01-31T10:20:30z": datetime(2025, 1, 31, 10, 20, 30),
    "2025-01-31 10:20:30 UTC": datetime(2025, 1, 31, 10, 20, 30),
    "2025-01-31T10:20:30UTC": datetime(2025, 1, 31, 10, 20, 30),
    "2025-01-31T10:20Z": datetime(2025, 1, 31, 10, 20),
    "2025-01-31T10:20:30.25Z": datetime(2025, 1, 31, 10, 20, 30, 250_000),
    "2025-02-01T01:00:00+02:00": datetime(2025, 1, 31, 23),
    "2025-02-01T01:00:00+0200": datetime(2025, 1, 31, 23),
    "2025-02-01T01:00:00+02": datetime(2025, 1, 31, 23),
    "2025-02-01 01:00:00 +0200": datetime(2025, 1, 31, 23),
    "2025-02-01 01:00:00 +02:00": datetime(2025, 1, 31, 23),
    "2025-01-31T20:00:00-05:30": datetime(2025, 2, 1, 1, 30),
    "2025-01-31t10:20:30.123456789z": datetime(2025, 1, 31, 10, 20, 30, 123_456),
    "\ufeff2025-01-31T10:20:30\u00a0": datetime(2025, 1, 31, 10, 20, 30),
    "2025-01-31\u202f10:20:30": datetime(2025, 1, 31, 10, 20, 30),
    "2025-01-31 \t10:20:30 GMT": datetime(2025, 1, 31, 10, 20, 30),
    "2025-01-31 10:20:30,5": datetime(2025, 1, 31, 10, 20, 30, 500_000),
    "1971-01-01": datetime(1971, 1, 1),
    "2899-12-31T23:59:59": datetime(2899, 12, 31, 23, 59, 59),
}


def test_iso_dates_and_timestamps_are_read(tmp_path: Path) -> None:
    put(tmp_path / "churn_data.csv", churn_csv(ISO_DATES))
    assert dict(zip(ISO_DATES, days_read(tmp_path), strict=True)) == ISO_DATES


NO_DAYS = [
    "31.01.2025",
    "01/31/2025",
    "2025-13-01",
    "2025-02-29",
    "2025-1-31",
    "20250131",
    "1738281600",
    "2025-01",
    "2025-W05-5",
    "0999-12-31",
    "0000-00-00",
    "10000-01-01",
    "99999-01-01 00:00:00",
    "2025-01-31T25:00:00",
    "2025-01-31T10:61",
    "2025-01-31T10:00:00+99:00",
    "2025-01-31T10:00:00 Europe/Berlin",
    "9999-12-31T23:59:59-10:00",
    "1000-01-01T00:00:00+10:00",
    "2025-01-31abc",
    "yesterday",
    "infinity",
    "2025-01-31\n2025-02-01",
]


def test_what_is_no_iso_day_of_the_calendar_goes_to_the_rejected_rows(tmp_path: Path) -> None:
    put(tmp_path / "churn_data.csv", churn_csv(["2025-01-01", *NO_DAYS]))
    assert days_read(tmp_path) == [datetime(2025, 1, 1)]
    rejected = rejected_of(tmp_path, CHURN_DATA)
    assert values(rejected, "date_value") == NO_DAYS
    # of a cancellation, a day that cannot be believed says that there is none
    unbelieved = {"0999-12-31", "0000-00-00", "10000-01-01", "99999-01-01 00:00:00", "infinity"}
    unbelieved |= {"9999-12-31T23:59:59-10:00", "1000-01-01T00:00:00+10:00"}
    assert values(rejected, "reason") == [
        "null_date" if day in unbelieved else "unparseable_date" for day in NO_DAYS
    ]
    assert set(values(rejected, "table_name", "_source")) == {("churn_data", "churn_data.csv")}
    assert values(rejected, "user_id", "_row_number")[:2] == [("u1", 2), ("u2", 3)]


def test_a_rejected_row_has_the_first_reason_that_applies(tmp_path: Path) -> None:
    no_days = ["", "  ", "NULL", "N/A", "NaT", "none", "\\N"]
    expected = [
        ("", "nonsense", "null_user_id"),
        ("  ", "", "null_user_id"),
        ("7", "soon", "unparseable_date"),
    ]
    expected += [("7", day, "null_date") for day in no_days]
    lines = "".join(f"{user},{day}\n" for user, day, _ in expected)
    put(tmp_path / "churn_data.csv", "user_id,churn_date\n1,2025-01-31\n" + lines)
    rejected = rejected_of(tmp_path, CHURN_DATA)
    assert values(rejected, "reason") == [reason for _, _, reason in expected]
    assert values(rejected, "_row_number") == list(range(2, 12))


def test_a_row_without_user_but_with_a_date_is_loaded_raw(tmp_path: Path) -> None:
    put(tmp_path / "churn_data.csv", "user_id,churn_date\n,2025-01-31\n")
    assert values(rows_of(tmp_path, CHURN_DATA), "user_id") == [None]


@pytest.mark.parametrize(
    ("column", "read"),
    [
        (pa.array([date(2025, 1, 31)]), datetime(2025, 1, 31)),
        (pa.array([datetime(2025, 1, 31, 10)], pa.timestamp("ns")), datetime(2025, 1, 31, 10)),
        (pa.array([datetime(2025, 1, 31, 10)], pa.timestamp("ms")), datetime(2025, 1, 31, 10)),
        (pa.array([datetime(2025, 1, 31, 10)], pa.timestamp("s")), datetime(2025, 1, 31, 10)),
        (pa.array([datetime(2025, 2, 1, 3)], pa.timestamp("us", "UTC")), datetime(2025, 1, 31, 22)),
        (pa.array([datetime(2025, 2, 1, 3)], pa.timestamp("ns", "UTC")), datetime(2025, 1, 31, 22)),
        (pa.array([datetime(2025, 2, 1, 3)], pa.timestamp("ns", "Asia/Tokyo")), datetime(2025, 1, 31, 22)),
        (pa.array(["2025-02-01T03:00Z"]), datetime(2025, 1, 31, 22)),
        (pa.array(["2025-02-01T03:00"]), datetime(2025, 2, 1, 3)),
        (pa.array(["2025-02-01T03:00"]).dictionary_encode(), datetime(2025, 2, 1, 3)),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else None,
)
def test_parquet_dates_of_any_type_are_read_in_the_configured_zone(
    tmp_path: Path, column: pa.Array, read: datetime
) -> None:
    put_parquet(tmp_path / "churn_data.parquet", user_id=["7"], churn_date=column)
    assert days_read(tmp_path, "America/New_York") == [read]


def test_parquet_dates_beyond_the_calendar_are_rejected_and_not_fatal(tmp_path: Path) -> None:
    far = [date(1, 1, 1), date(2025, 1, 31), None]
    put_parquet(tmp_path / "churn_data.parquet", user_id=["1", "2", "3"], churn_date=pa.array(far))
    assert days_read(tmp_path) == [datetime(2025, 1, 31)]
    assert values(rejected_of(tmp_path, CHURN_DATA), "user_id", "reason") == [
        ("1", "null_date"),
        ("3", "null_date"),
    ]
    last = pa.array([datetime(9999, 12, 31, 23), datetime(2025, 1, 31)], pa.timestamp("us", "UTC"))
    put_parquet(tmp_path / "churn_data.parquet", user_id=["1", "2"], churn_date=last)
    assert days_read(tmp_path, "Asia/Tokyo") == [datetime(2025, 1, 31, 9)]
    days = pa.array([2**31 - 1, 366], pa.int32()).cast(pa.date32())
    put_parquet(tmp_path / "churn_data.parquet", user_id=["1", "2"], churn_date=days)
    assert days_read(tmp_path) == [datetime(1971, 1, 2)]


def test_an_instant_belongs_to_the_day_of_the_configured_zone_and_a_naive_value_stays(tmp_path: Path) -> None:
    put(tmp_path / "churn_data.csv", churn_csv(["2025-02-01T03:00Z", "2025-02-01T03:00", "2025-02-01"]))
    source = FilesSource(tmp_path, "America/New_York")
    assert values(rows_of(tmp_path, CHURN_DATA, JANUARY, "America/New_York"), "user_id") == ["u0"]
    assert values(rows_of(tmp_path, CHURN_DATA, FEBRUARY, "America/New_York"), "user_id") == ["u1", "u2"]
    report = source.inspect(CHURN_DATA)
    assert report is not None
    assert (report.first_day, report.last_day) == (date(2025, 1, 31), date(2025, 2, 1))


@pytest.mark.parametrize(
    ("instant", "read"),
    [
        ("2025-03-09T06:59:59Z", datetime(2025, 3, 9, 1, 59, 59)),
        ("2025-03-09T07:00:00Z", datetime(2025, 3, 9, 3)),
        ("2025-11-02T05:30:00Z", datetime(2025, 11, 2, 1, 30)),
        ("2025-11-02T06:30:00Z", datetime(2025, 11, 2, 1, 30)),
    ],
)
@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_instants_around_a_change_of_the_clocks_are_read(
    tmp_path: Path, instant: str, read: datetime, ending: str
) -> None:
    if ending == ".csv":
        put(tmp_path / "churn_data.csv", churn_csv([instant]))
    else:
        column = pa.array([datetime.fromisoformat(instant)], pa.timestamp("us", "UTC"))
        put_parquet(tmp_path / "churn_data.parquet", user_id=["7"], churn_date=column)
    assert days_read(tmp_path, "America/New_York") == [read]


def test_a_time_that_the_clocks_skip_stays_what_the_source_said(tmp_path: Path) -> None:
    put(tmp_path / "churn_data.csv", churn_csv(["2025-03-09T02:30:00"]))
    assert days_read(tmp_path, "America/New_York") == [datetime(2025, 3, 9, 2, 30)]


def test_the_zone_of_the_machine_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    when = pa.array([datetime(2025, 2, 1, 3)], pa.timestamp("us", "UTC"))
    put_parquet(tmp_path / "churn_data.parquet", user_id=["7"], churn_date=when, seen_at=when)
    read = []
    for zone in ("UTC", "Asia/Tokyo"):
        monkeypatch.setenv("TZ", zone)
        read.append(values(rows_of(tmp_path, CHURN_DATA, FEBRUARY), "churn_date", "seen_at"))
    assert read[0] == read[1] == [(datetime(2025, 2, 1, 3), "2025-02-01 03:00:00+00")]


INSTANTS = st.datetimes(datetime(1971, 1, 1), datetime(2037, 12, 31), timezones=st.just(UTC))
ZONES = st.sampled_from(
    ["UTC", "America/New_York", "Asia/Kolkata", "Pacific/Apia", "Africa/Cairo", "America/Sao_Paulo"]
)


@pytest.mark.long
@pytest.mark.slow
@settings(max_examples=20)
@given(instants=st.lists(INSTANTS, min_size=1, max_size=30), zone=ZONES, minutes=st.integers(-840, 840))
def test_every_instant_is_the_wall_clock_time_that_python_gives(
    instants: list[datetime], zone: str, minutes: int
) -> None:
    expected = [i.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for i in instants]
    offset = timezone(timedelta(minutes=minutes))
    with tempfile.TemporaryDirectory() as folder:
        put(
            Path(folder, "text/churn_data.csv"), churn_csv(i.astimezone(offset).isoformat() for i in instants)
        )
        put_parquet(
            Path(folder, "typed/churn_data.parquet"),
            user_id=[str(n) for n in range(len(instants))],
            churn_date=pa.array(instants, pa.timestamp("us", "UTC")),
        )
        assert days_read(Path(folder, "text"), zone) == expected
        assert days_read(Path(folder, "typed"), zone) == expected
        edges = sorted({day.date().replace(day=1) for day in expected})[:4]
        source = FilesSource(Path(folder, "typed"), zone)
        for start, end in pairwise([None, *edges, None]):
            inside = [d for d in expected if (not start or d.date() >= start) and (not end or d.date() < end)]
            assert values(window_rows(source, CHURN_DATA, Window(start, end)), "churn_date") == inside


# -- no row is lost ----------------------------------------------------------------------------------------

DATE_TEXTS = st.one_of(
    st.dates(date(2024, 11, 1), date(2025, 4, 30)).map(date.isoformat),
    st.datetimes(datetime(2024, 11, 1), datetime(2025, 4, 30)).map(datetime.isoformat),
    st.datetimes(datetime(2024, 11, 1), datetime(2025, 4, 30)).map(
        lambda at: f"{at:%Y-%m-%d %H:%M:%S}+05:30"
    ),
    st.sampled_from([None, "", "null", "n/a", "2025-02-30", "soon", "0001-01-01"]),
    st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=12),
)
USERS = st.one_of(st.none(), st.sampled_from(["", " ", "7", "007", "7.0"]), st.integers(0, 99).map(str))


@pytest.mark.slow
@settings(max_examples=30)
@given(
    lines=st.lists(st.tuples(USERS, DATE_TEXTS), min_size=1, max_size=40),
    cuts=st.sets(st.dates(date(2024, 11, 1), date(2025, 4, 30)), max_size=4),
    files=st.integers(1, 3),
    form=st.sampled_from(["csv", "jsonl", "parquet"]),
)
def test_every_row_is_in_exactly_one_window_or_rejected(
    lines: list[tuple[str | None, str | None]], cuts: set[date], files: int, form: str
) -> None:
    lines = [("1", "2025-01-31"), *lines]
    edges = [None, *sorted(cuts), None]
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        positions = []
        for number in range(files):
            part = lines[number::files]
            file = folder / f"churn_data/{number}.{form}"
            positions += [(f"churn_data/{number}.{form}", n) for n in range(1, len(part) + 1)]
            if form == "csv":
                quoted = [[f'"{(v or "").replace(chr(34), chr(34) * 2)}"' for v in line] for line in part]
                put(file, "user_id,churn_date\n" + "".join(",".join(line) + "\n" for line in quoted))
            elif form == "jsonl":
                put(file, records({"user_id": u, "churn_date": d} for u, d in part))
            else:
                columns = list(zip(*part, strict=True)) or [(), ()]
                put_parquet(
                    file,
                    user_id=pa.array(columns[0], pa.string()),
                    churn_date=pa.array(columns[1], pa.string()),
                )
        source = FilesSource(folder)
        found = [
            (row["_source"], row["_row_number"])
            for start, end in pairwise(edges)
            for row in window_rows(source, CHURN_DATA, Window(start, end))
        ]
        rejected = source.extract(CHURN_DATA, ALWAYS).rejected.read_all().to_pylist()
        found += values(rejected, "_source", "_row_number")
        report = source.inspect(CHURN_DATA)
    assert sorted(found) == sorted(positions)
    assert report is not None
    assert report.rows == len(lines)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_row_numbers_count_the_rows_of_each_file_in_its_own_order(tmp_path: Path, form: str) -> None:
    """A counter running through all files once gave two rows of a file one number after a file was added."""
    rows = 150_000
    for file in ("a", "b"):
        users, day = [str(n) for n in range(1, rows + 1)], ["2025-01-31"] * rows
        path = tmp_path / f"churn_data/{file}.{form}"
        if form == "csv":
            put(path, "user_id,churn_date\n" + "".join(f"{user},2025-01-31\n" for user in users))
        elif form == "jsonl":
            put(path, "".join(f'{{"user_id": {user}, "churn_date": "2025-01-31"}}\n' for user in users))
        else:
            put_parquet(path, user_id=users, churn_date=day)
    extract = FilesSource(tmp_path).extract(CHURN_DATA, JANUARY).rows.read_all()
    assert extract.num_rows == 2 * rows
    assert extract["user_id"].cast(pa.int64()).equals(extract["_row_number"])


def test_row_numbers_of_a_file_do_not_change_when_another_file_arrives(tmp_path: Path) -> None:
    put(tmp_path / "churn_data/b.csv", "user_id,churn_date\n1,2025-02-01\n2,2025-01-31\n")
    before = rows_of(tmp_path, CHURN_DATA, JANUARY)
    put(tmp_path / "churn_data/a.csv", "user_id,churn_date\n3,2025-02-02\n")
    after = rows_of(tmp_path, CHURN_DATA)
    assert values(before, "user_id", "_row_number") == [("2", 2)]
    assert {row["user_id"]: row["_row_number"] for row in after} == {"1": 1, "2": 2, "3": 1}


# -- columns -----------------------------------------------------------------------------------------------


def test_extra_columns_are_kept_as_text_under_their_lower_case_names(tmp_path: Path) -> None:
    put_parquet(
        tmp_path / "user_signups.parquet",
        user_id=["7"],
        signup_date=["2025-01-31"],
        product_type=["free"],
        Country=["DE"],
        **{"Seats (Paid)": [3], "is_trial": [True], "order": [1.5], "tags": [["a", "b"]]},
    )
    source = FilesSource(tmp_path)
    report = source.inspect(USER_SIGNUPS)
    assert report is not None
    assert report.extra_columns == ("country", "is_trial", "order", "seats_paid_", "tags")
    extract = source.extract(USER_SIGNUPS, Window())
    assert extract.rows.schema == USER_SIGNUPS.schema(report.extra_columns)
    assert values(extract.rows.read_all().to_pylist(), *report.extra_columns) == [
        ("DE", "true", "1.5", "3", "[a, b]")
    ]


def test_a_folder_of_files_with_different_columns_gives_their_union(tmp_path: Path) -> None:
    put(tmp_path / "churn_data/a.csv", "user_id,churn_date\n1,2025-01-31\n")
    put(tmp_path / "churn_data/b.csv", "CHURN_DATE,USER_ID,Plan\n2025-01-31,2,pro\n")
    put(tmp_path / "churn_data/c.csv", "user_id,plan,churn_date,churn_reason\n3,free,2025-01-31,price\n")
    rows = rows_of(tmp_path, CHURN_DATA, JANUARY)
    assert sorted(values(rows, "user_id", "plan", "churn_reason"), key=str) == [
        ("1", None, None),
        ("2", "pro", None),
        ("3", "free", "price"),
    ]


def test_optional_columns_that_are_missing_are_null(tmp_path: Path) -> None:
    put(
        tmp_path / "user_engagement.csv",
        "user_id,engagement_date,session_duration,interaction_type\n7,2025-01-31,,view\n",
    )
    row = rows_of(tmp_path, USER_ENGAGEMENT)[0]
    assert (row["event_id"], row["device_type"], row["session_duration"]) == (None, None, None)


def test_a_source_column_may_be_called_filename(tmp_path: Path) -> None:
    put(tmp_path / "churn_data.csv", "user_id,churn_date,filename\n7,2025-01-31,x.csv\n")
    assert values(rows_of(tmp_path, CHURN_DATA), "filename", "_source") == [("x.csv", "churn_data.csv")]


@pytest.mark.parametrize("name", ["_source", "_Row_Number", "_extracted_at", "_file", "file_row_number"])
@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_column_named_as_the_pipelines_own_is_refused(tmp_path: Path, name: str, ending: str) -> None:
    if ending == ".csv":
        put(tmp_path / "churn_data.csv", f"user_id,churn_date,{name}\n7,2025-01-31,x\n")
    else:
        put_parquet(
            tmp_path / "churn_data.parquet", user_id=["7"], churn_date=["2025-01-31"], **{name: ["x"]}
        )
    message = message_of(tmp_path, CHURN_DATA)
    assert f"churn_data{ending}" in message
    assert name.lower() in message
    assert "rename" in message


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    put(tmp_path / "churn_data.csv", "user_id,churn_date,User ID\n7,2025-01-31,8\n")
    message = message_of(tmp_path, CHURN_DATA)
    assert "churn_data.csv" in message
    assert "'user_id' and 'User ID'" in message


def test_json_keys_that_differ_only_in_case_are_refused_rather_than_read_as_null(tmp_path: Path) -> None:
    put(
        tmp_path / "churn_data.jsonl",
        records([{"USER_ID": 1, "churn_date": "2025-01-31"}, {"user_id": 2, "churn_date": "2025-01-31"}]),
    )
    assert "'USER_ID' and 'user_id' are both user_id" in message_of(tmp_path, CHURN_DATA)


def test_json_keys_that_end_in_a_number_are_ordinary_columns(tmp_path: Path) -> None:
    line = {"user_id": 1, "churn_date": "2025-01-31", "place": "a", "place_1": "b"}
    put(tmp_path / "churn_data.jsonl", records([line]))
    assert values(rows_of(tmp_path, CHURN_DATA), "place", "place_1") == [("a", "b")]


def test_json_lines_may_have_different_keys_nested_values_and_hundreds_of_columns(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"user_id": 1, "churn_date": "2025-01-31", "detail": {"a": [1, 2]}, "ok": True},
        {"churn_date": "2025-01-31", "user_id": 2, "churn_reason": None},
        {"user_id": 3, "churn_date": None} | {f"extra_{n}": n for n in range(400)},
    ]
    put(tmp_path / "churn_data.jsonl", records(lines))
    rows = rows_of(tmp_path, CHURN_DATA)
    assert values(rows, "user_id", "detail", "ok", "extra_399") == [
        ("1", '{"a":[1,2]}', "true", None),
        ("2", None, None, None),
    ]
    assert values(rejected_of(tmp_path, CHURN_DATA), "user_id", "reason") == [("3", "null_date")]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_very_wide_table_streams_in_its_declared_schema(tmp_path: Path, form: str) -> None:
    names = [f"c{n}" for n in range(1000)]
    line = {"user_id": "7", "churn_date": "2025-01-31"} | dict.fromkeys(names, "x" * 20)
    file = tmp_path / f"churn_data.{form}"
    if form == "csv":
        put(file, ",".join(line) + "\n" + (",".join(line.values()) + "\n") * 50)
    elif form == "jsonl":
        put(file, records([line] * 50))
    else:
        put_parquet(file, **{name: [value] * 50 for name, value in line.items()})
    extract = FilesSource(tmp_path).extract(CHURN_DATA, Window())
    assert extract.rows.schema == CHURN_DATA.schema(tuple(sorted(names)))
    batches = list(extract.rows)
    assert all(batch.schema == extract.rows.schema for batch in batches)
    assert sum(batch.num_rows for batch in batches) == 50


def test_a_long_table_streams_in_bounded_batches(tmp_path: Path) -> None:
    rows = 2 * BATCH_ROWS + 5
    put_parquet(
        tmp_path / "churn_data.parquet",
        user_id=pa.array(range(rows)),
        churn_date=pa.array([date(2025, 1, 31)] * rows),
    )
    sizes = [batch.num_rows for batch in FilesSource(tmp_path).extract(CHURN_DATA, JANUARY).rows]
    assert sum(sizes) == rows
    assert max(sizes) <= BATCH_ROWS
    assert len(sizes) >= 3


# -- durations ---------------------------------------------------------------------------------------------

ENGAGEMENT_HEADER = "user_id,engagement_date,session_duration,interaction_type\n"


@pytest.mark.parametrize(
    ("written", "read"), [("12", 12.0), ("1.5", 1.5), (" 2 ", 2.0), ("-3", -3.0), ("1e3", 1000.0)]
)
def test_numeric_durations_are_read(tmp_path: Path, written: str, read: float) -> None:
    put(tmp_path / "user_engagement.csv", f"{ENGAGEMENT_HEADER}7,2025-01-31,{written},view\n")
    assert values(rows_of(tmp_path, USER_ENGAGEMENT), "session_duration") == [read]


@pytest.mark.parametrize("written", ["", "null", "N/A", "\\N"])
def test_missing_durations_are_null(tmp_path: Path, written: str) -> None:
    put(tmp_path / "user_engagement.csv", f"{ENGAGEMENT_HEADER}7,2025-01-31,{written},view\n")
    assert values(rows_of(tmp_path, USER_ENGAGEMENT), "session_duration") == [None]


@pytest.mark.parametrize(
    "kind",
    [pa.int8(), pa.uint8(), pa.uint32(), pa.uint64(), pa.int64(), pa.float32(), pa.decimal128(21, 2)],
    ids=str,
)
def test_a_parquet_duration_may_have_any_type_of_number(tmp_path: Path, kind: pa.DataType) -> None:
    put_parquet(
        tmp_path / "user_engagement.parquet",
        user_id=["7"],
        engagement_date=["2025-01-31"],
        session_duration=pa.array([12]).cast(kind),
        interaction_type=["view"],
    )
    assert values(rows_of(tmp_path, USER_ENGAGEMENT), "session_duration") == [12.0]


def test_files_that_differ_only_in_what_their_numbers_mean_are_read_each_by_its_own_header(
    tmp_path: Path,
) -> None:
    lengths = {"a": pa.array([90]), "b": pa.array([timedelta(seconds=90)], pa.duration("ms")), "c": ["90"]}
    for name, length in lengths.items():
        put_parquet(
            tmp_path / "user_engagement" / f"{name}.parquet",
            user_id=["7"],
            engagement_date=["2025-01-31"],
            session_duration=length,
            interaction_type=["view"],
        )
    assert values(rows_of(tmp_path, USER_ENGAGEMENT), "session_duration") == [90.0, 90.0, 90.0]


def test_a_parquet_column_of_nothing_but_nulls_is_no_trouble(tmp_path: Path) -> None:
    put_parquet(
        tmp_path / "user_engagement.parquet",
        user_id=["7"],
        engagement_date=["2025-01-31"],
        session_duration=pa.nulls(1),
        interaction_type=pa.nulls(1),
    )
    assert values(rows_of(tmp_path, USER_ENGAGEMENT), "session_duration", "interaction_type") == [
        (None, None)
    ]


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("a.csv", ENGAGEMENT_HEADER + '1,2025-01-31,1,"a\nb"\n2,2025-01-31,1m 30s,view\n', ", line 4:"),
        ("a.csv.gz", ENGAGEMENT_HEADER + "\n1,2025-01-31,1,view\n2,2025-01-31,1m 30s,view\n", ", line 4:"),
        (
            "a.jsonl",
            records(
                {
                    "user_id": "1m 30s",
                    "engagement_date": "2025-01-31",
                    "session_duration": d,
                    "interaction_type": "",
                }
                for d in ("12", "1m 30s")
            ),
            ", line 2:",
        ),
    ],
)
def test_a_duration_that_is_no_number_is_refused_with_file_line_and_value(
    tmp_path: Path, name: str, content: str, place: str
) -> None:
    file = put(tmp_path / "user_engagement" / name, content)
    message = message_of(tmp_path, USER_ENGAGEMENT)
    assert message.startswith(f"{file}{place} session_duration is '1m 30s', expected a number of seconds")
    assert message.endswith("(1 such rows). Correct the value or leave it empty.")


def test_a_header_repeated_in_the_middle_of_a_file_is_found_where_it_stands(tmp_path: Path) -> None:
    """The search for the line once began at the header, which holds the same word."""
    put(tmp_path / "user_engagement.csv", ENGAGEMENT_HEADER + "1,2025-01-31,1,view\n" + ENGAGEMENT_HEADER)
    message = message_of(tmp_path, USER_ENGAGEMENT)
    assert "user_engagement.csv, line 3: session_duration is 'session_duration'" in message


def test_a_duration_from_a_folder_name_that_is_no_number_is_refused(tmp_path: Path) -> None:
    put(
        tmp_path / "user_engagement/session_duration=long/a.csv",
        "user_id,engagement_date,interaction_type\n7,2025-01-31,view\n",
    )
    message = message_of(tmp_path, USER_ENGAGEMENT)
    assert "session_duration=long/a.csv: session_duration is 'long'" in message


def test_a_bad_duration_beside_a_very_long_value_is_still_told(tmp_path: Path) -> None:
    put(
        tmp_path / "user_engagement.csv",
        f"{ENGAGEMENT_HEADER}7,2025-01-31,1,{'x' * 200_000}\n8,2025-01-31,y,z\n",
    )
    assert "session_duration is 'y'" in message_of(tmp_path, USER_ENGAGEMENT)


# -- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_missing_required_column_is_named_with_what_was_found(tmp_path: Path, form: str) -> None:
    file = tmp_path / f"user_signups.{form}"
    if form == "csv":
        put(file, "user_id,date\n7,2025-01-31\n")
    elif form == "jsonl":
        put(file, records([{"user_id": 7, "date": "2025-01-31"}]))
    else:
        put_parquet(file, user_id=["7"], date=["2025-01-31"])
    message = message_of(tmp_path)
    assert message.startswith(f"{file}: columns signup_date, product_type are missing for user_signups.")
    assert "Found user_id, date; rename or add the columns." in message
    assert "Line 1" not in message


def test_a_file_without_a_header_is_refused_with_what_its_first_line_is(tmp_path: Path) -> None:
    put(tmp_path / "user_signups.csv", "1,2025-01-01,free\n2,2025-01-02,free\n")
    with pytest.raises(
        SourceError, match="Line 1 is read as the header: remove what stands above it, or write one"
    ):
        FilesSource(tmp_path).inspect(USER_SIGNUPS)


def test_a_missing_column_in_one_file_of_a_folder_names_that_file(tmp_path: Path) -> None:
    as_csv(tmp_path / "user_signups/a.csv")
    file = put(tmp_path / "user_signups/b.csv", "user_id,signup_date\n7,2025-01-31\n")
    assert message_of(tmp_path).startswith(f"{file}: column product_type is missing")


def test_a_missing_table_is_told_with_what_is_expected_and_what_is_there(tmp_path: Path) -> None:
    put(tmp_path / "signups.xlsx", b"")
    message = message_of(tmp_path)
    assert "no user_signups here" in message
    assert "user_signups.csv" in message
    assert "found signups.xlsx" in message


def test_absent_churn_data_is_legal_and_gives_no_rows(tmp_path: Path) -> None:
    source = FilesSource(tmp_path)
    assert source.inspect(CHURN_DATA) is None
    extract = source.extract(CHURN_DATA, JANUARY)
    assert extract.rows.schema == CHURN_DATA.schema()
    assert extract.rejected.schema == REJECTED_ROWS.schema()
    assert (extract.rows.read_all().num_rows, extract.rejected.read_all().num_rows) == (0, 0)


def test_churn_data_in_which_nobody_has_churned_yet_is_legal(tmp_path: Path) -> None:
    put(tmp_path / "churn_data.csv", "user_id,churn_date\n1,\n2,null\n")
    assert rows_of(tmp_path, CHURN_DATA) == []
    assert values(rejected_of(tmp_path, CHURN_DATA), "reason") == ["null_date", "null_date"]


@pytest.mark.parametrize("content", ["", "\n", "\n\nuser_id,signup_date,product_type\n7,2025-01-31,free\n"])
def test_an_empty_csv_file_or_first_line_is_refused(tmp_path: Path, content: str) -> None:
    file = put(tmp_path / "user_signups.csv", content)
    assert message_of(tmp_path) == f"{file}: the first line is empty; it should name the columns."


@pytest.mark.parametrize("content", ["", "\n \n"])
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside another"])
def test_an_empty_file_of_json_lines_holds_no_rows(tmp_path: Path, content: str, beside: bool) -> None:
    put(tmp_path / "user_signups/b.jsonl", content)
    if beside:
        as_json_lines(tmp_path / "user_signups/a.jsonl")
    report = FilesSource(tmp_path).inspect(USER_SIGNUPS)
    assert report is not None
    assert report.rows == len(rows_of(tmp_path)) == (2 if beside else 0)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_file_with_columns_but_no_rows_is_an_empty_table(tmp_path: Path, form: str) -> None:
    file = tmp_path / f"user_signups.{form}"
    if form == "csv":
        put(file, "user_id,signup_date,product_type\n")
    else:
        none = pa.array([], pa.string())
        put_parquet(file, user_id=none, signup_date=none, product_type=none)
    report = FilesSource(tmp_path).inspect(USER_SIGNUPS)
    assert report is not None
    assert (report.rows, report.rejected, report.first_day, report.last_day) == (0, 0, None, None)
    assert rows_of(tmp_path) == []


def test_an_empty_folder_of_a_required_table_is_refused_and_of_churn_data_is_not(tmp_path: Path) -> None:
    (tmp_path / "user_signups").mkdir()
    (tmp_path / "churn_data").mkdir()
    assert "user_signups: this folder of user_signups holds no file" in message_of(tmp_path)
    assert FilesSource(tmp_path).inspect(CHURN_DATA) is None


def test_two_candidates_for_one_table_are_refused_by_name(tmp_path: Path) -> None:
    as_csv(tmp_path / "user_signups.csv")
    as_parquet(tmp_path / "user_signups.parquet")
    message = message_of(tmp_path)
    assert "both user_signups.csv and user_signups.parquet could be user_signups; keep one" in message


def test_a_file_of_an_unknown_kind_within_a_table_is_refused(tmp_path: Path) -> None:
    as_csv(tmp_path / "user_signups/a.csv")
    file = put(tmp_path / "user_signups/notes.txt", "hello")
    assert message_of(tmp_path).startswith(f"{file}: not a kind of file that can be read (.csv")


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_a_folder_that_is_not_there_or_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    put(tmp_path / "file", "")
    assert message_of(tmp_path / name).startswith(f"{tmp_path / name}: no such folder.")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "1,2025-01-31,free\n2,2025-01-31,a,b\n",
            ", line 3: expected 3 columns, found 4: '2,2025-01-31,a,b'.",
        ),
        ("1,2025-01-31,free\n2,2025-01-31\n", ", line 3: expected 3 columns, found 2: '2,2025-01-31'."),
        (
            '1,2025-01-31,"free\n2,2025-01-31,b\n',
            ", line 2: a quoted value does not end: '1,2025-01-31,\"free'.",
        ),
        ('1,2025-01-31,"free" plan\n', ", line 2: a quoted value does not end"),
        (b"1,2025-01-31,ok\n2,2025-01-31,\xff\xfe\n", ": cannot be read ('utf-8' codec"),
        ("1,2025-01-31,free\r\n2,2025-01-31,pro\n", ": line ends or quotes change within the file."),
    ],
)
def test_a_malformed_csv_line_is_refused_with_file_line_and_remedy(
    tmp_path: Path, content: str | bytes, expected: str
) -> None:
    raw = content if isinstance(content, bytes) else content.encode()
    end = b"\r\n" if b"\r\n" in raw else b"\n"
    file = put(tmp_path / "user_signups.csv", b"user_id,signup_date,product_type" + end + raw)
    message = message_of(tmp_path)
    assert message.startswith(f"{file}{expected}")
    assert re.search(r"Save|Quote|Close", message)


def test_a_malformed_line_names_its_own_file_among_several(tmp_path: Path) -> None:
    as_csv(tmp_path / "user_signups/a.csv")
    file = put(tmp_path / "user_signups/b [2]'s.csv", "user_id,signup_date,product_type\n1,2025-01-31\n")
    (found,) = FilesSource(tmp_path).unreadable(USER_SIGNUPS)
    assert found.name == "user_signups/b [2]'s.csv"
    assert found.reason.startswith(f"{file}, line 2: expected 3 columns, found 2")


@pytest.mark.parametrize("column", ["product_type", "note"])
def test_text_that_is_no_utf_8_is_refused_wherever_it_stands(tmp_path: Path, column: str) -> None:
    """Columns that the check did not ask for were once found to be broken only while loading."""
    header = b"user_id,signup_date,product_type,note\n"
    good = b"1,2025-01-31,free,x\n" * 50_000
    bad = b"2,2025-01-31,\xff,x\n" if column == "product_type" else b"2,2025-01-31,free,\xff\n"
    file = put(tmp_path / "user_signups.csv", header + good + bad)
    message = message_of(tmp_path)
    assert message.startswith(f"{file}, line 50002: not valid UTF-8 text")
    assert message.endswith("Save the file as UTF-8.")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"user_id": 2, "churn_date": "2025-01-31"\n', "unexpected"),
        (b'{"user_id": 2, "churn_date": "2025-01-31"} x\n', "unexpected content"),
        (b"{'user_id': 2}\n", "unexpected character"),
        (b'{"user_id": "\xff", "churn_date": "2025-01-31"}\n', "invalid UTF-8"),
    ],
)
@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_a_malformed_json_line_is_refused_with_its_line(
    tmp_path: Path, line: bytes, problem: str, ending: str
) -> None:
    """DuckDB counts one line too many."""
    good = b'{"user_id": 1, "churn_date": "2025-01-31"}\n'
    file = put(tmp_path / f"churn_data{ending}", good + b"\n" + line + good)
    message = message_of(tmp_path, CHURN_DATA)
    assert message.startswith(f"{file}, line 3: {problem}")
    assert message.endswith("Write one whole JSON object a line, as UTF-8.")


def test_json_with_a_byte_order_mark_is_refused_with_the_remedy(tmp_path: Path) -> None:
    file = put(tmp_path / "churn_data.jsonl", b'\xef\xbb\xbf{"user_id": 1, "churn_date": "2025-01-31"}\n')
    message = message_of(tmp_path, CHURN_DATA)
    assert message.startswith(f"{file}: byte order mark")
    assert "without a byte order mark" in message


@pytest.mark.parametrize("content", ["[1, 2]\n", "7\n", "{}\n", '"text"\n'])
def test_json_lines_that_are_no_records_are_refused(tmp_path: Path, content: str) -> None:
    file = put(tmp_path / "churn_data.jsonl", content)
    message = message_of(tmp_path, CHURN_DATA)
    assert message.startswith(f"{file}: columns user_id, churn_date are missing for churn_data.")


@pytest.mark.parametrize("ending", [".csv.gz", ".jsonl.gz"])
@pytest.mark.parametrize("kept", [0.5, 0.99, "all but the checksum", "garbage", "damage at the start"])
def test_a_truncated_or_damaged_gzip_file_is_refused(tmp_path: Path, ending: str, kept: float | str) -> None:
    if ending == ".csv.gz":
        text = churn_csv(f"{day}" for day in ["2025-01-31", "2025-01-30"] * 30_000)
    else:
        text = records({"user_id": n, "churn_date": "2025-01-31"} for n in range(60_000))
    whole = gzip.compress(text.encode())
    if kept == "garbage":
        content = b"not gzip at all, whatever its name says\n" * 10
    elif kept == "damage at the start":
        content = whole[:12] + bytes(255 - byte for byte in whole[12:40]) + whole[40:]
    elif kept == "all but the checksum":
        content = whole[:-8]
    else:
        content = whole[: int(len(whole) * float(kept))]
    (tmp_path / f"churn_data{ending}").write_bytes(content)
    message = message_of(tmp_path, CHURN_DATA)
    assert f"{tmp_path / f'churn_data{ending}'}" in message


@pytest.mark.parametrize("content", [b"", b"PAR1", b"garbage" * 100, "truncated"])
def test_a_truncated_or_garbage_parquet_file_is_refused(tmp_path: Path, content: bytes | str) -> None:
    file = tmp_path / "user_signups.parquet"
    as_parquet(file)
    file.write_bytes(file.read_bytes()[:-20] if isinstance(content, str) else content)
    message = message_of(tmp_path)
    assert message.startswith(f"{file}: cannot be read: ")
    assert message.endswith("Mend or replace the file.")


@pytest.mark.parametrize(
    ("table", "name", "column", "expected"),
    [
        (USER_ENGAGEMENT, "session_duration", pa.array([True]), "BOOLEAN, expected a number"),
        (USER_ENGAGEMENT, "session_duration", pa.array([date(2025, 1, 1)]), "DATE, expected a number"),
        (USER_ENGAGEMENT, "engagement_date", pa.array([1738281600]), "BIGINT, expected a date"),
        (USER_ENGAGEMENT, "engagement_date", pa.array([1.5]), "DOUBLE, expected a date"),
        (USER_ENGAGEMENT, "engagement_date", pa.array([[date(2025, 1, 1)]]), "DATE[], expected a date"),
        (USER_ENGAGEMENT, "user_id", pa.array([["7"]]), "VARCHAR[], expected text"),
        (USER_ENGAGEMENT, "user_id", pa.array([{"id": 7}]), "expected text"),
    ],
)
def test_a_parquet_column_of_an_impossible_type_is_refused(
    tmp_path: Path, table: RawTable, name: str, column: pa.Array, expected: str
) -> None:
    columns: dict[str, Any] = {
        "user_id": ["7"],
        "engagement_date": ["2025-01-31"],
        "session_duration": [1.0],
        "interaction_type": ["view"],
    }
    file = put_parquet(tmp_path / f"{table.name}.parquet", **(columns | {name: column}))
    message = message_of(tmp_path, table)
    assert message.startswith(f"{file}: column {name} is ")
    assert expected in message
    assert message.endswith("convert the column.")


@pytest.mark.parametrize("first", ["b.csv", "a.csv"], ids=["alone", "after an empty file"])
def test_a_table_without_one_readable_date_is_refused_with_an_example(tmp_path: Path, first: str) -> None:
    put(tmp_path / f"churn_data/{first}", "user_id,churn_date,plan\n")
    file = put(tmp_path / "churn_data/b.csv", "user_id,churn_date\n1,\n2,31.01.2025\n3,01.02.2025\n")
    message = message_of(tmp_path, CHURN_DATA)
    assert message.startswith(f"{file}: no churn_date of 3 rows is usable; the first is '31.01.2025'.")
    assert "2025-01-31T10:00:00+01:00" in message


def test_a_required_table_whose_dates_are_all_empty_is_refused(tmp_path: Path) -> None:
    file = put(tmp_path / "user_signups.csv", "user_id,signup_date,product_type\n1,,free\n2,,free\n")
    assert message_of(tmp_path) == f"{file}: signup_date is empty in all 2 rows; fill the column."


def test_a_file_that_breaks_after_the_check_is_said_to_have_changed(tmp_path: Path) -> None:
    file = put(tmp_path / "churn_data.csv", churn_csv(["2025-01-31"] * 3))
    extract = FilesSource(tmp_path).extract(CHURN_DATA, Window())
    file.write_text("user_id,churn_date\n1,2025-01-31,2\n")
    with pytest.raises(SourceError, match=r"churn_data.csv: changed while it was being read"):
        extract.rows.read_all()


def test_a_file_that_is_removed_after_the_check_is_said_to_be(tmp_path: Path) -> None:
    file = put(tmp_path / "churn_data.csv", churn_csv(["2025-01-31"] * 3))
    extract = FilesSource(tmp_path).extract(CHURN_DATA, Window())
    file.unlink()
    with pytest.raises(SourceError, match=r"churn_data.csv: removed while it was being read. Run again"):
        extract.rows.read_all()


def test_a_changed_file_is_inspected_again(tmp_path: Path) -> None:
    source = FilesSource(tmp_path)
    for days in (["2025-01-31"], ["2025-01-31", "2025-02-01"]):
        put(tmp_path / "churn_data.csv", churn_csv(days))
        report = source.inspect(CHURN_DATA)
        assert report is not None
        assert report.rows == len(days)


def test_a_file_that_expands_beyond_all_measure_is_refused_unread(tmp_path: Path) -> None:
    """Its row was read for minutes, and then passed over in silence."""
    with gzip.open(tmp_path / "user_engagement.csv.gz", "wb") as file:
        file.write(b"user_id,engagement_date,session_duration,interaction_type\n1,2025-01-02,60,")
        for _ in range(70):
            file.write(b"A" * 2**20)
    with pytest.raises(SourceError, match=r"user_engagement.csv.gz: its [\d,]+ bytes expand to about 73,4"):
        FilesSource(tmp_path).inspect(USER_ENGAGEMENT)


def test_many_equal_rows_are_no_bomb(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "user_engagement.csv.gz", "wt") as file:
        file.write("user_id,engagement_date,session_duration,interaction_type\n")
        file.write("1,2025-01-02,60,visit\n" * 500_000)
    report = FilesSource(tmp_path).inspect(USER_ENGAGEMENT)
    assert report
    assert report.rows == 500_000


@pytest.mark.parametrize("size", [2_100_000, 40_000_000])
def test_a_last_line_without_end_is_not_passed_over(tmp_path: Path, size: int) -> None:
    text = f"user_id,engagement_date,session_duration,interaction_type\n1,2025-01-02,60,{'A' * size}\n"
    (tmp_path / "user_engagement.csv").write_text(text)
    with pytest.raises(SourceError, match="line is longer than 2 MB"):
        FilesSource(tmp_path).inspect(USER_ENGAGEMENT)


@pytest.mark.parametrize(
    "text",
    [
        '[{"user_id": 1, "engagement_date": "2025-03-02", "session_duration": 60, "interaction_type": "visit"}]',
        (
            '{"user_id": 1, "engagement_date": "2025-03-02", "session_duration": 60, "interaction_type": "visit"}\n'
            '{"user_id": 2, "engagement_dat'
        ),
        '{\n  "user_id": 1\n}',
    ],
    ids=["a list", "cut off", "indented"],
)
def test_a_new_file_without_a_last_line_end_is_refused_unless_it_grows(tmp_path: Path, text: str) -> None:
    """A file that was written within the last minute was taken for one that grows: its last line went in silence."""
    (tmp_path / "user_engagement.jsonl").write_text(text)
    with pytest.raises(SourceError) as raised:
        FilesSource(tmp_path).inspect(USER_ENGAGEMENT)
    assert str(tmp_path / "user_engagement.jsonl") in str(raised.value)
