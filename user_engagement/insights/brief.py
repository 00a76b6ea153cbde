"""The answer: what changed, for whom, since when, how much of the loss that is, and the pictures beside it.

Three tables of one story: `decline_brief`, a row a finding; `finding_series`, each finding's metric week by week;
`engagement_bridge`, from what would have been to what is.
"""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from user_engagement.formatting import day
from user_engagement.insights.names import DAYS, PEOPLE

if TYPE_CHECKING:
    from user_engagement.insights.findings import Finding, Story
from user_engagement.insights.schema import COUNT, DAY, FLAG, NUMBER, TEXT, Table
from user_engagement.insights.words import label_of, next_step_of, sentence_of

EVERYBODY = "all"
NO_CHANGE, HEADLINE = "no_change", "headline"

DECLINE_BRIEF = Table(
    "Why engagement changed: what, for whom, since when, how much of the loss; what matters most first.",
    ("rank",),
    {
        "rank": (COUNT, "1 matters most."),
        "kind": (
            TEXT,
            (
                "`behaviour` (a group acts otherwise), `mix` (the users are others), `acquisition` (more or fewer "
                "sign up), `measurement` (recording or delivery), `no_change`, `headline`."
            ),
        ),
        "metric": (
            TEXT,
            (
                "signups (a week), activation (share of new users active on days 1 to 6), new_user_retention (active "
                "days on days 1 to 28), retention (share active in a week of those active in the four before), churn "
                "(cancelling in a week, of the same), resurrection (share active in a week of those inactive in the "
                "four before), frequency (active days per active user and four weeks), sessions_per_day, "
                "session_duration (seconds) or active_users (weekly)."
            ),
        ),
        "conditions": (TEXT, "JSON object of attribute and value; `{}` for all users."),
        "segment_name": (TEXT, "The attribute of a single condition, `all` for none, null for several."),
        "segment_value": (TEXT, "Its value, `all` for none, null for several."),
        "direction": (TEXT, "`down` or `up`: where the metric moved."),
        "is_adverse": (FLAG, "Whether that harms."),
        "shape": (TEXT, "`step`, `slope` or `episode`."),
        "since": (DAY, "Monday of the first week; null where no week stands out."),
        "since_low": (DAY, "Lower bound of it (95 %, by likelihood ratio)."),
        "since_high": (DAY, "Upper bound of it."),
        "until": (DAY, "First week after an episode; null while it lasts."),
        "value_expected": (
            NUMBER,
            "What would have been, in the last complete weeks (of an episode: in its weeks).",
        ),
        "value_actual": (NUMBER, "What was."),
        "effect": (NUMBER, "value_actual - value_expected, in the metric's unit."),
        "ci_low": (NUMBER, "Lower 95 % bound of the effect, with the noise that users of a week share."),
        "ci_high": (NUMBER, "Upper 95 % bound of it."),
        "lost_active_days": (NUMBER, "Active days a week that the finding takes; negative is a gain."),
        "lost_low": (NUMBER, "Lower 95 % bound of it."),
        "lost_high": (NUMBER, "Upper 95 % bound of it."),
        "share_of_gap": (
            NUMBER,
            "Of all that is lost now; null where that is within chance or parts offset.",
        ),
        "users": (COUNT, "Users of the group in the last weeks."),
        "q_value": (NUMBER, "Chance that any series of the family shows as much without a change."),
        "also": (TEXT, "JSON list of metrics that follow from the same cause."),
        "finding": (TEXT, "A sentence."),
        "next_step": (TEXT, "A question that somebody can answer, and what coincides."),
    },
)
FINDING_SERIES = Table(
    "The metric of each finding's group, week by week, and what was expected of it.",
    ("rank", "week"),
    {
        "rank": (COUNT, "The finding's rank in `decline_brief`."),
        "week": (DAY, "Monday."),
        "actual": (NUMBER, "The metric in its unit; null in weeks that nothing is known of."),
        "expected": (NUMBER, "What the group would have shown as before the change."),
        "expected_low": (NUMBER, "Lower 95 % bound of a single week."),
        "expected_high": (NUMBER, "Upper 95 % bound of it."),
        "users": (COUNT, "Users of the group (of a new-user metric: signups)."),
    },
)
ENGAGEMENT_BRIDGE = Table(
    "From what would have been to what is, a week, in the last complete four weeks; the amounts add up.",
    ("measure", "position"),
    {
        "measure": (TEXT, "`weekly_active_users` or `active_days` (a week)."),
        "position": (COUNT, "1 is the expected total, the last one the actual total."),
        "rank": (COUNT, "Of the finding in `decline_brief`; null for the totals and the unexplained part."),
        "label": (TEXT, "In words."),
        "amount": (
            NUMBER,
            (
                "Users or active days a week; of a finding what it alone adds or, below 0, takes, with all others as "
                "they are. What several take together is in the unexplained part."
            ),
        ),
        "amount_low": (NUMBER, "Lower 95 % bound of it."),
        "amount_high": (NUMBER, "Upper 95 % bound of it."),
    },
)
MEASURES = {"weekly_active_users": PEOPLE, "active_days": DAYS}


