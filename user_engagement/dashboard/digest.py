"""The Overview as a message of a few lines: headline, figures, causes, and links to what they show."""

from __future__ import annotations

import hashlib
import json

from user_engagement.dashboard.blocks import Cause, Kpi, Story
from user_engagement.dashboard.contents import overview
from user_engagement.dashboard.data import Generation
from user_engagement.dashboard.view import View


def digest(generation: Generation, address: str) -> str:
    """The Overview of all users as Markdown; links lead to the dashboard at ``address``."""
    page = overview.page(View(generation))
    story = page.blocks[0]
    assert isinstance(story, Story), "the first block of the Overview"
    base = address.rstrip("/")
    lines = [f"**{page.headline}**", page.lead, "", f"{story.period}:", *map(_figure, story.kpis)]
    if story.causes:
        lines += ["", f"**{story.causes_title}**", *(_cause(cause, base) for cause in story.causes)]
    if story.risk:
        groups = ", ".join(f"{group.label} {group.rate}" for group in story.risk.groups)
        lines += ["", f"{story.risk.title}{'; of ' if groups else ''}{groups}"]
    return "\n".join([*lines, "", f"[Open the dashboard]({base}/)"])


def essence(generation: Generation) -> str:
    """What has to change for a digest to be worth sending: headline, figures of complete months, and causes."""
    page = overview.page(View(generation))
    story = page.blocks[0]
    assert isinstance(story, Story), "the first block of the Overview"
    figures = [[kpi.key, kpi.value, kpi.change] for kpi in story.kpis]
    causes = [[cause.title, cause.link] for cause in story.causes]
    said = json.dumps([page.headline, story.period, figures, causes])
    return hashlib.sha256(said.encode()).hexdigest()


def _figure(kpi: Kpi) -> str:
    label = f"{kpi.label} ({kpi.when})" if kpi.when else kpi.label
    return f"- {label}: {kpi.value}, {kpi.change}"


def _cause(cause: Cause, base: str) -> str:
    step = f" {cause.next_step}" if cause.next_step else ""
    return f"{cause.rank}. {cause.title}: {cause.facts}.{step} [{cause.link_label}]({base}/{cause.link})"
