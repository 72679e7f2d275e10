"""`Relay`: an HTTP server between a host and moto's, which counts what arrives and can answer in moto's place.

Promises: every request is noted with its headers and body; what is not answered here comes from the server behind, as
it is.  Must not know of AWS.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PATIENCE = 60
HOP = frozenset({"connection", "transfer-encoding", "server", "date", "content-length"})


@dataclass(frozen=True, slots=True)
class Arrived:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


Answer = tuple[int, dict[str, str], bytes]


class Relay:
    """A context manager; `answer` may return an answer of its own, or `None` to pass the request on."""

    def __init__(self, port: int = 0) -> None:
        """`port` is that of the server behind on loopback; 0: there is none."""
        self._behind = port
        self.requests: list[Arrived] = []
        self.answer: Callable[[Arrived], Answer | None] = lambda request: None
        relay = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                self.close_connection = True
                if self.rfile.peek(1) and (line := self.rfile.readline()):  # type: ignore[attr-defined]
                    self.raw_requestline = line
                    if self.parse_request():
                        relay._serve(self)

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Relay:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def clear(self) -> None:
        """Forgets the requests and answers nothing itself."""
        self.requests.clear()
        self.answer = lambda request: None

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        request = Arrived(handler.command, handler.path, headers, body)
        self.requests.append(request)
        status, fields, content = self.answer(request) or self._passed_on(request)
        with suppress(OSError):  # nobody waits for it any more
            handler.send_response_only(status)
            for name, value in {"content-length": str(len(content)), **fields, "connection": "close"}.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(content)

    def _passed_on(self, request: Arrived) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self._behind, timeout=PATIENCE)
        try:
            connection.request(request.method, request.path, request.body, request.headers)
            answer = connection.getresponse()
            fields = {name: value for name, value in answer.getheaders() if name.lower() not in HOP}
            return answer.status, fields, answer.read()
        finally:
            connection.close()
