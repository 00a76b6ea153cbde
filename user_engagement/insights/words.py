"""Findings as sentences that a manager understands at once, and questions that somebody can answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from user_engagement.formatting import day
from user_engagement.insights.names import (
    ACQUISITION,
    ACTIVATION,
    CHURN,
    DAYS,
    DURATION,
    EPISODE,
    FREQUENCY,
    MEASUREMENT,
    MIX,
    NEW_USERS,
    RAMP,
    RESURRECTION,
    RETENTION,
    SESSIONS,
    SIGNUPS,
    SLOPE,
)

if TYPE_CHECKING:
    from user_engagement.insights.findings import Finding

SHARES = (ACTIVATION, RETENTION, RESURRECTION, CHURN)
DOES = {
    SIGNUPS: ("Fewer users sign up", "More users sign up"),
    ACTIVATION: ("Fewer new users come back", "More new users come back"),
    NEW_USERS: ("New users are less active", "New users are more active"),
    RETENTION: ("Fewer users come back", "More users come back"),
    CHURN: ("Fewer users cancel", "More users cancel"),
    RESURRECTION: ("Fewer users return after a pause", "More users return after a pause"),
    FREQUENCY: ("Users are less active", "Users are more active"),
    SESSIONS: ("Users have fewer sessions on an active day", "Users have more sessions on an active day"),
    DURATION: ("Sessions are shorter", "Sessions are longer"),
}
UNIT = {
    SIGNUPS: "signups a week",
    ACTIVATION: "in their first week",
    NEW_USERS: "active days in their first four weeks",
    RETENTION: "from week to week",
    FREQUENCY: "active days in four weeks",
    SESSIONS: "sessions a day",
    DURATION: "seconds",
}
QUESTION = {
    SIGNUPS: "What changed in acquisition{when}: campaigns, budgets, landing pages, the signup form?",
    MIX: "What brings {group}{when}: campaigns, budgets, costs?",
    ACTIVATION: "What do new users meet in their first days that changed{when}: onboarding, messages, prices?",
    NEW_USERS: "What do new users meet in their first weeks that changed{when}: onboarding, messages, prices?",
    CHURN: "What made {group} cancel{when}: prices, contracts, features?",
    RESURRECTION: "What used to bring {group} back, and changed{when}: messages, offers, releases?",
    DURATION: "What do {group} no longer do in a session, or do faster{when}: releases, speed, features?",
}
DEFAULT_QUESTION = "What changed for {group}{when}: releases, crashes, messages?"


def group_of(conditions: Mapping[str, str]) -> str:
    """The users of a group, as part of a sentence."""
    if not conditions:
        return "all users"
    words = "users"
    if level := conditions.get("activity_level"):
        words = f"users of {level} activity"
    tail = [
        f"whose main device is {value}"
        if name == "main_device"
        else f"who mostly {value}"
        if name == "interaction_type"
        else f"with {name.replace('_', ' ')} {value}"
        for name, value in sorted(conditions.items())
        if name != "activity_level"
    ]
    return " ".join([words, " and ".join(tail)]).strip()


def value_of(metric: str, value: float) -> str:
    """A metric's value with at most three significant figures."""
    if metric in SHARES:
        return f"{100 * value:.3g} %"
    if metric == SIGNUPS:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def when_of(finding: Finding) -> str:
    if finding.change.shape == SLOPE:
        return ", gradually"
    assert finding.since is not None
    if finding.change.shape == EPISODE and finding.until is not None:
        return f", from the week of {day(finding.since)} until that of {day(finding.until)}; it is over"
    begins = "growing over weeks since" if finding.change.shape == RAMP else "since"
    return f", {begins} the week of {day(finding.since)}"


