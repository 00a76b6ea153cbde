"""The last asset: the published generation, which the dashboard and `user-engagement kpis` read."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import dagster as dg
import pyarrow as pa

from user_engagement import formatting as fmt
from user_engagement.assets.common import OWNERS, WAREHOUSE_POOL, asset_key, freshness_policy, published_key
from user_engagement.assets.dbt import load_manifest
from user_engagement.assets.doubts import CHECKS, find_doubts
from user_engagement.assets.insights import SCHEMA as INSIGHTS
from user_engagement.assets.own_marts import SCHEMA as MARTS_SCHEMA
from user_engagement.assets.own_marts import names_no_user, own_marts
from user_engagement.contracts.marts import MARTS, PER_USER_MARTS, USER_LEVEL
from user_engagement.errors import UserError
from user_engagement.inputs.fingerprints import BUILD, SOURCE_STATE
from user_engagement.inputs.publication import UNKNOWN, made_from
from user_engagement.insights.tables import TABLES as INSIGHT_TABLES
from user_engagement.instance.pruning import prune
from user_engagement.publishing.generations import Doubt, pseudonymised, publish
from user_engagement.settings import Settings
from user_engagement.warehouse import WarehouseReader, open_warehouse

USERS, AT_RISK = "user_lifecycle", "at_risk_users"
REPORT = "report.html"
WITH_IDS = f"""
    select numbers.user_id, listed.*
    from {USER_LEVEL}.{AT_RISK} as listed
    inner join {USER_LEVEL}.user_numbers as numbers on listed.user_number = numbers.user_number
"""


def published_tables(settings: Settings) -> dict[str, str]:
    """The tables of a generation and their folders; tables with a row per user only with `PUBLISH_USERS`."""
    tables = {name: mart.folder for name, mart in MARTS.items()}
    if settings.insights:
        tables |= dict.fromkeys(INSIGHT_TABLES, INSIGHTS)
    hidden = {*PER_USER_MARTS, AT_RISK} - ({USERS, AT_RISK} if settings.publish_users else set())
    return {name: folder for name, folder in tables.items() if name not in hidden}


def published_asset(settings: Settings) -> dg.AssetsDefinition:
    """The asset that writes marts, insights and a report as one generation."""
    own = own_marts(load_manifest(settings))
    tables = {**published_tables(settings), **dict.fromkeys(own, MARTS_SCHEMA)}

    @dg.asset(
        key=published_key(settings),
        deps=[
            dg.AssetDep(asset_key(settings, folder, name), partition_mapping=_mapping(folder))
            for name, folder in tables.items()
        ],
        group_name="published",
        freshness_policy=freshness_policy(settings),
        owners=OWNERS,
        kinds={"parquet"},
        description="One generation of Parquet files with a manifest; readers see all of it or none.",
        pool=WAREHOUSE_POOL,
        check_specs=[
            dg.AssetCheckSpec(name, asset=published_key(settings), description=description)
            for name, (description, _) in CHECKS.items()
        ],
    )
    def generation(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with open_warehouse(settings).reader() as reader:
            now = datetime.now(UTC)
            inputs = made_from(reader, settings, context.run.tags.get(SOURCE_STATE, UNKNOWN), now)
            doubts = find_doubts(reader, settings, now)
            as_of = reader.query("select as_of from lookups.horizon").column(0)[0].as_py()
            contents = (
                (name, _rows_to_publish(reader, tables[name], name, settings))
                for name in tables
                if name not in own or names_no_user(reader, name)
            )
            add = partial(_add_report, settings, context.log) if settings.publish_report else None
            manifest = publish(
                settings.published_dir, contents, context.run.run_id, str(as_of), add, doubts, own, inputs
            )
        folder = settings.published_dir / f"gen-{manifest.generation}"
        prune(context.instance, settings)
        report = {"report": dg.MetadataValue.url((folder / REPORT).as_uri())} if add else {}
        return dg.MaterializeResult(
            metadata={
                "generation": manifest.generation,
                "as_of": manifest.as_of,
                "tables": len(manifest.tables),
                "dagster/row_count": sum(int(t["rows"]) for t in manifest.tables.values()),
                "path": dg.MetadataValue.path(folder),
                BUILD: inputs["build"],
                SOURCE_STATE: inputs["source"],
                **report,
            },
            check_results=list(check_results(doubts)),
        )

    return generation


def check_results(doubts: Sequence[Doubt]) -> Iterator[dg.AssetCheckResult]:
    """The result of each check of what was published: a warning with its doubts, in the words of the manifest."""
    for name in CHECKS:
        found = [doubt.text for doubt in doubts if doubt.check == name]
        yield dg.AssetCheckResult(
            passed=not found,
            check_name=name,
            severity=dg.AssetCheckSeverity.WARN,
            description=" ".join(found) or None,
            metadata={"doubts": len(found)},
        )


def _rows_to_publish(
    reader: WarehouseReader, schema: str, name: str, settings: Settings
) -> pa.RecordBatchReader:
    if name not in (USERS, AT_RISK):
        return reader.ordered(schema, name)
    assert settings.pseudonym_key, "settings with publish_users require it"
    is_at_risk = name == AT_RISK
    users = reader.query(WITH_IDS).drop_columns("user_number") if is_at_risk else reader.mart(name).read_all()
    return pseudonymised(users, settings.pseudonym_key.get_secret_value())


def _add_report(settings: Settings, log: dg.DagsterLogManager, generation: Path) -> None:
    # Plotly is imported only by the run that publishes, not by every process that loads the code location
    from user_engagement.dashboard.annotations import read_marks
    from user_engagement.dashboard.report import write_report

    try:
        fmt.use_labels(settings.labels)
    except UserError as error:
        log.warning(f"The report shows names by the rule. {error}")
    try:
        marks = read_marks(settings.annotations)
    except UserError as error:
        # the numbers are published all the same
        log.warning(f"The report has no annotations. {error}")
        marks = read_marks(None)
    write_report(generation, generation / REPORT, marks)


def _mapping(schema: str) -> dg.PartitionMapping | None:
    return dg.AllPartitionMapping() if schema == "cohorts" else None
