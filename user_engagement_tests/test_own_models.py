from __future__ import annotations

import re
from pathlib import Path

import pytest

from user_engagement.assets.own_marts import own_marts
from user_engagement.errors import SettingsError
from user_engagement.inputs.dbt_project import prepare_project
from user_engagement.settings import load_settings


def put_model(folder: Path, name: str) -> None:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("select 1 as one")


def test_the_project_with_a_teams_models_is_a_copy_that_holds_both(tmp_path: Path) -> None:
    put_model(tmp_path / "models", "marts/revenue.sql")
    project = prepare_project(load_settings(home=tmp_path / "home", models=tmp_path / "models"))
    assert (project / "own_models" / "marts" / "revenue.sql").exists()
    assert (project / "models" / "marts" / "churn_monthly.sql").exists()


def test_a_folder_of_models_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    """A typo in the variable left the team's marts out, and the run succeeded."""
    settings = load_settings(home=tmp_path / "home", models=tmp_path / "modles")
    message = f"USER_ENGAGEMENT_MODELS={tmp_path / 'modles'} is not a folder."
    with pytest.raises(SettingsError, match=re.escape(message)):
        prepare_project(settings)


def test_a_folder_without_models_is_refused(tmp_path: Path) -> None:
    put_model(tmp_path / "models", "marts/revenue.yml")
    settings = load_settings(home=tmp_path / "home", models=tmp_path / "models")
    with pytest.raises(SettingsError, match="has no model"):
        prepare_project(settings)


@pytest.mark.parametrize("name", ["revenue.sql", "mart/revenue.sql"])
def test_a_model_that_no_asset_would_build_is_refused(tmp_path: Path, name: str) -> None:
    put_model(tmp_path / "team" / "models", name)
    settings = load_settings(home=tmp_path / "home", models=tmp_path / "team" / "models")
    with pytest.raises(SettingsError, match=f"{re.escape(name)} would not be built. Move it to marts/"):
        prepare_project(settings)


def test_a_mart_of_a_team_that_is_stored_with_the_tables_of_users_is_not_published() -> None:
    def model(name: str, schema: str) -> dict[str, object]:
        return {
            "resource_type": "model",
            "fqn": ["user_engagement_dbt", "marts", name],
            "name": name,
            "description": f"About {name}.",
            "config": {"schema": schema, "materialized": "table"},
        }

    nodes = {
        "a": model("revenue", "marts"),
        "b": model("payers", "user_level"),
        "c": model("survival", "marts"),
    }
    assert own_marts({"nodes": nodes}) == {"revenue": "About revenue."}
