"""The small simulated company of the tests, and what most tests of runs leave out."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb

from user_engagement.settings import PREFIX

THROUGH = date(2025, 5, 20)
"""The company's last day."""

EXTRAS = {PREFIX + "INSIGHTS": "false", PREFIX + "PUBLISH_REPORT": "false"}
"""Settings without what takes as long as all the rest of a run, and what most tests do not concern."""


def with_long_ids(company: Path, folder: Path, without: tuple[str, ...] = ()) -> str:
    """A company's files with ids that stand in no other text, without some users."""
    folder.mkdir()
    with duckdb.connect() as connection:
        connection.execute("set variable without = ?", [list(without)])
        for name in ("user_signups", "user_engagement", "churn_data"):
            connection.execute(
                f"copy (select * replace ('customer-' || lpad(user_id::varchar, 8, '0') as user_id)"
                f" from '{company}/{name}.parquet' where user_id is null or not"
                " list_contains(getvariable('without'), 'customer-' || lpad(user_id::varchar, 8, '0')))"
                f" to '{folder}/{name}.parquet'"
            )
    return str(folder)


def busy_users(company: Path) -> tuple[str, ...]:
    """The two most active of the users who cancelled, by the ids that `with_long_ids` gives."""
    query = f"""
        select user_id from '{company}/user_engagement.parquet'
        where user_id in (select user_id from '{company}/churn_data.parquet')
        group by user_id order by count(*) desc, user_id limit 2
    """
    with duckdb.connect() as connection:
        return tuple(f"customer-{row[0]:08d}" for row in connection.execute(query).fetchall())
