"""The KPI contract computed a second time, by brute force: what the marts must hold for given source rows.

Written from the contract alone, never from the SQL, and by other means: a dense user x day matrix, one plain loop
per question, lifelines for survival, statsmodels for intervals, dateutil for months. It is slow and meant to be
read; worlds of some dozens of users are what it is for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache, cached_property
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from dateutil.relativedelta import relativedelta
from lifelines import KaplanMeierFitter
from statsmodels.stats.proportion import proportion_confint

Row = Mapping[str, str | None]

DAY_N = (1, 3, 7, 14, 28, 30, 60, 90, 180)
DEFAULT_SEGMENTS = ("product_type", "acquisition_channel", "country")
KEYS: dict[str, list[str]] = {
    "user_activity_daily": ["user_id", "activity_date"],
    "user_lifecycle": ["user_id"],
    "cohort_retention": ["segment_name", "segment_value", "signup_month", "period_kind", "period_number"],
    "day_n_retention": ["segment_name", "segment_value", "retention_kind", "day_number"],
    "active_users_daily": ["segment_name", "segment_value", "activity_date"],
    "growth_accounting": ["segment_name", "segment_value", "period_kind", "period_start"],
    "churn_monthly": ["segment_name", "segment_value", "churn_kind", "month"],
    "churn_reasons": ["segment_name", "segment_value", "month", "churn_reason"],
    "survival": ["segment_name", "segment_value", "churn_kind", "days_since_signup"],
    "session_metrics": ["month", "interaction_type"],
    "engagement_frequency": ["segment_name", "segment_value", "month"],
    "data_quality": ["table_name", "reason"],
    "kpi_summary": ["kpi"],
}
UNSAID = ...  # stands where the contract leaves a value open


@dataclass(frozen=True)
class Inputs:
    """Source rows as text, in source order, and the settings that give them a meaning."""

    signups: Sequence[Row]
    engagement: Sequence[Row]
    churn: Sequence[Row] | None
    as_of: date
    data_start: date | None = None
    timezone: str = "UTC"
    segments: tuple[str, ...] | None = None
    active_window_days: int = 28
    inactivity_days: int = 28
    max_session_seconds: float = 86_400.0
    max_periods: int = 24


@dataclass(frozen=True)
class User:
    """One user with everything the contract derives about them; days are calendar days."""

    user_id: str
    signup: date
    attributes: dict[str, str]
    resignups: tuple[date, ...]
    active: tuple[date, ...]
    in_scope: bool
    declared: date | None
    spells: tuple[date, ...]
    is_inactive: bool

    @property
    def inactive(self) -> date | None:
        return self.spells[0] if self.spells else None

    def churn(self, kind: str) -> date | None:
        return self.declared if kind == "declared" else self.inactive


@dataclass(frozen=True)
class Session:
    user_id: str
    day: date
    seconds: float | None
    interaction_type: str


class Oracle:
    """Answers for one set of inputs; `marts` has every table."""

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs
        self.as_of = inputs.as_of
        self.zone = ZoneInfo(inputs.timezone)
        self.quality: Counter[tuple[str, str]] = Counter()
        self._signup_rows = self._accepted_signups()
        self.sessions = self._accepted_sessions()
        self._churn_days = self._accepted_churn()
        self.users = self._users()
        self.first_day = min(user.signup for user in self.users)
        self.days = list(_days(self.first_day, self.as_of))
        self.active, self.session_counts = self._matrices()

    def marts(self) -> dict[str, pd.DataFrame]:
        tables: dict[str, Callable[[], Iterable[dict[str, Any]]]] = {
            "user_activity_daily": self.user_activity_daily,
            "user_lifecycle": self.user_lifecycle,
            "cohort_retention": self.cohort_retention,
            "day_n_retention": self.day_n_retention,
            "active_users_daily": self.active_users_daily,
            "growth_accounting": self.growth_accounting,
            "churn_monthly": self.churn_monthly,
            "churn_reasons": self.churn_reasons,
            "survival": self.survival,
            "session_metrics": self.session_metrics,
            "engagement_frequency": self.engagement_frequency,
            "data_quality": self.data_quality,
            "kpi_summary": self.kpi_summary,
        }
        return {name: self._frame(KEYS[name], rows()) for name, rows in tables.items()}

    def _frame(self, keys: list[str], rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
        found = [{**row, "observed_through": self.as_of} for row in rows]
        return (
            pd.DataFrame(found, dtype=object) if found else pd.DataFrame(columns=[*keys, "observed_through"])
        )

    # -- rules 1, 4: rows to users, sessions and churn days ----------------------------------------------

    def _values(self, row: Row) -> frozenset[tuple[str, Any]]:
        """What an engagement row says, whichever way it is written: columns without a value say nothing."""
        said: dict[str, Any] = {name: value for name, value in row.items() if not _blank(value)}
        said["engagement_date"] = moment_of(said["engagement_date"], self.zone)
        if "session_duration" in said:
            said["session_duration"] = float(said["session_duration"])
        return frozenset(said.items())

    def _count(self, table: str, reason: str) -> None:
        self.quality[table, reason] += 1

    def _dated(self, table: str, rows: Sequence[Row], column: str) -> Iterator[tuple[str, datetime, Row]]:
        """Rows that have a user and a date; the others are quarantined for the first reason that applies."""
        for row in rows:
            self._count(table, "total")
            user_id, text = row.get("user_id"), row.get(column)
            if _blank(user_id):
                self._count(table, "null_user_id")
            elif _blank(text):
                self._count(table, "null_date")
            elif (moment := moment_of(str(text), self.zone)) is None:
                self._count(table, "unparseable_date")
            else:
                yield str(user_id), moment, row

    def _accepted_signups(self) -> dict[str, list[tuple[datetime, Row]]]:
        """Every user's signup rows, the one that counts first: the earliest, then source order."""
        found: dict[str, list[tuple[datetime, Row]]] = {}
        for user_id, moment, row in self._dated("user_signups", self.inputs.signups, "signup_date"):
            if moment.date() > self.as_of:
                self._count("user_signups", "after_as_of")
            else:
                found.setdefault(user_id, []).append((moment, row))
        for rows in found.values():
            rows.sort(key=lambda dated: dated[0])  # stable: source order stays among equal dates
            self.quality["user_signups", "kept"] += 1
            self.quality["user_signups", "duplicate_user"] += len(rows) - 1
        return found

    def _in_life(self, table: str, rows: Sequence[Row], column: str) -> Iterator[tuple[str, date, Row]]:
        """Rows of known users between their signup and `as_of`."""
        for user_id, moment, row in self._dated(table, rows, column):
            day = moment.date()
            if user_id not in self._signup_rows:
                self._count(table, "orphan")
            elif day < self._signup_rows[user_id][0][0].date():
                self._count(table, "before_signup")
            elif day > self.as_of:
                self._count(table, "after_as_of")
            else:
                yield user_id, day, row

    def _accepted_sessions(self) -> list[Session]:
        sessions: list[Session] = []
        seen_ids: set[str] = set()
        copies: Counter[Any] = Counter()
        for user_id, day, row in self._in_life("user_engagement", self.inputs.engagement, "engagement_date"):
            event_id = row.get("event_id")
            if _blank(event_id) or set(str(event_id)) <= {"0", "-"}:
                copies[self._values(row)] += 1
            elif str(event_id) in seen_ids:
                self._count("user_engagement", "duplicate_event")
                continue
            else:
                seen_ids.add(str(event_id))
            self._count("user_engagement", "kept")
            duration = row.get("session_duration")
            seconds = None if _blank(duration) else float(str(duration))
            sessions.append(Session(user_id, day, seconds, _known(row.get("interaction_type"))))
        self.quality["user_engagement", "identical_row"] = sum(n - 1 for n in copies.values())
        return sessions

    def _accepted_churn(self) -> dict[str, date]:
        """Every user's first churn day; the reason that came with it is kept beside it."""
        found: dict[str, list[tuple[datetime, str]]] = {}
        for user_id, _, row in self._in_life("churn_data", self.inputs.churn or [], "churn_date"):
            self._count("churn_data", "duplicate_churn" if user_id in found else "kept")
            moment = moment_of(str(row["churn_date"]), self.zone)
            assert moment
            found.setdefault(user_id, []).append((moment, _known(row.get("churn_reason"))))
        first = {user_id: min(churns, key=lambda churn: churn[0]) for user_id, churns in found.items()}
        self._churn_reasons = {user_id: reason for user_id, (_, reason) in first.items()}
        return {user_id: moment.date() for user_id, (moment, _) in first.items()}

    def _users(self) -> list[User]:
        active: dict[str, set[date]] = {user_id: set() for user_id in self._signup_rows}
        for session in self.sessions:
            active[session.user_id].add(session.day)
        return [
            self._user(user_id, rows, sorted(active[user_id])) for user_id, rows in self._signup_rows.items()
        ]

    def _user(self, user_id: str, rows: list[tuple[datetime, Row]], active: list[date]) -> User:
        signup, row = rows[0][0].date(), rows[0][1]
        window = timedelta(days=self.inputs.inactivity_days)
        clock = sorted({signup, *active})
        spells = [
            day + window
            for day, following in zip(clock, [*clock[1:], date.max], strict=True)
            if following > day + window and day + window <= self.as_of
        ]
        in_scope = self.inputs.data_start is None or signup >= self.inputs.data_start
        return User(
            user_id=user_id,
            signup=signup,
            attributes={name: _known(row.get(name)) for name in self.segment_names},
            resignups=tuple(moment.date() for moment, _ in rows[1:]),
            active=tuple(active),
            in_scope=in_scope,
            declared=self._churn_days.get(user_id) if in_scope else None,
            spells=tuple(spells) if in_scope else (),
            is_inactive=in_scope and clock[-1] + window <= self.as_of,
        )

    def _matrices(self) -> tuple[np.ndarray, np.ndarray]:
        counts = np.zeros((len(self.users), len(self.days)), dtype=int)
        row_of = {user.user_id: row for row, user in enumerate(self.users)}
        for session in self.sessions:
            counts[row_of[session.user_id], (session.day - self.first_day).days] += 1
        return counts > 0, counts

    # -- rule 12: segments ------------------------------------------------------------------------------

    @cached_property
    def segment_names(self) -> tuple[str, ...]:
        if self.inputs.segments is not None:
            return self.inputs.segments
        columns = {name for row in self.inputs.signups for name in row}
        return tuple(name for name in DEFAULT_SEGMENTS if name in columns)

    def _segments(self, in_scope_only: bool = False) -> Iterator[tuple[dict[str, str], list[int]]]:
        """The two segment columns, and the rows of the matrix that belong to the segment."""
        chosen = [i for i, user in enumerate(self.users) if user.in_scope or not in_scope_only]
        yield {"segment_name": "all", "segment_value": "all"}, chosen
        for name in self.segment_names:
            for value in sorted({self.users[i].attributes[name] for i in chosen}):
                members = [i for i in chosen if self.users[i].attributes[name] == value]
                yield {"segment_name": name, "segment_value": value}, members

    # -- per user ---------------------------------------------------------------------------------------

    def _valid(self, session: Session) -> bool:
        return session.seconds is not None and 0 < session.seconds <= self.inputs.max_session_seconds

    def user_activity_daily(self) -> Iterator[dict[str, Any]]:
        by_day: dict[tuple[str, date], list[Session]] = {}
        for session in self.sessions:
            by_day.setdefault((session.user_id, session.day), []).append(session)
        for (user_id, day), sessions in by_day.items():
            yield {
                "user_id": user_id,
                "activity_date": day,
                "sessions": len(sessions),
                "session_seconds": sum(s.seconds or 0.0 for s in sessions if self._valid(s)),
            }

    def user_lifecycle(self) -> Iterator[dict[str, Any]]:
        for row, user in enumerate(self.users):
            comebacks = [d for d in (*user.active, *user.resignups) if user.declared and d > user.declared]
            yield {
                "user_id": user.user_id,
                "signup_date": user.signup,
                "signup_month": user.signup.replace(day=1),
                **user.attributes,
                "first_active_date": min(user.active, default=None),
                "last_active_date": max(user.active, default=None),
                "active_days": len(user.active),
                "sessions": int(self.session_counts[row].sum()),
                "days_since_signup": (self.as_of - user.signup).days,
                "declared_churn_date": user.declared,
                "inactive_churn_date": user.inactive,
                "inactive_churn_count": len(user.spells) if user.in_scope else None,
                "is_inactive": user.is_inactive if user.in_scope else None,
                "reactivated_date": min(comebacks, default=None),
            }

    # -- rules 6, 7: retention --------------------------------------------------------------------------

    def _active_between(self, member: int, first: date, last: date) -> bool:
        columns = slice(max(0, (first - self.first_day).days), (last - self.first_day).days + 1)
        return bool(self.active[member, columns].any())

    def cohort_retention(self) -> Iterator[dict[str, Any]]:
        for segment, members in self._segments(in_scope_only=True):
            for month in sorted({self.users[i].signup.replace(day=1) for i in members}):
                cohort = [i for i in members if self.users[i].signup.replace(day=1) == month]
                for kind in ("calendar_month", "relative_month", "days_30"):
                    for k in range(self.inputs.max_periods + 1):
                        if (cell := self._cell(cohort, kind, k)) is not None:
                            yield {
                                **segment,
                                "signup_month": month,
                                "period_kind": kind,
                                "period_number": k,
                                **cell,
                            }

    def _cell(self, cohort: list[int], kind: str, k: int) -> dict[str, Any] | None:
        windows = [(i, *retention_window(self.users[i].signup, kind, k)) for i in cohort]
        if all(first > self.as_of for _, first, _ in windows):
            return None
        eligible = [(i, first, last) for i, first, last in windows if last <= self.as_of]
        retained = sum(self._active_between(*window) for window in eligible)
        complete = len(eligible) == len(cohort)
        return {
            "cohort_size": len(cohort),
            "eligible_users": len(eligible),
            "retained_users": retained,
            "retention_rate": _rate(retained, len(cohort)) if complete else None,
            "retention_rate_eligible": _rate(retained, len(eligible)),
            **_wilson(retained, len(eligible)),
            "is_complete": complete,
        }

    def day_n_retention(self) -> Iterator[dict[str, Any]]:
        for segment, members in self._segments(in_scope_only=True):
            for kind in ("exact", "bracket_7", "unbounded"):
                for n in DAY_N:
                    eligible = retained = 0
                    for i in members:
                        first = self.users[i].signup + timedelta(days=n)
                        observed = first + timedelta(days=6) if kind == "bracket_7" else first
                        last = {"exact": first, "bracket_7": observed, "unbounded": self.as_of}[kind]
                        if observed <= self.as_of:
                            eligible += 1
                            retained += self._active_between(i, first, last)
                    yield {
                        **segment,
                        "retention_kind": kind,
                        "day_number": n,
                        "eligible_users": eligible,
                        "retained_users": retained,
                        "retention_rate": _rate(retained, eligible),
                        **_wilson(retained, eligible),
                    }

    # -- rule 8: active users ---------------------------------------------------------------------------

    def active_users_daily(self) -> Iterator[dict[str, Any]]:
        window = self.inputs.active_window_days
        for segment, members in self._segments():
            active = self.active[members]
            before = np.zeros(len(members), dtype=bool)  # who was in the window that ended the day before
            ever = np.zeros(len(members), dtype=bool)
            for d, day in enumerate(self.days):
                now = active[:, max(0, d - window + 1) : d + 1].any(axis=1)
                week = active[:, max(0, d - 6) : d + 1].any(axis=1)
                dau, mau = int(active[:, d].sum()), int(now.sum())
                yield {
                    **segment,
                    "activity_date": day,
                    "dau": dau,
                    "wau": int(week.sum()),
                    "mau": mau,
                    "stickiness": _rate(dau, mau),
                    "new_users": int((now & ~before & ~ever).sum()),
                    "resurrected_users": int((now & ~before & ever).sum()),
                    "churned_users": int((before & ~now).sum()),
                }
                before, ever = now, ever | now

    def _periods(self, kind: str) -> Iterator[tuple[date, slice, bool]]:
        """First day, columns of the matrix, and whether neither end of the days cuts the period."""
        start = self.first_day - timedelta(days=self.first_day.weekday())
        step = relativedelta(weeks=1)
        if kind == "month":
            start, step = self.first_day.replace(day=1), relativedelta(months=1)
        while start <= self.as_of:
            following = start + step
            first = max(0, (start - self.first_day).days)
            last = min(len(self.days), (following - self.first_day).days)
            whole = start >= self.first_day and following - timedelta(days=1) <= self.as_of
            yield start, slice(first, last), whole
            start = following

    def growth_accounting(self) -> Iterator[dict[str, Any]]:
        for segment, members in self._segments():
            for kind in ("week", "month"):
                before = np.zeros(len(members), dtype=bool)
                ever = np.zeros(len(members), dtype=bool)
                for start, columns, whole in self._periods(kind):
                    days = self.active[members][:, columns]
                    now = days.any(axis=1)
                    new, resurrected = int((now & ~ever).sum()), int((now & ever & ~before).sum())
                    churned = int((before & ~now).sum())
                    yield {
                        **segment,
                        "period_kind": kind,
                        "period_start": start,
                        "active_users": int(now.sum()),
                        "new_users": new,
                        "retained_users": int((now & before).sum()),
                        "resurrected_users": resurrected,
                        "churned_users": churned,
                        "quick_ratio": _rate(new + resurrected, churned),
                        "active_days_per_user": _rate(int(days.sum()), int(now.sum())),
                        "average_dau": _rate(int(days.sum()), days.shape[1]),
                        "is_complete": whole,
                    }
                    before, ever = now, ever | now

    # -- rules 9, 10: churn and survival ----------------------------------------------------------------

    def churn_monthly(self) -> Iterator[dict[str, Any]]:
        for segment, members in self._segments(in_scope_only=True):
            for kind in ("declared", "inactive"):
                for month, _, whole in self._periods("month"):
                    following = month + relativedelta(months=1)
                    base = churned = same_month = 0
                    for user in (self.users[i] for i in members):
                        day = user.churn(kind)
                        in_month = day is not None and month <= day < following
                        if user.signup < month and (day is None or day >= month):
                            base += 1
                            churned += in_month
                        elif user.signup >= month:
                            same_month += in_month
                    yield {
                        **segment,
                        "churn_kind": kind,
                        "month": month,
                        "users_at_start": base,
                        "churned_users": churned,
                        "churn_rate": _rate(churned, base),
                        **_wilson(churned, base),
                        "churned_same_month": same_month,
                        "is_complete": UNSAID if month < (self.inputs.data_start or month) else whole,
                    }

    def churn_reasons(self) -> Iterator[dict[str, Any]]:
        for segment, members in self._segments(in_scope_only=True):
            users = [self.users[i] for i in members]
            given = Counter(
                (user.declared.replace(day=1), self._churn_reasons[user.user_id])
                for user in users
                if user.declared
            )
            for (month, reason), count in given.items():
                all_of_month = sum(n for (other, _), n in given.items() if other == month)
                yield {
                    **segment,
                    "month": month,
                    "churn_reason": reason,
                    "churned_users": count,
                    "share": count / all_of_month,
                }

    def survival(self) -> Iterator[dict[str, Any]]:
        """Every day at which somebody churns or is censored."""
        for segment, members in self._segments(in_scope_only=True):
            users = [self.users[i] for i in members]
            for kind in ("declared", "inactive"):
                ends = [user.churn(kind) for user in users]
                lasted = [
                    ((end or self.as_of) - user.signup).days for user, end in zip(users, ends, strict=True)
                ]
                happened = [end is not None for end in ends]
                curve = _kaplan_meier(tuple(lasted), tuple(happened)) if users else {}
                for day in sorted(set(lasted)):
                    pairs = list(zip(lasted, happened, strict=True))
                    rate, low, high = curve[day]
                    yield {
                        **segment,
                        "churn_kind": kind,
                        "days_since_signup": day,
                        "at_risk": sum(t >= day for t in lasted),
                        "churned": sum(t == day and event for t, event in pairs),
                        "censored": sum(t == day and not event for t, event in pairs),
                        "survival_rate": rate,
                        "ci_low": low,
                        "ci_high": high,
                    }

    # -- rule 5: sessions, and how often ----------------------------------------------------------------

    def session_metrics(self) -> Iterator[dict[str, Any]]:
        groups: dict[tuple[date | None, str], list[Session]] = {(None, "all"): list(self.sessions)}
        for session in self.sessions:
            month = session.day.replace(day=1)
            groups.setdefault((month, "all"), []).append(session)
            groups.setdefault((month, session.interaction_type), []).append(session)
        for (month, interaction_type), sessions in groups.items():
            seconds = [s.seconds for s in sessions if self._valid(s)]
            yield {
                "month": month,
                "interaction_type": interaction_type,
                "sessions": len(seconds),  # those that the statistics are about
                "average_session_seconds": float(np.mean(seconds)) if seconds else None,
                "median_session_seconds": float(np.percentile(seconds, 50)) if seconds else None,
                "p90_session_seconds": float(np.percentile(seconds, 90)) if seconds else None,
                "excluded_sessions": len(sessions) - len(seconds),
            }

    def engagement_frequency(self) -> Iterator[dict[str, Any]]:
        for segment, members in self._segments():
            for month, columns, whole in self._periods("month"):
                days = self.active[members][:, columns]
                users, active_days = int(days.any(axis=1).sum()), int(days.sum())
                sessions = int(self.session_counts[members][:, columns].sum())
                gaps = [
                    (later - earlier).days
                    for i in members
                    for earlier, later in zip(self.users[i].active, self.users[i].active[1:], strict=False)
                    if later.replace(day=1) == month
                ]
                yield {
                    **segment,
                    "month": month,
                    "active_users": users,
                    "active_days_per_user": _rate(active_days, users),
                    "sessions_per_user": _rate(sessions, users),
                    "sessions_per_active_day": _rate(sessions, active_days),
                    "median_days_between_active_days": float(np.median(gaps)) if gaps else None,
                    "is_complete": whole,
                }

    def data_quality(self) -> Iterator[dict[str, Any]]:
        for (table, reason), rows in self.quality.items():
            yield {"table_name": table, "reason": reason, "rows": rows}

    # -- the headline -----------------------------------------------------------------------------------

    def kpi_summary(self) -> Iterator[dict[str, Any]]:
        """What the KPIs of the table say they are; the contract itself fixes the two retentions."""
        month = max((start for start, _, whole in self._periods("month") if whole), default=None)
        months = (month, month and month - relativedelta(months=1))
        for kpi, measure in self._month_kpis().items():
            yield _kpi(kpi, *(measure(m) if m else Measure() for m in months))
        days = (self.as_of, self.as_of - relativedelta(months=1))
        for kpi, measure in self._day_kpis().items():
            yield _kpi(kpi, *(measure(day) for day in days))
        active = {
            row["activity_date"]: row for row in self.active_users_daily() if row["segment_name"] == "all"
        }
        for kpi, back in {"dau": 7, "wau": 7, "mau": self.inputs.active_window_days, "stickiness": 7}.items():
            found = [active.get(self.as_of - timedelta(days=days)) for days in (0, back)]
            if kpi == "stickiness":
                yield _kpi(
                    kpi, *(Measure.rate(row["dau"], row["mau"]) if row else Measure() for row in found)
                )
            else:
                yield _kpi(kpi, *(Measure(row[kpi], row[kpi]) if row else Measure() for row in found))

    def _month_kpis(self) -> dict[str, Callable[[date], Measure]]:
        churn = {
            (row["churn_kind"], row["month"]): row
            for row in self.churn_monthly()
            if row["segment_name"] == "all"
        }

        def churn_rate(kind: str) -> Callable[[date], Measure]:
            def measure(month: date) -> Measure:
                row = churn.get((kind, month))
                return Measure.rate(row["churned_users"], row["users_at_start"]) if row else Measure()

            return measure

        def sessions_in(month: date) -> list[Session]:
            return [session for session in self.sessions if session.day.replace(day=1) == month]

        def per_user(month: date, distinct_days: bool) -> Measure:
            sessions = sessions_in(month)
            acts = len({(s.user_id, s.day) for s in sessions}) if distinct_days else len(sessions)
            users = len({s.user_id for s in sessions})
            return Measure(_rate(acts, users), acts, users)

        def duration(month: date, statistic: Callable[[list[float]], Any], total: bool) -> Measure:
            seconds = [s.seconds or 0.0 for s in sessions_in(month) if self._valid(s)]
            value = float(statistic(seconds)) if seconds else None
            return Measure(value, sum(seconds) if total else None, len(seconds))

        return {
            "churn_rate_declared": churn_rate("declared"),
            "churn_rate_inactive": churn_rate("inactive"),
            "sessions_per_user": lambda month: per_user(month, distinct_days=False),
            "active_days_per_user": lambda month: per_user(month, distinct_days=True),
            "average_session_duration": lambda month: duration(month, np.mean, total=True),
            "median_session_duration": lambda month: duration(month, np.median, total=False),
        }

    def _day_kpis(self) -> dict[str, Callable[[date], Measure]]:
        def retention(k: int) -> Callable[[date], Measure]:
            def measure(through: date) -> Measure:
                windows = [
                    (i, *retention_window(u.signup, "relative_month", k)) for i, u in enumerate(self.users)
                ]
                eligible = [w for w in windows if w[2] <= through and self.users[w[0]].in_scope]
                return Measure.rate(sum(self._active_between(*window) for window in eligible), len(eligible))

            return measure

        def days_since_signup(through: date) -> Measure:
            days = [(through - user.signup).days for user in self.users if user.signup <= through]
            return Measure(float(np.median(days)) if days else None, None, len(days))

        return {
            "retention_1_month": retention(1),
            "retention_6_month": retention(6),
            "median_days_since_signup": days_since_signup,
        }


