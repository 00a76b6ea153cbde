"""Why engagement moves, and where to act: the insights if there are any, and what the marts say by themselves."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pandas as pd

from user_engagement import formatting as fmt
from user_engagement.dashboard.blocks import Block, Choice, Page, Row, Table, Text
from user_engagement.dashboard.charts import Chart, bars
from user_engagement.dashboard.data import ALL, BRIEF, Frame
from user_engagement.dashboard.view import View

METRIC_NAMES = {
    "activation": "Activation",
    "new_user_retention": "Retention of new users",
    "retention": "Retention",
    "churn": "Churn",
    "frequency": "Frequency",
    "sessions": "Sessions a week",
    "weekly_active_users": "Weekly active users",
}
RATES = ("activation", "new_user_retention", "retention", "churn")
EFFECTS = {"behaviour": "Behaviour", "mix": "Mix", "inner_mix": "Mix within"}
OF_CHURN = ("hazard_ratios", "survival_tests", "tenure_hazards")
MOST_ROWS = 12
COMPARED_WEEKS = 4
"""Weeks in each of the two windows; the published table names the last of them."""
WEEK = timedelta(weeks=1)


def page(view: View) -> Page:
    blocks = insight_blocks(view) if view.generation.has(BRIEF) else []
    return Page(headline(view), (*blocks, *by_segment(view)))


def headline(view: View) -> str:
    if view.generation.has(BRIEF):
        brief = view.generation.frame(BRIEF).sort_values("rank")
        if len(brief):
            return str(brief.iloc[0].finding)
    changes = latest_changes(view)
    if changes is None:
        return "There are no two complete months yet that could be compared."
    rows, now, before = changes
    whole = rows[(rows.segment_name == ALL)].iloc[0]
    return (
        f"In {fmt.month(now)}, {whole.active_users:,} users were active, "
        f"{fmt.change(whole.active_users, whole.before, 'users')} on {fmt.month(before)}."
    )


# -- from the marts alone ----------------------------------------------------------------------------------


def latest_changes(view: View) -> tuple[Frame, date, date] | None:
    """Of every segment value: active users of the last complete month of those chosen, and of the month before."""
    frame = view.generation.frame("growth_accounting")
    months = frame[(frame.period_kind == "month") & frame.is_complete]
    months = months[months.period_start <= pd.Timestamp(view.days[1])]
    starts: list[Any] = sorted(months.period_start.unique())[-2:]
    if len(starts) < 2:
        return None
    keys = ["segment_name", "segment_value"]
    before = months[months.period_start == starts[0]].set_index(keys).active_users.rename("before")
    rows = months[months.period_start == starts[1]].join(before, on=keys)
    rows["before"] = rows.before.fillna(0).astype(int)
    rows["change"] = rows.active_users - rows.before
    return rows, starts[1], starts[0]


def by_segment(view: View) -> list[Block]:
    """Per segment, whose active users changed; each user has one value, so the changes add up to that of all."""
    changes = latest_changes(view)
    if changes is None:
        return [Text("Change by segment", ("There are no two complete months yet that could be compared.",))]
    rows, now, before = changes
    names = list(view.generation.segments) if view.filters.segment == ALL else [view.filters.segment]
    charts = tuple(change_chart(view, str(name), rows, now, before) for name in names)
    if not charts:
        return [Text("Change by segment", ("The signups have no columns to break them down by.",))]
    return [Row(charts)]


def change_chart(view: View, segment: str, rows: Frame, now: date, before: date) -> Chart:
    part = rows[rows.segment_name == segment].sort_values("change")
    drawn = part.loc[part.change.abs().nlargest(MOST_ROWS).index].sort_values("change")
    texts = [fmt.change(r.active_users, r.before, "users") for r in drawn.itertuples()]
    least, most = part.iloc[0], part.iloc[-1]
    summary = (
        f"{least.segment_value}: {least.before:,} to {least.active_users:,} active users "
        f"({least.new_users:,} new, {least.resurrected_users:,} back, {least.churned_users:,} gone); "
        f"{most.segment_value}: {most.before:,} to {most.active_users:,} "
        f"({most.new_users:,} new, {most.resurrected_users:,} back, {most.churned_users:,} gone)."
    )
    columns = [
        "segment_value",
        "before",
        "active_users",
        "change",
        "new_users",
        "resurrected_users",
        "churned_users",
    ]
    return bars(
        drawn,
        "change",
        "segment_value",
        view.style,
        key=f"change_{segment}",
        title=f"Change of active users by {fmt.label(segment).lower()}",
        about=f"Users active in {fmt.month(now)} less those active in {fmt.month(before)}, each value by itself.",
        x_title="Users",
        texts=texts,
        summary=summary,
        signed=True,
        table=part[columns],
    )


# -- from the insights -------------------------------------------------------------------------------------


def insight_blocks(view: View) -> list[Block]:
    generation = view.generation
    makers = {
        BRIEF: findings,
        "change_decomposition": decomposition,
        "contributions": contributions,
        "first_week": first_week,
        "hazard_ratios": hazards,
        "growth_change": acquisition_or_loss,
        "change_points": since_when,
        "segment_contrasts": contrasts,
        "survival_tests": survival_tests,
        "tenure_hazards": tenure_hazards,
        "churn_sensitivity": sensitivity,
        "risk_evaluation": prediction,
        "risk_calibration": calibration,
        "at_risk_users": at_risk,
    }
    blocks: list[Block] = covered(view)
    may_choose = False
    for name, make in makers.items():
        if not generation.has(name) or generation.frame(name).empty:
            continue
        if name in OF_CHURN and not may_choose:
            blocks.append(Choice("churn"))
            may_choose = True
        blocks.append(make(view, generation.frame(name)))
    return blocks


def covered(view: View) -> list[Block]:
    """Whom and which days the insights are about, whatever the filters say; nothing if no periods are compared."""
    name = "growth_change"
    if not view.generation.has(name) or view.generation.frame(name).empty:
        return []
    row = view.generation.frame(name).iloc[0]
    before, after = (
        fmt.period(monday - (COMPARED_WEEKS - 1) * WEEK, monday + WEEK - timedelta(days=1))
        for monday in (row.before_week, row.after_week)
    )
    sentence = (
        f"The insights are about all users, whatever the filters say. They compare {before} with {after}; of new "
        "users, those whose first eight weeks were over by then."
    )
    return [Text("What is compared", (sentence,))]


def amount(value: float | None, metric: str) -> str:
    """An effect in its metric's unit, with its sign."""
    if fmt.is_missing(value) or value is None:
        return "–"
    sign = "−" if value < 0 else "+"
    return f"{sign}{100 * abs(value):.1f} points" if metric in RATES else f"{sign}{abs(value):,.2f}"


