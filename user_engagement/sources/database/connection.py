"""Reaching a database: its URL, a read-only transaction, and errors that say what to do and show no password.

What differs between databases is in this module, under the banner of that name, and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import URL, Connection, Engine, make_url

from user_engagement.errors import SourceError

CONNECT_SECONDS = 5
EXAMPLE = "sqlite:///shop.sqlite or postgresql+psycopg://user:password@host:5432/database"
SECRET_OPTION = re.compile("pass|secret|token|key", re.IGNORECASE)

ADVICE = (
    (r"password|authentication|role .* does not exist", "Correct the user or the password in the URL."),
    (r"permission denied", "Grant this user SELECT on it, and USAGE on its schema."),
    (r"database .* does not exist", "Correct the name of the database in the URL."),
    (
        r"refused|time(d )?out|resolve|translate host|unreachable",
        "Check that it runs, and the host and port in the URL.",
    ),
    (r"locked", "Another program is writing to it; run again when that has ended."),
    (r"not a database", "Point the URL at an SQLite file."),
    (r"connection option", "Remove it from the URL."),
    (r"utf-?8", "Convert the column to UTF-8 text."),
    (r"closed|terminat|lost", "The connection broke: run again; what was loaded before stays as it was."),
)
OTHERWISE = "Check the URL, the mapping and the database's log."


class Database:
    """A database by its URL. Nothing is parsed, imported or reached before the first use."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __str__(self) -> str:
        """The URL as it may be shown: without password and options."""
        try:
            return _without_secrets(parse_url(self._url))
        except SourceError:
            return "a database URL that cannot be read"

    def __repr__(self) -> str:
        return f"Database({self})"

    def connect(self) -> Connection:
        """A connection in a read-only transaction, to be closed by its owner.

        Raises:
            SourceError: the database cannot be reached as the URL says.
        """
        with self.explained():
            _refuse_absent_file(self.engine.url)
            connection = self.engine.connect()
            try:
                return _read_only(connection)
            except BaseException:
                connection.close()
                raise

    @contextmanager
    def explained(self) -> Iterator[None]:
        """What the database or its driver objects to within the block, as one SourceError."""
        try:
            yield
        except exc.DBAPIError as error:
            said = str(error.orig)
        except (exc.SQLAlchemyError, UnicodeError, OSError) as error:
            said = str(error)
        else:
            return
        said = re.split(r"\nLINE |\n\s*Is the server running|\n\[SQL", said)[0].removeprefix(
            "connection failed: "
        )
        plain = _masked(" ".join(said.split()), parse_url(self._url)).rstrip(".")
        advice = next((a for symptom, a in ADVICE if re.search(symptom, plain, re.IGNORECASE)), OTHERWISE)
        raise SourceError(f"{self}: {plain}. {advice}") from None

    @cached_property
    def engine(self) -> Engine:
        url = parse_url(self._url)
        try:
            return sa.create_engine(
                url,
                poolclass=sa.NullPool,
                pool_reset_on_return=None,  # closing ends the transaction, on a broken connection as well
                hide_parameters=True,
                connect_args=_connect_arguments(url),
            )
        except (exc.NoSuchModuleError, ImportError):
            problem = "is not installed. Install it (for PostgreSQL: psycopg[binary]) or correct the URL."
        except (exc.ArgumentError, TypeError, ValueError):
            problem = "does not know an option in the URL. Remove it."
        raise SourceError(f"{self}: the driver of {url.drivername} {problem}")


# -- URLs ------------------------------------------------------------------------------------------------


def parse_url(url: str) -> URL:
    """Raises SourceError for what is no URL, without repeating it: it may hold a password."""
    try:
        parsed = make_url(re.sub(r"^postgres(?=[:+])", "postgresql", url.strip()))
    except (exc.ArgumentError, ValueError):
        raise SourceError(f"The database URL cannot be read: give one such as {EXAMPLE}.") from None
    if parsed.get_backend_name() == "snowflake":
        raise SourceError(
            "Snowflake is no database source: its driver for SQLAlchemy cannot describe tables. Unload the tables "
            "with COPY INTO and GET to Parquet files, and read these with USER_ENGAGEMENT_SOURCE=files."
        )
    if parsed.host and url.count("@") > 1 + (parsed.username or "").count("@"):
        # the rest of the password would be taken for the host, and shown
        raise SourceError(
            "The database URL holds more than one @: write those of user, password or options as %40."
        )
    return parsed


def _without_secrets(url: URL) -> str:
    return url.set(query={}).render_as_string(hide_password=True)


def _masked(said: str, url: URL) -> str:
    """What a driver said, without anything secret that the URL holds."""
    options = (str(value) for name, value in url.query.items() if SECRET_OPTION.search(name))
    for secret in filter(None, (str(url.password or ""), *options)):
        for written in sorted({secret, quote(secret, safe=""), quote_plus(secret)}, key=len, reverse=True):
            said = said.replace(written, "***")
    return said


# -- what differs between databases ----------------------------------------------------------------------


def _connect_arguments(url: URL) -> dict[str, Any]:
    """What the driver is told: how long a connection may take, and to notice a dead network."""
    given: dict[str, Any] = {}
    match url.get_backend_name():
        case "postgresql":
            given = {"connect_timeout": CONNECT_SECONDS, "client_encoding": "utf8"}
            given |= {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
        case "mysql" | "mariadb":
            given = {"connect_timeout": CONNECT_SECONDS}
        case "sqlite":
            # a reader may be drained by another thread than opened it
            given = {"timeout": CONNECT_SECONDS, "check_same_thread": False}
    return {name: value for name, value in given.items() if name not in url.query}


def _read_only(connection: Connection) -> Connection:
    """The connection in a transaction that cannot write and sees one state of the data throughout."""
    match connection.dialect.name:
        case "postgresql":
            connection = connection.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
            connection.exec_driver_sql("set local timezone = 'UTC'")
            connection.exec_driver_sql("set local datestyle = 'ISO'")
        case "sqlite":
            connection.exec_driver_sql("pragma query_only = on")
            connection.exec_driver_sql("begin")
    return connection


def _refuse_absent_file(url: URL) -> None:
    """SQLite would create the file that it does not find."""
    path = url.database or ""
    in_memory = path in ("", ":memory:") or path.startswith("file:")
    if url.get_backend_name() == "sqlite" and not in_memory and not Path(path).is_file():
        raise SourceError(f"{_without_secrets(url)}: no such file. Correct the path in the URL.")


def is_loose(connection: Connection) -> bool:
    """SQLite keeps any value in any column: what a column declares is only a hint there."""
    return connection.dialect.name == "sqlite"


def is_held_as_text(column: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """In a loose database: whether a value of a number's column is none."""
    return sa.func.typeof(column).in_(("text", "blob"))


def is_held_to_its_type(declared: sa.types.TypeEngine[Any]) -> bool:
    """In a loose database: whether a primary key of this type cannot hold anything else."""
    return type(declared) is sa.INTEGER
