"""dbt inside the process: what dagster-dbt makes of it is what it makes of a dbt process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import psutil
import pytest
from dagster_dbt.errors import DagsterDbtCliRuntimeError

from user_engagement import pipeline
from user_engagement.assets.dbt import dbt_resource, load_manifest
from user_engagement.assets.dbt_process import DbtThread, InProcessDbt
from user_engagement.inputs import parsed_project
from user_engagement.settings import Settings, load_settings

pytestmark = pytest.mark.slow

PROJECT = {
    "dbt_project.yml": "name: tiny\nversion: '1.0'\nconfig-version: 2\nprofile: tiny\n",
    "profiles.yml": """
tiny:
  target: duckdb
  outputs:
    duckdb: {type: duckdb, path: "{{ env_var('TINY_FILE') }}", threads: 1}
""",
    "models/good.sql": "select 1 as one union all select 2",
    "models/child.sql": "select * from {{ ref('good') }}",
    "models/broken.sql": "select no_such_column from {{ ref('good') }}",
    "models/slow.sql": """
{{ config(materialized='table') }}
select count(*) as n from range(10000000) as a(x), range(10000000) as b(y) where hash(x, y) % 7 = 3
""",
    "models/schema.yml": """
models:
  - name: good
    columns:
      - name: one
        data_tests: [not_null, {accepted_values: {arguments: {values: [1]}, name: only_ones}}]
