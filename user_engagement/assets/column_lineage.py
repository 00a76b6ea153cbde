"""Which columns of other tables a model's columns come from, for Dagster's catalog.

dagster-dbt can say it too. It asks the warehouse for every model's and every parent's columns, in a connection of dbt's
own, and loses what comes through ephemeral models.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from sqlglot import exp, parse_one
from sqlglot.lineage import Node, lineage
from sqlglot.schema import MappingSchema

Described = tuple[dg.AssetKey, Mapping[str, str]]
"""A table's key, and the types of its columns."""
Tables = Mapping[tuple[str, str], Described]
"""Tables by schema, without the prefix that an account may have, and name."""
logger = logging.getLogger(__name__)


def compiled_models(target: Path) -> dict[str, str]:
    """The SQL that a build of dbt sent for each of its models, by the model's name."""
    files = (target / "compiled").glob("*/models/**/*.sql")
    # tests lie in a folder with the name of the file that asks for them
    return {file.stem: file.read_text() for file in files if file.parent.suffix != ".yml"}


def column_lineage(sql: str, tables: Tables, dialect: str) -> dg.TableColumnLineage | None:
    """The columns that each column of a query is computed from; a count of rows comes from none.

    ``tables`` are those that the query may read. None if the query cannot be understood, which is no reason to fail
    what it has built.
    """
    try:
        query = parse_one(sql, dialect=dialect)
        schema = MappingSchema(dialect=dialect)
        for table in query.find_all(exp.Table):
            if known := _known(table, tables):
                schema.add_table(table, dict(known[1]), dialect=dialect)
        found = lineage(None, query, schema=schema, dialect=dialect, trim_selects=False, copy=False)
    except Exception as error:
        logger.info("Lineage of columns is unknown: %r", error)
        return None
    return dg.TableColumnLineage({column.lower(): _origins(node, tables) for column, node in found.items()})


def _origins(column: Node, tables: Tables) -> list[dg.TableColumnDep]:
    """The columns of tables at the ends of a column's lineage, in the order of their names."""
    ends = [node for node in column.walk() if not node.downstream and isinstance(node.source, exp.Table)]
    found = {
        (known[0], exp.to_column(node.name).name.lower())
        for node in ends
        if (known := _known(node.source, tables))
    }
    return [dg.TableColumnDep(key, name) for key, name in sorted(found)]


def _known(table: Any, tables: Tables) -> Described | None:
    name, schema = table.name.lower(), table.db.lower()
    return next((t for key, t in tables.items() if key[1] == name and schema.endswith(key[0])), None)
