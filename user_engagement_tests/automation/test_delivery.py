"""Alerts on their way out: what a receiver gets, what is tried again, and that nothing secret shows."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.client import HTTPConnection
from itertools import pairwise
from traceback import format_exception
from typing import Any

import pytest
from pydantic import SecretStr

from user_engagement.automation.delivery import (
    Alert,
    AlertRefusedError,
    AppriseDelivery,
    Deliveries,
    DeliveryError,
    LogDelivery,
    WebhookDelivery,
    delivery_of,
)
from user_engagement.errors import SettingsError
from user_engagement.settings import load_settings
from user_engagement_tests.support.receiver import SECRET, Answer, Receiver, running_receiver

LOG = logging.getLogger("tick")
ALERT = Alert(
    kind="run_failed",
    severity="error",
    title="Job refresh_activity failed for 2025-01-01 to 2025-03-01",
    text="Step activity: Failure: no such file. Mend the cause.",
    occurred_at=datetime(2025, 4, 1, 6, 30, tzinfo=UTC),
    asset_keys=("raw/user_signups",),
    job_name="refresh_activity",
    run_id="0f6c",
)
SECRETS = (SECRET, "path-token", "query-token", "open-sesame", "sha256=")


def webhook(url: str, **changes: Any) -> WebhookDelivery:
    given = {"timeout_seconds": 2.0, "pause_seconds": 0.01, **changes}
    return WebhookDelivery(SecretStr(url), SecretStr(SECRET), **given)


@pytest.fixture(autouse=True)
def _no_secrets_in_the_log(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.DEBUG)
    yield
    assert not [secret for secret in SECRETS if secret in caplog.text]


def test_a_receiver_gets_the_whole_alert_signed(receiver: Receiver) -> None:
    webhook(receiver.url).deliver(ALERT, LOG)
    [(headers, _)] = receiver.requests
    assert headers["path"] == "/hooks/path-token?key=query-token"
    assert headers["Content-Type"] == "application/json"
    assert receiver.alerts == [
        {
            "alert_id": ALERT.alert_id,
            "kind": "run_failed",
            "severity": "error",
            "title": ALERT.title,
            "text": ALERT.text,
            "occurred_at": "2025-04-01T06:30:00+00:00",
            "asset_keys": ["raw/user_signups"],
            "check_name": None,
            "job_name": "refresh_activity",
            "run_id": "0f6c",
        }
    ]


def test_a_wrong_secret_is_refused_and_not_tried_again(receiver: Receiver) -> None:
    delivery = WebhookDelivery(SecretStr(receiver.url), SecretStr("another"))
    with pytest.raises(AlertRefusedError, match=r"401.*USER_ENGAGEMENT_ALERT_WEBHOOK_SECRET"):
        delivery.deliver(ALERT, LOG)
    assert len(receiver.requests) == 1


def test_a_changed_body_no_longer_fits_its_signature(receiver: Receiver) -> None:
    webhook(receiver.url).deliver(ALERT, LOG)
    [(headers, body)] = receiver.requests
    connection = HTTPConnection("127.0.0.1", receiver.port, timeout=2)
    connection.request("POST", "/", body.replace(b"failed", b"passed"), dict(headers))
    assert connection.getresponse().status == 401
    connection.close()


@pytest.mark.parametrize(
    "passing", [Answer(500), Answer(503), Answer(429), Answer(None)], ids=["500", "503", "429", "no answer"]
)
def test_what_may_pass_is_tried_again_as_the_same_alert(receiver: Receiver, passing: Answer) -> None:
    receiver.answers = [passing, passing]
    webhook(receiver.url).deliver(ALERT, LOG)
    assert [alert["alert_id"] for alert in receiver.alerts] == [ALERT.alert_id] * 3


def test_a_receiver_that_hangs_is_left_at_the_timeout(receiver: Receiver) -> None:
    receiver.answers = [Answer(after_seconds=30), Answer()]
    started = time.monotonic()
    webhook(receiver.url, timeout_seconds=0.2).deliver(ALERT, LOG)
    assert time.monotonic() - started < 2
    assert len(receiver.requests) == 2


def test_pauses_double_from_attempt_to_attempt(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    receiver.answers = [Answer(500)] * 3
    arrived: list[float] = []
    took = receiver.take
    receiver.take = lambda *request: (arrived.append(time.monotonic()), took(*request))[1]
    webhook(receiver.url, attempts=4, pause_seconds=0.1).deliver(ALERT, LOG)
    pauses = [later - earlier for earlier, later in pairwise(arrived)]
    assert all(pause >= asked for pause, asked in zip(pauses, [0.1, 0.2, 0.4], strict=True)), pauses
    assert caplog.text.count("HTTP status 500; trying again") == 3


@pytest.mark.parametrize("status", [301, 400, 403, 404, 422])
def test_an_answer_that_will_not_change_is_not_asked_for_again(receiver: Receiver, status: int) -> None:
    receiver.answers = [Answer(status, {"Location": "/elsewhere"})]
    with pytest.raises(AlertRefusedError, match=f"refused with HTTP status {status}"):
        webhook(receiver.url).deliver(ALERT, LOG)
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_the_wait_that_a_receiver_asks_for_is_kept(receiver: Receiver, status: int) -> None:
    receiver.answers = [Answer(status, {"Retry-After": "1"})]
    started = time.monotonic()
    webhook(receiver.url).deliver(ALERT, LOG)
    assert 1 <= time.monotonic() - started < 2


@pytest.mark.parametrize(
    "asked",
    [lambda: "86400", lambda: format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True)],
    ids=["seconds", "date"],
)
def test_a_wait_that_is_too_long_is_cut(
    receiver: Receiver, asked: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("user_engagement.automation.delivery.MOST_WAIT_SECONDS", 0.3)
    receiver.answers = [Answer(429, {"Retry-After": asked()})]
    started = time.monotonic()
    webhook(receiver.url).deliver(ALERT, LOG)
    assert 0.3 <= time.monotonic() - started < 1


@pytest.mark.parametrize(
    "asked", ["soon", "-5", "Wed, 01 Jan 2020 00:00:00 GMT", "Wed, 01 Jan 2020 00:00:00 -0000"]
)
def test_a_wait_that_cannot_be_kept_is_none(receiver: Receiver, asked: str) -> None:
    receiver.answers = [Answer(429, {"Retry-After": asked})]
    webhook(receiver.url).deliver(ALERT, LOG)
    assert len(receiver.requests) == 2


def test_giving_up_says_where_and_why_and_shows_nothing_secret(receiver: Receiver) -> None:
    receiver.answers = [Answer(502)] * 3
    with pytest.raises(DeliveryError) as raised:
        webhook(receiver.url.replace("//", "//bot:open-sesame@")).deliver(ALERT, LOG)
    message = str(raised.value)
    assert f"to the webhook at http://127.0.0.1:{receiver.port} in 3 attempts" in message
    assert "HTTP status 502" in message
    assert raised.value.__context__ is None
    assert not [secret for secret in SECRETS if secret in message]


def test_a_receiver_that_is_not_there_is_named_with_what_the_system_said(receiver: Receiver) -> None:
    url = receiver.url.replace(str(receiver.port), "1")
    with pytest.raises(DeliveryError, match=r"http://127\.0\.0\.1:1 in 3 attempts.*Connection refused"):
        webhook(url).deliver(ALERT, LOG)


def test_credentials_of_the_url_are_sent_as_basic_authentication(receiver: Receiver) -> None:
    webhook(receiver.url.replace("//", "//bot:open%2Dsesame@")).deliver(ALERT, LOG)
    [(headers, _)] = receiver.requests
    assert headers["Authorization"] == "Basic Ym90Om9wZW4tc2VzYW1l"
    assert headers["Host"] == f"127.0.0.1:{receiver.port}"


def test_an_alert_id_stands_for_one_event() -> None:
    changes = {"severity": "warning", "title": "x", "run_id": "0f6d", "occurred_at": datetime.now(UTC)}
    others = [Alert(**{**vars(ALERT), name: value}) for name, value in changes.items()]
    assert Alert(**vars(ALERT)).alert_id == ALERT.alert_id
    assert len({ALERT.alert_id, *(other.alert_id for other in others)}) == 5


def test_without_a_webhook_alerts_are_logged_by_their_severity(caplog: pytest.LogCaptureFixture) -> None:
    delivery = delivery_of(load_settings())
    assert isinstance(delivery, LogDelivery)
    delivery.deliver(ALERT, LOG)
    delivery.deliver(Alert(**{**vars(ALERT), "severity": "info"}), LOG)
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    assert caplog.messages[0] == f"{ALERT.title}. {ALERT.text}"


def test_the_settings_lead_to_a_webhook_whose_secrets_do_not_print(receiver: Receiver) -> None:
    settings = load_settings(alert_webhook_url=receiver.url, alert_webhook_secret=SECRET)
    delivery = delivery_of(settings)
    delivery.deliver(ALERT, LOG)
    assert len(receiver.requests) == 1
    shown = f"{settings!r} {settings} {delivery!r} {settings.model_dump_json()}"
    assert not [secret for secret in SECRETS if secret in shown]


def test_a_webhook_without_a_secret_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER_ENGAGEMENT_ALERT_WEBHOOK_URL", "https://alerts.example.com/path-token")
    with pytest.raises(
        SettingsError, match=r"^USER_ENGAGEMENT_ALERT_WEBHOOK_SECRET is not set.*openssl"
    ) as raised:
        load_settings()
    assert "path-token" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://bot:open-sesame@alerts.example.com/path-token",
        "alerts.example.com/path-token",
        "https:///path-token",
        "https://alerts.example.com:port/path-token",
        "https://[alerts.example.com/path-token",
        "https://alerts.example.com/path-token with spaces",
        "https://alerts.example.com/päth/path-token",
    ],
)
def test_a_bad_webhook_url_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("USER_ENGAGEMENT_ALERT_WEBHOOK_URL", url)
    monkeypatch.setenv("USER_ENGAGEMENT_ALERT_WEBHOOK_SECRET", SECRET)
    with pytest.raises(
        SettingsError, match=r"^USER_ENGAGEMENT_ALERT_WEBHOOK_URL .*https://alerts\.example\.com/hook"
    ) as raised:
        load_settings()
    printed = "".join(format_exception(raised.value))
    assert not [secret for secret in SECRETS if secret in printed]


# -- chats and mailboxes -----------------------------------------------------------------------------------


def chat(*receivers: Receiver) -> AppriseDelivery:
    addresses = []
    for receiver in receivers:
        receiver.verifies = False
        addresses.append(f"json://ann:open-sesame@127.0.0.1:{receiver.port}/path-token")
    return AppriseDelivery(SecretStr(" ".join(addresses)), pause_seconds=0.01)


@pytest.mark.slow
def test_a_chat_gets_title_text_and_severity(receiver: Receiver) -> None:
    chat(receiver).deliver(ALERT, LOG)
    [posted] = receiver.alerts
    assert (posted["title"], posted["message"], posted["type"]) == (ALERT.title, ALERT.text, "failure")


def test_a_chat_that_has_the_alert_does_not_get_it_again_while_another_is_tried(receiver: Receiver) -> None:
    with running_receiver() as other:
        other.answers = [Answer(503), Answer(503)]
        chat(receiver, other).deliver(ALERT, LOG)
        assert len(receiver.requests) == 1
        assert len(other.requests) == 3


def test_a_chat_that_never_answers_is_told_without_its_address(receiver: Receiver) -> None:
    receiver.answers = [Answer(500)] * 3
    with pytest.raises(DeliveryError, match="by json in 3 attempts") as refused:
        chat(receiver).deliver(ALERT, LOG)
    assert not [secret for secret in SECRETS if secret in str(refused.value)]
    assert len(receiver.requests) == 3


def test_an_address_that_apprise_cannot_read_is_told_without_it() -> None:
    with pytest.raises(DeliveryError) as refused:
        AppriseDelivery(SecretStr("slck://path-token/open-sesame"), pause_seconds=0.01).deliver(ALERT, LOG)
    assert "open-sesame" not in str(refused.value)


def test_an_alert_goes_every_way_even_if_the_first_fails(receiver: Receiver) -> None:
    with running_receiver() as other:
        receiver.answers = [Answer(500)] * 3
        with pytest.raises(DeliveryError, match="in 3 attempts"):
            Deliveries((webhook(receiver.url), chat(other))).deliver(ALERT, LOG)
        assert len(other.requests) == 1
