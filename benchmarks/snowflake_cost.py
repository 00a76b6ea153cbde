"""What a refresh in Snowflake scans and costs, asset by asset.

    python benchmarks/snowflake_cost.py [--users 20000]
    python benchmarks/snowflake_cost.py --account [--days 1]

The first needs no account. It loads a simulated company of two sizes into DuckDB, lets one more day arrive, and takes
the SQL of every model and test that dbt ran: of the first run, which makes every model whole, and of the new day. Of
each statement DuckDB's plan names the tables, columns and bounds on days. Every column counts with its compressed size
in Parquet; a scan with bounds on days with its share of the rows, as Snowflake prunes micro-partitions that are in the
order of days. A model of strategy `replace_outdated` builds the months that changed: of what it reads, tables with a
day or month count by the month, except its own and the one with the checksums. Bytes grow linearly with sessions, from
the two sizes to those of the table. Seconds are bytes by the rate at which one thread of DuckDB gets through the same
statements.

The second reads the query history of the account that the environment names, by the tags of this project's queries.
The role needs the database role SNOWFLAKE.USAGE_VIEWER; the history is up to eight hours late.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow.parquet as pq
from pipeline import THROUGH, console, generated
from refresh import delivered, run
from rich.table import Table

from user_engagement.simulation import WorldConfig

SESSIONS = (100_000_000, 1_000_000_000)
X_SMALL_THREADS = 8
"""That an X-Small warehouse has eight threads, each as fast as one here, is an assumption."""
SECONDS_A_STATEMENT = 0.1
"""Beside the scan; an assumption: 0.4 seconds, four of dbt's threads at a time."""
IDLE_SECONDS = 60
"""Paid after each run, until the virtual warehouse suspends itself (`auto_suspend`)."""
BOUND = re.compile(r"(\w+)(?: AS DATE\))? (>=|<) '(\d{4}-\d\d-\d\d)[^']*'::(?:DATE|TIMESTAMP)")
# how a plan shows >= and < together
HALF_OPEN = re.compile(r"(\w+)( AS DATE\))? BETWEEN ('\S+'::\w+) AND ")
MONTH_COLUMNS = ("activity_date", "activity_month", "engagement_date")

HISTORY = """
    select
        try_parse_json(history.query_tag):asset::varchar as asset,
        count(*) as statements,
        coalesce(sum(history.bytes_scanned), 0) as bytes_scanned,
        coalesce(sum(history.execution_time), 0) / 1000 as seconds,
        coalesce(sum(attributed.credits_attributed_compute), 0) as credits
    from snowflake.account_usage.query_history as history
    left join snowflake.account_usage.query_attribution_history as attributed
        on history.query_id = attributed.query_id
    where
        history.start_time >= dateadd('day', -{days}, current_timestamp())
        and try_parse_json(history.query_tag):app::varchar = 'user-engagement'
    group by 1
    order by credits desc, seconds desc, asset
"""
"""Credits are those of running statements; Snowflake attributes none to what is idle, or ends within 100 ms."""


# -- an account's query history ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Billed:
    """What an asset's statements have cost, in the account's own figures."""

    asset: str | None
    statements: int
    bytes_scanned: int
    seconds: float
    credits: float


def billed(rows: Iterable[tuple[Any, ...]]) -> list[Billed]:
    """Rows of `HISTORY`."""
    return [
        Billed(asset, int(count), int(scanned), float(seconds), float(credits_))
        for asset, count, scanned, seconds, credits_ in rows
    ]


def account_history(days: int) -> list[Billed]:
    """The cost of each asset over the last days.

    Raises:
        WarehouseError: the account cannot be reached, or its history not be read.
    """
    from user_engagement.warehouse.snowflake.account import load_account
    from user_engagement.warehouse.snowflake.connection import connect, rows_of

    with connect(load_account(), asset="cost") as connection:
        return billed(rows_of(connection, HISTORY.format(days=days)))


# -- what statements scan ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Statement:
    """SQL that dbt ran for a model or test; ``whole`` are the tables that it reads whole if it builds single months."""

    asset: str
    sql: str
    whole: frozenset[str] | None = None


