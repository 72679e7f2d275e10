"""The invoke route: from a request to a function and back, with nothing on the way that could be left out.

Promises: what a guest learns of a request is decoded, bounded and free of the caller's token; what leaves as an answer
is valid HTTP (G20) or a problem.  Knows nothing of how a function runs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast
from urllib.parse import parse_qsl

from guesthouse.dispatch.places import FUNCTIONS
from guesthouse.errors import (
    BadRequest,
    BodyTooLarge,
    Cancelled,
    Draining,
    GuesthouseError,
    HostError,
    NotFound,
    Unauthorized,
)
from guesthouse.gateway.auth import PARAMETER, Gate, find_stranger, permit
from guesthouse.gateway.routes import INVOKE
from guesthouse.interfaces.invocation import WebRequest
from guesthouse.registry.deployment import ANSWERING
from guesthouse.registry.principal import LOCAL
from guesthouse.telemetry import logger

if TYPE_CHECKING:
    from guesthouse.dispatch.durable_call import DurableCall
    from guesthouse.dispatch.places import Place
    from guesthouse.gateway.exchange import Exchange
    from guesthouse.gateway.services import Outcome, Pending, Principal, Services
    from guesthouse.registry.deployment import Deployment

Run: TypeAlias = "Callable[[Deployment, WebRequest, bytes | AsyncIterator[bytes], Exchange], Outcome | Pending]"
Queued: TypeAlias = "Callable[..., bool]"
log = logger("gateway")


class Begun(NamedTuple):
    """An invocation that goes on in a task."""

    deployment: Deployment
    request: WebRequest
    wait: Callable[[], Awaitable[Outcome]] | None
    """`None`: its body has to be received first."""


def parse_query(query: bytes, most: int) -> list[tuple[str, str]]:
    """The parameters of a query, percent-decoded, in order; raises `BadRequest` over `most` of them.

    Bytes that are no UTF-8 become U+FFFD: guests are given text, and a tracking parameter of others is no reason to refuse.
    """
    try:
        return parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=most)
    except ValueError:  # only for their number: the parser lets no other characters through
        raise BadRequest(f"there are over {most} query parameters") from None


class Functions:
    """Answers requests to functions."""

    def __init__(self, services: Services, gate: Gate, run: Run | None = None) -> None:
        self._services = services
        self._gate = gate
        self._find = services.registry.get
        self._run: Run = run or services.dispatcher.web_now
        self._is_public = services.config.openfaas.public_functions
        self._most_parameters = services.config.http.query_parameters
        self._collect_bytes = services.config.http.collect_bytes
        self.queued: Queued | None = None
        """Who answers requests to durable functions, whose calls are all queued; set by whoever makes both."""

    def now(self, exchange: Exchange, place: Place, query: bytes) -> bool:
        """Answers, if that needs no waiting; otherwise `exchange.later` has to be called in a task."""
        try:
            deployment, request, principal = self.prepare(exchange, place, query)
            if exchange.more_body:
                if deployment.manifest.durable is not None and self.queued is not None:
                    return self.queued(exchange, deployment, request, principal)
                exchange.later, exchange.state = self.later, Begun(deployment, request, None)
                return False
            result = self._run(deployment, request, exchange.take(), exchange)
        except GuesthouseError as error:
            exchange.refuse(error)
            return True
        except Exception as error:
            failed(exchange, error)
            return True
        wait = getattr(result, "wait", None)
        if wait is not None:
            if deployment.manifest.durable is not None and self.queued is not None:
                return self.queued(exchange, deployment, request, principal, cast("DurableCall", result).body)
            exchange.later, exchange.state = self.later, Begun(deployment, request, wait)
            return False
        self._answer(exchange, deployment, cast("Outcome", result))
        return True

    async def later(self, exchange: Exchange) -> None:
        """Goes on with what `now` could not finish; the guest is cancelled if the client goes away."""
        begun: Begun = exchange.state
        exchange.end_when_gone()
        outcome = await (begun.wait or (lambda: self._receive_and_run(exchange, begun)))()
        self._answer(exchange, begun.deployment, outcome)

    def prepare(
        self, exchange: Exchange, place: Place, query: bytes, kinds: frozenset[str] = ANSWERING
    ) -> tuple[Deployment, WebRequest, Principal]:
        """Who asks for what: the deployment, what the guest may know of the request, and whose it is."""
        namespace, name, rest, _ = place
        pairs: Sequence[tuple[str, str]] = parse_query(query, self._most_parameters) if query else ()
        principal: Principal = LOCAL
        fields, token_id = exchange.fields, None
        if self._gate.closed or self._gate.check_local(exchange.host, fields, pairs):
            try:
                principal, credential = self._gate.identify(fields, pairs)
                permit(principal, INVOKE, namespace, name)
                token_id = principal.token_id
                if credential.header:
                    fields = [field for field in fields if field[0] != credential.header]
                else:
                    pairs = [pair for pair in pairs if pair[0] != PARAMETER]
            except Unauthorized:
                stranger = find_stranger(fields, pairs) if self._is_public and place.form != FUNCTIONS else None
                if stranger is None:
                    raise
                principal = stranger  # whatever it shows is for the function
        deployment = self._find(namespace, name)
        if deployment is None:
            raise NotFound("there is no such function")
        if deployment.kind not in kinds:
            raise NotFound(f"this is a {deployment.kind} function: it cannot be called over HTTP")
        limit = deployment.manifest.limits.request_bytes
        if (exchange.length or 0) > limit:
            raise BodyTooLarge(f"the body is over {limit} bytes")
        try:
            headers = [(name, value.decode()) for name, value in fields]
        except UnicodeDecodeError:
            headers = [(name, _text(value)) for name, value in fields]
        return deployment, WebRequest(exchange.method, rest, pairs, headers, token_id), principal

    async def _receive_and_run(self, exchange: Exchange, begun: Begun) -> Outcome:
        """Receives a short body; hands a long one to the guest while it arrives."""
        limit = begun.deployment.manifest.limits.request_bytes
        streams = self._services.dispatcher.takes_stream(begun.deployment)
        first = await collect(exchange, limit, self._collect_bytes if streams else limit)
        body: bytes | AsyncIterator[bytes] = exchange.stream(limit, first) if exchange.more_body else first
        result = self._run(begun.deployment, begun.request, body, exchange)
        wait = getattr(result, "wait", None)
        return cast("Outcome", result) if wait is None else await wait()

    def _answer(self, exchange: Exchange, deployment: Deployment, outcome: Outcome) -> None:
        """Sends what the guest answered, or what became of it instead."""
        error = outcome.error
        if exchange.too_large and not exchange.started:
            limit = deployment.manifest.limits.request_bytes
            exchange.refuse(BodyTooLarge(f"the body is over {limit} bytes"), outcome.invocation_id)
        elif error is not None:
            given_up = isinstance(error, Cancelled) and self._services.dispatcher.draining
            exchange.refuse(Draining() if given_up else error, outcome.invocation_id)
        elif outcome.streamed:
            exchange.finish()
        else:
            exchange.answer(outcome.status, outcome.headers, outcome.body, outcome.invocation_id)


async def collect(exchange: Exchange, limit: int, most: int) -> bytes:
    """The first part of the body: all of it, if that is at most `most` bytes; raises `BodyTooLarge` over `limit`."""
    if exchange.length is not None and exchange.length > most:
        return await exchange.read()
    pieces, size = [], 0
    while size <= most and (piece := await exchange.read()):
        pieces.append(piece)
        size += len(piece)
        if exchange.arrived > limit:
            raise BodyTooLarge(f"the body is over {limit} bytes")
    return b"".join(pieces)


def failed(exchange: Exchange, error: Exception) -> None:
    """Answers what nobody expected, and writes it down."""
    log.error("an invocation failed in the host", exc_info=error)
    exchange.refuse(HostError("an invocation failed in the host"))


def _text(value: bytes) -> str:
    """A header's value as text: UTF-8 if it can be, otherwise what HTTP once meant by it."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
