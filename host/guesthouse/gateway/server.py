"""`Gateway`: uvicorn inside our own loop, from the first listening socket to the last drained request.

Promises: no address but loopback without a token in the store (C8); SIGTERM and SIGINT stop new work, end streams, wait
for what runs, and then close; a second signal does not wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from email.utils import formatdate
from ipaddress import ip_address
from typing import Any, Final, cast

import uvicorn

from guesthouse.errors import BadRequest, Unavailable
from guesthouse.gateway.app import App
from guesthouse.gateway.protocol import Protocol
from guesthouse.gateway.services import Services
from guesthouse.telemetry import logger

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
BACKLOG: Final = 2_048
FILES_KEPT_FREE: Final = 256
"""Files of the process that are not for connections."""
LAST_ANSWERS_SECONDS: Final = 5.0
"""How long connections may take to close once nothing runs any more."""
HURRIED_SECONDS: Final = 1.0
"""How long ending takes at most, in each of its two parts, for whoever does not want to wait."""
log = logger("gateway")


class _Server(uvicorn.Server):
    """uvicorn's server, which leaves the process's signals to us, and ends when it is told to."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._left = asyncio.Event()

    def leave(self) -> None:
        """Begins to end it."""
        self.should_exit = True
        self._left.set()

    async def main_loop(self) -> None:
        """Waits for that; uvicorn would look ten times a second."""
        await self._left.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Gateway:
    """The HTTP server of a host."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._app = App(services)
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._server: _Server | None = None
        self.addresses: list[tuple[str, int]] = []
        """Where it listens, once it does."""
        services.metrics.gauge("connections", "Open connections of clients", lambda: self._app.watch.open)

    async def serve(
        self,
        sockets: Sequence[socket.socket] | None = None,
        *,
        signals: bool = True,
        started: Callable[[], None] | None = None,
    ) -> None:
        """Serves until `stop` or a signal.

        Raises `BadRequest` for an address that needs a token, `Unavailable` for one that is in use.
        """
        listen = self._services.config.listen
        listening = _listen(listen.host, listen.port) if sockets is None else list(sockets)
        try:
            self.addresses = [cast("tuple[str, int]", sock.getsockname()[:2]) for sock in listening]
            self._check_addresses()
            self._allow_files()
            with _signals(self._on_signal if signals else None):
                await self._serve(listening, started)
        finally:
            for sock in listening:
                sock.close()

    def stop(self) -> None:
        """Begins to drain; called again, stops without waiting."""
        (self._hurry if self._stop.is_set() else self._stop).set()

    async def _serve(self, sockets: list[socket.socket], started: Callable[[], None] | None) -> None:
        server = self._server = _Server(self._uvicorn_config())
        watch = self._app.watch
        self._tick()
        watch.start(asyncio.get_running_loop(), cast("Any", server.server_state.connections), self._tick)
        serving = asyncio.ensure_future(server.serve(sockets))
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            while not server.started and not serving.done():
                await asyncio.sleep(0)
            log.info("listening", addresses=[_written(host, port) for host, port in self.addresses])
            if started is not None:
                started()
            await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
            await self._drain()
        finally:
            self._app.streams.stop()
            server.leave()
            stopping.cancel()
            try:
                await self._close(server, serving)
            finally:
                watch.stop()

    async def _drain(self) -> None:
        log.info("stopping", drain_seconds=self._services.config.drain_seconds)
        self._app.streams.stop()
        drain = asyncio.ensure_future(self._services.dispatcher.drain(self._services.config.drain_seconds))
        hurry = asyncio.ensure_future(self._hurry.wait())
        await asyncio.wait((drain, hurry), return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if not drain.done():
            drain.cancel()
        await asyncio.wait((drain,))
        self._services.invocations.stop_waiting()
        if self._hurry.is_set():  # what still runs is told so, rather than broken off
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HURRIED_SECONDS):
                    await self._services.dispatcher.drain(0)

    async def _close(self, server: _Server, serving: asyncio.Future[None]) -> None:
        """Lets the last answers leave, and breaks off what is still open then."""
        hurry = asyncio.ensure_future(self._hurry.wait())
        await asyncio.wait((serving, hurry), timeout=LAST_ANSWERS_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if self._hurry.is_set():
            await asyncio.wait((serving,), timeout=HURRIED_SECONDS)
        left = list(server.server_state.connections)
        if left:
            log.warning("connections were broken off", connections=len(left))
        for connection in left:
            cast("Protocol", connection).transport.abort()
        await serving

    def _uvicorn_config(self) -> uvicorn.Config:
        return uvicorn.Config(
            cast("Any", self._app),
            loop="none",
            http=Protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            backlog=BACKLOG,
        )

    def _tick(self) -> None:
        self._app.gate.refresh()
        self._app.streams.check()
        seconds = self._services.clock.wall_ns() // 1_000_000_000
        self._app.watch.date_line = f"date: {formatdate(seconds, usegmt=True)}\r\n"

    def _on_signal(self) -> None:
        self.stop()

    def _check_addresses(self) -> None:
        if self._services.tokens.any():
            return
        for host, port in self.addresses:
            if not ip_address(host.partition("%")[0]).is_loopback:
                raise BadRequest(
                    f"will not listen on {_written(host, port)} while there is no token: `guesthouse token create` makes one,"
                    " or listen on 127.0.0.1"
                )

    def _allow_files(self) -> None:
        """Raises the process's soft limit of files to its hard one, and keeps the connections below it."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = self._services.config.http.connections + FILES_KEPT_FREE
        if soft < wanted:
            soft = min(hard, wanted) if hard != resource.RLIM_INFINITY else wanted
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        allowed = self._app.watch.connections_allowed = max(1, min(wanted, soft) - FILES_KEPT_FREE)
        if allowed < self._services.config.http.connections:
            log.warning("fewer connections than configured", connections=allowed, files=soft)


@contextlib.contextmanager
def _signals(handler: Callable[[], None] | None) -> Iterator[None]:
    """While inside, signals come to `handler`."""
    loop = asyncio.get_running_loop()
    if handler is not None:
        for number in SIGNALS:
            loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        if handler is not None:
            for number in SIGNALS:
                loop.remove_signal_handler(number)


def _written(host: str, port: int) -> str:
    """An address and port as URLs write them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _listen(host: str, port: int) -> list[socket.socket]:
    """Sockets bound to every address that `host` stands for."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BadRequest(f"cannot listen on {host}: {reason}") from None
    sockets: list[socket.socket] = []
    for family, kind, protocol, _, address in dict.fromkeys(found if port else found[:1]):
        sock = socket.socket(family, kind, protocol)
        sockets.append(sock)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address)
        except OSError as error:
            for opened in sockets:
                opened.close()
            raise Unavailable(f"cannot listen on {_written(host, port)}: {error.strerror}") from None
        sock.setblocking(False)
    return sockets
