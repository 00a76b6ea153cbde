"""Reading back from the embedded warehouse."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

import duckdb
import pyarrow as pa

from user_engagement.errors import WarehouseError
from user_engagement.sources.base import BATCH_ROWS
from user_engagement.warehouse.base import WarehouseReader
from user_engagement.warehouse.schemas import SCHEMAS


class DuckDBReader(WarehouseReader):
    """A `WarehouseReader` of the DuckDB file."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def ordered(self, schema: str, table: str, columns: Sequence[str] = ()) -> pa.RecordBatchReader:
        order = ", ".join(columns) or "all"
        try:
            relation = self._connection.sql(f"select * from {schema}.{table} order by {order}")
            return relation.to_arrow_reader(BATCH_ROWS)
        except duckdb.CatalogException:
            raise WarehouseError(f"{table} has not been built yet. Run: user-engagement run") from None

    def query(self, sql: str) -> pa.Table:
        return self._connection.sql(sql).to_arrow_table()

    def tables(
        self, names: Iterable[tuple[str, str]]
    ) -> dict[tuple[str, str], tuple[int | None, dict[str, str]]]:
        rows = self._connection.execute(
            "select schema_name, table_name, column_name, data_type from duckdb_columns() order by column_index"
        ).fetchall()
        stored = set(
            self._connection.execute("select schema_name, table_name from duckdb_tables()").fetchall()
        )
        found: dict[tuple[str, str], tuple[int | None, dict[str, str]]] = {}
        for name in names:
            columns = {row[2]: row[3] for row in rows if (row[0], row[1]) == name}
            if columns:
                count = f"select count(*) from {name[0]}.{name[1]}"
                found[name] = (
                    self._connection.execute(count).fetchall()[0][0] if name in stored else None,
                    columns,
                )
        return found

    def columns(self, schema: str, table: str) -> list[str]:
        rows = self._connection.execute(
            "select column_name from duckdb_columns() where schema_name = ? and table_name = ?",
            [schema, table],
        ).fetchall()
        return [row[0] for row in rows]

    def filled_columns(self, schema: str, table: str) -> dict[str, bool]:
        names = self.columns(schema, table)
        if not names:
            return {}
        counts = ", ".join(f'count("{name}")' for name in names)
        found = self._connection.execute(f"select {counts} from {schema}.{table}").fetchall()[0]
        return {name: count > 0 for name, count in zip(names, found, strict=True)}

    def tables_with(self, column: str) -> list[str]:
        query = """
            select schema_name || '.' || table_name from duckdb_columns() inner join duckdb_tables()
            using (database_name, schema_name, table_name)
            where column_name = ? and list_contains(?, schema_name) order by all
        """
        return [row[0] for row in self._connection.execute(query, [column, list(SCHEMAS)]).fetchall()]

    def newest_day(self, table: str, column: str, through: date) -> date | None:
        try:
            query = f"select cast(max({column}) as date) from raw.{table} where {column} < ?::date + 1"
            return self._connection.execute(query, [through]).fetchall()[0][0]
        except duckdb.CatalogException:
            return None
