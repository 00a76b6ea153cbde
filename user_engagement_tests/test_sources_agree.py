"""One simulated company, whose dirt is on, read through every source: the marts must be the same.

- Files, the company's own systems (an SQLite database and daily event files), and all three tables in SQLite or
  PostgreSQL: the same marts row for row, to the last bit.
- Snowplow's enriched events: the same marts, row for row, as files give whose engagement was delivered as a
  Snowplow tracker would have measured it. That is, each event once, and each duration rounded down to the
  minimum visit and whole heartbeats (`as_tracked`). Against the original files, what differs is therefore

  * durations: ``session_seconds`` in `user_activity_daily`, mean, median and p90 in `session_metrics` (their
    counts of sessions and of excluded sessions are equal), and the median session in `kpi_summary`;
  * `data_quality`: duplicate events never get as far as to be counted;
  * sessions over midnight, which are active, and counted, on both days.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from dagster._core.test_utils import environ

from user_engagement import pipeline, simulation
from user_engagement.cli import simulated_company
from user_engagement.errors import SourceError
from user_engagement.partitions import Months
from user_engagement.settings import Settings, load_settings
from user_engagement.simulation.activity import LONGEST_SESSION
from user_engagement.sources.snowplow.files import enriched_events
from user_engagement_tests.support.frames import assert_equal, marts
from user_engagement_tests.support.postgres import Server, copy_into, running_server
from user_engagement_tests.support.worlds import at_home

pytestmark = [pytest.mark.slow, pytest.mark.long]

COMPANY = simulation.WorldConfig(users=4_000)
THROUGH = date(2025, 5, 20)
"""By then about 700 users have signed up."""
MINIMUM_VISIT, HEARTBEAT = 5, 10

Marts = dict[str, pd.DataFrame]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    simulation.write_files(COMPANY, THROUGH, folder)
    return folder


@pytest.fixture(scope="module")
def read_as_files(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Marts:
    return marts_through(tmp_path_factory.mktemp("home"), source="files", source_path=str(files))


def marts_through(home: Path, **source: Any) -> Marts:
    """The marts of one run of the pipeline on what a source holds now."""
    with settings_at(home, **source) as settings:
        pipeline.run(settings, pipeline.plan(settings))
        return marts(settings)


@contextmanager
def settings_at(home: Path, **given: Any) -> Iterator[Settings]:
    with at_home(home):
        yield load_settings(**{"home": home, "as_of": THROUGH, **given})


# -- the same through every source -------------------------------------------------------------------------


@pytest.mark.exhaustive
def test_the_simulated_company_itself_gives_the_marts_of_its_files(
    tmp_path: Path, read_as_files: Marts
) -> None:
    with settings_at(tmp_path, source="simulated") as settings:
        simulation.advance(settings.simulated_home, COMPANY, THROUGH)
    assert_equal(marts_through(tmp_path, source="simulated"), read_as_files)


@pytest.mark.exhaustive
def test_three_tables_in_sqlite_give_the_marts_of_the_files(
    tmp_path: Path, files: Path, read_as_files: Marts
) -> None:
    url = f"sqlite:///{tmp_path / 'company.sqlite'}"
    copy_into(url, files)
    assert_equal(marts_through(tmp_path / "home", source="database", source_path=url), read_as_files)


def test_three_tables_in_postgresql_give_the_marts_of_the_files(
    tmp_path: Path, files: Path, read_as_files: Marts, server: Server
) -> None:
    with server.database() as url:
        copy_into(url, files)
        assert_equal(marts_through(tmp_path, source="database", source_path=url), read_as_files)
    assert files_that_hold(server.password, tmp_path) == []


def files_that_hold(text: str, folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


@pytest.fixture(scope="module")
def enriched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("snowplow")
    simulation.write_snowplow(
        COMPANY,
        THROUGH,
        folder,
        gz=True,
        heartbeat_seconds=HEARTBEAT,
        minimum_visit_seconds=MINIMUM_VISIT,
    )
    return folder


@pytest.fixture(scope="module")
def read_as_snowplow(files: Path, enriched: Path, tmp_path_factory: pytest.TempPathFactory) -> Marts:
    """Users from the files, events from Snowplow's."""
    return marts_through(
        tmp_path_factory.mktemp("home"),
        source="snowplow",
        source_path=str(enriched),
        users_path=str(files),
        snowplow_heartbeat_seconds=HEARTBEAT,
        snowplow_minimum_visit_seconds=MINIMUM_VISIT,
    )


