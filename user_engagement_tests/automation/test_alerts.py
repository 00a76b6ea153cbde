"""Which events lead to an alert, how often, and what becomes of alerts that cannot be delivered."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from pydantic import SecretStr
from sqlalchemy import Engine, event

from user_engagement.automation import alerts
from user_engagement.automation.alerts import (
    Watched,
    build_alert_sensors,
    run_failures_sensor,
    shortened,
    stale_or_failed_checks_sensor,
)
from user_engagement.automation.delivery import DeliveryError, WebhookDelivery
from user_engagement.settings import load_settings
from user_engagement_tests.support.receiver import SECRET, Answer, Receiver

ORDERS, REVENUE = dg.AssetKey(["marts", "orders"]), dg.AssetKey(["marts", "revenue"])
USERS_CHECK = dg.AssetCheckKey(ORDERS, "every_order_has_a_user")
MONTHS = dg.MonthlyPartitionsDefinition("2025-01-01", end_date="2025-05-01")
RANGE = {
    "dagster/asset_partition_range_start": "2025-01-01",
    "dagster/asset_partition_range_end": "2025-03-01",
}
PASSED = dg.AssetCheckResult(passed=True)
FAILED = dg.AssetCheckResult(passed=False, description="3 orders have no user")
WARNED = dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def delivery(receiver: Receiver) -> WebhookDelivery:
    return WebhookDelivery(SecretStr(receiver.url), SecretStr(SECRET), timeout_seconds=2, attempts=1)


@dataclass
class Ticks:
    """Evaluates a sensor as Dagster's daemon does, which saves the cursor of ticks that do not raise."""

    sensor: dg.SensorDefinition
    instance: dg.DagsterInstance
    definitions: dg.Definitions
    cursor: str | None = None

    def tick(self) -> SensorExecutionData:
        with dg.build_sensor_context(
            self.instance, self.cursor, repository_def=self.definitions.get_repository_def()
        ) as context:
            data = self.sensor.evaluate_tick(context)
        self.cursor = data.cursor
        return data


# -- checks and freshness ----------------------------------------------------------------------------------


