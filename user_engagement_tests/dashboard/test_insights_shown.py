"""The Drivers page over insight tables as their contract describes them."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pyarrow as pa
import pytest

from user_engagement.dashboard.blocks import Choice, Row, Text
from user_engagement.dashboard.charts import Chart
from user_engagement.dashboard.contents import drivers, overview
from user_engagement.dashboard.data import Generation, open_generation
from user_engagement.dashboard.filters import Filters
from user_engagement.dashboard.view import View
from user_engagement.insights.tables import TABLES
from user_engagement_tests.support.serving import publish_marts

KNOWN = {
    "metric": "retention",
    "segment_name": "country",
    "segment_value": "DE",
    "effect": 0.04,
    "churn_kind": "declared",
    "finding": "Behaviour: retention went down.",
    "next_step": "Style at what changed.",
    "inner_dimension": None,
}
VALUES = {"int64": 40, "double": 0.25, "bool": True, "date32[day]": date(2025, 4, 7), "string": "some"}


def value(table: str, column: str, kind: str) -> Any:
    if table == "change_decomposition" and column in ("effect", "segment_value"):
        return {"effect": "behaviour", "segment_value": "all"}[column]
    if table == "contributions" and column == "metric":
        return "weekly_active_users"
    return KNOWN.get(column, VALUES[kind])


@pytest.fixture(scope="module")
def explained(marts: dict[str, pa.Table], tmp_path_factory: pytest.TempPathFactory) -> Generation:
    """A generation with a row in every insight table."""
    insights = {
        name: pa.table({c: pa.array([value(name, c, str(kind))]) for c, (kind, _) in table.columns.items()})
        for name, table in TABLES.items()
    }
    published: Path = tmp_path_factory.mktemp("explained") / "published"
    publish_marts(published, {**marts, **insights})
    return open_generation(published)


def test_every_insight_that_the_page_shows_is_in_the_contract(explained: Generation) -> None:
    page = drivers.page(View(explained))
    assert page.headline == KNOWN["finding"]
    charts = [
        c for b in page.blocks for c in (b.charts if isinstance(b, Row) else (b,)) if isinstance(c, Chart)
    ]
    for chart in charts:
        if chart.figure:
            go.Figure(chart.figure)
    assert {"change_decomposition", "contributions", "first_week", "hazard_ratios", "change_country"} <= {
        chart.key for chart in charts if chart.figure
    }
    shown = set(page.tables) | {"decline_brief"}
    assert shown >= set(TABLES), "every insight table is shown, the brief as sentences"


def test_the_page_says_whom_and_which_days_the_insights_compare_whatever_the_filters_say(
    explained: Generation,
) -> None:
    for filters in (Filters(), Filters(range="3m", segment="country", compare="year")):
        first = drivers.page(View(explained, filters)).blocks[0]
        assert isinstance(first, Text)
        (sentence,) = first.sentences
        assert sentence.startswith("The insights are about all users")
        # four weeks, the last of which is that of Monday 7 April
        assert "17 Mar 2025 – 13 Apr 2025" in sentence


def test_without_compared_periods_the_page_names_none(
    marts: dict[str, pa.Table], insights: dict[str, pa.Table], tmp_path: Path
) -> None:
    publish_marts(tmp_path, {**marts, **insights, "growth_change": insights["growth_change"].slice(0, 0)})
    page = drivers.page(View(open_generation(tmp_path)))
    assert "What is compared" not in [b.title for b in page.blocks if isinstance(b, Text)]
    assert "growth_change" not in page.tables
    assert "hazard_ratios" in page.tables


def test_the_kind_of_churn_is_chosen_before_the_first_comparison_of_survival(explained: Generation) -> None:
    blocks = drivers.page(View(explained)).blocks
    keys = [block.name if isinstance(block, Choice) else getattr(block, "key", "") for block in blocks]
    assert keys.count("churn") == 1
    assert keys.index("churn") + 1 == keys.index("hazard_ratios")
    assert {"survival_tests", "tenure_hazards"} <= set(keys[keys.index("hazard_ratios") :])


def test_findings_are_on_the_overview_too(explained: Generation) -> None:
    texts = [block for block in overview.page(View(explained)).blocks if isinstance(block, Text)]
    assert [text.title for text in texts] == ["What changed", "Why, and for whom"]
    assert texts[1].sentences == (KNOWN["finding"],)


def test_without_insights_the_page_shows_the_change_by_segment(
    marts: dict[str, pa.Table], tmp_path: Path
) -> None:
    publish_marts(tmp_path, marts)
    generation = open_generation(tmp_path)
    assert set(drivers.page(View(generation)).tables) == {
        f"change_{segment}" for segment in generation.segments
    }
