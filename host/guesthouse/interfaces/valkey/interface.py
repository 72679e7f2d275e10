"""`ValkeyInterface`: both generations of Valkey for guests on one `GuestValkey`.

Promises: every failure is an error value, never a trap; the error reply of a single command, and of a pipe in which
every command failed, is the call's error, any other is a value at its place.  Must not know of sockets or addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from hashlib import sha256
from typing import Any, Protocol, TypeAlias

from guesthouse.clock import SYSTEM_CLOCK, Clock
from guesthouse.engine.values import Err, Ok
from guesthouse.errors import BodyTooLarge, GuesthouseError
from guesthouse.interfaces.base import Effect, Interface, host_call
from guesthouse.interfaces.bytes import Data, collect, discard, peek
from guesthouse.interfaces.invocation import Invocation
from guesthouse.interfaces.valkey.grants import check_pattern, grants_cluster, grants_server
from guesthouse.interfaces.valkey.replies import OldResponseStream, ResponseStream, Value
from guesthouse.net.failures import LimitReached, OutboundError, Ungranted
from guesthouse.net.resp import Budget, ErrorReply, Reply
from guesthouse.net.valkey_guests import Call, GuestValkey
from guesthouse.net.valkey_url import parse_server

VALKEY = "momento:valkey/valkey@1.0.0"
REDIS = "momento:host/redis@1.0.0"

Result: TypeAlias = "Ok[Any] | Err[tuple[str, str]]"
Send: TypeAlias = Callable[[Call], Coroutine[Any, Any, list[Reply]]]


class Command(Protocol):
    """`record command`, of either generation."""

    @property
    def command(self) -> str: ...
    @property
    def arguments(self) -> Sequence[Data]: ...


class ClusterClient:
    """`resource cluster-client`: a name, which need not be that of a cluster until something is asked of it."""

    stream: type[ResponseStream] = ResponseStream

    def __init__(self, name: str) -> None:
        self.name = name

    def packed(self) -> str:
        """Which it is: journals compare it."""
        return self.name


class OldClusterClient(ClusterClient):
    """The same of the older generation."""

    stream = OldResponseStream


class Client:
    """`resource client` of the older generation: a URL, which need not be one until something is asked of it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def packed(self) -> bytes:
        """Which it is, without the password that may be in it."""
        return sha256(self.url.encode()).digest()[:8]


class Allowance:
    """What one invocation may use up."""

    def __init__(self, connections: int, reply_bytes: int) -> None:
        self._connections = connections
        self.budget = Budget(reply_bytes)

    def connect(self) -> None:
        """Counts a connection; raises `LimitReached` when all are used up."""
        if self._connections <= 0:
            raise LimitReached("limit exceeded: too many connections of this invocation")
        self._connections -= 1


