"""What raw values mean, the same for every source that can hold them."""

from __future__ import annotations

import json
import os
import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from user_engagement.contracts.raw import CHURN_DATA, USER_ENGAGEMENT, USER_SIGNUPS, RawTable, Window
from user_engagement.errors import SettingsError, SourceError
from user_engagement.settings import MISSING_WORDS, load_settings
from user_engagement.sources import Source, open_source
from user_engagement.sources.database import DatabaseSource
from user_engagement.sources.files import FilesSource
from user_engagement.sources.normalise import BLANKS_AROUND, ValueRules, column_name
from user_engagement.sources.warehouse import WarehouseSource
from user_engagement.warehouse.duckdb.source_tables import DuckDBTables
from user_engagement.warehouse.duckdb.warehouse import DuckDBWarehouse
from user_engagement_tests.support.extracts import rejected_of, rows_of

Row = dict[str, Any]
Writer = Callable[..., Source]

BLANKS = [" ", "\t", "\r\n", "\u00a0", "\u3000", "\u200b", "\ufeff", "\u2009", "\u200e"]


def as_csv(folder: Path, table: RawTable, rows: Sequence[Row], **options: Any) -> Source:
    quoted = (",".join('"' + str(value).replace('"', '""') + '"' for value in row.values()) for row in rows)
    text = "\n".join([",".join(rows[0]), *quoted]) + "\n"
    (folder / f"{table.name}.csv").write_bytes(text.encode())
    return FilesSource(folder, **options)


def as_json(folder: Path, table: RawTable, rows: Sequence[Row], **options: Any) -> Source:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / f"{table.name}.jsonl").write_bytes(text.encode())
    return FilesSource(folder, **options)


def as_parquet(folder: Path, table: RawTable, rows: Sequence[Row], **options: Any) -> Source:
    pq.write_table(pa.Table.from_pylist(list(rows)), folder / f"{table.name}.parquet")
    return FilesSource(folder, **options)


def as_sqlite(folder: Path, table: RawTable, rows: Sequence[Row], **options: Any) -> Source:
    file = folder / "shop.sqlite"
    connection = sqlite3.connect(file)
    connection.execute(f"create table {table.name} ({', '.join(f'{name} text' for name in rows[0])})")
    marks = ", ".join("?" for _ in rows[0])
    values = [tuple(row.values()) for row in rows]
    connection.executemany(f"insert into {table.name} values ({marks})", values)
    connection.commit()
    connection.close()
    return DatabaseSource(f"sqlite:///{file}", **options)


def as_duckdb(folder: Path, table: RawTable, rows: Sequence[Row], **options: Any) -> Source:
    file = folder / "shop.duckdb"
    with duckdb.connect(file) as connection:
        connection.register("given", pa.Table.from_pylist(list(rows)))
        connection.execute(f"create table {table.name} as from given")
    warehouse = DuckDBWarehouse(folder / "warehouse.duckdb", "500MB")
    return WarehouseSource(DuckDBTables(warehouse, str(file)), **options)


@pytest.fixture(params=[as_csv, as_json, as_parquet, as_sqlite, as_duckdb])
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Writer:
    def write(table: RawTable, rows: Sequence[Row], **options: Any) -> Source:
        return request.param(tmp_path, table, rows, **options)

    return write


def loaded(source: Source, table: RawTable) -> list[Row]:
    rows = rows_of(source.extract(table, Window())).to_pylist()
    return sorted(rows, key=lambda row: row["_row_number"])


def rejected(source: Source, table: RawTable) -> list[tuple[str | None, str]]:
    extract = source.extract(table, Window())
    rows_of(extract)
    rows = sorted(rejected_of(extract).to_pylist(), key=lambda row: row["_row_number"])
    return [(row["user_id"], row["reason"]) for row in rows]


def signup(user: Any, product: Any = "basic", day: Any = "2025-03-01") -> Row:
    return {"user_id": user, "signup_date": day, "product_type": product}