def findings(_view: View, brief: Frame) -> Text:
    def told(row: Any) -> str:
        return f"{row.finding} Next: {row.next_step}" if row.next_step else row.finding

    return Text(
        "Findings, the one that matters most first", tuple(map(told, brief.sort_values("rank").itertuples()))
    )


def decomposition(view: View, frame: Frame) -> Chart:
    parts = frame[(frame.segment_value == ALL) & frame.effect.isin(list(EFFECTS)) & frame.metric.isin(RATES)]
    parts = (
        parts[parts.inner_dimension.isna()]
        .sort_values("contribution", key=abs, ascending=False)
        .head(MOST_ROWS)
    )
    drawn = parts.assign(
        part=[
            f"{METRIC_NAMES[r.metric]}: {EFFECTS[r.effect].lower()}, by {fmt.label(r.dimension).lower()}"
            for r in parts.itertuples()
        ],
        points=100 * parts.contribution,
    )
    return bars(
        drawn,
        "points",
        "part",
        view.style,
        key="change_decomposition",
        title="Mix or behaviour",
        about="What changed a rate between the two windows: other kinds of users (mix), or the same kinds acting "
        "differently (behaviour). Positive raises the rate.",
        x_title="Percentage points",
        texts=[amount(r.contribution, r.metric) for r in drawn.itertuples()],
        summary=" ".join(
            f"{r.part}: {amount(r.contribution, r.metric)} (95 % interval {amount(r.ci_low, r.metric)} to "
            f"{amount(r.ci_high, r.metric)})."
            for r in drawn.head(3).itertuples()
        ),
        # whole effects before their parts, so that a report that cuts the table keeps them
        table=frame.iloc[(frame.segment_value != ALL).argsort(kind="stable")],
    )


def contributions(view: View, frame: Frame) -> Chart:
    parts = frame[(frame.metric == "weekly_active_users") & frame.is_significant.fillna(False)]
    parts = parts.loc[parts.excess.abs().nlargest(MOST_ROWS).index].sort_values("excess")
    drawn: Frame = parts.assign(cell=[cell_name(r) for r in parts.itertuples()]).drop_duplicates("cell")
    return bars(
        drawn,
        "excess",
        "cell",
        view.style,
        key="contributions",
        title="Who is behind, who ahead of the rest",
        about="Weekly active users of the later window against what they would be had everybody grown alike, where the "
        "difference is significant.",
        x_title="Weekly active users",
        texts=[amount(r.excess, r.metric) for r in drawn.itertuples()],
        summary=" ".join(
            f"{r.cell}: {r.value_before:,.0f} to {r.value_after:,.0f}, {amount(r.excess, r.metric)} against the rest."
            for r in drawn.head(3).itertuples()
        )
        or "No group differs significantly from the rest.",
        signed=True,
        table=frame.sort_values("p_value", kind="stable"),
    )


