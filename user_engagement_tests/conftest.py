"""Fixtures shared by the tests: a small simulated company as files, and pipelines run on it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from dagster._core.test_utils import environ

from user_engagement import simulation
from user_engagement.interpreter import collect_less_often
from user_engagement.settings import PREFIX, Settings, get_settings, load_settings
from user_engagement_tests.support.company import EXTRAS, THROUGH

STARTING = frozenset({"command", "emulator", "instance", "marts", "postgresql", "server"})
"""Fixtures that run a pipeline, a server or an instance of Dagster: tests that use them are slow."""


def pytest_configure() -> None:
    """No setting of the developer's shell reaches a test, or a process that it starts."""
    for name in [name for name in os.environ if name.startswith((PREFIX, "SNOWFLAKE_"))]:
        del os.environ[name]
    os.environ.update(EXTRAS)
    collect_less_often()
    # how long an example takes depends on what else the machine does
    hypothesis.settings.register_profile("untimed", deadline=None)
    hypothesis.settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the tests that are marked so, and no others")
    parser.addoption("--exhaustive", action="store_true", help="run all tests")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that mostly wait for processes come first, and what is quick last, so that all workers end together."""
    if not config.getoption("--exhaustive"):
        left_out = [item for item in items if not _is_asked_for(item, bool(config.getoption("--long")))]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]
    for item in items:
        if not STARTING.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker("slow")
    items.sort(key=lambda item: (not item.get_closest_marker("waits"), not item.get_closest_marker("slow")))


def _is_asked_for(item: pytest.Item, long: bool) -> bool:
    return not item.get_closest_marker("exhaustive") and bool(item.get_closest_marker("long")) == long


@pytest.fixture(autouse=True)
def _environment_as_before() -> Iterator[None]:
    """No test gets what another leaves in the environment, as the command line does when it runs in this process."""
    before = dict(os.environ)
    yield
    if os.environ != before:
        os.environ.clear()
        os.environ.update(before)
        get_settings.cache_clear()


@pytest.fixture
def with_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    """Insights and report as they are by default."""
    for name in EXTRAS:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def company(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of a simulated company: about 700 users who signed up from January to May 2025, dirt included."""
    folder = tmp_path_factory.mktemp("company")
    simulation.write_files(simulation.WorldConfig(users=4_000), THROUGH, folder)
    return folder


@pytest.fixture
def settings_for(tmp_path: Path, company: Path) -> Iterator[Callable[..., Settings]]:
    """Makes settings for a home of their own; dbt's profile finds that home through the environment."""
    home = tmp_path / "home"

    def make(**overrides: object) -> Settings:
        given = {"home": home, "source": "files", "source_path": str(company), "as_of": THROUGH, **overrides}
        return load_settings(**given)

    with environ({"USER_ENGAGEMENT_HOME": str(home)}):
        yield make


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs ``user-engagement`` as a user does, with a home of its own."""

    def run(*args: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "USER_ENGAGEMENT_HOME": str(tmp_path / "home"),
            "COLUMNS": "200",
            **variables,
        }
        program = Path(sys.executable).with_name("user-engagement")
        return subprocess.run(
            [str(program), *args], env=environment, capture_output=True, text=True, timeout=300, check=False
        )

    return run
