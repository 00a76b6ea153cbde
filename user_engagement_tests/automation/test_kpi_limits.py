"""Limits of KPIs: told once when one is passed, and once when it is back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from user_engagement.automation.delivery import DeliveryError
from user_engagement.automation.kpi_limits import kpi_limits_sensor
from user_engagement.errors import SettingsError
from user_engagement.publishing.generations import publish
from user_engagement.settings import load_settings
from user_engagement_tests.support.receiver import SECRET, Answer, Receiver, running_receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        yield receiver


def plain(titles: list[str]) -> list[str]:
    """Without the space that keeps a number and its unit on one line."""
    return [title.replace("\xa0", " ") for title in titles]


class Watched:
    """A home whose published churn rate is to stay below 5 %, and the sensor's cursor."""

    def __init__(self, home: Path, receiver: Receiver, limits: str) -> None:
        self.settings = load_settings(
            home=home,
            kpi_limits=limits,
            alert_webhook_url=receiver.url,
            alert_webhook_secret=SECRET,
        )
        self.cursor: str | None = None

    def publish(self, value: float | None) -> None:
        row = {"kpi": "churn_rate", "label": "Churn", "unit": "rate", "definition": "Gone.", "value": value}
        schema = pa.schema([(name, pa.float64() if name == "value" else pa.string()) for name in row])
        table = pa.Table.from_pylist([row], schema)
        publish(self.settings.published_dir, [("kpi_summary", table.to_reader())], "run", "2025-05-20")

    def tick(self) -> str:
        with (
            dg.DagsterInstance.ephemeral() as instance,
            dg.build_sensor_context(instance, self.cursor) as context,
        ):
            found = kpi_limits_sensor(self.settings).evaluate_tick(context)
        self.cursor = found.cursor
        return found.skip_message or ""


@pytest.fixture
def watched(tmp_path: Path, receiver: Receiver) -> Watched:
    return Watched(tmp_path, receiver, "churn_rate < 0.05")


def test_a_limit_is_told_once_when_it_is_passed_and_once_when_the_kpi_is_back(
    watched: Watched, receiver: Receiver
) -> None:
    assert "nothing has been published yet" in watched.tick()
    for value, told in (
        (0.049, []),
        (0.05, ["Churn is 5.0 %"]),
        (0.07, []),
        (None, []),
        (0.06, []),
        (0.04, ["Churn is 4.0 % again"]),
    ):
        watched.publish(value)
        watched.tick()
        assert plain(receiver.titles()) == told, value


def test_what_did_not_arrive_is_told_by_the_next_tick(watched: Watched, receiver: Receiver) -> None:
    watched.publish(0.2)
    receiver.answers = [Answer(403)]
    with pytest.raises((DeliveryError, dg.DagsterError)):
        watched.tick()
    receiver.titles()
    watched.tick()
    assert plain(receiver.titles()) == ["Churn is 20.0 %"]


def test_a_kpi_that_there_is_not_is_told_with_those_that_there_are(
    tmp_path: Path, receiver: Receiver
) -> None:
    watched = Watched(tmp_path, receiver, "chrun_rate < 0.05")
    watched.publish(0.2)
    with pytest.raises((SettingsError, dg.DagsterError)) as refused:
        watched.tick()
    assert "the KPIs are churn_rate" in str(refused.value.__cause__ or refused.value)


@pytest.mark.parametrize("text", ["churn_rate", "churn_rate = 1", "churn_rate < five"])
def test_a_limit_that_cannot_be_read_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(SettingsError, match=r"write it as churn_rate_declared < 0\.05"):
        load_settings(kpi_limits=text)
