"""A simulated company in a warehouse with all marts and insights, as the dashboard's tests need it."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from user_engagement.assets.insights import SCHEMA as INSIGHTS
from user_engagement.assets.insights import compute, store
from user_engagement.assets.published import published_tables
from user_engagement.contracts.marts import MARTS
from user_engagement.contracts.raw import RAW_TABLES, Window
from user_engagement.settings import Settings, load_settings
from user_engagement.sources import FilesSource
from user_engagement.warehouse import open_warehouse
from user_engagement_tests.support.company import THROUGH
from user_engagement_tests.support.worlds import at_home, call_dbt, exported


def settings_of(home: Path, company: Path) -> Settings:
    return load_settings(
        home=home,
        source="files",
        source_path=str(company),
        as_of=THROUGH,
        insights=True,
        publish_report=True,
    )


def build(folder: Path, company: Path) -> None:
    """The company in a warehouse, by the real extracts, dbt and insights; and its marts and insights as files."""
    home = folder / "home"
    with at_home(home):
        settings = settings_of(home, company)
        source = FilesSource(str(company), settings.timezone)
        warehouse = open_warehouse(settings)
        for table in RAW_TABLES:
            warehouse.replace_slice(source.extract(table, Window()))
        call_dbt(settings, "run")
        store(settings, compute(settings)[0])
        exported(settings, folder / "marts")
        (folder / "insights").mkdir()
        with warehouse.reader() as reader:
            # those of single users left out
            for name in set(published_tables(settings)) - set(MARTS):
                pq.write_table(
                    reader.ordered(INSIGHTS, name).read_all(), folder / "insights" / f"{name}.parquet"
                )
