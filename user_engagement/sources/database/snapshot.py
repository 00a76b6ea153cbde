"""One consistent look at a database, in bounded chunks that DuckDB normalises."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import duckdb
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from user_engagement.sources import normalise
from user_engagement.sources.database.connection import Database
from user_engagement.sources.database.tables import SourceColumn, TableShape
from user_engagement.sources.mapping import KEY, POSITION

FETCH_ROWS = 10_000
"""Rows in Python's hands at a time: less than a chunk, because its garbage collector slows down with more."""
CHUNK_ROWS = 50_000

ARROW_OF_KIND = {
    "VARCHAR": pa.string(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us"),
    normalise.ZONED: pa.timestamp("us", tz="UTC"),
}
KIND_OF_ARROW = {arrow: kind for kind, arrow in ARROW_OF_KIND.items()}

Query = tuple[sa.Select[Any], Mapping[str, SourceColumn]]
"""A query, and the columns that it selects."""


class Snapshot:
    """One consistent look at the database, and the DuckDB in which what it says is normalised.

    ``close`` may be called more than once, and happens by itself when nobody reads any more.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.connection: Connection = database.connect()
        # a chunk is too small to be shared among threads
        self.duckdb = duckdb.connect(config={"threads": 1})
        self.duckdb.execute("set timezone = 'UTC'")
        # a reader that is dropped before its end gives up the connection, and what that locks, as well
        self.close = weakref.finalize(self, _close, self.connection, self.duckdb)

    def chunks(self, query: Query) -> Iterator[pa.Table]:
        """The query's rows through a server-side cursor, numbered from 1 in `POSITION` as they come."""
        statement, columns = query
        values: list[list[Any]] = [[] for _ in columns]
        position = 1
        for rows in self._fetched(statement):
            for i, held in enumerate(values):
                held += [row[i] for row in rows]
            if len(values[0]) >= CHUNK_ROWS:
                yield chunk_of(columns, values, position)
                position += len(values[0])
                values = [[] for _ in columns]
        if values[0]:
            yield chunk_of(columns, values, position)

    def _fetched(self, statement: sa.Select[Any]) -> Iterator[Any]:
        options = {"stream_results": True, "yield_per": FETCH_ROWS}
        result = self.connection.execute(statement, execution_options=options)
        try:
            yield from result.partitions()
        finally:
            # a closed connection has taken its cursor along
            if not self.connection.closed:
                result.close()

    def normalised(
        self, query: Query, select: Callable[[Mapping[str, str]], str], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """What ``select`` makes of each chunk, given its kinds; closes the snapshot if that breaks."""
        try:
            with self.database.explained():
                for chunk in self.chunks(query):
                    kinds = {column.name: KIND_OF_ARROW[column.type] for column in chunk.schema}
                    self.duckdb.register("chunk", chunk)
                    yield from self.duckdb.sql(select(kinds)).to_arrow_table().cast(schema).to_batches()
        except BaseException:
            self.close()
            raise

    def measure(self, measures: str, chunk: pa.Table) -> tuple[Any, ...]:
        """Aggregates over a chunk."""
        self.duckdb.register("chunk", chunk)
        return self.duckdb.execute(f"select {measures} from chunk").fetchall()[0]


def _close(*connections: Connection | duckdb.DuckDBPyConnection) -> None:
    for connection in connections:
        connection.close()


def key_column(shape: TableShape) -> dict[str, SourceColumn]:
    return {KEY: shape.key} if shape.key else {}


def select_columns(shape: TableShape, **columns: SourceColumn) -> Query:
    return sa.select(*(c.fetched.label(to) for to, c in columns.items())).select_from(shape.relation), columns


def chunk_of(columns: Mapping[str, SourceColumn], values: list[list[Any]], position: int) -> pa.Table:
    arrays = [typed_array(held, column.kind) for held, column in zip(values, columns.values(), strict=True)]
    positions = pa.array(range(position, position + len(values[0])), pa.int64())
    return pa.table([*arrays, positions], names=[*columns, POSITION])


def typed_array(values: list[Any], kind: str) -> pa.Array:
    """The values as Arrow; as text where one is not of the column's type, as in a loosely typed database."""
    try:
        return pa.array(values, ARROW_OF_KIND[kind])
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def batch_reader(schema: pa.Schema, batches: Iterable[pa.RecordBatch] = ()) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(schema, iter(batches))


def named(values: Mapping[str, str]) -> str:
    return ", ".join(f"{value} as {normalise.identifier(name)}" for name, value in values.items())
