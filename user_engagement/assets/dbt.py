"""dbt's models as assets: activity by month of activity, cohorts by month of signup, marts over everything."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import (
    DagsterDbtTranslator,
    DagsterDbtTranslatorSettings,
    DbtCliResource,
    DbtProject,
    dbt_assets,
)
from dagster_dbt.errors import DagsterDbtCliRuntimeError

from user_engagement.assets.column_lineage import column_lineage, compiled_models
from user_engagement.assets.common import OWNERS, WAREHOUSE_POOL, asset_key, freshness_policy, table_of
from user_engagement.assets.dbt_process import DbtProcess, InProcessDbt
from user_engagement.contracts.raw import Window
from user_engagement.inputs.dbt_project import prepare_project, profile_variables
from user_engagement.inputs.fingerprints import REBUILD_TAG
from user_engagement.inputs.parsed_project import parsed_project
from user_engagement.inputs.variables import dbt_vars
from user_engagement.partitions import window_of
from user_engagement.settings import Settings
from user_engagement.warehouse import open_warehouse
from user_engagement.warehouse.io_manager import PARTITION_ROWS, rows_of_partitions

FAR_PAST, FAR_FUTURE = date(1000, 1, 1), date(9999, 12, 31)
ACTIVITY = "fqn:user_engagement_dbt.staging fqn:user_engagement_dbt.lookups fqn:user_engagement_dbt.activity"
COHORTS = "fqn:user_engagement_dbt.cohorts"
MARTS = "fqn:user_engagement_dbt.intermediate fqn:user_engagement_dbt.marts"
# the models that only insights need, among those of activity
KINDS = "fqn:user_engagement_dbt.lookups.session_kinds fqn:user_engagement_dbt.activity.user_day_kinds"
# folders built by month of activity; without partitions of their own, lookups would cut a backfill into three runs
BY_ACTIVITY = ("staging", "lookups", "activity")
# folders whose models look across all months and are rebuilt whole
WHOLE = ("intermediate", "marts", "insights")
# churn and retention: what people look at first, and what silently goes out of date first
WATCHED = (("marts", "churn_monthly"), ("marts", "day_n_retention"), ("cohorts", "cohort_retention"))
# unit tests are for development; every other test is a check of the data
NO_UNIT_TESTS = ("--exclude-resource-type", "unit_test")


# -- what dbt is told --------------------------------------------------------------------------------------


def window_args(window: Window) -> list[str]:
    """The window of a range of months as dbt arguments; open ends become dates beyond any data."""
    start, end = window.start or FAR_PAST, window.end or FAR_FUTURE
    return ["--event-time-start", start.isoformat(), "--event-time-end", end.isoformat()]


# -- how Dagster sees the models ---------------------------------------------------------------------------


class Translator(DagsterDbtTranslator):
    """Keys, groups, partitions and lineage of the models; checks on sources belong to the raw assets."""

    def __init__(
        self,
        settings: Settings,
        partitions: dg.MonthlyPartitionsDefinition,
        freshness_policy: dg.FreshnessPolicy | None = None,
    ) -> None:
        super().__init__(
            DagsterDbtTranslatorSettings(enable_asset_checks=True, enable_source_tests_as_checks=True)
        )
        self._pipeline_settings = settings
        self._project_dir = prepare_project(settings)
        self._partitions = partitions
        self._freshness_policy = freshness_policy

    def get_asset_spec(
        self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None
    ) -> dg.AssetSpec:
        spec = super().get_asset_spec(manifest, unique_id, project)
        if model := manifest["nodes"].get(unique_id):
            file = dg.LocalFileCodeReference(file_path=str(self._project_dir / model["original_file_path"]))
            spec = spec.merge_attributes(
                metadata={"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=[file])}
            )
        is_watched = table_of(spec.key) in WATCHED and self._freshness_policy
        return spec.replace_attributes(freshness_policy=self._freshness_policy) if is_watched else spec

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        return asset_key(self._pipeline_settings, folder_of(dbt_resource_props), dbt_resource_props["name"])

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        return folder_of(dbt_resource_props)

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> Sequence[str]:
        return OWNERS

    def get_description(self, dbt_resource_props: Mapping[str, Any]) -> str:
        return dbt_resource_props.get("description") or ""

    def get_partitions_def(self, dbt_resource_props: Mapping[str, Any]) -> dg.PartitionsDefinition | None:
        return None if folder_of(dbt_resource_props) in WHOLE else self._partitions

    def get_partition_mapping(
        self, dbt_resource_props: Mapping[str, Any], dbt_parent_resource_props: Mapping[str, Any]
    ) -> dg.PartitionMapping | None:
        """A cohort depends on the activity of its signup month and of every month after it."""
        child, parent = folder_of(dbt_resource_props), folder_of(dbt_parent_resource_props)
        if child == "cohorts" and parent in BY_ACTIVITY:
            months = len(self._partitions.get_partition_keys())
            return dg.TimeWindowPartitionMapping(
                start_offset=0, end_offset=months, allow_nonexistent_upstream_partitions=True
            )
        if child in WHOLE and parent not in WHOLE:
            return dg.AllPartitionMapping()
        return None


def folder_of(props: Mapping[str, Any]) -> str:
    """The folder of a model, which is its group and the prefix of its asset key."""
    return props["fqn"][1] if props["resource_type"] == "model" else props.get("source_name", "")


def schema_of(props: Mapping[str, Any]) -> str:
    """The schema of a model's table: its folder, or that of tables with a row per user."""
    return props["config"]["schema"]


