"""A team's own code location: its dbt project, and the user-engagement pipeline beside it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DbtCliResource, DbtProject, dbt_assets

from user_engagement import Settings, build_definitions

HERE = Path(__file__).parent

shop_project = DbtProject(HERE / "shop_dbt", profiles_dir=HERE / "shop_dbt")
shop_project.preparer.prepare(shop_project)


@dbt_assets(manifest=shop_project.manifest_path, project=shop_project)
def shop(context: dg.AssetExecutionContext, dbt: DbtCliResource) -> Iterator[Any]:
    yield from dbt.cli(["build"], context=context).stream()


engagement = build_definitions(
    Settings(
        home=HERE / "state",
        source="files",
        source_path=str(HERE.parent / "sample"),
        segments="product_type,country",
        dagster_prefix="engagement",
    )
)

defs = dg.Definitions.merge(
    dg.Definitions(
        assets=[shop],
        jobs=[dg.define_asset_job("everything", dg.AssetSelection.assets(shop))],
        resources={"dbt": DbtCliResource(shop_project)},
    ),
    engagement,
)
