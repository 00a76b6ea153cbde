"""How those who come use the product: how often, how long, for what."""

from __future__ import annotations

import pandas as pd

from user_engagement import formatting as fmt
from user_engagement.dashboard.blocks import Choice, Page, Row
from user_engagement.dashboard.charts import Chart, Measure, timeline
from user_engagement.dashboard.data import ALL, GROUP, Frame, grouping
from user_engagement.dashboard.filters import OPTIONS
from user_engagement.dashboard.theme import Style, slots
from user_engagement.dashboard.view import View

ACTIVE_ABOUT = {
    "mau": "Distinct users active in the rolling window (28 days unless set otherwise) that ends on the day.",
    "wau": "Distinct users active in the 7 days that end on the day.",
    "dau": "Distinct users active on the day; the line is the mean of 7 days.",
}
STATISTICS = {
    "median_session_seconds": "Median",
    "average_session_seconds": "Mean",
    "p90_session_seconds": "90th percentile",
}


def page(view: View) -> Page:
    days = frequency(view, "active_days_per_user", "days", "Active days per user", "Active days in the month")
    sessions = frequency(view, "sessions_per_user", "sessions", "Sessions per user", "Sessions in the month")
    return Page(
        headline(view),
        (
            Row((days, sessions)),
            Choice("active"),
            Row((active_users_chart(view), signups_chart(view))),
            Row((duration(view), mix(view))),
            Row((stickiness(view), gaps(view))),
            duration_by_interaction(view),
        ),
    )


def active_users_chart(view: View) -> Chart:
    name = view.filters.option("active")
    rows = view.rows("active_users_daily")
    if name == "dau":
        rows = weekly_mean(rows, "dau")
    label = OPTIONS["active"].values[name].split(" ")[0]
    measure = Measure("dau_7_days" if name == "dau" else name, f"{label} active users", "users")
    return timeline(
        view.within(rows, "activity_date"),
        "activity_date",
        measure,
        view.style,
        key="active_users",
        title=f"{label} active users",
        about=ACTIVE_ABOUT[name],
        earlier=view.earlier(rows, "activity_date"),
    )


def signup_rows(view: View) -> Frame:
    """Signups of each month, and what the month is known to the end of."""
    cohorts = view.rows("cohort_retention", period_kind="calendar_month", period_number=0)
    ended = cohorts.signup_month + pd.offsets.MonthEnd(0) <= pd.Timestamp(view.generation.as_of)
    columns = ["segment_name", "segment_value", "signup_month", "cohort_size"]
    columns += [GROUP] if GROUP in cohorts else []
    return cohorts[columns].assign(is_complete=ended)


def signups_chart(view: View) -> Chart:
    rows = signup_rows(view)
    return timeline(
        view.within(rows, "signup_month", monthly=True),
        "signup_month",
        Measure("cohort_size", "New users", "users"),
        view.style,
        key="signups",
        title="Signups by month",
        about="Users by the month of their first signup.",
        earlier=view.earlier(rows, "signup_month", monthly=True),
    )


def frequency(view: View, column: str, unit: str, title: str, what: str) -> Chart:
    rows = view.rows("engagement_frequency")
    rows = per_30_days(rows)
    measure = Measure(f"{column}_per_30_days", title, unit, "active_users", "{active_users} active users")
    return timeline(
        view.within(rows, "month", monthly=True),
        "month",
        measure,
        view.style,
        key=column,
        title=title,
        about=f"{what} per user active in it and 30 days: a month of 31 days is not higher for that.",
        earlier=view.earlier(rows, "month", monthly=True),
    )


def per_30_days(rows: Frame) -> Frame:
    """Adds what a month's users did per 30 days, since a month of 31 days holds more."""
    scale = 30 / rows.month.dt.days_in_month
    names = ("active_days_per_user", "sessions_per_user")
    return rows.assign(**{f"{name}_per_30_days": rows[name] * scale for name in names})


def gaps(view: View) -> Chart:
    rows = view.rows("engagement_frequency")
    measure = Measure(
        "median_days_between_active_days",
        "Days between active days",
        "days",
        "active_users",
        "{active_users} active users",
    )
    return timeline(
        view.within(rows, "month", monthly=True),
        "month",
        measure,
        view.style,
        key="days_between",
        title="Median days between active days",
        about="From one active day of a user to the next, counted in the month of the later one.",
        earlier=view.earlier(rows, "month", monthly=True),
    )


def stickiness(view: View) -> Chart:
    rows = weekly_mean(view.rows("active_users_daily"), "dau")
    rows = rows.assign(stickiness_7_days=rows.dau_7_days / rows.mau.where(rows.mau > 0))
    return timeline(
        view.within(rows, "activity_date"),
        "activity_date",
        Measure("stickiness_7_days", "Stickiness", "rate", "mau", "{dau_7_days} of {mau} users"),
        view.style,
        key="stickiness",
        title="Stickiness",
        about="Daily active users, as the mean of 7 days, over monthly active users.",
        earlier=view.earlier(rows, "activity_date"),
    )


