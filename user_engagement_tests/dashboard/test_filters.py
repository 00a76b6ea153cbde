from __future__ import annotations

from datetime import date, timedelta
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from user_engagement.dashboard.data import Generation
from user_engagement.dashboard.filters import COMPARISONS, OPTIONS, RANGES, Filters

SEGMENTS = {"country": ("DE", "US", "Côte d'Ivoire", "a&b=c"), "plan": ("all", "unknown")}


def as_query(filters: Filters) -> dict[str, list[str]]:
    return {n: v if isinstance(v, list) else [v] for n, v in filters.to_query().items()}


@st.composite
def choices(draw: st.DrawFn) -> Filters:
    segment = draw(st.sampled_from(["all", *SEGMENTS]))
    present = SEGMENTS.get(segment, ())
    some = st.lists(st.sampled_from(present), unique=True) if present else st.just([])
    start = draw(st.dates(date(2020, 1, 1), date(2030, 1, 1)))
    chosen = draw(st.sampled_from(list(RANGES)))
    custom = chosen == "custom"
    return Filters(
        page=draw(st.sampled_from(["overview", "churn"])),
        range=chosen,
        start=start if custom else None,
        end=start + timedelta(days=draw(st.integers(0, 900))) if custom else None,
        segment=segment,
        values=tuple(draw(some)),
        compare=draw(st.sampled_from(list(COMPARISONS))),
        focus=draw(st.sampled_from(["", *present])),
        options={
            n: draw(st.sampled_from(list(o.values)[1:])) for n, o in OPTIONS.items() if draw(st.booleans())
        },
    )


@given(choices())
def test_a_shared_address_opens_the_same_view(filters: Filters) -> None:
    assert Filters.from_query(as_query(filters), SEGMENTS) == filters


@pytest.mark.parametrize(
    "query",
    [
        {"range": ["yesterday"]},
        {"range": ["custom"], "from": ["2025-02-30"], "to": ["2025-03-01"]},
        {"range": ["custom"], "from": ["2025-02-01"]},
        {"segment": ["shoe_size"], "value": ["43"], "focus": ["43"]},
        {"compare": ["last eclipse"], "churn": ["imagined"], "unheard": ["of"]},
    ],
)
def test_what_an_address_asks_for_and_nobody_knows_falls_back_to_the_default(
    query: dict[str, list[str]],
) -> None:
    assert Filters.from_query(query, SEGMENTS) == Filters()


def test_a_value_that_is_no_longer_there_is_left_out() -> None:
    query = {"segment": ["country"], "value": ["DE", "Atlantis", "DE"]}
    assert Filters.from_query(query, SEGMENTS).values == ("DE",)


def test_another_segment_forgets_the_values_of_the_one_before() -> None:
    filters = Filters(segment="country", values=("DE",), focus="DE").choose("segment", "plan")
    assert (filters.segment, filters.values, filters.focus) == ("plan", (), "")


@pytest.mark.parametrize(
    ("chosen", "first"), [("3m", date(2025, 3, 1)), ("12m", date(2024, 6, 1)), ("all", date(2023, 1, 5))]
)
def test_ranges_end_with_the_data_and_hold_whole_months(chosen: str, first: date) -> None:
    generation = cast("Generation", SimpleNamespace(as_of=date(2025, 5, 31)))
    assert Filters(range=chosen).days(generation, date(2023, 1, 5)) == (first, date(2025, 5, 31))