def cell_name(row: Any) -> str:
    extra = [
        str(getattr(row, c))
        for c in ("tenure", "interaction_type")
        if not fmt.is_missing(getattr(row, c)) and getattr(row, c) != ALL
    ]
    return ", ".join([f"{fmt.label(row.segment_name)} {row.segment_value}", *extra])


def first_week(view: View, frame: Frame) -> Chart:
    drawn = frame.sort_values("rank").head(MOST_ROWS).assign(points=lambda d: 100 * d.adjusted_difference)
    return bars(
        drawn,
        "points",
        "behaviour",
        view.style,
        key="first_week",
        title="First weeks of those who stay",
        about="How much more often users who did this in their first week were active on days 28 to 55, adjusted for "
        "segments. An association: not proof that doing it keeps users.",
        x_title="Percentage points",
        texts=[amount(r.adjusted_difference, "retention") for r in drawn.itertuples()],
        summary=" ".join(
            f"{fmt.label(r.behaviour)}: {fmt.value(r.rate_with, 'rate')} of {r.users_with:,} against "
            f"{fmt.value(r.rate_without, 'rate')} of {r.users_without:,}."
            for r in drawn.head(3).itertuples()
        ),
        table=frame,
    )


def hazards(view: View, frame: Frame) -> Chart:
    rows = _of_churn(view, frame).sort_values("hazard_ratio", ascending=False)
    drawn = rows.head(MOST_ROWS)
    drawn = drawn.assign(
        who=[
            f"{fmt.label(r.segment_name)} {r.segment_value} (vs {r.reference_value})"
            for r in drawn.itertuples()
        ],
        percent=100 * (drawn.hazard_ratio - 1),
    )
    return bars(
        drawn,
        "percent",
        "who",
        view.style,
        key="hazard_ratios",
        title="Who churns faster",
        about="Hazard of churn against the most frequent value, all segments in one Cox model.",
        x_title="Per cent",
        texts=[f"×{r.hazard_ratio:.2f}" for r in drawn.itertuples()],
        summary=" ".join(
            f"{r.who}: ×{r.hazard_ratio:.2f} (95 % interval {r.ci_low:.2f} – {r.ci_high:.2f}), "
            f"{r.churned:,} of {r.users:,} users churned."
            for r in drawn.head(2).itertuples()
        ),
        table=frame,
    )


def acquisition_or_loss(_view: View, frame: Frame) -> Table:
    about = "Active users of the last weeks of the two windows, and where the difference came from."
    return Table("growth_change", "Acquisition or loss", about, frame, folded=True)


def since_when(_view: View, frame: Frame) -> Table:
    about = "Weeks in which a weekly metric most likely moved to another level, with intervals; significant ones first."
    ordered = frame.sort_values(["is_significant", "p_value"], ascending=[False, True])
    return Table("change_points", "Since when", about, ordered)


def contrasts(_view: View, frame: Frame) -> Table:
    about = "The change of each rate in each segment value against its change in the others; surest first."
    return Table(
        "segment_contrasts", "Who changed otherwise", about, frame.sort_values("p_value"), folded=True
    )


def survival_tests(view: View, frame: Frame) -> Table:
    about = "Log-rank tests: whether the values of a segment churn alike, over all tenures."
    rows = _of_churn(view, frame).sort_values("p_value")
    return Table("survival_tests", "Is the difference real", about, rows, folded=True)


def tenure_hazards(view: View, frame: Frame) -> Table:
    about = "Churned users per user and 28 days at risk, by days since signup."
    return Table("tenure_hazards", "When users churn", about, _of_churn(view, frame), folded=True)


def _of_churn(view: View, frame: Frame) -> Frame:
    return frame[frame.churn_kind == view.filters.option("churn")]


def sensitivity(_view: View, frame: Frame) -> Table:
    about = "Churn by inactivity under other limits than the one set, and how many of those who churned came back."
    return Table("churn_sensitivity", "Does the definition matter", about, frame)


def prediction(_view: View, frame: Frame) -> Table:
    about = "How well the prediction of inactivity did on a later window that it had not seen."
    return Table("risk_evaluation", "How good the prediction is", about, frame)


def calibration(_view: View, frame: Frame) -> Table:
    about = "Predicted and observed share of inactive users, by tenth of the users, the least at risk first."
    return Table(
        "risk_calibration", "Are the probabilities right", about, frame.sort_values("decile"), folded=True
    )


def at_risk(_view: View, frame: Frame) -> Table:
    about = "Users most likely to be inactive for the next 28 days, under pseudonyms."
    return Table("at_risk_users", "Users at risk", about, frame.sort_values("rank"))
