"""What was made of complete weeks is kept while their rows are the same, and made again as soon as they are not."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from user_engagement.assets.insights import OF_COMPLETE_WEEKS, read_rollups
from user_engagement.insights.analysis import of_complete_weeks
from user_engagement.instance.home import open_instance
from user_engagement.pipeline import plan, run
from user_engagement.warehouse import open_warehouse
from user_engagement_tests.support.comparing import assert_same
from user_engagement_tests.support.load_paths import EARLY_EVENTS, LATE_EVENTS, WORLD, LoadPath, with_rows
from user_engagement_tests.support.worlds import at_home

pytestmark = [pytest.mark.slow, pytest.mark.long]

WEEK_BEFORE, SUNDAY = date(2024, 4, 8), date(2024, 4, 14)
MONDAY, WEDNESDAY = date(2024, 4, 15), date(2024, 4, 17)
MARK = "update insights.cohort_counts set early_active_days = early_active_days - 1000"


@pytest.fixture(scope="module")
def monday(tmp_path_factory: pytest.TempPathFactory) -> LoadPath:
    path = LoadPath(tmp_path_factory.mktemp("monday"))
    path.load(WORLD, insights=True, as_of=MONDAY)
    return path


@pytest.fixture
def path(monday: LoadPath, tmp_path: Path) -> LoadPath:
    """The state of Monday, with a mark on a whole table of complete weeks that no data test notices."""
    shutil.copytree(monday.folder, tmp_path / "copy", symlinks=True)
    (tmp_path / "copy" / "home" / "source.json").unlink()
    copied = LoadPath(tmp_path / "copy")
    copied.execute(WORLD, MARK)
    return copied


def is_marked(path: LoadPath) -> bool:
    with at_home(path.folder / "home"), open_warehouse(path.settings(WORLD)).reader() as reader:
        days = reader.query("select min(early_active_days) as least from insights.cohort_counts")
    return days.column(0)[0].as_py() < 0


def fresh(folder: Path, as_of: date) -> LoadPath:
    path = LoadPath(folder / "fresh")
    path.load(WORLD, insights=True, as_of=as_of)
    return path


@pytest.mark.exhaustive
def test_further_days_of_a_week_keep_the_tables_of_complete_weeks_and_give_what_a_full_load_gives(
    path: LoadPath, tmp_path: Path
) -> None:
    path.load(WORLD, insights=True, as_of=WEDNESDAY)
    assert is_marked(path)
    wanted = fresh(tmp_path, WEDNESDAY)
    assert_same(path.insights(WORLD), wanted.insights(WORLD))
    assert_same(path.marts(WORLD), wanted.marts(WORLD))


@pytest.mark.exhaustive
def test_the_end_of_a_week_makes_them_anew(tmp_path: Path) -> None:
    path = LoadPath(tmp_path)
    path.load(WORLD, insights=True, as_of=WEEK_BEFORE)
    path.execute(WORLD, MARK)
    path.load(WORLD, insights=True, as_of=SUNDAY)
    assert not is_marked(path)
    assert_same(path.insights(WORLD), fresh(tmp_path, SUNDAY).insights(WORLD))


def test_a_late_row_of_a_complete_week_makes_them_anew(tmp_path: Path) -> None:
    path = LoadPath(tmp_path)
    path.load(with_rows(WORLD, engagement=EARLY_EVENTS), insights=True, as_of=WEDNESDAY)
    path.execute(WORLD, MARK)
    path.load(WORLD, LATE_EVENTS, insights=True, as_of=WEDNESDAY)
    assert not is_marked(path)
    assert_same(path.insights(WORLD), fresh(tmp_path, WEDNESDAY).insights(WORLD))


@pytest.mark.exhaustive
def test_a_rebuild_that_never_ended_leaves_nothing_to_keep(path: LoadPath) -> None:
    with at_home(path.folder / "home"), open_instance(path.settings(WORLD)) as instance:
        key = dg.AssetKey(["insights", "weekly_counts"])
        instance.report_runless_asset_event(dg.AssetObservation(asset_key=key))
    path.load(WORLD, insights=True, as_of=WEDNESDAY)
    assert not is_marked(path)


@pytest.mark.exhaustive
def test_a_rebuild_that_is_asked_for_keeps_nothing(path: LoadPath) -> None:
    with at_home(path.folder / "home"):
        settings = path.settings(WORLD, insights=True, as_of=WEDNESDAY)
        run(settings, plan(settings, rebuild=True))
    assert not is_marked(path)


def test_the_tables_that_are_kept_are_those_that_are_computed_of_complete_weeks(monday: LoadPath) -> None:
    with at_home(monday.folder / "home"):
        rollups, _ = read_rollups(monday.settings(WORLD))
    assert set(of_complete_weeks(rollups, seed=7)) == set(OF_COMPLETE_WEEKS)
