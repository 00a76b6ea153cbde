"""Tables with a row per user are in a schema of their own, whatever a home was before."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import pytest

from user_engagement.warehouse.duckdb.warehouse import DuckDBWarehouse
from user_engagement.warehouse.schemas import NAMING_USERS
from user_engagement_tests.support.comparing import assert_same
from user_engagement_tests.support.earlier_version import former_places, restore_former_places
from user_engagement_tests.support.load_paths import EARLY_EVENTS, LATE_EVENTS, WORLD, LoadPath, with_rows

pytestmark = [pytest.mark.slow, pytest.mark.long]

COLUMNS = """
    select schema_name || '.' || table_name, bool_or(column_name similar to '(.*_)?user_(id|number)')
    from duckdb_columns() where not internal and list_contains(?, schema_name) = ? group by all order by all
"""


def tables_of(connection: duckdb.DuckDBPyConnection, naming_users: bool) -> dict[str, bool]:
    """The tables and views in schemas that may name users, or in the others; whether each has a column of users."""
    return dict(connection.execute(COLUMNS, [list(NAMING_USERS), naming_users]).fetchall())


@pytest.fixture(scope="module")
def early_path(tmp_path_factory: pytest.TempPathFactory) -> LoadPath:
    path = LoadPath(tmp_path_factory.mktemp("early"))
    path.load(with_rows(WORLD, engagement=EARLY_EVENTS), insights=True)
    return path


@pytest.fixture(scope="module")
def full_path(tmp_path_factory: pytest.TempPathFactory) -> LoadPath:
    path = LoadPath(tmp_path_factory.mktemp("full"))
    path.load(WORLD, insights=True)
    return path


def test_no_table_outside_the_schemas_of_users_has_a_column_of_users(full_path: LoadPath) -> None:
    """A grant on all tables and views of these schemas, present and future, shows no user."""
    with DuckDBWarehouse.of(full_path.settings(WORLD)).connect() as connection:
        others, users = (tables_of(connection, naming_users) for naming_users in (False, True))
    assert [table for table, has_users in others.items() if has_users] == []
    assert {table.split(".")[0] for table in others} == {
        *("lookups", "activity", "cohorts", "intermediate", "marts", "insights")
    }
    # and nothing is there without need
    assert [table for table, has_users in users.items() if not has_users] == []


@pytest.mark.parametrize(
    "keep_emptied",
    [pytest.param(False, id="new"), pytest.param(True, id="used before", marks=pytest.mark.exhaustive)],
)
def test_a_home_of_an_earlier_version_goes_on_with_the_rows_it_has_and_leaves_none_where_they_were(
    early_path: LoadPath, full_path: LoadPath, tmp_path: Path, keep_emptied: bool
) -> None:
    """One month alone is loaded after the upgrade; the rows of the others come from the tables that were there."""
    shutil.copytree(early_path.folder, tmp_path / "copy", symlinks=True)
    (tmp_path / "copy" / "home" / "source.json").unlink()
    path = LoadPath(tmp_path / "copy")
    settings = path.settings(WORLD)
    places = former_places(settings)
    with DuckDBWarehouse.of(settings).connect() as connection:
        restore_former_places(connection, places, keep_emptied)
        assert {table for table, has_users in tables_of(connection, False).items() if has_users} > set(
            places.values()
        )
    path.load(WORLD, LATE_EVENTS, insights=True)
    assert_same(path.marts(WORLD), full_path.marts(WORLD))
    assert_same(path.insights(WORLD), full_path.insights(WORLD))
    with DuckDBWarehouse.of(settings).connect() as connection:
        assert not any(tables_of(connection, False).values())
    assert path.query(WORLD, "select min(user_number) > 1000 from user_level.user_numbers") == [(True,)]