class ValkeyInterface(Interface):
    """Commands to configured clusters, and to servers that older guests name by URL; `valkey` is closed with it."""

    name = "valkey"
    resources = {  # noqa: RUF012  # a ClassVar in the base class
        (VALKEY, "response-stream"): ResponseStream,
        (VALKEY, "cluster-client"): ClusterClient,
        (REDIS, "response-stream"): OldResponseStream,
        (REDIS, "cluster-client"): OldClusterClient,
        (REDIS, "client"): Client,
    }

    def __init__(self, valkey: GuestValkey, clock: Clock = SYSTEM_CLOCK) -> None:
        self._valkey = valkey
        self._clock = clock

    def check_grant(self, pattern: str) -> None:
        """`valkey:NAME`, `valkey:NAME*` or `valkey:redis://host:port`."""
        check_pattern(pattern)

    def place(self, invocation: Invocation, function: str, args: Sequence[Any]) -> str | None:
        """The name of the cluster, or the host of a server."""
        client: ClusterClient | Client = args[0]
        if isinstance(client, ClusterClient):
            return client.name
        try:
            return parse_server(client.url).destination.host
        except OutboundError:
            return None

    def cut_off(self, interface: str, function: str) -> Result:
        """An error that says so."""
        return _other("the host ended while the command was under way; it was perhaps done")

    def open(self, invocation: Invocation) -> Allowance:
        """What one invocation may use up."""
        return Allowance(invocation.limits.valkey_connections, invocation.limits.valkey_reply_bytes)

    async def close(self) -> None:
        """Ends all connections."""
        await self._valkey.close()

    @host_call(VALKEY, "get-managed-cluster-client")
    def cluster(self, invocation: Invocation, name: str) -> ClusterClient:
        """A client of the cluster of that name, if there is one."""
        return ClusterClient(name)

    @host_call(REDIS, "get-managed-cluster-client")
    def old_cluster(self, invocation: Invocation, name: str) -> ClusterClient:
        """The same for the older generation."""
        return OldClusterClient(name)

    @host_call(REDIS, "[constructor]client")
    def client(self, invocation: Invocation, connection: tuple[str, str]) -> Client:
        """A client of the server at the URL of a `basic-connection`."""
        return Client(connection[1])

    @host_call(VALKEY, "[method]response-stream.next")
    @host_call(REDIS, "[method]response-stream.next")
    def next(self, invocation: Invocation, stream: ResponseStream) -> Value | None:
        """The next element."""
        return stream.next()

    @host_call(VALKEY, "[method]cluster-client.command", Effect.WRITE)
    @host_call(REDIS, "[method]cluster-client.command", Effect.WRITE)
    async def command(self, invocation: Invocation, client: ClusterClient, command: Command) -> Result:
        """The reply to one command."""

        async def send(call: Call) -> list[Reply]:
            self._check_cluster(invocation, client.name)
            return await self._valkey.to_cluster(client.name, call)

        try:
            (reply,) = await self._send(invocation, [command], send)
        except OutboundError as failure:
            return _other(str(failure))
        return _other(str(reply)) if isinstance(reply, ErrorReply) else Ok(client.stream.value(reply))

    @host_call(REDIS, "[method]client.pipe", Effect.WRITE)
    async def pipe(self, invocation: Invocation, client: Client, commands: Sequence[Command]) -> Result:
        """The replies to all commands, as a stream."""

        async def send(call: Call) -> list[Reply]:
            server, patterns = parse_server(client.url), invocation.deployment.manifest.granted(self.name)
            if not grants_server(patterns, server):
                raise Ungranted(self.name, server.origin)
            return await self._valkey.to_url(client.url, call)

        try:
            replies = await self._send(invocation, commands, send)
        except OutboundError as failure:
            return _other(str(failure))
        if replies and all(isinstance(reply, ErrorReply) for reply in replies):
            return _other(str(replies[0]))
        return Ok(OldResponseStream(replies))

    def _check_cluster(self, invocation: Invocation, name: str) -> None:
        """Raises `Ungranted`, or `OutboundError` with the names that there are."""
        patterns = invocation.deployment.manifest.granted(self.name)
        if not grants_cluster(patterns, name):
            raise Ungranted(self.name, name)
        if name not in self._valkey.clusters:
            there = [known for known in self._valkey.clusters if grants_cluster(patterns, known)]
            known = f"the configured ones are: {', '.join(there)}" if there else "none is configured"
            raise OutboundError(f"there is no cluster {name[:64]!r}; {known}")

    async def _send(self, invocation: Invocation, commands: Sequence[Command], send: Send) -> list[Reply]:
        """The replies, within all bounds of the invocation; raises an `OutboundError`."""
        limits, deployment = invocation.limits, invocation.deployment
        ready = await _collected(commands, limits.lift_bytes)
        allowance: Allowance = invocation.state(self)
        left_ms = max(0, invocation.deadline_ns - self._clock.monotonic_ns()) // 1_000_000
        owner = (deployment.namespace, deployment.name)
        timeout_ms = min(limits.valkey_timeout_ms, left_ms)
        return await send(Call(ready, owner, timeout_ms, allowance.budget, allowance.connect))


async def _collected(commands: Sequence[Command], limit: int) -> list[list[bytes]]:
    """The commands with all bytes of their arguments, at most `limit` bytes in all."""
    ready: list[list[bytes]] = []
    try:
        for command in commands:
            parts = [command.command.encode()]
            for argument in command.arguments:
                found = peek(argument)
                if found is None:
                    found = await collect(argument, limit)
                limit -= len(found)
                if limit < 0:
                    raise BodyTooLarge("the arguments are too large")
                parts.append(found)
            ready.append(parts)
    except BodyTooLarge:
        raise OutboundError("limit exceeded: the arguments of the command are too large") from None
    except GuesthouseError:
        raise OutboundError("an argument of the command broke off") from None
    finally:
        for command in commands:
            for argument in command.arguments:
                discard(argument)
    return ready


def _other(text: str) -> Err[tuple[str, str]]:
    return Err(("other", text))
