"""Marts of a home as data frames, for comparisons."""

from __future__ import annotations

import pandas as pd

from user_engagement.contracts.marts import MARTS
from user_engagement.settings import Settings
from user_engagement.warehouse import open_warehouse


def marts(settings: Settings) -> dict[str, pd.DataFrame]:
    """Every mart, ordered by its grain."""
    with open_warehouse(settings).reader() as reader:
        return {name: reader.mart(name).read_all().to_pandas() for name in MARTS}


def assert_equal(got: dict[str, pd.DataFrame], want: dict[str, pd.DataFrame]) -> None:
    """Row for row, to the last bit."""
    assert got.keys() == want.keys()
    for name, frame in want.items():
        pd.testing.assert_frame_equal(got[name], frame, check_exact=True, obj=name)
