"""Why engagement falls: counts reduced by dbt, tables computed from them, both in the schema `insights`."""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from datetime import date
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa
from dagster_dbt import DbtCliResource, dbt_assets

from user_engagement.assets.common import OWNERS, WAREHOUSE_POOL
from user_engagement.assets.dbt import Translator, dbt_build, load_manifest
from user_engagement.errors import UserError
from user_engagement.insights.rollups import Rollups
from user_engagement.insights.schema import Table
from user_engagement.insights.tables import TABLES, to_arrow
from user_engagement.settings import Settings
from user_engagement.warehouse import open_warehouse

SCHEMA = "insights"
MODELS = "fqn:user_engagement_dbt.insights"
# what is computed from, beside the models of this folder
ELSEWHERE = {"segment_values": "lookups", "growth_accounting": "marts"}


def rollup_keys() -> dict[str, dg.AssetKey]:
    """The table behind each of the rollups that insights are computed from."""
    return {
        field.name: dg.AssetKey([ELSEWHERE.get(field.name, SCHEMA), field.name]) for field in fields(Rollups)
    }


def table_spec(name: str, table: Table) -> dg.AssetSpec:
    return dg.AssetSpec(
        key=dg.AssetKey([SCHEMA, name]),
        deps=[
            dg.AssetDep(
                key,
                partition_mapping=dg.AllPartitionMapping() if key.path[0] == "lookups" else None,
            )
            for key in rollup_keys().values()
        ],
        description=f"{table.description} Grain - {', '.join(table.grain)}.",
        group_name=SCHEMA,
        owners=OWNERS,
        kinds={"python"},
        metadata={
            "dagster/column_schema": dg.TableSchema(
                columns=[
                    dg.TableColumn(column, str(kind), description=meaning)
                    for column, (kind, meaning) in table.columns.items()
                ]
            )
        },
    )


def read_rollups(settings: Settings) -> tuple[Rollups, date]:
    """The counts that insights are computed from, and the last complete day of data."""
    with open_warehouse(settings).reader() as reader:
        frames = {
            name: reader.ordered(key.path[0], key.path[1]).read_all().to_pandas()
            for name, key in rollup_keys().items()
        }
        as_of = reader.query("select as_of from lookups.horizon").column(0)[0].as_py()
    return Rollups(**frames), as_of


def marks_of(settings: Settings) -> pd.DataFrame | None:
    """Releases and campaigns that may coincide with a finding; none where their file cannot be read."""
    from user_engagement.dashboard.annotations import read_marks

    try:
        return read_marks(settings.annotations)
    except UserError as error:
        # no reason to hold back the findings
        dg.get_dagster_logger().warning(f"The findings are without annotations. {error}")
        return None


def compute(settings: Settings) -> tuple[dict[str, pa.Table], str]:
    """Every insight table in its published form, and the brief as Markdown."""
    # scipy and statsmodels are imported for the run that needs them, not for every process that loads the code location
    from threadpoolctl import threadpool_limits

    from user_engagement.insights.analysis import analyse
    from user_engagement.insights.brief import markdown

    rollups, as_of = read_rollups(settings)
    # the matrices are many and small: threads that wait for each other take ten times as long as one
    with threadpool_limits(1):
        tables = analyse(rollups, as_of, settings.seed, marks_of(settings))
    return (
        {name: to_arrow(name, table) for name, table in tables.items()},
        markdown(tables["decline_brief"], as_of),
    )


def insight_assets(
    settings: Settings, partitions: dg.MonthlyPartitionsDefinition
) -> Sequence[dg.AssetsDefinition]:
    """Two steps: dbt reduces activity to counts, and all tables are computed from these at once.

    None if insights are switched off.
    """
    if not settings.insights:
        return []

    @dbt_assets(
        manifest=load_manifest(settings),
        select=MODELS,
        name="insight_rollups",
        dagster_dbt_translator=Translator(partitions),
        pool=WAREHOUSE_POOL,
    )
    def insight_rollups(
        context: dg.AssetExecutionContext, user_engagement_dbt: DbtCliResource
    ) -> Iterator[Any]:
        yield from dbt_build(context, user_engagement_dbt, settings, window=None).replay()

    @dg.multi_asset(
        specs=[table_spec(name, table) for name, table in TABLES.items()],
        name="insight_tables",
        pool=WAREHOUSE_POOL,
    )
    def insight_tables(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        tables, brief = compute(settings)
        open_warehouse(settings).replace_tables(SCHEMA, tables, asset=SCHEMA, run_id=context.run.run_id)
        for name, table in tables.items():
            metadata: dict[str, Any] = {"dagster/row_count": table.num_rows}
            if name == "decline_brief":
                metadata["brief"] = dg.MetadataValue.md(brief)
            yield dg.MaterializeResult(asset_key=dg.AssetKey([SCHEMA, name]), metadata=metadata)

    return [insight_rollups, insight_tables]
