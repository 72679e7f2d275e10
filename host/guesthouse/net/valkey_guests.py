"""`GuestValkey`: which servers guests reach and how: clusters that the host's configuration names, and their own URLs.

Promises: a server that a guest names itself is only connected to at an address that the outbound policy allows, after
all addresses of its name were checked; functions share no connection to such a server; a function that holds its
connections for long leaves room for the others.  Must not know WIT or what an invocation is.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from guesthouse.errors import BadRequest
from guesthouse.net.addresses import Address
from guesthouse.net.failures import ConnectionFailed, InvalidUrl, LimitReached, OutboundError, Prohibited
from guesthouse.net.policy import OutboundPolicy
from guesthouse.net.resolver import Lookups, Resolver, SystemResolver
from guesthouse.net.resp import Budget, Reply
from guesthouse.net.resp_connection import Connection
from guesthouse.net.slots import Owner, Slots, default_connections
from guesthouse.net.valkey import CONNECT_TIMEOUT_MS, Dial, ValkeyClient
from guesthouse.net.valkey_url import Server, parse_server

CLUSTER_CONNECTIONS = 64
"""Connections to one named cluster: half for one namespace, a quarter for one function."""
MOST_CLIENTS = 128
"""Servers named by guests, times the functions that name them, whose connections are kept for later."""
IDLE_CONNECTIONS = 2
"""Connections that are kept for each of them."""
MOST_ADDRESSES = 4
"""Addresses of one name that are tried, each for its part of the time."""


@dataclass(frozen=True, slots=True)
class Call:
    """Some commands of one function, and what they may cost."""

    commands: Sequence[Sequence[bytes]]
    owner: Owner
    timeout_ms: int
    budget: Budget
    on_connect: Callable[[], None] = lambda: None


class GuestValkey:
    """Sends what guests ask for; belongs to one event loop.  Raises `BadRequest` for a cluster's URL that is none."""

    def __init__(
        self,
        policy: Callable[[], OutboundPolicy],
        clusters: Mapping[str, str] | None = None,
        *,
        resolver: Resolver | None = None,
        ca_file: str | None = None,
    ) -> None:
        self._policy = policy
        self._ca_file = ca_file
        self._system = None if resolver else SystemResolver()
        self._lookups = Lookups(resolver or self._system or SystemResolver())
        self._slots = Slots(default_connections())
        self._clients: OrderedDict[tuple[object, ...], ValkeyClient] = OrderedDict()
        self._clusters = {name: self._cluster(name, url) for name, url in (clusters or {}).items()}

    @property
    def clusters(self) -> tuple[str, ...]:
        """The names of the configured clusters."""
        return tuple(sorted(self._clusters))

    async def to_cluster(self, name: str, call: Call) -> list[Reply]:
        """The replies of a configured cluster; raises an `OutboundError`, and `KeyError` for a name that is none."""
        client, slots = self._clusters[name]
        return await _in_turn(lambda: client, slots, call)

    async def to_url(self, url: str, call: Call) -> list[Reply]:
        """The replies of a server that the guest names; raises an `OutboundError`."""
        check_server(self._policy(), parse_server(url))  # what may not be needs no turn
        return await _in_turn(lambda: self._client(url, call.owner), self._slots, call)

    async def close(self) -> None:
        """Ends all connections; may be called twice."""
        for client in [*self._clients.values(), *(client for client, _ in self._clusters.values())]:
            await client.close()
        self._clients.clear()
        await self._lookups.close()
        if self._system is not None:
            self._system.close()

    def _cluster(self, name: str, url: str) -> tuple[ValkeyClient, Slots]:
        try:
            client = ValkeyClient(url, connections=CLUSTER_CONNECTIONS, ca_file=self._ca_file)
        except OutboundError as error:
            raise BadRequest(f"the Valkey cluster {name!r}: {error}") from None
        return client, Slots(CLUSTER_CONNECTIONS)

    def _client(self, url: str, owner: Owner) -> ValkeyClient:
        policy = self._policy()
        check_server(policy, parse_server(url))
        key = (url, owner, policy.reach)
        client = self._clients.get(key)
        if client is None:
            dial = self._dial(policy, owner)
            client = ValkeyClient(url, most_idle=IDLE_CONNECTIONS, ca_file=self._ca_file, dial=dial)
            self._clients[key] = client
            self._forget()
        self._clients.move_to_end(key)
        return client

    def _forget(self) -> None:
        """Drops the clients that were used least recently; those with calls under way stay."""
        for key, client in list(self._clients.items())[:-1]:
            if len(self._clients) <= MOST_CLIENTS:
                return
            if not client.under_way:
                del self._clients[key]
                client.drop_idle()

    def _dial(self, policy: OutboundPolicy, owner: Owner) -> Dial:
        async def dial(server: Server, tls: ssl.SSLContext | None) -> Connection:
            addresses = await self._addresses(policy, server, owner)
            for address in addresses[:MOST_ADDRESSES]:
                connection = await _connect(
                    address, server, tls, CONNECT_TIMEOUT_MS / 1000 / min(len(addresses), MOST_ADDRESSES)
                )
                if connection is not None:
                    return connection
            raise ConnectionFailed

        return dial

    async def _addresses(self, policy: OutboundPolicy, server: Server, owner: Owner) -> list[Address]:
        """Where to connect to; raises `Prohibited` if only one of the name's addresses is."""
        destination = server.destination
        if destination.address is not None:
            return [destination.address]  # it has been checked
        override = policy.override(destination.host)
        if override is not None:
            addresses = [override]
        else:
            addresses = await self._lookups.addresses(destination.host, "/".join(owner))
        if not all(policy.allows(address, destination.port, destination.host) for address in addresses):
            raise Prohibited
        return addresses


def check_server(policy: OutboundPolicy, server: Server) -> None:
    """Raises an `OutboundError` for a server that guests may not name under this policy.

    Where the policy names hosts, one of its rules has to name the server with its port, and neither scheme nor method.
    """
    if server.path is not None:
        raise InvalidUrl("", "only hosts can be connected to, not files of this one")
    hosts = None if policy.hosts is None else tuple(rule for rule in policy.hosts if rule.scheme is None)
    judge = replace(policy, schemes=frozenset({"https"}), hosts=hosts)
    judge.check(f"https://{server.authority}/", "VALKEY")


async def _in_turn(find: Callable[[], ValkeyClient], slots: Slots, call: Call) -> list[Reply]:
    """The replies; the client is looked for when it is used: who waits does not keep one from being forgotten."""
    loop = asyncio.get_running_loop()
    end = loop.time() + call.timeout_ms / 1000
    try:
        async with asyncio.timeout_at(end):
            await slots.acquire(call.owner)
    except TimeoutError:
        raise LimitReached from None
    try:
        left_ms = max(0, int((end - loop.time()) * 1000))
        return await find().pipeline(call.commands, timeout_ms=left_ms, budget=call.budget, on_connect=call.on_connect)
    finally:
        slots.release(call.owner)


async def _connect(address: Address, server: Server, tls: ssl.SSLContext | None, seconds: float) -> Connection | None:
    """A connection to one address; `None` where nobody is there."""
    destination = server.destination
    loop = asyncio.get_running_loop()
    name = None if tls is None else destination.host
    try:
        async with asyncio.timeout(seconds):
            connecting = loop.create_connection(
                Connection, str(address), destination.port, ssl=tls, server_hostname=name
            )
            return (await connecting)[1]
    except ssl.SSLError:
        raise
    except (OSError, TimeoutError):
        return None
