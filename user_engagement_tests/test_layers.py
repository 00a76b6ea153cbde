"""The layers of docs/architecture.md: imports point down, and Dagster's private names stand in one place."""

from __future__ import annotations

import ast
import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from user_engagement.settings import PROJECT_ROOT

PACKAGE = PROJECT_ROOT / "user_engagement"
PRIVATE = ("dagster._", "dagster_shared", "dagster_dbt._", "dagster_duckdb._", "dagster_snowflake._")
INTERNALS = "dagster_internals.py"


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """import-linter on the package in a folder, with the contracts of the `pyproject.toml` beside it."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    program = str(Path(sys.executable).with_name("lint-imports"))
    return subprocess.run(
        [program, "--no-cache"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def imported_names(file: Path) -> Iterator[tuple[str, str]]:
    """Module and name of every ``from`` import of a file, and module and ``""`` of every plain one."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


def test_imports_point_down() -> None:
    found = lint_imports(PROJECT_ROOT)
    assert found.returncode == 0, found.stdout


def test_an_import_that_points_up_is_found(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "user_engagement", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT_ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "user_engagement" / "publishing" / "generations.py").open("a") as module:
        module.write("\nfrom user_engagement.pipeline import plan\n")
    found = lint_imports(tmp_path)
    assert found.returncode == 1
    assert "user_engagement.publishing.generations -> user_engagement.pipeline" in found.stdout


def test_only_one_module_imports_from_inside_dagster() -> None:
    found = [
        f"{file.relative_to(PACKAGE)}: {module}"
        for file in PACKAGE.rglob("*.py")
        if file.name != INTERNALS
        for module, _ in imported_names(file)
        if module.startswith(PRIVATE)
    ]
    assert not found, found


def test_every_private_name_of_dagster_is_still_where_it_was() -> None:
    gone = []
    for module, name in imported_names(PACKAGE / INTERNALS):
        try:
            found = hasattr(importlib.import_module(module), name)
        except ImportError:
            found = False
        if not found:
            gone.append(f"{module}.{name}")
    assert not gone, f"Dagster has moved {', '.join(gone)}; find them anew, and change {INTERNALS}"


def test_test_modules_import_no_other_test_module() -> None:
    """What several tests need stands in `support`."""
    found = [
        f"{file.name}: {module}"
        for file in (PROJECT_ROOT / "user_engagement_tests").rglob("*.py")
        for module, _ in imported_names(file)
        if f"{module}.".startswith("user_engagement_tests.")
        and not f"{module}.".startswith("user_engagement_tests.support.")
    ]
    assert not found, found
