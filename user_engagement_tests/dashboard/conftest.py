"""A generation published from the simulated company, and the app without a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from streamlit.testing.v1 import AppTest

from user_engagement.contracts.marts import MARTS, PER_USER_MARTS
from user_engagement.dashboard.data import Generation, open_generation
from user_engagement.dashboard.server import APP
from user_engagement.settings import PREFIX, get_settings
from user_engagement_tests.support.company import THROUGH
from user_engagement_tests.support.explained import causes, explained
from user_engagement_tests.support.published_company import build
from user_engagement_tests.support.serving import publish_marts
from user_engagement_tests.support.sharing import made_once


@pytest.fixture(scope="session")
def company_built(tmp_path_factory: pytest.TempPathFactory, worker_id: str, company: Path) -> Path:
    """A folder with home, marts and insights."""
    return made_once(tmp_path_factory, worker_id, "built", lambda folder: build(folder, company))


@pytest.fixture(scope="session")
def marts(company_built: Path) -> dict[str, pa.Table]:
    """The company's aggregated marts."""
    return {
        name: pq.read_table(company_built / "marts" / f"{name}.parquet")
        for name in MARTS
        if name not in PER_USER_MARTS
    }


@pytest.fixture(scope="session")
def insights(company_built: Path) -> dict[str, pa.Table]:
    """The company's insights, those of single users left out."""
    return {file.stem: pq.read_table(file) for file in sorted((company_built / "insights").iterdir())}


@pytest.fixture(scope="session")
def home(
    tmp_path_factory: pytest.TempPathFactory, marts: dict[str, pa.Table], insights: dict[str, pa.Table]
) -> Path:
    """A home whose published generation holds both, with four causes found."""
    folder = tmp_path_factory.mktemp("published") / "home"
    publish_marts(folder / "published", {**marts, **insights, **explained(causes(THROUGH), THROUGH)})
    return folder


@pytest.fixture(scope="session")
def generation(home: Path) -> Generation:
    return open_generation(home / "published")


@pytest.fixture
def app(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., AppTest]]:
    """Runs the app without a browser: at an address' query, with settings of the environment."""

    def run(query: dict[str, str | list[str]] | None = None, **variables: str) -> AppTest:
        for name, value in {"HOME": str(home), **variables}.items():
            monkeypatch.setenv(PREFIX + name, value)
        get_settings.cache_clear()
        test = AppTest.from_file(str(APP), default_timeout=60)
        for name, value in (query or {}).items():
            test.query_params[name] = value
        return test.run()

    yield run
    get_settings.cache_clear()
