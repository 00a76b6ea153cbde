"""What stands behind a finding: its size and certainty, what follows from it, and what happened at the same time."""

from __future__ import annotations

from datetime import timedelta

import pandas as pd
from dateutil.relativedelta import relativedelta

from user_engagement import formatting as fmt
from user_engagement.dashboard.data import ALL, Generation
from user_engagement.dashboard.findings import Finding
from user_engagement.dashboard.view import View

NEAR = timedelta(days=14)
"""A release or campaign this near to a finding's first week coincides with it."""
REASON_ROSE, ENOUGH_REASONS = 1.5, 30
"""A churn reason coincides if its share grew by this factor, and so many gave it afterwards."""
SURENESS = (
    "All that could have become a finding is tested as one family: of companies without any cause, one in twenty gets "
    "a finding."
)


def evidence(view: View, finding: Finding) -> tuple[tuple[str, str], ...]:
    """How sure a finding is, and what coincides with it: term and text."""
    unit = finding.unit
    low, high = finding.interval
    rows = [("Metric", finding.name)]
    if finding.effect is not None:
        bounds = (
            f" ({fmt.signed(low, unit)} to {fmt.signed(high, unit)}, 95 % interval)"
            if low is not None
            else ""
        )
        rows.append(("Difference", f"{fmt.signed(finding.effect, unit)}{bounds}"))
    if finding.lost_active_days is not None:
        amount = fmt.signed(-finding.lost_active_days, "users")
        share = (
            f", {fmt.value(finding.share_of_gap, 'rate')} of the gap"
            if finding.share_of_gap is not None
            else ""
        )
        rows.append(("Active days a week", f"{amount}{share}"))
    if finding.users is not None:
        rows.append(("Users", f"{finding.users:,}"))
    if finding.q_value is not None:
        rows.append(("q-value", "below 0.001" if finding.q_value < 0.001 else f"{finding.q_value:.3f}"))
    if finding.also:
        rows.append(("Follows from it", ", ".join(fmt.label(name).lower() for name in finding.also)))
    rows += [("At the same time", text) for text in coincidences(view, finding)]
    return (
        *rows,
        ("Method", f"Compared with users of the same tenure and group before the change. {SURENESS}"),
    )


def coincidences(view: View, finding: Finding) -> list[str]:
    """What happened at the same time: releases and campaigns, and churn reasons whose share rose."""
    if finding.since is None:
        return []
    since = pd.Timestamp(finding.since)
    near = view.marks[(view.marks.day - since).abs() <= NEAR] if len(view.marks) else view.marks
    told = [f"{row.label} ({fmt.day(row.day)})" for row in near.itertuples()]
    if finding.metric == "churn" and view.generation.has("churn_reasons"):
        told += _risen_reasons(view.generation, finding)
    return told


def _risen_reasons(generation: Generation, finding: Finding) -> list[str]:
    """Reasons given at least half as often again in the three months from the change as in the three before."""
    assert finding.since is not None
    attribute, value = next(iter(finding.conditions.items()), (ALL, ALL))
    known = attribute == ALL or value in generation.segments.get(attribute, ())
    rows = generation.of_segment("churn_reasons", attribute if known else ALL)
    rows = rows[rows.segment_value == (value if known else ALL)]
    change = finding.since.replace(day=1)
    start, end = (pd.Timestamp(change + relativedelta(months=months)) for months in (-3, 3))
    before = rows[(rows.month < pd.Timestamp(change)) & (rows.month >= start)]
    after = rows[(rows.month >= pd.Timestamp(change)) & (rows.month < end)]
    counts = pd.DataFrame(
        {
            "before": before.groupby("churn_reason").churned_users.sum(),
            "after": after.groupby("churn_reason").churned_users.sum(),
        }
    ).fillna(0)
    shares = counts / counts.sum()
    risen = shares[(shares.after > REASON_ROSE * shares.before) & (counts.after >= ENOUGH_REASONS)]
    return [
        f"the reason '{fmt.label(str(name)).lower()}' rose from {fmt.value(row.before, 'rate')} to "
        f"{fmt.value(row.after, 'rate')} of cancellations in the three months from the change"
        for name, row in risen.iterrows()
    ]
