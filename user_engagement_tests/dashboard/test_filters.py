from __future__ import annotations

from datetime import date, timedelta
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from user_engagement.dashboard.data import Generation
from user_engagement.dashboard.filters import COMPARISONS, OPTIONS, RANGES, Filters, group_key

SEGMENTS = {"country": ("DE", "US", "Côte d'Ivoire", "a&b=c"), "plan": ("all", "unknown")}


def as_query(filters: Filters) -> dict[str, list[str]]:
    return {n: v if isinstance(v, list) else [v] for n, v in filters.to_query().items()}


@st.composite
def choices(draw: st.DrawFn) -> Filters:
    chosen_segments = draw(st.lists(st.sampled_from(list(SEGMENTS)), unique=True))
    segments = {
        name: tuple(draw(st.lists(st.sampled_from(SEGMENTS[name]), unique=True))) for name in chosen_segments
    }
    groups = [
        value if len(segments) == 1 else group_key(name, value)
        for name in segments
        for value in SEGMENTS[name]
    ]
    start = draw(st.dates(date(2020, 1, 1), date(2030, 1, 1)))
    chosen = draw(st.sampled_from(list(RANGES)))
    custom = chosen == "custom"
    return Filters(
        page=draw(st.sampled_from(["overview", "churn"])),
        range=chosen,
        start=start if custom else None,
        end=start + timedelta(days=draw(st.integers(0, 900))) if custom else None,
        segments=segments,
        compare=draw(st.sampled_from(list(COMPARISONS))),
        focus=draw(st.sampled_from(["", *groups])),
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
    assert Filters.from_query(query, SEGMENTS).segments == {"country": ("DE",)}


def test_a_segment_that_stays_keeps_its_values_when_another_is_added() -> None:
    one = Filters(segments={"country": ("DE",)}, focus="DE")
    two = one.choose_segments(["country", "plan"])
    assert two.segments == {"country": ("DE",), "plan": ()}
    assert two.focus == ""
    assert two.choose_values("plan", ["unknown"]).segments["plan"] == ("unknown",)
    assert one.choose_segments(["plan"]).segments == {"plan": ()}


def test_values_of_several_segments_are_told_apart_in_the_address() -> None:
    filters = Filters(segments={"country": ("DE",), "plan": ("unknown",)})
    assert filters.to_query()["value"] == ["country: DE", "plan: unknown"]


@pytest.mark.parametrize(
    ("chosen", "first"), [("3m", date(2025, 3, 1)), ("12m", date(2024, 6, 1)), ("all", date(2023, 1, 5))]
)
def test_ranges_end_with_the_data_and_hold_whole_months(chosen: str, first: date) -> None:
    generation = cast("Generation", SimpleNamespace(as_of=date(2025, 5, 31)))
    assert Filters(range=chosen).days(generation, date(2023, 1, 5)) == (first, date(2025, 5, 31))
