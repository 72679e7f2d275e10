"""`ValkeyClient`: commands to one Valkey or Redis server over pooled connections, with replies that keep their kind.

    client = ValkeyClient("redis://localhost:6379")
    await client.command(b"SET", b"key", b"value")  # SimpleString(b"OK")

Promises: one reply for each command, in order; never a connection on which an earlier exchange did not end; no command
is sent twice; every way to fail is one class of `failures`, and an error reply is a value.  The server proves that it
speaks RESP before it is sent anything that a caller chose.  Must not know of guests.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import TypeAlias

from guesthouse.net.failures import (
    ConnectionFailed,
    ConnectTimeout,
    Interrupted,
    LimitReached,
    Malformed,
    OutboundError,
    Timeout,
    TlsError,
)
from guesthouse.net.resp import Budget, ErrorReply, Reply, SimpleString, encode
from guesthouse.net.resp_connection import Connection
from guesthouse.net.valkey_commands import check
from guesthouse.net.valkey_url import Server, parse_server

CONNECTIONS = 32
"""Connections of one client: a server serves its clients in turn, so more of them make nothing faster."""
IDLE_SECONDS = 30.0
"""How long a connection is kept for later."""
TIMEOUT_MS = 10_000
"""Until all replies are there, in milliseconds; waiting for a free connection counts."""
CONNECT_TIMEOUT_MS = 5_000
REPLY_BYTES = 16 << 20
"""Bytes of all replies to one call, and `resp.ELEMENT_BYTES` for each element of them."""
_GREETING_BYTES = 64 * 1024

Dial: TypeAlias = Callable[[Server, ssl.SSLContext | None], Awaitable[Connection]]


class ServerRefused(OutboundError):
    """The server turned the connection away: wrong password, no such database, too many clients."""


class ValkeyClient:
    """Sends commands to the server at `url`; belongs to one event loop, connects when it has to.

    `ca_file` (PEM) is trusted beside the system's certificates.  Raises `InvalidUrl` for a URL that is none.
    """

    def __init__(
        self,
        url: str,
        *,
        connections: int = CONNECTIONS,
        timeout_ms: int = TIMEOUT_MS,
        connect_timeout_ms: int = CONNECT_TIMEOUT_MS,
        reply_bytes: int = REPLY_BYTES,
        most_idle: int = CONNECTIONS,
        ca_file: str | None = None,
        dial: Dial | None = None,
    ) -> None:
        self.server = parse_server(url)
        self._timeout_ms = timeout_ms
        self._connect_timeout_ms = connect_timeout_ms
        self._reply_bytes = reply_bytes
        self._most_idle = most_idle
        self._dial: Dial = dial or dial_anywhere
        self._slots = asyncio.Semaphore(connections)
        self._tls = tls_context(ca_file) if self.server.tls else None
        self._idle: deque[tuple[Connection, asyncio.TimerHandle]] = deque()
        self._busy: set[Connection] = set()
        self._closed = False
        self.opened = 0
        """Connections that were made, ever."""
        self.under_way = 0
        """Calls that have not ended."""

    @property
    def idle(self) -> int:
        """Connections that are kept for later."""
        return len(self._idle)

    async def command(self, *command: bytes, timeout_ms: int | None = None) -> Reply:
        """The reply to one command; raises an `OutboundError`."""
        return (await self.pipeline((command,), timeout_ms=timeout_ms))[0]

    async def pipeline(
        self,
        commands: Sequence[Sequence[bytes]],
        *,
        timeout_ms: int | None = None,
        budget: Budget | None = None,
        on_connect: Callable[[], None] = lambda: None,
    ) -> list[Reply]:
        """The replies to all commands, which are sent at once and run in order; raises an `OutboundError`.

        Commands that change their connection (MULTI, WATCH, SELECT) get one of their own.  After an error any number
        of the commands may have run, unless it is one of connecting.  `on_connect` is called before a new connection
        is made, and may raise an `OutboundError` to prevent it.
        """
        alone = check(commands)
        if not commands:
            return []
        sent = admitted = False
        self.under_way += 1
        try:
            async with asyncio.timeout((self._timeout_ms if timeout_ms is None else timeout_ms) / 1000):
                async with self._slots:
                    admitted = True
                    async with self._connection(alone, on_connect) as connection:
                        sent = True
                        allowed = budget or Budget(self._reply_bytes)
                        return await connection.exchange(encode(commands), len(commands), allowed)
        except TimeoutError:
            if not admitted:
                raise LimitReached from None
            raise (Timeout if sent else ConnectTimeout) from None
        finally:
            self.under_way -= 1

    async def close(self) -> None:
        """Ends all connections; may be called twice."""
        self._closed = True
        self.drop_idle()
        for connection in self._busy:
            connection.abort()
        await asyncio.sleep(0)  # the loop closes aborted transports in its next turn

    def drop_idle(self) -> None:
        """Ends the connections that are kept for later."""
        while self._idle:
            self._drop_oldest()

    @asynccontextmanager
    async def _connection(self, alone: bool, on_connect: Callable[[], None]) -> AsyncIterator[Connection]:
        connection = None if alone else self._kept()
        if connection is None:
            on_connect()
            connection = await self._open()
        self._busy.add(connection)
        try:
            yield connection
        finally:
            self._busy.discard(connection)
            if alone or self._closed or not connection.usable or len(self._idle) >= self._most_idle:
                connection.abort()
            else:
                timer = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._drop_oldest)
                self._idle.append((connection, timer))

    def _kept(self) -> Connection | None:
        """The connection that was used last: those before it come of age."""
        while self._idle:
            connection, timer = self._idle.pop()
            timer.cancel()
            if connection.usable:
                return connection
            connection.abort()
        return None

    def _drop_oldest(self) -> None:
        connection, timer = self._idle.popleft()  # the oldest: its time is up first
        timer.cancel()
        connection.abort()

    async def _open(self) -> Connection:
        if self._closed:
            raise Interrupted
        try:
            async with asyncio.timeout(self._connect_timeout_ms / 1000):
                connection = await self._dial(self.server, self._tls)
                self.opened += 1
                try:
                    await _greet(connection, self.server)
                except BaseException:
                    connection.abort()
                    raise
                return connection
        except TimeoutError:
            raise ConnectTimeout from None
        except ssl.SSLError:
            raise TlsError from None
        except OSError:
            raise ConnectionFailed from None


async def _greet(connection: Connection, server: Server) -> None:
    """Proves that the other side speaks RESP, then signs on."""
    (reply,) = await connection.exchange(encode(((b"PING",),)), 1, Budget(_GREETING_BYTES))
    if isinstance(reply, ErrorReply):  # NOAUTH, NOPERM and LOADING say nothing against going on
        if reply.text.startswith((b"ERR ", b"DENIED ")):
            raise ServerRefused(str(reply))
    elif reply != SimpleString(b"PONG"):
        raise Malformed("the server's reply is not valid RESP: no answer to PING")
    greeting = server.greeting
    for reply in await connection.exchange(encode(greeting), len(greeting), Budget(_GREETING_BYTES)):
        if isinstance(reply, ErrorReply):
            raise ServerRefused(str(reply))


async def dial_anywhere(server: Server, tls: ssl.SSLContext | None) -> Connection:
    """A connection to wherever the URL leads: for URLs of the host's own configuration."""
    loop = asyncio.get_running_loop()
    if server.path is not None:
        return (await loop.create_unix_connection(Connection, server.path))[1]
    destination = server.destination
    return (await loop.create_connection(Connection, destination.host, destination.port, ssl=tls))[1]


@lru_cache(maxsize=8)  # reading the system's certificates takes many milliseconds, and guests name servers as they like
def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Trusts the system's certificates and those of `ca_file`."""
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(ca_file)
    return context
