"""Who stays: cohorts, and retention by period and day since signup."""

from __future__ import annotations

import numpy as np
from plotly.colors import sample_colorscale

from user_engagement import formatting as fmt
from user_engagement.dashboard.blocks import Block, Choice, Focus, Page, Row
from user_engagement.dashboard.charts import Chart, Measure, cohorts, curves
from user_engagement.dashboard.data import ALL, GROUP, Frame, Generation
from user_engagement.dashboard.filters import OPTIONS
from user_engagement.dashboard.intervals import unless_clear, wilson
from user_engagement.dashboard.view import View

PERIOD = {"relative_month": "month", "calendar_month": "calendar month", "days_30": "30-day period"}
SHARE = "{retained_users} of {eligible_users} users"
RETAINED = Measure("retention_rate", "Retained", "rate", "eligible_users", SHARE, has_interval=True)
MOST_COHORTS = 7
FIRST_WEEK, MOST_BEHAVIOURS = "first_week_retention", 3


def page(view: View) -> Page:
    choices: list[Block] = [Choice("period")]
    if len(view.groups) > 1:
        choices.append(Focus())
    blocks: list[Block] = [
        *choices,
        heatmap(view),
        Row((by_segment(view), by_cohort(view))),
    ]
    if first_week := by_first_week(view):
        blocks.append(first_week)
    blocks += [Choice("day_n"), day_n(view)]
    return Page(headline(view), tuple(blocks))


def chosen_cohorts(view: View, one_group: bool) -> Frame:
    """Cells of the cohorts that signed up in the days chosen."""
    find = view.group_rows if one_group else view.rows
    rows = find("cohort_retention", period_kind=view.filters.option("period"))
    return view.within(rows, "signup_month", monthly=True)


def pooled(rows: Frame) -> Frame:
    """Retention over all cohorts: a user belongs to one, so their counts may be added up."""
    keys = ["segment_name", "segment_value", "period_kind", "period_number"]
    keys += [GROUP] if GROUP in rows else []
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
        chosen_cohorts(view, one_group=True),
        view.style,
        key="cohorts",
        title=f"Cohorts of {view.group}, per cent retained",
        about=f"Users by month of signup who were active in each {PERIOD[kind]} after it. A cell has a colour once "
        "every member has completed the period; … marks the others.",
        period=PERIOD[kind],
        highest=highest_retention(view.generation, kind),
    ).noted(view.ignored("comparison"))


def highest_retention(generation: Generation, kind: str) -> float:
    """The highest share that any cohort of all users kept after its first period: the end of every heatmap's scale."""
    rows = generation.of_segment("cohort_retention", ALL)
    later = rows[
        (rows.period_kind == kind) & rows.is_complete & (rows.period_number > 0)
    ].retention_rate.dropna()
    return float(later.max()) if len(later) and later.max() > 0 else 1.0


def by_segment(view: View) -> Chart:
    kind = view.filters.option("period")
    return curves(
        pooled(chosen_cohorts(view, one_group=False)),
        "period_number",
        RETAINED,
        view.style,
        key="retention_by_segment",
        title="Retention curves by group" if view.is_segmented else "Retention curve",
        about=f"Users active in a {PERIOD[kind]}, over those of the cohorts shown who have completed it.",
        unit=PERIOD[kind],
        earlier=earlier_cohorts(view),
    )


def earlier_cohorts(view: View) -> tuple[str, Frame] | None:
    """Retention of the cohorts that the comparison names, if one is chosen."""
    rows = view.rows("cohort_retention", period_kind=view.filters.option("period"))
    found = view.earlier(rows, "signup_month", monthly=True)
    return (found[0], pooled(found[1])) if found else None


def by_cohort(view: View) -> Chart:
    """The newest cohorts, from pale (older) to strong (newer)."""
    kind = view.filters.option("period")
    rows = chosen_cohorts(view, one_group=True)
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
        unit=PERIOD[kind],
        by="cohort",
        colours=dict(zip(names, ramp, strict=False)),
    ).noted(view.ignored("comparison"))


def by_first_week(view: View) -> Chart | None:
    """Users by what they did in their first week: the behaviours that those who stay show most, and all users."""
    if not (view.generation.has(FIRST_WEEK) and view.generation.has("first_week")):
        return None
    rows = view.generation.frame(FIRST_WEEK)
    strongest = view.generation.frame("first_week").nsmallest(MOST_BEHAVIOURS, "rank").behaviour
    if strongest.empty:
        return None
    first, *others = [str(name) for name in strongest]
    who = {(name, True): _short(name) for name in (first, *others)}
    who |= {(first, False): f"Not {_short(first)}", (ALL, True): "All users"}
    rows = rows.assign(who=[who.get(pair) for pair in zip(rows.behaviour, rows.showed_it, strict=True)])
    rows = rows[rows.who.notna()]
    names = sorted(who.values(), key=list(who.values()).index)
    return curves(
        rows.iloc[rows.who.map(names.index).argsort(kind="stable")],
        "week_number",
        RETAINED,
        view.style,
        key="retention_by_first_week",
        title="Retention by what users did in their first week",
        about="Users active in a week since signup, over those who have completed it, by what they did on days 0 to 6. "
        "An association: keen users do more and stay longer, so it is no proof that doing it keeps users. All signups, "
        "whatever the days chosen.",
        unit="week",
        by="who",
        colours={**dict(zip(names, view.theme.series, strict=False)), "All users": view.theme.muted},
    ).noted(view.ignored("days", "segments", "comparison"))


def _short(behaviour: str) -> str:
    return fmt.label(behaviour.replace(" or more", "+"))


def day_n(view: View) -> Chart:
    kind = view.filters.option("day_n")
    when = OPTIONS["day_n"].values[kind]
    return curves(
        view.rows("day_n_retention", retention_kind=kind),
        "day_number",
        RETAINED,
        view.style,
        key="day_n",
        title="Day-N retention",
        about=f"Users active {when[:1].lower()}{when[1:]} after signup, over those whose days are wholly observed. All "
        "signups, whatever the days chosen.",
        unit="day",
    ).noted(view.ignored("days", "comparison"))


def headline(view: View) -> str:
    """The newest cohort that has completed its first period, and the one that it is compared with."""
    kind = view.filters.option("period")
    rows = chosen_cohorts(view, one_group=True)
    first = rows[(rows.period_number == 1) & rows.is_complete & (rows.eligible_users > 0)]
    who = view.users
    if first.empty:
        return f"No month's {who.removeprefix('all ')} have all completed a {PERIOD[kind]} yet."
    last = first.sort_values("signup_month").iloc[-1]
    whom = who if who == "all users" else f"the {who}"
    text = (
        f"Of {whom} who signed up in {fmt.month(last.signup_month)}, {fmt.value(last.retention_rate, 'rate')} were "
        f"active in {PERIOD[kind]} 1 ({last.retained_users:,} of {last.eligible_users:,})"
    )
    every = view.group_rows("cohort_retention", period_kind=kind, period_number=1)
    before = every[(every.signup_month == view.month_before(last.signup_month)) & every.is_complete]
    if before.empty:
        return f"{text}."
    earlier = before.iloc[0]
    counts = [(r.retained_users, r.eligible_users) for r in (last, earlier)]
    return (
        f"{text}, against {fmt.value(earlier.retention_rate, 'rate')} of {fmt.month(earlier.signup_month)}"
        f"{unless_clear(*counts)}."
    )
