"""The asset that publishes, on a warehouse with all marts."""

from __future__ import annotations

import shutil
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest

from user_engagement.assets.published import AT_RISK, REPORT, USERS, published_asset
from user_engagement.contracts.marts import MARTS, PER_USER_MARTS
from user_engagement.publishing.generations import Manifest, read_manifest, resolve
from user_engagement.settings import Settings
from user_engagement.warehouse import open_warehouse
from user_engagement_tests.support.published_company import settings_of


@pytest.fixture(scope="module")
def built(company_built: Path, company: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home of its own, as publishing writes into it."""
    home = tmp_path_factory.mktemp("publishing") / "home"
    shutil.copytree(company_built / "home", home)
    return settings_of(home, company)


def published(settings: Settings) -> tuple[Path, Manifest, dict[str, dg.MetadataValue]]:
    result = dg.materialize([published_asset(settings)])
    ((event,),) = (result.asset_materializations_for_node("published__generation"),)
    folder = resolve(settings.published_dir)
    return folder, read_manifest(folder), dict(event.metadata)


def test_it_publishes_aggregates_and_a_report_that_its_metadata_links(built: Settings) -> None:
    folder, manifest, metadata = published(built)
    assert set(manifest.tables) >= set(MARTS) - set(PER_USER_MARTS)
    assert not set(manifest.tables) & {*PER_USER_MARTS, AT_RISK}
    assert "user_id" not in {
        name for table in manifest.tables for name in pq.read_schema(folder / f"{table}.parquet").names
    }
    assert metadata["report"].value == (folder / REPORT).as_uri()
    assert "User engagement through" in (folder / REPORT).read_text()


def test_without_the_report_there_is_none(built: Settings) -> None:
    folder, _, metadata = published(built.model_copy(update={"publish_report": False}))
    assert "report" not in metadata
    assert not (folder / REPORT).exists()


def test_users_are_published_under_pseudonyms_when_that_is_set(built: Settings) -> None:
    settings = Settings(**{**built.model_dump(), "publish_users": True, "pseudonym_key": "k" * 32})
    folder, _, _ = published(settings)
    users = pq.read_table(folder / f"{USERS}.parquet")
    with open_warehouse(built).reader() as reader:
        ids = set(reader.mart(USERS).read_all()["user_id"].to_pylist())
    assert len(users) == len(ids) > 500
    pseudonyms = set(users["user_id"].to_pylist())
    assert not pseudonyms & ids
    at_risk = pq.read_table(folder / f"{AT_RISK}.parquet")
    assert len(at_risk) > 50
    assert set(at_risk["user_id"].to_pylist()) < pseudonyms, "one pseudonym per user in all tables"
    assert "user_number" not in at_risk.column_names


def test_annotations_with_a_mistake_do_not_hold_back_the_numbers(
    built: Settings, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "marks.csv"
    file.write_text("day,label\nsoon,Release\n")
    folder, _, _ = published(built.model_copy(update={"annotations": file}))
    assert (folder / REPORT).exists()
    assert "line 2: 'soon' is no day" in capfd.readouterr().err
