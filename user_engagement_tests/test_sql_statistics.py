"""The statistics of the macros, at sizes that no small world has."""

from __future__ import annotations

import duckdb
import pytest
from jinja2 import Environment
from statsmodels.stats.proportion import proportion_confint

from user_engagement.settings import PROJECT_ROOT

MACROS = (PROJECT_ROOT / "user_engagement_dbt" / "macros" / "statistics.sql").read_text()


@pytest.mark.parametrize("users", [1, 7, 99_999_999, 100_000_000, 3_000_000_000])
@pytest.mark.parametrize("share", [0.0, 0.123, 1.0])
def test_wilson_intervals_agree_with_statsmodels_for_any_number_of_users(users: int, share: float) -> None:
    """A decimal with 30 places left eight for the count: 100 million users ended in an error."""
    macros = Environment().from_string(MACROS).make_module()
    low, high = (vars(macros)[name]("active", "users") for name in ("wilson_low", "wilson_high"))
    active = round(users * share)
    with duckdb.connect() as connection:
        source = f"(select cast({active} as bigint) as active, cast({users} as bigint) as users)"
        found = connection.execute(f"select {low}, {high} from {source}").fetchall()[0]
    assert found == pytest.approx(proportion_confint(active, users, method="wilson"), rel=1e-9, abs=1e-12)