def sentence_of(finding: Finding) -> str:
    """What changed, for whom, from what to what, since when."""
    metric, group = finding.metric, group_of(finding.conditions)
    if finding.kind == MEASUREMENT:
        return measurement_sentence(finding)
    before, after = value_of(metric, finding.value_expected), value_of(metric, finding.value_actual)
    numbers = f"{after} instead of {before}" + (f" {UNIT[metric]}" if metric in UNIT else "")
    if finding.kind == MIX:
        more = "more" if finding.change.height > 0 else "fewer"
        return f"The mix of new users shifted: {more} of them are {group}{when_of(finding)}."
    whom = "" if not finding.conditions else f" among {group}; others are not affected"
    does = DOES[metric][finding.direction == "up"]
    if finding.kind == ACQUISITION and finding.conditions:
        whom = f" among {group}"
    return f"{does}{whom}: {numbers}{when_of(finding)}."


def measurement_sentence(finding: Finding) -> str:
    if finding.lost_days:
        return (
            f"No events were recorded {days_of(finding.lost_days)}: {finding.value_actual:,.0f} weekly active users "
            f"instead of {finding.value_expected:,.0f}. This is recording or delivery, not behaviour; it is over."
        )
    whom = f" of {group_of(finding.conditions)}" if finding.conditions else ""
    if finding.conditions and finding.direction == "down":
        group = " and ".join(
            f"{name.replace('_', ' ')} {value}" for name, value in finding.conditions.items()
        )
        return (
            f"Nothing is recorded of {group} any more{when_of(finding)}. It stopped overnight in all segments at once: "
            "this is recording, not behaviour."
        )
    return (
        f"{finding.metric.replace('_', ' ').capitalize()}{whom} jumped {finding.direction} overnight in all segments "
        f"at once{when_of(finding)}: this is recording or delivery, not behaviour."
    )


def days_of(days: tuple[pd.Timestamp, ...]) -> str:
    """When days were that lie near each other, as part of a sentence."""
    first, last = days[0], days[-1]
    if first == last:
        return f"on {day(first)}"
    span = (last - first).days + 1
    if span == len(days):
        return f"from {day(first)} to {day(last)}"
    return f"on {len(days)} days between {day(first)} and {day(last)}"


def next_step_of(finding: Finding, marks: pd.DataFrame) -> str:
    """A question that somebody can answer, and what coincides with the change."""
    around = "" if finding.since is None else f" around {day(finding.since)}"
    if finding.lost_days:
        question = "Can the missing events still be loaded? Until then no finding rests on the weeks that they touch."
    elif finding.kind == MEASUREMENT:
        question = f"Is the tracking or the delivery of events broken{around}? Numbers that rest on it are held back."
    elif not finding.is_adverse and finding.kind != MIX:
        question = f"What improved for {group_of(finding.conditions)}{around}, and can it be done elsewhere?"
    else:
        topic = MIX if finding.kind == MIX else finding.metric
        template = QUESTION.get(topic, DEFAULT_QUESTION)
        question = template.format(group=group_of(finding.conditions), when=around)
    return " ".join([question, *coincidences(finding, marks)])


def coincidences(finding: Finding, marks: pd.DataFrame) -> list[str]:
    """Annotations within two weeks of the beginning, and the churn reason whose share rose."""
    told = []
    if finding.since is not None and len(marks):
        near = marks[(marks.day - finding.since).abs() <= pd.Timedelta(days=14)]
        told = [f"At about the same time: {row.label} ({day(row.day)})." for row in near.itertuples()]
    if finding.churn_reason:
        told.append(f'More of those who cancel since then give the reason "{finding.churn_reason}".')
    return told


def label_of(finding: Finding) -> str:
    """A finding as a step of the bridge."""
    does = DOES.get(finding.metric, ("Not recorded", "Recorded twice"))[finding.direction == "up"]
    if finding.kind == MIX:
        does = "Signup mix shifted"
    if finding.kind == MEASUREMENT:
        does = "Not recorded" if finding.lost[DAYS].value > 0 else "Recording changed"
    return does if not finding.conditions else f"{does}: {group_of(finding.conditions)}"