def weekly_mean(rows: Frame, column: str) -> Frame:
    """Adds the mean of the 7 days that end on each day, so that weekdays do not hide what moves; null before that."""
    means = rows.groupby(grouping(rows), sort=False)[column].rolling(7).mean()
    return rows.assign(**{f"{column}_7_days": means.droplevel(0)})


def session_months(view: View) -> Frame:
    """Session metrics by month; the row over all time has no month."""
    frame = view.generation.frame("session_metrics")
    rows = frame[frame.month.notna()]
    ended = rows.month + pd.offsets.MonthEnd(0) <= pd.Timestamp(view.generation.as_of)
    return rows.assign(is_complete=ended)


def duration(view: View) -> Chart:
    rows = session_months(view)
    kept = ["month", "interaction_type", "sessions", "excluded_sessions", "is_complete"]
    long = rows[rows.interaction_type == ALL].melt(
        kept, list(STATISTICS), var_name="statistic", value_name="seconds"
    )
    long["statistic"] = long.statistic.map(STATISTICS)
    return timeline(
        view.within(long, "month", monthly=True),
        "month",
        Measure(
            "seconds",
            "Session duration",
            "seconds",
            "sessions",
            "{sessions} sessions, {excluded_sessions} left out",
        ),
        Style(view.theme, {name: slot for slot, name in enumerate(STATISTICS.values())}, view.marks),
        key="session_duration",
        title="Session duration",
        about="Of the sessions of a month that have a believable duration.",
        by="statistic",
        earlier=view.earlier(long, "month", monthly=True),
    ).noted(view.ignored("segments"))


def interactions(view: View) -> tuple[Frame, Style]:
    rows = session_months(view)
    rows = rows[rows.interaction_type != ALL]
    everything = view.generation.frame("session_metrics").interaction_type.unique()
    names = [str(name) for name in everything if name != ALL]
    return rows, Style(view.theme, slots(names), view.marks)


def mix(view: View) -> Chart:
    rows, style = interactions(view)
    # what is left out of the duration statistics is a session all the same
    rows = rows.assign(interaction_sessions=rows.sessions + rows.excluded_sessions)
    whole = rows.groupby("month").interaction_sessions.transform("sum")
    rows = rows.assign(
        month_sessions=whole, share_of_month=rows.interaction_sessions / whole.where(whole > 0)
    )
    return timeline(
        view.within(rows, "month", monthly=True),
        "month",
        Measure(
            "share_of_month",
            "Share of sessions",
            "rate",
            "month_sessions",
            "{interaction_sessions} of {month_sessions} sessions",
        ),
        style,
        key="interaction_mix",
        title="Interaction mix",
        about="Sessions of a month by what was done in them, over all of its sessions.",
        by="interaction_type",
        earlier=view.earlier(rows, "month", monthly=True),
    ).noted(view.ignored("segments"))


def duration_by_interaction(view: View) -> Chart:
    rows, style = interactions(view)
    return timeline(
        view.within(rows, "month", monthly=True),
        "month",
        Measure(
            "median_session_seconds",
            "Median session duration",
            "seconds",
            "sessions",
            "{sessions} sessions",
        ),
        style,
        key="duration_by_interaction",
        title="Median duration by kind of interaction",
        about="Of the sessions of a month that have a believable duration.",
        by="interaction_type",
        earlier=view.earlier(rows, "month", monthly=True),
    ).noted(view.ignored("segments"))


def headline(view: View) -> str:
    """The last complete month and the one that it is compared with, per 30 days as in the charts."""
    every = per_30_days(view.group_rows("engagement_frequency"))
    every = every[every.is_complete & every.active_days_per_user_per_30_days.notna()]
    rows = view.within(every, "month", monthly=True)
    if rows.empty:
        return "No month in the days chosen is complete."
    last = rows.sort_values("month").iloc[-1]
    who = "All active users" if view.users == "all users" else f"Active {view.users}"
    days, sessions = last.active_days_per_user_per_30_days, last.sessions_per_user_per_30_days
    text = (
        f"{who} came on {fmt.value(days, 'days')} days in 30 and had {fmt.value(sessions, 'sessions')} sessions in "
        f"{fmt.month(last.month)}"
    )
    before = every[every.month == view.month_before(last.month)]
    if before.empty:
        return f"{text}."
    then = before.iloc[0]
    return (
        f"{text}, against {fmt.value(then.active_days_per_user_per_30_days, 'days')} and "
        f"{fmt.value(then.sessions_per_user_per_30_days, 'sessions')} in {fmt.month(then.month)}."
    )