def stored_tables(
    manifest: Mapping[str, Any], keys: Iterable[dg.AssetKey]
) -> dict[dg.AssetKey, tuple[str, str]]:
    """Schema and name of the table behind each key."""
    models = (node for node in manifest["nodes"].values() if node["resource_type"] == "model")
    schemas = {(folder_of(node), node["name"]): schema_of(node) for node in models}
    named = {key: table_of(key) for key in keys}
    return {key: (schemas.get(table, table[0]), table[1]) for key, table in named.items()}


def grains(manifest: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The columns that tell the rows of a model apart, by its name."""
    return {
        manifest["nodes"][node["attached_node"]]["name"]: tuple(node["test_metadata"]["kwargs"]["columns"])
        for node in manifest["nodes"].values()
        if node["resource_type"] == "test" and (node.get("test_metadata") or {}).get("name") == "unique_grain"
    }


# -- the assets --------------------------------------------------------------------------------------------


def load_manifest(settings: Settings) -> dict[str, Any]:
    """dbt's manifest as Dagster reads it."""
    parsed = parsed_project(
        prepare_project(settings), settings.warehouse, settings.dbt_target_dir, profile_variables(settings)
    )
    return json.loads((parsed / "manifest.json").read_text())


def dbt_resource(settings: Settings) -> DbtCliResource:
    project = str(prepare_project(settings))
    # the one beside this interpreter, whether or not its environment is on the PATH
    executable = str(Path(sys.executable).with_name("dbt"))
    given: dict[str, Any] = {
        "environment": profile_variables(settings),
        "project_dir": project,
        "profiles_dir": project,
        "target": settings.warehouse,
        "dbt_executable": executable,
    }
    if settings.dbt_in_process:
        return InProcessDbt(**given, parse_dir=str(settings.dbt_target_dir))
    return DbtProcess(**given)


def target_path(settings: Settings, context: dg.AssetExecutionContext) -> Path:
    return (
        settings.dbt_target_dir / "runs" / f"{context.run.run_id[:8]}-{context.op_execution_context.op.name}"
    )


@dataclass(frozen=True)
class FinishedBuild:
    """What a dbt build reported, told to Dagster once dbt has let go of the warehouse."""

    events: list[Any]
    error: DagsterDbtCliRuntimeError | None

    def replay(self) -> Iterator[Any]:
        yield from self.events
        if self.error:
            raise self.error


def dbt_build(
    context: dg.AssetExecutionContext,
    dbt: DbtCliResource,
    settings: Settings,
    window: Window | None,
    exclude: str | None = None,
) -> FinishedBuild:
    """Builds and tests the selected models but those of ``exclude``; describes all tables, by month in a window."""
    with open_warehouse(settings).reader() as reader:
        variables = dbt_vars(reader, settings, datetime.now(settings.zone))
    variables["rebuild"] = REBUILD_TAG in context.run.tags
    command = [
        "build",
        *NO_UNIT_TESTS,
        # a copy of the manifest for each build, which nobody reads, took half of dbt's own time
        "--no-write-json",
        "--vars",
        json.dumps(variables),
        *(window_args(window) if window else []),
        *(["--exclude", exclude] if exclude else []),
    ]
    invocation = dbt.cli(command, context=context, target_path=target_path(settings, context))
    events: list[Any] = []
    error = None
    try:
        # extended as they come, so that those before a failure are kept
        events.extend(invocation.stream())
    except DagsterDbtCliRuntimeError as failure:
        error = failure
    manifest = load_manifest(settings)
    describe_tables(context, settings, manifest)
    if window:
        count_partitions(context, settings, manifest, window)
    return FinishedBuild(events, error)


def describe_tables(
    context: dg.AssetExecutionContext, settings: Settings, manifest: Mapping[str, Any]
) -> None:
    """Row count, column types and lineage of the columns of the selected tables, for the catalog."""
    selected = set(context.selected_asset_keys)
    parents = {key: context.assets_def.asset_deps[key] for key in selected}
    stored = stored_tables(manifest, selected.union(*parents.values()))
    with open_warehouse(settings).reader() as reader:
        tables = reader.tables(stored.values())
    compiled = compiled_models(target_path(settings, context))
    for key in selected:
        if stored[key] not in tables:
            continue
        rows, columns = tables[stored[key]]
        documented = context.assets_def.specs_by_key[key].metadata.get("dagster/column_schema")
        words = {c.name: c.description for c in documented.columns} if documented else {}
        described = [
            dg.TableColumn(name, kind, description=words.get(name)) for name, kind in columns.items()
        ]
        metadata: dict[str, Any] = {"dagster/column_schema": dg.TableSchema(columns=described)}
        if rows is not None:
            metadata["dagster/row_count"] = rows
        read = {stored[parent]: parent for parent in parents[key] if stored[parent] in tables}
        known = {name: (parent, tables[name][1]) for name, parent in read.items()}
        sql = compiled.get(key.path[-1])
        if sql and (origins := column_lineage(sql, known, settings.warehouse)):
            metadata["dagster/column_lineage"] = origins
        context.add_asset_metadata(metadata, asset_key=key)


def count_partitions(
    context: dg.AssetExecutionContext, settings: Settings, manifest: Mapping[str, Any], window: Window
) -> None:
    """The rows of each month of the run, for the selected tables that are built by month."""
    columns = window_columns(manifest)
    stored = stored_tables(manifest, context.selected_asset_keys)
    with open_warehouse(settings).reader() as reader:
        for key in context.selected_asset_keys:
            table = ".".join(stored[key])
            if table in columns and reader.columns(*stored[key]):
                months = reader.monthly_rows(table, columns[table], window.predicate(columns[table]))
                for partition, rows in rows_of_partitions(months, context.partition_keys).items():
                    context.add_asset_metadata({PARTITION_ROWS: rows}, asset_key=key, partition_key=partition)


def window_columns(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The date column of each model that is built by month, by ``schema.table``."""
    models = (node for node in manifest["nodes"].values() if node["resource_type"] == "model")
    columns = {
        f"{schema_of(node)}.{node['name']}": node["config"]["meta"].get("window_column") for node in models
    }
    return {table: column for table, column in columns.items() if column}


def cohort_figures(settings: Settings, window: Window) -> dict[str, dict[str, float]]:
    """Size, month-1 retention and churn rate of each cohort in the window, by partition key."""
    query = f"""
        select history.signup_month as signup_month,
               count(*) as cohort_size,
               any_value(retention.retention_rate) as month_1_retention,
               cast(count(history.declared_churn_date) as double) / count(*) as churn_rate
        from user_level.user_history as history
        left join cohorts.cohort_retention as retention
            on retention.signup_month = history.signup_month and retention.segment_name = 'all'
            and retention.period_kind = 'relative_month' and retention.period_number = 1
        where history.in_scope and {window.predicate("history.signup_month")}
        group by history.signup_month
    """
    with open_warehouse(settings).reader() as reader:
        rows = reader.query(query).to_pylist()
    return {
        row.pop("signup_month").isoformat(): {name: value for name, value in row.items() if value is not None}
        for row in rows
    }


def kpi_figures(settings: Settings) -> dict[str, float]:
    """The value of each KPI that has one, which Dagster plots over the runs."""
    with open_warehouse(settings).reader() as reader:
        found = reader.query("select kpi, value from marts.kpi_summary where value is not null").to_pylist()
    return {row["kpi"]: row["value"] for row in found}


def build_dbt_assets(
    settings: Settings, partitions: dg.MonthlyPartitionsDefinition
) -> Sequence[dg.AssetsDefinition]:
    """The three groups of models, each one dbt invocation in a run."""
    manifest = load_manifest(settings)
    translator = Translator(settings, partitions, freshness_policy(settings))

    @dbt_assets(
        manifest=manifest,
        select=ACTIVITY,
        exclude="" if settings.insights else KINDS,
        name="activity",
        dagster_dbt_translator=translator,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=WAREHOUSE_POOL,
    )
    def activity(context: dg.AssetExecutionContext, user_engagement_dbt: DbtCliResource) -> Iterator[Any]:
        yield from dbt_build(
            context, user_engagement_dbt, settings, window_of(partitions, context.partition_key_range)
        ).replay()

    @dbt_assets(
        manifest=manifest,
        select=COHORTS,
        name="cohorts",
        dagster_dbt_translator=translator,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=WAREHOUSE_POOL,
    )
    def cohorts(context: dg.AssetExecutionContext, user_engagement_dbt: DbtCliResource) -> Iterator[Any]:
        window = window_of(partitions, context.partition_key_range)
        build = dbt_build(context, user_engagement_dbt, settings, window)
        retention = asset_key(settings, "cohorts", "cohort_retention")
        if build.error is None and retention in context.selected_asset_keys:
            figures = cohort_figures(settings, window)
            for key in context.partition_keys:
                context.add_asset_metadata(figures.get(key, {}), asset_key=retention, partition_key=key)
        yield from build.replay()

    @dbt_assets(
        manifest=manifest, select=MARTS, name="marts", dagster_dbt_translator=translator, pool=WAREHOUSE_POOL
    )
    def marts(context: dg.AssetExecutionContext, user_engagement_dbt: DbtCliResource) -> Iterator[Any]:
        build = dbt_build(context, user_engagement_dbt, settings, window=None)
        summary = asset_key(settings, "marts", "kpi_summary")
        if build.error is None and summary in context.selected_asset_keys:
            context.add_asset_metadata(kpi_figures(settings), asset_key=summary)
        yield from build.replay()

    return [activity, cohorts, marts]
