"""Do the insights find what was planted, and nothing where nothing was? Many simulated companies, a story each.

    benchmarks/insights.py [--seeds N] [--users N] [--stories NAME ...]

Prints three things: how often each story is found, how often there is a finding without any, and how long all insights
of the default world take.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import pandas as pd
from rich.console import Console

from user_engagement import simulation
from user_engagement.assets.insights import compute
from user_engagement.settings import load_settings
from user_engagement_tests.support.companies import (
    AS_OF,
    STORIES,
    THROUGH,
    TOLD,
    explained,
    findings,
    reduced,
    verdict,
)
from user_engagement_tests.support.worlds import at_home

console = Console(width=160, highlight=False)


def false_findings(tables: dict[str, pd.DataFrame]) -> dict[str, bool]:
    """Whether there is any, in a company without a story."""
    return {
        "decline_brief": len(findings(tables)) > 0,
        "segment_contrasts": bool(tables["segment_contrasts"].is_significant.any()),
        "change_points": bool(tables["change_points"].is_significant.any()),
    }


def time_of_all_insights(work: Path) -> float:
    """Seconds for all tables of the default world, from the rollups in the warehouse on."""
    home = work / "default"
    with at_home(home):
        source = work / "source"
        simulation.write_files(simulation.WorldConfig(), THROUGH, source)
        settings = load_settings(home=home, source="files", source_path=str(source), as_of=AS_OF)
        reduced(settings)
        started = time.perf_counter()
        compute(settings)
        return time.perf_counter() - started


def shares(title: str, rows: dict[str, list[dict[str, bool]]]) -> str:
    """A Markdown table: the share of the worlds for which each verdict holds."""
    names = list(next(iter(rows.values()))[0])
    lines = [f"| {title} | {' | '.join(names)} |", "| --- |" + " --- |" * len(names)]
    for story, verdicts in rows.items():
        counts = [sum(each[name] for each in verdicts) for name in names]
        lines.append(f"| {story} | " + " | ".join(f"{count} of {len(verdicts)}" for count in counts) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="What the insights find in simulated companies.")
    parser.add_argument("--seeds", type=int, default=20, help="companies per story")
    parser.add_argument("--at-once", type=int, default=10, help="companies per warehouse")
    parser.add_argument("--users", type=int, default=20_000, help="size of each company")
    parser.add_argument("--stories", nargs="*", choices=list(STORIES), default=list(STORIES))
    arguments = parser.parse_args()
    recovered: dict[str, list[dict[str, bool]]] = {}
    silent: dict[str, list[dict[str, bool]]] = {}
    batches = [
        range(first, min(first + arguments.at_once, arguments.seeds + 1))
        for first in range(1, arguments.seeds + 1, arguments.at_once)
    ]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name in arguments.stories:
            for batch in batches:
                for seed, tables in explained(work, dict.fromkeys(batch, STORIES[name]), arguments.users):
                    told = [story for story in TOLD if getattr(STORIES[name], story) is not None]
                    for story in told:
                        row = story if len(told) == 1 else f"{story}, beside the others"
                        recovered.setdefault(row, []).append(verdict(story, tables))
                    if not told:
                        silent.setdefault(name, []).append(false_findings(tables))
                    found = findings(tables)[["kind", "metric", "segment_value"]].to_numpy()
                    said = [" ".join(each) for each in found]
                    console.print(f"{name}, seed {seed}: {', '.join(said) or 'nothing'}")
        if recovered:
            console.print("\n" + shares("story", recovered))
        if silent:
            console.print("\n" + shares("no story: worlds with any finding in", silent))
        console.print(f"\nall insights on the default world: {time_of_all_insights(work):.1f} s")


if __name__ == "__main__":
    main()
