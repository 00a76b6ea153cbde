"""The first screen: what happened, for whom, since when, how much of it, and what to look at next."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta

from user_engagement import formatting as fmt
from user_engagement.dashboard.blocks import Cause, Kpi, Risk, RiskGroup, Step, Story, Waterfall
from user_engagement.dashboard.contents.evidence import evidence
from user_engagement.dashboard.data import ALL, Frame
from user_engagement.dashboard.drawings import against_expected, sparkline
from user_engagement.dashboard.filters import Filters
from user_engagement.dashboard.findings import (
    Finding,
    bridge,
    causes,
    course,
    is_explained,
    read_findings,
)
from user_engagement.dashboard.trends import Trend
from user_engagement.dashboard.view import View

MOST_CAUSES = 4
RISK, MOST_GROUPS, ENOUGH_USERS = "risk_groups", 3, 100
CLEARLY_ABOVE = 1.2
"""Times the share of all users from which on a group's is shown."""
ABOUT_LEVEL = 0.02
FAR_FEWER = 0.2
"""From this relative loss on, a headline says far fewer."""
BRIDGE_MEASURES = {"active_days": "active days a week", "weekly_active_users": "weekly active users"}
PAGE_OF = {
    "activation": "retention",
    "new_user_retention": "retention",
    "retention": "retention",
    "churn": "churn",
    "resurrection": "churn",
}
"""The page that shows a finding's metric; the others are on Engagement."""


def story(view: View, figures: tuple[Trend, ...]) -> Story:
    """The blocks of the first screen; what the findings cannot say is left out and said to be."""
    found = causes(view.generation)
    return Story(
        kpis=tuple(_kpi(view, trend) for trend in figures),
        period=_period(view, figures),
        waterfall=_waterfall(view),
        causes=tuple(_cause(view, finding) for finding in found[:MOST_CAUSES]),
        causes_title=_causes_title(found),
        note=_note(view, found),
        risk=_risk(view),
    )


# -- sentences ---------------------------------------------------------------------------------------------


def headline(view: View, figures: tuple[Trend, ...]) -> str:
    """Signups against what became of engagement, in one sentence."""
    found = {trend.key: trend for trend in figures}
    signups, told = found.get("signups"), _engagement(found)
    if signups is None:
        return "Nobody has signed up and completed a month yet."
    if signups.before is None:
        return f"{signups.value} users signed up in {fmt.month(signups.month)}, the first complete month."
    grew = signups.now / signups.before - 1 if signups.before else 0.0
    level = signups.verdict == "unclear" or abs(grew) < ABOUT_LEVEL
    direction = "about level with" if level else f"{'up' if grew > 0 else 'down'} {_percent(grew)} on"
    whose = f"Signups ({view.group})" if view.is_segmented else "Signups"
    start = f"{whose} are {direction} {_reference(signups)}"
    if not told:
        return f"{start}."
    worse = any(trend.verdict == "bad" for trend in found.values())
    return f"{start}, {'but' if worse and grew > 0 and not level else 'and'} {told}."


def _engagement(found: dict[str, Trend]) -> str:
    """The clearest change of engagement: retention first, then how often users come, then who leaves."""
    retention = found.get("retention_month_1")
    if retention and retention.before is not None:
        now, before = _whole(retention.now), _whole(retention.before)
        if retention.verdict == "bad":
            far = "far " if retention.now < (1 - FAR_FEWER) * retention.before else ""
            return f"{far}fewer stay: {now} after a month, down from {before}"
        if retention.verdict == "good":
            return f"more stay: {now} after a month, up from {before}"
    frequency, churn = found.get("active_days"), found.get("churn")
    if frequency and frequency.verdict == "bad":
        return f"users come less often: on {frequency.value} days in 30, down from {_before(frequency)}"
    if churn and churn.verdict == "bad":
        return f"more leave: {churn.value} a month, up from {_before(churn)}"
    if retention and retention.before is not None:
        return f"as many stay: {_whole(retention.now)} after a month"
    return ""


def lead(view: View) -> str:
    """How much is missing, and since when; a fault of recording before all else; why no cause is said, if none is."""
    if not is_explained(view.generation):
        return "Why is not part of what was published: the insights are switched off, or an older version published."
    found = causes(view.generation)
    if not found:
        return str(read_findings(view.generation)[0].sentence)
    faults = [finding for finding in found if finding.is_measurement]
    others = [finding for finding in found if not finding.is_measurement]
    lasting = [fault for fault in faults if fault.until is None]
    if lasting:
        since = f" since {fmt.day(lasting[0].since)}" if lasting[0].since else ""
        return f"Check the recording first: it has a fault{since}, and figures that it touches are not behaviour."
    over = [f"{fault.title}: figures of that time are not behaviour." for fault in faults[:1]]
    return " ".join([*([_of_causes(view, others)] if others else []), *over])


