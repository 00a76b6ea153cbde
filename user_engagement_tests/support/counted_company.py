"""Weekly counts of a company as dbt would reduce them, drawn user by user, with a cause that is known."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pandas as pd

from user_engagement.insights.panel import TENURES

WEEKS = pd.date_range("2025-01-06", periods=60, freq="7D")
COUNTRIES, DEVICES = ("US", "DE", "BR"), ("desktop", "phone")
DAYS_A_WEEK, SESSIONS_A_DAY, SECONDS, DECLARED = 1.5, 2.0, 300.0, 0.3

Factor = Callable[[pd.DataFrame], np.ndarray]


def unchanged(rows: pd.DataFrame) -> np.ndarray:
    return np.ones(len(rows))


def counted_company(
    seed: int,
    users: int = 6_000,
    activity: Factor = unchanged,
    sessions: Factor = unchanged,
    seconds: Factor = unchanged,
    signs_up: Callable[[pd.DataFrame], pd.Series] | None = None,
    leaves: Factor | None = None,
) -> SimpleNamespace:
    """The rollups behind the brief of a company whose users sign up evenly, and stay unless they leave.

    Args:
        activity, sessions, seconds: factors of active days, of sessions a day and of a session's seconds, for rows of
            country, device, week (its number) and signup_week.
        signs_up: whether each user signs up at all; all users do by default.
        leaves: chance of such a row that its week is the user's last, which some of those who leave declare.
    """
    rng = np.random.default_rng(seed)
    person = pd.DataFrame(
        {
            "country": rng.choice(COUNTRIES, users),
            "device": rng.choice(DEVICES, users),
            "signup_week": np.sort(rng.integers(0, len(WEEKS), users)),
            "bucket": rng.integers(0, 64, users),
            "keen": rng.gamma(2.0, 0.5, users),
        }
    )
    if signs_up is not None:
        person = person[signs_up(person)].reset_index(drop=True)
        users = len(person)
    rows = person.loc[person.index.repeat(len(WEEKS))].assign(week=np.tile(np.arange(len(WEEKS)), users))
    rows = rows[rows.week >= rows.signup_week]
    rows["declares"] = 0
    if leaves is not None:
        has_left = rng.random(len(rows)) < leaves(rows)
        lefts = pd.Series(has_left, rows.index).groupby(level=0).cumsum().to_numpy()
        is_last = has_left & (lefts == 1)
        rows["declares"] = (is_last & (rng.random(len(rows)) < DECLARED)).astype(int)
        rows = rows[(lefts == 0) | is_last]
    rate = np.clip(DAYS_A_WEEK / 7 * rows.keen * activity(rows), 0, 1)
    rows["active_days"] = rng.binomial(7, rate)
    rows["sessions"] = rows.active_days + rng.poisson(
        rows.active_days * (SESSIONS_A_DAY * sessions(rows) - 1).clip(min=0)
    )
    length = (
        SECONDS
        * seconds(rows)
        * np.exp(rng.normal(0, 0.5, len(rows)) / np.sqrt(np.maximum(rows.sessions, 1)))
    )
    rows["session_seconds"], rows["log_seconds"] = rows.sessions * length, rows.sessions * np.log(length)
    return rollups_of(person, with_states(rows))


def with_states(rows: pd.DataFrame) -> pd.DataFrame:
    """Whether a user was active in the week, in the four before, and in both."""
    is_active = (rows.active_days > 0).astype(int)
    of_user = is_active.groupby(level=0)
    before = sum(of_user.shift(lag, fill_value=0) for lag in (1, 2, 3, 4)) > 0
    lately = is_active + sum(of_user.shift(lag, fill_value=0) for lag in (1, 2, 3)) > 0
    return rows.assign(
        active_users=is_active,
        recent_users=before.astype(int),
        retained_users=is_active * before,
        active_users_28=lately.astype(int),
        churned_users=rows.declares,
        days_by_vanished=0,
        early_active_days=rows.active_days.where(rows.week - rows.signup_week < 4, 0),
    )


def rollups_of(person: pd.DataFrame, rows: pd.DataFrame) -> SimpleNamespace:
    cells = pd.MultiIndex.from_product([COUNTRIES, DEVICES], names=["country", "device"])
    number = pd.Series(np.arange(len(cells)), index=cells)
    person = person.assign(
        group=number.loc[pd.MultiIndex.from_frame(person[["country", "device"]])].to_numpy()
    )
    tenure = TENURES[np.searchsorted(TENURES, rows.week - rows.signup_week, side="right") - 1]
    rows = rows.assign(tenure_weeks=tenure, group=person.group.loc[rows.index], week_start=WEEKS[rows.week])
    person = person.assign(
        signups=1,
        early_active_days=rows.early_active_days.groupby(level=0).sum(),
        activated_users=rows.active_users.groupby(level=0).first(),
        signup_week=WEEKS[person.signup_week],
    )
    counts = [
        *rows.columns[rows.columns.get_loc("active_days") : rows.columns.get_loc("days_by_vanished") + 1]
    ]
    weekly, cohorts = [], []
    for kind in ("group", "bucket"):
        by_week = rows.groupby([kind, "tenure_weeks", "week_start"])[counts].sum().reset_index()
        weekly.append(by_week.rename(columns={kind: "cell"}).assign(cell_kind=kind))
        firsts = ["signups", "activated_users", "early_active_days"]
        by_cohort = person.groupby([kind, "signup_week"])[firsts].sum().reset_index()
        cohorts.append(by_cohort.rename(columns={kind: "cell"}).assign(cell_kind=kind))
    return SimpleNamespace(
        group_cells=pd.DataFrame(
            {
                "group_cell": number.to_numpy(),
                "segment_cell": number.to_numpy(),
                "main_device": cells.get_level_values("device"),
                "interaction_type": "view",
                "activity_level": "none",
            }
        ),
        segment_values=pd.DataFrame(
            {
                "segment_cell": number.to_numpy(),
                "segment_name": "country",
                "segment_value": cells.get_level_values("country"),
            }
        ),
        weekly_counts=pd.concat(weekly, ignore_index=True),
        cohort_counts=pd.concat(cohorts, ignore_index=True),
        outages=pd.DataFrame({"outage_date": pd.DatetimeIndex([])}),
        outage_weeks=pd.DataFrame(
            {"week_start": [], "compared_week": [], "active_days": [], "active_users": []}
        ),
        vanished_kinds=pd.DataFrame({"attribute": [], "value": [], "vanished_week": []}),
        habit_sessions=rows.assign(habit="main_device", habit_value=rows.device, kind=rows.device)
        .groupby(["habit", "habit_value", "kind", "week_start"])
        .sessions.sum()
        .reset_index(),
        churn_reason_counts=pd.DataFrame(
            {"group_cell": [], "week_start": [], "churn_reason": [], "users": []}
        ),
    )
