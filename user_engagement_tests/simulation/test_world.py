from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from user_engagement.simulation import (
    Dirt,
    SimulationError,
    Stories,
    WorldConfig,
    activity,
    advance,
    database_file,
    event_files,
    events_folder,
    load_config,
    oltp,
    reached,
    world,
)
from user_engagement.simulation import deliveries as module_of_deliveries
from user_engagement.simulation.config import config_from_json, config_to_json
from user_engagement_tests.support.simulated_worlds import (
    SMALL,
    contents,
    database_rows,
    day,
    event_file_digests,
    read_events,
)

END = day(99)


@pytest.fixture(scope="module")
def at_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("at_once")
    advance(home, SMALL, END)
    return home


@pytest.mark.slow
def test_a_world_made_at_once_equals_one_made_in_100_advances(at_once: Path, tmp_path: Path) -> None:
    for number in range(100):
        advance(tmp_path, SMALL, day(number))
    assert contents(tmp_path) == contents(at_once)


def test_months_that_begin_and_end_inside_an_advance_change_nothing(at_once: Path, tmp_path: Path) -> None:
    for number in (0, 29, 31, 60, 61, 98, 99):
        advance(tmp_path, SMALL, day(number))
    assert contents(tmp_path) == contents(at_once)


def test_how_the_work_is_cut_into_blocks_changes_nothing(
    at_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activity, "BLOCK", 37)
    monkeypatch.setattr(module_of_deliveries, "DAYS_AT_ONCE", 5)
    monkeypatch.setattr(oltp, "ROWS_AT_ONCE", 11)
    advance(tmp_path, SMALL, END)
    assert contents(tmp_path) == contents(at_once)


def test_another_seed_is_another_world(at_once: Path, tmp_path: Path) -> None:
    advance(tmp_path, replace(SMALL, seed=8), END)
    ours, others = contents(tmp_path), contents(at_once)
    assert ours[0].keys() == others[0].keys()
    assert not set(ours[0].values()) & set(others[0].values())
    assert ours[1] != others[1]


def test_each_day_has_one_file_that_a_reader_of_hive_partitions_reads(at_once: Path) -> None:
    assert len(event_file_digests(at_once)) == 100
    pattern = f"{events_folder(at_once)}/*/*.parquet"
    days, rows = duckdb.execute(
        "select count(distinct delivered_on), count(*) from read_parquet(?, hive_partitioning = true)",
        [pattern],
    ).fetchall()[0]
    assert (days, rows) == (100, len(read_events(at_once)))


def test_a_day_without_rows_has_a_file_without_rows(tmp_path: Path) -> None:
    nearly_empty = WorldConfig(users=1, reference_end=date(2026, 1, 1))
    advance(tmp_path, nearly_empty, day(9))
    files = sorted(events_folder(tmp_path).glob("*/*.parquet"))
    assert [pq.read_metadata(file).num_rows for file in files] == [0] * 10
    assert pq.read_schema(files[0]).names == [
        "event_id",
        "user_id",
        "engagement_date",
        "session_duration",
        "interaction_type",
        "device_type",
    ]
    assert database_rows(tmp_path) == {"users": [], "cancellations": []}


def test_users_and_cancellations_are_those_of_the_days_reached(at_once: Path) -> None:
    rows = database_rows(at_once)
    signed_up_at = [row[1] for row in rows["users"]]
    assert [row[0] for row in rows["users"]] == list(range(1, len(signed_up_at) + 1))
    assert signed_up_at == sorted(signed_up_at)
    assert signed_up_at[-1] < "2025-04-11"
    assert all(row[1] < "2025-04-11" for row in rows["cancellations"])
    assert len({row[6] for row in rows["users"]}) == len(rows["users"]), "e-mail addresses repeat"


def test_without_dirt_no_session_begins_before_its_users_signup(tmp_path: Path) -> None:
    advance(tmp_path, replace(SMALL, dirt=Dirt.none()), END)
    signed_up_at = {row[0]: pd.Timestamp(row[1]) for row in database_rows(tmp_path)["users"]}
    events = read_events(tmp_path)
    assert (events.engagement_date >= events.user_id.map(signed_up_at)).all()


