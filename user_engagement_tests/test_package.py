"""The package as a user installs it: a wheel, in an environment without a checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from user_engagement.settings import PREFIX, PROJECT_ROOT

BIN = Path(sys.executable).parent
RUN_TIME, ALL = (PROJECT_ROOT / name for name in ("requirements-run.lock", "requirements.lock"))

pytestmark = [pytest.mark.slow, pytest.mark.long]


def pinned(lock: Path) -> set[str]:
    """The packages of a lock with their versions, and the Pythons and systems that they are for."""
    return {
        line.removesuffix(" \\") for line in lock.read_text().splitlines() if re.match(r"[a-z0-9]\S*==", line)
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [BIN / "uv", "build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([*command, "--out-dir", folder, PROJECT_ROOT], check=True, timeout=120)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_what_a_run_needs_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    shipped = [name.removeprefix("user_engagement/shipped/") for name in names]
    assert {"dagster.yaml", "workspace.yaml", "user_engagement_dbt/dbt_project.yml"} <= set(shipped)
    models = {str(p.relative_to(PROJECT_ROOT)) for p in PROJECT_ROOT.glob("user_engagement_dbt/**/*.sql")}
    assert {p for p in models if "/target/" not in p} <= set(shipped)
    assert "user_engagement/dashboard/icon.svg" in names
    assert not [name for name in names if name.startswith("user_engagement_tests")]


def test_both_locks_hold_the_same_versions_and_the_run_time_one_no_tools() -> None:
    assert pinned(RUN_TIME) < pinned(ALL)
    tools = {line.partition("==")[0] for line in pinned(ALL) - pinned(RUN_TIME)}
    assert {"pytest", "ruff", "pyright", "playwright", "fakesnow"} <= tools
    assert "http://" not in RUN_TIME.read_text() + ALL.read_text()


def test_the_installed_package_runs_without_a_checkout(wheel: Path, company: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment |= {"COLUMNS": "200", "USER_ENGAGEMENT_INSIGHTS": "false"}
    virtual = tmp_path / "environment"
    for command in (
        ["venv", "--python", sys.executable, virtual],
        ["pip", "install", "--python", virtual / "bin" / "python", "-r", RUN_TIME],
        ["pip", "install", "--python", virtual / "bin" / "python", "--no-deps", wheel],
    ):
        subprocess.run([BIN / "uv", "--quiet", *command], check=True, timeout=300, env=environment)

    def user_engagement(*arguments: str) -> str:
        done = subprocess.run(
            [virtual / "bin" / "user-engagement", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert user_engagement("--version").strip() == "0.1.0"
    shown = user_engagement("run", "--source", "files", "--path", str(company), "--as-of", "2025-05-20")
    assert "KPIs as of" in shown
    assert (tmp_path / ".user_engagement" / "warehouse.duckdb").exists()
    assert user_engagement("kpis") in shown
    assert "cohort_retention.csv" in user_engagement("export", "marts", "--format", "csv")
