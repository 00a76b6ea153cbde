"""The check of the marts' columns and types, which dbt's tests do not cover."""

from collections.abc import Iterator

import dagster as dg

from user_engagement.contracts.marts import MARTS
from user_engagement.settings import Settings
from user_engagement.warehouse import open_warehouse


def mart_contract_check(settings: Settings) -> dg.AssetChecksDefinition:
    """Checks columns and types of every mart; nothing is published while a mart breaks the contract."""

    @dg.multi_asset_check(
        name="mart_contract",
        specs=[
            dg.AssetCheckSpec(
                "mart_contract",
                asset=dg.AssetKey([mart.schema, name]),
                blocking=True,
                description="The mart has the columns of the KPI contract, with their types.",
            )
            for name, mart in MARTS.items()
        ],
        can_subset=True,
    )
    def mart_contract(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        with open_warehouse(settings).reader() as reader:
            tables = reader.tables((mart.schema, name) for name, mart in MARTS.items())
        for key in context.selected_asset_check_keys:
            schema, name = key.asset_key.path
            _, columns = tables.get((schema, name), (None, {}))
            problems = MARTS[name].breaches(columns)
            yield dg.AssetCheckResult(
                passed=not problems,
                asset_key=key.asset_key,
                check_name=key.name,
                description=f"{name}: {'; '.join(problems)}." if problems else None,
                metadata={"columns": len(columns)},
            )

    return mart_contract
