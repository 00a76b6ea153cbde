"""The digest: the Overview in a message, posted once for each publication that says something new."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
from pydantic import SecretStr

from user_engagement.automation.delivery import DeliveryError, WebhookDelivery
from user_engagement.automation.digests import digest_sensor
from user_engagement.dashboard.contents import overview
from user_engagement.dashboard.data import Generation
from user_engagement.dashboard.digest import digest
from user_engagement.dashboard.findings import causes as read_causes
from user_engagement.dashboard.view import View
from user_engagement.settings import load_settings
from user_engagement_tests.support.company import THROUGH
from user_engagement_tests.support.explained import causes, explained
from user_engagement_tests.support.receiver import SECRET, Answer, Receiver, running_receiver
from user_engagement_tests.support.serving import publish_marts


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        yield receiver


class Sensor:
    """The sensor over a home, with the cursor that Dagster would keep."""

    def __init__(self, home: Path, receiver: Receiver) -> None:
        self.home, self.cursor = home, None
        settings = load_settings(home=home, dashboard_address="https://kpis.example.com")
        delivery = WebhookDelivery(SecretStr(receiver.url), SecretStr(SECRET), timeout_seconds=2, attempts=1)
        self._sensor = digest_sensor(settings, delivery)

    def publish(self, marts: dict[str, pa.Table], count: int) -> None:
        tables = explained(causes(THROUGH)[:count], THROUGH)
        publish_marts(self.home / "published", {**marts, **tables})

    def tick(self) -> str:
        with (
            dg.DagsterInstance.ephemeral() as instance,
            dg.build_sensor_context(instance, self.cursor) as context,
        ):
            found = self._sensor.evaluate_tick(context)
        self.cursor = found.cursor
        return found.skip_message or ""


@pytest.fixture
def sensor(tmp_path: Path, receiver: Receiver) -> Sensor:
    return Sensor(tmp_path, receiver)


def test_the_digest_tells_the_same_as_the_overview_with_links(generation: Generation) -> None:
    told = digest(generation, "https://kpis.example.com/")
    assert told.splitlines()[0] == f"**{overview.page(View(generation)).headline}**"
    for cause in read_causes(generation):
        assert cause.title in told
        assert f"Check {cause.next_step.split(': ')[1].removesuffix('?')}." in told
    links = re.findall(r"\]\((\S+)\)", told)
    assert len(links) == 5
    assert all(link.startswith("https://kpis.example.com/") for link in links)
    assert links[3].startswith("https://kpis.example.com/?page=churn&range=")


def test_before_anything_is_published_nothing_is_posted(sensor: Sensor, receiver: Receiver) -> None:
    assert "Nothing has been published yet." in sensor.tick()
    assert receiver.alerts == []


def test_a_publication_is_posted_once_and_again_when_something_has_changed(
    sensor: Sensor, receiver: Receiver, marts: dict[str, pa.Table]
) -> None:
    sensor.publish(marts, 3)
    sensor.tick()
    (posted,) = receiver.alerts
    assert posted["kind"] == "digest"
    assert posted["title"].startswith("Signups are ")
    assert "Users are less active: Phone" in posted["text"]
    assert "Standard" not in posted["text"]
    assert "(https://kpis.example.com/?page=" in posted["text"]
    sensor.publish(marts, 3)
    assert "says what was posted before" in sensor.tick()
    assert len(receiver.alerts) == 1
    sensor.publish(marts, 4)
    sensor.tick()
    assert "More users cancel: Standard" in receiver.alerts[-1]["text"]
    assert len(receiver.alerts) == 2


def test_a_digest_that_did_not_arrive_is_posted_by_the_next_tick(
    sensor: Sensor, receiver: Receiver, marts: dict[str, pa.Table]
) -> None:
    sensor.publish(marts, 1)
    receiver.answers.append(Answer(503))
    with pytest.raises((DeliveryError, dg.DagsterError)):
        sensor.tick()
    sensor.tick()
    assert len({alert["alert_id"] for alert in receiver.alerts}) == 1
    assert len(receiver.alerts) == 2


def test_a_refused_digest_is_not_posted_again(
    sensor: Sensor, receiver: Receiver, marts: dict[str, pa.Table]
) -> None:
    sensor.publish(marts, 1)
    receiver.answers.append(Answer(403))
    assert "refused" in sensor.tick()
    sensor.tick()
    assert len(receiver.alerts) == 1
