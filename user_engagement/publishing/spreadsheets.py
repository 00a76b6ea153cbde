"""Prevents spreadsheets from running text in exported files as formulas."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

FORMULA = r"^([=+\-@\t\r])"
"""The first character of a text that spreadsheets run as a formula (OWASP, CSV Injection)."""


def without_formulas(table: pa.Table) -> pa.Table:
    """The table with an apostrophe before each text that begins like a formula; numbers and dates are unchanged."""
    options = pc.ReplaceSubstringOptions(FORMULA, r"'\1")
    for position, field in enumerate(table.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            harmless = pc.call_function("replace_substring_regex", [table.column(position)], options)
            table = table.set_column(position, field.name, harmless)
    return table