@dataclass(frozen=True)
class Scan:
    """A read of a table: names, its columns among them, and bounds on days, ``(column, operator, day)``."""

    table: str
    columns: tuple[str, ...]
    bounds: tuple[tuple[str, str, str], ...]


class Company:
    """The DuckDB file of a loaded company, and what its tables weigh."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        self._weights: dict[str, dict[str, int]] = {}

    def scans(self, sql: str) -> list[Scan]:
        """The tables that a query reads, as DuckDB's optimizer plans it: views resolved, unread columns left out."""
        plan = self.connection.execute(f"explain (format json) {sql}").fetchall()[0][1]
        return [_scan(about, conditions) for about, conditions in _scans(json.loads(plan))]

    def weights(self, table: str) -> dict[str, int]:
        """Bytes of each column in Parquet, compressed by zstd."""
        if table not in self._weights:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "table.parquet"
                self.connection.execute(f"copy (from {table}) to '{file}' (format parquet, compression zstd)")
                held = pq.ParquetFile(file).metadata
            found: dict[str, int] = defaultdict(int)
            for group in range(held.num_row_groups):
                for place in range(held.num_columns):
                    column = held.row_group(group).column(place)
                    found[column.path_in_schema.split(".")[0]] += column.total_compressed_size
            self._weights[table] = dict(found)
        return self._weights[table]

    def share(self, table: str, bounds: Iterable[tuple[str, str, str]]) -> float:
        """The share of a table's rows within bounds on days."""
        within = " and ".join(f"{column} {operator} '{day}'" for column, operator, day in bounds)
        rows, all_rows = self.connection.execute(
            f"select count_if({within or 'true'}), count(*) from {table}"
        ).fetchall()[0]
        return rows / all_rows if all_rows else 0.0

    def bytes_scanned(self, statement: Statement, month: date) -> float:
        """Bytes that Snowflake would scan for a statement when only ``month`` has new rows."""
        total = 0.0
        for scan in self.scans(statement.sql):
            weights, bounds = self.weights(scan.table), scan.bounds
            if statement.whole is not None and scan.table not in statement.whole:
                bounds += self._month(scan.table, month)
            total += sum(weights.get(name, 0) for name in scan.columns) * self.share(scan.table, bounds)
        return total

    def month_of(self, table: str, month: date) -> float:
        """Bytes of a table's rows of one month."""
        return sum(self.weights(table).values()) * self.share(table, self._month(table, month))

    def cpu_seconds(self, sql: str) -> float:
        """What the operators of DuckDB's plan take together; more on a machine that other work shares."""
        profile = self.connection.execute(f"explain (analyze, format json) {sql}").fetchall()[0][1]
        return json.loads(profile)["query"]["cpu_time"]

    def _month(self, table: str, month: date) -> tuple[tuple[str, str, str], ...]:
        column = next((name for name in MONTH_COLUMNS if name in self.weights(table)), None)
        after = (month + timedelta(days=31)).replace(day=1)
        return ((column, ">=", str(month)), (column, "<", str(after))) if column else ()


def _scans(
    plan: Iterable[dict[str, Any]], above: Sequence[str] = ()
) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """What a plan says of each scan, and the conditions on it."""
    for node in plan:
        about = node.get("extra_info", {})
        if "Table" in about:
            yield about, [*above, *_texts(about, "Filters")]
        yield from _scans(node["children"], _texts(about, "Expression") if node["name"] == "FILTER" else ())


def _scan(about: Mapping[str, Any], conditions: Sequence[str]) -> Scan:
    """A scan; where conditions are alternatives, none is a bound."""
    read = [
        *_texts(about, "Projections"),
        *(word for text in conditions for word in re.findall(r"\w+", text)),
    ]
    found = [
        bound
        for text in conditions
        if " OR " not in text
        for bound in BOUND.findall(HALF_OPEN.sub(r"\1\2 >= \3 AND \1\2 < ", text))
    ]
    return Scan(about["Table"].split(".", 1)[1], tuple(dict.fromkeys(read)), tuple(dict.fromkeys(found)))


