"""The app as Streamlit runs it, without a browser: pages, filters, addresses, and states with nothing to show."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.request import urlopen

import pandas as pd
import pyarrow as pa
import pytest
from streamlit.testing.v1 import AppTest

from user_engagement.dashboard.contents import PAGES
from user_engagement.dashboard.data import Generation, UnavailableError, open_generation
from user_engagement.dashboard.login import is_admitted
from user_engagement.dashboard.tables import to_csv
from user_engagement.settings import PREFIX, load_settings
from user_engagement_tests.support.serving import dashboard, publish_marts

App = Callable[..., AppTest]
HEADLINE = 'class="ue-headline"'


def shown(app: AppTest) -> str:
    assert not app.exception, app.exception
    html = [element.proto.body for element in app.get("html")]
    return "\n".join([*html, *(m.value for m in (*app.info, *app.warning))])


def titled(app: AppTest, key: str) -> bool:
    """Whether it is that page; the Overview's title is its headline."""
    (entry,) = (entry for entry in PAGES if entry.key == key)
    text = shown(app)
    if key == PAGES[0].key:
        return '<h1 class="ue-headline">' in text
    return f'<h1 class="ue-page-title">{entry.title}</h1>' in text


ONE_BY_ONE = {
    "one segment": {"segment": "product_type", "compare": "previous", "range": "3m"},
    "two values": {
        "segment": "country",
        "value": ["DE", "US"],
        "compare": "year",
        "range": "all",
        "focus": "US",
    },
    "options": {
        "period": "days_30",
        "churn": "inactive",
        "grain": "week",
        "day_n": "unbounded",
        "active": "dau",
    },
}
AT_ONCE = {
    **ONE_BY_ONE["options"],
    "segment": ["country", "product_type"],
    "value": ["country: DE", "product_type: basic"],
    "compare": "year",
    "focus": "DE",
}


@pytest.mark.parametrize("page", [entry.key for entry in PAGES])
@pytest.mark.parametrize(
    "query",
    [
        pytest.param({}, id="all users"),
        pytest.param(AT_ONCE, id="two segments and options"),
        *(pytest.param(query, id=name, marks=pytest.mark.exhaustive) for name, query in ONE_BY_ONE.items()),
    ],
)
def test_every_page_opens_with_every_kind_of_filter(
    app: App, page: str, query: dict[str, str | list[str]]
) -> None:
    opened = app({"page": page, **query})
    assert HEADLINE in shown(opened)
    assert titled(opened, page)


def test_a_choice_is_written_into_the_address_and_an_address_sets_the_choice(app: App) -> None:
    opened = app()
    assert opened.query_params["page"] == "overview"
    opened.multiselect(key="choose_segments").select("country").run()
    opened.multiselect(key="choose_values_country").select("DE").run()
    opened.selectbox(key="choose_range").select("3m").run()
    query = dict(opened.query_params)
    assert query == {"page": "overview", "range": "3m", "segment": "country", "value": "DE"}
    other = app(query)
    assert other.selectbox(key="choose_range").value == "3m"
    assert other.multiselect(key="choose_values_country").value == ["DE"]
    assert "Signups (country DE)" in shown(other)
    assert dict(other.query_params) == query


def test_an_older_address_that_the_browser_sends_with_a_choice_does_not_undo_it(app: App) -> None:
    """Once, a second choice made before the address had changed lost the first."""
    opened = app({"page": "churn", "range": "12m"})
    opened.selectbox(key="choose_range").select("all").run()
    opened.query_params["range"] = "12m"
    opened.selectbox(key="choose_compare").select("year").run()
    assert dict(opened.query_params) == {"page": "churn", "range": "all", "compare": "year"}


def test_going_back_opens_the_address_gone_back_to(app: App) -> None:
    opened = app({"page": "churn", "range": "12m"})
    opened.selectbox(key="choose_range").select("all").run()
    opened.query_params["range"] = "12m"
    opened.run()
    assert opened.selectbox(key="choose_range").value == "12m"


def test_a_page_is_left_with_its_filters_kept(app: App) -> None:
    opened = app({"page": "churn", "segment": "country", "churn": "inactive"})
    opened.button_group(key="choose_page").set_value("retention").run()
    assert titled(opened, "retention")
    assert opened.multiselect(key="choose_segments").value == ["country"]
    opened.button_group(key="choose_page").set_value("churn").run()
    assert opened.selectbox(key="choose_churn").value == "inactive"


