"""The check of the marts' columns and types, which dbt's tests do not cover."""

from collections.abc import Iterator

import dagster as dg

from user_engagement.assets.common import asset_key
from user_engagement.contracts.marts import MARTS
from user_engagement.settings import Settings
from user_engagement.warehouse import open_warehouse


def mart_contract_checks(settings: Settings) -> list[dg.AssetChecksDefinition]:
    """Checks columns and types of every mart; nothing is published while a mart breaks the contract.

    Each folder has a step of its own: one step for all would have to wait for a mart that waits for it, if the mart
    is made from a table of another folder.
    """
    return [_checks_of(folder, settings) for folder in sorted({mart.folder for mart in MARTS.values()})]


def _checks_of(folder: str, settings: Settings) -> dg.AssetChecksDefinition:
    marts = {name: mart for name, mart in MARTS.items() if mart.folder == folder}

    @dg.multi_asset_check(
        name=f"contract_of_{folder}",
        specs=[
            dg.AssetCheckSpec(
                "mart_contract",
                asset=asset_key(settings, folder, name),
                blocking=True,
                description="The mart has the columns of the KPI contract, with their types.",
            )
            for name in marts
        ],
        can_subset=True,
    )
    def mart_contract(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        with open_warehouse(settings).reader() as reader:
            tables = reader.tables((mart.schema, name) for name, mart in marts.items())
        for key in context.selected_asset_check_keys:
            name = key.asset_key.path[-1]
            _, columns = tables.get((marts[name].schema, name), (None, {}))
            problems = marts[name].breaches(columns)
            yield dg.AssetCheckResult(
                passed=not problems,
                asset_key=key.asset_key,
                check_name=key.name,
                description=f"{name}: {'; '.join(problems)}." if problems else None,
                metadata={"columns": len(columns)},
            )

    return mart_contract
