"""The dbt project with a team's own models: a copy of both in the home.

dbt writes what it compiles under the path of a model within its project; a model elsewhere would be overwritten by it.
"""

import filecmp
import os
import shutil
from pathlib import Path

from user_engagement.errors import SettingsError
from user_engagement.hashing import content_hashes, digest
from user_engagement.settings import PREFIX, SHIPPED_DBT_PROJECT, Settings

OWN_MODELS = "own_models"
"""The second of the project's folders of models."""
KPIS = "intermediate/kpis"
"""The folder of models that measure KPIs, in the project and in a team's own models."""


def own_kpis(settings: Settings) -> list[str]:
    """The names of a team's own models that measure KPIs, in the order of their names."""
    return sorted(file.stem for file in (settings.models / KPIS).glob("*.sql")) if settings.models else []


def profile_variables(settings: Settings) -> dict[str, str]:
    """The variables that dbt reads: settings that did not come from the environment, and a team's KPIs."""
    return {
        f"{PREFIX}HOME": str(settings.home.absolute()),
        f"{PREFIX}MEMORY_LIMIT": settings.memory_limit,
        "OWN_KPI_MODELS": " ".join(own_kpis(settings)),
    }


def prepare_project(settings: Settings) -> Path:
    """The folder of the dbt project; where a team adds models, a copy that is brought up to date, file by file."""
    project = settings.dbt_project_dir
    if settings.models is None:
        return project
    _check_own_models(settings.models)
    wanted = {
        **_files(SHIPPED_DBT_PROJECT, Path()),
        **_files(settings.models.absolute(), Path(OWN_MODELS)),
    }
    for name in _files(project, Path()).keys() - wanted.keys():
        (project / name).unlink(missing_ok=True)
    for name, file in wanted.items():
        copy = project / name
        if not copy.exists() or not filecmp.cmp(file, copy, shallow=False):
            copy.parent.mkdir(parents=True, exist_ok=True)
            # another process may read at the same time: it finds the old file or the new one
            draft = copy.with_name(f".{copy.name}.{os.getpid()}")
            shutil.copyfile(file, draft)
            draft.replace(copy)
    return project


def project_fingerprint(project_dir: Path) -> str:
    """One digest of a dbt project: its content, whatever the times of its files."""
    return digest(content_hashes(project_dir / name for name in sorted(_files(project_dir, Path()))))


def _check_own_models(folder: Path) -> None:
    """Refuse what no asset would build, without a message: an empty folder, and a model outside the known folders."""
    variable = f"{PREFIX}MODELS={folder}"
    models = [name for name in _files(folder, Path()) if name.suffix == ".sql"]
    if not models:
        found = "has no model" if folder.is_dir() else "is not a folder"
        raise SettingsError(
            f"{variable} {found}. Name a folder with models, such as marts/revenue_retention.sql."
        )
    built = sorted(each.name for each in (SHIPPED_DBT_PROJECT / "models").iterdir() if each.is_dir())
    for name in models:
        if name.parts[0] not in built:
            raise SettingsError(
                f"{variable}: {name} would not be built. Move it to marts/, or to another of {', '.join(built)}."
            )


def _files(folder: Path, place: Path) -> dict[Path, Path]:
    """The files of a folder by their names below ``place``, without what dbt writes."""
    return {
        place / file.relative_to(folder): file
        for file in folder.rglob("*")
        if file.is_file()
        and not file.name.startswith(".")
        and not {"target", "logs"} & set(file.relative_to(folder).parts)
    }
