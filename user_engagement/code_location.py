"""Builds the code location for given settings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import cast

import dagster as dg

from user_engagement.assets.dbt import build_dbt_assets, dbt_resource
from user_engagement.assets.insights import insight_assets
from user_engagement.assets.published import published_asset
from user_engagement.assets.raw import raw_assets, rejected_rows_spec, source_specs
from user_engagement.automation.alerts import build_alert_sensors
from user_engagement.automation.checks import mart_contract_checks
from user_engagement.automation.jobs import build_jobs
from user_engagement.automation.kpi_limits import kpi_limits_sensor
from user_engagement.automation.sensors import build_schedules, build_sensors
from user_engagement.automation.standing_checks import build_check_sensor, build_standing_checks
from user_engagement.contracts.raw import USER_SIGNUPS
from user_engagement.errors import SourceError, WarehouseBusyError, WarehouseError
from user_engagement.inputs.first_days import EMPTY_MONTHS, begin_after_strays
from user_engagement.partitions import first_of_month, monthly_partitions
from user_engagement.settings import Settings
from user_engagement.sources import Source, TableReport, open_source
from user_engagement.warehouse import open_source_tables, open_warehouse
from user_engagement.warehouse.io_manager import RawIOManager

LONG_HISTORY = timedelta(days=30 * EMPTY_MONTHS)
Asset = dg.AssetSpec | dg.AssetsDefinition


def first_month(source: Source, settings: Settings) -> date:
    """The first month of the calendar: the month of the first signup, a few strays long before all others apart.

    If the source cannot be read, the calendar begins with the setting ``START`` or this month. The code location must
    load in this case, too; its runs report what is wrong with the source.

    Raises:
        WarehouseBusyError: another process holds the warehouse file that has the source's tables. A calendar that
            begins with another month would load them into the wrong partitions.
    """
    try:
        report = source.inspect(USER_SIGNUPS)
        first = report and report.first_day and (_begin_after_strays(source, report) or report.first_day)
    except WarehouseBusyError:
        raise
    except (SourceError, WarehouseError):
        first = None
    return first_of_month(first or settings.start or datetime.now(settings.zone).date())


def _begin_after_strays(source: Source, report: TableReport) -> date | None:
    if (
        report.first_day is None
        or report.last_day is None
        or report.last_day - report.first_day < LONG_HISTORY
    ):
        return None
    return begin_after_strays(source.monthly_rows(USER_SIGNUPS))


def build_definitions(settings: Settings, source: Source | None = None) -> dg.Definitions:
    """All assets, checks, jobs, sensors, schedules and resources, for one set of settings.

    They can be merged with a team's own definitions: jobs, sensors and alerts concern these assets alone, and the
    setting ``dagster_prefix`` keeps the keys of assets and the names of groups, jobs, sensors and schedules apart.
    """
    source = source or open_source(settings, open_source_tables)
    partitions = monthly_partitions(first_month(source, settings), settings.as_of)
    assets = [
        *source_specs(settings),
        *raw_assets(source, settings, partitions),
        rejected_rows_spec(settings),
        *build_dbt_assets(settings, partitions),
        *insight_assets(settings, partitions),
        published_asset(settings),
    ]
    keys = keys_of(assets)
    return dg.Definitions(
        assets=[_with_group_prefix(asset, settings) for asset in _with_code_references(assets)],
        asset_checks=[
            *mart_contract_checks(settings),
            *build_standing_checks(settings, source, partitions),
        ],
        jobs=build_jobs(settings, keys),
        sensors=[
            *build_sensors(settings, source, partitions),
            build_check_sensor(settings, source, partitions),
            *build_alert_sensors(settings, keys),
            *([kpi_limits_sensor(settings)] if settings.kpi_limits else []),
        ],
        schedules=build_schedules(settings, source, partitions),
        resources={
            "user_engagement_dbt": dbt_resource(settings),
            "user_engagement_raw_io_manager": RawIOManager(warehouse=open_warehouse(settings)),
        },
    )


def keys_of(assets: Iterable[Asset]) -> frozenset[dg.AssetKey]:
    return frozenset(
        key
        for asset in assets
        for key in (asset.keys if isinstance(asset, dg.AssetsDefinition) else (asset.key,))
    )


def _with_code_references(assets: Sequence[Asset]) -> Sequence[Asset]:
    return cast("Sequence[Asset]", dg.with_source_code_references(assets))


def _with_group_prefix(asset: Asset, settings: Settings) -> Asset:
    if not settings.dagster_prefix:
        return asset

    def prefixed(spec: dg.AssetSpec) -> dg.AssetSpec:
        return spec.replace_attributes(group_name=settings.dagster_name(spec.group_name or "default"))

    return asset.map_asset_specs(prefixed) if isinstance(asset, dg.AssetsDefinition) else prefixed(asset)
