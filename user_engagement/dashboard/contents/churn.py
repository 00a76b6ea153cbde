"""Who leaves, when, and what that does to the number of active users."""

from __future__ import annotations

import pandas as pd

from user_engagement import formatting as fmt
from user_engagement.dashboard.blocks import Block, Choice, Focus, Page, Row
from user_engagement.dashboard.charts import Chart, Measure, curves, stacked, timeline
from user_engagement.dashboard.intervals import unless_clear
from user_engagement.dashboard.theme import Style, slots
from user_engagement.dashboard.view import View

ABOUT = {
    "declared": "Users who cancelled for the first time in the month, over those signed up before it and not yet gone.",
    "inactive": "Users who in the month had their first long stretch without activity (28 days unless set otherwise), "
    "over those signed up before it who had none yet.",
}


def page(view: View) -> Page:
    blocks: list[Block] = [Row((trend(view, "declared"), trend(view, "inactive")))]
    if len(view.groups) > 1:
        blocks.append(Focus())
    if view.generation.has("churn_reasons"):
        blocks += [Choice("grain"), Row((growth(view), reasons(view)))]
    else:
        blocks += [Choice("grain"), growth(view)]
    return Page(headline(view), (*blocks, Choice("churn"), survival(view)))


def trend(view: View, kind: str) -> Chart:
    rows = view.rows("churn_monthly", churn_kind=kind)
    return timeline(
        view.within(rows, "month", monthly=True),
        "month",
        Measure(
            "churn_rate",
            f"Churn rate, {kind}",
            "rate",
            "users_at_start",
            "{churned_users} of {users_at_start} users",
            has_interval=True,
        ),
        view.style,
        key=f"churn_{kind}",
        title=f"Monthly churn rate, {kind}",
        about=ABOUT[kind],
        earlier=view.earlier(rows, "month", monthly=True),
    )


def survival(view: View) -> Chart:
    kind = view.filters.option("churn")
    return curves(
        view.rows("survival", churn_kind=kind),
        "days_since_signup",
        Measure(
            "survival_rate",
            "Not yet churned",
            "rate",
            "at_risk",
            "{at_risk} at risk, {churned} churned that day",
            has_interval=True,
        ),
        view.style,
        key="survival",
        title=f"Survival until first churn, {kind}",
        about="Kaplan-Meier estimate of the share of users who have not churned so many days after signup; users not "
        "yet observed so long leave the base. All signups, whatever the days chosen.",
        unit="day",
        stepped=True,
    ).noted(view.ignored("days", "comparison"))


def growth(view: View) -> Chart:
    grain, theme = view.filters.option("grain"), view.theme
    rows = view.group_rows("growth_accounting", period_kind=grain)
    columns = {
        "new_users": ("New", theme.series[0], 1),
        "resurrected_users": ("Back after a pause", theme.series[2], 1),
        "churned_users": ("Gone since the period before", theme.series[1], -1),
    }
    return stacked(
        view.within(rows, "period_start", monthly=grain == "month"),
        "period_start",
        columns,
        view.style,
        key="growth_accounting",
        title=f"Growth accounting of {view.group}, by {grain}",
        about=f"Users active in the {grain} for the first time ever, or again after a pause (up), and active in the "
        f"{grain} before but not in this one (down). Their sum is the change of active users.",
        y_title="Users",
    ).noted(view.ignored("comparison"))


def reasons(view: View) -> Chart:
    """Why users cancelled, month by month, of the one group; each reason's share of the month's cancellations."""
    rows = view.group_rows("churn_reasons")
    whole = rows.groupby("month").churned_users.transform("sum")
    rows = rows.assign(
        share_of_month=rows.churned_users / whole.where(whole > 0),
        cancellations=whole,
        is_complete=rows.month + pd.offsets.MonthEnd(0) <= pd.Timestamp(view.generation.as_of),
    )
    last = rows[rows.is_complete].sort_values("month").groupby("churn_reason").share_of_month.last()
    order = last.rank(ascending=False, method="first")
    rows = rows.iloc[rows.churn_reason.map(order).argsort(kind="stable")]
    names = [str(name) for name in view.generation.frame("churn_reasons").churn_reason.unique()]
    return timeline(
        view.within(rows, "month", monthly=True),
        "month",
        Measure(
            "share_of_month",
            "Share of cancellations",
            "rate",
            "cancellations",
            "{churned_users} of {cancellations} cancellations",
        ),
        Style(view.theme, slots(names), view.marks),
        key="churn_reasons",
        title=f"Reasons given, {view.group}",
        about="Users who cancelled for the first time in the month, by the reason given, over all who did; unknown "
        "where none is.",
        by="churn_reason",
        earlier=view.earlier(rows, "month", monthly=True),
    )


def headline(view: View) -> str:
    """The last complete month, and the one that it is compared with."""
    told, when = [], ""
    for kind, verb in (("declared", f"of {view.users} cancelled"), ("inactive", "became inactive")):
        every = view.group_rows("churn_monthly", churn_kind=kind)
        every = every[every.is_complete & every.churn_rate.notna()]
        rows = view.within(every, "month", monthly=True)
        if rows.empty:
            continue
        last = rows.sort_values("month").iloc[-1]
        when = fmt.month(last.month)
        text = (
            f"{fmt.value(last.churn_rate, 'rate')} {verb} ({last.churned_users:,} of {last.users_at_start:,})"
        )
        for before in every[every.month == view.month_before(last.month)].itertuples():
            now, then = ((r.churned_users, r.users_at_start) for r in (last, before))
            rate = fmt.value(before.churn_rate, "rate")
            text += f", against {rate} in {fmt.month(before.month)}{unless_clear(now, then)}"
        told.append(text)
    return f"In {when} {'; '.join(told)}." if told else "No month in the days chosen is complete."
