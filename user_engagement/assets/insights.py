"""Why engagement falls: counts reduced by dbt, and tables computed from them.

Both are in the schema `insights`; those with a row per user are in `user_level`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import date, datetime
from graphlib import TopologicalSorter
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa
from dagster_dbt import DbtCliResource, dbt_assets

from user_engagement.assets.common import OWNERS, WAREHOUSE_POOL, asset_key, table_of
from user_engagement.assets.complete_weeks import INPUTS, announce_rebuild, can_keep, recorded_inputs
from user_engagement.assets.dbt import Translator, dbt_build, grains, load_manifest, stored_tables
from user_engagement.contracts.marts import USER_LEVEL
from user_engagement.errors import UserError
from user_engagement.hashing import digest
from user_engagement.inputs.fingerprints import code_fingerprint
from user_engagement.inputs.variables import dbt_vars
from user_engagement.insights.rollups import DailyRollups, Rollups
from user_engagement.insights.schema import Table
from user_engagement.insights.tables import OF_USERS, TABLES, to_arrow
from user_engagement.settings import Settings
from user_engagement.warehouse import open_warehouse

SCHEMA = "insights"
MODELS = "fqn:user_engagement_dbt.insights"
WEEKLY = "weekly"
WEEKLY_MODELS = f"{MODELS}.{WEEKLY}"
OF_COMPLETE_WEEKS = (
    "decline_brief",
    "finding_series",
    "engagement_bridge",
    "growth_change",
    "change_decomposition",
    "contributions",
    "first_week",
    "first_week_retention",
)
SEGMENTS_OF_COMPLETE_WEEKS = """
    select segment_cell, segment_name, segment_value from lookups.segment_values
    where segment_cell in (select segment_cell from insights.group_cells)
    order by segment_cell, segment_name
"""
GROWTH_OF_COMPLETE_WEEKS = """
    select segment_name, segment_value, period_start, active_users, new_users, resurrected_users, churned_users
    from marts.growth_accounting
    where period_kind = 'week' and period_start <= (select max(last_day) from insights.compared_periods)
    order by segment_name, segment_value, period_start