# -- states ------------------------------------------------------------------------------------------------


def test_before_anything_is_published_it_says_what_to_run(app: App, tmp_path: Path) -> None:
    assert "user-engagement run" in shown(app(HOME=str(tmp_path)))


@pytest.mark.parametrize(("version", "words"), [(0, "older version"), (99, "newer version")])
def test_another_schema_version_is_said_and_not_read(
    app: App, tmp_path: Path, marts: dict[str, pa.Table], version: int, words: str
) -> None:
    publish_marts(tmp_path / "published", marts)
    manifest = tmp_path / "published/gen-1/manifest.json"
    # an other version may have other fields
    manifest.write_text(json.dumps({"schema_version": version, "surprise": True}))
    assert words in shown(app(HOME=str(tmp_path)))


def test_a_generation_that_vanishes_while_it_is_read_is_said(
    tmp_path: Path, marts: dict[str, pa.Table]
) -> None:
    publish_marts(tmp_path / "published", marts)
    generation = open_generation(tmp_path / "published")
    shutil.rmtree(generation.folder)
    with pytest.raises(UnavailableError, match=r"replaced while .* Reload"):
        generation.frame("survival")


def test_a_home_that_was_made_anew_is_not_mistaken_for_the_old_one(
    tmp_path: Path, marts: dict[str, pa.Table]
) -> None:
    publish_marts(tmp_path / "published", marts, run="first")
    assert len(open_generation(tmp_path / "published").frame("kpi_summary"))
    shutil.rmtree(tmp_path / "published")
    publish_marts(
        tmp_path / "published", {**marts, "kpi_summary": marts["kpi_summary"].slice(0, 1)}, run="second"
    )
    assert len(open_generation(tmp_path / "published").frame("kpi_summary")) == 1


def test_old_numbers_carry_a_banner(app: App, generation: Generation) -> None:
    # the company's last day lies in the past
    assert "The data end on 20 May 2025" in shown(app())
    assert "The data end" not in shown(app(STALE_AFTER_HOURS="9999999"))
    published = generation.published_at
    assert generation.stale(published + timedelta(hours=50), 40) == (
        "These numbers were published 50 hours ago; newer ones have not arrived since."
    )
    fresh = datetime(2025, 5, 22, 3, tzinfo=UTC)
    assert generation.stale(min(fresh, published), 30) is None


def test_days_without_data_say_which_there_are(app: App) -> None:
    opened = app({"page": "overview", "range": "custom", "from": "2031-01-01", "to": "2031-02-01"})
    assert "20 May 2025" in shown(opened)
    assert opened.selectbox(key="choose_range").value == "custom", "the filters stay, to be changed"


def test_a_new_generation_is_shown_at_the_next_click(
    app: App, tmp_path: Path, marts: dict[str, pa.Table]
) -> None:
    publish_marts(tmp_path / "published", marts)
    opened = app({"page": "quality"}, HOME=str(tmp_path))
    assert "Generation 1:" in shown(opened)
    publish_marts(tmp_path / "published", marts)
    assert "Generation 2:" in shown(opened.run())


# -- annotations -------------------------------------------------------------------------------------------


def test_annotations_are_drawn_where_they_happened(app: App, tmp_path: Path) -> None:
    file = tmp_path / "marks.csv"
    file.write_text("day,label\n2025-04-01,Release 2.0\n2019-01-01,Long ago\n")
    opened = app({"page": "engagement"}, ANNOTATIONS=str(file))
    specs = [json.loads(chart.proto.spec) for chart in opened.get("plotly_chart")]
    assert len(specs) > 5
    for layout in (spec["layout"] for spec in specs):
        assert layout["annotations"][0]["text"] == "Release 2.0"
        assert len(layout["shapes"]) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("day,label\n1 April,Release\n", ["line 2", "'1 April'", "2025-03-31"]),
        ("when,what\n2025-04-01,Release\n", ["no column day, label"]),
        (None, ["cannot be read"]),
    ],
)
def test_annotations_that_cannot_be_read_are_said_and_the_page_still_opens(
    app: App, tmp_path: Path, content: str | None, words: list[str]
) -> None:
    file = tmp_path / "marks.csv"
    if content:
        file.write_text(content)
    told = shown(app(ANNOTATIONS=str(file)))
    assert HEADLINE in told
    for word in words:
        assert word in told


