"""Every command that README and docs show is executed by a test: here, or where `ELSEWHERE` says.

Here a page's commands run in their order, in one folder, on the small company. Words in capitals stand for what a
reader puts there.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from user_engagement.settings import PROJECT_ROOT
from user_engagement_tests.support.browsing import CHROMIUM
from user_engagement_tests.support.company import THROUGH

BIN = Path(sys.executable).parent
PAGES = ("README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in sorted(PROJECT_ROOT.glob("docs/*.md"))))
PROGRAMS = "make|user-engagement|run|pip|chromium|docker|dagster-webserver|dagster-daemon|dbt|dg|cp|mkdir"
COMMAND = re.compile(rf"(?:\.venv/bin/)?((?:{PROGRAMS})\b[^#`]*)")
SUITE = "is how this suite is run"
CHECKOUT = "test_package.py::test_the_installed_package_runs_without_a_checkout"
EXAMPLES = "test_examples.py::test_dg_finds_the_definitions_of_the_checkout"
DBT = (
    "test_examples.py::test_dbt_by_hand_builds_in_the_home_of_the_checkout_with_the_segments_of_the_pipeline"
)
DEV = "cli/test_dev_server.py::test_the_dashboard_is_served_too"
PROCESSES = "instance/test_killed_processes.py::own_processes"
CONTAINERS = (
    "test_deployment.py::test_every_service_of_the_compose_file_becomes_healthy_in_read_only_sandboxes"
)
DOCTOR = "snowflake/test_doctor.py::test_the_command_says_all_of_it"
COMPANY = "cli/test_cli.py::test_a_simulated_company_is_created_advanced_and_told_the_truth_about"
INSTALLS = "test_documented_commands.py::test_what_the_pages_install_with_pip_exists"
ELSEWHERE = {
    "make run": "test_documented_commands.py::test_make_run_goes_from_a_company_to_causes",
    "make dev": DEV,
    "make docs": "test_docs_site.py::site",
    "make install": SUITE,
    "make lint": SUITE,
    "make lock": "test_package.py::test_both_locks_hold_the_same_versions_and_the_run_time_one_no_tools",
    "make screenshots": "support/screenshots.py::main",
    "make test": SUITE,
    "make test-all": SUITE,
    "make test-fast": SUITE,
    "make test-long": SUITE,
    "user-engagement dev": DEV,
    "user-engagement export": "test_examples.py::"
    "test_a_mart_of_a_team_is_built_tested_published_exported_and_shown",
    "user-engagement dashboard": "support/serving.py::dashboard",
    "user-engagement forget USER_ID...": "test_forgetting.py::"
    "test_a_forgotten_user_is_in_no_file_of_the_home_does_not_come_back_and_leaves_marts_as_without_them",
    "user-engagement doctor": DOCTOR,
    "user-engagement doctor --full": "snowflake/test_doctor.py::"
    "test_the_full_check_compares_both_warehouses_and_drops_its_schemas",
    "user-engagement simulate [--users 20000] [--through 2026-06-30] [--seed 7] [--format snowplow]": COMPANY,
    "user-engagement simulate truth FOLDER": COMPANY,
    "user-engagement simulate emit http://127.0.0.1:9090 [--day 2026-06-30] [--limit 1000]": "cli/test_cli.py::"
    "test_a_day_of_the_simulated_company_is_sent_to_a_collector",
    "pip install user-engagement": CHECKOUT,
    'pip install "user-engagement[snowflake]"': INSTALLS,
    "pip install 'user-engagement[snowflake]'": INSTALLS,
    "pip install 'Authlib>=1.3.2'": INSTALLS,
    "dg list defs": EXAMPLES,
    "dg check defs": EXAMPLES,
    "dbt build": DBT,
    "docker compose -f deploy/compose.yaml up --build --detach": CONTAINERS,
    "docker compose -f deploy/compose.yaml exec code deploy/entrypoint.sh user-engagement kpis": CONTAINERS,
    "dagster-webserver -w /srv/user_engagement/workspace.yaml -h 127.0.0.1 -p 3000": PROCESSES,
    "dagster-daemon run -w /srv/user_engagement/workspace.yaml": PROCESSES,
    'mkdir -p "$DAGSTER_HOME" && cp dagster.yaml "$DAGSTER_HOME/"': PROCESSES,
    'cp deploy/dagster-postgresql.yaml "$DAGSTER_HOME/dagster.yaml"': PROCESSES,
}


def commands(page: str) -> list[str]:
    """The commands of a page: lines of blocks without a language, and code within sentences."""
    text = (PROJECT_ROOT / page).read_text()
    # the shell block of operations.md is run as it is, see support/containers.py
    text = re.sub(r"^ *```\w+\n.*?^ *```$", "", text, flags=re.DOTALL | re.MULTILINE)
    lines = re.findall(r"^ {4}(\S.*)$|(?<!`)`([^`]+)`(?!`)", text, re.MULTILINE)
    found = []
    for line in (block or " ".join(inline.split()) for block, inline in lines):
        match = COMMAND.match(line)
        if match and " " in match[1].strip():
            command = " ".join(match[1].split())
            found.append(f"user-engagement {command}" if command.startswith("run ") else command)
    return list(dict.fromkeys(found))


def here(page: str) -> list[str]:
    return [command for command in commands(page) if command not in ELSEWHERE]


class Folder:
    """Where a reader works: with a home of its own, and the small company as the source."""

    def __init__(self, folder: Path, company: Path) -> None:
        self.folder = folder
        self.words = {
            "FOLDER": str(company),
            "OUT": "out",
            "M": "2025-03",
            "2025-06-30": str(THROUGH),
            "report.html": "published/current/report.html",
        }
        self.environment = {
            **os.environ,
            "USER_ENGAGEMENT_HOME": str(folder),
            "USER_ENGAGEMENT_SOURCE": "files",
            "USER_ENGAGEMENT_SOURCE_PATH": str(company),
            "USER_ENGAGEMENT_AS_OF": str(THROUGH),
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        }

    def execute(self, command: str, **variables: str) -> str:
        words = [self.words.get(word, word) for word in shlex.split(re.sub(r"[\[\]]", "", command))]
        if words[0] == "chromium":
            words[1:1] = ["--no-sandbox", "--disable-gpu"]
        done = subprocess.run(
            words,
            cwd=self.folder,
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout


def test_every_command_of_the_pages_is_known() -> None:
    """A command in a new place is executed here, unless it is said where else."""
    shown = {command for page in PAGES for command in commands(page)}
    assert set(ELSEWHERE) <= shown, "commands that no page shows any more"
    programs = {command.split()[0] for command in shown - set(ELSEWHERE)}
    assert programs <= {"user-engagement", "chromium", "dbt"}


def test_the_tests_that_execute_the_other_commands_exist() -> None:
    for command, place in ELSEWHERE.items():
        if place != SUITE:
            file, _, name = place.partition("::")
            text = (PROJECT_ROOT / "user_engagement_tests" / file).read_text()
            assert re.search(rf"^def {name}\(", text, re.MULTILINE), command


def test_what_the_pages_install_with_pip_exists() -> None:
    """The extras; of Authlib, the test of the login needs the real one."""
    project = (PROJECT_ROOT / "pyproject.toml").read_text()
    extras = {
        extra
        for page in PAGES
        for c in commands(page)
        for extra in re.findall(r"user-engagement\[(\w+)\]", c)
    }
    assert extras
    for extra in extras:
        assert re.search(rf"^{extra} = \[", project, re.MULTILINE), extra
    assert "Authlib>=1.3.2" in (PROJECT_ROOT / "user_engagement" / "dashboard" / "server.py").read_text()


@pytest.mark.long
@pytest.mark.slow
def test_the_commands_of_the_readme_work(company: Path, tmp_path: Path) -> None:
    """But those that rebuild, load once more or need insights, which the exhaustive tests execute."""
    folder = Folder(tmp_path, company)
    executed = {}
    for command in here("README.md"):
        if not re.search(r"--(rebuild|full|start)|(run|why)$", command):
            executed[command.split()[1]] = folder.execute(command)
    assert set(executed) == {"run", "kpis", "digest", "export", "--help"}
    assert executed["kpis"] in executed["run"]
    assert "[Open the dashboard](http://127.0.0.1:8501/)" in executed["digest"]
    assert (tmp_path / "out" / "churn_monthly.parquet").exists()


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if here(page)])
def test_the_commands_of_each_page_work(page: str, company: Path, tmp_path: Path) -> None:
    assert CHROMIUM, "apt-get install chromium"
    folder = Folder(tmp_path, company)
    extras = {"USER_ENGAGEMENT_INSIGHTS": "true", "USER_ENGAGEMENT_PUBLISH_REPORT": "true"}
    folder.execute("user-engagement run", **extras)
    for command in here(page):
        folder.execute(command, **extras)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_make_run_goes_from_a_company_to_causes(tmp_path: Path) -> None:
    command = ["make", "--old-file=.venv/run", "run", f"BIN={BIN}"]
    unset = {name: value for name, value in os.environ.items() if not name.startswith("USER_ENGAGEMENT_")}
    done = subprocess.run(
        command,
        cwd=PROJECT_ROOT,
        env={**unset, "USER_ENGAGEMENT_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    _, _, causes = done.stdout.partition("Why engagement changed")
    assert "1. New users are less active: " in causes