def _texts(about: Mapping[str, Any], name: str) -> list[str]:
    found = about.get(name, [])
    return [found] if isinstance(found, str) else found


# -- what dbt ran --------------------------------------------------------------------------------------------


def statements_of(target: Path, folders: Iterable[Path], by_month: bool) -> list[Statement]:
    """The models and tests whose compiled SQL dbt left in folders of runs; ``target`` has the manifest.

    ``by_month`` says that there were tables already, so that models of `replace_outdated` built single months.
    """
    manifest = json.loads(next(target.glob("parsed-*/manifest.json")).read_text())
    models = {
        node["original_file_path"]: node
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model"
    }
    schemas = {node["name"]: node["config"]["schema"] for node in models.values()}
    found = []
    for folder in sorted(folders):
        project = folder / "compiled" / "user_engagement_dbt"
        for file in sorted(project.rglob("*.sql")):
            node = models.get(file.relative_to(project).as_posix())
            if node is None:
                found.append(Statement("tests", file.read_text()))
            elif node["config"]["materialized"] not in ("view", "ephemeral"):
                whole = _read_whole(node, schemas) if by_month else None
                found.append(Statement("/".join(node["fqn"][1:]), file.read_text(), whole))
    return found


def _read_whole(node: Mapping[str, Any], schemas: Mapping[str, str]) -> frozenset[str] | None:
    if node["config"].get("incremental_strategy") != "replace_outdated":
        return None
    return frozenset(
        f"{schemas[name]}.{name}" for name in (node["name"], node["config"]["meta"]["built_from"])
    )


# -- estimates -----------------------------------------------------------------------------------------------


class Run(NamedTuple):
    """A run of dbt: bytes scanned by asset, and its number of statements."""

    scanned: Mapping[str, float]
    statements: int


@dataclass(frozen=True)
class Measured:
    """A company: its sessions, a run that makes everything whole, that of a new day, and DuckDB's bytes a second."""

    sessions: int
    whole: Run
    new_day: Run
    bytes_a_second: float


def measure(work: Path, users: int) -> Measured:
    """Loads a company without its last day, then that day."""
    data, variables = work / "data", {"USER_ENGAGEMENT_PUBLISH_REPORT": "false"}
    generated(data, WorldConfig(users=users), THROUGH)
    delivery, home = delivered(data, work, 1), work / "home"
    target = home / "dbt" / "duckdb"
    run(home, delivery.folder, THROUGH - timedelta(1), variables)
    first = set(target.glob("runs/*"))
    delivery.arrive(f"{THROUGH}.parquet")
    run(home, delivery.folder, THROUGH, variables)
    second = set(target.glob("runs/*")) - first
    statements = statements_of(target, first, by_month=False), statements_of(target, second, by_month=True)
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        company = Company(connection)
        whole, new_day = (run_of(company, each, THROUGH.replace(day=1)) for each in statements)
        rate = sum(whole.scanned.values()) / sum(company.cpu_seconds(each.sql) for each in statements[0])
        sessions = connection.execute("select count(*) from raw.user_engagement").fetchall()[0][0]
    return Measured(sessions, whole, new_day, rate)


def run_of(company: Company, statements: Sequence[Statement], month: date) -> Run:
    scanned: dict[str, float] = defaultdict(float)
    for statement in statements:
        scanned[statement.asset] += company.bytes_scanned(statement, month)
    # the rows of the month come from files into a table of their own, from which they are inserted and counted
    scanned["raw/user_engagement"] = 2 * company.month_of("raw.user_engagement", month)
    return Run(dict(scanned), len(statements))


def extrapolated(small: tuple[int, float], large: tuple[int, float], sessions: int) -> float:
    """The value at a number of sessions, on the line through two measured ones ``(sessions, value)``."""
    slope = (large[1] - small[1]) / (large[0] - small[0])
    return max(large[1] + slope * (sessions - large[0]), 0.0)


