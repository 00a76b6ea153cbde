"""Tables of complete weeks are built again by month, and hold what a full load gives, whatever comes late."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import dagster as dg
import duckdb
import pandas as pd
import pytest

from user_engagement import simulation
from user_engagement.assets.dbt import load_manifest, stored_tables
from user_engagement.assets.insights import keys_of_weekly_models
from user_engagement.instance.home import open_instance
from user_engagement.pipeline import plan, run
from user_engagement.settings import Settings, load_settings
from user_engagement.warehouse.duckdb.warehouse import DuckDBWarehouse
from user_engagement_tests.support.worlds import at_home

pytestmark = [pytest.mark.slow, pytest.mark.long]

AS_OF, NEXT_MONDAY = date(2026, 2, 4), date(2026, 2, 9)
SOME = "hash(user_id) % 4 = 0"
WITHHELD = {
    "rows of the week before": {
        "user_engagement": "engagement_date::date between '2026-01-26' and '2026-01-28' and " + SOME
    },
    "rows of a year ago": {
        "user_engagement": "engagement_date::date between '2025-02-10' and '2025-02-14' and " + SOME
    },
    "churns": {"churn_data": "churn_date::date between '2025-06-01' and '2025-07-31' and " + SOME},
    "signups": {"user_signups": "signup_date::date between '2025-05-01' and '2025-05-31' and " + SOME},
}
"""What the source lacks at first."""
MARKED = {
    "insights.first_week_curves": ("signup_month", "eligible_users"),
    "insights.habit_sessions": ("week_month", "sessions"),
    "user_level.user_weeks": ("week_month", "log_seconds"),
    "insights.weekly_counts": ("week_month", "session_seconds"),
}
"""Of some tables the month, and a number that nothing notices if it is large."""
PRODUCTS = "case when product_type = 'basic' then 'standard' else 'basic' end as product_type"


@dataclass(frozen=True)
class Company:
    """A home, and the files of its source."""

    folder: Path

    @property
    def source(self) -> Path:
        return self.folder / "source"

    def settings(self, as_of: date) -> Settings:
        return load_settings(
            home=self.folder / "home",
            source="files",
            source_path=str(self.source),
            as_of=as_of,
            insights=True,
        )

    def deliver(self, files: Path, withheld: Mapping[str, str], replaced: str = "") -> None:
        """The files without the rows that meet a condition; a quarter of May's users with ``replaced`` columns."""
        self.source.mkdir(parents=True, exist_ok=True)
        for table in ("user_signups", "user_engagement", "churn_data"):
            query = f"select * from '{files / table}.parquet' where not coalesce({withheld.get(table, 'false')}, false)"
            if replaced and table == "user_signups":
                of_may = f"signup_date::date between '2025-05-01' and '2025-05-31' and {SOME}"
                query = (
                    f"select * from ({query}) where not ({of_may}) union all by name "
                    f"select * replace ({replaced}) from ({query}) where {of_may}"
                )
            duckdb.execute(f"copy ({query}) to '{self.source / table}.parquet'")

    def load(self, as_of: date = AS_OF, rebuild: bool = False) -> None:
        with at_home(self.folder / "home"):
            settings = self.settings(as_of)
            run(settings, plan(settings, rebuild=rebuild))

    def execute(self, *statements: str) -> None:
        with DuckDBWarehouse.of(self.settings(AS_OF)).connect() as connection:
            for statement in statements:
                connection.execute(statement)

    def tables(self) -> dict[str, pd.DataFrame]:
        """The weekly tables, with ids in place of numbers of users, which the order of loading gives them."""
        settings = self.settings(AS_OF)
        with at_home(self.folder / "home"):
            manifest = load_manifest(settings)
            stored = stored_tables(manifest, keys_of_weekly_models(settings, manifest)).values()
        found = {}
        with DuckDBWarehouse.of(settings).connect() as connection:
            for schema, name in stored:
                if name.endswith("_checksums"):
                    continue
                table = f"{schema}.{name}"
                columns = connection.table(table).columns
                if "user_number" in columns:
                    columns = ["user_id", *columns]
                    table += " inner join user_level.user_numbers using (user_number)"
                kept = ", ".join(each for each in columns if each not in ("user_number", "built_from"))
                found[name] = connection.execute(f"select {kept} from {table}").df()
        return {name: _sorted(frame) for name, frame in found.items()}

    def months(self, table: str, month: str, value: str) -> dict[date, float]:
        with DuckDBWarehouse.of(self.settings(AS_OF)).connect() as connection:
            return dict(
                connection.execute(f"select {month}, max({value}) from {table} group by 1").fetchall()
            )


def _sorted(frame: pd.DataFrame) -> pd.DataFrame:
    # not by sums of fractions, of which the last digits depend on the order of threads
    exact = sorted(name for name in frame if not str(name).endswith("_seconds"))
    return frame.sort_values(exact).sort_index(axis=1).reset_index(drop=True)


def assert_same_tables(found: dict[str, pd.DataFrame], wanted: dict[str, pd.DataFrame]) -> None:
    assert list(found) == list(wanted)
    for name, table in wanted.items():
        pd.testing.assert_frame_equal(found[name], table, rtol=1e-9, obj=name)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    simulation.write_files(simulation.WorldConfig(users=500), NEXT_MONDAY, folder)
    return folder


