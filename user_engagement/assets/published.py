"""The last asset: what the dashboard and `user-engagement kpis` read."""

import dagster as dg

from user_engagement.assets.raw import OWNERS, WAREHOUSE_POOL, freshness_policy
from user_engagement.publishing import publish
from user_engagement.settings import Settings
from user_engagement.warehouse.reader import MARTS, PER_USER_MARTS, open_reader

PUBLISHED_KEY = dg.AssetKey(["published", "generation"])
AGGREGATED = [name for name in MARTS if name not in PER_USER_MARTS]


def published_asset(settings: Settings) -> dg.AssetsDefinition:
    """Writes the aggregated marts as one generation; tables with a row per user stay in the warehouse."""

    @dg.asset(
        key=PUBLISHED_KEY,
        deps=[
            dg.AssetDep(dg.AssetKey([MARTS[name], name]), partition_mapping=_mapping(name))
            for name in AGGREGATED
        ],
        group_name="published",
        freshness_policy=freshness_policy(settings),
        owners=OWNERS,
        kinds={"parquet"},
        pool=WAREHOUSE_POOL,
        description="Every aggregated mart as Parquet with a manifest, swapped as a whole.",
    )
    def generation(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with open_reader(settings) as reader:
            as_of = reader.query("select as_of from activity.horizon").column(0)[0].as_py()
            marts = ((name, reader.mart(name)) for name in AGGREGATED)
            manifest = publish(settings.published_dir, marts, context.run.run_id, str(as_of))
        return dg.MaterializeResult(
            metadata={
                "generation": manifest.generation,
                "as_of": manifest.as_of,
                "tables": len(manifest.tables),
                "dagster/row_count": sum(int(t["rows"]) for t in manifest.tables.values()),
                "path": dg.MetadataValue.path(settings.published_dir / f"gen-{manifest.generation}"),
            }
        )

    return generation


def _mapping(mart: str) -> dg.PartitionMapping | None:
    return dg.AllPartitionMapping() if MARTS[mart] == "cohorts" else None
