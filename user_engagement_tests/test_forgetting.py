"""Users who are forgotten: nothing of the home names them, and the marts are as if they had never been there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from user_engagement import pipeline
from user_engagement.errors import UserError
from user_engagement.forgetting import forget
from user_engagement.instance.home import open_instance
from user_engagement.settings import Settings
from user_engagement_tests.support.company import busy_users, with_long_ids
from user_engagement_tests.support.frames import assert_equal, marts

pytestmark = [pytest.mark.slow, pytest.mark.long]


def files_with(home: Path, name: str) -> list[Path]:
    return [file for file in home.rglob("*") if file.is_file() and name.encode() in file.read_bytes()]


def run(settings: Settings, full: bool = False) -> None:
    pipeline.run(settings, pipeline.plan(settings, full))


@pytest.fixture
def users(company: Path) -> tuple[str, ...]:
    return busy_users(company)


def test_a_forgotten_user_is_in_no_file_of_the_home_does_not_come_back_and_leaves_marts_as_without_them(
    settings_for: Callable[..., Settings], company: Path, users: tuple[str, ...], tmp_path: Path
) -> None:
    whole = with_long_ids(company, tmp_path / "whole")
    settings = settings_for(source_path=whole)
    run(settings)
    with open_instance(settings) as instance:
        instance.add_run_tags(instance.get_run_ids(limit=1)[0], {"asked_by": users[0]})
    assert files_with(settings.home, users[0]), "the search finds what is there"
    proof = forget(settings, users)
    assert proof.left == ()
    assert proof.removed["raw.user_signups"] >= 2
    assert proof.removed["user_level.user_lifecycle"] == 2
    assert proof.searched_files > 20
    for user in users:
        assert files_with(settings.home, user) == []
    without = settings_for(
        home=tmp_path / "other", source_path=with_long_ids(company, tmp_path / "part", users)
    )
    run(without)
    assert_equal(marts(settings), marts(without))
    run(settings, full=True)
    for user in users:
        assert files_with(settings.home, user) == [], "a full load does not bring them back"
    assert_equal(marts(settings), marts(without))


def test_tables_of_others_in_the_same_file_are_not_changed(settings_for: Callable[..., Settings]) -> None:
    settings = settings_for()
    settings.warehouse_file.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(settings.warehouse_file) as connection:
        connection.execute("create schema crm")
        connection.execute("create table crm.orders as select 7 as user_id, 10 as amount")
        connection.execute("create schema raw")
        connection.execute("create table raw.user_signups as select '7' as user_id")
    with pytest.raises(UserError, match=r"crm\.orders name these users.* Nothing was removed"):
        forget(settings, ["7", "8"])
    with duckdb.connect(settings.warehouse_file) as connection:
        assert connection.execute("select * from crm.orders").fetchall() == [(7, 10)]
        assert connection.execute("select * from raw.user_signups").fetchall() == [("7",)]
    assert not settings.forgotten_file.exists()


def test_nobody_is_forgotten_where_nothing_was_loaded(settings_for: Callable[..., Settings]) -> None:
    with pytest.raises(UserError, match="nothing has been loaded"):
        forget(settings_for(), ["customer-00000001"])
