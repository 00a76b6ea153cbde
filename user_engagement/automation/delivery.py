"""Alerts and their delivery: to the log, to a webhook, to chats and mailboxes, or as a team's package delivers them.

Only the standard library posts to the webhook. HTTP clients with retries of their own log the URL of each attempt,
and the path or query of a webhook is often its password.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import time
from base64 import b64encode
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import HTTPException
from importlib.metadata import entry_points
from typing import Any, Literal, NamedTuple, Protocol
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from pydantic import SecretStr

from user_engagement.settings import ALERTS_GROUP, PREFIX, Settings

Kind = Literal[
    "run_failed",
    "check_failed",
    "check_recovered",
    "asset_stale",
    "asset_fresh",
    "digest",
    "kpi_beyond_limit",
    "kpi_within_limit",
]
Severity = Literal["error", "warning", "info"]
LEVELS: dict[Severity, int] = {"error": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO}
MOST_WAIT_SECONDS = 10.0


@dataclass(frozen=True)
class Alert:
    """A message to people: ``title`` says what happened, ``text`` says what it means and what to do.

    ``occurred_at`` is the UTC time of the event itself, not that of its delivery.
    """

    kind: Kind
    severity: Severity
    title: str
    text: str
    occurred_at: datetime
    asset_keys: tuple[str, ...] = ()
    check_name: str | None = None
    job_name: str | None = None
    run_id: str | None = None

    @property
    def alert_id(self) -> str:
        """The same for every delivery of the same event, so that a receiver can drop repeated ones."""
        event = [self.kind, self.severity, self.title, self.run_id, self.occurred_at.isoformat()]
        return hashlib.sha256(json.dumps(event).encode()).hexdigest()[:32]

    def as_json(self) -> dict[str, Any]:
        """Every field and the ``alert_id``, in JSON's types; the time in ISO 8601."""
        return {"alert_id": self.alert_id, **asdict(self), "occurred_at": self.occurred_at.isoformat()}


class DeliveryError(Exception):
    """An alert did not arrive. The message says where and why, and contains no secret."""


class AlertRefusedError(DeliveryError):
    """The receiver rejected this alert; sending it again would have the same result."""


class Delivery(Protocol):
    """A way for alerts to reach people."""

    def deliver(self, alert: Alert, log: logging.Logger) -> None:
        """Returns once the alert has arrived; ``log`` is the logger of the sensor's tick.

        Raises:
            DeliveryError: the alert did not arrive, or the receiver did not confirm it.
        """
        ...


class LogDelivery:
    """Writes alerts to the log of the sensor's tick, which the UI shows and the code server prints."""

    def deliver(self, alert: Alert, log: logging.Logger) -> None:
        log.log(LEVELS[alert.severity], "%s. %s", alert.title, alert.text)


class _Problem(NamedTuple):
    """Why an attempt failed, whether a retry is pointless, and how long the receiver asks to wait."""

    what: str
    final: bool = False
    wait_seconds: float = 0.0


@dataclass(frozen=True)
class WebhookDelivery:
    """Posts alerts as signed JSON.

    The header ``X-User-Engagement-Signature`` is ``sha256=`` and the hexadecimal HMAC-SHA256 of
    ``<X-User-Engagement-Timestamp>.<body>``. Temporary failures (no connection, no answer within
    ``timeout_seconds``, 429, 5xx) are tried ``attempts`` times. The pauses double from ``pause_seconds`` on, or are as
    long as ``Retry-After`` asks, up to ``MOST_WAIT_SECONDS``. With the defaults a delivery ends within 35 seconds.
    """

    url: SecretStr
    secret: SecretStr
    timeout_seconds: float = 5.0
    attempts: int = 3
    pause_seconds: float = 1.0

    def deliver(self, alert: Alert, log: logging.Logger) -> None:
        """As `Delivery.deliver`; raises AlertRefusedError for an answer that makes a retry pointless."""
        body = json.dumps(alert.as_json()).encode()
        what = f"{alert.title!r} to the webhook at {self._shown_address}"
        for attempt in range(1, self.attempts + 1):
            problem = self._post(body)
            if problem is None:
                log.info("Delivered %s.", what)
                return
            if problem.final:
                raise AlertRefusedError(
                    f"Could not deliver {what}: it refused with {problem.what}. Check"
                    f" {PREFIX}ALERT_WEBHOOK_URL, {PREFIX}ALERT_WEBHOOK_SECRET and the receiver's log."
                )
            if attempt == self.attempts:
                raise DeliveryError(
                    f"Could not deliver {what} in {attempt} attempts. Last error: {problem.what}."
                    f" Check {PREFIX}ALERT_WEBHOOK_URL, and that the receiver runs and can be reached from here."
                )
            doubled = self.pause_seconds * 2 ** (attempt - 1)
            pause = min(max(doubled, problem.wait_seconds), MOST_WAIT_SECONDS)
            log.warning("Delivering %s: %s; trying again in %.1f s.", what, problem.what, pause)
            time.sleep(pause)

    @property
    def _shown_address(self) -> str:
        """Scheme, host and port: credentials, path and query may be secret."""
        parts = urlsplit(self.url.get_secret_value())
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    def _post(self, body: bytes) -> _Problem | None:
        try:
            _opener.open(self._request(body), timeout=self.timeout_seconds).close()
        except HTTPError as error:
            error.close()
            final = error.code < 500 and error.code != HTTPStatus.TOO_MANY_REQUESTS
            return _Problem(f"HTTP status {error.code}", final, _seconds(error.headers.get("Retry-After")))
        except OSError as error:
            reason = getattr(error, "reason", error)
            return _Problem(getattr(reason, "strerror", None) or type(reason).__name__)
        except HTTPException as error:
            return _Problem(type(error).__name__)
        return None

    def _request(self, body: bytes) -> Request:
        parts = urlsplit(self.url.get_secret_value())
        timestamp = str(int(time.time()))
        digest = hmac.new(
            self.secret.get_secret_value().encode(), timestamp.encode() + b"." + body, hashlib.sha256
        ).hexdigest()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "user-engagement",
            "X-User-Engagement-Timestamp": timestamp,
            "X-User-Engagement-Signature": f"sha256={digest}",
        }
        credentials, _, host = parts.netloc.rpartition("@")
        if credentials:
            headers["Authorization"] = f"Basic {b64encode(unquote(credentials).encode()).decode()}"
        return Request(urlunsplit(parts._replace(netloc=host)), body, headers, method="POST")


