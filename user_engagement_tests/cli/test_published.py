from __future__ import annotations

from datetime import date
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from user_engagement.cli import published


def test_a_long_label_takes_two_lines_and_cuts_no_period(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal of 80 columns, a label of 27 characters cut the year off every period."""
    row = {
        "position": 1,
        "label": "Active on 3 days of the first week",
        "unit": "seconds",
        "value": 2760.0,
        "ci_low": 2693.0,
        "ci_high": 2828.0,
        "previous_value": 2762.0,
        "period_start": date(2026, 9, 1),
        "period_end": date(2026, 9, 26),
    }
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "kpi_summary.parquet")
    monkeypatch.setattr(published, "read_manifest", lambda _: SimpleNamespace(as_of="2026-11-25"))
    console = Console(width=80)
    with console.capture() as shown:
        console.print(published.kpi_table(tmp_path))
    assert "to 26 Sep 2026" in shown.get()
    assert "44m 53s – 47m 08s" in shown.get()