def session(user: Any, event: Any = "e", day: Any = "2025-03-02", seconds: Any = "60") -> Row:
    known = {"user_id": user, "engagement_date": day, "session_duration": seconds}
    return known | {"interaction_type": "visit", "event_id": event}


# -- missing values ----------------------------------------------------------------------------------------


def test_a_word_for_a_missing_value_is_none_as_id_event_id_and_attribute(written: Writer) -> None:
    words = ["nan", "NaN", "None", "NULL", "null", "undefined", "<NA>", "N/A", "\\N"]
    words += ["(null)", "[NULL]", "#REF!", "#NA", "-nan", "nil", "", " "]
    sessions = [session(word, word) | {"interaction_type": word} for word in words]
    rows = loaded(written(USER_ENGAGEMENT, sessions), USER_ENGAGEMENT)
    assert len(rows) == len(words)
    assert {(row["user_id"], row["event_id"], row["interaction_type"]) for row in rows} == {(None,) * 3}


def test_words_that_only_begin_like_missing_ones_are_values(written: Writer) -> None:
    users = ["nana", "Noneill", "null7", "n", "NA", "<b>", "\\Name"]
    rows = loaded(written(USER_SIGNUPS, [signup(user, user) for user in users]), USER_SIGNUPS)
    assert {(row["user_id"], row["product_type"]) for row in rows} == {(user, user) for user in users}


def test_the_words_are_a_setting(written: Writer) -> None:
    source = written(
        USER_SIGNUPS, [signup("nan"), signup("(empty)")], rules=ValueRules(missing_words=("(empty)",))
    )
    assert {row["user_id"] for row in loaded(source, USER_SIGNUPS)} == {"nan", None}


def test_a_placeholder_is_no_id_of_an_event(written: Writer) -> None:
    placeholders = ["0", "0.0", "00000000-0000-0000-0000-000000000000", "-"]
    sessions = [session("0", placeholder) for placeholder in placeholders]
    rows = loaded(written(USER_ENGAGEMENT, [*sessions, session("1", "0a")]), USER_ENGAGEMENT)
    assert Counter((row["user_id"], row["event_id"]) for row in rows) == {("0", None): 4, ("1", "0a"): 1}


# -- blanks ------------------------------------------------------------------------------------------------


def test_what_cannot_be_seen_around_a_value_is_no_part_of_it(written: Writer) -> None:
    signups = [
        signup(f"{blank}u 1{blank}", f"{blank}pro plan{blank}{blank}", f"{blank}2025-03-01{blank}")
        for blank in BLANKS
    ]
    rows = loaded(written(USER_SIGNUPS, signups), USER_SIGNUPS)
    values = [(row["user_id"], row["product_type"], row["signup_date"]) for row in rows]
    assert values == [("u 1", "pro plan", datetime(2025, 3, 1))] * len(BLANKS)


@pytest.mark.parametrize("value", ["pro plan", "p", "1", "~", "é"])
def test_what_cannot_be_seen_on_one_side_of_a_value_is_no_part_of_it(written: Writer, value: str) -> None:
    signups = [signup(f"u1{blank}", f"{value}{blank}") for blank in [*BLANKS, "\x01", "\x7f"]]
    signups += [signup(f"{blank}u1", f"{blank}{value}") for blank in [*BLANKS, "\x01", "\x7f"]]
    rows = loaded(written(USER_SIGNUPS, signups), USER_SIGNUPS)
    assert {(row["user_id"], row["product_type"]) for row in rows} == {("u1", value)}


