"""A gateway in this process with a real host behind it, and an event source that reads it as browsers do."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Mapping
from http.client import HTTPConnection, HTTPResponse
from typing import Any, NamedTuple

from gateway_server import TIMEOUT, Server
from guesthouse import AsyncHost
from guesthouse.cli.serve import services_of
from guesthouse.gateway import Gateway
from harness import until
from support import guest

PATIENCE = 30.0


class Hosted(Server):
    """`with Hosted("echo", "stream-calls:wasip1") as server:` has these guests deployed under their names."""

    host: AsyncHost

    def __init__(self, *guests: str, settings: Mapping[str, Any] | None = None, **options: Any) -> None:
        super().__init__(settings)
        self._guests = guests
        self._options = options

    async def _serve(self) -> None:
        async with AsyncHost(**self._options) as host:
            self.host = host
            for name in self._guests:
                guest_name, _, form = name.partition(":")
                await host.deploy(name.replace(":", "-"), guest(guest_name, form or "wasip2"))
            self.gateway = Gateway(services_of(host, self.config))
            await self.gateway.serve(signals=False, started=self._on_started)

    def run(self, work: Callable[[AsyncHost], Coroutine[Any, Any, Any]]) -> Any:
        """Runs asynchronous work on the server's loop."""
        return asyncio.run_coroutine_threadsafe(work(self.host), self._loop).result(PATIENCE)

    def idle(self) -> None:
        """Waits until no guest is alive."""
        until(lambda: self.host.dispatcher.pool.in_use == 0, "a guest is still alive")


class Event(NamedTuple):
    """A server-sent event; a heartbeat has no name and no data."""

    name: str = ""
    data: str = ""
    id: str = ""


class Watcher:
    """A client that reads server-sent events; with a small `buffer` its side of the connection holds little."""

    def __init__(
        self, server: Server, path: str, headers: Mapping[str, str] | None = None, *, buffer: int | None = None
    ) -> None:
        self.connection = HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)
        sock = socket.socket()
        if buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.settimeout(PATIENCE)
        sock.connect(("127.0.0.1", server.port))
        self.connection.sock = sock
        self.connection.request("GET", path, headers={"accept": "text/event-stream", **(headers or {})})
        self.response: HTTPResponse = self.connection.getresponse()

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.response.close()
        self.connection.close()

    def next(self) -> Event | None:
        """The next event or heartbeat; `None` at the end."""
        fields: dict[str, list[str]] = {}
        while line := self.response.readline():
            if line == b"\n":
                found = {name: "\n".join(values) for name, values in fields.items()}
                return Event(found.get("event", ""), found.get("data", ""), found.get("id", ""))
            name, _, value = line.decode().removesuffix("\n").partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" "))
        return None

    def message(self) -> Event | None:
        """The next event that is no heartbeat; `None` at the end."""
        event = self.next()
        while event == Event():
            event = self.next()
        return event
