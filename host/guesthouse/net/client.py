"""`OutboundClient`: the only way out.  One HTTP request to a checked destination, within time, size and number.

Promises: never connects to an address that the policy does not allow, follows no redirect, uses no proxy, keeps no
cookie, inflates nothing, and ends within its timeout, a body that is still arriving included; every way to fail is one
class of `failures`.  Must not know of guests: `interfaces.http` speaks their language.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from re import compile as pattern

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import HttpProcessingError, PayloadEncodingError
from aiohttp.payload import Payload
from yarl import URL

from guesthouse.limits import Limits
from guesthouse.net.body import Bounds, ResponseBody
from guesthouse.net.breaker import Breakers
from guesthouse.net.failures import (
    ConnectionFailed,
    ConnectTimeout,
    Interrupted,
    InvalidMethod,
    LimitReached,
    Malformed,
    OutboundError,
    Prohibited,
    Timeout,
    TlsError,
    TooLarge,
)
from guesthouse.net.headers import MAX_HEADERS, Headers, incoming, outgoing
from guesthouse.net.policy import PUBLIC, HostRule, OutboundPolicy
from guesthouse.net.pool import EXCHANGE, Exchange, Pool, Request
from guesthouse.net.resolver import Lookups, Resolver, SystemResolver
from guesthouse.net.signing import AssumeRole, Role, Secret, Signer
from guesthouse.net.slots import PER_SERVER, Allowance, Owner, Slots, Turn, default_connections

_METHOD = pattern(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}\Z")
_MAX_LINE = 32 * 1024
_CHUNK = 256 * 1024
_READ_AHEAD = 64 * 1024
"""Bytes of a body that are taken from the network (twice as many at most) before somebody reads them."""
WHOLE = 64 * 1024
"""Bodies whose announced length is at most this are waited for: what breaks off is then an error, not half an answer."""
_ENDLESS = 1 << 62
"""The bound of a body that nobody reads."""
_AT_ONCE = 0.01
"""Seconds before its time is up in which a request that is cancelled took too long: its guest's deadline came first."""
_NOTHING_OF_OURS = ("Accept-Encoding", "Content-Type", "User-Agent")
_IDENTITY = ("Accept-Encoding", "identity")
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)


@dataclass(frozen=True, slots=True)
class OutboundConfig:
    """How a host reaches the world; `ca_file` (PEM) is trusted in addition to the system's certificates."""

    policy: OutboundPolicy = PUBLIC
    ca_file: str | None = None
    connect_timeout_ms: int = 10_000
    """Longest wait for a free slot, and then for name, TCP and TLS, within the request's own timeout."""
    connections: int | None = None
    """Requests at once; `None`: as many as the process's file descriptors are good for."""
    connections_per_server: int = PER_SERVER
    """Requests of one function to one server at once; as many more may wait, and any others fail."""


@dataclass(frozen=True, slots=True)
class OutboundRequest:
    """One request, as it was asked for: nothing in it has been checked."""

    method: str
    url: str
    headers: Headers = ()
    body: bytes = b""
    owner: Owner = ("", "")
    """Namespace and name of the function it is for: they share connections with nobody, and have their own slots."""
    timeout_ms: int = Limits().http_timeout_ms
    """Until the whole answer is there, in milliseconds."""
    response_bytes: int = Limits().http_response_bytes
    """Largest response body."""
    idle_ms: int = Limits().http_idle_ms
    """Longest silence of the server in the middle of a body, in milliseconds."""
    granted: tuple[HostRule, ...] | None = None
    """What the deployment may ask for, within the policy; `None`: all of that."""
    authorization: Secret | Role | None = None
    """How to sign it, instead of whatever authorization its headers have."""
    body_wanted: bool = True
    """Whether anybody reads the response's body: if not, the answer is there with its headers, however large it is."""


