"""Which churn reason grew beside a finding: a coincidence, not a cause."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from user_engagement.insights.findings import Finding, Story
from user_engagement.insights.names import CHURN
from user_engagement.insights.panel import Panel
from user_engagement.insights.statistics import newcombe

LEAST_CHURNS = 30
"""With a reason, in each state: shares of fewer say little."""
UNKNOWN = "unknown"
COMPARED_WEEKS = 26


def with_reasons(story: Story, panel: Panel, reasons: pd.DataFrame) -> Story:
    """The story with the reason whose share rose most in each group that leaves more, if any rose beyond chance.

    Args:
        reasons: one row per group_cell, week_start and churn_reason, with users; cells outside the panel do not count.
    """
    known = reasons[(reasons.churn_reason != UNKNOWN) & reasons.group_cell.isin(panel.leaf_of.index)]
    if known.empty:
        return story
    return replace(story, findings=tuple(with_reason(each, panel, known) for each in story.findings))


def with_reason(finding: Finding, panel: Panel, reasons: pd.DataFrame) -> Finding:
    leaves_more = CHURN in (finding.metric, *finding.also)
    if not leaves_more or not finding.is_adverse or finding.since is None or finding.kind == "measurement":
        return finding
    inside = panel.members(finding.conditions)[panel.leaf_of.reindex(reasons.group_cell).to_numpy(int)]
    week = pd.to_datetime(reasons.week_start)
    near = (week >= finding.since - pd.Timedelta(weeks=COMPARED_WEEKS)) & inside
    late = week >= finding.since
    before, after = (reasons[near & when].groupby("churn_reason").users.sum() for when in (~late, late))
    names = before.index.union(after.index)
    counts = [each.reindex(names, fill_value=0) for each in (after, before)]
    if min(count.sum() for count in counts) < LEAST_CHURNS:
        return finding
    _, low, _ = newcombe(counts[0], counts[0].sum(), counts[1], counts[1].sum())
    # as many reasons, as many chances: the share must have risen by more than a tenth beyond chance
    best = int(np.argmax(low))
    return replace(finding, churn_reason=str(names[best])) if low[best] > 0.05 else finding