class _NoRedirects(HTTPRedirectHandler):
    """A redirected POST would arrive as a GET without its body, and count as delivered."""

    def redirect_request(self, *_: Any) -> None:
        return None


_opener = build_opener(_NoRedirects)


def _seconds(retry_after: str | None) -> float:
    """The seconds to wait that a ``Retry-After`` header (seconds or a date) asks for; 0 if it cannot be read."""
    if retry_after is None:
        return 0.0
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        return (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return 0.0


@dataclass(frozen=True)
class AppriseDelivery:
    """Posts alerts to chats and mailboxes by Apprise, which knows how each service takes a message.

    ``urls`` are Apprise's addresses with blanks between. Each is tried ``attempts`` times; one that got the alert does
    not get it again within a delivery. Apprise names a service by its scheme alone in what is logged here, and its own
    log, which may show addresses, is switched off.
    """

    urls: SecretStr
    attempts: int = 3
    pause_seconds: float = 1.0

    def deliver(self, alert: Alert, log: logging.Logger) -> None:
        """As `Delivery.deliver`."""
        # takes a while to import, which only those who use it wait for
        from apprise import Apprise, NotifyFormat, NotifyType
        from apprise import logger as apprise_logger

        apprise_logger.disabled = True
        kinds = {"error": NotifyType.FAILURE, "warning": NotifyType.WARNING, "info": NotifyType.INFO}
        style = NotifyFormat.MARKDOWN if alert.kind == "digest" else NotifyFormat.TEXT
        left = self.urls.get_secret_value().split()
        for attempt in range(self.attempts):
            if attempt:
                time.sleep(self.pause_seconds * 2 ** (attempt - 1))
            left = [url for url in left if not _posted(Apprise(url), alert, kinds[alert.severity], style)]
            if not left:
                log.info("Delivered %r.", alert.title)
                return
        schemes = ", ".join(sorted({urlsplit(url).scheme for url in left}))
        raise DeliveryError(
            f"Could not deliver {alert.title!r} by {schemes} in {self.attempts} attempts. Check"
            f" {PREFIX}ALERT_URLS, and that the service can be reached from here."
        )


def _posted(service: Any, alert: Alert, kind: Any, style: Any) -> bool:
    try:
        return bool(service.notify(alert.text, title=alert.title, notify_type=kind, body_format=style))
    except TypeError:  # what Apprise raises for an address that it cannot read
        return False


@dataclass(frozen=True)
class Deliveries:
    """Several ways at once: an alert has arrived when it has arrived by all."""

    ways: tuple[Delivery, ...]

    def deliver(self, alert: Alert, log: logging.Logger) -> None:
        """As `Delivery.deliver`; tries every way before it raises the error of the first that failed."""
        problems: list[DeliveryError] = []
        for way in self.ways:
            try:
                way.deliver(alert, log)
            except DeliveryError as error:
                problems.append(error)
        if problems:
            raise problems[0]


def delivery_of(settings: Settings) -> Delivery:
    """Every way that the settings name; the log if they name none."""
    ways: list[Delivery] = []
    if settings.alert_webhook_url and settings.alert_webhook_secret:
        ways.append(WebhookDelivery(settings.alert_webhook_url, settings.alert_webhook_secret))
    if settings.alert_urls:
        ways.append(AppriseDelivery(settings.alert_urls))
    installed = entry_points(group=ALERTS_GROUP)
    ways += [installed[name].load()(settings) for name in settings.alert_channels]
    if len(ways) > 1:
        return Deliveries(tuple(ways))
    return ways[0] if ways else LogDelivery()
