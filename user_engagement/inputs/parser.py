"""The program that parses the dbt project; it imports dbt alone, since a first run waits for it."""

from __future__ import annotations

import gc
import pickle
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

PICKLED = "manifest.pickle"
MANIFEST = "manifest.json"


def main(project_dir: str, target: str, folder: str) -> None:
    """Parses the project, and leaves `manifest.json` and the pickle in ``folder``."""
    gc.disable()  # the process ends before it needs the memory
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
