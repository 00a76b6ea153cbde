"""Snowflake's HTTP interface on DuckDB (fakesnow), for tests: real clients talk to it over a socket.

    python -m user_engagement_tests.support.emulator PORT

What fakesnow 0.12.1 does otherwise than Snowflake, and matters here, is mended below: a shim each, with its reason.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
from contextlib import suppress
from types import FrameType
from typing import Any

import duckdb
import fakesnow
import fakesnow.arrow
import fakesnow.cursor
import fakesnow.dialect
import fakesnow.transforms
import pyarrow as pa
from snowflake.connector.errors import ProgrammingError
from sqlglot import Expr, exp
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from user_engagement_tests.support import emulated_stages

serve = fakesnow.server  # the function: importing the submodule of that name hides it
import fakesnow.server as server  # noqa: E402

# fakesnow knows neither tags and other parameters of sessions nor history
IGNORED = ["alter session set query_tag", r"alter table \S+ set data_retention_time_in_days"]

LAST_CHANGE = re.compile(r"system\$last_change_commit_time\('([^']+)'\)", re.IGNORECASE)

SHOW_GRANTS = re.compile(r"show grants to role (\w+)", re.IGNORECASE)
ONE_GRANT = """select 'USAGE' as "privilege", 'DATABASE' as "granted_on", current_database() as "name\""""
A_GRANT = "union all select '{}', '{}', '{}' where starts_with('{}', current_database())"
CHANGED_GRANT = re.compile(
    r'(grant|revoke) (?:select on (?:table |view )?|usage on schema )(\S+) (?:to|from) (?:role )?"?(\w+)"?',
    re.IGNORECASE,
)
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
SHOW_GRANTS_ON = re.compile(r"show grants on (\S+)", re.IGNORECASE)
GRANTS_ON = (
    """select 'SELECT' as "privilege", 'TABLE' as "granted_on", column1 as "name", 'ROLE' as "granted_to", """
    """column2 as "grantee_name" from values {}"""
)
REPLACED = re.compile(
    r"create or replace (?:transient )?table (\S+)|drop table (?:if exists )?(\S+)", re.IGNORECASE
)
SHOW_FUTURE_GRANTS = re.compile(r"show future grants to role (\w+)", re.IGNORECASE)
FUTURE_GRANT = re.compile(
    r"grant (\w+) on future (\w+)s in (?:schema|database) (\S+) to role (\w+)", re.IGNORECASE
)
FUTURE_GRANTS = """select column1 as "privilege", column2 as "grant_on", column3 as "name" from values {}"""
MOVED = re.compile(r"alter table (\S+) rename to (\S+\.\S+\.\S+)", re.IGNORECASE)
GRANTED: set[tuple[str, str]] = set()
"""Tables that roles may read and schemas that they may use, ``(role, name)``."""
FUTURE: list[tuple[str, str, str, str]] = []
"""Grants on what is to come: privilege, kind, place and role; shown, without effect."""
READERS: set[str] = set()
"""Roles that ever got a grant: they read what they were granted alone. Other roles own everything."""

IDLE_SECONDS = "EMULATED_IDLE_SECONDS"
"""The variable that says after how many idle seconds a transaction ends that others wait for."""
USED: dict[Any, float] = {}
"""When each connection ran its last statement."""

_parse_one = fakesnow.dialect.parse_one
_execute = fakesnow.cursor.FakeSnowflakeCursor.execute
_to_timestamp, _trim = fakesnow.transforms.to_timestamp, fakesnow.transforms.trim_cast_varchar
_struct = fakesnow.arrow.timestamp_to_sf_struct


def execute(self: Any, command: str, *args: Any, **kwargs: Any) -> Any:
    """An error of the data is an error of the statement, and role and warehouse are those of the login.

    fakesnow answers the first with HTTP 500, which clients take for an outage and repeat, and knows nothing of the
    others, nor of when a table changed: the number of its rows stands for that. A role may use the database, and
    read the tables that it was granted, in schemas that it was granted, and that were not replaced since. A row that
    another transaction has changed is an error at once, where Snowflake waits: it is that of a lock that was waited for
    too long. A transaction that others wait for ends when its session has been idle for long, as after its client was
    killed.
    """
    USED[self._conn] = time.monotonic()
    command = LAST_CHANGE.sub(r"(select count(*) from \1)", command)
    refuse_reader(self, command)
    if moved := MOVED.fullmatch(COMMENT.sub("", command).strip(" \n;")):
        # DuckDB moves no table to another schema
        _execute(self, f"create table {moved[2]} as select * from {moved[1]}", *args, **kwargs)
        command = f"drop table {moved[1]}"
    command = emulated_stages.replaced(self, with_grants(command))
    for name, value in getattr(self._conn, "named_at_login", {}).items():
        command = command.replace(f"current_{name}()", f"'{value}'")
    try:
        return _execute(self, command, *args, **kwargs)
    except duckdb.TransactionException as error:
        if "onflict" not in str(error):
            raise
        end_idle_transactions()
        raise ProgrammingError(msg=str(error).split("\n")[0], errno=625, sqlstate="57014") from error
    except duckdb.Error as error:
        raise ProgrammingError(msg=str(error).split("\n")[0], errno=100069, sqlstate="22000") from error


def end_idle_transactions() -> None:
    longest = float(os.environ.get(IDLE_SECONDS, "300"))
    for connection in list(server.sessions.values()):
        if time.monotonic() - USED.get(connection, 0.0) > longest:
            with suppress(duckdb.Error):  # there was none
                connection._duck_conn.rollback()