"""
# what is computed from, beside the models of this folder
ELSEWHERE = {"segment_values": "lookups", "outages": "activity", "growth_accounting": "marts"}


def rollup_keys(settings: Settings) -> dict[str, dg.AssetKey]:
    """The table behind each of the rollups that insights are computed from."""
    return {
        field.name: asset_key(settings, ELSEWHERE.get(field.name, SCHEMA), field.name)
        for field in fields(Rollups)
    }


def table_spec(settings: Settings, name: str, table: Table) -> dg.AssetSpec:
    return dg.AssetSpec(
        key=asset_key(settings, SCHEMA, name),
        deps=[
            dg.AssetDep(
                key,
                partition_mapping=dg.AllPartitionMapping()
                if table_of(key)[0] in ("lookups", "activity")
                else None,
            )
            for key in rollup_keys(settings).values()
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


def keys_of_weekly_models(settings: Settings, manifest: Mapping[str, Any]) -> list[dg.AssetKey]:
    """The tables that see nothing after the last complete week, each after those that it is made from."""
    parents = {
        unique_id: node["depends_on"]["nodes"]
        for unique_id, node in manifest["nodes"].items()
        if node["resource_type"] == "model"
        and node["fqn"][1:3] == [SCHEMA, WEEKLY]
        and node["config"]["materialized"] != "ephemeral"
    }
    ordered = TopologicalSorter(parents).static_order()
    names = (manifest["nodes"][each]["name"] for each in ordered if each in parents)
    return [asset_key(settings, SCHEMA, name) for name in names]


def inputs_of_rollups(settings: Settings) -> str | None:
    """The fingerprint of rows, variables and code that the weekly models are made from; None before a first build."""
    with open_warehouse(settings).reader() as reader:
        if not reader.columns(SCHEMA, INPUTS):
            return None
        rows = reader.ordered(SCHEMA, INPUTS).read_all().to_pylist()
        variables = dbt_vars(reader, settings, datetime.now(settings.zone))
    # the horizon counts only by the weeks that it completes, which are among the rows
    lasting = {name: value for name, value in variables.items() if name != "as_of"}
    return digest([repr(rows), repr(lasting), code_fingerprint(settings)])


def read_rollups(settings: Settings) -> tuple[Rollups, date]:
    """The counts that insights are computed from, and the last complete day of data."""
    return Rollups(**read_frames(settings, Rollups)), last_day_of(settings)


def read_frames(settings: Settings, rollups: type[DailyRollups]) -> dict[str, pd.DataFrame]:
    keys = rollup_keys(settings)
    manifest = load_manifest(settings)
    stored = stored_tables(manifest, [keys[field.name] for field in fields(rollups)])
    order = grains(manifest)
    with open_warehouse(settings).reader() as reader:
        return {
            name: reader.ordered(schema, name, order.get(name, ())).read_all().to_pandas(date_as_object=False)
            for schema, name in stored.values()
        }


def last_day_of(settings: Settings) -> date:
    """The last complete day of the data in the warehouse."""
    with open_warehouse(settings).reader() as reader:
        return reader.query("select as_of from lookups.horizon").column(0)[0].as_py()


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

    rollups, as_of = read_rollups(settings)
    # the matrices are many and small: threads that wait for each other take ten times as long as one
    with threadpool_limits(1):
        tables = analyse(rollups, as_of, settings.seed, marks_of(settings))
    published = {name: to_arrow(name, table) for name, table in tables.items()}
    return published, brief_text(published["decline_brief"], as_of)


def compute_daily(settings: Settings) -> tuple[dict[str, pa.Table], str]:
    """The same as `compute` where the tables of complete weeks still hold: these are kept, and the others computed."""
    from threadpoolctl import threadpool_limits

    from user_engagement.insights.analysis import of_all_days

    as_of = last_day_of(settings)
    with threadpool_limits(1):
        tables = of_all_days(DailyRollups(**read_frames(settings, DailyRollups)), as_of, settings.seed)
    published = {name: to_arrow(name, table.assign(observed_through=as_of)) for name, table in tables.items()}
    with open_warehouse(settings).reader() as reader:
        for name in OF_COMPLETE_WEEKS:
            table = reader.ordered(SCHEMA, name).read_all()
            place = table.column_names.index("observed_through")
            days = pa.array([as_of] * table.num_rows, pa.date32())
            published[name] = table.set_column(place, "observed_through", days).cast(TABLES[name].schema())
    return published, brief_text(published["decline_brief"], as_of)


def store(settings: Settings, tables: Mapping[str, pa.Table], **tags: str) -> None:
    """Replaces the insight tables, those with a row per user in a schema of their own."""
    for schema in (USER_LEVEL, SCHEMA):
        placed = {name: table for name, table in tables.items() if schema_of_table(name) == schema}
        open_warehouse(settings).replace_tables(schema, placed, asset=SCHEMA, **tags)


def schema_of_table(name: str) -> str:
    return USER_LEVEL if name in OF_USERS else SCHEMA


def brief_text(brief: pa.Table, as_of: date) -> str:
    from user_engagement.insights.brief import markdown

    return markdown(brief.to_pandas(), as_of)


def inputs_of_tables(settings: Settings, of_rollups: str | None) -> str | None:
    """The fingerprint of what the tables of complete weeks are computed from; None if that of the rollups is None."""
    if of_rollups is None:
        return None
    marks = marks_of(settings)
    with open_warehouse(settings).reader() as reader:
        counts = [
            reader.ordered(SCHEMA, "churn_reason_counts").read_all(),
            reader.query(SEGMENTS_OF_COMPLETE_WEEKS),
            reader.query(GROWTH_OF_COMPLETE_WEEKS),
        ]
    contents = [repr(table.to_pylist()) for table in counts]
    return digest([of_rollups, *contents, repr(settings.seed), "" if marks is None else marks.to_csv()])


def insight_assets(
    settings: Settings, partitions: dg.MonthlyPartitionsDefinition
) -> Sequence[dg.AssetsDefinition]:
    """Two steps: dbt reduces activity to counts, and all tables are computed from these at once.

    Each keeps what it made of complete weeks if their rows have not changed. None if insights are switched off.
    """
    if not settings.insights:
        return []
    manifest = load_manifest(settings)
    weekly_rollups = keys_of_weekly_models(settings, manifest)
    weekly_tables = [asset_key(settings, SCHEMA, name) for name in OF_COMPLETE_WEEKS]
    stored_rollups, stored_weekly = (
        stored_tables(manifest, keys) for keys in (weekly_rollups, weekly_tables)
    )

    @dbt_assets(
        manifest=manifest,
        select=MODELS,
        name="insight_rollups",
        dagster_dbt_translator=Translator(settings, partitions),
        pool=WAREHOUSE_POOL,
    )
    def insight_rollups(
        context: dg.AssetExecutionContext, user_engagement_dbt: DbtCliResource
    ) -> Iterator[Any]:
        selected = [key for key in weekly_rollups if key in context.selected_asset_keys]
        inputs = inputs_of_rollups(settings)
        if can_keep(context, settings, stored_rollups, inputs):
            build = dbt_build(context, user_engagement_dbt, settings, window=None, exclude=WEEKLY_MODELS)
            yield from (dg.MaterializeResult(asset_key=key, metadata={INPUTS: inputs}) for key in selected)
        else:
            announce_rebuild(context, selected)
            build = dbt_build(context, user_engagement_dbt, settings, window=None)
            # not before the build, as the model that computes it may have been changed by it
            if build.error is None and (made_from := inputs_of_rollups(settings)):
                for key in selected:
                    context.add_asset_metadata({INPUTS: made_from}, asset_key=key)
        yield from build.replay()

    @dg.multi_asset(
        specs=[table_spec(settings, name, table) for name, table in TABLES.items()],
        name="insight_tables",
        pool=WAREHOUSE_POOL,
    )
    def insight_tables(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        inputs = inputs_of_tables(settings, recorded_inputs(context.instance, weekly_rollups))
        if can_keep(context, settings, stored_weekly, inputs):
            tables, brief = compute_daily(settings)
        else:
            tables, brief = compute(settings)
            announce_rebuild(context, weekly_tables)
        store(settings, tables, run_id=context.run.run_id)
        for name, table in tables.items():
            metadata: dict[str, Any] = {"dagster/row_count": table.num_rows}
            if name == "decline_brief":
                metadata["brief"] = dg.MetadataValue.md(brief)
            if name in OF_COMPLETE_WEEKS and inputs:
                metadata[INPUTS] = inputs
            yield dg.MaterializeResult(asset_key=asset_key(settings, SCHEMA, name), metadata=metadata)

    return [insight_rollups, insight_tables]
