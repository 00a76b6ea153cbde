"""Releases and campaigns to draw on time lines, from a small CSV file."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from user_engagement.dashboard.data import Frame
from user_engagement.errors import UserError

COLUMNS = ("day", "label")


def read_marks(file: Path | None) -> Frame:
    """Days and labels in their order; none without a file.

    Raises:
        UserError: the file cannot be read as such.
    """
    if file is None:
        return pd.DataFrame({"day": pd.Series(dtype="datetime64[ns]"), "label": pd.Series(dtype=str)})
    try:
        rows = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{file}: cannot be read ({error}). It holds annotations, columns day,label."
        ) from None
    rows.columns = [str(name).strip().lower() for name in rows.columns]
    if missing := [name for name in COLUMNS if name not in rows]:
        raise UserError(
            f"{file}: has no column {', '.join(missing)}. Annotations have the columns day,label."
        )
    days = pd.to_datetime(rows.day, format="%Y-%m-%d", errors="coerce")
    if days.isna().any():
        line = int(days.isna().to_numpy().argmax()) + 2
        raise UserError(f"{file}, line {line}: {rows.day[line - 2]!r} is no day. Write it as 2025-03-31.")
    return pd.DataFrame({"day": days, "label": rows.label}).sort_values("day", ignore_index=True)
