"""Whether Snowflake lets this project work, tried rather than read from grants; and the statement that mends it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from snowflake.connector import DictCursor, SnowflakeConnection
from snowflake.connector.errors import Error, ProgrammingError

from user_engagement.contracts.marts import MARTS
from user_engagement.errors import SourceError, WarehouseError
from user_engagement.sources.warehouse.tables import STAGED_SCHEMA
from user_engagement.warehouse.schemas import NAMING_USERS, SCHEMAS
from user_engagement.warehouse.snowflake.account import SESSION_PARAMETERS, SnowflakeAccount
from user_engagement.warehouse.snowflake.connection import connect, essence, rows_of, value_of
from user_engagement.warehouse.snowflake.stages import ROW_NUMBER, SOURCE, Stage, StagedTable, list_files

COLUMNS = "c0 varchar, c1 timestamp_ntz(6), c2 float, c3 number(38,0), c4 date, c5 boolean"
TRIED = pa.table(
    {
        "C0": pa.array(["007", None], pa.string()),
        "C1": pa.array([datetime(2025, 1, 31, 23, 59, 59, 999_999), None], pa.timestamp("us")),
        "C2": pa.array([0.1 + 0.2, None], pa.float64()),
        "C3": pa.array([2**60, None], pa.int64()),
        "C4": pa.array([date(2024, 2, 29), None], pa.date32()),
        "C5": pa.array([True, None], pa.bool_()),
    }
)
"""Values that a wrong reading of Parquet's types would change."""
# a key pair's token is refused by an account whose clock differs by more
MOST_SECONDS_APART = 30
READING = ("USAGE", "SELECT", "REFERENCES", "MONITOR", "READ", "OPERATE")
"""Privileges that change nothing of what they are granted on."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at: what was found, and if it will not do, what mends it."""

    name: str
    passed: bool
    found: str
    remedy: str = ""


def examine(
    account: SnowflakeAccount, readable: Collection[str] = (), stages: Sequence[Stage] = ()
) -> Iterator[Finding]:
    """Connection, role, warehouse, clock, session and rights, in an order in which each needs those before it.

    ``readable`` are tables (``schema.table``) that readers may read beside the aggregated marts, ``stages`` those that
    the source has files in.

    Ends early where the rest cannot be tried. What is created is dropped.
    """
    try:
        with connect(account, asset="doctor") as connection:
            yield Finding("connection", True, f"{account.user} at {account.account}")
            for look in (_role, _warehouse, _clock, _session, _schemas, _rights, _loader):
                finding = look(connection, account)
                yield finding
                if not finding.passed and look in (_role, _warehouse):
                    return
            yield _reader(connection, account, readable)
            for stage in stages:
                yield _stage(connection, account, stage)
            if stages:
                yield _staging(connection, account)
    except WarehouseError as error:
        yield Finding("connection", False, str(error), _way_in(account, str(error)))


def _way_in(account: SnowflakeAccount, said: str) -> str:
    if "is not granted to this user" in said or "Role" in said:
        return f"grant role {account.role} to user {account.user};"
    if account.private_key_path:
        return (
            f"alter user {account.user} set rsa_public_key = '<the public key that belongs to "
            f"{account.private_key_path.name}, without its first and last line>';"
        )
    return (
        f"Look at SNOWFLAKE_ACCOUNT, SNOWFLAKE_USER and the secret; at network policies: "
        f"show parameters like 'network_policy' for user {account.user};"
    )


def _role(connection: SnowflakeConnection, account: SnowflakeAccount) -> Finding:
    found = value_of(connection, "select current_role()")
    return Finding(
        "role", found == account.role, str(found), f"grant role {account.role} to user {account.user};"
    )


def _warehouse(connection: SnowflakeConnection, account: SnowflakeAccount) -> Finding:
    found = value_of(connection, "select current_warehouse()")
    remedy = f"grant usage, operate on warehouse {account.warehouse} to role {account.role};"
    return Finding("warehouse", found == account.warehouse, str(found or "none"), remedy)


