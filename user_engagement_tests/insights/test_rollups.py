"""What dbt reduces a company to, against the same counted user by user with pandas from its source files."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta

import duckdb
import pandas as pd
import pytest

from user_engagement import simulation
from user_engagement.insights.rollups import Rollups
from user_engagement.settings import load_settings
from user_engagement.simulation import Dirt
from user_engagement.warehouse import open_warehouse
from user_engagement_tests.support.companies import reduced
from user_engagement_tests.support.worlds import at_home

pytestmark = pytest.mark.slow

AS_OF = date(2025, 12, 17)
# 49 whole weeks from Monday 2025-01-06; half of them in steps of four is a lag of 24
LAST = pd.Timestamp("2025-12-14")
PERIODS = {"after": LAST - pd.Timedelta(days=27), "before": LAST - pd.Timedelta(days=27 + 24 * 7)}
BANDS = (
    *((0, "new"), (7, "0-6 days"), (28, "7-27 days"), (84, "28-83 days"), (182, "84-181 days")),
    *((273, "182-272 days"), (364, "273-363 days")),
)


@dataclass(frozen=True)
class Company:
    rollups: Rollups
    daily_kinds: pd.DataFrame
    users: pd.DataFrame
    events: pd.DataFrame


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Company:
    """A clean company, so that its rows need no rules about what counts."""
    folder = tmp_path_factory.mktemp("clean")
    config = simulation.WorldConfig(users=2_500, dirt=Dirt.none())
    paths = simulation.write_files(config, AS_OF, folder / "source")
    users, events, churn = (
        pd.read_parquet(paths[name]) for name in ("user_signups", "user_engagement", "churn_data")
    )
    users["signup"] = pd.to_datetime(users.signup_date).dt.tz_localize(None).dt.normalize()
    churn["churned"] = pd.to_datetime(churn.churn_date).dt.tz_localize(None).dt.normalize()
    users = users.merge(churn.groupby("user_id").churned.min(), on="user_id", how="left")
    events["day"] = pd.to_datetime(events.engagement_date).dt.tz_localize(None).dt.normalize()
    events = events[events.day <= pd.Timestamp(AS_OF)].merge(users[["user_id", "signup"]], on="user_id")
    with at_home(folder / "home"):
        settings = load_settings(
            home=folder / "home", source="files", source_path=str(folder / "source"), as_of=AS_OF
        )
        rollups = reduced(settings)
        with open_warehouse(settings).reader() as reader:
            daily_kinds = reader.query("select * from insights.daily_kinds").to_pandas()
        return Company(rollups, daily_kinds, users, events)


def counted(company: Company, metric: str) -> pd.DataFrame:
    cells = company.rollups.period_cells
    return cells[cells.metric == metric].groupby("period")[["users", "total", "squares"]].sum()


def days_of(company: Company) -> pd.DataFrame:
    return company.events.drop_duplicates(["user_id", "day"])


@pytest.mark.exhaustive
def test_the_periods_are_four_whole_weeks_half_the_history_apart(company: Company) -> None:
    periods = company.rollups.compared_periods.set_index("period")
    for name, first in PERIODS.items():
        assert pd.Timestamp(periods.first_day[name]) == first
        assert pd.Timestamp(periods.last_day[name]) == first + timedelta(days=27)
        assert pd.Timestamp(periods.last_signup_day[name]) == first + timedelta(days=27 - 56)
        assert pd.Timestamp(periods.first_signup_day[name]) == first + timedelta(days=27 - 55 - 12 * 7)


@pytest.mark.parametrize("period", PERIODS)
def test_active_users_and_their_days_are_those_of_the_files(company: Company, period: str) -> None:
    first = PERIODS[period]
    days = days_of(company)
    within = days[days.day.between(first, first + timedelta(days=27))].groupby("user_id").size()
    earlier = set(days[days.day.between(first - timedelta(days=28), first - timedelta(days=1))].user_id)
    frequency, retention = (counted(company, name).loc[period] for name in ("frequency", "retention"))
    assert frequency.to_list() == [len(within), within.sum(), (within**2).sum()]
    assert retention.users == len(earlier)
    assert retention.total == len(earlier & set(within.index))


@pytest.mark.parametrize("period", PERIODS)
def test_churn_is_over_those_who_could(company: Company, period: str) -> None:
    first, users = PERIODS[period], company.users
    at_risk = users[(users.signup < first) & ~(users.churned < first)]
    churn = counted(company, "churn").loc[period]
    assert (churn.users, churn.total) == (len(at_risk), (at_risk.churned < first + timedelta(days=28)).sum())


@pytest.mark.parametrize("period", PERIODS)
def test_new_users_came_back_as_in_the_files(company: Company, period: str) -> None:
    first = PERIODS[period]
    last_signup = first + timedelta(days=27 - 56)
    new = company.users[company.users.signup.between(last_signup - timedelta(days=12 * 7 - 1), last_signup)]
    days = days_of(company)
    tenure = (days.day - days.signup).dt.days
    for metric, span in (("activation", (1, 6)), ("new_user_retention", (28, 55))):
        came = set(days[tenure.between(*span)].user_id) & set(new.user_id)
        cells = counted(company, metric).loc[period]
        assert (cells.users, cells.total) == (len(new), len(came))


def test_tenure_and_main_device_are_those_of_each_user(company: Company) -> None:
    first = PERIODS["after"]
    days = days_of(company)
    active = days[days.day.between(first, first + timedelta(days=27))].drop_duplicates("user_id")
    early = company.events[(company.events.day - company.events.signup).dt.days < 56]
    sessions = early.groupby(["user_id", "device_type"]).size().rename("n").reset_index()
    sessions = sessions.sort_values(by=["user_id", "n", "device_type"], ascending=[True, False, True])
    device = sessions.drop_duplicates("user_id").set_index("user_id").device_type
    tenure = (first - active.signup).dt.days
    band = tenure.map(lambda n: next((name for end, name in BANDS if n < end), "364+ days"))
    expected = active.assign(tenure=band, main_device=active.user_id.map(device).fillna("none"))
    cells = company.rollups.period_cells.query("metric == 'frequency' and period == 'after'")
    ours = cells.groupby(["tenure", "main_device"]).users.sum()
    assert ours.to_dict() == expected.groupby(["tenure", "main_device"]).size().to_dict()


def test_weekly_counts_are_those_of_the_files_by_groups_and_by_buckets(company: Company) -> None:
    days, users = days_of(company), company.users
    counts = company.rollups.weekly_counts.groupby(["cell_kind", "week_start"]).sum(numeric_only=True)
    for week in (pd.Timestamp("2025-03-10"), pd.Timestamp("2025-12-08")):

        def active(first: pd.Timestamp, weeks: int) -> pd.DataFrame:
            return days[days.day.between(first, first + timedelta(days=7 * weeks - 1))]

        this, last = active(week, 1), active(week - timedelta(days=28), 4)
        for kind in ("group", "bucket"):
            row = counts.loc[(kind, week)]
            assert row.active_days == len(this)
            assert row.active_users == this.user_id.nunique()
            assert row.recent_users == last.user_id.nunique()
            assert row.retained_users == len(set(last.user_id) & set(this.user_id))
            assert row.active_users_28 == active(week - timedelta(days=21), 4).user_id.nunique()
            assert row.sessions == company.events.day.between(week, week + timedelta(days=6)).sum()
            assert row.churned_users == users.churned.between(week, week + timedelta(days=6)).sum()


def test_cohort_counts_are_those_of_the_files(company: Company) -> None:
    days, users = days_of(company), company.users
    week = pd.Timestamp("2025-09-01")
    cohort = users[users.signup.between(week, week + timedelta(days=6))]
    early = days[days.user_id.isin(cohort.user_id)]
    tenure = (early.day - early.signup).dt.days
    counts = company.rollups.cohort_counts
    of_week = counts[pd.to_datetime(counts.signup_week) == week].groupby("cell_kind").sum(numeric_only=True)
    for kind in ("group", "bucket"):
        row = of_week.loc[kind]
        assert row.signups == len(cohort)
        assert row.activated_users == early[tenure.between(1, 6)].user_id.nunique()
        assert row.early_active_days == tenure.between(1, 28).sum()


def test_the_random_groups_of_users_follow_from_their_ids_and_not_from_the_order_of_loads(
    company: Company,
) -> None:
    """Once, a file that was read late gave its users other numbers, so other groups, and the brief other findings."""
    counts = company.rollups.cohort_counts.query("cell_kind == 'bucket'")
    last = pd.to_datetime(counts.signup_week).max() + timedelta(days=6)
    ids = duckdb.from_df(company.users.loc[company.users.signup <= last, ["user_id"]])
    expected = Counter(bucket for (bucket,) in ids.project("hash(user_id::varchar) % 64").fetchall())
    assert counts.groupby("cell").signups.sum().to_dict() == expected


def test_sessions_by_day_and_kind_are_those_of_the_files_up_to_the_last_complete_week(
    company: Company,
) -> None:
    events = company.events[company.events.day <= LAST]
    ours = company.daily_kinds.groupby(["device_type", "interaction_type"]).sessions.sum()
    assert ours.to_dict() == events.groupby(["device_type", "interaction_type"]).size().to_dict()


@pytest.mark.parametrize(("habit", "kind"), [("main_device", "device_type"), ("interaction_type",) * 2])
def test_sessions_by_habit_are_those_after_the_weeks_that_the_habit_is_of(
    company: Company, habit: str, kind: str
) -> None:
    events = company.events[(company.events.day >= company.events.signup) & (company.events.day <= LAST)]
    is_early = events.day < events.signup + timedelta(days=56)
    counts = events[is_early].groupby(["user_id", kind]).size().reset_index(name="sessions")
    # of as many sessions the first by name
    order = counts.sort_values(["user_id", "sessions", kind], ascending=[True, False, True])
    favourite = order.drop_duplicates("user_id").set_index("user_id")[kind]
    later = events[~is_early]
    expected = later.groupby([later.user_id.map(favourite).fillna("none"), kind]).size()
    ours = company.rollups.habit_sessions.query("habit == @habit")
    assert ours.groupby(["habit_value", "kind"]).sessions.sum().to_dict() == expected.to_dict()
    by_week = later.groupby(later.day - pd.to_timedelta(later.day.dt.dayofweek, "D")).size()
    assert ours.groupby(pd.to_datetime(ours.week_start)).sessions.sum().to_dict() == by_week.to_dict()


def test_first_week_behaviours_are_those_of_the_files(company: Company) -> None:
    events, users = company.events, company.users
    observed = set(users[users.signup + timedelta(days=55) <= LAST].user_id)
    first = events[((events.day - events.signup).dt.days <= 6) & events.user_id.isin(observed)]
    per_user = first.groupby("user_id").agg(
        days=("day", "nunique"), sessions=("day", "size"), devices=("device_type", "nunique")
    )
    ours = company.rollups.first_week_cells.groupby("behaviour").users.sum()
    assert ours["all"] == len(observed)
    assert ours["3 or more active days"] == (per_user.days >= 3).sum()
    assert ours["5 or more sessions"] == (per_user.sessions >= 5).sum()
    assert ours["2 or more device types"] == (per_user.devices >= 2).sum()
    assert ours["used search"] == first[first.interaction_type == "search"].user_id.nunique()


def test_weeks_after_the_first_are_those_of_the_files(company: Company) -> None:
    days, users = days_of(company), company.users
    first = days[(days.day - days.signup).dt.days <= 6].groupby("user_id").day.nunique()
    curves = company.rollups.first_week_curves.groupby(["behaviour", "week_number"])
    counts = curves[["eligible_users", "retained_users"]].sum()
    for week in (1, 5, 12):
        complete = users[users.signup + timedelta(days=7 * week + 6) <= LAST].user_id
        tenure = (days.day - days.signup).dt.days
        active = set(days[tenure.between(7 * week, 7 * week + 6)].user_id) & set(complete)
        assert tuple(counts.loc[("all", week)]) == (len(complete), len(active))
        often = set(first[first >= 3].index)
        assert tuple(counts.loc[("3 or more active days", week)]) == (
            len(often & set(complete)),
            len(often & active),
        )


def test_features_know_nothing_of_the_days_after_their_cutoff(company: Company) -> None:
    days = days_of(company)
    table = company.rollups.risk_features
    cutoff = pd.Timestamp(AS_OF) - timedelta(days=56)
    known, later = (
        days[days.day <= cutoff],
        days[days.day.between(cutoff + timedelta(days=1), cutoff + timedelta(days=28))],
    )
    recent = known[known.day > cutoff - timedelta(days=28)]
    ours = table[pd.to_datetime(table.cutoff) == cutoff]
    assert len(ours) == recent.user_id.nunique()
    assert ours.active_days.sum() == known[known.user_id.isin(recent.user_id)].shape[0]
    assert ours.active_days_28.sum() == len(recent)
    last = known[known.user_id.isin(recent.user_id)].groupby("user_id").day.max()
    assert ours.days_since_last_active.sum() == (cutoff - last).dt.days.sum()
    assert ours.is_inactive_later.astype(bool).sum() == len(set(recent.user_id) - set(later.user_id))
