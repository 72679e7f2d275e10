"""`WebInterface`: what a guest may ask about its HTTP request, and how it streams its answer.

Promises: request data that is documented as taken once is answered once and empty afterwards; in a spawned run
everything is answered empty; nothing here traps.  Must not know HTTP's wire format.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, TypeVar

from guesthouse.engine.values import Err, Ok
from guesthouse.errors import InvalidModule
from guesthouse.interfaces.base import Effect, Interface, host_call
from guesthouse.interfaces.bytes import Data, discard
from guesthouse.interfaces.web.stream import Refused, ResponseStream

if TYPE_CHECKING:
    from guesthouse.interfaces.invocation import Invocation, WebRequest
    from guesthouse.registry.deployment import Deployment

SUPPORT = "momento:web-function/web-function-support@1.0.0"
SUPPORT_V1 = "momento:functions/web-function-support@1.0.0"
STREAM = "momento:web-function/web-function-stream@1.0.0"

Done = Ok[None] | Err[str]
T = TypeVar("T")


class WebState:
    """What one invocation has taken of its request and sent of its answer."""

    __slots__ = ("stream", "taken")

    def __init__(self, invocation: Invocation) -> None:
        self.taken: set[str] = set()
        self.stream = ResponseStream(invocation)


class WebInterface(Interface):
    """`web-function-support` of both generations and `web-function-stream`."""

    name = "web"
    ambient = True
    local = True

    def check_durable(self, deployment: Deployment, imports: Collection[tuple[str, str]]) -> None:
        """What has left while the guest runs could not be sent once more to whoever waits after a crash."""
        if any(interface == STREAM for interface, _ in imports):
            raise InvalidModule(f"the function cannot be durable: it streams its answer ({STREAM})")

    def open(self, invocation: Invocation) -> WebState:
        return WebState(invocation)

    @host_call(SUPPORT, "headers")
    @host_call(SUPPORT_V1, "headers")
    def headers(self, invocation: Invocation) -> list[tuple[str, str]]:
        """The request's headers, once."""
        request = self._take(invocation, "headers")
        return [] if request is None else _pairs(request.headers)

    @host_call(SUPPORT, "query-parameters")
    @host_call(SUPPORT_V1, "query-parameters")
    def query_parameters(self, invocation: Invocation) -> list[tuple[str, str]]:
        """The decoded query parameters, once."""
        request = self._take(invocation, "query")
        return [] if request is None else _pairs(request.query)

    @host_call(SUPPORT, "token-metadata")
    @host_call(SUPPORT_V1, "token-metadata")
    def token_metadata(self, invocation: Invocation) -> str | None:
        """The id in the caller's token, once."""
        request = self._take(invocation, "token")
        return None if request is None else request.token_id

    @host_call(SUPPORT, "invocation-path")
    @host_call(SUPPORT_V1, "invocation-path")
    def invocation_path(self, invocation: Invocation) -> str | None:
        """The rest of the path after the function's name, once; an empty rest is none."""
        request = self._take(invocation, "path")
        return None if request is None else request.path or None

    @host_call(SUPPORT, "invocation-id")
    @host_call(SUPPORT_V1, "invocation-id")
    def invocation_id(self, invocation: Invocation) -> str:
        """The id of this invocation."""
        return invocation.id

    @host_call(SUPPORT, "http-method")
    @host_call(SUPPORT_V1, "http-method")
    def http_method(self, invocation: Invocation) -> str:
        """The method in capitals; empty where no request began this."""
        return "" if invocation.request is None else invocation.request.method

    @host_call(STREAM, "send-sse", Effect.WRITE)
    async def send_sse(
        self, invocation: Invocation, event: str | None, event_id: str | None, data: Data | None
    ) -> Done:
        """Sends one server-sent event."""
        try:
            await self._stream(invocation).send_sse(event, event_id, data)
        except Refused as refused:
            return Err(str(refused))
        finally:
            discard(data)
        return Ok()

    @host_call(STREAM, "send-response-start", Effect.WRITE)
    async def send_response_start(
        self, invocation: Invocation, status: int, headers: Sequence[tuple[str, str]]
    ) -> Done:
        """Sends status and headers ahead of a body that `send-data` or `send-sse` then make."""
        try:
            await self._stream(invocation).start(status, headers)
        except Refused as refused:
            return Err(str(refused))
        return Ok()

    @host_call(STREAM, "send-data", Effect.WRITE)
    async def send_data(self, invocation: Invocation, data: Data) -> Done:
        """Sends bytes of the body."""
        try:
            await self._stream(invocation).send(data)
        except Refused as refused:
            return Err(str(refused))
        finally:
            discard(data)
        return Ok()

    def _take(self, invocation: Invocation, what: str) -> WebRequest | None:
        request = invocation.request
        if request is None:
            return None
        taken = invocation.state(self).taken
        if what in taken:
            return None
        taken.add(what)
        return request

    def _stream(self, invocation: Invocation) -> ResponseStream:
        stream: ResponseStream = invocation.state(self).stream
        return stream


def _pairs(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return pairs if isinstance(pairs, list) else list(pairs)


def stream_of(invocation: Invocation) -> ResponseStream | None:
    """The answer that this invocation has begun to stream; `None` while nothing has left."""
    for state in invocation.states.values():
        if type(state) is WebState:
            return state.stream if state.stream.started else None
    return None


async def finish_stream(
    invocation: Invocation, status: int, headers: Sequence[tuple[str, str]], body: Data
) -> bool | None:
    """Ends a streamed answer by the response that the guest returned, whose headers come too late and are dropped.

    `None`: nothing was streamed, the response itself is the answer.  `True`: the answer is complete.  `False`: it
    cannot be completed, the connection has to be broken off.
    """
    stream = stream_of(invocation)
    return None if stream is None else await stream.finish(status, body)