@dataclass(frozen=True, slots=True)
class OutboundResponse:
    """The answer as it came: headers in order, names in lower case, duplicates kept; the body still encoded."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    rest: ResponseBody | None = None
    """The whole body, where it is still arriving; `body` is empty then."""


class OutboundClient:
    """Sends requests; belongs to one event loop.  `policy` may be replaced at any time."""

    def __init__(
        self,
        config: OutboundConfig | None = None,
        *,
        resolver: Resolver | None = None,
        assume_role: AssumeRole | None = None,
    ) -> None:
        self.config = config or OutboundConfig()
        self.policy = self.config.policy
        self.slots = Slots(self.config.connections or default_connections(), self.config.connections_per_server)
        self.breakers = Breakers()
        self._system = None if resolver else SystemResolver()
        self._lookups = Lookups(resolver or self._system or SystemResolver())
        self._tls = self._tls_context() if self.config.ca_file else None  # a wrong file shows at the start
        self._session: aiohttp.ClientSession | None = None
        self._signer = Signer(assume_role)
        self.on_error: Callable[[str], None] = lambda kind: None
        """Told the class of each failure, for the metrics."""

    async def fetch(
        self, request: OutboundRequest, allowance: Allowance | None = None, policy: OutboundPolicy | None = None
    ) -> OutboundResponse:
        """The whole answer to `request`, whatever its status; raises an `OutboundError`."""
        answer = await self.open(request, allowance, policy)
        return answer if answer.rest is None else replace(answer, body=await answer.rest.collect(), rest=None)

    async def open(
        self, request: OutboundRequest, allowance: Allowance | None = None, policy: OutboundPolicy | None = None
    ) -> OutboundResponse:
        """The answer to `request` as soon as its headers are there; raises an `OutboundError`.

        Whoever gets a `rest` has to read it to its end or close it.
        """
        try:
            return await self._open_answer(request, allowance, policy or self.policy)
        except OutboundError as error:
            self.on_error(type(error).__name__)
            raise

    async def _open_answer(
        self, request: OutboundRequest, allowance: Allowance | None, policy: OutboundPolicy
    ) -> OutboundResponse:
        if not _METHOD.match(request.method) or request.method.upper() == "CONNECT":
            raise InvalidMethod
        destination = policy.check(request.url, request.method, request.granted)
        headers: Headers = outgoing(request.headers)
        if allowance is not None:
            allowance.spend()
        self.breakers.check((*request.owner, destination.authority))  # what would fail needs no turn
        exchange = Exchange(destination, policy, request.owner)
        loop = asyncio.get_running_loop()
        until = loop.time() + request.timeout_ms / 1000
        try:
            answer = await self._until(until, request, headers, exchange, allowance)
        except BaseException as error:
            late = isinstance(error, asyncio.CancelledError) and loop.time() >= until - _AT_ONCE
            self._settle(exchange, Timeout() if late else error)
            raise
        self._settle(exchange, None)
        return answer

    async def _until(
        self,
        until: float,
        request: OutboundRequest,
        headers: Headers,
        exchange: Exchange,
        allowance: Allowance | None,
    ) -> OutboundResponse:
        destination = exchange.destination
        turn = Turn(self.slots, (*request.owner, destination.authority), allowance)
        try:
            async with asyncio.timeout_at(until):
                if request.authorization is not None:
                    exchange.destination, headers = await self._signer.sign(
                        request.authorization, request.method.upper(), destination, headers, request.body
                    )
                return await self._in_turn(request, headers, exchange, turn, until)
        except TimeoutError:
            if exchange.waiting:
                raise LimitReached from None
            raise (Timeout if exchange.sent else ConnectTimeout) from None

    def _settle(self, exchange: Exchange, error: BaseException | None) -> None:
        """Tells the breaker of a server what came of a request that was let through to it."""
        if exchange.probe is not None:
            self.breakers.settle((*exchange.owner, exchange.destination.authority), error, exchange.probe)

    async def close(self) -> None:
        """Ends all requests and connections; may be called twice."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        await self._lookups.close()
        if self._system is not None:
            self._system.close()

    async def _in_turn(
        self, request: OutboundRequest, headers: Headers, exchange: Exchange, turn: Turn, until: float
    ) -> OutboundResponse:
        exchange.waiting = True
        if turn.free:
            await turn.acquire()
        else:
            async with asyncio.timeout(self.config.connect_timeout_ms / 1000):
                await turn.acquire()
        exchange.waiting = False
        try:
            exchange.probe = self.breakers.enter((*request.owner, exchange.destination.authority))
            response = await self._exchange(request, headers, exchange)
            try:
                return await self._receive(response, request, until, exchange, turn)
            except BaseException:
                response.close()
                raise
        except BaseException:
            turn.release()
            raise

    async def _exchange(self, request: OutboundRequest, headers: Headers, exchange: Exchange) -> aiohttp.ClientResponse:
        token = EXCHANGE.set(exchange)
        try:
            return await self._send(request, headers, exchange)
        except (aiohttp.ClientError, OSError) as error:
            raise _failure(error, exchange) from None
        finally:
            EXCHANGE.reset(token)

    async def _receive(
        self,
        response: aiohttp.ClientResponse,
        request: OutboundRequest,
        until: float,
        exchange: Exchange,
        turn: Turn,
    ) -> OutboundResponse:
        headers = incoming(response.raw_headers)
        if headers is None or response.status < 200:  # 101 was not asked for
            raise Malformed
        content, length, wanted = response.content, response.content_length, request.body_wanted
        bounds = Bounds(request.response_bytes if wanted else _ENDLESS, until, request.idle_ms / 1000)
        if length is not None and length > bounds.size and not content.at_eof():
            raise TooLarge
        if content.is_eof():  # came along with the headers: nothing to wait for, and no connection to hold
            turn.release()
            body = content.read_nowait(-1)
            if len(body) > bounds.size:
                raise TooLarge
            return OutboundResponse(response.status, headers, body)
        if (broken := content.exception()) is not None:
            raise _failure(broken, exchange)

        def ended(failure: OutboundError | None) -> None:
            turn.release()
            if failure is not None:
                self.on_error(type(failure).__name__)

        rest = ResponseBody(response, bounds, lambda error: _failure(error, exchange), ended)
        if wanted and length is not None and length <= WHOLE:
            return OutboundResponse(response.status, headers, await rest.collect())
        return OutboundResponse(response.status, headers, b"", rest)

    async def _send(self, request: OutboundRequest, headers: Headers, exchange: Exchange) -> aiohttp.ClientResponse:
        session = self._session or self._open()
        destination = exchange.destination
        fields = [("Host", destination.authority), *headers]
        if not any(name.lower() == "accept-encoding" for name, _ in headers):
            fields.append(_IDENTITY)
        return await session.request(
            request.method,
            URL(destination.url, encoded=True),
            headers=fields,
            data=Body(request.body) if request.body else None,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(
                total=None, connect=self.config.connect_timeout_ms / 1000, ceil_threshold=float("inf")
            ),
        )

    def _open(self) -> aiohttp.ClientSession:
        self._tls = self._tls or self._tls_context()
        self._session = aiohttp.ClientSession(
            connector=Pool(self._lookups, self._tls),
            request_class=Request,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=_NOTHING_OF_OURS,
            timeout=_NO_TIMEOUT,
            read_bufsize=_READ_AHEAD,
            max_line_size=_MAX_LINE,
            max_field_size=_MAX_LINE,
            max_headers=MAX_HEADERS,
        )
        return self._session

    def _tls_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        if self.config.ca_file:
            context.load_verify_locations(self.config.ca_file)
        return context


