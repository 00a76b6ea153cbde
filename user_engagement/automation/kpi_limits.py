"""A sensor that alerts people when a published KPI passes a limit that they have set, and when it is back."""

from __future__ import annotations

import json
import operator
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import dagster as dg
import pyarrow.parquet as pq

from user_engagement import formatting as fmt
from user_engagement.automation.alerts import deliver_changes
from user_engagement.automation.delivery import Alert, DeliveryError, delivery_of
from user_engagement.errors import SettingsError, UserError
from user_engagement.publishing.generations import Manifest, read_manifest, resolve
from user_engagement.settings import KPI_LIMIT, PREFIX, Settings

KEEPS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


class Limit(NamedTuple):
    """What a KPI is to be, such as ``churn_rate_declared < 0.05``, in the KPI's own unit."""

    kpi: str
    comparison: str
    number: float

    @classmethod
    def of(cls, text: str) -> Limit:
        found = KPI_LIMIT.fullmatch(text)
        assert found, "the settings have checked it"
        return cls(found[1], found[2], float(found[3]))

    def holds(self, value: float) -> bool:
        return bool(KEEPS[self.comparison](value, self.number))


def kpi_limits_sensor(settings: Settings) -> dg.SensorDefinition:
    """Sends an alert when a KPI passes its limit, and one when it is back; a KPI without a value says nothing."""
    delivery = delivery_of(settings)
    limits = [Limit.of(text) for text in settings.kpi_limits]

    @dg.sensor(
        name=settings.dagster_name("kpi_limits"),
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Reports each published KPI that passes its limit once, and reports when it is back.",
    )
    def kpi_limits(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        try:
            generation = resolve(settings.published_dir)
            manifest = read_manifest(generation)
        except UserError as error:
            return dg.SkipReason(str(error))
        rows = {row["kpi"]: row for row in pq.read_table(generation / "kpi_summary.parquet").to_pylist()}
        alerts = alerts_of(limits, rows, manifest)
        before = json.loads(context.cursor) if context.cursor else {}
        # a limit without an answer keeps what was said about it
        open_ends = {name: said for name, said in before.items() if name not in alerts}
        reported, problems = deliver_changes(alerts, before, delivery, context.log)
        if problems and {**open_ends, **reported} == before:
            raise DeliveryError(" ".join(problems))
        context.update_cursor(json.dumps({**open_ends, **reported}, sort_keys=True))
        told = (
            f"Compared {len(limits)} limits with generation {manifest.generation}. Passed: {len(reported)}."
        )
        return dg.SkipReason(" ".join([told, *problems]))

    return kpi_limits


def alerts_of(
    limits: Sequence[Limit], rows: dict[str, dict[str, Any]], manifest: Manifest
) -> dict[str, Alert]:
    """The state of each limit whose KPI has a value; severity "info" means that it holds.

    Raises:
        SettingsError: there is no KPI of a limit's name.
    """
    found: dict[str, Alert] = {}
    for limit in limits:
        if limit.kpi not in rows:
            known = ", ".join(sorted(rows))
            raise SettingsError(f"{PREFIX}KPI_LIMITS: there is no KPI {limit.kpi}; the KPIs are {known}.")
        row = rows[limit.kpi]
        if row["value"] is None:
            continue
        holds = limit.holds(row["value"])
        value, bound = fmt.value(row["value"], row["unit"]), fmt.value(limit.number, row["unit"])
        found[" ".join(map(str, limit))] = Alert(
            kind="kpi_within_limit" if holds else "kpi_beyond_limit",
            severity="info" if holds else "warning",
            title=f"{row['label']} is {value}" + (" again" if holds else ""),
            text=f"It is to be {limit.comparison} {bound}. {row['definition']}",
            occurred_at=datetime.fromisoformat(manifest.published_at).astimezone(UTC),
            run_id=manifest.run_id,
        )
    return found