@dataclass(frozen=True)
class Measure:
    value: float | None = None
    numerator: float | None = None
    denominator: int | None = None
    is_rate: bool = False

    @classmethod
    def rate(cls, numerator: int, denominator: int) -> Measure:
        return cls(_rate(numerator, denominator), numerator, denominator, is_rate=True)


def _kpi(name: str, now: Measure, before: Measure) -> dict[str, Any]:
    known = now.value is not None
    change = None if now.value is None or before.value is None else now.value - before.value
    return {
        "kpi": name,
        "value": now.value,
        "numerator": now.numerator if known else UNSAID,
        "denominator": now.denominator if known else UNSAID,
        **(
            _wilson(int(now.numerator or 0), now.denominator or 0)
            if now.is_rate
            else dict.fromkeys(_wilson(0, 0), UNSAID)
        ),
        "previous_value": before.value,
        "change": change,
    }


def expected_marts(inputs: Inputs) -> dict[str, pd.DataFrame]:
    """Every mart that the contract fixes, by name, with the contract's columns."""
    return Oracle(inputs).marts()


@cache
def retention_window(signup: date, kind: str, k: int) -> tuple[date, date]:
    """First and last day of period k of somebody who signed up on ``signup``."""
    if kind == "days_30":
        first = signup + timedelta(days=30 * k)
        return first, first + timedelta(days=29)
    origin = signup.replace(day=1) if kind == "calendar_month" else signup
    # both ends are counted from the origin: a clamped month end must not shorten the months after it
    return origin + relativedelta(months=k), origin + relativedelta(months=k + 1) - timedelta(days=1)


