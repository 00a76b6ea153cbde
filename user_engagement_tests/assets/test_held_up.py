"""Months that wait for a file that cannot be read: what is loaded, published and said of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from user_engagement import pipeline
from user_engagement.cli.app import app
from user_engagement.dashboard.data import open_generation
from user_engagement.errors import SourceError
from user_engagement.publishing.generations import EVERY_FILE_READ
from user_engagement.settings import Settings
from user_engagement.warehouse import open_warehouse

pytestmark = [pytest.mark.slow, pytest.mark.long]

SIGNUPS = "user_id,signup_date,product_type\n1,2025-01-03,free\n2,2025-01-10,free\n3,2025-03-02,free\n"
HEADER = "user_id,engagement_date,session_duration,interaction_type\n"
ROWS = {
    "2025-01": "1,2025-01-04,60,visit\n2,2025-01-20,60,visit\n",
    "2025-02": "1,2025-02-05,60,visit\n2,2025-02-28,60,visit\n",
    "2025-03": "1,2025-03-06,60,visit\n3,2025-03-07,60,visit\n",
}


@dataclass
class Home:
    settings: Settings

    def file(self, name: str) -> Path:
        return Path(str(self.settings.source_path)) / "user_engagement" / f"{name}.csv"

    def write(self, name: str, content: str) -> None:
        self.file(name).write_text(content)

    def run(self) -> int:
        options = ["run", "--source", "files", "--path", str(self.settings.source_path)]
        return CliRunner().invoke(app, options).exit_code

    def loaded(self) -> dict[str, int]:
        with open_warehouse(self.settings).reader() as reader:
            return reader.monthly_rows("raw.user_engagement", "engagement_date")

    def published(self) -> tuple[date, list[str]]:
        """The last day of data, and what is said of files."""
        generation = open_generation(self.settings.published_dir)
        doubts = [each.text for each in generation.manifest.doubts if each.check == EVERY_FILE_READ]
        return generation.as_of, doubts


@pytest.fixture
def home(settings_for: Callable[..., Settings], tmp_path: Path) -> Home:
    folder = tmp_path / "source"
    (folder / "user_engagement").mkdir(parents=True)
    (folder / "user_signups.csv").write_text(SIGNUPS)
    made = Home(settings_for(source_path=str(folder), as_of=None))
    for name, rows in ROWS.items():
        made.write(name, HEADER + rows)
    return made


def test_the_data_end_before_a_file_that_was_never_loaded_until_it_is_restored(home: Home) -> None:
    home.write("2025-02", "")
    assert home.run() == 3
    assert home.loaded() == {"2025-01-01": 2, "2025-03-01": 2}
    as_of, (said,) = home.published()
    assert as_of == date(2025, 1, 31)
    assert "user_engagement/2025-02.csv cannot be read; 1 month waiting for it: 2025-02." in said
    assert "the first line is empty" in said
    assert not pipeline.plan(home.settings).load, "nothing has changed, and the month still waits"

    # restored; and of a file that was loaded before the former rows count, while newer months are loaded
    home.write("2025-02", HEADER + ROWS["2025-02"])
    home.write("2025-01", HEADER + "1,2025-01-05\n")
    home.write("2025-04", HEADER + "1,2025-04-01,60,visit\n")
    assert home.run() == 3
    assert home.loaded() == {"2025-01-01": 2, "2025-02-01": 2, "2025-03-01": 2, "2025-04-01": 1}
    as_of, (said,) = home.published()
    assert as_of == date(2025, 4, 1)
    assert "user_engagement/2025-01.csv" in said
    assert "The rows of its last load count." in said


def test_a_days_file_that_was_never_loaded_ends_the_data_with_what_is_loaded_before_it(home: Home) -> None:
    home.write("2025-03-08", "")
    assert home.run() == 3
    # nothing of March is loaded, so no day of it is published as one without activity
    as_of, _ = home.published()
    assert as_of == date(2025, 2, 28)
    home.file("2025-03-08").unlink()
    assert home.run() == 0
    home.write("2025-03-09", "")
    assert home.run() == 3
    as_of, _ = home.published()
    assert as_of == date(2025, 3, 7)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("2025-01", "The first month, 2025-01, waits for it"),
        ("more", "Which months it holds is not known"),
    ],
)
def test_nothing_is_loaded_without_the_first_month_or_where_no_month_is_known(
    home: Home, name: str, said: str
) -> None:
    home.write(name, "")
    with pytest.raises(SourceError, match=said):
        pipeline.plan(home.settings)
    assert not open_warehouse(home.settings).exists()


def test_a_month_that_waits_cannot_be_asked_for(home: Home) -> None:
    home.write("2025-02", "")
    asked = home.settings.model_copy(update={"start": date(2025, 2, 1), "end": date(2025, 2, 1)})
    with pytest.raises(SourceError, match=r"2025-02\.csv cannot be read"):
        pipeline.plan(asked)
