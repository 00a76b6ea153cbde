"""The marts against the oracle and against the identities of the KPI contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from numbers import Real
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from user_engagement_tests.support.oracle import KEYS, UNSAID, expected_marts
from user_engagement_tests.support.worlds import World, frame_of

TOLERANCE = 1e-9
STATES = {"new", "active", "resurrected", "dormant", "churned"}
# a row without anybody in it may be left out where the contract does not ask for one
SILENT_ON_EMPTY_ROWS: dict[str, tuple[str, ...]] = {
    "day_n_retention": ("eligible_users", "retained_users"),
    "churn_monthly": ("users_at_start", "churned_users", "churned_same_month"),
    "survival": ("churned", "censored"),
    "session_metrics": ("sessions",),
    "data_quality": ("rows",),
}
DATES = (
    "signup_date signup_month activity_date first_active_date last_active_date declared_churn_date month "
    "inactive_churn_date reactivated_date period_start period_end observed_through"
)
COUNTS = (
    "sessions active_days days_since_signup inactive_churn_count period_number cohort_size eligible_users "
    "retained_users day_number dau wau mau new_users resurrected_users churned_users active_users users_at_start "
    "churned_same_month at_risk churned censored excluded_sessions rows denominator"
)
NUMBERS = (
    "retention_rate retention_rate_eligible ci_low ci_high stickiness quick_ratio active_days_per_user "
    "average_dau churn_rate share survival_rate average_session_seconds median_session_seconds p90_session_seconds "
    "sessions_per_user sessions_per_active_day median_days_between_active_days value session_seconds"
)
TYPES: dict[str, Callable[[pa.DataType], bool]] = {
    **dict.fromkeys(DATES.split(), pa.types.is_date),
    **dict.fromkeys(COUNTS.split(), pa.types.is_integer),
    **dict.fromkeys(NUMBERS.split(), pa.types.is_float64),
    **dict.fromkeys(("is_inactive", "is_complete"), pa.types.is_boolean),
}
# a world takes seconds: those of dozens of users are reported as drawn, the small ones are what is worth shrinking


def differences(name: str, got: pd.DataFrame, want: pd.DataFrame) -> Iterator[str]:
    """How a mart differs from what the contract asks for, a line for every row."""
    keys = KEYS[name]
    if missing := sorted(set(want.columns) - set(got.columns)):
        yield f"{name}: no column {', '.join(missing)}"
        return
    got_rows, want_rows = _by_key(got, keys), _by_key(want, keys)
    if len(got_rows) < len(got):
        yield f"{name}: {len(got) - len(got_rows)} rows more than distinct keys"
    counts = SILENT_ON_EMPTY_ROWS.get(name)
    for key in sorted(got_rows.keys() | want_rows.keys(), key=str):
        found, wanted = got_rows.get(key), want_rows.get(key)
        if found is None or wanted is None:
            row = found or wanted or {}
            if counts is None or any(row[column] for column in counts):
                yield f"{name}: {'missing' if found is None else 'unexpected'} {_readable(row)}"
            continue
        wrong = [c for c in wanted if not _same(found[c], wanted[c])]
        if wrong:
            values = ", ".join(f"{c} is {found[c]!r}, not {wanted[c]!r}" for c in wrong)
            yield f"{name} {'/'.join(str(part) for part in key)}: {values}"


def _by_key(frame: pd.DataFrame, keys: list[str]) -> dict[tuple[Any, ...], dict[str, Any]]:
    rows = [{str(name): _plain(value) for name, value in row.items()} for row in frame.to_dict("records")]
    return {tuple(row[key] for key in keys): row for row in rows}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.date() if value == datetime.combine(value, datetime.min.time()) else value
    return None if value is None or value is pd.NaT else value


def _same(found: Any, wanted: Any) -> bool:
    if wanted is UNSAID:
        return True
    if isinstance(wanted, Real) and isinstance(found, Real):
        return abs(float(found) - float(wanted)) <= TOLERANCE * max(1.0, abs(float(wanted)))
    return found == wanted


def _readable(row: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in row.items() if value is not None)


def check_contract(world: World, marts: dict[str, pa.Table]) -> None:
    """Every mart holds what the oracle says, no NaN or infinity, and the identities of the contract."""
    found = [line for name, table in marts.items() for line in _unreal_numbers(name, table)]
    for name, want in expected_marts(world.inputs).items():
        found += differences(name, frame_of(marts[name]), want)
    found += _broken_identities({name: frame_of(table) for name, table in marts.items()})
    assert not found, "\n".join([f"{len(found)} differences", *found[:40]])


def _unreal_numbers(name: str, table: pa.Table) -> Iterator[str]:
    for field in table.schema:
        if pa.types.is_floating(field.type) and pc.any(pc.invert(pc.is_finite(table[field.name]))).as_py():
            yield f"{name}.{field.name} holds NaN or an infinity"


def _broken_identities(marts: dict[str, pd.DataFrame]) -> Iterator[str]:
    """What must add up within the marts themselves, whoever is right about the rows."""
    quality = marts["data_quality"]
    for table, rows in quality[quality.reason != "identical_row"].groupby("table_name"):
        counts = dict(zip(rows.reason, rows.rows, strict=True))
        if counts.pop("total") != sum(counts.values()):
            yield f"data_quality: the rows of {table} are not all accounted for: {counts}"
    for segment, days in marts["active_users_daily"].groupby(["segment_name", "segment_value"]):
        days = days.sort_values("activity_date")
        change = days.new_users + days.resurrected_users - days.churned_users
        if (days.mau != days.mau.shift(fill_value=0) + change).any():
            yield f"active_users_daily {segment}: mau is not the sum of its transitions"
    states = set(marts["user_lifecycle"].lifecycle_state.dropna())
    if states - STATES:
        yield f"user_lifecycle: unknown states {states - STATES}"