def as_tracked(engagement: pa.Table) -> pa.Table:
    """Each event once, with the duration that page pings measure.

    They count heartbeats after the minimum visit. Without any there is the time between first and last event, which
    is the duration itself, or nothing where that is not positive, or absurd. A session over midnight is two rows.
    """
    rows = engagement.to_pandas().drop_duplicates("event_id")
    seconds = rows.session_duration.where(rows.session_duration.between(1, LONGEST_SESSION))
    pings = ((seconds - MINIMUM_VISIT) // HEARTBEAT + 1).clip(lower=0)
    midnight = rows.engagement_date.dt.normalize() + pd.Timedelta(days=1)
    until_midnight = (midnight - rows.engagement_date).dt.total_seconds()
    is_over = seconds >= until_midnight
    before = np.ceil((until_midnight - MINIMUM_VISIT) / HEARTBEAT).clip(lower=0).where(is_over, pings)
    before = before.clip(upper=pings)
    first = engaged(before, before > 0).where(before > 0, until_midnight.where(is_over, seconds))
    after = pings - before
    second = engaged(after, before == 0).where(after > 0, (seconds - until_midnight).replace(0, np.nan))
    first_ping_after = rows.engagement_date + pd.to_timedelta(MINIMUM_VISIT + before * HEARTBEAT, unit="s")
    ends = rows.engagement_date + pd.to_timedelta(seconds, unit="s")
    parts = rows[is_over].assign(
        session_duration=second[is_over],
        engagement_date=first_ping_after.where(after > 0, ends)[is_over],
        event_id=-rows.event_id[is_over],
    )
    both = pd.concat([rows.assign(session_duration=first), parts])
    return pa.Table.from_pandas(both, schema=engagement.schema, preserve_index=False)


def engaged(pings: pd.Series, is_first: pd.Series) -> pd.Series:
    """Seconds by heartbeats; the first of a visit stands for the minimum visit."""
    return pings * HEARTBEAT - np.where(is_first, HEARTBEAT - MINIMUM_VISIT, 0)


def test_snowplow_events_give_the_marts_of_files_that_tell_what_a_tracker_sees(
    tmp_path: Path, files: Path, read_as_snowplow: Marts
) -> None:
    shutil.copytree(files, tmp_path / "tracked")
    engagement = pq.read_table(files / "user_engagement.parquet")
    pq.write_table(as_tracked(engagement), tmp_path / "tracked" / "user_engagement.parquet")
    tracked = marts_through(tmp_path / "home", source="files", source_path=str(tmp_path / "tracked"))
    assert_equal(read_as_snowplow, tracked)


@pytest.mark.exhaustive
def test_a_table_of_events_in_the_warehouse_gives_the_marts_of_the_files_of_events(
    tmp_path: Path, files: Path, enriched: Path, read_as_snowplow: Marts
) -> None:
    """The last two months of events are loaded after a first run: only months that they touch are loaded again."""
    company = tmp_path / "company.duckdb"
    early = f"collector_tstamp < '{THROUGH - timedelta(days=60)}'"
    events = enriched_events(sorted(enriched.rglob("*.gz")))
    typed = f"select * exclude (source, fields), cast(collector_tstamp as timestamp) as load_tstamp from ({events})"
    with duckdb.connect(company) as connection:
        connection.execute("create schema atomic")
        connection.execute(f"create table atomic.events as select * from ({typed}) where {early}")
    tables = {"user_engagement": {"table": "atomic.events", "events": "snowplow"}}
    given: dict[str, Any] = {"source": "warehouse", "source_path": str(company), "source_tables": tables}
    heartbeats = {
        "snowplow_heartbeat_seconds": HEARTBEAT,
        "snowplow_minimum_visit_seconds": MINIMUM_VISIT,
    }
    with settings_at(tmp_path / "home", users_path=str(files), **given, **heartbeats) as settings:
        pipeline.run(settings, pipeline.plan(settings))
        with duckdb.connect(company) as connection:
            connection.execute(f"insert into atomic.events select * from ({typed}) where not {early}")
        planned = pipeline.plan(settings)
        assert sum(len(months.keys()) for months in planned.load) < 8
        pipeline.run(settings, planned)
        assert pipeline.plan(settings).load == ()
        assert_equal(marts(settings), read_as_snowplow)


# -- tables that the warehouse reads itself ----------------------------------------------------------------

RENAMED: dict[str, Any] = {
    "user_signups": {"table": "crm.People", "columns": {"user_id": "UID", "signup_date": "created at"}},
    "user_engagement": {"table": "crm.sessions", "columns": {"engagement_date": "started"}},
    "churn_data": {"table": "crm.churn_data"},
}
LATE_MONTH = "'2025-03-01' and '2025-03-31 23:59:59'"


def rename_into(connection: duckdb.DuckDBPyConnection, files: Path) -> None:
    """The tables of the files under other names, in a schema."""
    connection.execute("create schema crm")
    for name, table, columns in (
        ("user_signups", "people", 'user_id as uid, signup_date as "created at"'),
        ("user_engagement", "sessions", "engagement_date as started"),
        ("churn_data", "churn_data", ""),
    ):
        old = "(" + ", ".join(part.split()[0] for part in columns.split(", ")) + ")" if columns else ""
        exclude = f"exclude {old}," if old else ""
        connection.execute(
            f"create table crm.{table} as select * {exclude} {columns} from '{files / name}.parquet'"
        )


def test_schemas_of_the_warehouse_file_give_the_marts_of_the_files_after_late_deleted_and_moved_rows(
    tmp_path: Path, files: Path, read_as_files: Marts
) -> None:
    """Sessions of March come late, a month of sessions of nobody is deleted: only these months are loaded again."""
    tmp_path.joinpath("home").mkdir()
    with duckdb.connect(tmp_path / "home" / "warehouse.duckdb") as connection:
        rename_into(connection, files)
        connection.execute(
            f"create table crm.late as from crm.sessions where started between {LATE_MONTH} and hash(user_id) % 2 = 0"
        )
        connection.execute(
            f"delete from crm.sessions where started between {LATE_MONTH} and hash(user_id) % 2 = 0"
        )
        connection.execute(
            "insert into crm.sessions by name select -1 as user_id, timestamp '2025-01-05' as started, "
            "60 as session_duration, 'visit' as interaction_type from range(20)"
        )
    with settings_at(tmp_path / "home", source="warehouse", source_tables=RENAMED) as settings:
        pipeline.run(settings, pipeline.plan(settings))
        assert pipeline.plan(settings).load == ()
        with duckdb.connect(settings.warehouse_file) as connection:
            connection.execute("insert into crm.sessions by name from crm.late")
            connection.execute("delete from crm.sessions where user_id = -1")
        january, march = date(2025, 1, 1), date(2025, 3, 1)
        planned = pipeline.plan(settings)
        assert planned.load == (Months(january, january), Months(march, march))
        pipeline.run(settings, planned)
        assert pipeline.plan(settings).load == ()
        assert_equal(marts(settings), read_as_files)
        with duckdb.connect(settings.warehouse_file) as connection:
            connection.execute("delete from crm.sessions where started > '2025-02-01'")
        with pytest.raises(SourceError, match="user_engagement: the source has lost"):
            pipeline.plan(settings)


@pytest.mark.exhaustive
def test_another_duckdb_file_and_parquet_give_the_marts_of_the_files(
    tmp_path: Path, files: Path, read_as_files: Marts
) -> None:
    with duckdb.connect(tmp_path / "company.duckdb") as connection:
        rename_into(connection, files)
    tables = RENAMED | {"churn_data": {"table": str(files / "churn_*.parquet")}}
    source = {"source": "warehouse", "source_path": str(tmp_path / "company.duckdb"), "source_tables": tables}
    assert_equal(marts_through(tmp_path / "home", **source), read_as_files)


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        (
            {"churn_data": {"table": "crm.gone"}},
            "crm.gone: no such table for churn_data, or no right to read it",
        ),
        (
            {"user_engagement": {"table": "crm.late"}},
            "crm.late: columns session_duration, interaction_type are missing",
        ),
        (
            {"user_signups": {"table": "nowhere/*.parquet"}},
            "nowhere/*.parquet: no such table for user_signups",
        ),
    ],
)
def test_a_table_that_the_warehouse_cannot_read_ends_in_one_line(
    tmp_path: Path,
    files: Path,
    command: Callable[..., subprocess.CompletedProcess[str]],
    tables: dict[str, Any],
    said: str,
) -> None:
    with duckdb.connect(tmp_path / "company.duckdb") as connection:
        rename_into(connection, files)
        connection.execute(
            "create table crm.late as select user_id, started as engagement_date from crm.sessions"
        )
    with environ({"USER_ENGAGEMENT_SOURCE_TABLES": json.dumps(RENAMED | tables)}):
        done = command("run", "--source", "warehouse", "--path", str(tmp_path / "company.duckdb"))
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert said in done.stderr
    assert [path.name for path in (tmp_path / "home").rglob("*") if path.is_file()] == []