def _clock(connection: SnowflakeConnection, account: SnowflakeAccount) -> Finding:
    before = datetime.now(UTC).replace(tzinfo=None)
    theirs = value_of(connection, "select sysdate()")
    after = datetime.now(UTC).replace(tzinfo=None)
    apart = max((before - theirs).total_seconds(), (theirs - after).total_seconds(), 0.0)
    remedy = "Set this machine's clock, best by NTP: tokens of key pairs are refused."
    return Finding("clock", apart <= MOST_SECONDS_APART, f"{apart:.0f} s apart", remedy)


def _session(connection: SnowflakeConnection, account: SnowflakeAccount) -> Finding:
    shown = rows_of(connection, "show parameters in session")
    return judged_parameters({row[0]: str(row[1]) for row in shown}, account)


def judged_parameters(found: Mapping[str, str], account: SnowflakeAccount) -> Finding:
    """Session parameters must be those that this project sets: a policy, or a proxy, may change them."""
    wanted = {name: str(value) for name, value in SESSION_PARAMETERS.items()}
    # Etc/UTC is the same zone; what is not shown cannot be compared
    shown = {name: value.removeprefix("Etc/") for name, value in found.items() if name in wanted}
    others = {name: value for name, value in shown.items() if value.lower() != wanted[name].lower()}
    words = ", ".join(f"{name} is {value}, not {wanted[name]}" for name, value in others.items())
    settings = " ".join(f"{name} = {_literal(SESSION_PARAMETERS[name])}" for name in others)
    return Finding(
        "session", not others, words or "parameters are as set", f"alter user {account.user} set {settings};"
    )


def _literal(value: str | int | bool) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value).lower()


def _loader(connection: SnowflakeConnection, account: SnowflakeAccount) -> Finding:
    try:
        return judged_loader(_grants(connection, account.role), account)
    except Error as error:
        return Finding("loading role", False, essence(error), "Log in with the role itself.")


def judged_loader(grants: Iterable[tuple[str, str, str]], account: SnowflakeAccount) -> Finding:
    """Grants (privilege, kind of object, name): in schemas other than the project's own the role may only read."""
    role = account.role
    own = tuple(f"{account.database}.{account.schema_name(schema)}" for schema in SCHEMAS)
    extra = [
        (privilege, kind, name)
        for privilege, kind, name in grants
        if "." in name
        and privilege not in READING
        and not (name in own or name.startswith(tuple(f"{schema}." for schema in own)))
    ]
    if not extra:
        return Finding("loading role", True, f"{role} changes nothing outside its own schemas")
    remedy = " ".join(
        f"grant ownership on {kind} {name} to role <its owner> copy current grants;"
        if privilege == "OWNERSHIP"
        else f"revoke {privilege} on {kind} {name} from role {role};"
        for privilege, kind, name in extra
    )
    names = ", ".join(dict.fromkeys(name for _, _, name in extra))
    return Finding("loading role", False, f"{role} may change what is not its own: {names}", remedy)


def _grants(connection: SnowflakeConnection, role: str) -> list[tuple[str, str, str]]:
    """Privilege, kind of object and name of each grant to a role."""
    with connection.cursor(DictCursor) as cursor:
        cursor.execute(f"show grants to role {role}")
        return [(row["privilege"], row["granted_on"], row["name"]) for row in cursor]


def _future_grants(connection: SnowflakeConnection, role: str) -> list[tuple[str, str, str]]:
    """The same of grants on objects to come, which have the name `DATABASE.SCHEMA.<KIND>` or `DATABASE.<KIND>`."""
    with connection.cursor(DictCursor) as cursor:
        cursor.execute(f"show future grants to role {role}")
        return [(row["privilege"], row["grant_on"], row["name"]) for row in cursor]


def _reader(connection: SnowflakeConnection, account: SnowflakeAccount, readable: Collection[str]) -> Finding:
    if not account.reader_role:
        return Finding("reader role", True, "none is set (SNOWFLAKE_READER_ROLE)")
    try:
        grants = _grants(connection, account.reader_role)
        return judged_grants(grants, account, readable, _future_grants(connection, account.reader_role))
    except Error as error:
        remedy = f"create role if not exists {account.reader_role};"
        return Finding("reader role", False, essence(error), remedy)