@pytest.fixture(scope="module")
def full(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Company:
    """Everything loaded at once."""
    company = Company(tmp_path_factory.mktemp("full"))
    company.deliver(files, {})
    company.load()
    return company


@pytest.fixture(scope="module")
def wanted(full: Company) -> dict[str, pd.DataFrame]:
    return full.tables()


@pytest.fixture
def copied(full: Company, tmp_path: Path) -> Company:
    shutil.copytree(full.folder, tmp_path / "copy", symlinks=True)
    (tmp_path / "copy" / "home" / "source.json").unlink()
    return Company(tmp_path / "copy")


@pytest.mark.parametrize(
    "late",
    [
        "rows of the week before",
        *(pytest.param(each, marks=pytest.mark.exhaustive) for each in list(WITHHELD)[1:]),
    ],
)
def test_what_comes_late_gives_the_tables_of_a_full_load(
    late: str, files: Path, wanted: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    company = Company(tmp_path)
    company.deliver(files, WITHHELD[late])
    company.load()
    before = company.tables()
    company.deliver(files, {})
    company.load()
    assert any(not before[name].equals(table) for name, table in wanted.items())
    assert_same_tables(company.tables(), wanted)


def test_users_who_change_segments_and_everything_late_at_once_give_the_tables_of_a_full_load(
    files: Path, wanted: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    """One run after the other, each with something else, and the last a week further."""
    company = Company(tmp_path)
    withheld: dict[str, str] = {}
    for conditions in WITHHELD.values():
        for table, condition in conditions.items():
            withheld[table] = f"{withheld[table]} or {condition}" if table in withheld else condition
    company.deliver(files, withheld, PRODUCTS)
    company.load(date(2026, 1, 14))
    company.deliver(files, {"churn_data": withheld["churn_data"]}, PRODUCTS)
    company.load(NEXT_MONDAY)
    company.deliver(files, {})
    company.load()
    assert_same_tables(company.tables(), wanted)


def test_late_rows_of_the_week_before_leave_the_months_that_do_not_depend_on_them(
    files: Path, copied: Company, tmp_path: Path
) -> None:
    copied.deliver(files, WITHHELD["rows of the week before"])
    copied.load()
    copied.execute(*(f"update {table} set {value} = {value} + 1e6" for table, (_, value) in MARKED.items()))
    copied.deliver(files, {})
    copied.load()
    built = {}
    for table, (column, value) in MARKED.items():
        months = copied.months(table, column, value)
        built[table] = {month for month, most in months.items() if most < 1e6}
        assert built[table] == {month for month in months if month >= min(built[table])}
    december, january = date(2025, 12, 1), date(2026, 1, 1)
    assert built["user_level.user_weeks"] == {january}
    # whose first twelve weeks after the first have such days
    assert min(built["insights.first_week_curves"]) == date(2025, 10, 1)
    # habits are those of the first eight weeks
    assert built["insights.habit_sessions"] == built["insights.weekly_counts"]
    assert built["insights.weekly_counts"] in ({january}, {december, january})


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "left", ["user_level.user_traits", "user_level.user_weeks", "insights.weekly_counts"]
)
def test_a_table_that_a_killed_run_left_as_it_was_is_brought_up_to_date(
    left: str, files: Path, wanted: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    company = Company(tmp_path)
    company.deliver(files, WITHHELD["rows of a year ago"])
    company.load()
    company.execute(f"create table lookups.kept as from {left}")
    company.deliver(files, {})
    company.load()
    company.execute(f"create or replace table {left} as from lookups.kept", "drop table lookups.kept")
    settings = company.settings(AS_OF)
    with at_home(company.folder / "home"), open_instance(settings) as instance:
        key = dg.AssetKey(["insights", left.split(".")[1]])
        instance.report_runless_asset_event(dg.AssetObservation(asset_key=key))
    # nothing else is new
    company.load(date(2026, 2, 5))
    assert_same_tables(company.tables(), wanted)


@pytest.mark.exhaustive
def test_a_rebuild_that_is_asked_for_builds_every_month(
    copied: Company, wanted: dict[str, pd.DataFrame]
) -> None:
    copied.execute(*(f"update {table} set {value} = {value} + 1e6" for table, (_, value) in MARKED.items()))
    copied.load(rebuild=True)
    assert_same_tables(copied.tables(), wanted)


@pytest.mark.exhaustive
def test_tables_of_an_earlier_version_are_built_anew(
    copied: Company, wanted: dict[str, pd.DataFrame]
) -> None:
    """They had no checksum, other columns, and small numbers of groups."""
    copied.execute(
        "create or replace table user_level.user_traits as select * exclude (built_from, signup_month) "
        "replace (cast(group_cell % 1000 as integer) as group_cell), signup_date as churn_date "
        "from user_level.user_traits",
        "create or replace table insights.weekly_counts as select * exclude (built_from, week_month) "
        "replace (cast(cell % 1000 as integer) as cell) from insights.weekly_counts",
        "create or replace table user_level.user_weeks as select * exclude (built_from, week_month) "
        "from user_level.user_weeks",
    )
    settings = copied.settings(AS_OF)
    with at_home(copied.folder / "home"), open_instance(settings) as instance:
        instance.report_runless_asset_event(
            dg.AssetObservation(asset_key=dg.AssetKey(["insights", "weekly_counts"]))
        )
    copied.load(date(2026, 2, 5))
    assert_same_tables(copied.tables(), wanted)