""",
}


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InProcessDbt:
    """A dbt project of its own, with a good, a broken and an endless model and a test that fails."""
    for name, text in PROJECT.items():
        file = tmp_path / "project" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.setenv("TINY_FILE", str(tmp_path / "tiny.duckdb"))
    monkeypatch.setenv("DBT_TARGET_PATH", str(tmp_path / "targets"))
    project = str(tmp_path / "project")
    return InProcessDbt(
        project_dir=project,
        profiles_dir=project,
        target="duckdb",
        dbt_executable=str(Path(sys.executable).with_name("dbt")),
        parse_dir=str(tmp_path / "parse"),
    )


def rows(file: Path, table: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(file)) as connection:
        return connection.execute(f"select * from {table}").fetchall()


def test_a_selection_builds_its_models_and_no_others(tiny: InProcessDbt, tmp_path: Path) -> None:
    invocation = tiny.cli(["run", "--select", "good child"]).wait()
    assert invocation.is_successful()
    built = [r["unique_id"] for r in invocation.get_artifact("run_results.json")["results"]]
    assert sorted(built) == ["model.tiny.child", "model.tiny.good"]
    assert rows(tmp_path / "tiny.duckdb", "child") == [(1,), (2,)]


@pytest.mark.long
def test_a_project_is_parsed_again_only_when_its_content_has_changed(
    tiny: InProcessDbt, tmp_path: Path
) -> None:
    def parsed() -> list[Path]:
        return sorted((tmp_path / "parse").glob("*"), key=lambda folder: folder.stat().st_mtime)

    model = tmp_path / "project" / "models" / "good.sql"
    assert tiny.cli(["run", "--select", "good"]).is_successful()
    [first] = parsed()
    model.touch()
    (first / "manifest.json").write_text("kept")
    assert tiny.cli(["run", "--select", "good"]).is_successful()
    assert (parsed(), (first / "manifest.json").read_text()) == ([first], "kept")
    model.write_text("select 5 as one")
    assert tiny.cli(["run", "--select", "good"]).is_successful()
    assert len(parsed()) == 2
    assert parsed()[0] == first
    assert rows(tmp_path / "tiny.duckdb", "good") == [(5,)]


@pytest.mark.long
def test_a_project_is_parsed_outside_the_home_before_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parsed_project, "_known", {})
    settings = load_settings(home=tmp_path / "home")
    parsed_project.parse_ahead(settings)
    [started] = parsed_project._started
    assert not settings.home.exists()
    parsed_project.parse_ahead(settings)
    assert list(parsed_project._started) == [started]
    assert load_manifest(settings)["nodes"]
    assert not parsed_project._started
    assert [folder.name for folder in settings.dbt_target_dir.iterdir()] == [started]
    parsed_project.parse_ahead(settings)
    assert not parsed_project._started


def test_a_project_that_dbt_cannot_parse_is_refused_in_dbts_words(tiny: InProcessDbt, tmp_path: Path) -> None:
    (tmp_path / "project" / "models" / "child.sql").write_text("select * from {{ ref('nowhere') }}")
    with pytest.raises(RuntimeError, match=r"dbt cannot parse .*/project: (?s:.*)nowhere"):
        tiny.cli(["run", "--select", "good"])
    assert not list((tmp_path / "parse").glob("*"))


def test_a_parse_that_nobody_waits_for_ends_with_its_process(tiny: InProcessDbt, tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    script = (
        "import psutil; from pathlib import Path\n"
        "from user_engagement.inputs.parsed_project import ParsingProcess\n"
        f"ParsingProcess(Path({tiny.project_dir!r}), 'duckdb', {{}})\n"
        "print(*(child.pid for child in psutil.Process().children()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "TMPDIR": str(tmp_path / "temporary")},
    )
    [child] = done.stdout.split()
    assert not psutil.pid_exists(int(child))
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.exhaustive
def test_processes_that_parse_at_the_same_time_all_read_a_complete_manifest(
    tiny: InProcessDbt, tmp_path: Path
) -> None:
    """A code server and a run start together in a new home."""
    where = f"Path({tiny.project_dir!r}), 'duckdb', Path({tiny.parse_dir!r}), {{}}"
    script = (
        "import json; from pathlib import Path; from user_engagement.inputs.parsed_project import parsed_project\n"
        f"folder = parsed_project({where})\n"
        "print(len(json.loads((folder / 'manifest.json').read_text())['nodes']))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    printed = [process.communicate()[0].split() for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert printed == [printed[0]] * 3
    [_] = (tmp_path / "parse").glob("*")


def test_a_failing_test_and_a_failing_model_are_told_apart_from_success(tiny: InProcessDbt) -> None:
    tested = tiny.cli(["build", "--select", "good"], raise_on_error=False)
    assert not tested.is_successful()
    assert "only_ones" in str(tested.get_error())
    broken = tiny.cli(["run", "--select", "good broken"], raise_on_error=False)
    assert not broken.is_successful()
    assert "no_such_column" in str(broken.get_error())
    with pytest.raises(DagsterDbtCliRuntimeError, match="no_such_column"):
        list(tiny.cli(["run", "--select", "broken"]).stream_raw_events())


def test_wrong_arguments_are_an_error_and_not_silence(tiny: InProcessDbt) -> None:
    with pytest.raises(DagsterDbtCliRuntimeError):
        tiny.cli(["run", "--no-such-option"]).wait()


@pytest.mark.long
def test_the_warehouse_is_free_for_another_process_afterwards(tiny: InProcessDbt, tmp_path: Path) -> None:
    for arguments in (["run", "--select", "good"], ["run", "--select", "broken"]):
        tiny.cli(arguments, raise_on_error=False).is_successful()
        file = str(tmp_path / "tiny.duckdb")
        script = f"import duckdb; duckdb.connect({file!r}).execute('create or replace table t as select 1')"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_two_invocations_at_once_run_one_after_the_other(tiny: InProcessDbt) -> None:
    both = [tiny.cli(["run", "--select", "good"]), tiny.cli(["run", "--select", "good child"])]
    assert all(invocation.is_successful() for invocation in both)


def test_an_interrupt_cancels_the_running_query_and_frees_the_warehouse(
    tiny: InProcessDbt, tmp_path: Path
) -> None:
    invocation = tiny.cli(["run", "--select", "slow"], raise_on_error=False)
    process = invocation.process
    assert isinstance(process, DbtThread)
    started = threading.Event()
    seen: list[bytes] = []

    def read() -> None:
        for line in process:
            seen.append(line)
            if b"START" in line:
                started.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert started.wait(60)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) not in (None, 0)
    reader.join(10)
    assert not reader.is_alive()
    with duckdb.connect(str(tmp_path / "tiny.duckdb")) as connection:
        assert connection.execute("select 1").fetchall() == [(1,)]
    assert tiny.cli(["run", "--select", "good"]).is_successful(), "dbt works on after an interrupt"


@pytest.mark.exhaustive
def test_the_stock_resource_is_a_setting_away(settings_for: Callable[..., Settings]) -> None:
    settings = settings_for(dbt_in_process=False)
    assert not isinstance(dbt_resource(settings), InProcessDbt)
    pipeline.run(settings, pipeline.plan(settings))
    assert settings.published_dir.exists()


@pytest.mark.long
def test_dbts_unit_tests_pass(settings_for: Callable[..., Settings], tmp_path: Path) -> None:
    settings = settings_for()
    pipeline.run(settings, pipeline.plan(settings))
    invocation = dbt_resource(settings).cli(
        ["test", "--select", "test_type:unit"], target_path=tmp_path / "target"
    )
    assert invocation.wait().is_successful()
    results = invocation.get_artifact("run_results.json")["results"]
    tested = [result for result in results if result["unique_id"].startswith("unit_test.")]
    assert len(tested) >= 8
    assert {result["status"] for result in tested} == {"pass"}
