"""A receiver of webhooks on 127.0.0.1, which verifies signatures by itself and answers as a test asks."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "a-secret-that-no-log-may-hold"
TOLERANCE_SECONDS = 300


@dataclass(frozen=True)
class Answer:
    """A status, after a while; None closes the connection without one."""

    status: int | None = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    after_seconds: float = 0.0


class Receiver:
    """Requests as they came in; ``answers`` are given in turn, and 204 when there are none left."""

    def __init__(self) -> None:
        self.verifies = True
        self.answers: list[Answer] = []
        self.requests: list[tuple[Mapping[str, str], bytes]] = []
        self.stopping = threading.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/path-token?key=query-token"

    @property
    def alerts(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.requests]

    def titles(self) -> list[str]:
        """Of what came in since the last call."""
        found = [alert["title"] for alert in self.alerts]
        self.requests.clear()
        return found

    def take(self, headers: Mapping[str, str], body: bytes) -> Answer:
        self.requests.append((headers, body))
        if self.verifies and not is_signed(headers, body):
            return Answer(401)
        answer = self.answers.pop(0) if self.answers else Answer()
        self.stopping.wait(answer.after_seconds)
        return answer


def is_signed(headers: Mapping[str, str], body: bytes) -> bool:
    timestamp = headers["X-User-Engagement-Timestamp"]
    expected = hmac.new(SECRET.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    is_fresh = abs(time.time() - int(timestamp)) <= TOLERANCE_SECONDS
    return is_fresh and hmac.compare_digest(headers["X-User-Engagement-Signature"], f"sha256={expected}")


@contextmanager
def running_receiver() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {"path": self.path, **dict(self.headers)}
            answer = receiver.take(headers, body)
            if answer.status is None or receiver.stopping.is_set():
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quiet: what the tests look for in the log must not come from here."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield receiver
        receiver.stopping.set()
        server.shutdown()
        thread.join()
