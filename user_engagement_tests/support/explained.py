"""Insight tables in the contract's shape for a company whose four causes are known, and for one without a cause."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

HISTORY_WEEKS = 92


def causes(as_of: date, ages: tuple[int, int, int, int] = (12, 16, 6, 9)) -> list[dict[str, Any]]:
    """Four causes, so many weeks old on that day."""

    def weeks_before(count: int) -> date:
        return as_of - timedelta(days=as_of.weekday() + 7 * count)

    return [
        {
            "kind": "behaviour", "metric": "activation", "conditions": {}, "since": weeks_before(ages[0]),
            "shape": "step", "before": 0.60, "after": 0.39, "effect": -0.21, "lost": 2100.0, "users": 2953,
            "label": "Fewer new users come back",
            "finding": "New users no longer come back in their first week: 39 % instead of 60 %.",
            "next_step": "What do new users meet in their first days that changed: onboarding, messages, prices?",
            "also": ["new_user_retention", "active_users"],
        },
        {
            "kind": "mix", "metric": "new_user_retention", "conditions": {"acquisition_channel": "paid_social"},
            "since": weeks_before(ages[1]), "shape": "slope", "before": 5.6, "after": 4.7, "effect": -0.9,
            "lost": 1200.0, "users": 1282, "label": "Signup mix shifted: users with acquisition channel paid_social",
            "finding": "More signups come from paid social, and they do not stay as long as others.",
            "next_step": "What brings users with acquisition channel paid_social: campaigns, budgets, costs?",
            "also": [],
        },
        {
            "kind": "behaviour", "metric": "frequency", "conditions": {"main_device": "phone"},
            "since": weeks_before(ages[2]), "shape": "step", "before": 6.8, "after": 5.0, "effect": -1.8, "lost": 950.0,
            "users": 2656, "label": "Users are less active: users whose main device is phone",
            "finding": "Users come less often among users whose main device is phone; others are not affected.",
            "next_step": "What changed for users whose main device is phone: releases, crashes, messages?",
            "also": ["sessions_per_day"],
        },
        {
            "kind": "behaviour", "metric": "churn", "conditions": {"product_type": "standard"},
            "since": weeks_before(ages[3]), "shape": "step", "before": 0.033, "after": 0.081, "effect": 0.048,
            "lost": 620.0, "users": 4120, "label": "More users cancel: users with product type standard",
            "finding": "Standard-plan customers cancel more than twice as often: 8.1 % instead of 3.3 % a week.",
            "next_step": "What made users with product type standard cancel: prices, contracts, features?", "also": [],
        },
    ]  # fmt: skip


def churn_reasons(as_of: date, changed: date) -> pa.Table:
    """The mart of that name for all users and one plan; one reason grows from a fifth to half with that month."""
    rows = [
        {
            "segment_name": segment,
            "segment_value": value,
            "month": month.date(),
            "churn_reason": reason,
            "churned_users": count,
            "share": count / 200,
            "observed_through": as_of,
        }
        for segment, value in (("all", "all"), ("product_type", "standard"))
        for month in pd.date_range(end=as_of, periods=14, freq="MS")
        for reason, count in (
            {"too_expensive": 100, "not_needed": 60, "unknown": 40}
            if month.date() >= changed.replace(day=1)
            else {"too_expensive": 40, "not_needed": 100, "unknown": 60}
        ).items()
    ]
    return pa.Table.from_pandas(pd.DataFrame(rows), preserve_index=False)


def explained(found: list[dict[str, Any]], as_of: date, actual: float = 6300.0) -> dict[str, pa.Table]:
    """`decline_brief`, `finding_series` and `engagement_bridge` of these causes; without any, one that says so."""
    monday = as_of - timedelta(days=as_of.weekday() + 7)
    brief = [_brief_row(number, cause) for number, cause in enumerate(found, 1)] or [_no_change()]
    weeks = [monday - timedelta(weeks=back) for back in reversed(range(HISTORY_WEEKS))]
    series = [row for number, cause in enumerate(found, 1) for row in _weeks(number, cause, weeks)]
    tables = {
        "decline_brief": pd.DataFrame(brief),
        "finding_series": pd.DataFrame(
            series,
            columns=["rank", "week", "actual", "expected", "expected_low", "expected_high", "users"],
        ),
        "engagement_bridge": pd.DataFrame(
            [
                row
                for measure, scale in (("weekly_active_users", 0.4), ("active_days", 1.0))
                for row in _bridge(measure, scale, found, actual)
            ]
        ),
    }
    return {
        name: pa.Table.from_pandas(frame.assign(observed_through=as_of), preserve_index=False)
        for name, frame in tables.items()
    }


def _brief_row(rank: int, cause: dict[str, Any]) -> dict[str, Any]:
    segment, value = ("all", "all")
    if len(cause["conditions"]) == 1:
        ((segment, value),) = cause["conditions"].items()
    harm = abs(cause["effect"])
    return {
        "rank": rank,
        "kind": cause["kind"],
        "metric": cause["metric"],
        "conditions": json.dumps(cause["conditions"]),
        "segment_name": segment,
        "segment_value": value,
        "direction": "down" if cause["effect"] < 0 else "up",
        "is_adverse": True,
        "shape": cause["shape"],
        "since": cause["since"],
        "since_low": cause["since"],
        "since_high": cause["since"] + timedelta(weeks=1),
        "until": cause.get("until"),
        "value_expected": cause["before"],
        "value_actual": cause["after"],
        "effect": cause["effect"],
        "ci_low": cause["effect"] - 0.2 * harm,
        "ci_high": cause["effect"] + 0.2 * harm,
        "lost_active_days": cause["lost"],
        "lost_low": 0.8 * cause["lost"],
        "lost_high": 1.2 * cause["lost"],
        "share_of_gap": cause["lost"] / 5000,
        "users": cause["users"],
        "q_value": 0.0004,
        "also": json.dumps(cause["also"]),
        "finding": cause["finding"],
        "next_step": cause["next_step"],
    }


def _no_change() -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(_brief_row(1, causes(date(2025, 1, 1))[0]))
    sentence = (
        "Nothing has changed more than chance allows; a loss of 8 % of active days would have been found."
    )
    return row | {
        "rank": 1,
        "kind": "no_change",
        "is_adverse": False,
        "finding": sentence,
        "conditions": "{}",
    }


def _weeks(rank: int, cause: dict[str, Any], weeks: list[date]) -> list[dict[str, Any]]:
    noise = np.random.default_rng(rank).normal(0, 0.03 * cause["before"], len(weeks))
    ends = cause.get("until") or date.max
    rows = []
    for week, wobble in zip(weeks, noise, strict=True):
        changed = cause["since"] <= week < ends
        part = min(1.0, (week - cause["since"]).days / 400) if cause["shape"] == "slope" else 1.0
        level = cause["before"] + (part * (cause["after"] - cause["before"]) if changed else 0.0)
        rows.append(
            {
                "rank": rank,
                "week": week,
                "actual": level + wobble,
                "expected": cause["before"],
                "expected_low": 0.94 * cause["before"],
                "expected_high": 1.06 * cause["before"],
                "users": cause["users"],
            }
        )
    return rows


def _bridge(measure: str, scale: float, found: list[dict[str, Any]], actual: float) -> list[dict[str, Any]]:
    parts = [(number, cause["label"], -cause["lost"]) for number, cause in enumerate(found, 1)]
    parts.append((None, "Not explained", -130.0))
    expected = actual - sum(amount for _, _, amount in parts)
    rows = [
        (None, "Expected", expected, False),
        *((*p, True) for p in parts),
        (None, "Actual", actual, False),
    ]
    return [
        {
            "measure": measure,
            "position": position,
            "rank": rank,
            "label": label,
            "amount": scale * amount,
            "amount_low": scale * (amount - 0.2 * abs(amount)) if bounded else None,
            "amount_high": scale * (amount + 0.2 * abs(amount)) if bounded else None,
        }
        for position, (rank, label, amount, bounded) in enumerate(rows, 1)
    ]
