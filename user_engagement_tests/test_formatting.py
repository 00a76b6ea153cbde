from __future__ import annotations

import math
from datetime import date
from pathlib import Path

import pytest

from user_engagement import formatting as fmt
from user_engagement.errors import UserError


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.05666, "rate", "5.7\u00a0%"),
        (4578.0, "users", "4,578"),
        (651.2, "seconds", "10m 51s"),
        (16.2, "seconds", "16s"),
        (5.925, "days", "5.9"),
        (281.0, "days", "281"),
        (270.5, "days", "270"),
        (9.486, "sessions", "9.49"),
        (None, "rate", "–"),
        (math.nan, "users", "–"),
    ],
)
def test_a_value_is_shown_in_its_unit(value: float | None, unit: str, text: str) -> None:
    assert fmt.value(value, unit) == text


@pytest.mark.parametrize(
    ("now", "before", "unit", "text"),
    [
        (0.06, 0.054, "rate", "+0.6 points"),
        (90, 100, "users", "−10, −10\u00a0%"),
        (5, 0, "users", "+5"),
        (644, 660, "seconds", "−16s"),
        (1, None, "users", ""),
        (math.nan, 2.0, "users", ""),
    ],
)
def test_a_change_has_its_sign_and_of_shares_it_is_in_points(
    now: float, before: float | None, unit: str, text: str
) -> None:
    assert fmt.change(now, before, unit) == text


def test_a_movement_is_a_predicate() -> None:
    assert fmt.movement(0.057, 0.040, "rate") == "fell from 5.7\u00a0% to 4.0\u00a0%"
    assert fmt.movement(90, 100, "users") == "rose from 90 to 100"
    assert fmt.movement(0.0571, 0.0572, "rate") == "stayed at 5.7\u00a0%"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("acquisition_channel", "Acquisition channel"),
        ("paid_social", "Paid social"),
        ("DE", "DE"),
        ("iOS", "iOS"),
        ("unknown", "Unknown"),
    ],
)
def test_a_name_becomes_a_label(name: str, text: str) -> None:
    assert fmt.label(name) == text


def test_a_file_says_what_names_are_called(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("name,label\npaid_social,Paid ads\nacquisition_channel,Came from\n", encoding="utf-8")
    try:
        fmt.use_labels(file)
        assert fmt.label("paid_social") == "Paid ads"
        assert fmt.label("product_type") == "Product type"
    finally:
        fmt.use_labels(None)
    assert fmt.label("paid_social") == "Paid social"


@pytest.mark.parametrize("content", [None, "key,value\na,b\n", "name,label\nonly\n"])
def test_a_file_of_labels_that_cannot_be_read_is_refused_with_its_columns(
    tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "labels.csv"
    if content:
        file.write_text(content)
    with pytest.raises(UserError, match="columns name,label"):
        fmt.use_labels(file)
    fmt.use_labels(None)


@pytest.mark.parametrize(
    ("now", "before", "text"),
    [
        (140, 100, "+40\u00a0%"),
        (97, 100, "−3.0\u00a0%"),
        (109.96, 100, "+10\u00a0%"),
        (300, 100, "+200\u00a0%"),
    ],
)
def test_a_relative_change_has_at_most_two_figures_below_a_hundred(
    now: float, before: float, text: str
) -> None:
    assert fmt.percentage_change(now, before) == text


@pytest.mark.parametrize(
    ("start", "end", "text"),
    [
        (date(2025, 12, 1), date(2025, 12, 31), "Dec 2025"),
        (date(2024, 2, 1), date(2024, 2, 29), "Feb 2024"),
        (date(2025, 2, 1), date(2025, 2, 27), "1 Feb 2025 – 27 Feb 2025"),
        (date(2025, 2, 3), date(2025, 2, 3), "3 Feb 2025"),
    ],
)
def test_a_whole_month_is_called_by_its_name(start: date, end: date, text: str) -> None:
    assert fmt.period(start, end) == text