def _of_causes(view: View, found: list[Finding]) -> str:
    """How much is missing, and since when the largest cause."""
    adverse = [finding for finding in found if finding.is_adverse]
    largest = (adverse or found)[0]
    which = "largest cause" if len(adverse) > 1 else "one cause,"
    parts = [_gap(view), f"{which} since {fmt.day(largest.since)}" if largest.since else ""]
    told = "; ".join(filter(None, parts)) or largest.sentence.rstrip(".")
    return f"{told[0].upper()}{told[1:]}."


def _gap(view: View) -> str:
    """How far activity in the last four complete weeks is from what was expected."""
    for measure, unit in BRIDGE_MEASURES.items():
        rows = bridge(view.generation, measure)
        if len(rows) >= 2 and rows.amount.iloc[0] > 0:
            change = rows.amount.iloc[-1] / rows.amount.iloc[0] - 1
            if change < 0:
                return f"{_percent(change)} of expected {unit.removesuffix(' a week')} are missing"
            return f"{_percent(change)} more {unit} than expected"
    return ""


def _causes_title(found: tuple[Finding, ...]) -> str:
    if found and all(finding.is_measurement for finding in found):
        return "Fault of recording" if len(found) == 1 else "Faults of recording"
    return "One cause" if len(found) == 1 else "Causes"


def _note(view: View, found: tuple[Finding, ...]) -> str:
    said = []
    if found and not view.filters.is_default:
        said.append("Causes and missing days are of all users and the last weeks, whatever the filters say.")
    if not found and is_explained(view.generation):
        said.append("Nothing that could be told apart from chance.")
    if not is_explained(view.generation):
        said.append("Run `user-engagement run` with insights switched on to see causes here.")
    return " ".join(said)


def _risk(view: View) -> Risk | None:
    """How many active users will probably become inactive, and the groups in which most of them do."""
    if not view.generation.has(RISK) or view.generation.frame(RISK).empty:
        return None
    groups = view.generation.frame(RISK)
    everybody = groups[groups.segment_name == ALL].iloc[0]
    others = groups[(groups.segment_name != ALL) & (groups.users >= ENOUGH_USERS)]
    above = others.expected_rate > CLEARLY_ABOVE * everybody.expected_rate
    others = others[above].nlargest(MOST_GROUPS, "expected_rate")
    return Risk(
        title=f"Users at risk: {_rounded(everybody.expected_inactive)} ({_whole(everybody.expected_rate)})",
        about=f"Of {everybody.users:,} active users, those expected to be inactive for the next 28 days, by the last "
        f"prediction; and the groups of at least {ENOUGH_USERS} users whose share is clearly above that of all.",
        groups=tuple(
            RiskGroup(
                label=fmt.label(row.segment_value),
                title=f"{fmt.label(row.segment_name)}: {_rounded(row.expected_inactive)} of {row.users:,} users",
                rate=_whole(row.expected_rate),
                width=100 * row.expected_rate,
                everybody=100 * everybody.expected_rate,
            )
            for _, row in others.iterrows()
        ),
        link=Filters(page="causes", options={"method": "risk"}).to_address(),
    )


# -- figures -----------------------------------------------------------------------------------------------


def _kpi(view: View, trend: Trend) -> Kpi:
    tone = trend.verdict if trend.verdict in ("good", "bad") else "neutral"
    return Kpi(
        key=trend.key,
        label=trend.label,
        value=_whole(trend.now) if trend.key == "retention_month_1" else trend.value,
        when=fmt.month(trend.month) if trend.key == "retention_month_1" else "",
        change=_change(trend),
        tone=tone,
        definition=trend.definition,
        drawing=sparkline(trend, view.theme),
    )


def _change(trend: Trend) -> str:
    if trend.before is None:
        return "first complete month"
    if trend.verdict == "unclear":
        return f"no clear change from {_before(trend)}"
    return f"{'▲' if trend.is_up else '▼'} from {_before(trend)}"


def _period(view: View, figures: tuple[Trend, ...]) -> str:
    """The month that the figures are of, and the one that they are compared with; whose, where groups are chosen."""
    whose = f" · {view.group}" if view.is_segmented else ""
    for trend in figures:
        if trend.key != "retention_month_1" and trend.reference_month is not None:
            return f"{fmt.month(trend.month)} against {fmt.month(trend.reference_month)}{whose}"
    return ""


def _waterfall(view: View) -> Waterfall | None:
    """Expected, what each finding takes or adds, what none explains, and actual."""
    if not causes(view.generation):
        return None
    for measure, unit in BRIDGE_MEASURES.items():
        rows = bridge(view.generation, measure)
        if len(rows) >= 2:
            missing = rows.amount.iloc[-1] < rows.amount.iloc[0]
            title = f"Missing {unit}" if missing else f"{fmt.label(unit)}, expected and actual"
            return Waterfall(
                title, f"{fmt.label(unit)}: mean of the last four complete weeks.", _steps(view, rows)
            )
    return None