def judged_grants(
    grants: Iterable[tuple[str, str, str]],
    account: SnowflakeAccount,
    readable: Collection[str] = (),
    future: Iterable[tuple[str, str, str]] = (),
) -> Finding:
    """Grants (privilege, kind of object, name): the reader may select from aggregated tables, and use their schemas.

    ``future`` are grants on objects to come: of whole databases, they include those that name users.
    """
    role = account.reader_role
    marts = [f"{mart.schema}.{name}" for name, mart in MARTS.items() if not mart.is_per_user]
    allowed = {account.table_name(*name.split(".")) for name in (*marts, *readable)}
    own = tuple(f"{account.database}.{account.schema_name(schema)}." for schema in SCHEMAS)
    of_users = {f"{account.database}.{account.schema_name(schema)}" for schema in NAMING_USERS}
    grants = list(grants)
    extra = [
        f"revoke {privilege} on {kind} {name} from role {role};"
        for privilege, kind, name in grants
        if name in of_users or (name.startswith(own) and (name not in allowed or privilege != "SELECT"))
    ]
    for privilege, kind, name in future:
        place = name.rpartition(".")[0]
        if place in {account.database, *of_users}:
            where = f"{'schema' if '.' in place else 'database'} {place}"
            extra.append(f"revoke {privilege} on future {kind}S in {where} from role {role};")
    if extra:
        return Finding(
            "reader role", False, f"{role} may do more than read the aggregated tables", " ".join(extra)
        )
    if ("USAGE", "DATABASE", account.database) not in grants:
        remedy = f"grant usage on database {account.database} to role {role};"
        return Finding("reader role", False, f"{role} cannot use {account.database}", remedy)
    return Finding("reader role", True, f"{role} reads the aggregated tables alone")


def _stage(connection: SnowflakeConnection, account: SnowflakeAccount, stage: Stage) -> Finding:
    name = f"stage {stage.name}"
    try:
        files = len(list_files(connection, stage, account.role))
    except SourceError as error:
        # the stage's name is that of the finding
        found = str(error).removeprefix(f"{stage.name}: ")
        return Finding(
            name, False, found.removesuffix(stage.remedy(account.role)).strip(), stage.remedy(account.role)
        )
    return Finding(name, True, f"{files} file{'' if files == 1 else 's'}")


def _staging(connection: SnowflakeConnection, account: SnowflakeAccount) -> Finding:
    """Loads a file of an internal stage as files are loaded, in a schema of its own, and compares values and names."""
    tried = account.model_copy(
        update={"schema_prefix": f"{account.schema_prefix}DOCTOR_{uuid4().hex[:8].upper()}_"}
    )
    schema = tried.schema_name(STAGED_SCHEMA)
    own = f"{account.database}.{schema}"
    stage = Stage(f"@{own}.TRIED/in/", account.database, schema, "TRIED", "in/")
    table = StagedTable(tried, stage, "tried", (), lambda file, columns: None)
    values = ", ".join([*TRIED.column_names, SOURCE, ROW_NUMBER])
    try:
        rows_of(connection, f"create schema {own}")
        rows_of(connection, f"create stage {own}.tried")
        with TemporaryDirectory(prefix="user-engagement-") as folder:
            pq.write_table(TRIED, Path(folder) / "tried.parquet")
            file = f"{Path(folder).as_posix()}/tried.parquet"
            rows_of(connection, f"put 'file://{file}' @{own}.tried/in auto_compress = false")
        table.refresh()
        found = rows_of(connection, f"select {values} from {table.table} order by c0")
    except (Error, SourceError, WarehouseError) as error:
        said = essence(error) if isinstance(error, Error) else str(error)
        remedy = f"grant create schema on database {account.database} to role {account.role};"
        return Finding("files in stages", False, said, remedy)
    finally:
        rows_of(connection, f"drop schema if exists {own}")
    names = {row[-2] for row in found}
    wanted = [tuple(row.values()) for row in TRIED.to_pylist()]
    as_wanted = names == {"in/tried.parquet"} and [row[:-2] for row in found] == wanted
    what = "a file was loaded as it is" if as_wanted else f"COPY turned {wanted} into {found}"
    return Finding("files in stages", as_wanted, what, "Report it, with this line.")


