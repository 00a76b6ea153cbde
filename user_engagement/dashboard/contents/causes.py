"""Why engagement moves: each finding with its course, what coincides with it, and the methods for analysts."""

from __future__ import annotations

from typing import Any

import numpy as np

from user_engagement import formatting as fmt
from user_engagement.dashboard.blocks import Block, Choice, Page, Row, Table, Text
from user_engagement.dashboard.charts import Chart, bars, expected_and_actual, ratios
from user_engagement.dashboard.contents.evidence import evidence
from user_engagement.dashboard.data import ALL, Frame, Generation
from user_engagement.dashboard.findings import Finding, bridge, causes, course, read_findings
from user_engagement.dashboard.view import View

RATES = ("activation", "new_user_retention", "retention", "churn")
EFFECTS = {"behaviour": "Behaviour", "mix": "Mix", "inner_mix": "Mix within"}
MOST_ROWS = 12
TOLD_ABOVE = ("Metric", "Follows from it", "At the same time")
"""Parts of the evidence that stand above a chart; the others stand with its data."""


def page(view: View) -> Page:
    found = causes(view.generation)
    blocks: list[Block] = [Row(tuple(finding_chart(view, finding) for finding in found))] if found else []
    blocks += [Choice("method"), *method(view)] if _methods(view.generation) else []
    return Page(headline(view), tuple(blocks), lead(found))


def headline(view: View) -> str:
    found = read_findings(view.generation)
    if explained := share_explained(view.generation):
        count = sum(
            finding.is_adverse and finding.lost_active_days is not None for finding in causes(view.generation)
        )
        what = f"{fmt.count_word(count).capitalize()} causes explain" if count > 1 else "One cause explains"
        return f"{what} about {100 * explained:.0f}{fmt.PERCENT} of the active days a week that are missing."
    if found:
        return found[0].sentence.rstrip(".") + "."
    return "The findings are not part of what was published: the insights are off, or an older version published."


def share_explained(generation: Generation) -> float | None:
    """The part of the missing active days that findings explain; None where nothing is missing or it has no share."""
    found = causes(generation)
    if not found or any(finding.is_measurement for finding in found):
        return None
    rows = bridge(generation, "active_days")
    if len(rows) < 3 or rows.amount.iloc[-1] >= rows.amount.iloc[0]:
        return None
    share = rows.amount[rows["rank"].notna()].sum() / (rows.amount.iloc[-1] - rows.amount.iloc[0])
    return float(share) if 0 < share <= 1 else None


def lead(found: tuple[Finding, ...]) -> str:
    if not found:
        return ""
    return "Findings are of all users over all days, whatever the filters say. The largest comes first."


# -- findings ----------------------------------------------------------------------------------------------


def finding_chart(view: View, finding: Finding) -> Chart:
    """A finding's metric week by week, what was expected, and what coincides with the change."""
    weeks = course(view.generation, finding)
    facts = " · ".join(filter(None, (weeks.name, weeks.values, finding.group, finding.when)))
    known = evidence(view, finding)
    sure = [f"{term}: {text}." for term, text in known if term not in TOLD_ABOVE]
    told = [f"{term}: {text}." for term, text in known if term in TOLD_ABOVE[1:]]
    if finding.next_step:
        # what follows the question coincides, and is said before it
        question, mark, _ = finding.next_step.partition("?")
        told.append(f"Next: {question}{mark}")
    return expected_and_actual(
        weeks,
        finding,
        view.style,
        title=f"{finding.rank}. {finding.title}",
        about=f"{finding.name}, by week, and what was expected. {' '.join(sure)}",
        summary=" ".join((f"{facts}.", *told)),
    )


# -- methods, for analysts ---------------------------------------------------------------------------------


def _methods(generation: Generation) -> bool:
    return any(generation.has(table) for tables in METHODS.values() for table in tables)


def method(view: View) -> list[Block]:
    """The tables of the method chosen."""
    chosen = view.filters.option("method")
    if chosen == "none":
        return []
    made = [
        make(view, view.generation.frame(table))
        for table, make in METHODS[chosen].items()
        if view.generation.has(table) and len(view.generation.frame(table))
    ]
    blocks: list[Block] = [Choice("churn")] if chosen == "churn" and made else []
    return [*blocks, *made] or [
        Text("Nothing published", ("What was published holds no table of this method.",))
    ]


def amount(value: float | None, metric: str) -> str:
    """An effect in its metric's unit, with its sign."""
    return fmt.signed(value, "rate" if metric in RATES else "sessions")


def _points(share: float | None) -> str:
    """A difference of shares, where the axis names the unit."""
    return amount(share, "retention").removesuffix(" points")


