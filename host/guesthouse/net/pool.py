"""The pool of outgoing connections: aiohttp's, with every address checked and the idle ones bounded.

Promises: a socket is only connected to an address that the policy of the request at hand has allowed, checked once when
the name is resolved and again when the socket is made; a connection is only used again by the same function under the
same policy; a name is resolved at most once for a request, also if aiohttp tries again on a fresh connection.
"""

from __future__ import annotations

import asyncio
import socket
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from ssl import SSLContext
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest, ClientResponse, ConnectionKey
from aiohttp.connector import Connection

from guesthouse.net.addresses import Address, parse_address
from guesthouse.net.destination import Destination
from guesthouse.net.failures import Prohibited
from guesthouse.net.policy import OutboundPolicy
from guesthouse.net.resolver import Lookups
from guesthouse.net.slots import Owner

MAX_IDLE = 256
"""Connections kept for later, of all functions together."""
IDLE_SECONDS = 15.0
"""How long a connection is kept for later."""


@dataclass(slots=True)
class Exchange:
    """One request while it is under way."""

    destination: Destination
    policy: OutboundPolicy
    owner: Owner
    addresses: list[Address] = field(default_factory=list)
    """Those that the name stood for when it was resolved for this request: all were allowed, no others are."""
    prohibited: bool = False
    waiting: bool = False
    """True while it waits for a slot."""
    sent: bool = False
    """True once bytes of the request may have reached the server."""
    probe: bool | None = None
    """Whether it is to find out if the server is back (see `Breakers`); `None` until it is let through."""


EXCHANGE: ContextVar[Exchange] = ContextVar("outbound_exchange")
"""The request that the current task is sending: aiohttp has no other way to hand it to a resolver or socket factory."""


class Request(ClientRequest):
    """A request that tells when it goes out, and whose connection is shared with nobody else."""

    @property
    def connection_key(self) -> ConnectionKey:
        """aiohttp's key and who it is for: nobody may get the answer to what another one left on a connection."""
        exchange = EXCHANGE.get()
        return super().connection_key._replace(
            server_hostname=(exchange.destination.host, exchange.owner, exchange.policy.reach)  # type: ignore[arg-type]
        )

    async def send(self, conn: Connection) -> ClientResponse:
        """Writes the request."""
        EXCHANGE.get().sent = True
        return await super().send(conn)


class CheckedResolver(AbstractResolver):
    """Answers aiohttp with the addresses of the current request, all of them allowed."""

    def __init__(self, lookups: Lookups) -> None:
        self._lookups = lookups

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses to connect to; raises `Prohibited` if only one of the name's addresses is."""
        exchange = EXCHANGE.get()
        if not exchange.addresses:
            exchange.addresses = await self._allowed(exchange)
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in exchange.addresses
        ]

    async def _allowed(self, exchange: Exchange) -> list[Address]:
        host, port = exchange.destination.host, exchange.destination.port
        override = exchange.policy.override(host)
        if override is not None:
            addresses = [override]
        else:
            addresses = await self._lookups.addresses(host, "/".join(exchange.owner))
        if not all(exchange.policy.allows(address, port, host) for address in addresses):
            raise Prohibited
        return addresses

    async def close(self) -> None:
        """Ends the lookups in progress."""
        await self._lookups.close()


def checked_socket(addr_info: tuple[Any, ...]) -> socket.socket:
    """A socket for an address of the current request; raises `PermissionError` for any other address."""
    family, kind, proto, _, (text, port, *_) = addr_info
    exchange = EXCHANGE.get()
    destination = exchange.destination
    address = parse_address(text)
    pinned = exchange.addresses if destination.address is None else [destination.address]
    if (
        address not in pinned
        or port != destination.port
        or not exchange.policy.allows(address, port, None if destination.address else destination.host)
    ):
        exchange.prohibited = True
        raise PermissionError("destination prohibited")
    return socket.socket(family, kind, proto)


class Handler(ResponseHandler):
    """aiohttp's protocol, which on nonsense in the middle of a body would tell everybody but the body's reader."""

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """Ends the answer at hand, its body included."""
        payload = self._payload
        if payload is not None and not payload.is_eof() and payload.exception() is None:
            broken = aiohttp.ClientPayloadError("the body broke off")
            broken.__cause__ = exc
            payload.set_exception(broken)
        if exc_cause is None:
            super().set_exception(exc)
        else:
            super().set_exception(exc, exc_cause)


def _handler(loop: asyncio.AbstractEventLoop) -> ResponseHandler:
    return Handler(loop)


class Pool(aiohttp.TCPConnector):
    """aiohttp's connection pool with a bound on idle connections, which aiohttp does not have."""

    def __init__(self, lookups: Lookups, tls: SSLContext) -> None:
        super().__init__(
            resolver=CheckedResolver(lookups),
            use_dns_cache=False,
            socket_factory=checked_socket,
            ssl=tls,
            limit=0,
            keepalive_timeout=IDLE_SECONDS,
        )
        self._factory = partial(_handler, self._loop)

    @property
    def idle(self) -> int:
        """Connections that are kept for later."""
        return sum(map(len, self._conns.values()))

    async def _get(self, key: ConnectionKey, traces: list[Any]) -> Connection | None:
        """An idle connection, unless something came on it that nobody asked for: that would answer the next request."""
        while (connection := await super()._get(key, traces)) is not None:
            protocol = connection.protocol
            if protocol is not None and not protocol.should_close:
                return connection
            connection.close()
        return None

    def _release(self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        super()._release(key, protocol, should_close=should_close or self.idle >= MAX_IDLE)