def test_the_same_day_again_does_nothing_and_says_so(tmp_path: Path) -> None:
    advance(tmp_path, SMALL, day(40))
    before = contents(tmp_path)
    again = advance(tmp_path, SMALL, day(40))
    assert (again.days, again.users, again.events) == (0, 0, 0)
    assert str(again) == f"The simulated world in {tmp_path} has already reached 2025-02-10: nothing to do."
    assert contents(tmp_path) == before


def test_the_summary_counts_what_was_written(tmp_path: Path) -> None:
    first = advance(tmp_path, SMALL, day(30))
    second = advance(tmp_path, SMALL, day(59))
    rows = database_rows(tmp_path)
    assert first.days + second.days == 60
    assert first.users + second.users == len(rows["users"])
    assert first.cancellations + second.cancellations == len(rows["cancellations"])
    assert first.events + second.events == len(read_events(tmp_path))
    assert str(second).startswith("Simulated 29 days through 2025-03-01: ")


def test_progress_is_told_once_a_day(tmp_path: Path) -> None:
    told: list[tuple[date, int, int]] = []
    advance(tmp_path, SMALL, day(2), on_progress=lambda *progress: told.append(progress))
    assert told == [(day(0), 1, 3), (day(1), 2, 3), (day(2), 3, 3)]


def test_time_moves_only_forward(tmp_path: Path) -> None:
    advance(tmp_path, SMALL, day(10))
    with pytest.raises(SimulationError, match=r"has reached 2025-01-11, .* instead of 2025-01-10"):
        advance(tmp_path, SMALL, day(9))
    assert reached(tmp_path) == day(10)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (replace(SMALL, seed=8), "made with seed=7, not 8: use 7, or another folder"),
        (replace(SMALL, users=401), "made with users=400, not 401"),
        (replace(SMALL, dirt=Dirt.none()), "made with dirt="),
        (replace(SMALL, stories=Stories.none()), "made with stories="),
    ],
)
def test_a_world_goes_on_only_with_the_configuration_it_was_made_with(
    tmp_path: Path, other: WorldConfig, message: str
) -> None:
    advance(tmp_path, SMALL, day(1))
    with pytest.raises(SimulationError, match=message):
        advance(tmp_path, other, day(2))


def test_a_configuration_survives_being_stored(tmp_path: Path) -> None:
    config = replace(
        SMALL, stories=replace(SMALL.stories, price_change=None), country_shares={"JP": 1.0}, seed=2**40
    )
    advance(tmp_path, config, day(0))
    assert load_config(tmp_path) == config
    assert config_from_json(json.loads(json.dumps(config_to_json(config)))) == config


def test_a_folder_without_a_world_has_reached_no_day_and_has_no_configuration(tmp_path: Path) -> None:
    assert reached(tmp_path) is None
    with pytest.raises(SimulationError, match="There is no simulated world"):
        load_config(tmp_path)


class Crash(BaseException):
    pass