class Body(Payload):
    """A request body that is written in pieces, so that a large one does not hold up the loop; can be sent again."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._size = len(data)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text."""
        return str(self._value, encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Writes all of it, waiting while the server reads too slowly."""
        for piece in self._pieces():
            await writer.write(piece)

    def _pieces(self) -> Iterator[bytes | memoryview]:
        if len(self._value) <= _CHUNK:
            yield self._value
            return
        view = memoryview(self._value)
        for start in range(0, len(view), _CHUNK):
            yield view[start : start + _CHUNK]


def _failure(error: BaseException, exchange: Exchange) -> OutboundError:
    """What aiohttp's error means; most specific first."""
    if exchange.prohibited:
        return Prohibited()
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return ConnectTimeout()
    if isinstance(error, ssl.SSLError) or isinstance(error.__cause__, ssl.SSLError | ssl.CertificateError):
        return TlsError()
    if isinstance(error, aiohttp.ClientConnectorError):
        return ConnectionFailed()
    if isinstance(error, aiohttp.ClientResponseError):
        return Malformed()
    cause = error.__cause__
    if isinstance(cause, HttpProcessingError) and not isinstance(cause, PayloadEncodingError):
        return Malformed()
    return Interrupted()  # PayloadEncodingError is aiohttp's word for a body that ended early
