"""Raw tables between Dagster's assets and the warehouse.

Annotations are evaluated here: Dagster reads those of a resource.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import pandas as pd

from user_engagement.contracts.raw import SCHEMA
from user_engagement.dagster_internals import TablePartitionDimension, TableSlice
from user_engagement.errors import WarehouseError
from user_engagement.sources.base import Extract
from user_engagement.warehouse.base import Warehouse

PARTITION_ROWS = "dagster/partition_row_count"


def rows_of_partitions(months: Mapping[str, int], keys: Sequence[str]) -> dict[str, int]:
    """The rows of each partition of a range, from rows by month; rows outside it count in its first or last month."""
    rows: Counter[str] = Counter(dict.fromkeys(keys, 0))
    for month, count in months.items():
        rows[min(max(month, keys[0]), keys[-1])] += count
    return dict(rows)


class RawIOManager(dg.ConfigurableIOManager):
    """Stores what a source extracted; downstream assets load a raw table, or their months of it, as pandas.

    The warehouse is no part of the configuration, which the UI shows.
    """

    warehouse: dg.ResourceDependency[Warehouse]

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Replaces the extract's slice.

        Raises:
            WarehouseError: anything but an `Extract`, which alone says what slice it is; or as `Warehouse` says.
        """
        if not isinstance(obj, Extract):
            found = type(obj).__name__
            raise WarehouseError(
                f"{context.asset_key.path[-1]}: return an Extract, not a {found}, to store a raw table."
            )
        loaded = self.warehouse.replace_slice(obj, **_tags(context), run_id=context.run_id)
        if obj.beside:
            self.warehouse.replace_tables(SCHEMA, obj.beside, **_tags(context), run_id=context.run_id)
        context.add_output_metadata(
            {
                "dagster/row_count": loaded.table_rows,
                "loaded_rows": loaded.rows,
                "replaced_rows": loaded.replaced_rows,
                "rejected_rows": loaded.rejected_rows,
            }
        )
        if context.has_asset_partitions:
            column = obj.table.date_column
            with self.warehouse.reader() as reader:
                months = reader.monthly_rows(
                    f"{SCHEMA}.{obj.table.name}", column, obj.window.predicate(column)
                )
            for key, rows in rows_of_partitions(months, context.asset_partition_keys).items():
                context.step_context.add_asset_metadata({PARTITION_ROWS: rows}, partition_key=key)

    def load_input(self, context: dg.InputContext) -> pd.DataFrame:
        """The months of a raw table that the input's partitions ask for; all of it without partitions."""
        return self.warehouse.load_frame(context, _table_slice(context), **_tags(context))


def _tags(context: dg.OutputContext | dg.InputContext) -> dict[str, str]:
    keys = context.asset_partition_keys if context.has_asset_partitions else []
    return {
        "asset": context.asset_key.to_user_string(),
        "partition": "..".join(dict.fromkeys((keys[0], keys[-1]))) if keys else "",
    }


def _table_slice(context: dg.InputContext) -> TableSlice:
    upstream = context.upstream_output
    dimensions = []
    if upstream and context.has_asset_partitions:
        window = context.asset_partitions_time_window if context.asset_partition_keys else []
        dimensions = [TablePartitionDimension((upstream.definition_metadata or {})["partition_expr"], window)]
    return TableSlice(
        table=context.asset_key.path[-1],
        schema=SCHEMA,
        columns=(context.definition_metadata or {}).get("columns"),
        partition_dimensions=dimensions,
    )
