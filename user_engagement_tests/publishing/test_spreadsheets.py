"""CSV cells that a spreadsheet would run as formulas."""

from __future__ import annotations

import pyarrow as pa

from user_engagement.publishing.spreadsheets import without_formulas


def test_text_that_begins_like_a_formula_gets_an_apostrophe_and_nothing_else_changes() -> None:
    table = pa.table(
        {
            "segment_value": ["=1+1", "+49", "-", "@all", "\tTab", "a=b", "", None, "paid"],
            "users": [-1, 2, 3, 4, 5, 6, 7, 8, 9],
        }
    )
    found = without_formulas(table)
    assert found["segment_value"].to_pylist() == [
        "'=1+1",
        "'+49",
        "'-",
        "'@all",
        "'\tTab",
        "a=b",
        "",
        None,
        "paid",
    ]
    assert found["users"].equals(table["users"])
