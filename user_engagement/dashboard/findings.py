"""The published findings: what changed, for whom, since when, and how much of the gap each explains."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

from user_engagement import formatting as fmt
from user_engagement.dashboard.data import Frame, Generation

BRIEF, SERIES, BRIDGE = "decline_brief", "finding_series", "engagement_bridge"
SHORT = {
    "signups": "Signups",
    "activation": "First week",
    "new_user_retention": "New users",
    "retention": "Coming back",
    "churn": "Cancelling",
    "resurrection": "Returning",
    "frequency": "Active days",
    "sessions_per_day": "Sessions",
    "session_duration": "Duration",
    "active_users": "Active users",
}
METRICS = {
    "signups": ("Signups a week", "users"),
    "activation": ("New users who come back in their first week", "rate"),
    "new_user_retention": ("Active days of new users in their first 4 weeks", "days"),
    "retention": ("Users who come back from week to week", "rate"),
    "churn": ("Users who cancel in a week", "rate"),
    "resurrection": ("Users who return after a pause", "rate"),
    "frequency": ("Active days per active user in 4 weeks", "days"),
    "sessions_per_day": ("Sessions per active day", "sessions"),
    "session_duration": ("Session duration", "seconds"),
    "active_users": ("Weekly active users", "users"),
}
"""A finding's metric: its name and its unit."""
NOUNS = {
    "signups": " signups a week",
    "activation": " in week 1",
    "new_user_retention": " active days in 4 weeks",
    "retention": " a week",
    "churn": " of active users a week",
    "frequency": " active days in 4 weeks",
    "sessions_per_day": " sessions",
    "active_users": " users",
}
"""What stands behind a metric's numbers, where their unit does not say it."""
LAST_WEEKS, DAYS_A_WEEK = 4, 7
CAUSES = ("behaviour", "mix", "acquisition", "ageing", "measurement")


@dataclass(frozen=True)
class Finding:
    """A row of `decline_brief`; values and effect are in the metric's unit, losses in active days a week.

    ``title`` is the finding in a few words, as in the bridge; ``until`` the first day after an episode.
    """

    rank: int
    title: str
    kind: str
    metric: str
    conditions: Mapping[str, str]
    is_adverse: bool
    shape: str
    since: date | None
    until: date | None
    expected: float | None
    actual: float | None
    effect: float | None
    interval: tuple[float | None, float | None]
    lost_active_days: float | None
    lost_interval: tuple[float | None, float | None]
    share_of_gap: float | None
    users: int | None
    q_value: float | None
    also: tuple[str, ...]
    sentence: str
    next_step: str

    @property
    def is_cause(self) -> bool:
        return self.kind in CAUSES

    @property
    def is_measurement(self) -> bool:
        """Whether it is about recording or delivery, and not about what users did."""
        return self.kind == "measurement"

    @property
    def name(self) -> str:
        """The metric's name."""
        return METRICS.get(self.metric, (fmt.label(self.metric), ""))[0]

    @property
    def short(self) -> str:
        """The group in a few words, or the metric where it is all users: for a label."""
        if self.is_measurement:
            return "Recording"
        return ", ".join(map(fmt.label, self.conditions.values())) or SHORT.get(
            self.metric, fmt.label(self.metric)
        )

    @property
    def unit(self) -> str:
        return METRICS.get(self.metric, ("", "days"))[1]

    @property
    def group(self) -> str:
        """Whom it concerns: all users, or a value per attribute."""
        if not self.conditions:
            return "all users"
        return ", ".join(f"{fmt.label(a).lower()} {fmt.label(v)}" for a, v in self.conditions.items())

    @property
    def when(self) -> str:
        """Since when, or from when to when; empty where no week stands out."""
        if self.since is None:
            return ""
        if self.until is not None:
            last = self.until - timedelta(days=1)
            is_one_week = (self.until - self.since).days == DAYS_A_WEEK
            return (
                f"week of {fmt.day(self.since)}"
                if is_one_week
                else f"{fmt.day(self.since)} to {fmt.day(last)}"
            )
        return f"since {fmt.day(self.since)}"


def is_explained(generation: Generation) -> bool:
    """Whether the generation holds findings with their series and their bridge, which older ones do not."""
    return all(map(generation.has, (BRIEF, SERIES, BRIDGE))) and len(generation.frame(BRIEF)) > 0


