"""Source `database` on a real SQLite and a real PostgreSQL: slices, values, order, errors, rights, memory."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.event import listen
from sqlalchemy.exc import DBAPIError

from user_engagement.contracts.raw import CHURN_DATA, USER_ENGAGEMENT, USER_SIGNUPS, RawTable, Window
from user_engagement.errors import SourceError
from user_engagement.simulation import oltp
from user_engagement.sources import FilesSource
from user_engagement.sources.base import Extract
from user_engagement.sources.database import DatabaseSource, TableMapping
from user_engagement.sources.database import connection as database_connection
from user_engagement.sources.database.snapshot import CHUNK_ROWS
from user_engagement.warehouse.duckdb.loading import replace_slice
from user_engagement_tests.support.postgres import Server, running_server

Row = dict[str, Any]
EVERYTHING = Window()
BERLIN = "Europe/Berlin"
PASSWORD = "p4ss:w/rd"
OTHER_SESSIONS = "datname = current_database() and pid <> pg_backend_pid()"
ENGAGEMENT = ("user_id", "engagement_date", "session_duration", "interaction_type")


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


@pytest.fixture
def postgresql(server: Server) -> Iterator[str]:
    """A database that is emptied afterwards, which takes a tenth of the time that a new one does."""
    yield server.url()
    execute(
        server.url(),
        "set lock_timeout = '5s'",
        "drop schema if exists public, crm cascade",
        "create schema public",
        "grant usage on schema public to public",
    )


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'shop.sqlite'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue(request.param)


def execute(url: str, *statements: str) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def fill(
    url: str, name: str, columns: Mapping[str, Any], rows: Sequence[Sequence[Any]] = (), key: str = ""
) -> None:
    """A table with these columns and rows."""
    table = sa.Table(
        name, sa.MetaData(), *(sa.Column(c, t, primary_key=c == key) for c, t in columns.items())
    )
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        table.create(connection)
        if rows:
            connection.execute(sa.insert(table), [dict(zip(columns, row, strict=True)) for row in rows])


def events(url: str, dates: Sequence[Any], kind: Any = sa.Text) -> None:
    """A table user_engagement with a row for each date, the users numbered from 1."""
    columns = {"id": sa.Integer, "user_id": sa.Integer, "engagement_date": kind}
    columns |= {"session_duration": sa.Float, "interaction_type": sa.Text}
    fill(url, "user_engagement", columns, [(i, i, d, 1.5, "visit") for i, d in enumerate(dates, 1)], key="id")


def rows_of(extract: Extract) -> list[Row]:
    return extract.rows.read_all().to_pylist()


def loaded(
    source: DatabaseSource, table: RawTable = USER_ENGAGEMENT, window: Window = EVERYTHING
) -> list[Row]:
    return rows_of(source.extract(table, window))


def rejected(source: DatabaseSource, table: RawTable = USER_ENGAGEMENT) -> list[Row]:
    extract = source.extract(table, Window(date(2025, 1, 1), date(2025, 1, 2)))
    extract.rows.read_all()
    return extract.rejected.read_all().to_pylist()


def users(source: DatabaseSource, window: Window = EVERYTHING) -> list[int]:
    return sorted(int(row["user_id"]) for row in loaded(source, window=window))


def refusal(url: str, table: RawTable = USER_SIGNUPS, **tables: TableMapping) -> str:
    """The one line that the source refuses with, both before and at loading."""
    source = DatabaseSource(url, "UTC", tables)
    said = []
    for action in (lambda: source.inspect(table), lambda: source.extract(table, EVERYTHING)):
        with pytest.raises(SourceError) as caught:
            action()
        said.append(str(caught.value))
        shown = "".join(traceback.format_exception(caught.value)) + repr(source) + repr(vars(source))
        assert PASSWORD not in shown
        assert "\n" not in said[-1]
    assert said[0] == said[1]
    return said[0]


# -- what is there ---------------------------------------------------------------------------------------


def test_tables_and_columns_are_found_by_their_mapping_and_the_rest_is_kept_as_text(url: str) -> None:
    fill(
        url,
        "Accounts",
        {
            "id": sa.Integer,
            "JoinedAt": sa.DateTime,
            "plan": sa.String(20),
            "Seats": sa.Integer,
            "ok": sa.Text,
        },
        [(7, datetime(2025, 1, 31, 23, 59, 59, 500_000), "pro", 3, None), (8, None, "basic", 1, "y")],
        key="id",
    )
    mapping = TableMapping("Accounts", {"user_id": "id", "signup_date": "joinedat", "product_type": "plan"})
    source = DatabaseSource(url, "UTC", {"user_signups": mapping})

    report = source.inspect(USER_SIGNUPS)
    assert report is not None
    assert (report.rows, report.rejected, report.extra_columns) == (2, 1, ("ok", "seats"))
    assert report.first_day == report.last_day == date(2025, 1, 31)
    assert report.locations[0].startswith("Accounts in ")

    extract = source.extract(USER_SIGNUPS, EVERYTHING)
    assert extract.rows.schema == USER_SIGNUPS.schema(("ok", "seats"))
    (row,) = rows_of(extract)
    assert row.pop("_extracted_at") is not None
    assert row == {
        "user_id": "7",
        "signup_date": datetime(2025, 1, 31, 23, 59, 59, 500_000),
        "product_type": "pro",
        "ok": None,
        "seats": "3",
        "_source": "Accounts",
        "_row_number": 7,
    }


def test_a_table_without_a_mapping_is_read_under_its_own_name_and_optional_columns_are_null(url: str) -> None:
    events(url, ["2025-01-05"])
    (row,) = loaded(DatabaseSource(url))
    assert (row["event_id"], row["device_type"], row["session_duration"]) == (None, None, 1.5)


def test_churn_data_may_be_absent_unless_it_is_mapped(url: str) -> None:
    events(url, ["2025-01-05"])
    source = DatabaseSource(url)
    assert source.inspect(CHURN_DATA) is None
    assert source.fingerprint(CHURN_DATA) == {}
    extract = source.extract(CHURN_DATA, EVERYTHING)
    assert extract.rows.read_all().num_rows == extract.rejected.read_all().num_rows == 0
    said = refusal(url, CHURN_DATA, churn_data=TableMapping("cancelled"))
    assert "no table cancelled for churn_data. Found user_engagement. Map churn_data" in said


def test_a_view_is_read_like_a_table(url: str) -> None:
    events(url, ["2025-01-05", "2025-01-06"])
    execute(url, "create view recent as select * from user_engagement where engagement_date > '2025-01-05'")
    assert users(DatabaseSource(url, "UTC", {"user_engagement": TableMapping("recent")})) == [2]


def test_a_table_in_another_schema_is_found_by_its_qualified_name(postgresql: str) -> None:
    execute(
        postgresql,
        "create schema crm",
        "create table crm.users (user_id bigint, signup_date date, product_type text)",
        "insert into crm.users values (7, '2025-01-31', 'pro')",
    )
    source = DatabaseSource(postgresql, "UTC", {"user_signups": TableMapping("crm.users")})
    assert loaded(source, USER_SIGNUPS)[0]["_source"] == "crm.users"


def test_the_simulated_company_is_read_without_names_and_addresses(url: str) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    oltp.metadata.create_all(engine)
    at = datetime(2025, 2, 3, 4, 5, 6)
    user = {
        "user_id": 1,
        "signed_up_at": at,
        "product_type": "pro",
        "acquisition_channel": "ads",
        "country": "DE",
    }
    with engine.begin() as connection:
        person = {"name": "Ann Example", "email": "ann@example.org", "updated_at": at}
        connection.execute(sa.insert(oltp.users_table), [{**user, **person}])
    mapping = TableMapping("users", {"signup_date": "signed_up_at"}, updated_at="updated_at")
    source = DatabaseSource(url, "UTC", {"user_signups": mapping})
    report = source.inspect(USER_SIGNUPS)
    assert report is not None
    assert report.extra_columns == ("acquisition_channel", "country", "updated_at")
    (row,) = loaded(source, USER_SIGNUPS)
    assert row["signup_date"] == at
    assert row["updated_at"].startswith("2025-02-03 04:05:06")
    assert "Ann" not in str(row)
    assert "example.org" not in str(row)


# -- privacy ---------------------------------------------------------------------------------------------


def test_personal_columns_are_extracted_only_where_a_mapping_names_them(url: str) -> None:
    columns = {
        "user_id": sa.Text,
        "signup_date": sa.Date,
        "product_type": sa.Text,
        "Email": sa.Text,
        "phone": sa.Text,
    }
    fill(url, "user_signups", columns, [("7", date(2025, 1, 1), "pro", "a@b.c", "123")])
    assert "Email" not in str(loaded(DatabaseSource(url), USER_SIGNUPS))
    (row,) = loaded(DatabaseSource(url), USER_SIGNUPS)
    assert not {"email", "phone"} & set(row)
    mapping = {"user_signups": TableMapping("user_signups", {"contact": "email"})}
    (row,) = loaded(DatabaseSource(url, "UTC", mapping), USER_SIGNUPS)
    assert row["contact"] == "a@b.c"
    assert not {"email", "phone"} & set(row)
    (row,) = loaded(DatabaseSource(url, excluded_columns=["PHONE"]), USER_SIGNUPS)
    assert row["email"] == "a@b.c"
    assert "phone" not in row


def test_the_right_to_read_personal_columns_is_not_needed(server: Server, postgresql: str) -> None:
    execute(
        postgresql,
        "create table user_signups (user_id bigint, signup_date date, product_type text, email text)",
        "insert into user_signups values (7, '2025-01-31', 'pro', 'a@b.c')",
        "create role narrow login password 'narrow'",
        "grant select (user_id, signup_date, product_type) on user_signups to narrow",
    )
    try:
        narrow = sa.make_url(postgresql).set(username="narrow", password="narrow")
        source = DatabaseSource(narrow.render_as_string(hide_password=False))
        assert [row["user_id"] for row in loaded(source, USER_SIGNUPS)] == ["7"]
        assert source.inspect(USER_SIGNUPS) is not None
        assert source.fingerprint(USER_SIGNUPS)
    finally:
        execute(postgresql, "drop owned by narrow", "drop role narrow")


# -- slices ----------------------------------------------------------------------------------------------

JANUARY = Window(date(2025, 1, 1), date(2025, 2, 1))


def test_a_slice_of_days_starts_at_its_first_midnight_and_ends_before_its_last(url: str) -> None:
    events(url, [date(2024, 12, 31), date(2025, 1, 1), date(2025, 1, 31), date(2025, 2, 1)], sa.Date)
    source = DatabaseSource(url, BERLIN)
    assert users(source, JANUARY) == [2, 3]
    assert users(source, Window(None, date(2025, 1, 1))) == [1]
    assert users(source, Window(date(2025, 2, 1), None)) == [4]
    assert users(source, Window(date(2025, 3, 1), date(2025, 4, 1))) == []


def test_timestamps_without_an_offset_are_wall_clock_time_in_the_zone(url: str) -> None:
    at = [
        datetime(2024, 12, 31, 23, 59, 59, 999_999),
        datetime(2025, 1, 1),
        datetime(2025, 1, 31, 23, 59, 59),
    ]
    events(url, [*at, datetime(2025, 2, 1)], sa.DateTime)
    assert users(DatabaseSource(url, BERLIN), JANUARY) == [2, 3]


def test_timestamps_with_an_offset_are_moved_into_the_zone_before_they_are_sliced(postgresql: str) -> None:
    east = timezone(timedelta(hours=9))
    at = [
        datetime(2024, 12, 31, 22, 59, 59, tzinfo=UTC),
        datetime(2024, 12, 31, 23, 0, 0, tzinfo=UTC),
        datetime(2025, 2, 1, 7, 59, 59, tzinfo=east),
        datetime(2025, 2, 1, 8, 0, 0, tzinfo=east),
    ]
    events(postgresql, at, sa.DateTime(timezone=True))
    source = DatabaseSource(postgresql, BERLIN)
    assert users(source, JANUARY) == [2, 3]
    dates = [row["engagement_date"] for row in loaded(source, window=JANUARY)]
    assert dates == [datetime(2025, 1, 1), datetime(2025, 1, 31, 23, 59, 59)]
    report = source.inspect(USER_ENGAGEMENT)
    assert report is not None
    assert (report.first_day, report.last_day) == (date(2024, 12, 31), date(2025, 2, 1))


def test_a_day_on_which_clocks_go_back_is_found_whole(postgresql: str) -> None:
    hours = [datetime(2025, 10, 25, 22, tzinfo=UTC) + timedelta(hours=h) for h in range(-1, 27)]
    events(postgresql, hours, sa.DateTime(timezone=True))
    found = users(DatabaseSource(postgresql, BERLIN), Window(date(2025, 10, 26), date(2025, 10, 27)))
    assert found == list(range(2, 27)), "the day has 25 hours"


def test_text_is_sliced_by_what_it_means_not_by_how_it_sorts(url: str) -> None:
    dates = [
        "2024-12-31T23:30:00Z",  # 00:30 in Berlin
        " 2025-01-01 ",
        "2025-01-31 23:59",
        "2025-02-01T00:30:00+02:00",  # 23:30 on the day before
        "2025-01-01T00:00:00+19:00",
        "\u00a02025-01-06",
        "2025-02-01",
        "2025-01-01T00:30:00+09:00",
    ]
    events(url, dates)
    source = DatabaseSource(url, BERLIN)
    assert users(source, Window(date(2025, 1, 1), date(2025, 2, 1))) == [1, 2, 3, 4, 6]
    assert users(source, Window(None, date(2025, 1, 1))) == [5, 8]
    assert users(source, Window(date(2025, 2, 1), None)) == [7]


OFFSETS = st.sampled_from(["", "", "Z", "+14:00", "-12:00", " +01", "-0330"])
MOMENTS = st.datetimes(datetime(2024, 12, 20), datetime(2025, 2, 10))
DAYS = st.dates(date(2024, 12, 18), date(2025, 2, 12))
WRITTEN = st.one_of(
    DAYS.map(str),
    st.builds(lambda at, offset: at.isoformat() + offset, MOMENTS, OFFSETS),
    st.builds(lambda at, pad: pad + at.isoformat(" ", "seconds") + pad, MOMENTS, st.sampled_from([" ", ""])),
    st.sampled_from([None, "", "soon", "2025-02-30", "99", "zz"]),
)


def windows_part_the_rows(url: str, kind: Any, dates: st.SearchStrategy[Any], usable: Any) -> None:
    """Whatever the windows: each row is in one of them, and rows without a key keep number and order."""
    columns = {
        "user_id": sa.Integer,
        "engagement_date": kind,
        "session_duration": sa.Float,
        "interaction_type": sa.Text,
    }
    fill(url, "user_engagement", columns)
    table = sa.table("user_engagement", sa.column("user_id"), sa.column("engagement_date", kind))
    engine = sa.create_engine(url, poolclass=sa.NullPool)

    @given(st.lists(dates, max_size=12), st.sets(DAYS, max_size=4), st.sampled_from(["UTC", BERLIN]))
    @settings(max_examples=8)
    def check(drawn: list[Any], cuts: set[date], zone: str) -> None:
        with engine.begin() as connection:
            connection.execute(sa.delete(table))
            rows = [{"user_id": i, "engagement_date": d} for i, d in enumerate([usable, *drawn])]
            connection.execute(sa.insert(table), rows)
        source = DatabaseSource(url, zone)
        whole = source.extract(USER_ENGAGEMENT, EVERYTHING)
        in_order = [row["user_id"] for row in sorted(rows_of(whole), key=lambda row: row["_row_number"])]
        edges = [None, *sorted(cuts), None]
        windows = [Window(start, end) for start, end in pairwise(edges)]
        parts = [row for window in windows for row in loaded(source, window=window)]
        assert len({row["_row_number"] for row in parts}) == len(parts)
        assert [row["user_id"] for row in sorted(parts, key=lambda row: row["_row_number"])] == in_order
        assert len(in_order) + whole.rejected.read_all().num_rows == len(rows)

    check()


@pytest.mark.slow
def test_windows_part_the_rows_of_a_text_column_exactly(url: str) -> None:
    collation = "en-US-x-icu" if url.startswith("postgresql") else None
    windows_part_the_rows(url, sa.Text(collation=collation), WRITTEN, "2025-01-01")


@pytest.mark.slow
def test_windows_part_the_rows_of_a_timestamp_column_exactly(url: str) -> None:
    windows_part_the_rows(url, sa.DateTime(), st.one_of(st.none(), MOMENTS), datetime(2025, 1, 1))


@pytest.mark.slow
def test_windows_part_the_rows_of_a_timestamp_column_with_time_zone_exactly(postgresql: str) -> None:
    moments = MOMENTS.map(lambda at: at.replace(tzinfo=UTC))
    first = datetime(2025, 1, 1, tzinfo=UTC)
    windows_part_the_rows(postgresql, sa.DateTime(timezone=True), st.one_of(st.none(), moments), first)


# -- order -----------------------------------------------------------------------------------------------


def test_an_integer_primary_key_is_the_row_number_whichever_slice_is_loaded(url: str) -> None:
    events(url, ["2025-02-01", "2025-01-01", "soon"])
    source = DatabaseSource(url)
    assert {row["user_id"]: row["_row_number"] for row in loaded(source)} == {"1": 1, "2": 2}
    assert loaded(source, window=JANUARY)[0]["_row_number"] == 2
    assert rejected(source)[0]["_row_number"] == 3


def test_without_an_integer_key_the_order_is_by_day_then_by_key_and_survives_rows_that_come_late(
    url: str,
) -> None:
    columns = {"event_id": sa.String(20), **dict.fromkeys(ENGAGEMENT, sa.Text)}
    rows = [
        ("c", "1", "2025-01-31", "1", "v"),
        ("b", "2", "2025-01-31", "1", "v"),
        ("a", "3", "2025-02-01", "1", "v"),
    ]
    fill(url, "user_engagement", columns, rows, key="event_id")
    source = DatabaseSource(url)

    def order(*slices: list[Row]) -> list[str]:
        found = sorted((row for rows in slices for row in rows), key=lambda row: row["_row_number"])
        return [row["event_id"] for row in found]

    february = loaded(source, window=Window(date(2025, 2, 1), None))
    assert order(loaded(source)) == order(loaded(source, window=JANUARY), february) == ["b", "c", "a"]
    late = ", ".join(f"('late{i}', '9', '2025-01-02', '1', 'v')" for i in range(50))
    execute(url, f"insert into user_engagement values {late}")
    assert order(loaded(source, window=JANUARY), february)[-3:] == ["b", "c", "a"]


# -- what values mean ------------------------------------------------------------------------------------


def test_rows_without_a_usable_date_are_rejected_with_the_reason_whatever_the_slice(url: str) -> None:
    events(url, ["2025-05-05", None, " ", "nan", "2025-02-30", "31.01.2025", "0999-12-31"])
    execute(url, "update user_engagement set user_id = null where id = 6")
    found = [(row["user_id"], row["reason"], row["date_value"]) for row in rejected(DatabaseSource(url))]
    assert sorted(found, key=str) == [
        ("2", "null_date", None),
        ("3", "null_date", " "),
        ("4", "null_date", "nan"),
        ("5", "unparseable_date", "2025-02-30"),
        ("7", "implausible_date", "0999-12-31"),
        (None, "null_user_id", "31.01.2025"),
    ]
    report = DatabaseSource(url).inspect(USER_ENGAGEMENT)
    assert report is not None
    assert (report.rows, report.rejected) == (7, 6)


@pytest.mark.parametrize("kind", ["date", "timestamp", "timestamptz"])
def test_infinity_and_years_before_christ_are_rejected_not_crashed_on(postgresql: str, kind: str) -> None:
    execute(
        postgresql,
        f"create table churn_data (user_id text, churn_date {kind})",
        "insert into churn_data values ('1', 'infinity'), ('2', '-infinity'), ('3', '0044-03-15 BC'), "
        "('4', '2025-01-01'), ('5', null), ('6', '20000-01-01')",
    )
    source = DatabaseSource(postgresql, BERLIN)
    assert [row["user_id"] for row in loaded(source, CHURN_DATA)] == ["4"]
    reasons = {row["user_id"]: row["reason"] for row in rejected(source, CHURN_DATA)}
    # a day that cannot be believed says that there is no cancellation
    assert reasons == dict.fromkeys("12356", "null_date")
    report = source.inspect(CHURN_DATA)
    assert report is not None
    assert (report.rows, report.rejected) == (6, 5)
    assert set(source.fingerprint(CHURN_DATA)) <= {"2024-12-01", "2025-01-01"}


@pytest.mark.parametrize(
    ("kind", "written", "read"),
    [
        (sa.Integer, [7, -8, None], ["7", "-8", None]),
        (sa.Float, [7.0, 8.0, None], ["7", "8", None]),
        (sa.Numeric(12, 2), [Decimal("7.00"), Decimal("80.00"), None], ["7", "80", None]),
        (sa.Text, ["7.0", "8.0", None], ["7", "8", None]),
        (sa.Text, ["7.0", "007", " x ", " "], ["7", "007", "x", None]),
    ],
    ids=["integer", "float", "decimal", "all written as float", "text"],
)
def test_user_ids_are_trimmed_text_and_integers_carry_no_fraction(
    url: str, kind: Any, written: Any, read: Any
) -> None:
    columns = {"user_id": kind, "churn_date": sa.Date}
    fill(url, "churn_data", columns, [(user, date(2025, 1, 1)) for user in written])
    assert sorted((row["user_id"] for row in loaded(DatabaseSource(url), CHURN_DATA)), key=str) == sorted(
        read, key=str
    )


@pytest.mark.parametrize(
    ("kind", "written", "read"),
    [
        (sa.Integer, [60, None], [60.0, None]),
        (sa.Float, [0.1 + 0.2, None], [0.1 + 0.2, None]),
        (sa.Numeric(20, 10), [Decimal("61.5"), None], [61.5, None]),
        (sa.Text, ["61.5", "null", "", " 1e3 "], [61.5, None, None, 1000.0]),
    ],
    ids=["integer", "float", "decimal", "text"],
)
def test_durations_are_numbers_or_text_that_holds_numbers(
    url: str, kind: Any, written: Any, read: Any
) -> None:
    columns = {"id": sa.Integer, **dict.fromkeys(ENGAGEMENT, sa.Text), "session_duration": kind}
    rows = [(i, "1", "2025-01-01", value, "v") for i, value in enumerate(written)]
    fill(url, "user_engagement", columns, rows, key="id")
    found = {row["_row_number"]: row["session_duration"] for row in loaded(DatabaseSource(url))}
    assert [found[i] for i in range(len(read))] == read


def test_a_duration_that_is_no_number_is_refused_with_table_column_and_value(url: str) -> None:
    columns = {
        "user_id": sa.Text,
        "engagement_date": sa.Text,
        "seconds": sa.Text,
        "interaction_type": sa.Text,
    }
    fill(url, "events", columns, [("1", "2025-01-01", "60", "v"), ("2", "2025-01-02", "a minute", "v")])
    said = refusal(
        url, USER_ENGAGEMENT, user_engagement=TableMapping("events", {"session_duration": "seconds"})
    )
    assert said.startswith("events: seconds is 'a minute', expected a number of seconds or nothing.")


def test_a_text_that_sqlite_let_into_a_number_column_is_refused(sqlite: str) -> None:
    events(sqlite, ["2025-01-01", "2025-01-02"])
    execute(sqlite, "update user_engagement set session_duration = 'long' where id = 2")
    assert "session_duration is 'long'" in refusal(sqlite, USER_ENGAGEMENT)
    execute(sqlite, "update user_engagement set session_duration = 'NULL', user_id = 'x' where id = 2")
    found = {row["user_id"]: row["session_duration"] for row in loaded(DatabaseSource(sqlite))}
    assert found == {"1": 1.5, "x": None}


def test_the_same_data_reads_the_same_from_files_and_from_a_database(url: str, tmp_path: Path) -> None:
    east = ["2025-01-31T23:30:00-02:00", "2025-02-01 00:10:00", "2025-03-30", None, "never"]
    data = {
        "user_id": ["7.0", "8.0", "9.0", "10.0", "11.0"],
        "engagement_date": east,
        "session_duration": [1.5, None, 0.1 + 0.2, -3.0, 1e12],
        "interaction_type": ["visit", "", None, "Zoë", "o'brien"],
        "event_id": ["a", "b", "b", None, "c"],
        "Score": [1, 2, None, 4, 5],
    }
    folder = tmp_path / "files"
    folder.mkdir()
    pq.write_table(pa.table(data), folder / "user_engagement.parquet")
    columns = {
        "key": sa.Integer,
        **dict.fromkeys(data, sa.Text),
        "session_duration": sa.Float,
        "Score": sa.Integer,
    }
    fill(url, "user_engagement", columns, list(zip(range(1, 6), *data.values(), strict=True)), key="key")
    source = DatabaseSource(url, BERLIN, excluded_columns=["key"])
    files = FilesSource(folder, BERLIN)

    def without_lineage(rows: list[Row]) -> list[Row]:
        kept = sorted(rows, key=lambda row: row["_row_number"])
        return [
            {k: v for k, v in row.items() if k not in ("_source", "_extracted_at", "_row_number")}
            for row in kept
        ]

    for window in (EVERYTHING, Window(date(2025, 2, 1), date(2025, 3, 1))):
        ours, theirs = source.extract(USER_ENGAGEMENT, window), files.extract(USER_ENGAGEMENT, window)
        assert ours.rows.schema == theirs.rows.schema
        assert without_lineage(rows_of(ours)) == without_lineage(rows_of(theirs))
        assert without_lineage(ours.rejected.read_all().to_pylist()) == without_lineage(
            theirs.rejected.read_all().to_pylist()
        )
    mine, other = source.inspect(USER_ENGAGEMENT), files.inspect(USER_ENGAGEMENT)
    assert mine is not None
    assert other is not None
    for said in ("rows", "rejected", "first_day", "last_day", "extra_columns"):
        assert getattr(mine, said) == getattr(other, said)


# -- how the database is asked ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["date", "timestamp", "timestamptz", "text"])
def test_an_index_on_the_date_column_serves_a_slice(url: str, kind: str) -> None:
    postgresql = url.startswith("postgresql")
    if kind == "text" and not postgresql:
        pytest.skip("SQLite holds three ranges of an index for dearer than a scan")
    series = "select n, date '2020-01-01' + n from generate_series(1, 3000) g(n)"
    if not postgresql:
        series = (
            "with recursive g(n) as (select 1 union all select n + 1 from g where n < 3000) "
            "select n, date('2020-01-01', n || ' days') from g"
        )
    execute(
        url,
        f"create table churn_data (user_id integer primary key, churn_date {kind}, reason text)",
        f"insert into churn_data (user_id, churn_date) {series}",
        "create index by_date on churn_data (churn_date)",
        "analyze churn_data",
    )
    source = DatabaseSource(url, BERLIN)
    asked: list[tuple[str, Any]] = []

    def remember(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    listen(source.database.engine, "before_cursor_execute", remember)
    assert len(loaded(source, CHURN_DATA, Window(date(2025, 1, 1), date(2025, 1, 8)))) == 7
    statement, parameters = next(
        (s, p) for s, p in reversed(asked) if "_key" in s and "churn_reason" not in s
    )
    assert "2025" not in statement, "bounds are parameters"
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
        explain = "explain " if postgresql else "explain query plan "
        plan = str(connection.exec_driver_sql(explain + statement, parameters).all())
    assert "by_date" in plan
    assert "Seq Scan" not in plan
    assert "SCAN" not in plan


@pytest.mark.slow
def test_rows_come_in_bounded_batches_and_the_rest_is_not_fetched_before_it_is_asked_for(url: str) -> None:
    rows = 2 * CHUNK_ROWS + 1
    fill(url, "churn_data", {"user_id": sa.Integer, "churn_date": sa.Date}, key="user_id")
    series = f"select n, '2025-01-01'{'::date' * url.startswith('postgresql')} from g"
    recursive = f"with recursive g(n) as (select 1 union all select n + 1 from g where n < {rows}) {series}"
    execute(url, f"insert into churn_data {recursive}")
    extract = DatabaseSource(url).extract(CHURN_DATA, EVERYTHING)
    sizes = [batch.num_rows for batch in extract.rows]
    assert sum(sizes) == rows
    assert max(sizes) <= CHUNK_ROWS
    assert extract.rejected.read_all().num_rows == 0


def test_nothing_can_be_written_through_the_source(url: str) -> None:
    events(url, ["2025-01-01"])
    with (
        DatabaseSource(url).database.connect() as connection,
        pytest.raises(DBAPIError, match=r"read.?only"),
    ):
        connection.exec_driver_sql("delete from user_engagement")
    assert users(DatabaseSource(url)) == [1]


def test_an_extract_sees_one_state_of_the_table_from_its_rows_to_its_rejected_rows(url: str) -> None:
    if url.startswith("sqlite"):
        with sa.create_engine(url).connect() as connection:
            connection.exec_driver_sql("pragma journal_mode = wal")
    events(url, ["2025-01-01", None])
    extract = DatabaseSource(url).extract(USER_ENGAGEMENT, EVERYTHING)
    execute(
        url, "delete from user_engagement where id = 2", "update user_engagement set engagement_date = null"
    )
    assert [row["user_id"] for row in rows_of(extract)] == ["1"]
    assert [row["user_id"] for row in extract.rejected.read_all().to_pylist()] == ["2"]


def test_no_connection_stays_open(postgresql: str) -> None:
    events(postgresql, ["2025-01-01"])
    source = DatabaseSource(postgresql)
    source.inspect(USER_ENGAGEMENT)
    source.fingerprint(USER_ENGAGEMENT)
    rejected(source)
    source.extract(USER_ENGAGEMENT, EVERYTHING)  # and never read
    source.extract(CHURN_DATA, EVERYTHING)
    with sa.create_engine(postgresql, poolclass=sa.NullPool).connect() as connection:
        others = f"select count(*) from pg_stat_activity where {OTHER_SESSIONS}"
        deadline = time.monotonic() + 60
        while (open_now := connection.exec_driver_sql(others).scalar()) and time.monotonic() < deadline:
            connection.rollback()
            time.sleep(0.05)
    assert open_now == 0


MEASURED = """
import resource, sys
from user_engagement.contracts.raw import USER_ENGAGEMENT, Window
from user_engagement.sources.database import DatabaseSource
source = DatabaseSource(sys.argv[1])
source.extract(USER_ENGAGEMENT, Window()).rows.read_next_batch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
extract = source.extract(USER_ENGAGEMENT, Window())
rows = sum(batch.num_rows for reader in (extract.rows, extract.rejected) for batch in reader)
print(rows, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.long
@pytest.mark.slow
def test_a_million_rows_stream_in_the_memory_of_a_chunk(url: str) -> None:
    rows = 1_000_000
    events(url, [], sa.DateTime)
    at, n = ("timestamp '2025-01-01' + n * interval '1 second'", "n::text")
    if url.startswith("sqlite"):
        at, n = ("datetime('2025-01-01', n || ' seconds')", "n")
    series = f"with recursive g(n) as (select 1 union all select n + 1 from g where n < {rows}) "
    columns = "(id, user_id, engagement_date, session_duration, interaction_type)"
    execute(
        url, f"insert into user_engagement {columns} {series} select n, n, {at}, 60, 'visit ' || {n} from g"
    )
    done = subprocess.run([sys.executable, "-c", MEASURED, url], capture_output=True, text=True, check=True)
    read, megabytes = map(int, done.stdout.split())
    assert read == rows
    assert megabytes < 100, "a million rows as Python objects take several hundred"


# -- refusals --------------------------------------------------------------------------------------------


def test_a_missing_table_is_named_with_those_that_are_there(url: str) -> None:
    events(url, ["2025-01-01"])
    said = refusal(url)
    assert (
        "no table user_signups for user_signups. Found user_engagement. Map user_signups to the table" in said
    )


def test_a_missing_column_is_named_with_those_that_are_there(url: str) -> None:
    fill(url, "people", {"user_id": sa.Text, "created": sa.Date, "product_type": sa.Text})
    people = TableMapping("people")
    said = refusal(url, user_signups=people)
    assert said.startswith(
        "people: column signup_date is missing for user_signups. Found user_id, created, product_type;"
    )
    people = TableMapping("people", {"signup_date": "joined"})
    said = refusal(url, user_signups=people)
    assert said.startswith("people: column joined is missing. Found user_id, created, product_type;")


@pytest.mark.parametrize(("column", "kind"), [("churn_date", sa.Integer), ("churn_date", sa.Boolean)])
def test_a_date_column_of_an_impossible_type_is_refused(url: str, column: str, kind: Any) -> None:
    fill(url, "churn_data", {"user_id": sa.Text, column: kind})
    said = refusal(url, CHURN_DATA)
    assert said.startswith(
        f"churn_data: column churn_date is {kind().__visit_name__.upper()}, expected a date, a timestamp"
    )


@pytest.mark.parametrize("kind", ["interval", "boolean", "jsonb", "time"])
def test_a_duration_of_an_impossible_type_is_refused(postgresql: str, kind: str) -> None:
    columns = f"user_id int, engagement_date date, session_duration {kind}, interaction_type text"
    execute(postgresql, f"create table user_engagement ({columns})")
    said = refusal(postgresql, USER_ENGAGEMENT)
    assert said.startswith(f"user_engagement: column session_duration is {kind.upper()}")
    assert "expected a number for session_duration; map another column" in said


def test_a_table_without_one_usable_date_is_refused_with_what_stands_there(url: str) -> None:
    events(url, [None, "31.01.2025"])
    said = refusal(url, USER_ENGAGEMENT)
    assert said.startswith("user_engagement: no engagement_date is usable; the first is '31.01.2025'. Map ")
    execute(url, "update user_engagement set engagement_date = ' '")
    assert "engagement_date is empty in all rows" in refusal(url, USER_ENGAGEMENT)


def test_churn_dates_may_all_be_empty(url: str) -> None:
    fill(url, "churn_data", {"user_id": sa.Text, "churn_date": sa.Date}, [("1", None)])
    assert loaded(DatabaseSource(url), CHURN_DATA) == []
    assert [row["reason"] for row in rejected(DatabaseSource(url), CHURN_DATA)] == ["null_date"]


def test_names_that_become_one_or_that_the_pipeline_uses_itself_are_refused(url: str) -> None:
    fill(
        url, "churn_data", {"user_id": sa.Text, "churn_date": sa.Date, "my plan": sa.Text, "my-plan": sa.Text}
    )
    assert "columns 'my plan' and 'my-plan' are both my_plan; map one" in refusal(url, CHURN_DATA)
    fill(
        url,
        "user_signups",
        {"user_id": sa.Text, "signup_date": sa.Date, "product_type": sa.Text, "_source": sa.Text},
    )
    assert "column _source is a name this pipeline uses itself" in refusal(url)
    renamed = TableMapping("user_signups", {"origin": "_source"})
    assert loaded(DatabaseSource(url, "UTC", {"user_signups": renamed}), USER_SIGNUPS) == []


def test_a_mapping_of_what_is_no_raw_table_is_refused(sqlite: str) -> None:
    events(sqlite, ["2025-01-01"])
    said = refusal(sqlite, USER_ENGAGEMENT, users=TableMapping("users"))
    assert said == (
        "Mapping of users: no such raw table. They are user_signups, user_engagement, churn_data."
    )


def secret_url(server: Server, **parts: Any) -> str:
    url = sa.make_url(server.url()).set(password=PASSWORD).set(**parts)
    return url.render_as_string(hide_password=False)


def test_a_database_that_is_down_is_said_to_be(server: Server) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        said = refusal(secret_url(server, port=port))
    assert said.startswith(f"postgresql+psycopg://owner:***@127.0.0.1:{port}/postgres: connection to server")
    assert said.endswith("Connection refused. Check that it runs, and the host and port in the URL.")


@pytest.mark.slow
def test_a_database_that_does_not_answer_is_given_up_after_some_seconds(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_connection, "CONNECT_SECONDS", 2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        begun = time.monotonic()
        with pytest.raises(SourceError, match="Check that it runs"):
            DatabaseSource(secret_url(server, port=silent.getsockname()[1])).inspect(USER_SIGNUPS)
    assert time.monotonic() - begun < 6


def test_a_wrong_password_is_said_to_be_without_showing_it(server: Server) -> None:
    said = refusal(secret_url(server))
    assert said.endswith(
        'password authentication failed for user "owner". Correct the user or the password in the URL.'
    )


def test_a_missing_database_is_named(server: Server) -> None:
    said = refusal(server.url("nowhere"))
    assert said.endswith('database "nowhere" does not exist. Correct the name of the database in the URL.')
    assert server.password not in said


def test_a_revoked_right_is_said_before_a_row_is_loaded(server: Server, postgresql: str) -> None:
    events(postgresql, ["2025-01-01"])
    execute(
        postgresql,
        f"create role reader login password '{PASSWORD}'",
        "grant select on user_engagement to reader",
    )
    try:
        reader = sa.make_url(postgresql).set(username="reader", password=PASSWORD)
        url = reader.render_as_string(hide_password=False)
        assert users(DatabaseSource(url)) == [1]
        execute(postgresql, "revoke select on user_engagement from reader")
        said = refusal(url, USER_ENGAGEMENT)
        assert said.endswith(
            "permission denied for table user_engagement. "
            "Grant this user SELECT on it, and USAGE on its schema."
        )
        with pytest.raises(SourceError, match="permission denied"):
            DatabaseSource(url).fingerprint(USER_ENGAGEMENT)
    finally:
        execute(postgresql, "drop owned by reader", "drop role reader")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("no url", "The database URL cannot be read: give one such as sqlite:///shop.sqlite or"),
        (f"postgresql://u:{PASSWORD}@host:port/d", "The database URL cannot be read"),
        (f"postgresql://u:{PASSWORD}@x@host/d", "The database URL holds more than one @"),
        (f"oddbase://u:{PASSWORD}@host/d", "oddbase://u:***@host/d: the driver of oddbase is not installed."),
        (
            f"postgresql+pg8000://u:{PASSWORD}@h/d",
            "postgresql+pg8000://u:***@h/d: the driver of postgresql+pg8000 is",
        ),
        (
            f"postgresql://127.0.0.1/d?odd={PASSWORD}&password={PASSWORD}",
            "postgresql://127.0.0.1/d: invalid connection",
        ),
        ("sqlite:////nowhere/shop.sqlite", "sqlite:////nowhere/shop.sqlite: no such file. Correct the path"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_in_one_line(url: str, said: str) -> None:
    assert refusal(url).startswith(said)


def test_a_file_that_is_no_database_is_refused_and_a_missing_one_is_not_created(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database, but long enough to be looked at as if it were one")
    assert refusal(f"sqlite:///{tmp_path / 'notes.txt'}").endswith("Point the URL at an SQLite file.")
    refusal(f"sqlite:///{tmp_path / 'missing.sqlite'}")
    assert not (tmp_path / "missing.sqlite").exists()


def test_a_snowflake_url_is_refused_with_the_way_that_works() -> None:
    """Its driver for SQLAlchemy ended in an AttributeError when tables were described."""
    said = refusal("snowflake://me:secret@org-account/db/schema?warehouse=wh")
    assert said.endswith("and read these with USER_ENGAGEMENT_SOURCE=files.")
    assert "secret" not in said


@pytest.mark.slow
def test_a_connection_that_breaks_while_rows_are_read_leaves_the_slice_as_it_was(
    postgresql: str, caplog: pytest.LogCaptureFixture
) -> None:
    fill(postgresql, "churn_data", {"user_id": sa.Integer, "churn_date": sa.Date}, key="user_id")
    execute(postgresql, "insert into churn_data select n, '2025-01-01' from generate_series(1, 200000) g(n)")
    source = DatabaseSource(postgresql)
    with duckdb.connect() as warehouse:
        replace_slice(warehouse, source.extract(CHURN_DATA, EVERYTHING))
        broken = source.extract(CHURN_DATA, EVERYTHING)
        execute(postgresql, f"select pg_terminate_backend(pid) from pg_stat_activity where {OTHER_SESSIONS}")
        with pytest.raises(SourceError, match=r"Check|run again") as caught:
            replace_slice(warehouse, broken)
        assert str(sa.make_url(postgresql).password) not in "".join(traceback.format_exception(caught.value))
        assert not caplog.records
        held = warehouse.execute("select count(*), count(distinct user_id) from raw.churn_data").fetchone()
    assert held == (200_000, 200_000)


# -- fingerprints ----------------------------------------------------------------------------------------


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {month for month in {*before, *after} if before.get(month) != after.get(month)}


@pytest.mark.parametrize("kind", [sa.Date, sa.DateTime, sa.Text])
def test_a_fingerprint_changes_for_the_month_whose_rows_come_go_or_move(url: str, kind: Any) -> None:
    days = [datetime(2025, 1, 31), datetime(2025, 2, 1), datetime(2025, 2, 2), datetime(2025, 4, 1)]
    written = [str(day.date()) if kind is sa.Text else day.date() if kind is sa.Date else day for day in days]
    events(url, written, kind)
    source = DatabaseSource(url, BERLIN)
    first = source.fingerprint(USER_ENGAGEMENT)
    assert list(first) == ["2025-01-01", "2025-02-01", "2025-04-01"]
    assert source.fingerprint(USER_ENGAGEMENT) == first
    execute(url, "delete from user_engagement where id = 2")
    second = source.fingerprint(USER_ENGAGEMENT)
    assert changed(first, second) == {"2025-02-01"}
    moved = (
        "timestamp '2025-03-31'" if url.startswith("postgresql") and kind is not sa.Text else "'2025-03-31'"
    )
    execute(url, f"update user_engagement set engagement_date = {moved} where id = 4")
    assert changed(second, source.fingerprint(USER_ENGAGEMENT)) == {"2025-03-01", "2025-04-01"}


def test_a_fingerprint_sees_changes_in_place_where_updated_at_is_mapped(url: str) -> None:
    columns = {"user_id": sa.Text, "churn_date": sa.Date, "changed": sa.DateTime}
    at = datetime(2025, 3, 1, 9, 30)
    fill(url, "churn_data", columns, [("1", date(2025, 1, 5), at), ("2", date(2025, 2, 5), at)])
    mapped = DatabaseSource(url, "UTC", {"churn_data": TableMapping("churn_data", updated_at="changed")})
    first, plain = mapped.fingerprint(CHURN_DATA), DatabaseSource(url).fingerprint(CHURN_DATA)
    execute(url, "update churn_data set changed = '2025-03-02 00:00:00' where user_id = '2'")
    assert changed(first, mapped.fingerprint(CHURN_DATA)) == {"2025-02-01"}
    assert changed(plain, DatabaseSource(url).fingerprint(CHURN_DATA)) == set()


def test_a_row_that_its_offset_may_move_over_the_end_of_a_month_changes_both_months(url: str) -> None:
    events(url, ["2025-01-15", "2025-02-15"])
    source = DatabaseSource(url, BERLIN)
    before = source.fingerprint(USER_ENGAGEMENT)
    execute(url, "update user_engagement set engagement_date = '2025-01-31T23:30:00Z' where id = 1")
    assert changed(before, source.fingerprint(USER_ENGAGEMENT)) == {"2025-01-01", "2025-02-01"}
