"""A web server that does each thing once for each `Idempotency-Key`, as services do that take money, and counts both.

`POST /NAME` does NAME.  Promises: what is done is counted before anybody is answered; whoever comes again with a key gets the
first answer again.  A test may hold requests before they are done, or after that and before the answer: they are never
answered, as if the line had been cut.  `GET` reads, and changes nothing.  Must not know of guests or hosts.
"""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random

PATIENCE = 30.0


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    name: str
    key: str
    """Empty: there was none."""
    body: bytes


class KeyedServer:
    """A context manager; `honours` false makes it one of the many that do not look at keys."""

    def __init__(self, *, honours: bool = True) -> None:
        self.honours = honours
        self.asked: list[Asked] = []
        self.done: Counter[str] = Counter()
        """How often each thing was done, by name."""
        self.keys: dict[str, set[str]] = {}
        """All keys that came for a name."""
        self.repeated = 0
        """Requests that came again with a key."""
        self._answers: dict[str, bytes] = {}
        self._holds: dict[str, str] = {}
        self._refusals: Counter[str] = Counter()
        self._left: int | None = None
        self._random = Random()
        self._held = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def url(self, name: str) -> str:
        """Where a thing is done."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/{name}"

    def refuse(self, name: str, times: int = 1) -> None:
        """The next requests for it are answered 503, and it is not done."""
        self._refusals[name] = times

    def hold(self, name: str, when: str) -> None:
        """The next request for it is not answered; `when` is `before` it is done or `after` that."""
        self._holds[name] = when

    def stop_after(self, count: int | None, random: Random | None = None) -> None:
        """So many further requests are answered; later ones are held, half of them before they are done.  `None`: all are."""
        with self._lock:
            self._left, self._random = count, random or self._random

    def holds(self) -> None:
        """Waits until a request is held."""
        assert self._held.acquire(timeout=PATIENCE), f"nobody came: {self._holds}"

    def page(self, path: str) -> bytes:
        """What is read at a path."""
        return path.encode()

    def answer(self, asked: Asked) -> tuple[int, bytes] | None:
        """Does what is asked: status and body; `None`: nobody is to be told."""
        with self._lock:
            self.asked.append(asked)
            self.keys.setdefault(asked.name, set()).add(asked.key)
            if self._refusals[asked.name] > 0:
                self._refusals[asked.name] -= 1
                return 503, b"not now"
            when = self._holds.pop(asked.name, "") or self._stopped()
            if when != "before":
                again = asked.key in self._answers and asked.key != ""
                self.repeated += again
                if not (again and self.honours):
                    self.done[asked.name] += 1
                    self._answers[asked.key] = b"%s, number %d" % (asked.name.encode(), sum(self.done.values()))
            if when:
                self._held.release()
                return None
            return 200, self._answers[asked.key]

    def _stopped(self) -> str:
        if self._left is None:
            return ""
        if self._left > 0:
            self._left -= 1
            return ""
        return self._random.choice(("before", "after"))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle(self) -> None:
                with suppress(OSError):  # whoever asked has been killed meanwhile
                    super().handle()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"] or 0))
                answer = server.answer(Asked(self.path[1:], self.headers["idempotency-key"] or "", body))
                if answer is None:
                    server._over.wait(PATIENCE)
                    self.close_connection = True
                else:
                    self._send(*answer)

            def do_GET(self) -> None:
                self._send(200, server.page(self.path))

            def _send(self, status: int, answer: bytes) -> None:
                self.send_response(status)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def __enter__(self) -> KeyedServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