@pytest.mark.parametrize("words", [MISSING_WORDS, (), ("(empty)", "-", "é")], ids=["default", "none", "own"])
def test_short_texts_of_all_kinds_are_cleaned_as_python_cleans_them(words: tuple[str, ...]) -> None:
    """Most texts take a short way, which a pattern of their first and last letter opens."""
    chance, letters = random.Random(1), [*map(chr, range(1, 128)), *"\u00a0\u200bé名\u0301 -nN\\"]
    texts = {"".join(chance.choices(letters, k=chance.randint(0, 4))) for _ in range(30_000)}
    texts |= {f"{before}{word}{after}" for word in words for before in ("", " ", "x") for after in ("", "\t")}
    given = pa.table({"given": sorted(texts)})
    with duckdb.connect() as connection:
        connection.register("texts", given)
        clean = ValueRules(missing_words=words).clean("given")
        found = connection.sql(f"select given, {clean} from texts").fetchall()
    for text, cleaned in found:
        bare = BLANKS_AROUND.sub("", text)
        assert cleaned == (None if bare.lower() in ("", *words) else bare), repr(text)


def test_blanks_around_a_duration_are_no_part_of_it(written: Writer) -> None:
    (row,) = loaded(written(USER_ENGAGEMENT, [session("1", seconds="\u00a061.5\t")]), USER_ENGAGEMENT)
    assert row["session_duration"] == 61.5


# -- integers ----------------------------------------------------------------------------------------------


def test_integers_are_integers_value_by_value(written: Writer) -> None:
    users = ["1.0", "nan", "2", "1e+16", "2E+16", "1.2345678E7", "3.50", "v1.0", "1e10", "9007199254740993"]
    rows = loaded(written(USER_SIGNUPS, [signup(user) for user in users]), USER_SIGNUPS)
    expected = [
        "1",
        None,
        "2",
        "10000000000000000",
        "20000000000000000",
        "12345678",
        "3.50",
        "v1.0",
        "1e10",
        "9007199254740993",
    ]
    assert Counter(row["user_id"] for row in rows) == Counter(expected)


def test_numbers_and_texts_of_one_json_file_are_the_same_ids(tmp_path: Path) -> None:
    users = [1, "2", 3.0, None, 12345678901234567890123]
    rows = loaded(as_json(tmp_path, USER_SIGNUPS, [signup(user) for user in users]), USER_SIGNUPS)
    assert [row["user_id"] for row in rows] == ["1", "2", "3", None, "12345678901234567890123"]


@pytest.mark.parametrize(
    "ids", [[1.0, float("nan"), None, 1e16], [Decimal("1.00"), None, None, Decimal(10**16)]]
)
def test_floats_and_decimals_of_parquet_are_integers_where_they_are_whole(
    tmp_path: Path, ids: list[Any]
) -> None:
    rows = loaded(as_parquet(tmp_path, USER_SIGNUPS, [signup(user) for user in ids]), USER_SIGNUPS)
    assert [row["user_id"] for row in rows] == ["1", None, None, "10000000000000000"]


@pytest.mark.parametrize("user", [{"id": 1}, [3], {}, []])
def test_an_id_that_is_an_object_or_a_list_is_refused(tmp_path: Path, user: Any) -> None:
    source = as_json(tmp_path, USER_SIGNUPS, [signup(1), signup(user)])
    with pytest.raises(
        SourceError, match=r"user_signups.jsonl, line 2: user_id is .*expected text or a number"
    ):
        source.inspect(USER_SIGNUPS)


def test_an_id_in_braces_is_an_id(tmp_path: Path) -> None:
    guid = "{3F2504E0-4F89-11D3-9A0C-0305E82C3301}"
    (row,) = loaded(as_json(tmp_path, USER_SIGNUPS, [signup(guid)]), USER_SIGNUPS)
    assert row["user_id"] == guid


# -- dates -------------------------------------------------------------------------------------------------

