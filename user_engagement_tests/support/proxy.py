"""A way to the emulator that can be cut: before a statement arrives, or after it ran and before its answer does."""

from __future__ import annotations

import gzip
import http.client
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal


@dataclass
class Cut:
    """Closes the socket on the first requests whose body contains a text, or gives them an answer of its own.

    ``answer`` is a status and a body; ``times`` counts down; ``made`` says how often it happened.
    """

    text: str
    when: Literal["before", "after"]
    times: int = 1
    answer: tuple[int, bytes] | None = None
    made: int = field(default=0, init=False)

    def concerns(self, body: bytes) -> bool:
        if self.times and self.text.encode() in body.lower():
            self.times -= 1
            self.made += 1
            return True
        return False


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream: int
    cut: Cut

    def do_POST(self) -> None:
        self._pass_on()

    def do_GET(self) -> None:
        self._pass_on()

    def do_PUT(self) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        plain = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        is_cut = self.cut.concerns(plain)
        if is_cut and self.cut.answer:
            status, content = self.cut.answer
            self._send(status, content, {"Content-Type": "application/json"})
            return
        if is_cut and self.cut.when == "before":
            self.close_connection = True
            return
        upstream = http.client.HTTPConnection("127.0.0.1", self.upstream, timeout=60)
        upstream.request(self.command, self.path, body, dict(self.headers))
        answer = upstream.getresponse()
        content = answer.read()
        upstream.close()
        if is_cut:
            self.close_connection = True
            return
        dropped = ("content-length", "transfer-encoding", "connection", "date", "server")
        headers = {name: value for name, value in answer.getheaders() if name.lower() not in dropped}
        self._send(answer.status, content, headers)

    def _send(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        return


@contextmanager
def cut_wire(upstream: int, cut: Cut) -> Iterator[int]:
    """A proxy on a port of its own, which it yields."""
    handler = type("Handler", (_Handler,), {"upstream": upstream, "cut": cut})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
