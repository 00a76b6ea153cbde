"""Who leaves, when, and what that does to the number of active users."""

from __future__ import annotations

from user_engagement import formatting as fmt
from user_engagement.dashboard.blocks import Block, Choice, Focus, Page, Row
from user_engagement.dashboard.charts import Chart, Measure, curves, stacked, timeline
from user_engagement.dashboard.view import View

ABOUT = {
    "declared": "Users who cancelled for the first time in the month, over those signed up before it and not yet gone.",
    "inactive": "Users who in the month had their first long stretch without activity (28 days unless set otherwise), "
    "over those signed up before it who had none yet.",
}


def page(view: View) -> Page:
    blocks: list[Block] = [
        Row((trend(view, "declared"), trend(view, "inactive"))),
        Choice("churn"),
        survival(view),
        Choice("grain"),
    ]
    if len(view.values) > 1:
        blocks.append(Focus())
    return Page(headline(view), (*blocks, growth(view)))


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
        x_title="Days since signup",
        stepped=True,
    )


def growth(view: View) -> Chart:
    grain, theme = view.filters.option("grain"), view.theme
    rows = view.focused("growth_accounting", period_kind=grain)
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
    )


def headline(view: View) -> str:
    told, when = [], ""
    for kind, verb in (("declared", f"of {view.group} cancelled"), ("inactive", "became inactive")):
        rows = view.within(view.focused("churn_monthly", churn_kind=kind), "month", monthly=True)
        rows = rows[rows.is_complete & rows.churn_rate.notna()]
        if len(rows):
            first, last = rows.iloc[0], rows.iloc[-1]
            when = fmt.month(last.month)
            told.append(
                f"{fmt.value(last.churn_rate, 'rate')} {verb} ({last.churned_users:,} of {last.users_at_start:,}; "
                f"{fmt.value(first.churn_rate, 'rate')} in {fmt.month(first.month)})"
            )
    if not told:
        return "No month in the days chosen is complete."
    return f"In {when}, {fmt.enumeration(told)}."