SENTINELS = [
    "9999-12-31",
    "9999-12-31 23:59:59",
    "0001-01-01",
    "1900-01-01",
    "0000-00-00",
    "1970-01-01T00:00:00Z",
    "-0001-11-30 00:00:00",
    "0",
]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/Los_Angeles"])
def test_a_sentinel_is_no_churn_and_an_implausible_signup(written: Writer, zone: str) -> None:
    signups = written(
        USER_SIGNUPS, [signup("1"), *(signup(day, day=day) for day in SENTINELS)], timezone=zone
    )
    report = signups.inspect(USER_SIGNUPS)
    assert report is not None
    assert (report.first_day, report.last_day) == (date(2025, 3, 1), date(2025, 3, 1))
    assert Counter(rejected(signups, USER_SIGNUPS)) == Counter((day, "implausible_date") for day in SENTINELS)
    rows = [{"user_id": day, "churn_date": day} for day in ("2025-03-20", *SENTINELS)]
    churned = written(CHURN_DATA, rows, timezone=zone)
    assert Counter(rejected(churned, CHURN_DATA)) == Counter((day, "null_date") for day in SENTINELS)


def test_cancellations_of_sentinels_alone_say_that_nobody_cancelled(written: Writer) -> None:
    rows = [{"user_id": "1", "churn_date": "9999-12-31"}, {"user_id": "2", "churn_date": "1900-01-01"}]
    assert rejected(written(CHURN_DATA, rows), CHURN_DATA) == [("1", "null_date"), ("2", "null_date")]


@pytest.mark.parametrize("kind", [pa.date32(), pa.timestamp("us"), pa.timestamp("us", "UTC")])
def test_sentinels_of_parquet_dates_are_none_either(tmp_path: Path, kind: pa.DataType) -> None:
    days = (
        pa.array([date(2025, 3, 1), date(9999, 12, 31), date(1900, 1, 1)]).cast(pa.timestamp("us")).cast(kind)
    )
    columns = {"user_id": ["1", "2", "3"], "signup_date": days, "product_type": ["basic"] * 3}
    pq.write_table(pa.table(columns), tmp_path / "user_signups.parquet")
    source = FilesSource(tmp_path, "Asia/Tokyo")
    assert rejected(source, USER_SIGNUPS) == [("2", "implausible_date"), ("3", "implausible_date")]


def test_the_earliest_date_and_more_sentinels_are_settings(written: Writer) -> None:
    rules = ValueRules(earliest_date=date(2000, 1, 1), sentinel_dates=(date(2020, 2, 2),))
    days = ["2020-02-01", "1999-12-31", "2020-02-02", "2020-02-02T10:00:00"]
    source = written(USER_SIGNUPS, [signup(str(n), day=day) for n, day in enumerate(days)], rules=rules)
    assert [row["user_id"] for row in loaded(source, USER_SIGNUPS)] == ["0"]
    assert {reason for _, reason in rejected(source, USER_SIGNUPS)} == {"implausible_date"}


# -- columns -----------------------------------------------------------------------------------------------


def test_headers_of_any_script_keep_their_names(written: Writer) -> None:
    names = ["名前", "Имя", "Χώρα", "größe", "ชื่อ", "नाम"]
    source = written(USER_SIGNUPS, [signup("1") | {name: name for name in names} | {"other": "y"}])
    (row,) = loaded(source, USER_SIGNUPS)
    assert row["other"] == "y"
    for name in names:
        assert column_name(name, 1) == name.lower()
        assert row[name.lower()] == name


def test_columns_that_name_a_person_are_left_out_unless_a_segment_asks_for_them(tmp_path: Path) -> None:
    personal = {"email": "ann@example.com", "User Email": "a@b", "firstName": "A", "Name": "Ann"}
    as_csv(tmp_path, USER_SIGNUPS, [signup("1") | personal | {"country": "DE"}])
    source = open_source(load_settings(source="files", source_path=str(tmp_path)))
    report = source.inspect(USER_SIGNUPS)
    assert report is not None
    assert report.extra_columns == ("country",)
    chosen = open_source(load_settings(source="files", source_path=str(tmp_path), segments="name"))
    assert loaded(chosen, USER_SIGNUPS)[0]["name"] == "Ann"


