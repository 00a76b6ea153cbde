"""The program that parses the dbt project; it imports dbt alone, since a first run waits for it."""

from __future__ import annotations

import atexit
import pickle
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from user_engagement.interpreter import end_at_once, long_lived

PICKLED = "manifest.pickle"
MANIFEST = "manifest.json"


def main(project_dir: str, target: str, folder: str) -> None:
    """Parses the project, and leaves `manifest.json` and the pickle in ``folder``."""
    codes: list[int] = []
    atexit.register(end_at_once, codes)
    with long_lived():
        _parse(project_dir, target, folder)
    codes.append(0)


def _parse(project_dir: str, target: str, folder: str) -> None:
    from dbt.cli.main import dbtRunner

    command = ["--log-level", "none", "parse", "--project-dir", project_dir, "--profiles-dir", project_dir]
    command += ["--target", target, "--target-path", folder, "--log-path", folder]
    result = dbtRunner().invoke(command)
    if not result.success:
        sys.exit(str(result.exception))
    manifest: Any = result.result
    # field by field: pickled as a whole, a manifest of dbt 1.11 has its lookups in each other's places
    content = {f.name: getattr(manifest, f.name) for f in fields(manifest) if not f.name.startswith("_")}
    Path(folder, PICKLED).write_bytes(pickle.dumps(content))


if __name__ == "__main__":
    main(*sys.argv[1:])
