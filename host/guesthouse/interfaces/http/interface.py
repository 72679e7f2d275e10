"""`HttpInterface`: both generations of the guest's HTTP client on one `OutboundClient`.

Promises: every HTTP status is a response; every failure is an error value with stable words, never a trap; the guest's
limits and deadline bound each request.  Must not know of sockets, names or addresses.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from guesthouse.clock import SYSTEM_CLOCK, Clock
from guesthouse.engine.values import Err, Ok
from guesthouse.errors import BodyTooLarge, GuesthouseError
from guesthouse.interfaces.base import Effect, Interface, host_call
from guesthouse.interfaces.bytes import Data, collect, discard, peek
from guesthouse.interfaces.http.errors import error_1_0, error_1_1
from guesthouse.interfaces.invocation import Invocation
from guesthouse.net.client import OutboundClient, OutboundRequest, OutboundResponse
from guesthouse.net.failures import OutboundError
from guesthouse.net.slots import Allowance

HTTP_1_0 = "momento:http/http@1.0.0"
HTTP_1_1 = "momento:http/http@1.1.0"
HTTP_OLD = "momento:host/http@1.0.0"


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

    def open(self, invocation: Invocation) -> Allowance:
        """What one invocation may send."""
        return Allowance(invocation.limits.http_requests, invocation.limits.http_concurrency)

    async def close(self) -> None:
        """Ends all requests and connections."""
        await self._client.close()

    @host_call(HTTP_1_0, "invoke", Effect.WRITE)
    async def invoke_1_0(self, invocation: Invocation, request: RequestWithVerb) -> Ok[Response] | Err[Any]:
        """Sends a request; every kind of network failure is a `request-error`."""
        try:
            return Ok(_response(await self._fetch(invocation, request, request.verb)))
        except OutboundError as failure:
            return Err(error_1_0(failure))

    @host_call(HTTP_1_1, "invoke", Effect.WRITE)
    async def invoke_1_1(self, invocation: Invocation, request: RequestWithVerb) -> Ok[Response] | Err[Any]:
        """Sends a request; failures have a case of their own each."""
        return await self.invoke_with_timeout(invocation, request)

    @host_call(HTTP_1_1, "invoke-with-timeout", Effect.WRITE)
    async def invoke_with_timeout(
        self, invocation: Invocation, request: RequestWithVerb, timeout_milliseconds: int | None = None
    ) -> Ok[Response] | Err[Any]:
        """Sends a request with a bound on the whole exchange, within the limit and the deadline."""
        try:
            return Ok(_response(await self._fetch(invocation, request, request.verb, timeout_milliseconds)))
        except OutboundError as failure:
            return Err(error_1_1(failure))

    @host_call(HTTP_OLD, "get", Effect.READ)
    async def get(self, invocation: Invocation, request: Request) -> Ok[Response] | Err[Any]:
        """GET, with the body if there is one."""
        return await self._old(invocation, request, "GET")

    @host_call(HTTP_OLD, "put", Effect.WRITE)
    async def put(self, invocation: Invocation, request: Request) -> Ok[Response] | Err[Any]:
        """PUT."""
        return await self._old(invocation, request, "PUT")

    @host_call(HTTP_OLD, "post", Effect.WRITE)
    async def post(self, invocation: Invocation, request: Request) -> Ok[Response] | Err[Any]:
        """POST."""
        return await self._old(invocation, request, "POST")

    @host_call(HTTP_OLD, "delete", Effect.WRITE)
    async def delete(self, invocation: Invocation, request: Request) -> Ok[Response] | Err[Any]:
        """DELETE."""
        return await self._old(invocation, request, "DELETE")

    async def _old(self, invocation: Invocation, request: Request, method: str) -> Ok[Response] | Err[Any]:
        try:
            answer = await self._fetch(invocation, request, method)
        except OutboundError as failure:
            return Err(error_1_0(failure))
        return Ok(Response(answer.status, answer.headers, answer.body))

    async def _fetch(
        self, invocation: Invocation, request: Request, method: str, timeout_ms: int | None = None
    ) -> OutboundResponse:
        _check_authorization(request)
        limits, deployment = invocation.limits, invocation.deployment
        body = peek(request.body)
        if body is None:
            body = await _collect(request.body, limits.lift_bytes)
        left_ms = max(0, invocation.deadline_ns - self._clock.monotonic_ns()) // 1_000_000
        bound = limits.http_timeout_ms if timeout_ms is None else min(timeout_ms, limits.http_timeout_ms)
        outbound = OutboundRequest(
            method,
            request.url,
            request.headers,
            body,
            (deployment.namespace, deployment.name),
            min(bound, left_ms),
            limits.http_response_bytes,
        )
        return await self._client.fetch(outbound, invocation.state(self))


def _check_authorization(request: Request) -> None:
    case, _ = request.authorization
    if case != "none":
        discard(request.body)
        raise OutboundError(f"authorization {case!r} needs the extra 'aws', which this host does not have")


async def _collect(data: Data, limit: int) -> bytes:
    try:
        return await collect(data, limit)
    except BodyTooLarge:
        raise OutboundError("the request body is too large") from None
    except GuesthouseError:
        raise OutboundError("the request body broke off") from None


def _response(answer: OutboundResponse) -> Response:
    return Response(answer.status, answer.headers, ("value", answer.body))
