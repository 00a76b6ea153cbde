"""Publications of a company in the states in which there is little, or something else, to tell."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from user_engagement_tests.support.explained import causes, explained

Tables = Mapping[str, pa.Table]


def no_findings(published: Tables, as_of: date) -> Tables:
    return {**published, **explained([], as_of)}


def measurement_fault(published: Tables, as_of: date) -> Tables:
    """Events that stopped arriving, as the only finding."""
    fault = causes(as_of)[2] | {
        "kind": "measurement",
        "metric": "active_users",
        "conditions": {},
        "before": 2600.0,
        "after": 700.0,
        "label": "Events stopped arriving",
        "finding": "Events of all groups stopped arriving at once; what follows is not behaviour.",
        "next_step": "Which delivery failed?",
    }
    return {**published, **explained([fault], as_of)}


def too_little_history(published: Tables, as_of: date) -> Tables:
    """The company as it was when its first month was over, before any change could be explained."""
    kept = {name: table for name, table in published.items() if name not in explained([], as_of)}
    for name, column in (("cohort_retention", "signup_month"), ("active_users_daily", "activity_date")):
        days = published[name][column]
        first = pc.min(days).as_py()
        end = (pd.Timestamp(first) + pd.offsets.MonthEnd(0)).date()
        kept[name] = published[name].filter(pc.less_equal(days, pa.scalar(end, days.type)))
    for name in ("engagement_frequency", "churn_monthly"):
        months = published[name]["month"]
        kept[name] = published[name].filter(pc.equal(months, pc.min(months)))
    return {**kept, **explained([], as_of)}


def one_segment(published: Tables, _as_of: date) -> Tables:
    """A company that breaks its metrics down by product type alone."""

    def cut(table: pa.Table) -> pa.Table:
        # findings name the group that they are about
        if "segment_name" not in table.column_names or "finding" in table.column_names:
            return table
        return table.filter(pc.is_in(table["segment_name"], pa.array(["all", "product_type"])))

    return {name: cut(table) for name, table in published.items()}


STATES = {
    "no findings": no_findings,
    "measurement fault": measurement_fault,
    "too little history": too_little_history,
    "one segment": one_segment,
}
