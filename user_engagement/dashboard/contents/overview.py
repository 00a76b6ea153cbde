"""Where things stand: KPIs, active users against signups, and what changed."""

from __future__ import annotations

from typing import Any

import pandas as pd

from user_engagement import formatting as fmt
from user_engagement.dashboard.blocks import Block, Card, Cards, Choice, Page, Row, Table, Text
from user_engagement.dashboard.charts import FEW_USERS, Chart, Measure, timeline
from user_engagement.dashboard.data import ALL, BRIEF, Frame
from user_engagement.dashboard.filters import OPTIONS
from user_engagement.dashboard.intervals import difference
from user_engagement.dashboard.measures import kpis
from user_engagement.dashboard.view import View

MOST_FINDINGS = 3
ACTIVE_ABOUT = {
    "mau": "Distinct users active in the rolling window (28 days unless set otherwise) that ends on the day.",
    "wau": "Distinct users active in the 7 days that end on the day.",
    "dau": "Distinct users active on the day.",
}


def page(view: View) -> Page:
    signups, share = signups_chart(view), active_share_chart(view)
    blocks: list[Block] = [kpi_cards(view)]
    if len(view.values) > 1:
        blocks.append(by_value(view))
    blocks += [
        Text("What changed", tuple(what_changed(view))),
        *why(view),
        Choice("active"),
        active_users_chart(view),
        Row((signups, share)),
    ]
    return Page(headline(view), tuple(blocks))


# -- KPIs --------------------------------------------------------------------------------------------------


def kpi_cards(view: View) -> Cards:
    """The KPIs of all users, or of the one segment value shown; several values have a table instead."""
    one = view.filters.segment != ALL and len(view.values) == 1
    rows = kpis(view.generation, view.filters.segment, view.values[0]) if one else kpis(view.generation)
    who = view.group if one else "all users"
    cards = tuple(card(row) for row in rows.itertuples())
    return Cards(f"Key figures of {who}, as of {fmt.day(view.generation.as_of)}", cards)


def card(row: Any) -> Card:
    """A row of `kpi_summary`."""
    value, before, unit = row.value, row.previous_value, row.unit
    denominator, notes = row.denominator, []
    if not fmt.is_missing(denominator):
        rate = unit == "rate"
        notes.append(f"{row.numerator:,.0f} of {denominator:,.0f}" if rate else f"n = {denominator:,.0f}")
        if denominator < FEW_USERS:
            notes.append("small base, read with care")
    return Card(
        key=row.kpi,
        label=row.label,
        value=fmt.value(value, unit),
        change=fmt.change(value, before, unit),
        before="" if fmt.is_missing(before) else fmt.value(before, unit),
        interval=fmt.interval(row.ci_low, row.ci_high, unit),
        period="not yet complete"
        if fmt.is_missing(row.period_start)
        else fmt.period(row.period_start.date(), row.period_end.date()),
        definition=row.definition,
        note="; ".join(notes),
    )


def by_value(view: View) -> Table:
    """One row per segment value, counted by itself."""
    names = [ALL, *view.values]
    frames = [
        kpis(view.generation) if name == ALL else kpis(view.generation, view.filters.segment, name)
        for name in names
    ]
    labels = frames[-1].label
    frame = pd.DataFrame(
        [
            {"segment_value": view.style.label(name)}
            | {
                str(labels[k]): fmt.value(frame.value.get(k), str(frame.unit.get(k, "")))
                for k in labels.index
            }
            for name, frame in zip(names, frames, strict=True)
        ]
    )
    period = f"latest complete periods as of {fmt.day(view.generation.as_of)}"
    return Table(
        "kpis_by_value",
        f"Key figures by {fmt.label(view.filters.segment).lower()}",
        f"Counted for each value by itself, {period}; definitions as on the cards.",
        frame,
    )


# -- charts ------------------------------------------------------------------------------------------------


def active_users_chart(view: View) -> Chart:
    name = view.filters.option("active")
    rows = view.rows("active_users_daily")
    label = OPTIONS["active"].values[name].split(" ")[0]
    measure = Measure(name, f"{label} active users", "users")
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


def share_rows(view: View) -> Frame:
    """At the end of each month: monthly active users over everybody who ever signed up."""
    signups = signup_rows(view)
    signups["signed_up"] = signups.groupby("segment_value", sort=False).cohort_size.cumsum()
    signups["month_end"] = (signups.signup_month + pd.offsets.MonthEnd(0)).clip(
        upper=pd.Timestamp(view.generation.as_of)
    )
    active = view.rows("active_users_daily")[["segment_value", "activity_date", "mau"]]
    rows = signups.merge(
        active, left_on=["segment_value", "month_end"], right_on=["segment_value", "activity_date"]
    )
    rows["active_share"] = (rows.mau / rows.signed_up.where(rows.signed_up > 0)).clip(upper=1)
    columns = [
        "segment_name",
        "segment_value",
        "signup_month",
        "mau",
        "signed_up",
        "active_share",
        "is_complete",
    ]
    return rows[columns].rename(columns={"signup_month": "month"})


