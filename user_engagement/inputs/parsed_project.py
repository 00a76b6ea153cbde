"""The dbt project as dbt parses it, kept in the home: parsed again only if its content has changed.

A process of its own parses, so that a run can read its source meanwhile. Kept are `manifest.json` for Dagster and dbt's
own object, pickled.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from user_engagement.hashing import digest
from user_engagement.inputs import parser
from user_engagement.inputs.dbt_project import prepare_project, profile_variables, project_fingerprint
from user_engagement.inputs.parser import MANIFEST, PICKLED
from user_engagement.settings import Settings

# a parsed manifest has relation names, grants and references that depend on these
PARSED_VARIABLES = (
    "OWN_KPI_MODELS",
    "SNOWFLAKE_DATABASE",
    "SNOWFLAKE_SCHEMA_PREFIX",
    "SNOWFLAKE_READER_ROLE",
)
KEPT_PARSED = 3  # a process may still read what another one has just outdated
_pickles: dict[Path, bytes] = {}
_known: dict[str, Path] = {}  # folders of parsed projects by name, of whatever home
_started: dict[str, ParsingProcess] = {}


class ParsingProcess:
    """A process that parses a project into a temporary folder. It ends, and the folder goes, with this process."""

    def __init__(self, project_dir: Path, target: str, environment: Mapping[str, str]) -> None:
        self._project_dir = project_dir
        self._temporary = tempfile.TemporaryDirectory(prefix="user-engagement-parsing-")
        self._folder = Path(self._temporary.name)
        self._errors = self._folder / "errors.txt"
        command = [sys.executable, "-m", parser.__name__, str(project_dir), target, str(self._folder)]
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                command, env={**os.environ, **environment}, stdout=errors, stderr=errors
            )
        atexit.register(self._stop)

    def copy_to(self, folder: Path) -> None:
        """Waits for the process, and copies what is kept to a new folder.

        Raises:
            RuntimeError: dbt cannot parse the project; the message is dbt's.
        """
        # dbt is what this process runs next, and takes a while to import
        import dbt.cli.main  # noqa: F401

        try:
            if self._process.wait():
                reason = self._errors.read_text(errors="replace").strip()
                raise RuntimeError(f"dbt cannot parse {self._project_dir}: {reason}")
            folder.mkdir()
            for name in (MANIFEST, PICKLED):
                shutil.copyfile(self._folder / name, folder / name)
        finally:
            self._stop()

    def _stop(self) -> None:
        atexit.unregister(self._stop)
        self._process.kill()
        self._process.wait()
        self._temporary.cleanup()


def parse_ahead(settings: Settings) -> None:
    """Starts to parse the project of a home that has not parsed it yet; `parsed_project` waits for the result.

    Nothing is written into the home. A team's own models are copied there first, so they are not parsed ahead.
    """
    if settings.models is not None:
        return
    project_dir, target = prepare_project(settings), settings.warehouse
    environment = profile_variables(settings)
    name = _name(project_dir, target, environment)
    if not (name in _known or name in _started or (settings.dbt_target_dir / name).exists()):
        _started[name] = ParsingProcess(project_dir, target, environment)


def parsed_manifest(project_dir: Path, target: str, parse_dir: Path, environment: Mapping[str, str]) -> Any:
    """A parsed manifest of the project, for one invocation: dbt changes the manifest that it is given.

    Raises:
        RuntimeError: dbt cannot parse the project; the message is dbt's.
    """
    from dbt.contracts.graph.manifest import Manifest

    file = parsed_project(project_dir, target, parse_dir, environment) / PICKLED
    if file not in _pickles:
        _pickles[file] = file.read_bytes()
    return Manifest(**pickle.loads(_pickles[file]))


def parsed_project(project_dir: Path, target: str, parse_dir: Path, environment: Mapping[str, str]) -> Path:
    """The folder of the parsed project in ``parse_dir``.

    Where nothing has changed, dbt's own partial parsing takes 5 CPU seconds, and reading these files a few hundredths.
    A process that works in several homes parses once. Processes that parse at the same time do so each in a folder of
    its own, of which the first that is complete takes the place.

    Raises:
        RuntimeError: dbt cannot parse the project; the message is dbt's.
    """
    parsed = parse_dir / _name(project_dir, target, environment)
    if not parsed.exists():
        parse_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="parsing-", dir=parse_dir) as folder:
            draft = Path(folder, "parsed")
            if (known := _known.get(parsed.name)) and known.exists():
                shutil.copytree(known, draft)
            else:
                started = _started.pop(parsed.name, None)
                (started or ParsingProcess(project_dir, target, environment)).copy_to(draft)
            # refused where another process was first
            with contextlib.suppress(OSError):
                draft.rename(parsed)
        _remove_outdated(parse_dir)
    _known[parsed.name] = parsed
    return parsed


def _name(project_dir: Path, target: str, environment: Mapping[str, str]) -> str:
    """The name of the parsed project's folder, with a digest of everything that dbt parses."""
    variables = {**os.environ, **environment}
    inputs = [target, installed_version("dbt-core"), *(variables.get(name, "") for name in PARSED_VARIABLES)]
    return f"parsed-{digest([project_fingerprint(project_dir), str(project_dir), *inputs])}"


def _remove_outdated(parse_dir: Path) -> None:
    """Keeps the newest folders; also removes what a killed process left unfinished."""
    # another process may remove the same ones
    with contextlib.suppress(FileNotFoundError):
        folders = sorted(parse_dir.glob("pars*-*"), key=lambda folder: folder.stat().st_mtime)
        for outdated in folders[:-KEPT_PARSED]:
            shutil.rmtree(outdated, ignore_errors=True)
