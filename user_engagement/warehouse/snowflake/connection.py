"""Connections to Snowflake, and the one place where names change their case.

Unquoted names are upper case in Snowflake and lower case everywhere else in this project.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import snowflake.connector
from snowflake.connector import SnowflakeConnection
from snowflake.connector.errors import (
    DataError,
    Error,
    IntegrityError,
    NotSupportedError,
    ProgrammingError,
)

from user_engagement.errors import WarehouseError
from user_engagement.warehouse.snowflake.account import SnowflakeAccount

DOES_NOT_EXIST = (2003, 2043)
NO_RIGHTS = 3001
# another transaction held a table for longer than LOCK_TIMEOUT, or too many statements waited for it
LOCKED = 625


class TransientError(WarehouseError):
    """Work failed for a reason that passes: a lost connection, an outage, a lock."""


def stored_name(column: str) -> str:
    """A column's name in Snowflake; one that SQL has to quote keeps its letters as they are."""
    return column.upper() if re.fullmatch(r"[a-z_][a-z0-9_]*", column) else column


def shown_name(column: str) -> str:
    """The inverse of `stored_name`."""
    return column.lower() if re.fullmatch(r"[A-Z_][A-Z0-9_]*", column) else column


@contextmanager
def connect(account: SnowflakeAccount, **tags: str) -> Iterator[SnowflakeConnection]:
    """A session that is closed whatever happens, which rolls an open transaction back; ``tags`` mark its queries.

    Raises:
        WarehouseError: Snowflake does not let this user in, or refuses a statement.
        TransientError: the connection was lost, or another transaction holds a table.
    """
    try:
        connection = snowflake.connector.connect(**account.connection_arguments(**tags))
    except Error as error:
        raise WarehouseError(
            f"Snowflake account {account.account}: {account.user} cannot log in. ({essence(error)}) "
            "Run: user-engagement doctor"
        ) from None
    try:
        yield connection
    except Error as error:
        raise _explained(error) from None
    finally:
        connection.close()


def _explained(error: Error) -> WarehouseError:
    if error.errno == LOCKED:
        return TransientError(f"Another transaction holds the table. ({essence(error)})")
    if isinstance(error, (ProgrammingError, IntegrityError, DataError, NotSupportedError)):
        return WarehouseError(
            f"Snowflake refuses a statement. ({essence(error)}) Run: user-engagement doctor"
        )
    return TransientError(f"The connection to Snowflake was lost. ({essence(error)}) Run it again.")


def essence(error: Error) -> str:
    """What Snowflake said, on one line."""
    return " ".join(str(error.raw_msg or error.msg or error).split())


def does_not_exist(error: BaseException) -> bool:
    """Whether a statement failed for want of a table, schema or database, or of the right to see it."""
    return isinstance(error, ProgrammingError) and error.errno in DOES_NOT_EXIST


def rows_of(connection: SnowflakeConnection, sql: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor)


def value_of(connection: SnowflakeConnection, sql: str) -> Any:
    return rows_of(connection, sql)[0][0]


def changed_by(connection: SnowflakeConnection, sql: str) -> int:
    """Runs a statement that changes rows; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.rowcount or 0
