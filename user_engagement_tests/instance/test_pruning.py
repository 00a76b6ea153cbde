"""What old runs leave behind goes, unless it says what is up to date."""

import os
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest

from user_engagement.instance.home import open_instance
from user_engagement.instance.pruning import prune, prune_folders, prune_runs, prune_scratch
from user_engagement.settings import Settings, load_settings

DAY = 86_400


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    # fewer runs than the setting allows
    return load_settings(home=tmp_path / "home").model_copy(update={"keep_runs": 1, "keep_days": 3})


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["january", "february"]))
def loaded(context: dg.AssetExecutionContext) -> None:
    if context.run.tags.get("fails"):
        raise dg.Failure("on purpose")


@pytest.mark.slow
def test_a_run_goes_once_newer_ones_have_replaced_all_that_it_made(settings: Settings) -> None:
    with open_instance(settings) as instance:
        runs = [
            dg.materialize(
                [loaded], partition_key=month, instance=instance, raise_on_error=False, tags=tags
            ).run_id
            for month, tags in (
                ("january", {}),
                ("february", {}),
                ("january", {"fails": "yes"}),
                ("january", {}),
            )
        ]
        prune_runs(instance, settings)
        left = {record.dagster_run.run_id for record in instance.get_run_records()}
        assert left == {runs[1], runs[3]}
        assert instance.get_materialized_partitions(loaded.key) == {"january", "february"}


@pytest.mark.slow
def test_the_runs_of_a_dagster_that_is_not_the_homes_own_stay(settings: Settings, tmp_path: Path) -> None:
    with open_instance(settings.model_copy(update={"home": tmp_path / "shared"})) as instance:
        for _ in range(3):
            dg.materialize([loaded], partition_key="january", instance=instance)
        prune(instance, settings)
        assert instance.get_runs_count() == 3
    with open_instance(settings) as own:
        for _ in range(3):
            dg.materialize([loaded], partition_key="january", instance=own)
        prune(own, settings)
        assert own.get_runs_count() == 1


def aged(folder: Path, days: float) -> Path:
    folder.mkdir(parents=True)
    (folder / "held").write_text("something")
    os.utime(folder, (time.time() - days * DAY,) * 2)
    return folder


def test_folders_go_by_age_and_by_number_but_not_while_they_may_be_in_use(settings: Settings) -> None:
    runs = settings.dbt_target_dir / "runs"
    newest, recent = aged(runs / "a", 0), aged(runs / "b", 0.01)
    second, old = aged(runs / "c", 1), aged(runs / "d", 5)
    prune_folders(runs, settings)
    assert [path.exists() for path in (newest, recent, second, old)] == [True, True, False, False]
    prune_folders(runs, settings.model_copy(update={"keep_runs": 10}))
    assert newest.exists()


def test_temporary_folders_of_a_process_that_is_gone_are_removed(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = aged(tmp_path / f"user-engagement-{gone.pid}-abc", 1)
    fresh = aged(tmp_path / f"user-engagement-{gone.pid}-def", 0)
    ours = aged(tmp_path / f"user-engagement-{os.getpid()}-ghi", 9)
    other = aged(tmp_path / "something-else", 9)
    prune_scratch(tmp_path)
    assert [path.exists() for path in (left, fresh, ours, other)] == [False, True, True, True]
