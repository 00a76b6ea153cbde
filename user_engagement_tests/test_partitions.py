from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from user_engagement.code_location import first_month
from user_engagement.contracts.raw import Window
from user_engagement.errors import SourceError
from user_engagement.partitions import first_of_month, key_of, monthly_partitions, next_month, window_of
from user_engagement.pipeline import plan
from user_engagement.settings import load_settings
from user_engagement.sources.files import FilesSource

CALENDAR = monthly_partitions(date(2024, 11, 1), date(2025, 3, 15))
DAYS = st.dates(date(1990, 1, 1), date(2100, 12, 31))


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (date(2024, 1, 31), date(2024, 2, 1)),
        (date(2024, 2, 29), date(2024, 3, 1)),
        (date(2024, 12, 1), date(2025, 1, 1)),
        (date(2024, 12, 31), date(2025, 1, 1)),
    ],
)
def test_the_next_month_begins_on_its_first_day(day: date, expected: date) -> None:
    assert next_month(day) == expected


@given(DAYS)
def test_a_day_lies_between_the_first_of_its_month_and_of_the_next(day: date) -> None:
    assert first_of_month(day) <= day < next_month(day)
    assert (next_month(day) - timedelta(days=1)).month == day.month
    assert key_of(day) == f"{day:%Y-%m}-01"


def test_the_calendar_holds_every_month_up_to_that_of_as_of() -> None:
    assert CALENDAR.get_partition_keys() == [
        "2024-11-01",
        "2024-12-01",
        "2025-01-01",
        "2025-02-01",
        "2025-03-01",
    ]


@pytest.mark.parametrize("as_of", [date(2025, 1, 1), date(2025, 1, 31)])
def test_the_month_of_as_of_is_the_last_from_its_first_day_to_its_last(as_of: date) -> None:
    assert monthly_partitions(date(2025, 1, 1), as_of).get_partition_keys() == ["2025-01-01"]


def test_the_month_of_as_of_is_included_although_it_is_not_over() -> None:
    today = datetime.now(UTC).date()
    keys = monthly_partitions(first_of_month(today) - timedelta(days=1), today).get_partition_keys()
    assert keys[-1] == key_of(today)


def test_without_as_of_the_current_month_is_included() -> None:
    today = datetime.now(UTC).date()
    keys = monthly_partitions(first_of_month(today) - timedelta(days=1), None).get_partition_keys()
    assert keys[-1] == key_of(today)


def test_a_month_in_the_middle_is_bounded_on_both_sides() -> None:
    window = window_of(CALENDAR, dg.PartitionKeyRange("2025-02-01", "2025-02-01"))
    assert window == Window(date(2025, 2, 1), date(2025, 3, 1))


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("2024-11-01", "2024-11-01", Window(None, date(2024, 12, 1))),
        ("2025-03-01", "2025-03-01", Window(date(2025, 3, 1), None)),
        ("2024-12-01", "2025-02-01", Window(date(2024, 12, 1), date(2025, 3, 1))),
        ("2024-11-01", "2025-01-01", Window(None, date(2025, 2, 1))),
        ("2025-01-01", "2025-03-01", Window(date(2025, 1, 1), None)),
        ("2024-11-01", "2025-03-01", Window(None, None)),
    ],
)
def test_the_first_and_the_last_month_are_open_outwards(first: str, last: str, expected: Window) -> None:
    assert window_of(CALENDAR, dg.PartitionKeyRange(first, last)) == expected


def test_a_calendar_of_one_month_is_open_on_both_sides() -> None:
    calendar = monthly_partitions(date(2025, 1, 1), date(2025, 1, 31))
    assert window_of(calendar, dg.PartitionKeyRange("2025-01-01", "2025-01-01")) == Window()


@given(st.integers(1, 30), st.sets(st.integers(1, 29), max_size=5))
def test_however_the_calendar_is_cut_into_ranges_their_windows_join_without_gap_or_overlap(
    months: int, cuts: set[int]
) -> None:
    last = date(2020 + (months - 1) // 12, (months - 1) % 12 + 1, 28)
    calendar = monthly_partitions(date(2020, 1, 1), last)
    keys = calendar.get_partition_keys()
    assert len(keys) == months
    edges = [0, *sorted(cut for cut in cuts if cut < months), months]
    windows = [window_of(calendar, dg.PartitionKeyRange(keys[a], keys[b - 1])) for a, b in pairwise(edges)]
    assert windows[0].start is None
    assert windows[-1].end is None
    assert [w.end for w in windows[:-1]] == [w.start for w in windows[1:]]


@pytest.mark.parametrize(
    ("window", "predicate"),
    [
        (Window(), "true"),
        (Window(date(2025, 1, 1), None), "day >= '2025-01-01'"),
        (Window(None, date(2025, 2, 1)), "day < '2025-02-01'"),
        (Window(date(2025, 1, 1), date(2025, 2, 1)), "day >= '2025-01-01' and day < '2025-02-01'"),
    ],
)
def test_a_window_holds_its_first_day_and_not_its_end(window: Window, predicate: str) -> None:
    assert window.predicate("day") == predicate


def test_one_signup_with_a_wrong_date_does_not_open_years_of_empty_months(tmp_path: Path) -> None:
    days = ["1998-05-05", *(f"2025-01-{day:02}" for day in range(1, 31))]
    rows = "".join(f"{number},{day},free\n" for number, day in enumerate(days))
    (tmp_path / "user_signups.csv").write_text("user_id,signup_date,product_type\n" + rows)
    assert first_month(FilesSource(tmp_path), load_settings()) == date(2025, 1, 1)


@pytest.mark.parametrize(
    ("signup", "as_of", "horizon"),
    [
        ("2025-03-01", "2024-01-01", "AS_OF=2024-01-01"),
        ("2025-03-02", "2025-03-01", "AS_OF"),
        ("2190-01-01", None, "today"),
    ],
)
def test_a_horizon_before_the_first_signup_is_refused(
    tmp_path: Path, signup: str, as_of: str | None, horizon: str
) -> None:
    """It left a calendar without a month, of which a run in a loaded home wanted the first."""
    (tmp_path / "user_signups.csv").write_text(f"user_id,signup_date,product_type\n1,{signup},free\n")
    (tmp_path / "user_engagement.csv").write_text(
        "user_id,engagement_date,session_duration,interaction_type\n"
    )
    settings = load_settings(home=tmp_path / "home", source="files", source_path=str(tmp_path), as_of=as_of)
    with pytest.raises(SourceError, match=f"the first signup is on {signup}, after .*{horizon}"):
        plan(settings)