def active_share_chart(view: View) -> Chart:
    rows = share_rows(view)
    return timeline(
        view.within(rows, "month", monthly=True),
        "month",
        Measure("active_share", "Active users of all", "rate", "signed_up", "{mau} of {signed_up} users"),
        view.style,
        key="active_share",
        title="Active share of everybody who signed up",
        about="Monthly active users on the month's last day, over all users signed up until then.",
        earlier=view.earlier(rows, "month", monthly=True),
    )


# -- words -------------------------------------------------------------------------------------------------


def headline(view: View) -> str:
    """Signups against engagement, over the days chosen."""
    start, end = view.days
    rows = view.focused("active_users_daily").set_index("activity_date").sort_index()
    if rows.empty:
        return "There is no activity yet."
    known = rows.loc[pd.Timestamp(start) : pd.Timestamp(end)]
    first, last = known.iloc[0], known.iloc[-1]
    shares = view.within(share_rows(view).query("segment_value == @view.focus"), "month", monthly=True)
    shares = shares[shares.is_complete & shares.active_share.notna()]
    who = "" if view.filters.segment == ALL else f", {view.group},"
    text = (
        f"Monthly active users{who} {fmt.movement(first.mau, last.mau, 'users')}"
        f" between {fmt.day(known.index[0])} and {fmt.day(known.index[-1])}"
    )
    if len(shares) < 2:
        return f"{text}."
    before, after = shares.iloc[0], shares.iloc[-1]
    return (
        f"{text}; of everybody who had signed up, {fmt.value(after.active_share, 'rate')} were active in "
        f"{fmt.month(after.month)} ({fmt.value(before.active_share, 'rate')} in {fmt.month(before.month)})."
    )


def what_changed(view: View) -> list[str]:
    """The movements worth a sentence: where active users came from, churn, and who moved most."""
    growth = view.focused("growth_accounting", period_kind="month")
    growth = growth[growth.is_complete]
    sentences = []
    if len(growth) > 1:
        last, before = growth.iloc[-1], growth.iloc[-2]
        sentences.append(
            f"In {fmt.month(last.period_start)} {last.active_users:,} {view.group} were active, "
            f"{fmt.change(last.active_users, before.active_users, 'users')} on the month before: "
            f"{last.new_users:,} new, {last.resurrected_users:,} back after a pause, {last.churned_users:,} gone."
        )
    for kind, verb in (("declared", "cancelled"), ("inactive", "became inactive")):
        rows = view.focused("churn_monthly", churn_kind=kind)
        rows = rows[rows.is_complete & rows.churn_rate.notna()]
        if len(rows) > 1:
            last, before = rows.iloc[-1], rows.iloc[-2]
            moved = fmt.movement(before.churn_rate, last.churn_rate, "rate")
            low, high = difference(
                (last.churned_users, last.users_at_start), (before.churned_users, before.users_at_start)
            )
            moved += " (no clear change)" if low <= 0 <= high else ""
            sentences.append(
                f"The share who {verb} in the month {moved} in {fmt.month(last.month)}: "
                f"{last.churned_users:,} of {last.users_at_start:,} users."
            )
    sentences += most_moved(view)
    return sentences or ["There are no two complete months yet that could be compared."]


def why(view: View) -> list[Block]:
    """The findings that matter most, if the generation explains what changed."""
    if not view.generation.has(BRIEF):
        return []
    brief = view.generation.frame(BRIEF).sort_values("rank")
    return [Text("Why, and for whom", tuple(brief.finding.head(MOST_FINDINGS)))]


def most_moved(view: View) -> list[str]:
    """Of each segment, or of the one chosen, the values that gained and lost most active users."""
    frame = view.generation.frame("growth_accounting")
    months = frame[(frame.period_kind == "month") & frame.is_complete]
    starts = sorted(months.period_start.unique())[-2:]
    if len(starts) < 2:
        return []
    chosen = view.filters.segment
    sentences = []
    for name in view.generation.segments if chosen == ALL else (chosen,):
        part = months[(months.segment_name == name) & months.period_start.isin(starts)]
        wide = part.pivot(index="segment_value", columns="period_start", values="active_users").dropna()
        if len(wide) < 2:
            continue
        moved = wide[starts[1]] - wide[starts[0]]
        told = [
            f"{value} {fmt.change(wide.loc[value, starts[1]], wide.loc[value, starts[0]], 'users')}"
            for value in (moved.idxmax(), moved.idxmin())
        ]
        sentences.append(
            f"Active users by {fmt.label(str(name)).lower()}: most gained {told[0]}; least {told[1]}."
        )
    return sentences
