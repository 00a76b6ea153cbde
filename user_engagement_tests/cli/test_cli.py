"""The command line as its users meet it: subprocesses, exit codes, what is printed and what is written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest

from user_engagement import pipeline
from user_engagement.contracts.marts import MARTS
from user_engagement.settings import Settings
from user_engagement_tests.support.company import EXTRAS, THROUGH

Command = Callable[..., subprocess.CompletedProcess[str]]


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


@pytest.mark.long
@pytest.mark.slow
def test_a_run_ends_with_the_kpis_and_an_export_writes_every_mart(
    command: Command, company: Path, tmp_path: Path
) -> None:
    done = command("run", "--source", "files", "--path", str(company), "--as-of", "2025-05-20")
    assert done.returncode == 0, done.stderr
    assert "KPIs as of 20 May 2025" in done.stdout
    assert "Retention after 1 month" in done.stdout
    assert "raw/user_engagement" in done.stderr, "progress goes to stderr"
    assert "BetaWarning" not in done.stderr
    assert "Deprecat" not in done.stderr
    again = command("kpis")
    assert "Churn rate (declared)" in again.stdout
    for kind in ("parquet", "csv"):
        exported = command("export", str(tmp_path / kind), "--format", kind)
        assert exported.returncode == 0, exported.stderr
        assert sorted(p.name for p in (tmp_path / kind).iterdir()) == sorted(
            f"{name}.{kind}" for name in MARTS
        )
    parquet = pd.read_parquet(tmp_path / "parquet" / "churn_monthly.parquet")
    csv = pd.read_csv(tmp_path / "csv" / "churn_monthly.csv")
    assert len(parquet) == len(csv)
    assert (parquet.users_at_start.to_numpy() == csv.users_at_start.to_numpy()).all()


@pytest.mark.slow
def test_a_bad_file_is_refused_before_anything_is_written(
    command: Command, company: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "user_signups.csv").write_text("user_id,signup_date,product_type\n1,2025-01-01,pro\n")
    (folder / "user_engagement.csv").write_text(
        "user_id,engagement_date,session_duration,interaction_type\n1,2025-01-01,12,view\n1,2025-01-02,long,view\n"
    )
    done = command("run", "--source", "files", "--path", str(folder))
    refused(done, "user_engagement.csv", "line 3", "session_duration", "'long'")
    assert not (tmp_path / "home" / "warehouse.duckdb").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--source", "oracle"], ["USER_ENGAGEMENT_SOURCE", "oracle", "files"]),
        (["run", "--as-of", "yesterday"], ["USER_ENGAGEMENT_AS_OF", "yesterday"]),
        (["run", "--start", "2025-13"], ["USER_ENGAGEMENT_START", "2025-13"]),
        (["run", "--start", "2025-05", "--end", "2025-04"], ["START", "END"]),
        (["run", "--path", "no/such/folder", "--source", "files"], ["no/such/folder", "no such folder"]),
        (["kpis"], ["published yet", "user-engagement run"]),
        (["export", "out"], ["no warehouse yet", "user-engagement run"]),
        (["run", "--no-such-option"], ["No such option"]),
    ],
)
def test_a_mistake_is_one_clear_message_and_exit_code_2(
    command: Command, arguments: list[str], words: list[str]
) -> None:
    refused(command(*arguments), *words)


@pytest.mark.slow
def test_months_outside_the_source_are_refused(command: Command, company: Path) -> None:
    done = command(
        "run", "--source", "files", "--path", str(company), "--start", "2024-01", "--end", "2024-02"
    )
    refused(done, "nothing to load", "2025-01 to 2025-05")


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_segment_that_the_signups_lack_fails_by_name(command: Command, company: Path) -> None:
    arguments = ("run", "--source", "files", "--path", str(company), "--as-of", "2025-05-20")
    done = command(*arguments, USER_ENGAGEMENT_SEGMENTS="country,plan")
    assert done.returncode in (1, 2)
    assert "plan" in done.stderr
    assert "country" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.long
@pytest.mark.slow
def test_a_simulated_company_is_created_advanced_and_told_the_truth_about(
    command: Command, tmp_path: Path
) -> None:
    assert "no simulated company yet" in command("simulate", "truth", str(tmp_path)).stderr
    made = command("simulate", "--users", "300", "--through", "2025-02-10")
    assert made.returncode == 0, made.stderr
    assert "through 2025-02-10" in made.stdout
    refused(command("simulate", "--through", "2025-01-10"), "2025-02-10", "forward")
    refused(command("simulate", "--users", "400", "--through", "2025-03-01"), "users=300", "400")
    told = command("simulate", "truth", str(tmp_path / "truth"))
    assert told.returncode == 0, told.stderr
    assert (tmp_path / "truth" / "stories.json").exists()
    refused(command("run", "--advance", "--path", str(tmp_path)), "--advance", "the source is files")
    loaded = command("run", "--advance", "--as-of", "2025-03-05")
    assert loaded.returncode == 0, loaded.stderr
    assert "Loaded 2025-01 to 2025-03" in loaded.stdout


@pytest.mark.long
@pytest.mark.slow
def test_a_day_of_the_simulated_company_is_sent_to_a_collector(command: Command) -> None:
    taken: list[dict[str, str]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["data"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    command("simulate", "--users", "300", "--through", "2025-02-10")
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = command("simulate", "emit", f"http://127.0.0.1:{server.server_address[1]}", "--limit", "5")
        server.shutdown()
    assert done.returncode == 0, done.stderr
    assert "5 events sent" in done.stdout
    assert len(taken) == 5


@pytest.mark.long
@pytest.mark.slow
def test_a_run_with_nothing_new_and_commands_that_show_or_copy_marts_import_neither_dagster_nor_dbt(
    settings_for: Callable[..., Settings],
) -> None:
    """They took five seconds to show a table that lies in a file."""
    settings = settings_for()
    pipeline.run(settings, pipeline.plan(settings))
    program = (
        "import sys\n"
        "from user_engagement.cli import main\n"
        "sys.argv[1:] = sys.argv[1].split()\n"
        "try:\n    main()\nfinally:\n    print(sorted({'dagster', 'dbt', 'dagster_dbt'} & set(sys.modules)))\n"
    )
    run = f"run --path {settings.source_path} --as-of {THROUGH}"
    for command in ("kpis", f"export {settings.home / 'marts'}", run):
        done = subprocess.run(
            [sys.executable, "-c", program, command],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=os.environ | EXTRAS,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "[]"
    assert "Nothing new" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("pauses", [pytest.param((4,), marks=pytest.mark.exhaustive), (10, 0.2)])
def test_ctrl_c_ends_a_run_with_130_and_one_line_however_often(
    pauses: tuple[float, ...], company: Path, tmp_path: Path
) -> None:
    """dbt's parser took the interrupt for an error of the project, and a second one hit the cleaning up."""
    program = [str(Path(sys.executable).with_name("user-engagement")), "run", "--path", str(company)]
    environment = {**os.environ, "USER_ENGAGEMENT_HOME": str(tmp_path / "home")}
    process = subprocess.Popen(
        program,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # shells let what they start in the background ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    for pause in pauses:
        time.sleep(pause)
        process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "cannot parse" not in said
