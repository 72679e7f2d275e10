"""Servers in processes of their own, on this machine only: `guesthouse serve`, and the bare uvicorn beside it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 30.0
STOP_S = 20.0


class Server:
    """One that answers on `port`."""

    def __init__(self, port: int) -> None:
        self.port = port

    def request(self, method: str, path: str, body: bytes = b"", content_type: str = "text/plain") -> tuple[int, bytes]:
        """Status and body of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body, {"Content-Type": content_type})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def deploy(self, name: str, wasm: bytes, **limits: int) -> None:
        """Deploys a function under `limits` over HTTP."""
        self.deploy_with(name, wasm, limits=limits)

    def deploy_with(self, name: str, wasm: bytes, **said: Any) -> None:
        """Deploys a function with what a manifest can say."""
        document = json.dumps({"inline_wasm": b64encode(wasm).decode(), **said}).encode()
        status, answer = self.request("PUT", f"/functions/manage/default/{name}", document, "application/json")
        if not 200 <= status < 300:
            raise SystemExit(f"deploying {name} was answered {status}: {answer.decode(errors='replace')[:500]}")


@contextmanager
def guesthouse(**settings: str) -> Iterator[Server]:
    """`guesthouse serve` as people run it, with a new data directory; `settings` are variables of its own."""
    with tempfile.TemporaryDirectory() as folder:
        port = _free_port()
        own = {"GUESTHOUSE_DATA_DIR": str(Path(folder) / "data"), "GUESTHOUSE_LISTEN__PORT": str(port)}
        with _running(
            [sys.executable, "-m", "guesthouse", "serve", "--quiet", "--log-level", "warning"],
            port,
            "/healthz",
            {**own, **settings},
        ) as server:
            yield server


@contextmanager
def bare(*what: str) -> Iterator[Server]:
    """The bare uvicorn: an echo, or what `benchmarks.bare` has by another word."""
    port = _free_port()
    with _running([sys.executable, "-m", "benchmarks.bare", str(port), *what], port, "/", {}) as server:
        yield server


@contextmanager
def _running(command: Sequence[str], port: int, path: str, settings: dict[str, str]) -> Iterator[Server]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GUESTHOUSE_")}
    search = os.pathsep.join([str(ROOT), str(ROOT / "host")])
    process = subprocess.Popen(
        command,
        env={**kept, "PYTHONPATH": search, **settings},
        cwd=tempfile.gettempdir(),
        stdout=subprocess.DEVNULL,
    )
    try:
        server = Server(port)
        _wait(process, server, path)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], server: Server, path: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise SystemExit(f"the server ended at once with {process.returncode}; its last words are above")
        try:
            status, _ = server.request("GET", path)
        except OSError:
            time.sleep(0.05)
            continue
        if status == 200:
            return
    raise SystemExit("the server did not start")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