def _steps(view: View, rows: Frame) -> tuple[Step, ...]:
    short = {finding.rank: finding.short for finding in causes(view.generation)}
    amounts = rows.amount.to_numpy(dtype=float)
    ends = amounts.cumsum()
    ends[-1] = amounts[-1]
    starts = [0.0, *ends[:-2], 0.0]
    top = max(ends.max(), amounts[0], amounts[-1]) or 1.0
    steps = []
    for number, row in enumerate(rows.itertuples()):
        whole = number in (0, len(rows) - 1)
        low, high = min(starts[number], ends[number]), max(starts[number], ends[number])
        bounded = not whole and not fmt.is_missing(row.amount_low) and not fmt.is_missing(row.amount_high)
        least, most = (
            starts[number] + bound if bounded else 0.0 for bound in (row.amount_low, row.amount_high)
        )
        steps.append(
            Step(
                label=_step_name(number, len(rows), short.get(row.rank, "Unexplained")),
                title=row.label,
                amount=fmt.value(row.amount, "users") if whole else fmt.signed(row.amount, "users"),
                interval=fmt.interval(row.amount_low, row.amount_high, "users") if bounded else "",
                tone="whole" if whole else "bad" if row.amount < 0 else "good",
                start=100 * low / top,
                width=100 * (high - low) / top,
                interval_start=100 * max(least, 0) / top if bounded else None,
                interval_width=100 * (min(most, top) - max(least, 0)) / top if bounded else None,
            )
        )
    return tuple(steps)


def _step_name(number: int, count: int, part: str) -> str:
    return "Expected" if number == 0 else "Actual" if number == count - 1 else part


def _cause(view: View, finding: Finding) -> Cause:
    target, label = link(view, finding)
    weeks = course(view.generation, finding)
    return Cause(
        rank=finding.rank,
        title=finding.title,
        facts=", ".join(filter(None, (weeks.values, finding.when))),
        next_step=_first_step(finding.next_step, finding.conditions),
        link=target.to_address(),
        link_label=label,
        evidence=evidence(view, finding),
        series=against_expected(finding, weeks, view.theme),
    )


def link(view: View, finding: Finding) -> tuple[Filters, str]:
    """The view whose chart shows the change: a page with the group's filters or, where they cannot say it, Causes."""
    segments = view.generation.segments
    attribute, value = next(iter(finding.conditions.items()), (ALL, ALL))
    shown = len(finding.conditions) <= 1 and (attribute == ALL or value in segments.get(attribute, ()))
    if not shown or (finding.kind == "mix" or finding.is_measurement):
        return Filters(page="causes", range="all"), "Chart"
    recent = finding.since and view.generation.as_of - finding.since < timedelta(days=270)
    chosen = {} if attribute == ALL else {attribute: (value,)}
    page = PAGE_OF.get(finding.metric, "engagement")
    days = "12m" if recent else "all"
    return Filters(page=page, range=days, segments=chosen), "Users"


def _first_step(next_step: str, conditions: Mapping[str, str]) -> str:
    """What the question proposes to look at; where it proposes nothing, the question without its date."""
    question = next_step.partition("?")[0]
    _, is_proposed, proposed = question.partition(": ")
    if is_proposed:
        return f"Check {proposed}."
    undated = re.sub(r" around \d{1,2} \w+ \d{4}", "", next_step.partition(", and ")[0])
    return _short_group(undated if "?" in undated or not undated else f"{undated}?", conditions)


def _short_group(sentence: str, conditions: Mapping[str, str]) -> str:
    """Users whose main device is phone are phone users."""
    if len(conditions) != 1:
        return sentence
    value = next(iter(conditions.values())).replace("_", " ")
    return re.sub(rf"users (?:whose|with|who|of)\b[^,;?]*?\b{re.escape(value)}\b", f"{value} users", sentence)


# -- numbers in sentences ----------------------------------------------------------------------------------


def _reference(trend: Trend) -> str:
    assert trend.reference_month is not None
    if trend.reference_month.year < trend.month.year and trend.reference_month.month == trend.month.month:
        return "a year ago"
    return "the month before"


def _before(trend: Trend) -> str:
    return _whole(trend.before) if trend.key == "retention_month_1" else fmt.value(trend.before, trend.unit)


def _whole(share: float | None) -> str:
    return fmt.NOTHING if share is None else f"{100 * share:.0f}{fmt.PERCENT}"


def _percent(change: float) -> str:
    return f"{100 * abs(change):.0f}{fmt.PERCENT}"


def _rounded(number: float) -> str:
    """To two or three figures, as an estimate deserves."""
    size = 10 if number >= 200 else 1
    return f"{round(number / size) * size:,.0f}"