def _at_call(number: int, wrapped: Callable, after: bool) -> Callable:
    """`wrapped`, except that its call `number` crashes, before or after its work is done."""
    calls = iter(range(1_000_000))

    def crashing(*args, **kwargs):
        crash = next(calls) == number
        if crash and not after:
            raise Crash
        result = wrapped(*args, **kwargs)
        if crash:
            raise Crash
        return result

    return crashing


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("module", "function", "call"),
    [
        (event_files, "write_day", 0),
        (event_files, "write_day", 45),
        (oltp, "create_tables", 0),
        (oltp, "write_days", 0),
        (oltp, "write_days", 2),
        (world, "_save", 0),
        (world, "_save", 1),
        (world, "_save", 2),
        (world, "_save", 3),
    ],
)
def test_a_crash_anywhere_is_made_good_by_the_next_advance(
    at_once: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module,
    function: str,
    call: int,
    after: bool,
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(module, function, _at_call(call, getattr(module, function), after))
        with pytest.raises(Crash):
            advance(tmp_path, SMALL, END)
    advance(tmp_path, SMALL, END)
    assert contents(tmp_path) == contents(at_once)


@pytest.mark.slow
def test_a_killed_process_is_made_good_by_the_next_advance(at_once: Path, tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from datetime import date; from pathlib import Path\n"
        "from user_engagement.simulation import WorldConfig, advance\n"
        "def kill(day, done, total):\n"
        "    if done == 77: os.kill(os.getpid(), signal.SIGKILL)\n"
        "config = WorldConfig(users=400, reference_end=date(2025, 5, 1))\n"
        "advance(Path(sys.argv[1]), config, date(2025, 4, 10), on_progress=kill)\n"
    )
    root = Path(world.__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", script, tmp_path], cwd=root, check=False).returncode == -9
    assert reached(tmp_path) == date(2025, 2, 28)
    advance(tmp_path, SMALL, END)
    assert contents(tmp_path) == contents(at_once)


def test_after_a_crash_a_nearer_day_holds_nothing_of_the_days_beyond_it(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(world, "_save", _at_call(3, world._save, after=False))
        with pytest.raises(Crash):
            advance(tmp_path, SMALL, END)
    assert reached(tmp_path) == date(2025, 1, 31)
    advance(tmp_path, SMALL, date(2025, 1, 31))
    untroubled = tmp_path_factory.mktemp("untroubled")
    advance(untroubled, SMALL, date(2025, 1, 31))
    assert contents(tmp_path) == contents(untroubled)


def test_a_second_process_on_the_same_world_is_turned_away(tmp_path: Path) -> None:
    advance(tmp_path, SMALL, day(1))
    with (tmp_path / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(SimulationError, match="Another process is advancing"):
            advance(tmp_path, SMALL, day(2))


def test_a_database_given_by_url_takes_the_rows(at_once: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/elsewhere.db"
    advance(tmp_path / "home", SMALL, day(50), database_url=url)
    advance(tmp_path / "home", SMALL, END, database_url=url)
    assert not database_file(tmp_path / "home").exists()
    (tmp_path / "elsewhere.db").rename(database_file(tmp_path / "home"))
    assert contents(tmp_path / "home") == contents(at_once)


def test_a_world_stays_with_its_database(tmp_path: Path) -> None:
    advance(tmp_path, SMALL, day(1))
    with pytest.raises(SimulationError, match="lives in its own SQLite file, not in sqlite:///"):
        advance(tmp_path, SMALL, day(2), database_url=f"sqlite:///{tmp_path}/other.db")


def test_a_database_whose_users_are_not_of_this_world_is_left_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/company.db"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("create table users (user_id integer primary key, name text)"))
        connection.execute(sa.text("insert into users values (1, 'Ada')"))
    with pytest.raises(SimulationError, match=r"Table users of sqlite:.* already holds rows"):
        advance(tmp_path / "home", SMALL, day(1), database_url=url)
    with engine.connect() as connection:
        assert connection.execute(sa.text("select * from users")).fetchall() == [(1, "Ada")]


def test_files_that_are_not_of_this_world_are_left_alone(tmp_path: Path) -> None:
    kept = event_files.day_file(events_folder(tmp_path), day(500))
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")
    with pytest.raises(SimulationError, match=r"user_engagement has files, but .* has no world.json"):
        advance(tmp_path, SMALL, day(1))
    assert kept.read_text() == "mine"


def test_a_database_that_was_emptied_since_is_noticed(tmp_path: Path) -> None:
    advance(tmp_path, SMALL, day(20))
    database_file(tmp_path).unlink()
    with pytest.raises(SimulationError, match=r"has 0 users, but the world .* on 2025-01-21: remove"):
        advance(tmp_path, SMALL, day(21))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"generator": 1, "config": {}}', '{"generator": 99}'])
def test_a_damaged_world_file_is_a_clear_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "world.json").write_text(content)
    with pytest.raises(SimulationError, match=r"world\.json .* remove .* and start again"):
        advance(tmp_path, SMALL, day(1))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("not a url with s3cret", "database URL cannot be parsed"),
        ("nosuchdb://me:s3cret@host/db", r"no driver for nosuchdb://me:\*\*\*@host/db"),
        ("sqlite:////no/such/folder/s.db", "refused: unable to open database file"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_clear_line_without_a_password(
    tmp_path: Path, url: str, message: str
) -> None:
    with pytest.raises(SimulationError, match=message) as refused:
        advance(tmp_path, SMALL, day(1), database_url=url)
    assert "s3cret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_home_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    home = tmp_path / "file"
    home.write_text("")
    with pytest.raises(SimulationError, match=r"file cannot be written \(File exists\)"):
        advance(home, SMALL, day(1))