@lru_cache(8)
def read_findings(generation: Generation) -> tuple[Finding, ...]:
    """Every row of the brief by rank; none where `is_explained` is false."""
    if not is_explained(generation):
        return ()
    steps = generation.frame(BRIDGE).dropna(subset="rank")
    labels = {int(rank): str(label) for rank, label in zip(steps["rank"], steps.label, strict=True)}
    return tuple(_finding(row, labels) for row in generation.frame(BRIEF).sort_values("rank").itertuples())


def causes(generation: Generation) -> tuple[Finding, ...]:
    """The findings that explain a change, by rank."""
    return tuple(finding for finding in read_findings(generation) if finding.is_cause)


@dataclass(frozen=True, eq=False)
class Course:
    """A finding's metric week by week (week, actual, expected, expected_low, expected_high, users), and its unit.

    ``expected`` and ``actual`` are what the finding says of it: the means of the last weeks, or of an episode.
    """

    weeks: Frame
    name: str
    unit: str
    noun: str
    expected: float | None
    actual: float | None

    @property
    def values(self) -> str:
        """What would have been, and what is."""
        values = (fmt.brief_value(value, self.unit) for value in (self.expected, self.actual))
        return f"{' → '.join(values)}{self.noun}"


def course(generation: Generation, finding: Finding) -> Course:
    """The weeks up to the last one of which something is expected: later ones are not complete for the metric.

    Of a change of the mix they count the group's signups.
    """
    frame = generation.frame(SERIES)
    rows = frame[(frame["rank"] == finding.rank) & frame.actual.notna()].sort_values("week")
    last = rows.week[rows.expected.notna()].max()
    rows = rows[rows.week <= last]
    if finding.kind == "mix" and (rows.actual > 1).any():
        last_weeks = rows[["expected", "actual"]].tail(LAST_WEEKS).mean()
        return Course(rows, *METRICS["signups"], " signups a week", *last_weeks)
    noun = NOUNS.get(finding.metric, "")
    return Course(rows, finding.name, finding.unit, noun, finding.expected, finding.actual)


def bridge(generation: Generation, measure: str) -> Frame:
    """From the expected total to the actual one, in order; amounts between them add up to their difference."""
    frame = generation.frame(BRIDGE)
    return frame[frame.measure == measure].sort_values("position")


def _finding(row: Any, labels: Mapping[int, str]) -> Finding:
    rank, conditions = int(row.rank), json.loads(_given(row.conditions) or "{}")
    return Finding(
        rank=rank,
        title=_words(
            _fault(row.finding)
            if row.kind == "measurement"
            else _title(labels.get(rank, row.finding), conditions)
        ),
        kind=row.kind,
        metric=_given(row.metric) or "",
        conditions=conditions,
        is_adverse=bool(_given(row.is_adverse)),
        shape=_given(row.shape) or "",
        since=_day(row.since),
        until=_day(row.until),
        expected=_given(row.value_expected),
        actual=_given(row.value_actual),
        effect=_given(row.effect),
        interval=(_given(row.ci_low), _given(row.ci_high)),
        lost_active_days=_given(row.lost_active_days),
        lost_interval=(_given(row.lost_low), _given(row.lost_high)),
        share_of_gap=_given(row.share_of_gap),
        users=None if fmt.is_missing(row.users) else int(row.users),
        q_value=_given(row.q_value),
        also=tuple(json.loads(_given(row.also) or "[]")),
        sentence=_words(row.finding),
        next_step=_words(_given(row.next_step) or ""),
    )


def _given(value: Any) -> Any:
    return None if fmt.is_missing(value) else value


def _day(value: Any) -> date | None:
    return None if fmt.is_missing(value) else value.date()


def _title(label: str, conditions: Mapping[str, str]) -> str:
    """What changed and, after a colon, for whom in a word or two."""
    change, group, _ = label.partition(": ")
    return f"{change}: {', '.join(map(fmt.label, conditions.values()))}" if group and conditions else label


def _fault(sentence: str) -> str:
    """What is said of a fault of recording before its figures and what they mean."""
    return re.split(r": |\. ", sentence, maxsplit=1)[0].rstrip(".")


def _words(sentence: str) -> str:
    """A sentence whose names of columns and values are words: paid_social is paid social."""
    return re.sub(r"\b[^\W_]+(?:_[^\W_]+)+\b", lambda name: name[0].replace("_", " "), sentence)
