"""The check of the marts' shape, which dbt's tests do not cover."""

from collections.abc import Iterator

import dagster as dg

from user_engagement.contracts.marts import breaches
from user_engagement.settings import Settings
from user_engagement.warehouse.reader import MARTS, open_reader


def mart_contract_check(settings: Settings) -> dg.AssetChecksDefinition:
    """Columns and types of every mart; nothing is published while one breaks the contract."""

    @dg.multi_asset_check(
        name="mart_contract",
        specs=[
            dg.AssetCheckSpec(
                "mart_contract",
                asset=dg.AssetKey([schema, mart]),
                blocking=True,
                description="The mart has the columns of the KPI contract, with their types.",
            )
            for mart, schema in MARTS.items()
        ],
        can_subset=True,
    )
    def mart_contract(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        with open_reader(settings) as reader:
            tables = reader.tables((schema, mart) for mart, schema in MARTS.items())
        for key in context.selected_asset_check_keys:
            schema, mart = key.asset_key.path
            _, columns = tables.get((schema, mart), (None, {}))
            problems = breaches(mart, columns)
            yield dg.AssetCheckResult(
                passed=not problems,
                asset_key=key.asset_key,
                check_name=key.name,
                description=f"{mart}: {'; '.join(problems)}." if problems else None,
                metadata={"columns": len(columns)},
            )

    return mart_contract