@pytest.mark.parametrize("name", ["group", "order", "signup_number", "sessions", "имя", "1st"])
def test_a_segment_that_models_cannot_name_is_refused_before_anything_is_read(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name!r} cannot be a segment"):
        load_settings(segments=name)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_lengths_of_time_in_parquet_are_seconds(tmp_path: Path, unit: str) -> None:
    lengths = pa.array([timedelta(seconds=90), None], pa.duration(unit))
    rows = pa.table(
        {"user_id": ["1", "2"], "engagement_date": ["2025-03-02"] * 2, "interaction_type": ["v"] * 2}
    )
    pq.write_table(rows.append_column("session_duration", lengths), tmp_path / "user_engagement.parquet")
    found = [row["session_duration"] for row in loaded(FilesSource(tmp_path), USER_ENGAGEMENT)]
    assert found == [90.0, None]


@pytest.mark.parametrize(
    ("mark", "name"),
    [("_delta_log/0.json", "Delta"), ("metadata/v1.metadata.json", "Iceberg"), (".hoodie/x", "Hudi")],
)
def test_a_table_whose_folder_also_holds_removed_rows_is_refused_by_name(
    tmp_path: Path, mark: str, name: str
) -> None:
    folder = tmp_path / "user_signups"
    (folder / mark).parent.mkdir(parents=True)
    (folder / mark).write_text("{}")
    as_parquet(folder, USER_SIGNUPS, [signup("1")])
    with pytest.raises(SourceError, match=f"this is an? {name} table"):
        FilesSource(tmp_path).inspect(USER_SIGNUPS)


# -- files that change -------------------------------------------------------------------------------------


def test_a_link_to_a_folder_is_followed_once_and_one_to_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data" / "user_signups").mkdir(parents=True)
    as_csv(tmp_path / "elsewhere", USER_SIGNUPS, [signup("1")])
    linked = tmp_path / "data" / "user_signups"
    (linked / "a").symlink_to(tmp_path / "elsewhere")
    (linked / "b").symlink_to(tmp_path / "elsewhere")
    (linked / "loop").symlink_to(linked)
    assert [row["user_id"] for row in loaded(FilesSource(tmp_path / "data"), USER_SIGNUPS)] == ["1"]
    (linked / "gone.csv").symlink_to(tmp_path / "nowhere.csv")
    with pytest.raises(SourceError, match=r"gone.csv: this link leads to no file"):
        FilesSource(tmp_path / "data").inspect(USER_SIGNUPS)
    (linked / "gone.csv").unlink()
    os.mkfifo(linked / "pipe.csv")  # reading it would wait for ever
    with pytest.raises(SourceError, match=r"pipe.csv: this is no file, but a pipe or a device"):
        FilesSource(tmp_path / "data").inspect(USER_SIGNUPS)


class GrowingSource(FilesSource):
    """Writes half a line to a file whenever that has just been read, as another program would."""

    def __init__(self, folder: Path, file: Path) -> None:
        super().__init__(folder)
        self.file, self.halves = file, iter(['"3","2025-04', '-01","basic"\n"4","2025'])

    def _profile(self, *args: Any) -> Any:
        try:
            return super()._profile(*args)
        finally:
            with self.file.open("a") as file:
                file.write(next(self.halves, ""))


@pytest.mark.slow
def test_of_a_file_that_grows_only_whole_lines_are_read_and_the_rest_the_next_time(tmp_path: Path) -> None:
    as_csv(tmp_path, USER_SIGNUPS, [signup("1"), signup("2")])
    file = tmp_path / "user_signups.csv"
    source = GrowingSource(tmp_path, file)
    assert list(source.fingerprint(USER_SIGNUPS)) == ["2025-03-01"]
    # its writer has paused for longer than a second: the file may as well have been cut off
    with pytest.raises(SourceError, match="line 5: a quoted value does not end"):
        loaded(source, USER_SIGNUPS)
    with file.open("a") as end:
        end.write('-05-01","basic"\n')
    assert list(source.fingerprint(USER_SIGNUPS)) == ["2025-03-01", "2025-04-01", "2025-05-01"]
    assert [row["user_id"] for row in loaded(source, USER_SIGNUPS)] == ["1", "2", "3", "4"]