def decomposition(view: View, frame: Frame) -> Chart:
    """Mix against behaviour by one attribute: parts of different attributes overlap and do not add up."""
    present = frame[frame.effect != "total"].dimension.dropna().unique()
    dimension = next((name for name in (*view.filters.segments, *present) if name in present), "")
    parts = frame[(frame.segment_value == ALL) & frame.effect.isin(list(EFFECTS)) & frame.metric.isin(RATES)]
    drawn = parts[parts.inner_dimension.isna() & (parts.dimension == dimension)].sort_values(
        ["metric", "effect"]
    )
    drawn = drawn.assign(
        part=[f"{fmt.label(r.metric)}: {EFFECTS[r.effect].lower()}" for r in drawn.itertuples()],
        points=100 * drawn.contribution,
    )
    return bars(
        drawn,
        "points",
        "part",
        view.style,
        key="change_decomposition",
        title=f"Mix or behaviour, by {fmt.label(dimension).lower()}",
        about="What changed a rate between the two windows: other kinds of users (mix), or the same kinds acting "
        "differently (behaviour). One attribute at a time, the segment chosen in the filters if it is one of them: "
        "parts of different attributes overlap.",
        x_title="Percentage points",
        texts=[_points(r.contribution) for r in drawn.itertuples()],
        summary=" ".join(
            f"{r.part}: {amount(r.contribution, r.metric)} (95 % interval {amount(r.ci_low, r.metric)} to "
            f"{amount(r.ci_high, r.metric)})."
            for r in drawn.head(4).itertuples()
        )
        or "Nothing to compare yet.",
        table=frame,
    )


def contributions(view: View, frame: Frame) -> Chart:
    parts = frame[
        (frame.metric == "weekly_active_users") & frame.is_significant.fillna(False) & ~frame.is_pooled
    ]
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
        or "No group differs clearly from the rest.",
        signed=True,
        table=frame.sort_values("p_value", kind="stable"),
    )


def cell_name(row: Any) -> str:
    extra = [
        fmt.label(str(getattr(row, c)))
        for c in ("tenure", "interaction_type")
        if not fmt.is_missing(getattr(row, c)) and getattr(row, c) != ALL
    ]
    return ", ".join([f"{fmt.label(row.segment_name)} {fmt.label(row.segment_value)}", *extra])


def first_week(view: View, frame: Frame) -> Chart:
    drawn = frame.sort_values("rank").head(MOST_ROWS)
    drawn = drawn.assign(points=100 * drawn.adjusted_difference, behaviour=drawn.behaviour.map(fmt.label))
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
        texts=[_points(r.adjusted_difference) for r in drawn.itertuples()],
        summary=" ".join(
            f"{r.behaviour}: {fmt.value(r.rate_with, 'rate')} of {r.users_with:,} against "
            f"{fmt.value(r.rate_without, 'rate')} of {r.users_without:,}."
            for r in drawn.head(3).itertuples()
        ),
        table=frame,
    )


def first_week_retention(_view: View, frame: Frame) -> Table:
    about = "Users active in each week, by whether they showed a first-week behaviour; the strongest are on Retention."
    return Table("first_week_retention", "Weeks after the first", about, frame, folded=True)


def hazards(view: View, frame: Frame) -> Chart:
    rows = _of_churn(view, frame)
    strongest = np.log(rows.hazard_ratio).abs().sort_values(ascending=False).index[:MOST_ROWS]
    drawn = rows.loc[strongest].sort_values("hazard_ratio", ascending=False)
    drawn = drawn.assign(
        who=[f"{fmt.label(r.segment_value)} (vs {fmt.label(r.reference_value)})" for r in drawn.itertuples()]
    )
    return ratios(
        drawn,
        "hazard_ratio",
        "who",
        view.style,
        key="hazard_ratios",
        title="Who churns faster",
        about="Hazard of churn against the most frequent value, all segments in one Cox model, with 95 % intervals. "
        "The strongest in either direction.",
        x_title="Times as fast",
        summary=" ".join(
            f"{r.who}: ×{r.hazard_ratio:.2f} ({r.ci_low:.2f} – {r.ci_high:.2f}), {r.churned:,} of {r.users:,} users."
            for r in (*drawn.head(1).itertuples(), *drawn.tail(1).itertuples())
        )
        or "Nothing to compare yet.",
        table=frame,
    )


def acquisition_or_loss(_view: View, frame: Frame) -> Table:
    about = "Active users of the last weeks of the two windows, and where the difference came from."
    return Table("growth_change", "Acquisition or loss", about, frame, folded=True)


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


def risk_groups(_view: View, frame: Frame) -> Table:
    about = "Active users, and how many of them are expected to be inactive for the next 28 days, by segment."
    rows = frame.sort_values(["segment_name", "expected_rate"], ascending=[True, False])
    return Table("risk_groups", "Where the users at risk are", about, rows)


def at_risk(_view: View, frame: Frame) -> Table:
    about = "Users most likely to be inactive for the next 28 days, under pseudonyms."
    return Table("at_risk_users", "Users at risk", about, frame.sort_values("rank"))


METHODS: dict[str, dict[str, Any]] = {
    "mix": {
        "change_decomposition": decomposition,
        "contributions": contributions,
        "growth_change": acquisition_or_loss,
    },
    "first_week": {"first_week": first_week, "first_week_retention": first_week_retention},
    "churn": {
        "hazard_ratios": hazards,
        "survival_tests": survival_tests,
        "tenure_hazards": tenure_hazards,
        "churn_sensitivity": sensitivity,
    },
    "risk": {
        "risk_evaluation": prediction,
        "risk_calibration": calibration,
        "risk_groups": risk_groups,
        "at_risk_users": at_risk,
    },
}
"""Per method the published tables that it shows, and how."""
