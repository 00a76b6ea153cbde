"""KPIs of a segment value, computed from its own rows as `kpi_summary` is for all users.

Nothing is added up across segment values. Users of different signup months are different users, so a retention rate
over all cohorts is the sum of their retained over the sum of their eligible users.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pandas as pd

from user_engagement.dashboard.data import ALL, Frame, Generation
from user_engagement.dashboard.intervals import wilson

LOOK_BACK = {"dau": 7, "wau": 7, "stickiness": 7}
"""Days to the value before, for measures of a day; of `mau` it is its window."""


@lru_cache(256)
def kpis(generation: Generation, segment: str = ALL, value: str = ALL) -> Frame:
    """The headline KPIs in their order, in the columns of `kpi_summary`.

    Of a segment value, those that the marts hold for it: durations and days since signup are not broken down.
    """
    summary = generation.frame("kpi_summary").sort_values("position").set_index("kpi", drop=False)
    if segment == ALL:
        return summary
    computed = _computed(generation, segment, value, summary)
    columns = ["kpi", "label", "unit", "definition", "desired_direction", "position"]
    rows = [{**summary.loc[k, columns].to_dict(), **computed[k]} for k in summary.index if k in computed]
    return pd.DataFrame(rows, columns=summary.columns).set_index("kpi", drop=False)


def _computed(generation: Generation, segment: str, value: str, summary: Frame) -> dict[str, dict[str, Any]]:
    def own(mart: str) -> Frame:
        frame = generation.of_segment(mart, segment)
        return frame[frame.segment_value == value]

    found: dict[str, dict[str, Any]] = {}
    churn = own("churn_monthly")
    for kind in ("declared", "inactive"):
        rows = churn[(churn.churn_kind == kind) & churn.is_complete].sort_values("month")
        found[f"churn_rate_{kind}"] = _monthly(rows, "churn_rate", "churned_users", "users_at_start")
    frequency = own("engagement_frequency")
    rows = frequency[frequency.is_complete].sort_values("month")
    for name in ("sessions_per_user", "active_days_per_user"):
        found[name] = _monthly(rows, name, None, "active_users")
    retention = own("cohort_retention")
    for periods in (1, 6):
        cells = retention[(retention.period_kind == "relative_month") & (retention.period_number == periods)]
        retained, eligible = int(cells.retained_users.sum()), int(cells.eligible_users.sum())
        name = f"retention_{periods}_month"
        found[name] = {
            **_share(retained, eligible),
            "period_start": summary.loc[name, "period_start"],
            "period_end": summary.loc[name, "period_end"],
        }
    window = (summary.loc["mau", "period_end"] - summary.loc["mau", "period_start"]).days + 1
    days = own("active_users_daily").set_index("activity_date").sort_index()
    for name in ("dau", "wau", "mau", "stickiness"):
        found[name] = _daily(days, name, LOOK_BACK.get(name) or window, summary.loc[name])
    return found


def _monthly(rows: Frame, column: str, numerator: str | None, denominator: str) -> dict[str, Any]:
    """The last complete month against the one before."""
    if rows.empty:
        return {}
    last = rows.iloc[-1]
    before = rows.iloc[-2][column] if len(rows) > 1 else None
    return {
        "value": last[column],
        "previous_value": before,
        "numerator": last[numerator] if numerator else None,
        "denominator": last[denominator],
        "ci_low": last.get("ci_low"),
        "ci_high": last.get("ci_high"),
        "period_start": last.month,
        "period_end": last.month + pd.offsets.MonthEnd(0),
    }


def _daily(days: Frame, column: str, back: int, all_users: Frame) -> dict[str, Any]:
    """The last day against the one ``back`` days earlier."""
    if days.empty:
        return {}
    last, earlier = days.iloc[-1], days.index[-1] - pd.Timedelta(days=back)
    row: dict[str, Any] = {
        "previous_value": days.loc[earlier, column] if earlier in days.index else None,
        "period_start": all_users.period_start,
        "period_end": all_users.period_end,
    }
    if column == "stickiness":
        return row | _share(int(last.dau), int(last.mau))
    return row | {"value": last[column], "numerator": last[column]}


def _share(numerator: int, denominator: int) -> dict[str, Any]:
    if not denominator:
        return {}
    low, high = wilson(numerator, denominator)
    return {
        "value": numerator / denominator,
        "numerator": numerator,
        "denominator": denominator,
        "ci_low": float(low),
        "ci_high": float(high),
    }