@cache
def _kaplan_meier(
    lasted: tuple[int, ...], happened: tuple[bool, ...]
) -> dict[int, tuple[float, float, float]]:
    """Survival with its interval by day: certain, so of no width, where it is 1 or 0."""
    fitted = KaplanMeierFitter().fit(lasted, happened)
    bounds = fitted.confidence_interval_survival_function_
    curve = {}
    for day in set(lasted):
        rate = float(fitted.survival_function_.loc[day].iloc[0])
        low, high = (float(value) for value in bounds.loc[day])
        curve[day] = (rate, rate, rate) if rate in (0.0, 1.0) else (rate, low, high)
    return curve


def moment_of(text: str, zone: ZoneInfo) -> datetime | None:
    """A date or timestamp as wall-clock time in the zone; None where it is neither."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return moment.astimezone(zone).replace(tzinfo=None) if moment.tzinfo else moment


def _wilson(count: int, total: int) -> dict[str, float | None]:
    if total == 0:
        return {"ci_low": None, "ci_high": None}
    low, high = proportion_confint(count, total, alpha=0.05, method="wilson")
    return {"ci_low": float(low), "ci_high": float(high)}


def _rate(count: float, total: float) -> float | None:
    return count / total if total else None


MISSING = ("", "nan", "nat", "null", "none", "undefined", "<na>", "n/a", "#n/a", "\\n")


def _blank(value: str | None) -> bool:
    """Whether a value is missing, or says so in words (rule 4)."""
    return value is None or value.strip().lower() in MISSING


def _known(value: str | None) -> str:
    return "unknown" if value is None or _blank(value) else value


def _days(first: date, last: date) -> Iterator[date]:
    return (first + timedelta(days=n) for n in range((last - first).days + 1))
