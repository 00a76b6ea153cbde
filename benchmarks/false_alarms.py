"""Whether sound data raise a warning: `user-engagement run` on simulated companies of many seeds.

    python benchmarks/false_alarms.py [--seeds 20] [--first 1] [--users 2000] [--path FOLDER ...]

Every company has the dirt of real sources (repeated and late deliveries, orphans, events before signup, absurd
durations), which is accounted for and raises no doubt. ``--path`` runs folders of files instead. Prints each warning,
and ends with exit code 1 if there is any.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

from rich.console import Console

from user_engagement.publishing.generations import read_manifest, resolve
from user_engagement.simulation import WorldConfig, write_files

THROUGH = date(2026, 11, 21)
BIN = Path(sys.executable).parent
SETTINGS = {"USER_ENGAGEMENT_INSIGHTS": "false", "USER_ENGAGEMENT_PUBLISH_REPORT": "false"}

console = Console(highlight=False)


def warnings_of(source: Path, home: Path) -> list[str]:
    """The doubts that a run of a folder of files publishes, and the checks that it reports as failed."""
    command = [str(BIN / "user-engagement"), "run", "--source", "files", "--path", str(source)]
    done = subprocess.run(
        command,
        env={**os.environ, **SETTINGS, "USER_ENGAGEMENT_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return [f"exit code {done.returncode}: {done.stderr.strip()}"]
    failed = [line for line in done.stderr.splitlines() if "check failed" in line]
    return [*failed, *(doubt.text for doubt in read_manifest(resolve(home / "published")).doubts)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Warnings of sound data.")
    parser.add_argument("--seeds", type=int, default=20, help="number of companies")
    parser.add_argument("--first", type=int, default=1, help="seed of the first company")
    parser.add_argument("--users", type=int, default=2_000, help="size of each company")
    parser.add_argument("--path", type=Path, nargs="*", default=[], help="folders of files to run instead")
    arguments = parser.parse_args()
    found = 0
    companies = arguments.path or [f"seed {arguments.first + nth}" for nth in range(arguments.seeds)]
    for number, company in enumerate(companies, start=arguments.first):
        with tempfile.TemporaryDirectory() as folder:
            source = Path(company) if arguments.path else Path(folder, "source")
            if not arguments.path:
                write_files(WorldConfig(users=arguments.users, seed=number), THROUGH, source)
            warnings = warnings_of(source.resolve(), Path(folder, "home"))
        console.print(f"{company}: {len(warnings) or 'no'} warnings", *warnings, sep="\n  ")
        found += len(warnings)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