def decline_brief(story: Story | None, marks: pd.DataFrame, growth: pd.DataFrame) -> pd.DataFrame:
    """The findings in order, then the growth accounting.

    Args:
        story: None where the history is too short.
        marks: annotations: day, label.
        growth: growth accounting of the change, one row per segment.
    """
    if story is None:
        rows = [nothing("There is not enough history: 12 complete weeks are needed.")]
    else:
        rows = [row_of(each, marks) for each in story.findings] or [nothing(no_change(story))]
    rows += headline(growth)
    table = pd.DataFrame(rows).reindex(columns=list(DECLINE_BRIEF.columns))
    return table.assign(rank=np.arange(1, len(rows) + 1))


def finding_series(story: Story | None) -> pd.DataFrame:
    """Each finding's picture."""
    parts = [each.series.assign(rank=rank) for rank, each in enumerate(story.findings, 1)] if story else []
    if not parts:
        return pd.DataFrame(columns=list(FINDING_SERIES.columns))
    return pd.concat(parts, ignore_index=True)[list(FINDING_SERIES.columns)]


def engagement_bridge(story: Story | None) -> pd.DataFrame:
    """Expected total, each finding's part, what none explains, actual total, for each measure."""
    rows: list[dict[str, object]] = []
    for measure, count in MEASURES.items() if story else ():
        assert story is not None
        parts = [
            (rank, label_of(each), -each.lost_now[count])
            for rank, each in enumerate(story.findings, 1)
            if each.lost_now[count].value
        ]
        rest = story.unexplained[count]
        expected = story.actual[count] - sum(part.value for _, _, part in parts) - rest.value
        steps = [
            (None, "Expected without the findings", expected, expected, expected),
            *((rank, label, part.value, part.low, part.high) for rank, label, part in parts),
            (None, "Unexplained by any single finding", rest.value, rest.low, rest.high),
            (None, "Actual", story.actual[count], story.actual[count], story.actual[count]),
        ]
        for position, (rank, label, amount, low, high) in enumerate(steps, 1):
            rows.append(
                {
                    "measure": measure,
                    "position": position,
                    "rank": rank,
                    "label": label,
                    "amount": amount,
                    "amount_low": low,
                    "amount_high": high,
                }
            )
    return pd.DataFrame(rows, columns=list(ENGAGEMENT_BRIDGE.columns))


def row_of(finding: Finding, marks: pd.DataFrame) -> dict[str, object]:
    conditions = finding.conditions
    single = next(iter(conditions.items())) if len(conditions) == 1 else None
    of_all = EVERYBODY if not conditions else None
    lost = finding.lost[DAYS]
    shape = "step" if finding.change.shape == "ramp" else finding.change.shape
    return {
        "kind": finding.kind,
        "metric": finding.metric,
        "conditions": json.dumps(conditions, ensure_ascii=False, sort_keys=True),
        "segment_name": single[0] if single else of_all,
        "segment_value": single[1] if single else of_all,
        "direction": finding.direction,
        "is_adverse": finding.is_adverse,
        "shape": shape,
        "since": finding.since,
        "since_low": finding.since_low,
        "since_high": finding.since_high,
        "until": finding.until,
        "value_expected": finding.value_expected,
        "value_actual": finding.value_actual,
        "effect": finding.effect.value,
        "ci_low": finding.effect.low,
        "ci_high": finding.effect.high,
        "lost_active_days": lost.value,
        "lost_low": lost.low,
        "lost_high": lost.high,
        "share_of_gap": finding.share_of_gap,
        "users": finding.users,
        "q_value": finding.q_value,
        "also": json.dumps(list(finding.also)),
        "finding": sentence_of(finding),
        "next_step": next_step_of(finding, marks),
    }


def nothing(sentence: str) -> dict[str, object]:
    return {
        "kind": NO_CHANGE,
        "conditions": "{}",
        "segment_name": EVERYBODY,
        "segment_value": EVERYBODY,
        "also": "[]",
        "finding": sentence,
        "next_step": "",
    }


def no_change(story: Story) -> str:
    if story.least_change is None:
        return "Nothing changed beyond chance; the data are too few to find any but the largest changes."
    return (
        "Nothing changed beyond chance. A lasting change of all users' activity of "
        f"{100 * story.least_change:.2g} % or more would have been found."
    )


def headline(growth: pd.DataFrame) -> list[dict[str, object]]:
    """The growth accounting of weekly active users."""
    return [
        {
            "kind": HEADLINE,
            "metric": "active_users",
            "conditions": "{}",
            "segment_name": EVERYBODY,
            "segment_value": EVERYBODY,
            "direction": "down" if row.change < 0 else "up",
            "is_adverse": bool(row.change < 0),
            "effect": float(row.change),
            "value_expected": float(row.active_before),
            "value_actual": float(row.active_after),
            "users": int(row.active_after),
            "also": "[]",
            "finding": (
                f"Weekly active users went from {row.active_before:,} (week of {week(row.before_week)}) to "
                f"{row.active_after:,} (week of {week(row.after_week)}): {row.new_users:,} new and "
                f"{row.resurrected_users:,} returning users, {row.churned_users:,} who left."
            ),
            "next_step": "",
        }
        for row in growth[growth.segment_name == EVERYBODY].itertuples()
    ]


def week(monday: object) -> str:
    return day(pd.Timestamp(str(monday)))


def markdown(brief: pd.DataFrame, as_of: date) -> str:
    """The brief as a Markdown list, most important first."""
    head = f"**Why engagement changed**, as of {day(as_of)}"
    findings = [
        f"{row.rank}. {row.finding}" + (f" _{row.next_step}_" if row.next_step else "")
        for row in brief.itertuples()
    ]
    return "\n".join([head, "", *findings, ""])
