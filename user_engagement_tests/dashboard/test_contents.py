"""What the pages hold: numbers equal to the marts', words for every figure, and nothing summed that must not be."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from user_engagement import formatting as fmt
from user_engagement.dashboard import measures
from user_engagement.dashboard.blocks import Cards, Page, Row, Table
from user_engagement.dashboard.charts import Chart
from user_engagement.dashboard.charts.heatmap import DEEP
from user_engagement.dashboard.contents import PAGES, Entry
from user_engagement.dashboard.contents.overview import kpi_cards
from user_engagement.dashboard.contents.quality import check_rows
from user_engagement.dashboard.contents.retention import chosen_cohorts, heatmap, pooled
from user_engagement.dashboard.data import ALL, Generation, open_generation
from user_engagement.dashboard.filters import COMPARISONS, OPTIONS, RANGES, Filters
from user_engagement.dashboard.tables import readable
from user_engagement.dashboard.theme import DARK, LIGHT
from user_engagement.dashboard.view import View
from user_engagement_tests.support.serving import publish_marts

SEGMENTS = ((), ("product_type",), ("country", "product_type"))
BY_KEY = {entry.key: entry for entry in PAGES}


def charts(page: Page) -> list[Chart]:
    blocks = [c for b in page.blocks for c in (b.charts if isinstance(b, Row) else (b,))]
    return [block for block in blocks if isinstance(block, Chart)]


@pytest.mark.parametrize("entry", PAGES, ids=[entry.key for entry in PAGES])
@pytest.mark.parametrize(("segments", "compare"), list(product(SEGMENTS, COMPARISONS)))
def test_every_figure_is_valid_and_has_words_and_a_table(
    generation: Generation, entry: Entry, segments: tuple[str, ...], compare: str
) -> None:
    for theme, days in ((LIGHT, "3m"), (DARK, "all")):
        chosen = dict.fromkeys(segments, ())
        page = entry.make(View(generation, Filters(segments=chosen, compare=compare, range=days), theme))
        assert page.headline.endswith(".")
        assert len({chart.key for chart in charts(page)}) == len(charts(page))
        for chart in charts(page):
            assert chart.title
            assert chart.about.endswith(".")
            assert chart.summary.endswith((".", "?"))
            assert "nan" not in chart.summary.lower().split()
            assert len(chart.table)
            if chart.figure:
                go.Figure(chart.figure)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_changes_what_is_shown(generation: Generation, name: str) -> None:
    shown = set()
    for value in OPTIONS[name].values:
        view = View(generation, Filters(range="all", options={name: value}))
        tables = {key: table.to_csv() for entry in PAGES for key, table in entry.make(view).tables.items()}
        shown.add(
            str(tables)
            + str([c.figure["data"] for entry in PAGES for c in charts(entry.make(view)) if c.figure])
        )
    assert len(shown) == len(OPTIONS[name].values)


# -- KPIs --------------------------------------------------------------------------------------------------


def test_the_cards_show_every_kpi_as_published(generation: Generation) -> None:
    summary = generation.frame("kpi_summary").set_index("kpi")
    cards = kpi_cards(View(generation)).cards
    assert [card.key for card in cards] == list(summary.sort_values("position").index)
    for card in cards:
        assert card.definition == summary.definition[card.key]
        assert card.period
    by_key = {card.key: card for card in cards}
    assert by_key["mau"].value == f"{summary.value['mau']:,.0f}"
    assert by_key["retention_1_month"].value == f"{100 * summary.value['retention_1_month']:.1f}\u00a0%"
    assert f"of {summary.denominator['churn_rate_declared']:,.0f}" in by_key["churn_rate_declared"].note


def test_kpis_of_a_segment_are_computed_as_those_of_all_users_are(generation: Generation) -> None:
    """Computed for the segment (all, all), they must be those that the warehouse computed."""
    summary = generation.frame("kpi_summary").set_index("kpi", drop=False)
    computed = measures._computed(generation, ALL, ALL, summary)
    assert set(summary.kpi) - set(computed) == {
        "average_session_duration",
        "median_session_duration",
        "median_days_since_signup",
    }
    for name, row in computed.items():
        for column in ("value", "previous_value", "ci_low", "ci_high", "numerator", "denominator"):
            # no interval of means and no earlier horizon in the marts of a segment
            if row.get(column) is not None:
                assert row[column] == pytest.approx(summary.loc[name, column], nan_ok=True), (name, column)
        if row.get("value") is not None:
            assert pd.Timestamp(row["period_end"]) == summary.loc[name, "period_end"], name


def test_kpis_of_a_value_come_from_its_own_rows(generation: Generation) -> None:
    for value in generation.segments["product_type"]:
        rows = generation.of_segment("active_users_daily", "product_type")
        last = rows[(rows.segment_value == value) & (rows.activity_date == rows.activity_date.max())]
        assert measures.kpis(generation, "product_type", value).value["mau"] == last.mau.iloc[0]


def test_several_values_get_a_table_and_never_a_sum(generation: Generation) -> None:
    view = View(generation, Filters(segments={"product_type": ()}))
    page = BY_KEY["overview"].make(view)
    (table,) = (b for b in page.blocks if isinstance(b, Table))
    assert list(table.frame.group) == ["All users", *map(fmt.label, view.groups)]
    (cards,) = (b for b in page.blocks if isinstance(b, Cards))
    assert cards.title == "More figures", "of all users"
    first = next(iter(view.groups))
    one = kpi_cards(View(generation, Filters(segments={"product_type": (first,)})))
    assert fmt.label(first) in one.title


def test_a_small_base_is_marked(generation: Generation) -> None:
    small = generation.of_segment("churn_monthly", "country")
    small = small[small.is_complete & (small.users_at_start < 30) & (small.users_at_start > 0)]
    value = str(small.segment_value.iloc[-1])
    view = View(generation, Filters(segments={"country": (value,)}, range="all"))
    told = " ".join(chart.summary for chart in charts(BY_KEY["churn"].make(view)))
    assert "fewer than 30 users" in told
    assert any("small base" in card.note for card in kpi_cards(view).cards)


# -- segments ----------------------------------------------------------------------------------------------


def test_every_row_shown_is_a_row_of_the_mart(generation: Generation) -> None:
    """Tables show rows as they were counted in the warehouse: no distinct count is added up on the way."""
    view = View(generation, Filters(segments={"country": ()}, range="all"))
    for page, key, mart in (
        ("engagement", "active_users", "active_users_daily"),
        ("churn", "churn_declared", "churn_monthly"),
        ("churn", "survival", "survival"),
        ("engagement", "days_between", "engagement_frequency"),
    ):
        shown = BY_KEY[page].make(view).tables[key]
        published = generation.frame(mart)[list(shown.columns)]
        matched = shown.merge(published, how="left", indicator=True)
        assert len(matched) == len(shown) > 0
        assert (matched._merge == "both").all(), key


def test_no_more_values_are_shown_than_can_be_told_apart(generation: Generation) -> None:
    view = View(generation, Filters(segments={"country": ()}))
    assert len(generation.segments["country"]) > 7
    assert tuple(view.groups) == generation.segments["country"][:7]
    assert f"7 of {len(generation.segments['country'])} groups" in view.in_words


def test_pooled_retention_is_the_published_headline(generation: Generation) -> None:
    rows = pooled(chosen_cohorts(View(generation, Filters(range="all")), one_group=True)).set_index(
        "period_number"
    )
    summary = generation.frame("kpi_summary").set_index("kpi")
    assert rows.retained_users[1] == summary.numerator["retention_1_month"]
    assert rows.eligible_users[1] == summary.denominator["retention_1_month"]
    assert rows.ci_low[1] == pytest.approx(summary.ci_low["retention_1_month"])


# -- cohorts, comparisons ----------------------------------------------------------------------------------


def test_incomplete_cohort_cells_are_marked_and_have_no_rate(generation: Generation) -> None:
    chart = heatmap(View(generation, Filters(range="all")))
    assert chart.figure
    grey, pale, deep = chart.figure["data"]
    marked = np.array(grey["text"]) == "…"
    assert marked.sum() == (~chart.table.is_complete).sum() > 0
    assert np.isfinite(grey["z"][marked]).all()
    assert "incomplete: " in grey["hovertext"][-1][0]
    rated = chart.table[chart.table.is_complete & (chart.table.period_number > 0)]
    assert np.isfinite(pale["z"]).sum() + np.isfinite(deep["z"]).sum() == len(rated)
    assert (pale["z"][np.isfinite(pale["z"])] <= DEEP * pale["zmax"]).all()
    assert (deep["z"][np.isfinite(deep["z"])] > DEEP * deep["zmax"]).all()


def test_each_cell_of_the_heatmap_is_written_once(generation: Generation) -> None:
    """Layers that all wrote every cell overprinted each other in two inks."""
    chart = heatmap(View(generation, Filters(range="all")))
    assert chart.figure
    written = sum((np.array(layer["text"]) != "").astype(int) for layer in chart.figure["data"])
    assert written.max() == 1
    assert written.sum() == len(chart.table)


def test_a_poor_group_is_drawn_on_the_same_scale_as_all_users(generation: Generation) -> None:
    """Once, each view had a scale of its own, and the worst channel looked as healthy as the best."""
    whole = heatmap(View(generation, Filters(range="all")))
    one = heatmap(View(generation, Filters(range="3m", segments={"country": ("DE",)})))
    assert whole.figure
    assert one.figure
    assert whole.figure["data"][1]["zmax"] == one.figure["data"][1]["zmax"]
    assert all(np.isnan(layer["z"][:, 0]).all() for layer in whole.figure["data"][1:]), (
        "month 0 has no colour"
    )


def test_several_values_leave_single_group_charts_with_all_users(generation: Generation) -> None:
    """Once, a segment without a chosen value meant its largest value in some charts."""
    view = View(generation, Filters(segments={"product_type": ()}))
    assert view.group_value == ALL
    rows = view.group_rows("churn_monthly", churn_kind="declared")
    assert set(rows.segment_value) == {ALL}
    assert View(generation, Filters(segments={"country": ("DE",)})).group_value == "DE"


def test_a_comparison_gives_both_numbers_and_their_difference(generation: Generation) -> None:
    view = View(generation, Filters(range="3m", compare="previous"))
    (chart,) = (c for c in charts(BY_KEY["engagement"].make(view)) if c.key == "active_users")
    rows = generation.of_segment("active_users_daily", ALL).set_index("activity_date").mau
    start, end = view.days
    then = pd.Timestamp(end) - pd.Timedelta(days=(end - start).days + 1)
    assert f"{rows.iloc[-1]:,} (20 May 2025) against {rows[then]:,}" in chart.summary


def test_retention_curves_follow_the_comparison(generation: Generation) -> None:
    view = View(generation, Filters(range="3m", compare="previous"))
    (chart,) = (c for c in charts(BY_KEY["retention"].make(view)) if c.key == "retention_by_segment")
    assert chart.figure
    assert [trace["line"]["dash"] for trace in chart.figure["data"] if trace["line"].get("dash")] == [
        "solid",
        "dot",
    ]
    assert "Dotted: the period before." in chart.summary
    assert " against " in chart.summary


def test_what_does_not_follow_the_filters_says_so(generation: Generation) -> None:
    chosen = Filters(range="3m", segments={"country": ("DE",)}, compare="year")
    told = {
        chart.key: chart.summary
        for page in ("retention", "churn", "engagement")
        for chart in charts(BY_KEY[page].make(View(generation, chosen)))
    }
    assert "Does not follow the filters days, segments and comparison." in told["retention_by_first_week"]
    assert "Does not follow the filters days and comparison." in told["day_n"]
    assert "Does not follow the filter segments." in told["session_duration"]
    assert "Does not follow" not in told["churn_declared"]
    plain = charts(BY_KEY["retention"].make(View(generation)))
    assert not any("Does not follow" in chart.summary for chart in plain)


def test_groups_of_several_segments_are_lines_of_their_own(generation: Generation) -> None:
    first, second = (generation.segments[name][0] for name in ("country", "product_type"))
    view = View(generation, Filters(segments={"country": (first,), "product_type": (second,)}, range="all"))
    (chart,) = (c for c in charts(BY_KEY["churn"].make(view)) if c.key == "churn_declared")
    assert chart.figure
    names = [trace["name"] for trace in chart.figure["data"]]
    assert names == [f"Country {fmt.label(first)}", f"Product type {fmt.label(second)}"]
    mart = generation.frame("churn_monthly")
    for trace, (segment, value) in zip(chart.figure["data"], view.groups.values(), strict=True):
        rows = mart[(mart.segment_name == segment) & (mart.segment_value == value) & mart.is_complete]
        rates = rows[rows.churn_kind == "declared"].sort_values("month").churn_rate.dropna()
        assert list(trace["y"]) == pytest.approx(list(rates))
    assert len({trace["line"]["color"] for trace in chart.figure["data"]}) == 2


def test_several_segments_share_the_room_for_groups(generation: Generation) -> None:
    view = View(generation, Filters(segments={"country": (), "product_type": ()}))
    assert len(view.groups) == 7
    shown = [segment for segment, _ in view.groups.values()]
    assert sorted((shown.count("country"), shown.count("product_type"))) == [3, 4]


def test_daily_active_users_are_means_of_seven_days(generation: Generation) -> None:
    view = View(generation, Filters(range="all", options={"active": "dau"}))
    table = BY_KEY["engagement"].make(view).tables["active_users"]
    assert table.dau_7_days.iloc[-1] == pytest.approx(table.dau.iloc[-7:].mean())
    assert table.dau_7_days.iloc[:6].isna().all()


def test_a_comparison_shows_the_rows_of_the_earlier_period_in_this_ones_place(generation: Generation) -> None:
    view = View(generation, Filters(range="3m", compare="previous"))
    rows = view.rows("active_users_daily")
    _, before = view.earlier(rows, "activity_date") or ("", pd.DataFrame())
    start, end = view.days
    assert before.drawn_at.min() >= pd.Timestamp(start)
    assert before.drawn_at.max() == pd.Timestamp(end)
    assert (before.activity_date < pd.Timestamp(start)).all()
    monthly = view.rows("churn_monthly", churn_kind="declared")
    _, months = view.earlier(monthly, "month", monthly=True) or ("", pd.DataFrame())
    assert (months.drawn_at.dt.day == 1).all()
    assert months.is_complete.all()


def test_a_comparisons_line_says_of_which_days_it_is(generation: Generation) -> None:
    view = View(generation, Filters(range="3m", compare="previous"))
    (chart,) = (c for c in charts(BY_KEY["engagement"].make(view)) if c.key == "active_users")
    assert chart.figure
    now, before = chart.figure["data"]
    (_, earlier) = view.earlier(view.rows("active_users_daily"), "activity_date") or ("", pd.DataFrame())
    assert before["hovertext"] == [f"{day:%Y-%m-%d}" for day in earlier.activity_date]
    assert "%{hovertext|" in before["hovertemplate"]
    assert set(before["x"]) <= set(now["x"])


def test_tables_are_read_with_labels_and_four_figures() -> None:
    read = readable(
        pd.DataFrame(
            {
                "segment_value": ["paid_social", None],
                "user_key": ["a_b", "c_d"],
                "ci_low": [0.123456, np.nan],
                "amount": [12345.678, 0.0],
                "users": [1234567, 1],
            }
        )
    )
    assert read.segment_value.tolist() == ["Paid social", None]
    assert read.user_key.tolist() == ["a_b", "c_d"], "an id is no name"
    assert read.ci_low.tolist()[0] == 0.1235
    assert np.isnan(read.ci_low.tolist()[1])
    assert read.amount.tolist() == [12346, 0]
    assert read.users.tolist() == [1234567, 1]


def test_ranges_cut_what_is_shown(generation: Generation) -> None:
    lengths = [
        len(BY_KEY["engagement"].make(View(generation, Filters(range=r))).tables["active_users"])
        for r in RANGES
        if r != "custom"
    ]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]


# -- data quality ------------------------------------------------------------------------------------------


def test_the_checks_pass_on_what_was_published(generation: Generation) -> None:
    assert set(check_rows(generation).result) == {"passed"}


def test_a_changed_file_and_numbers_that_disagree_are_found(
    tmp_path_factory: pytest.TempPathFactory, marts: dict[str, pa.Table]
) -> None:
    published = tmp_path_factory.mktemp("wrong") / "published"
    users = marts["active_users_daily"]
    wrong = users.set_column(
        users.schema.get_field_index("mau"),
        "mau",
        pa.array([1 + m for m in users["mau"].to_pylist()], pa.int64()),
    )
    publish_marts(published, {**marts, "active_users_daily": wrong})
    opened = open_generation(published)
    pq.write_table(marts["survival"], opened.folder / "survival.parquet", compression="none")
    failed = check_rows(opened)
    assert set(failed[failed.result == "failed"].check) == {
        "Files are as they were published",
        "Active users = those of the day before + new + back - gone, every day",
        "Values of each segment add up to all users, every day",
    }
    assert BY_KEY["quality"].make(View(opened)).headline.startswith("Do not rely on these numbers")


# -- sources with next to nothing --------------------------------------------------------------------------


def test_marts_without_rows_make_pages_that_say_so(
    tmp_path_factory: pytest.TempPathFactory, marts: dict[str, pa.Table]
) -> None:
    published = tmp_path_factory.mktemp("empty") / "published"
    kept = ("kpi_summary", "data_quality")
    publish_marts(
        published, {name: table if name in kept else table.slice(0, 0) for name, table in marts.items()}
    )
    view = View(open_generation(published))
    for entry in PAGES:
        page = entry.make(view)
        assert page.headline
        assert all(chart.figure is None for chart in charts(page) if not chart.key.startswith("rows_"))
