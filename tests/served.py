"""A real `guesthouse serve` in a process of its own, as its HTTP clients see it, and an origin that its guests may ask.

Promises: every wait has an end, and a server that printed a traceback, whatever it answered, fails the test.
"""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from command_line import Server, serve
from gateway_server import Answer, Headers
from harness import until
from support import guest

PATIENCE = 30.0
"""No test waits longer than this for anything."""


class Served(Server):
    """A running server; `request` and `connect` reach it over loopback."""

    token = ""
    """Shown with every `request`, if there is one."""

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    def connect(self) -> socket.socket:
        """A raw connection."""
        sock = socket.create_connection(self.address, PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def connection(self) -> HTTPConnection:
        """A connection for several requests."""
        return HTTPConnection(*self.address, timeout=PATIENCE)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own."""
        connection = self.connection()
        try:
            shown = {"authorization": self.token} if self.token else {}
            return ask(connection, method, path, body, {**shown, **(headers or {})})
        finally:
            connection.close()

    def call(self, name: str, body: bytes | None = None, method: str = "POST") -> Answer:
        """Calls a function of the namespace `default`; its name may go on with a path and a query."""
        return self.request(method, f"/functions/default/{name}", body)

    def deploy(self, name: str, wasm: bytes = b"", query: str = "", **headers: str) -> Answer:
        """Deploys `wasm`, or the built guest of that name, into the namespace `default` unless `name` has another one."""
        namespace, _, function = f"default/{name}".rpartition("/")
        path = f"/functions/manage/{namespace.rpartition('/')[2]}/{function}{query}"
        return self.request("PUT", path, wasm or guest(function), {"content-type": "application/wasm", **headers})

    def families(self) -> dict[str, Metric]:
        """What a scrape of `/metrics` finds, by name."""
        answer = self.request("GET", "/metrics")
        assert answer.status == 200
        return {family.name: family for family in text_string_to_metric_families(answer.body.decode())}

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        return sum(
            sample.value
            for family in self.families().values()
            for sample in family.samples
            if sample.name == f"guesthouse_{name}" and labels.items() <= sample.labels.items()
        )

    def counted(self, name: str, expected: float, **labels: str) -> None:
        """Waits until a metric has this value."""
        until(lambda: self.metric(name, **labels) == expected, f"{name} {labels} did not become {expected}")

    def idle(self) -> None:
        """Waits until no guest is alive."""
        self.counted("pool_in_use", 0)


def ask(
    connection: HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One request on a connection that stays open."""
    connection.request(method, path, body, dict(headers or {}))
    response = connection.getresponse()
    return Answer(response.status, Headers(response), response.read())


def announced(process: subprocess.Popen[str]) -> Served:
    """A server that has just been started, once it says where it is."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.stderr.read() if process.stderr else ""
    return Served(process, json.loads(line))


class Origin:
    """A web server behind the guests: `/page` is answered at once, `/held` when `release` is set."""

    PAGE = b"a page of the origin"

    def __init__(self) -> None:
        origin = self
        self.held = threading.Semaphore(0)
        """Released by each request that is held."""
        self.release = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path == "/held":
                    origin.held.release()
                    assert origin.release.wait(PATIENCE)
                self.send_response(200)
                self.send_header("content-length", str(len(origin.PAGE)))
                self.end_headers()
                with suppress(OSError):  # whoever asked has been killed meanwhile
                    self.wfile.write(origin.PAGE)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def url(self, path: str) -> str:
        """The URL of a path here."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{path}"

    def holds(self) -> None:
        """Waits for a request that is held."""
        assert self.held.acquire(timeout=PATIENCE)

    def __enter__(self) -> Origin:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()


def config(folder: Path, text: str = "") -> Path:
    """A configuration under which guests reach this machine."""
    path = folder / "guesthouse.toml"
    path.write_text(f'{text}\n[outbound]\nschemes = ["http"]\nallow_addresses = ["127.0.0.0/8"]\n')
    return path


@contextmanager
def served(data_dir: Path, *arguments: object) -> Iterator[Served]:
    """A server for the time of a `with` block; what it left on its standard error has no traceback."""
    with serve("--data-dir", data_dir, "--log-level", "warning", *arguments) as process:
        try:
            yield announced(process)
        finally:
            process.kill()
        _, said = process.communicate(timeout=PATIENCE)
        assert "Traceback" not in said, said
