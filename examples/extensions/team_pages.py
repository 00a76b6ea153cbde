"""A page of a team's own in the dashboard, from the team's own mart."""

import pandas as pd

from user_engagement import formatting as fmt
from user_engagement.dashboard.blocks import Page
from user_engagement.dashboard.charts import bars
from user_engagement.dashboard.view import View


def interactions(view: View) -> Page:
    """What users did in the last complete month, in the team's groups."""
    if not view.generation.has("interaction_groups"):
        return Page("The mart interaction_groups is not part of what was published.")
    months = view.generation.frame("interaction_groups")
    over = months[months.month + pd.offsets.MonthEnd() <= pd.Timestamp(view.generation.as_of)]
    latest = over[over.month == over.month.max()].sort_values("sessions", ascending=False)
    share = latest.sessions / latest.sessions.sum()
    words = [
        f"{fmt.label(name)}: {fmt.value(part, 'rate')}"
        for name, part in zip(latest.interaction_group, share, strict=True)
    ]
    chart = bars(
        latest,
        "sessions",
        "interaction_group",
        view.style,
        key="interaction_groups",
        title="Sessions by group",
        about="Sessions of all users in the last complete month.",
        x_title="Sessions",
        texts=[f"{sessions:,}" for sessions in latest.sessions],
        summary=f"{'; '.join(words)}.",
        table=months,
    )
    return Page(f"{words[0]} of all sessions", (chart,))
