"""How those who come use the product: how often, how long, for what."""

from __future__ import annotations

import pandas as pd

from user_engagement import formatting as fmt
from user_engagement.dashboard.blocks import Page, Row
from user_engagement.dashboard.charts import Chart, Measure, shares, timeline
from user_engagement.dashboard.data import ALL, Frame
from user_engagement.dashboard.theme import Style, slots
from user_engagement.dashboard.view import View

NOT_SEGMENTED = " Over all users: durations and kinds of interaction are not broken down by segment."
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
            Row((duration(view), mix(view))),
            stickiness(view),
            Row((gaps(view), duration_by_interaction(view))),
        ),
    )


def frequency(view: View, column: str, unit: str, title: str, what: str) -> Chart:
    rows = view.rows("engagement_frequency")
    measure = Measure(column, title, unit, "active_users", "{active_users} active users")
    return timeline(
        view.within(rows, "month", monthly=True),
        "month",
        measure,
        view.style,
        key=column,
        title=title,
        about=f"{what} per user active in it.",
        earlier=view.earlier(rows, "month", monthly=True),
    )


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
    rows = view.rows("active_users_daily")
    return timeline(
        view.within(rows, "activity_date"),
        "activity_date",
        Measure("stickiness", "Stickiness", "rate", "mau", "{dau} of {mau} users"),
        view.style,
        key="stickiness",
        title="Stickiness",
        about="Daily over monthly active users, day by day.",
        earlier=view.earlier(rows, "activity_date"),
    )


def session_months(view: View) -> Frame:
    """Session metrics of the months chosen; the row over all time has no month."""
    frame = view.generation.frame("session_metrics")
    rows = view.within(frame[frame.month.notna()], "month", monthly=True)
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
        long,
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
        about="Of the sessions of a month that have a believable duration." + NOT_SEGMENTED,
        by="statistic",
    )


def interactions(view: View) -> tuple[Frame, Style]:
    rows = session_months(view)
    rows = rows[rows.interaction_type != ALL]
    everything = view.generation.frame("session_metrics").interaction_type.unique()
    names = [str(name) for name in everything if name != ALL]
    return rows, Style(view.theme, slots(names), view.marks)


def mix(view: View) -> Chart:
    rows, style = interactions(view)
    # what is left out of the duration statistics is a session all the same
    rows = rows.assign(all_sessions=rows.sessions + rows.excluded_sessions)
    order = rows.groupby("interaction_type").all_sessions.sum().rank(ascending=False)
    rows = rows.iloc[rows.interaction_type.map(order).argsort(kind="stable")]
    return shares(
        rows[["month", "interaction_type", "all_sessions", "is_complete"]],
        "month",
        "all_sessions",
        "interaction_type",
        style,
        key="interaction_mix",
        title="Interaction mix",
        about="Sessions of a month by what was done in them." + NOT_SEGMENTED,
        noun="sessions",
    )


def duration_by_interaction(view: View) -> Chart:
    rows, style = interactions(view)
    return timeline(
        rows,
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
        about="Of the sessions of a month that have a believable duration." + NOT_SEGMENTED,
        by="interaction_type",
    )


def headline(view: View) -> str:
    rows = view.within(view.focused("engagement_frequency"), "month", monthly=True)
    rows = rows[rows.is_complete & rows.active_days_per_user.notna()]
    if len(rows) < 2:
        return "There are no two complete months in the days chosen that could be compared."
    first, last = rows.iloc[0], rows.iloc[-1]
    days = fmt.movement(first.active_days_per_user, last.active_days_per_user, "days")
    sessions = fmt.movement(first.sessions_per_user, last.sessions_per_user, "sessions")
    return (
        f"From {fmt.month(first.month)} to {fmt.month(last.month)}, the active days of active {view.group} {days} "
        f"a month on average, and their sessions {sessions}."
    )