def scaled(small: Measured, large: Measured, kind: str, sessions: int) -> Run:
    """The run of ``kind`` (`whole`, `new_day`) of a company with so many sessions."""
    runs: tuple[Run, Run] = getattr(small, kind), getattr(large, kind)
    return Run(
        {
            asset: extrapolated(
                (small.sessions, runs[0].scanned.get(asset, 0.0)),
                (large.sessions, runs[1].scanned[asset]),
                sessions,
            )
            for asset in runs[1].scanned
        },
        runs[1].statements,
    )


def seconds_of(ran: Run, bytes_a_second: float) -> float:
    """Seconds of an X-Small warehouse."""
    scanning = sum(ran.scanned.values()) / (bytes_a_second * X_SMALL_THREADS)
    return scanning + ran.statements * SECONDS_A_STATEMENT


def credits_of(seconds: float, runs: int) -> float:
    """Credits of a number of runs, between which the warehouse is suspended if there is time; a day's at most."""
    return min(runs * (seconds + IDLE_SECONDS), 86_400) / 3600


# -- tables --------------------------------------------------------------------------------------------------


def cost_table(small: Measured, large: Measured) -> Table:
    table = Table(title="estimated cost of new data", title_justify="left")
    for heading in (
        "sessions",
        "models",
        "GB a run",
        "minutes a run",
        "credits, a run a day",
        "credits, 24 runs",
    ):
        table.add_column(heading, justify="right")
    for sessions in SESSIONS:
        for kind, words in (("whole", "every model whole"), ("new_day", "what is new")):
            ran = scaled(small, large, kind, sessions)
            seconds = seconds_of(ran, large.bytes_a_second)
            table.add_row(
                f"{sessions:,}",
                words,
                f"{sum(ran.scanned.values()) / 1e9:,.1f}",
                f"{seconds / 60:,.1f}",
                *(f"{credits_of(seconds, runs):,.2f}" for runs in (1, 24)),
            )
    return table


def asset_table(small: Measured, large: Measured, sessions: int) -> Table:
    table = Table(title=f"GB a run at {sessions:,} sessions, by asset", title_justify="left")
    for heading in ("asset", "every model whole", "what is new"):
        table.add_column(heading, justify="left" if heading == "asset" else "right")
    whole, new_day = (scaled(small, large, kind, sessions).scanned for kind in ("whole", "new_day"))
    for asset in sorted(whole, key=lambda name: -whole[name])[:20]:
        table.add_row(asset, f"{whole[asset] / 1e9:.2f}", f"{new_day.get(asset, 0.0) / 1e9:.2f}")
    return table


def history_table(history: Sequence[Billed], days: int) -> Table:
    table = Table(title=f"the account's own figures, {days} days", title_justify="left")
    for heading in ("asset", "statements", "GB", "seconds", "credits"):
        table.add_column(heading, justify="left" if heading == "asset" else "right")
    for each in history:
        table.add_row(
            each.asset or "",
            f"{each.statements:,}",
            f"{each.bytes_scanned / 1e9:.2f}",
            f"{each.seconds:.1f}",
            f"{each.credits:.4f}",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description="What a refresh in Snowflake costs.")
    parser.add_argument("--users", type=int, default=20_000, help="users of the larger of two companies")
    parser.add_argument("--account", action="store_true", help="read the query history of the account")
    parser.add_argument("--days", type=int, default=1, help="how much of the history")
    arguments = parser.parse_args()
    if arguments.account:
        console.print(history_table(account_history(arguments.days), arguments.days))
        return
    measured = []
    for users in (arguments.users // 4, arguments.users):
        with tempfile.TemporaryDirectory() as folder:
            measured.append(measure(Path(folder), users))
    small, large = measured
    console.print(f"measured at {small.sessions:,} and {large.sessions:,} sessions")
    console.print(f"DuckDB scans {large.bytes_a_second / 1e6:.1f} MB a CPU second, statements whole")
    console.print(
        f"statements a run: {large.whole.statements} whole, {large.new_day.statements} of a new day"
    )
    console.print(cost_table(small, large))
    console.print(asset_table(small, large, SESSIONS[0]))


if __name__ == "__main__":
    main()