# -- the second run ----------------------------------------------------------------------------------------


@pytest.mark.exhaustive
def test_after_some_days_more_only_the_months_touched_are_loaded_and_the_marts_are_those_of_one_load(
    tmp_path: Path,
) -> None:
    latest = date(2025, 6, 2)
    home = tmp_path / "advanced"
    with settings_at(home, source="simulated") as settings:
        simulated_company.simulate(settings, users=COMPANY.users, through=THROUGH)
        pipeline.run(settings, pipeline.plan(settings))
        assert pipeline.plan(settings).load == ()
    with settings_at(home, source="simulated", as_of=latest) as settings:
        simulated_company.simulate(settings, users=None, through=latest)
        planned = pipeline.plan(settings)
        assert planned.load == (Months(date(2025, 5, 1), date(2025, 6, 1)),)
        pipeline.run(settings, planned)
        assert pipeline.plan(settings).load == ()
        advanced = marts(settings)
    with settings_at(tmp_path / "at once", source="simulated", as_of=latest) as settings:
        simulated_company.simulate(settings, users=COMPANY.users, through=latest)
    assert_equal(advanced, marts_through(tmp_path / "at once", source="simulated", as_of=latest))


# -- databases that cannot be read -------------------------------------------------------------------------


@pytest.fixture
def refused(
    command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> Callable[[str, str], None]:
    """Runs on a database that refuses; checks that it was told in one line, and that nothing was written."""

    def refuse(url: str, said: str) -> None:
        password = str(sa.make_url(url).password)
        done = command("run", "--source", "database", "--path", url)
        assert done.returncode == 2, done.stderr
        assert password not in done.stdout + done.stderr
        assert done.stdout == ""
        lines = done.stderr.strip().splitlines()
        assert len(lines) == 1, done.stderr
        assert lines[0].startswith("error: ")
        assert said in lines[0]
        assert [path.name for path in (tmp_path / "home").rglob("*") if path.is_file()] == []

    return refuse


def test_a_wrong_password_ends_in_one_line_without_it(
    refused: Callable[[str, str], None], server: Server
) -> None:
    refused(server.url(password="not-the-password"), 'password authentication failed for user "owner"')


def test_a_database_that_is_down_ends_in_one_line(
    refused: Callable[[str, str], None], server: Server
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = sa.make_url(server.url()).set(port=unused.getsockname()[1])
        refused(url.render_as_string(hide_password=False), "Connection refused")


def test_a_missing_table_ends_in_one_line_that_names_it(
    refused: Callable[[str, str], None], server: Server, files: Path
) -> None:
    with server.database() as url:
        copy_into(url, files)
        execute(url, "drop table user_engagement")
        refused(url, "no table user_engagement for user_engagement. Found churn_data, user_signups")


def test_a_missing_column_ends_in_one_line_that_names_it(
    refused: Callable[[str, str], None], server: Server, files: Path
) -> None:
    with server.database() as url:
        copy_into(url, files)
        execute(url, "alter table user_engagement drop column interaction_type")
        refused(url, "user_engagement: column interaction_type is missing")


def test_a_revoked_right_ends_in_one_line_that_names_the_table(
    refused: Callable[[str, str], None], server: Server, files: Path
) -> None:
    with server.database() as url:
        copy_into(url, files)
        execute(url, "create role reader login password 'of-the-reader'")
        try:
            execute(url, "grant select on user_signups, churn_data to reader")
            reader = sa.make_url(url).set(username="reader", password="of-the-reader")
            refused(
                reader.render_as_string(hide_password=False), "permission denied for table user_engagement"
            )
        finally:
            execute(url, "drop owned by reader", "drop role reader")


def execute(url: str, *statements: str) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


@pytest.mark.exhaustive
def test_a_source_that_breaks_later_leaves_warehouse_and_published_files_as_they_were(
    tmp_path: Path, files: Path, command: Callable[..., subprocess.CompletedProcess[str]], server: Server
) -> None:
    home = tmp_path / "home"
    with server.database() as url:
        copy_into(url, files)
        marts_through(home, source="database", source_path=url)
        before = digests(home)
        execute(url, "insert into churn_data values (1, '2025-05-19', 'other')", "drop table user_signups")
        done = command("run", "--source", "database", "--path", url)
    assert done.returncode == 2
    assert "no table user_signups" in done.stderr
    assert server.password not in done.stdout + done.stderr
    assert digests(home) == before


def test_a_password_given_on_the_command_line_is_neither_shown_nor_written_down(
    tmp_path: Path, files: Path, command: Callable[..., subprocess.CompletedProcess[str]], server: Server
) -> None:
    """dbt, run in the process, used to record the arguments of that process in its log and its run results."""
    with server.database() as url:
        copy_into(url, files)
        done = command("run", "--source", "database", "--path", url)
    assert done.returncode == 0, done.stderr
    assert server.password not in done.stdout + done.stderr
    assert files_that_hold(server.password, tmp_path) == []


def digests(home: Path) -> dict[str, str]:
    """What the warehouse and the published folder hold."""
    paths = [home / "warehouse.duckdb", *sorted((home / "published").rglob("*.parquet"))]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
