"""`HttpInterface`: both generations of the guest's HTTP client on one `OutboundClient`.

Promises: every HTTP status is a response; every failure is an error value with stable words, never a trap; the guest's
grants, limits and deadline bound each request; one of a durable function that may change something carries a key by which its
server can tell a repetition.  Must not know of sockets, names or addresses.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from guesthouse.clock import SYSTEM_CLOCK, Clock
from guesthouse.engine.values import Err, Ok
from guesthouse.errors import BadRequest, BodyTooLarge, GuesthouseError
from guesthouse.interfaces.base import Effect, Interface, host_call
from guesthouse.interfaces.bytes import Data, collect, discard, peek
from guesthouse.interfaces.http.body import buffer_of
from guesthouse.interfaces.http.errors import WitError, error_1_0, error_1_1
from guesthouse.interfaces.invocation import Invocation
from guesthouse.interfaces.patterns import is_granted
from guesthouse.net.client import OutboundClient, OutboundRequest
from guesthouse.net.destination import check_host, parse_url
from guesthouse.net.failures import Interrupted, OutboundError, Timeout, Unsigned
from guesthouse.net.policy import HostRule, parse_rules
from guesthouse.net.signing import Role, Secret
from guesthouse.net.slots import Allowance
from guesthouse.telemetry import logger

if TYPE_CHECKING:
    from guesthouse.registry.deployment import Deployment

HTTP_1_0 = "momento:http/http@1.0.0"
HTTP_1_1 = "momento:http/http@1.1.0"
HTTP_OLD = "momento:host/http@1.0.0"
SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods that change nothing (RFC 9110, 9.2.1): a request is repeated, whoever it goes to."""
IDEMPOTENCY_KEY = "Idempotency-Key"
NOT_DONE = frozenset({408, 429, *range(500, 600)})
"""Statuses of requests that may succeed later."""
ROLES = "aws-auth"
"""The word in grants for AWS roles."""

Result = Ok["Response"] | Err[Any]
log = logger(__name__)


class Request(Protocol):
    """`record request`, of either generation; the older one has no verb."""

    @property
    def url(self) -> str: ...
    @property
    def headers(self) -> list[tuple[str, str]]: ...
    @property
    def body(self) -> Data: ...
    @property
    def authorization(self) -> tuple[str, Any]: ...


class RequestWithVerb(Request, Protocol):
    """`record request` of the newer generation."""

    @property
    def verb(self) -> str: ...


class Response(NamedTuple):
    """`record response`; its body is `data`, or plain bytes in the older generation."""

    status: int
    headers: list[tuple[str, str]]
    body: Data


