"""Who stays: cohorts, and retention by period and day since signup."""

from __future__ import annotations

import numpy as np
from plotly.colors import sample_colorscale

from user_engagement import formatting as fmt
from user_engagement.dashboard.blocks import Block, Choice, Focus, Page, Row
from user_engagement.dashboard.charts import Chart, Measure, cohorts, curves
from user_engagement.dashboard.data import ALL, Frame
from user_engagement.dashboard.filters import OPTIONS
from user_engagement.dashboard.intervals import wilson
from user_engagement.dashboard.view import View

PERIOD = {"relative_month": "month", "calendar_month": "calendar month", "days_30": "30-day period"}
SHARE = "{retained_users} of {eligible_users} users"
MOST_COHORTS = 7


def page(view: View) -> Page:
    blocks: list[Block] = [Choice("period")]
    if len(view.values) > 1:
        blocks.append(Focus())
    blocks += [
        heatmap(view),
        Row((by_segment(view), by_cohort(view))),
        Choice("day_n"),
        day_n(view),
    ]
    return Page(headline(view), tuple(blocks))


def chosen_cohorts(view: View, focused: bool) -> Frame:
    """Cells of the cohorts that signed up in the days chosen."""
    find = view.focused if focused else view.rows
    rows = find("cohort_retention", period_kind=view.filters.option("period"))
    return view.within(rows, "signup_month", monthly=True)


def pooled(rows: Frame) -> Frame:
    """Retention over all cohorts: a user belongs to one, so their counts may be added up."""
    keys = ["segment_name", "segment_value", "period_kind", "period_number"]
    counts = rows.groupby(keys, sort=False)[["eligible_users", "retained_users"]].sum().reset_index()
    counts = counts[counts.eligible_users > 0]
    low, high = wilson(counts.retained_users, counts.eligible_users)
    return counts.assign(
        retention_rate=counts.retained_users / counts.eligible_users,
        ci_low=low,
        ci_high=high,
    )


def heatmap(view: View) -> Chart:
    kind = view.filters.option("period")
    return cohorts(
        chosen_cohorts(view, focused=True),
        view.style,
        key="cohorts",
        title=f"Cohorts of {view.group}, per cent retained",
        about=f"Users by month of signup who were active in each {PERIOD[kind]} after it. A cell has a colour once "
        "every member has completed the period; … marks the others.",
        period=PERIOD[kind],
    )


def by_segment(view: View) -> Chart:
    kind = view.filters.option("period")
    return curves(
        pooled(chosen_cohorts(view, focused=False)),
        "period_number",
        Measure("retention_rate", "Retained", "rate", "eligible_users", SHARE, has_interval=True),
        view.style,
        key="retention_by_segment",
        title="Retention curve" if view.filters.segment == ALL else "Retention curves by segment",
        about=f"Users active in a {PERIOD[kind]}, over those of the cohorts shown who have completed it.",
        x_title=f"{fmt.label(PERIOD[kind])}s since signup",
    )


def by_cohort(view: View) -> Chart:
    """The newest cohorts, from pale (older) to strong (newer)."""
    kind = view.filters.option("period")
    rows = chosen_cohorts(view, focused=True)
    months = sorted(rows[rows.is_complete].signup_month.unique())
    months = months[:: max(1, -(-len(months) // MOST_COHORTS))]
    rows = rows[rows.signup_month.isin(months) & rows.is_complete]
    rows = rows.assign(cohort=[fmt.month(m) for m in rows.signup_month])
    names = list(rows.cohort.drop_duplicates())
    strength = np.linspace(0.45, 1, max(len(names), 2))
    ramp = [str(colour) for colour in sample_colorscale(list(view.theme.scale), list(strength))]
    return curves(
        rows,
        "period_number",
        Measure("retention_rate", "Retained", "rate", "eligible_users", SHARE),
        view.style,
        key="retention_by_cohort",
        title=f"Retention by cohort of {view.group}",
        about="The same by month of signup, complete cells only; the stronger the colour, the newer the cohort.",
        x_title=f"{fmt.label(PERIOD[kind])}s since signup",
        by="cohort",
        colours=dict(zip(names, ramp, strict=False)),
    )


def day_n(view: View) -> Chart:
    kind = view.filters.option("day_n")
    when = OPTIONS["day_n"].values[kind]
    return curves(
        view.rows("day_n_retention", retention_kind=kind),
        "day_number",
        Measure("retention_rate", "Retained", "rate", "eligible_users", SHARE, has_interval=True),
        view.style,
        key="day_n",
        title="Day-N retention",
        about=f"Users active {when[:1].lower()}{when[1:]} after signup, over those whose days are wholly observed. All "
        "signups, whatever the days chosen.",
        x_title="Days since signup (N)",
    )


def headline(view: View) -> str:
    kind = view.filters.option("period")
    rows = pooled(chosen_cohorts(view, focused=True)).set_index("period_number")
    told = [
        f"{fmt.value(rows.retention_rate[k], 'rate')} were active in {PERIOD[kind]} {k} after signup "
        f"({rows.retained_users[k]:,} of {rows.eligible_users[k]:,})"
        for k in (1, 6)
        if k in rows.index
    ]
    start, end = view.days
    who = f"{view.group[:1].upper()}{view.group[1:]}"
    signed = f"who signed up from {fmt.month(start)} to {fmt.month(end)}"
    if not told:
        return f"{who} {signed}: nobody has completed a {PERIOD[kind]} yet."
    return f"{who} {signed}: {fmt.enumeration(told)}."
