"""Small tables of counts, to build by hand."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd


def binary_cells(
    rows: Iterable[tuple[str, str, str, int, int]], metric: str = "retention", tenure: str = "28-83 days"
) -> pd.DataFrame:
    """Cells of a measure of 0 or 1, from (period, product, channel, users, total)."""
    table = pd.DataFrame(rows, columns=["period", "product_type", "acquisition_channel", "users", "total"])
    return table.assign(metric=metric, tenure=tenure, main_device="phone", squares=table.total)