# -- tables and text from the sources ----------------------------------------------------------------------


def test_csv_has_exact_numbers_iso_days_and_no_formulas() -> None:
    frame = pd.DataFrame(
        {
            "day": pd.to_datetime(["2025-03-31", None]),
            "rate": [1 / 3, float("nan")],
            "value": ["=cmd|' /C calc'!A0", "DE"],
        }
    )
    lines = to_csv(frame).decode().splitlines()
    assert lines[0] == '"day","rate","value"'
    assert lines[1] == "2025-03-31,0.3333333333333333,\"'=cmd|' /C calc'!A0\""
    assert lines[2].endswith('"DE"')


def test_text_of_the_sources_is_never_markup(app: App, tmp_path: Path, marts: dict[str, pa.Table]) -> None:
    evil = "<img src=x onerror=alert(1)>"

    def poisoned(table: pa.Table) -> pa.Table:
        if "segment_value" not in table.column_names:
            return table
        values = [evil if v == "basic" else v for v in table["segment_value"].to_pylist()]
        return table.set_column(
            table.schema.get_field_index("segment_value"), "segment_value", pa.array(values, pa.string())
        )

    publish_marts(tmp_path / "published", {name: poisoned(table) for name, table in marts.items()})
    for page in ("overview", "retention", "churn"):
        told = shown(app({"page": page, "segment": "product_type", "value": evil}, HOME=str(tmp_path)))
        assert "&lt;img" in told
        assert "<img src=x" not in told


# -- login -------------------------------------------------------------------------------------------------


def test_with_a_login_nothing_is_shown_to_who_is_not_logged_in(app: App) -> None:
    opened = app(DASHBOARD_LOGIN="*@example.com")
    assert [b.label for b in opened.button] == ["Log in"]
    assert HEADLINE not in shown(opened)
    assert not opened.selectbox


@pytest.mark.parametrize(
    ("user", "admitted"),
    [
        ({"email": "Ann@Example.com", "email_verified": True}, True),
        ({"email": "bob@partner.org"}, True),
        ({"email": "bob@partner.org", "email_verified": False}, False),
        ({"email": "ann@example.com.evil.org"}, False),
        ({"email": "eve@evil.org"}, False),
        ({"email": ""}, False),
        ({}, False),
    ],
)
def test_only_verified_addresses_that_are_allowed_are_admitted(
    user: dict[str, object], admitted: bool
) -> None:
    assert is_admitted(user, ("*@example.com", "bob@partner.org")) is admitted


@pytest.mark.slow
def test_a_login_without_its_secrets_is_refused_with_what_to_do(command: Callable[..., object]) -> None:
    done = command("dashboard", USER_ENGAGEMENT_DASHBOARD_LOGIN="*@example.com")
    assert done.returncode == 2
    assert "secrets.toml" in done.stderr
    assert "docs/dashboard.md" in done.stderr


def test_other_machines_see_the_dashboard_only_with_a_login_or_behind_a_named_proxy(
    command: Callable[..., object],
) -> None:
    done = command("dashboard", USER_ENGAGEMENT_DASHBOARD_HOST="0.0.0.0")
    assert done.returncode == 2
    assert "without a login" in done.stderr
    assert "DASHBOARD_PROXY" in done.stderr
    for allowed in ({"dashboard_login": "*@example.com"}, {"dashboard_proxy": "oauth2-proxy"}):
        settings = load_settings(dashboard_host="0.0.0.0", **allowed)
        assert settings.dashboard_host == "0.0.0.0"


@pytest.mark.slow
def test_the_dashboard_listens_where_the_setting_says(tmp_path: Path) -> None:
    # another address of this host: what listens on 127.0.0.1 alone is not there
    where = {PREFIX + "DASHBOARD_HOST": "127.0.0.2", PREFIX + "DASHBOARD_PROXY": "oauth2-proxy"}
    with dashboard(tmp_path, **where) as url:
        assert "//127.0.0.2:" in url
        with urlopen(f"{url}/_stcore/health", timeout=5) as answer:
            assert answer.read() == b"ok"