def refuse_reader(cursor: Any, command: str) -> None:
    """Refuses a reader's query of what the role was not granted; names have all their parts."""
    role = (getattr(cursor._conn, "named_at_login", {}).get("role") or "").upper()
    for table in re.findall(r"\b(?:from|join)\s+(\w+\.\w+\.\w+)", command, re.IGNORECASE):
        needed = {(role, table.upper()), (role, table.upper().rpartition(".")[0])}
        if role in READERS and not needed <= GRANTED:
            raise ProgrammingError(
                msg=f"SQL compilation error:\nObject '{table.upper()}' does not exist or not authorized.",
                errno=2003,
                sqlstate="02000",
            )


def with_grants(command: str) -> str:
    """Takes note of grants, and of tables that lose theirs; what then remains to be run."""
    statement = COMMENT.sub("", command).strip(" \n;")
    if changed := CHANGED_GRANT.fullmatch(statement):
        verb, table, role = (part.upper() for part in changed.groups())
        (GRANTED.add if verb == "GRANT" else GRANTED.discard)((role, table))
        READERS.add(role)
        return "select 'Statement executed successfully.' as status"
    if future := FUTURE_GRANT.fullmatch(statement):
        FUTURE.append(tuple(part.upper() for part in future.groups()))
        return "select 'Statement executed successfully.' as status"
    if shown := SHOW_FUTURE_GRANTS.fullmatch(statement):
        to_come = [f"('{p}', '{k}', '{n}.<{k}>')" for p, k, n, role in FUTURE if role == shown[1].upper()]
        return FUTURE_GRANTS.format(", ".join(to_come) or "('', '', '') where false")
    if (replaced := REPLACED.match(statement)) and "copy grants" not in statement.lower():
        gone = (replaced[1] or replaced[2]).upper()
        GRANTED.difference_update([each for each in GRANTED if each[1] == gone])
    if shown := SHOW_GRANTS_ON.fullmatch(statement):
        on = sorted(f"('{name}', '{role}')" for role, name in GRANTED if name == shown[1].upper())
        return GRANTS_ON.format(", ".join(on) or "('', '')") + ("" if on else " where false")
    if shown := SHOW_GRANTS.fullmatch(statement):
        named = sorted(name for role, name in GRANTED if role == shown[1].upper())
        kinds = {1: ("USAGE", "SCHEMA"), 2: ("SELECT", "TABLE")}
        return " ".join([ONE_GRANT, *(A_GRANT.format(*kinds[n.count(".")], n, n) for n in named)])
    return command


def parse_one(sql: str) -> Expr:
    """`order by all` is about all columns; fakesnow takes it for one of that name."""
    parsed = _parse_one(sql)
    for order in parsed.find_all(exp.Ordered):
        if isinstance(order.this, exp.Column) and order.this.sql().lower() == "all":
            order.set("this", exp.Var(this="all"))
    return parsed


def as_is(expression: Expr) -> Expr:
    """Sums of decimals are decimals; fakesnow casts what is added up to floating point, for the sake of text."""
    return expression


def to_timestamp(expression: Expr) -> Expr:
    """A cast that is only tried yields null; fakesnow makes a cast of it, which fails."""
    return expression if isinstance(expression, exp.TryCast) else _to_timestamp(expression)


def trim(expression: Expr) -> Expr:
    """What is trimmed can be said; fakesnow always trims blanks."""
    has_characters = isinstance(expression, exp.Trim) and expression.expression
    return expression if has_characters else _trim(expression)


async def login(request: Request) -> JSONResponse:
    """Names a master token; without one the connector never tells the server that a session ends."""
    body = json.loads(bytes((await server.login_request(request)).body))
    token = body["data"]["masterToken"] = body["data"]["token"]
    session: Any = server.sessions[token]
    session.nop_regexes = IGNORED
    session.named_at_login = {
        "role": request.query_params.get("roleName"),
        "warehouse": request.query_params.get("warehouse"),
    }
    return JSONResponse(body)


class Sessions(dict[str, Any]):
    """A session that ends takes its open transaction back; fakesnow leaves it open."""

    def __delitem__(self, token: str) -> None:
        connection = self.pop(token)
        with suppress(duckdb.Error):  # there was none
            connection._duck_conn.rollback()
        connection.close()
        USED.pop(connection, None)


def timestamp_struct(timestamps: Any) -> pa.Array:
    """A missing timestamp is null; fakesnow sends 1970-01-01."""
    found, missing = _struct(timestamps), timestamps.is_null()
    if isinstance(missing, pa.ChunkedArray):
        missing = missing.combine_chunks()
    return pa.StructArray.from_arrays(found.flatten(), fields=list(found.type), mask=missing)


def mend() -> None:
    """Puts the shims in place."""
    vars(fakesnow.cursor)["parse_one"] = parse_one
    fakesnow.cursor.FakeSnowflakeCursor.execute = execute  # type: ignore[method-assign]
    fakesnow.transforms.numeric_agg_implicit_cast = as_is
    fakesnow.transforms.to_timestamp = to_timestamp
    fakesnow.transforms.trim_cast_varchar = trim
    fakesnow.arrow.timestamp_to_sf_struct = timestamp_struct
    server.sessions = Sessions()
    server.app.router.routes[0] = Route("/session/v1/login-request", login, methods=["POST"])


def main(port: int) -> None:
    """Serves until a signal ends the process."""
    ended = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        ended.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    mend()
    with serve(port=port):
        ended.wait()


if __name__ == "__main__":
    main(int(sys.argv[1]))
