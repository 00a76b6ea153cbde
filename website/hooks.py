"""What MkDocs does beside its own work: the pages stand where the repository has them, and diagrams become pictures."""

from __future__ import annotations

import os
import re
from pathlib import Path

from merm import render_diagram
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
DIAGRAM = re.compile(r"```mermaid\n(.*?)```", re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of the repository, and dbt's own site, which `make docs` has made before."""
    for path in [ROOT / name for name in PAGES] + [p for p in sorted(ROOT.glob("docs/**/*")) if p.is_file()]:
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    files.append(File.generated(config, "dbt.html", abs_src_path=os.environ["DBT_SITE"]))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Draws Mermaid diagrams when the site is built, since readers' browsers would load Mermaid from outside."""
    return DIAGRAM.sub(lambda found: _picture(found[1]), markdown)


def _picture(diagram: str) -> str:
    svg = re.sub(r"\n\s*", " ", render_diagram(diagram))
    return f'<div style="background: white; overflow-x: auto">{svg}</div>\n'
