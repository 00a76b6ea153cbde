"""Dagster's SQLite event log with open connections that are reused, and one transaction per batch of events.

A run over a range of months records two events per asset and month. Dagster's own storage opens three connections
per event, which for two years of months takes longer than the work itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dagster import EventLogEntry
from sqlalchemy import Connection, Engine, create_engine, insert
from sqlalchemy.pool import StaticPool

from user_engagement.dagster_internals import (
    ASSET_CHECK_EVENTS,
    ASSET_EVENTS,
    SqlEventLogStorageTable,
    SqliteEventLogStorage,
)

BUSY_SECONDS = 60
INDEXED = ASSET_EVENTS | ASSET_CHECK_EVENTS
"""Types of events that are found across runs: each is stored with its run and in the index."""


class BatchingEventLogStorage(SqliteEventLogStorage):
    """`SqliteEventLogStorage` for runs that the command line executes in its own process; it uses the same files."""

    def __init__(self, base_dir: str, inst_data: Any = None) -> None:
        self._engines: dict[str, Engine] = {}
        self._tables: set[str] = set()
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> BatchingEventLogStorage:
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        """Like the inherited method, but with one connection per file instead of a new one each time."""
        with self._db_lock:
            if shard not in self._engines:
                self._engines[shard] = create_engine(
                    self.conn_string_for_shard(shard),
                    poolclass=StaticPool,
                    connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
                )
                # in WAL mode no commit can damage the files; a power cut may lose the last commits
                with self._engines[shard].connect() as connection:
                    connection.exec_driver_sql("pragma synchronous = normal")
            engine = self._engines[shard]
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.connect() as connection, connection.begin():
                yield connection

    def has_table(self, table_name: str) -> bool:
        """As inherited, but a table that was found once is not looked for again: Dagster asks at every check."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def dispose(self) -> None:
        for engine in self._engines.values():
            engine.dispose()
        super().dispose()

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Stores the events of assets and checks of each run in one transaction, and all other events one by one."""
        for event in events:
            if event.dagster_event_type not in INDEXED:
                self.store_event(event)
        indexed = [event for event in events if event.dagster_event_type in INDEXED]
        for run_id in dict.fromkeys(event.run_id for event in indexed):
            self._store_run_events(run_id, [event for event in indexed if event.run_id == run_id])

    def _store_run_events(self, run_id: str, events: Sequence[EventLogEntry]) -> None:
        table, rows = SqlEventLogStorageTable, [self._event_to_row(event) for event in events]
        with self.run_connection(run_id) as connection:
            connection.execute(insert(table), rows)
        # queries across runs read the index
        with self.index_transaction() as connection:
            with_ids = insert(table).returning(table.c.id, sort_by_parameter_order=True)
            ids = connection.scalars(with_ids, rows).all()
            # there, only the latest event of an asset describes it
            latest: dict[Any, tuple[EventLogEntry, int]] = {}
            for event, number in zip(events, ids, strict=True):
                if event.dagster_event_type in ASSET_EVENTS:
                    self._store_asset_event_tags(connection, [event], [number])
                    latest[event.get_dagster_event().asset_key] = event, number
            for event, number in latest.values():
                self._store_asset_event(connection, event, number)
        for event, number in zip(events, ids, strict=True):
            if event.dagster_event_type in ASSET_CHECK_EVENTS:
                self.store_asset_check_event(event, number)