class HttpInterface(Interface):
    """The guest's HTTP client; `client` is closed with it."""

    name = "http"

    def __init__(self, client: OutboundClient, clock: Clock = SYSTEM_CLOCK) -> None:
        self._client = client
        self._clock = clock

    def check_grant(self, pattern: str) -> None:
        """`[METHODS ][scheme://]host[:port]`, as hosts are allowed in the configuration."""
        HostRule.parse(pattern)

    def check_durable(self, deployment: Deployment, imports: Collection[tuple[str, str]]) -> None:
        """Raises `BadRequest` for a host of the policy that no request could be to: it would promise what is not kept."""
        policy = deployment.manifest.durable
        for host in () if policy is None else policy.ambiguous:
            if not _is_canonical(host):
                raise BadRequest(
                    f"durable.ambiguous: {host!r:.80} is no host as requests name it: small letters, no scheme, no port"
                )

    def failed(self, function: str, result: Any) -> bool:
        """An error, or a status that says to come back later."""
        return type(result) is Err or result.value.status in NOT_DONE

    def place(self, invocation: Invocation, function: str, args: Sequence[Any]) -> str | None:
        """The host of a request that may change something; `None` for any other, and for a URL that is none."""
        request = args[0]
        if getattr(request, "verb", function).upper() in SAFE:
            return None
        try:
            return parse_url(request.url).host
        except OutboundError:
            return None

    def cut_off(self, interface: str, function: str) -> Result:
        """A connection that was interrupted."""
        failure = Interrupted("the host ended while the request was under way; it was perhaps done")
        return Err(error_1_1(failure) if interface == HTTP_1_1 else error_1_0(failure))

    def open(self, invocation: Invocation) -> Allowance:
        """What one invocation may send."""
        return Allowance(invocation.limits.http_requests, invocation.limits.http_concurrency)

    async def close(self) -> None:
        """Ends all requests and connections."""
        await self._client.close()

    @host_call(HTTP_1_0, "invoke", Effect.WRITE)
    async def invoke_1_0(self, invocation: Invocation, request: RequestWithVerb) -> Result:
        """Sends a request; every kind of network failure is a `request-error`."""
        return await self._invoke(invocation, request, None, error_1_0)

    @host_call(HTTP_1_1, "invoke", Effect.WRITE)
    async def invoke_1_1(self, invocation: Invocation, request: RequestWithVerb) -> Result:
        """Sends a request; failures have a case of their own each."""
        return await self._invoke(invocation, request, None, error_1_1)

    @host_call(HTTP_1_1, "invoke-with-timeout", Effect.WRITE)
    async def invoke_with_timeout(
        self, invocation: Invocation, request: RequestWithVerb, timeout_milliseconds: int
    ) -> Result:
        """Sends a request with a bound on the whole exchange, within the limit and the deadline."""
        return await self._invoke(invocation, request, timeout_milliseconds, error_1_1)

    @host_call(HTTP_OLD, "get", Effect.READ)
    async def get(self, invocation: Invocation, request: Request) -> Result:
        """GET, with the body if there is one."""
        return await self._old(invocation, request, "GET")

    @host_call(HTTP_OLD, "put", Effect.WRITE)
    async def put(self, invocation: Invocation, request: Request) -> Result:
        """PUT."""
        return await self._old(invocation, request, "PUT")

    @host_call(HTTP_OLD, "post", Effect.WRITE)
    async def post(self, invocation: Invocation, request: Request) -> Result:
        """POST."""
        return await self._old(invocation, request, "POST")

    @host_call(HTTP_OLD, "delete", Effect.WRITE)
    async def delete(self, invocation: Invocation, request: Request) -> Result:
        """DELETE."""
        return await self._old(invocation, request, "DELETE")

    async def _invoke(
        self,
        invocation: Invocation,
        request: RequestWithVerb,
        timeout_ms: int | None,
        error: Callable[[OutboundError], WitError],
    ) -> Result:
        try:
            outbound = await self._outbound(invocation, request, request.verb, timeout_ms)
            answer = await self._client.open(outbound, invocation.state(self))
        except OutboundError as failure:
            return Err(error(failure))
        except Exception as bug:
            return _internal(bug)
        return Ok(Response(answer.status, answer.headers, ("buffer", buffer_of(answer))))

    async def _old(self, invocation: Invocation, request: Request, method: str) -> Result:
        try:
            outbound = await self._outbound(invocation, request, method, None)
            answer = await self._client.fetch(outbound, invocation.state(self))
        except OutboundError as failure:
            return Err(error_1_0(failure))
        except Exception as bug:
            return _internal(bug)
        return Ok(Response(answer.status, answer.headers, answer.body))

    async def _outbound(
        self, invocation: Invocation, request: Request, method: str, timeout_ms: int | None
    ) -> OutboundRequest:
        limits, deployment = invocation.limits, invocation.deployment
        began = self._clock.monotonic_ns()
        left = max(0, invocation.deadline_ns - began) // 1_000_000
        bound = min(left, limits.http_timeout_ms if timeout_ms is None else min(timeout_ms, limits.http_timeout_ms))
        body = peek(request.body)
        if body is None:
            body = await _collect(request.body, limits.lift_bytes, bound)
            bound = max(0, bound - (self._clock.monotonic_ns() - began) // 1_000_000)
        granted = deployment.manifest.granted(self.name)
        return OutboundRequest(
            method,
            request.url,
            _headers(invocation, method, request.headers),
            body,
            (deployment.namespace, deployment.name),
            bound,
            limits.http_response_bytes,
            limits.http_idle_ms,
            None if granted is None else parse_rules(granted),
            _authorization(invocation, request),
        )


def _headers(invocation: Invocation, method: str, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The guest's, with a key of a durable function's where it has none of its own."""
    journal = invocation.journal
    if journal is None or not journal.durable or method.upper() in SAFE:
        return headers
    if any(name.lower() == IDEMPOTENCY_KEY.lower() for name, _ in headers):
        return headers
    return [*headers, (IDEMPOTENCY_KEY, journal.idempotency_key())]


def _authorization(invocation: Invocation, request: Request) -> Secret | Role | None:
    """How to sign; a role has to be granted as `aws-auth`, by whatever interface it is used."""
    case, how = request.authorization
    if case == "none":
        return None
    if case != "federated":
        return Secret(*how)
    role = Role(*how)
    if not is_granted(invocation, ROLES, role.role_arn):
        raise Unsigned(f"this function was not granted {ROLES}:{role.role_arn}")
    return role


def _is_canonical(host: str) -> bool:
    """Whether requests can be to what is named so; a word alone may also be a cluster's name."""
    if not re.search("[.:/*]", host):
        return True
    try:
        return check_host(f"[{host}]" if host.count(":") > 1 else host) == host
    except (OutboundError, ValueError):
        return False


async def _collect(data: Data, limit: int, timeout_ms: int) -> bytes:
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            return await collect(data, limit)
    except TimeoutError:
        raise Timeout("the request body took too long") from None
    except BodyTooLarge:
        raise OutboundError("the request body is too large") from None
    except GuesthouseError:
        raise OutboundError("the request body broke off") from None
    finally:
        discard(data)


def _internal(bug: Exception) -> Err[WitError]:
    """Our mistake: the guest learns that much, and the host's log the rest."""
    log.error("an outgoing request failed in the host", exc_info=bug)
    return Err(("internal-error", None))