def _schemas(connection: SnowflakeConnection, account: SnowflakeAccount) -> Finding:
    try:
        with connection.cursor(DictCursor) as cursor:
            cursor.execute(f"show schemas in database {account.database}")
            owners = {row["name"]: row.get("owner") for row in cursor}
    except Error as error:
        return Finding(
            "database",
            False,
            essence(error),
            f"create database if not exists {account.database}; "
            f"grant usage, create schema on database {account.database} to role {account.role};",
        )
    return judged_schemas(owners, account)


def judged_schemas(owners: Mapping[str, str | None], account: SnowflakeAccount) -> Finding:
    """Schemas that are there already must belong to the role: it replaces tables, which only an owner may."""
    held = sorted({account.schema_name(schema) for schema in SCHEMAS} & set(owners))
    others = [name for name in held if owners[name] not in (None, account.role)]
    if not others:
        return Finding("database", True, f"{account.database}: {', '.join(held) or 'no schemas yet'}")
    grants = (
        f"grant ownership on schema {account.database}.{name} to role {account.role} copy current grants;"
        for name in others
    )
    return Finding("database", False, f"{', '.join(others)} belong to another role", " ".join(grants))


def _rights(connection: SnowflakeConnection, account: SnowflakeAccount) -> Finding:
    """Everything that loading and modelling do, once, in a schema of its own."""
    schema = f"{account.database}.{account.schema_prefix}DOCTOR_{uuid4().hex[:8].upper()}"
    steps: list[tuple[str, Callable[[], object], str]] = [
        (
            "create a schema",
            lambda: rows_of(connection, f"create schema {schema}"),
            f"grant usage, create schema on database {account.database} to role {account.role};",
        ),
        (
            "create a table",
            lambda: rows_of(connection, f"create transient table {schema}.tried ({COLUMNS})"),
            f"grant create table, create view, create stage on schema {schema} to role {account.role};",
        ),
        (
            "upload and copy a file",
            lambda: _copy(connection, schema),
            "Let this machine reach the hosts that `select system$allowlist();` lists, stages among them.",
        ),
        (
            "change rows in a transaction",
            lambda: [
                rows_of(connection, sql)
                for sql in ("begin transaction", f"delete from {schema}.tried", "commit")
            ],
            f"grant operate on warehouse {account.warehouse} to role {account.role};",
        ),
    ]
    try:
        for words, step, remedy in steps:
            try:
                step()
            except Error as error:
                return Finding("rights", False, f"cannot {words}: {essence(error)}", remedy)
        return Finding("rights", True, "can " + ", ".join(words for words, _, _ in steps))
    finally:
        rows_of(connection, f"drop schema if exists {schema}")


def _copy(connection: SnowflakeConnection, schema: str) -> None:
    """Loads a row of every type that tables have, and one of nulls, as loads do it.

    Raises:
        ProgrammingError: Snowflake refuses the file, or reads other values from it.
    """
    with TemporaryDirectory(prefix="user-engagement-") as folder:
        pq.write_table(TRIED, Path(folder) / "tried.parquet")
        stage = f"@{schema}.%TRIED"
        rows_of(
            connection, f"put 'file://{Path(folder).as_posix()}/tried.parquet' {stage} auto_compress = false"
        )
        rows_of(
            connection,
            f"copy into {schema}.tried from {stage} file_format = (type = parquet use_logical_type = true) "
            "match_by_column_name = case_insensitive",
        )
    found = rows_of(connection, f"select * from {schema}.tried order by 1")
    wanted = [tuple(row.values()) for row in TRIED.to_pylist()]
    if found != wanted:
        raise ProgrammingError(f"COPY turned {wanted} into {found}")
