"""Raw extracts: one asset per raw table, one slice per month, loaded as the source delivered it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import dagster as dg

from user_engagement.assets.common import OWNERS, asset_key, raw_key, raw_pool, source_key
from user_engagement.assets.source_loss import ACCEPT_LOSS_TAG, refuse_loss
from user_engagement.contracts.raw import RAW_TABLES, REJECTED_ROWS, USER_SIGNUPS, RawTable
from user_engagement.errors import UserError
from user_engagement.inputs.fingerprints import FINGERPRINT, SOURCE_TAG, source_fingerprints
from user_engagement.inputs.held_up import find_held_up, note_of, refuse_waiting
from user_engagement.partitions import window_of
from user_engagement.settings import Settings
from user_engagement.sources import Extract, Source
from user_engagement.warehouse import open_warehouse

SCHEMA_CHECK = "source_schema"
KINDS = {
    "simulated": {"sqlite", "parquet"},
    "files": {"file"},
    "database": {"sql"},
    "snowplow": {"snowplow"},
    "warehouse": {"table"},
}


def column_schema(table: RawTable) -> dg.TableSchema:
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                c.name,
                c.type,
                description=c.description,
                constraints=dg.TableColumnConstraints(nullable=c not in table.required),
            )
            for c in table.declared
        ]
    )


def source_specs(settings: Settings) -> Sequence[dg.AssetSpec]:
    """The source systems' tables, which this project only reads."""
    return [
        dg.AssetSpec(
            key=source_key(settings, table),
            group_name="sources",
            owners=OWNERS,
            kinds=KINDS.get(settings.source, {settings.source}),
            description=f"Source system: {table.name}. {table.description}",
            metadata={"source": settings.source, "dagster/column_schema": column_schema(table)},
        )
        for table in RAW_TABLES
    ]


def rejected_rows_spec(settings: Settings) -> dg.AssetSpec:
    """The table of rejected rows. Each raw extract writes the rows of its own table, in the transaction of its load."""
    return dg.AssetSpec(
        key=asset_key(settings, "raw", REJECTED_ROWS.name),
        deps=[raw_key(settings, table) for table in RAW_TABLES],
        group_name="raw",
        owners=OWNERS,
        kinds={settings.warehouse},
        description=REJECTED_ROWS.description,
        metadata={"dagster/column_schema": column_schema(REJECTED_ROWS)},
    )


def schema_drift(
    extract: Extract, stored: Mapping[str, bool], segments: Sequence[str]
) -> dg.AssetCheckResult:
    """Compares the source's columns with ``stored``: the warehouse's columns, and whether each has any value.

    A missing column is an error if metrics use it, because all its users would become `unknown`. Any other change is a
    warning.
    """
    table = extract.table
    used = {c.name for c in table.optional} | (set(segments) if table is USER_SIGNUPS else set())
    required = {c.name for c in table.required}
    present = (
        required
        | set(extract.extra_columns)
        | {c.name for c in table.optional if c.name not in extract.missing}
    )
    missing = [
        name for name, has_values in stored.items() if has_values and name[0] != "_" and name not in present
    ]
    lost = [name for name in missing if name in used]
    new = [name for name in extract.extra_columns if stored and name not in stored]
    sentences = []
    if lost:
        sentences.append(
            f"Missing from the source, but used by metrics: {', '.join(lost)}. Restore them. If they were removed "
            "on purpose, load all months; then this check passes."
        )
    if other := [name for name in missing if name not in lost]:
        sentences.append(f"Missing from the source, and kept as null: {', '.join(other)}.")
    if new:
        sentences.append(f"New in the source, and kept: {', '.join(new)}.")
    return dg.AssetCheckResult(
        passed=not missing and not new,
        check_name=SCHEMA_CHECK,
        severity=dg.AssetCheckSeverity.ERROR if lost else dg.AssetCheckSeverity.WARN,
        description=" ".join(sentences) or None,
        metadata={"columns": len(present)},
    )


def stored_columns(settings: Settings, table: RawTable) -> dict[str, bool]:
    warehouse = open_warehouse(settings)
    if not warehouse.exists():
        return {}
    with warehouse.reader() as reader:
        return reader.filled_columns("raw", table.name)


def raw_asset(
    table: RawTable, source: Source, settings: Settings, partitions: dg.MonthlyPartitionsDefinition
) -> dg.AssetsDefinition:
    """The asset that loads one raw table, for one month or a range of months per run."""

    @dg.asset(
        key=raw_key(settings, table),
        deps=[source_key(settings, table)],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        io_manager_key="user_engagement_raw_io_manager",
        pool=raw_pool(settings),
        group_name="raw",
        owners=OWNERS,
        kinds={"python", settings.warehouse},
        description=table.description,
        metadata={"partition_expr": table.date_column, "dagster/column_schema": column_schema(table)},
        check_specs=[
            dg.AssetCheckSpec(
                SCHEMA_CHECK,
                asset=raw_key(settings, table),
                blocking=True,
                description="The source has the same columns as at the last load.",
            )
        ],
    )
    def extract(context: dg.AssetExecutionContext):
        window = window_of(partitions, context.partition_key_range)
        context.log.info(
            f"{table.name}: extracting {context.partition_keys[0]} to {context.partition_keys[-1]}"
        )
        try:
            # before reading the rows: data that arrives meanwhile must count as a change
            keys = partitions.get_partition_keys()
            held_up = find_held_up(source, settings, keys)
            refuse_waiting(held_up, context.partition_keys)
            fingerprints = source_fingerprints(source, table, settings, keys, held_up)
            if ACCEPT_LOSS_TAG not in context.run.tags:
                refuse_loss(source, table, settings)
            noted = note_of(table, held_up, settings)
            extracted = replace(source.extract(table, window), beside=noted)
            drift = schema_drift(extracted, stored_columns(settings, table), settings.segments)
        except UserError as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        if (
            SOURCE_TAG in context.run.tags
            and not drift.passed
            and drift.severity == dg.AssetCheckSeverity.ERROR
        ):
            # only a person may accept a lost column: after this load the sensor would no longer notice the loss
            raise dg.Failure(f"{table.name}: nothing was loaded. {drift.description}", allow_retries=False)
        for key in context.partition_keys:
            context.add_asset_metadata({FINGERPRINT: fingerprints[key]}, partition_key=key)
        return dg.MaterializeResult(value=extracted, check_results=[drift])

    return extract


def raw_assets(
    source: Source, settings: Settings, partitions: dg.MonthlyPartitionsDefinition
) -> Sequence[dg.AssetsDefinition]:
    return [raw_asset(table, source, settings, partitions) for table in RAW_TABLES]