class Company:
    """Two assets, the first with two checks whose results a test sets."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.users, self.totals = PASSED, PASSED

        @dg.asset(key=ORDERS, freshness_policy=dg.FreshnessPolicy.time_window(timedelta(days=1)))
        def orders() -> None: ...

        @dg.asset(key=REVENUE, deps=[ORDERS])
        def revenue() -> None: ...

        @dg.asset_check(asset=ORDERS, blocking=True)
        def every_order_has_a_user() -> dg.AssetCheckResult:
            return self.users

        @dg.asset_check(asset=ORDERS)
        def totals_add_up() -> dg.AssetCheckResult:
            return self.totals

        self.definitions = dg.Definitions(
            assets=[orders, revenue], asset_checks=[every_order_has_a_user, totals_add_up]
        )

    def job(self) -> dg.JobDefinition:
        return self.definitions.resolve_implicit_global_asset_job_def()

    def refresh(self) -> dg.ExecuteInProcessResult:
        return self.job().execute_in_process(instance=self.instance, raise_on_error=False)

    def report_freshness(self, state: FreshnessState) -> None:
        change = FreshnessStateChange(
            key=ORDERS,
            new_state=state,
            previous_state=FreshnessState.UNKNOWN,
            state_change_timestamp=time.time(),
        )
        self.instance._report_runless_asset_event(change)


@pytest.fixture
def company(instance: dg.DagsterInstance) -> Company:
    return Company(instance)


@pytest.fixture
def watch(company: Company, delivery: WebhookDelivery) -> Ticks:
    return Ticks(stale_or_failed_checks_sensor(delivery), company.instance, company.definitions)


def test_nothing_is_said_before_anything_ran_and_while_all_is_well(
    watch: Ticks, company: Company, receiver: Receiver
) -> None:
    assert watch.tick().skip_message == "Evaluated 0 checks and freshness states. Problems reported: 0."
    company.refresh()
    assert watch.tick().skip_message == "Evaluated 2 checks and freshness states. Problems reported: 0."
    assert receiver.requests == []


def test_a_failed_check_is_told_once_and_its_recovery_once(
    watch: Ticks, company: Company, receiver: Receiver
) -> None:
    company.users = FAILED
    failed = company.refresh()
    watch.tick()
    [alert] = receiver.alerts
    assert (alert["kind"], alert["severity"]) == ("check_failed", "error")
    assert alert["title"] == "Check every_order_has_a_user of marts/orders failed"
    assert alert["text"].startswith("3 orders have no user. Nothing that depends on the asset is rebuilt")
    assert (alert["asset_keys"], alert["check_name"]) == (["marts/orders"], "every_order_has_a_user")
    assert alert["run_id"] == failed.run_id
    receiver.requests.clear()

    company.refresh()
    assert "reported: 1." in str(watch.tick().skip_message)
    assert receiver.requests == []

    company.users = PASSED
    company.refresh()
    watch.tick()
    [alert] = receiver.alerts
    assert (alert["kind"], alert["severity"]) == ("check_recovered", "info")
    assert alert["title"] == "Check every_order_has_a_user of marts/orders passes again"
    assert watch.cursor == "{}"
    receiver.requests.clear()

    watch.tick()
    assert receiver.requests == []


def test_a_warning_is_told_as_one_and_told_again_when_it_becomes_an_error(
    watch: Ticks, company: Company, receiver: Receiver
) -> None:
    for company.totals in (WARNED, FAILED, WARNED):
        company.refresh()
        watch.tick()
    assert [alert["severity"] for alert in receiver.alerts] == ["warning", "error", "warning"]
    assert {alert["title"] for alert in receiver.alerts} == {"Check totals_add_up of marts/orders failed"}
    assert all("Nothing waits for it." in alert["text"] for alert in receiver.alerts)
    assert len({alert["alert_id"] for alert in receiver.alerts}) == 3


def test_a_queued_run_does_not_hide_how_checks_ended_before(
    watch: Ticks, company: Company, receiver: Receiver
) -> None:
    """Dagster enters the checks of a run when it is queued; the newest entry then says nothing yet."""
    company.users = FAILED
    company.refresh()
    company.instance.create_run_for_job(company.job())
    [queued] = company.instance.event_log_storage.get_asset_check_execution_history(USERS_CHECK, limit=1)
    assert queued.status == AssetCheckExecutionRecordStatus.PLANNED
    watch.tick()
    assert receiver.titles() == ["Check every_order_has_a_user of marts/orders failed"]
    watch.tick()
    assert receiver.titles() == []


def test_an_alert_that_was_not_delivered_is_tried_at_the_next_tick(
    watch: Ticks, company: Company, receiver: Receiver
) -> None:
    company.users = FAILED
    company.refresh()
    for answer in (Answer(500), Answer(400), Answer(None)):
        receiver.answers = [answer]
        with pytest.raises(DeliveryError, match="every_order_has_a_user"):
            watch.tick()
        assert watch.cursor is None
    watch.tick()
    assert len(receiver.requests) == 4
    assert len({alert["alert_id"] for alert in receiver.alerts}) == 1
    watch.tick()
    assert len(receiver.requests) == 4


def test_a_recovery_that_was_not_delivered_is_tried_again_too(
    watch: Ticks, company: Company, receiver: Receiver
) -> None:
    company.users = FAILED
    company.refresh()
    watch.tick()
    company.users = PASSED
    company.refresh()
    receiver.answers = [Answer(500)]
    with pytest.raises(DeliveryError):
        watch.tick()
    receiver.requests.clear()
    watch.tick()
    assert receiver.titles() == ["Check every_order_has_a_user of marts/orders passes again"]


def test_an_alert_that_fails_keeps_no_other_from_being_delivered_and_remembered(
    watch: Ticks, company: Company, receiver: Receiver
) -> None:
    company.users, company.totals = FAILED, FAILED
    company.refresh()
    receiver.answers = [Answer(400), Answer(204)]
    message = watch.tick().skip_message
    refused, delivered = receiver.titles()
    assert message
    assert "reported: 1. Could not deliver" in message
    assert refused in message
    assert delivered not in message
    watch.tick()
    assert receiver.titles() == [refused]
    watch.tick()
    assert receiver.titles() == []


def test_slow_deliveries_leave_the_rest_to_the_next_tick(
    watch: Ticks, company: Company, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "START_DELIVERIES_SECONDS", 0.2)
    company.users, company.totals = FAILED, FAILED
    company.refresh()
    receiver.answers = [Answer(after_seconds=0.3)]
    assert "Alerts left for the next tick: 1." in str(watch.tick().skip_message)
    watch.tick()
    assert len(set(receiver.titles())) == 2


def test_a_stale_asset_is_told_at_each_change_of_its_freshness(
    watch: Ticks, company: Company, receiver: Receiver
) -> None:
    states = [
        FreshnessState.PASS,
        FreshnessState.WARN,
        FreshnessState.WARN,
        FreshnessState.FAIL,
        FreshnessState.PASS,
    ]
    for state in states:
        company.report_freshness(state)
        watch.tick()
    assert [(alert["title"], alert["severity"], alert["kind"]) for alert in receiver.alerts] == [
        ("marts/orders is almost stale", "warning", "asset_stale"),
        ("marts/orders is stale", "error", "asset_stale"),
        ("marts/orders is fresh again", "info", "asset_fresh"),
    ]


@pytest.mark.parametrize("state", [FreshnessState.UNKNOWN, FreshnessState.NOT_APPLICABLE])
def test_an_asset_whose_freshness_is_no_longer_known_is_forgotten_without_a_word(
    watch: Ticks, company: Company, receiver: Receiver, state: FreshnessState
) -> None:
    company.report_freshness(FreshnessState.FAIL)
    watch.tick()
    company.report_freshness(state)
    watch.tick()
    assert receiver.titles() == ["marts/orders is stale"]
    assert watch.cursor == "{}"


def test_what_is_gone_from_the_code_location_is_forgotten_without_a_word(
    watch: Ticks, company: Company, receiver: Receiver
) -> None:
    company.users = FAILED
    company.refresh()
    watch.tick()
    watch.definitions = dg.Definitions(assets=company.definitions.assets)
    watch.tick()
    assert len(receiver.requests) == 1
    assert watch.cursor == "{}"


def test_the_cursor_holds_nothing_but_what_is_not_well(watch: Ticks, company: Company) -> None:
    company.users, company.totals = FAILED, WARNED
    company.refresh()
    company.report_freshness(FreshnessState.FAIL)
    watch.tick()
    assert json.loads(watch.cursor or "") == {
        "check marts/orders:every_order_has_a_user": "error",
        "check marts/orders:totals_add_up": "warning",
        "freshness marts/orders": "error",
    }


@contextmanager
def counted_queries() -> Iterator[list[str]]:
    queries: list[str] = []

    def count(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        queries.append(statement)

    event.listen(Engine, "before_cursor_execute", count)
    try:
        yield queries
    finally:
        event.remove(Engine, "before_cursor_execute", count)


@pytest.mark.slow
def test_many_checks_take_no_more_queries_than_few(
    instance: dg.DagsterInstance, delivery: WebhookDelivery
) -> None:
    names = [f"check_{number}" for number in range(150)]

    @dg.asset(
        check_specs=[dg.AssetCheckSpec(name, asset="orders") for name in names],
        freshness_policy=dg.FreshnessPolicy.time_window(timedelta(days=1)),
    )
    def orders() -> Iterator[Any]:
        yield dg.MaterializeResult(
            check_results=[dg.AssetCheckResult(check_name=n, passed=True) for n in names]
        )

    dg.materialize([orders], instance=instance)
    watch = Ticks(stale_or_failed_checks_sensor(delivery), instance, dg.Definitions(assets=[orders]))
    with counted_queries() as queries:
        assert "Evaluated 150 checks" in str(watch.tick().skip_message)
    reads = [query for query in queries if query.lstrip().lower().startswith("select")]
    assert len(reads) == 2, reads


# -- failed runs -------------------------------------------------------------------------------------------


@dg.asset(partitions_def=MONTHS)
def sessions() -> None:
    try:
        raise FileNotFoundError("2025-02.parquet")
    except FileNotFoundError as error:
        raise RuntimeError("cannot load") from error


@dg.asset
def people() -> None:
    raise dg.Failure("the source has no table people:\n  create it") from KeyError("people")


JOBS = dg.Definitions(
    assets=[sessions, people],
    jobs=[dg.define_asset_job("load", [sessions]), dg.define_asset_job("count", [people])],
)


@pytest.fixture
def failures(instance: dg.DagsterInstance, delivery: WebhookDelivery) -> Ticks:
    """Its first tick is over, which only notes where the event log ends."""
    ticks = Ticks(run_failures_sensor(delivery), instance, JOBS)
    ticks.tick()
    return ticks


def run(instance: dg.DagsterInstance, job: str, **tags: str) -> dg.ExecuteInProcessResult:
    return JOBS.resolve_job_def(job).execute_in_process(instance=instance, tags=tags, raise_on_error=False)


def told(data: SensorExecutionData) -> Sequence[str]:
    return [
        str(reaction.error) if reaction.error else "told" for reaction in data.dagster_run_reactions or []
    ]


def test_a_failed_run_is_told_with_its_job_step_months_and_innermost_error(
    failures: Ticks, instance: dg.DagsterInstance, receiver: Receiver
) -> None:
    failed = run(instance, "load", **RANGE)
    assert told(failures.tick()) == ["told"]
    [alert] = receiver.alerts
    assert (alert["kind"], alert["severity"]) == ("run_failed", "error")
    assert alert["title"] == "Job load failed for 2025-01-01 to 2025-03-01"
    assert alert["text"].startswith("Step sessions: FileNotFoundError: 2025-02.parquet. The last publication")
    assert "re-execute" in alert["text"]
    assert (alert["job_name"], alert["run_id"]) == ("load", failed.run_id)
    record = instance.get_run_record_by_id(failed.run_id)
    assert record
    assert record.end_time == pytest.approx(
        datetime.fromisoformat(alert["occurred_at"]).timestamp(), abs=0.001
    )


def test_a_run_of_one_month_names_it_and_a_run_of_all_names_none(
    failures: Ticks, instance: dg.DagsterInstance, receiver: Receiver
) -> None:
    run(instance, "load", **{"dagster/partition": "2025-02-01"})
    run(instance, "count")
    failures.tick()
    failures.tick()
    assert receiver.alerts[1]["text"].startswith(
        "Step people: Failure: the source has no table people: create it. "
    )
    assert receiver.titles() == ["Job load failed for 2025-02-01", "Job count failed"]


def test_each_failed_run_is_told_once_in_their_order_one_a_tick(
    failures: Ticks, instance: dg.DagsterInstance, receiver: Receiver
) -> None:
    runs = [run(instance, "count").run_id for _ in range(3)]
    for _ in range(5):
        failures.tick()
    assert [alert["run_id"] for alert in receiver.alerts] == runs


def test_a_run_that_succeeds_is_not_told(
    company: Company, delivery: WebhookDelivery, receiver: Receiver
) -> None:
    failures = Ticks(run_failures_sensor(delivery), company.instance, company.definitions)
    failures.tick()
    company.refresh()
    failures.tick()
    assert receiver.requests == []


def test_a_blocking_check_that_fails_names_the_check(
    company: Company, delivery: WebhookDelivery, receiver: Receiver
) -> None:
    failures = Ticks(run_failures_sensor(delivery), company.instance, company.definitions)
    failures.tick()
    company.users = FAILED
    company.refresh()
    failures.tick()
    [alert] = receiver.alerts
    assert alert["title"] == "Run of selected assets failed"
    assert "every_order_has_a_user" in alert["text"]


def test_a_run_that_died_outside_its_steps_is_told_with_what_is_known(
    failures: Ticks, instance: dg.DagsterInstance, receiver: Receiver
) -> None:
    lost = instance.create_run_for_job(JOBS.resolve_job_def("count"))
    instance.report_run_failed(lost, "The run worker was killed")
    failures.tick()
    [alert] = receiver.alerts
    assert alert["text"].startswith("The run worker was killed. ")


def test_a_run_that_dagster_starts_again_is_a_warning(
    failures: Ticks, instance: dg.DagsterInstance, receiver: Receiver
) -> None:
    run(instance, "count", **{"dagster/will_retry": "true"})
    failures.tick()
    [alert] = receiver.alerts
    assert alert["severity"] == "warning"
    assert "Dagster retries it automatically." in alert["text"]


def test_a_run_that_could_not_be_told_is_told_at_a_later_tick(
    failures: Ticks, instance: dg.DagsterInstance, receiver: Receiver
) -> None:
    """Dagster itself takes a run for handled when the sensor fails on it."""
    runs = [run(instance, "count").run_id for _ in range(2)]
    receiver.answers = [Answer(204), Answer(500), Answer(None), Answer(204)]
    failures.tick()
    for _ in range(2):
        with pytest.raises(dg.DagsterError, match="Could not deliver 'Job count failed'"):
            failures.tick()
    failures.tick()
    assert [alert["run_id"] for alert in receiver.alerts] == [runs[0], runs[1], runs[1], runs[1]]
    assert len({alert["alert_id"] for alert in receiver.alerts}) == 2


def test_a_refused_alert_fails_the_tick_but_holds_no_other_back(
    failures: Ticks, instance: dg.DagsterInstance, receiver: Receiver
) -> None:
    runs = [run(instance, "count").run_id for _ in range(2)]
    receiver.answers = [Answer(400)]
    refused, delivered = told(failures.tick())
    assert "refused with HTTP status 400" in refused
    assert delivered == "told"
    failures.tick()
    assert [alert["run_id"] for alert in receiver.alerts] == runs


def test_an_alert_is_held_back_for_no_longer_than_a_day(
    failures: Ticks, instance: dg.DagsterInstance, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "LONGEST_RETRY", timedelta(0))
    run(instance, "count")
    receiver.answers = [Answer(500)]
    [problem] = told(failures.tick())
    assert "HTTP status 500" in problem
    failures.tick()
    assert len(receiver.requests) == 1


def test_a_long_error_keeps_its_beginning_and_its_end_on_one_line() -> None:
    text = "The dbt CLI process failed\n" + "--vars x " * 500 + "\nDatabase Error: table is gone"
    short = shortened(text)
    assert len(short) < 620
    assert "\n" not in short
    assert short.startswith("The dbt CLI process failed --vars")
    assert short.endswith("Database Error: table is gone.")


# -- both --------------------------------------------------------------------------------------------------


def test_the_sensors_run_unless_switched_off_and_alert_to_the_log(
    company: Company, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = frozenset(company.definitions.resolve_asset_graph().get_all_asset_keys())
    sensors = build_alert_sensors(load_settings(), keys)
    assert [sensor.name for sensor in sensors] == [
        "run_failures",
        "stale_or_failed_checks",
        "digest_of_changes",
    ]
    assert {sensor.default_status for sensor in sensors} == {dg.DefaultSensorStatus.RUNNING}
    ticks = [Ticks(sensor, company.instance, company.definitions) for sensor in sensors]
    for each in ticks:
        each.tick()
    company.users = FAILED
    company.refresh()
    for each in ticks:
        each.tick()
    printed = capsys.readouterr().err
    assert "ERROR - Run of selected assets failed. " in printed
    assert "ERROR - Check every_order_has_a_user of marts/orders failed. " in printed


@pytest.mark.parametrize(
    ("job", "assets", "is_watched"),
    [
        ("engagement__everything", None, True),
        ("everything", None, False),
        ("__ASSET_JOB", None, True),
        ("__ASSET_JOB", {dg.AssetKey(["marts", "survival"])}, True),
        ("__ASSET_JOB", {dg.AssetKey(["shop", "orders"])}, False),
    ],
)
def test_in_a_shared_dagster_only_runs_of_the_pipeline_are_told(
    job: str, assets: set[dg.AssetKey] | None, is_watched: bool
) -> None:
    watched = Watched(frozenset([dg.AssetKey(["marts", "survival"])]), frozenset(["engagement__everything"]))
    assert watched.includes_run(dg.DagsterRun(job, asset_selection=assets)) is is_watched
