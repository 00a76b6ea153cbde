"""The company's own database with users and cancellations, in any database that SQLAlchemy supports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from user_engagement.simulation.config import WorldConfig
from user_engagement.simulation.dirt import user_attributes
from user_engagement.simulation.errors import SimulationError
from user_engagement.simulation.people import names_and_emails
from user_engagement.simulation.population import CHURN_REASONS, Population

ROWS_AT_ONCE = 10_000

metadata = sa.MetaData()
user_id_type = sa.BigInteger().with_variant(sa.Integer, "sqlite")
users_table = sa.Table(
    "users",
    metadata,
    sa.Column("user_id", user_id_type, primary_key=True, autoincrement=False),
    sa.Column("signed_up_at", sa.DateTime, nullable=False, index=True),
    sa.Column("product_type", sa.String(32)),
    sa.Column("acquisition_channel", sa.String(32)),
    sa.Column("country", sa.String(8)),
    sa.Column("name", sa.String(120), nullable=False),
    sa.Column("email", sa.String(160), nullable=False),
    sa.Column("updated_at", sa.DateTime, nullable=False),
)
cancellations_table = sa.Table(
    "cancellations",
    metadata,
    sa.Column("user_id", user_id_type, primary_key=True, autoincrement=False),
    sa.Column("churned_at", sa.DateTime, nullable=False, index=True),
    sa.Column("churn_reason", sa.String(32), nullable=False),
    sa.Column("updated_at", sa.DateTime, nullable=False),
)
"""One row per user who cancelled; times in UTC, like those of users."""


def parse_url(database_url: str) -> URL:
    """The parsed URL. Raises SimulationError if it is invalid, without showing it: it may contain a password."""
    try:
        return make_url(database_url)
    except ArgumentError:
        raise SimulationError(
            "The database URL cannot be parsed: give one such as sqlite:///oltp.sqlite "
            "or postgresql+psycopg://user:password@host/database."
        ) from None


def shown_url(url: URL) -> str:
    """The URL without its password, as it may be shown and stored."""
    return url.render_as_string(hide_password=True)


@contextmanager
def connected(url: URL) -> Iterator[Engine]:
    """An engine for the block. Its errors become one SimulationError that shows no password."""
    shown = shown_url(url)
    try:
        engine = sa.create_engine(url)
    except (NoSuchModuleError, ImportError) as error:
        raise SimulationError(
            f"There is no driver for {shown} ({error}): install it, or use SQLite."
        ) from None
    try:
        yield engine
    except DBAPIError as error:
        message = str(error.orig).strip().splitlines()[0]
        if url.password:
            message = message.replace(str(url.password), "***")
        raise SimulationError(f"The database {shown} refused: {message}.") from None
    finally:
        engine.dispose()


def create_tables(engine: Engine) -> None:
    """Create the tables that are missing. Raises SimulationError if one already has rows."""
    metadata.create_all(engine)
    with engine.connect() as connection:
        for table in metadata.sorted_tables:
            if connection.scalar(sa.select(sa.literal(1)).select_from(table).limit(1)):
                raise SimulationError(
                    f"Table {table.name} of {shown_url(engine.url)} already holds rows "
                    "that do not belong to this world: use an empty database."
                )


def count_users(connection: Connection) -> int:
    """The number of users; 0 if the table does not exist."""
    if not sa.inspect(connection).has_table(users_table.name):
        return 0
    return connection.scalar(sa.select(sa.func.count()).select_from(users_table)) or 0


def remove_after(connection: Connection, config: WorldConfig, day: int, users_until_then: int) -> None:
    """Remove the rows of the days after day number `day`."""
    next_day = np.datetime64(config.day(day + 1), "s").item()
    connection.execute(sa.delete(users_table).where(users_table.c.user_id > users_until_then))
    connection.execute(sa.delete(cancellations_table).where(cancellations_table.c.churned_at >= next_day))


def write_days(
    connection: Connection, config: WorldConfig, users: Population, first: int, last: int
) -> tuple[int, int]:
    """Insert the signups and cancellations of the day numbers `first` to `last`; return the number of each."""
    signed_up = users.where((users.signup_day >= first) & (users.signup_day <= last))
    cancelled = users.where((users.declared_day >= first) & (users.declared_day <= last))
    for start in range(0, len(signed_up), ROWS_AT_ONCE):
        chosen = signed_up.where(slice(start, start + ROWS_AT_ONCE))
        connection.execute(sa.insert(users_table), _user_rows(config, chosen))
    for start in range(0, len(cancelled), ROWS_AT_ONCE):
        chosen = cancelled.where(slice(start, start + ROWS_AT_ONCE))
        connection.execute(sa.insert(cancellations_table), _cancellation_rows(config, chosen))
    return len(signed_up), len(cancelled)


def moments(config: WorldConfig, day: NDArray[np.int32], second: NDArray[np.int32]) -> NDArray[np.datetime64]:
    """Day numbers and seconds of the day as UTC times."""
    return np.datetime64(config.start, "s") + day.astype("m8[D]") + second.astype("m8[s]")


def _user_rows(config: WorldConfig, users: Population) -> list[dict[str, Any]]:
    signed_up_at = moments(config, users.signup_day, users.signup_second).tolist()
    names, emails = names_and_emails(users)
    columns = {
        "user_id": users.user_id.tolist(),
        "signed_up_at": signed_up_at,
        **{name: values.tolist() for name, values in user_attributes(users, config.dirt).items()},
        "name": names,
        "email": emails,
        "updated_at": signed_up_at,
    }
    return _rows(columns)


def _cancellation_rows(config: WorldConfig, users: Population) -> list[dict[str, Any]]:
    churned_at = moments(config, users.declared_day, users.declared_second).tolist()
    columns = {
        "user_id": users.user_id.tolist(),
        "churned_at": churned_at,
        "churn_reason": [CHURN_REASONS[code] for code in users.churn_reason],
        "updated_at": churned_at,
    }
    return _rows(columns)


def _rows(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
