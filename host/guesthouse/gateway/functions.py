"""The invoke route: from a request to a function and back, with nothing on the way that could be left out.

Promises: what a guest learns of a request is decoded, bounded and free of the caller's token; what leaves as an answer
is valid HTTP (G20) or a problem.  Knows nothing of how a function runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, cast
from urllib.parse import parse_qsl, unquote_to_bytes

from guesthouse.errors import (
    BadRequest,
    BodyTooLarge,
    Cancelled,
    Draining,
    GuesthouseError,
    HostError,
    NotFound,
)
from guesthouse.gateway.auth import PARAMETER, Gate, permit
from guesthouse.gateway.routes import INVOKE
from guesthouse.interfaces.invocation import WebRequest
from guesthouse.telemetry import logger

if TYPE_CHECKING:
    from guesthouse.gateway.exchange import Exchange
    from guesthouse.gateway.services import Outcome, Services
    from guesthouse.registry.deployment import Deployment

PREFIX: Final = b"/functions/"
log = logger("gateway")


class Place(NamedTuple):
    """What a path under `/functions/` names; not necessarily something that exists."""

    namespace: str
    name: str
    rest: str | None


class Begun(NamedTuple):
    """An invocation that goes on in a task."""

    deployment: Deployment
    request: WebRequest
    wait: Callable[[], Awaitable[Outcome]] | None
    """`None`: its body has to be received first."""


def parse_place(path: bytes) -> Place | None:
    """The function that a raw path names, `None` for another route's; raises `BadRequest` for a malformed rest."""
    if not path.startswith(PREFIX):
        return None
    parts = path[len(PREFIX) :].split(b"/", 2)
    if len(parts) < 2 or parts[0] == b"manage":
        return None
    rest = parts[2] if len(parts) == 3 else b""
    try:
        text = (unquote_to_bytes(rest) if b"%" in rest else rest).decode()
    except UnicodeDecodeError:
        raise BadRequest("the path is not valid UTF-8") from None
    return Place(parts[0].decode("ascii"), parts[1].decode("ascii"), text or None)


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

    def __init__(self, services: Services, gate: Gate) -> None:
        self._services = services
        self._gate = gate
        self._find = services.registry.get
        self._run = services.dispatcher.web_now
        self._most_parameters = services.config.http.query_parameters
        self._collect_bytes = services.config.http.collect_bytes

    def now(self, exchange: Exchange, place: Place, query: bytes) -> bool:
        """Answers, if that needs no waiting; otherwise `later` has to be called in a task."""
        try:
            deployment, request = self._prepare(exchange, place, query)
            if exchange.more_body:
                exchange.state = Begun(deployment, request, None)
                return False
            result = self._run(deployment, request, exchange.take(), exchange)
        except GuesthouseError as error:
            exchange.refuse(error)
            return True
        except Exception as error:
            self._failed(exchange, error)
            return True
        wait = getattr(result, "wait", None)
        if wait is not None:
            exchange.state = Begun(deployment, request, wait)
            return False
        self._answer(exchange, deployment, cast("Outcome", result))
        return True

    async def later(self, exchange: Exchange) -> None:
        """Goes on with what `now` could not finish; the guest is cancelled if the client goes away."""
        begun: Begun = exchange.state
        exchange.cancel_when_gone = True
        try:
            if exchange.gone:  # before this task has had its first turn: `wait` has to be told nevertheless
                _cancel_this_task()
            outcome = await (begun.wait or (lambda: self._receive_and_run(exchange, begun)))()
        except asyncio.CancelledError:
            if not exchange.gone:  # the server's last resort when it stops
                exchange.refuse(Draining())
        except GuesthouseError as error:
            exchange.refuse(error)
        except Exception as error:
            self._failed(exchange, error)
        else:
            self._answer(exchange, begun.deployment, outcome)

    def _prepare(self, exchange: Exchange, place: Place, query: bytes) -> tuple[Deployment, WebRequest]:
        """Who asks for what: the deployment, and what the guest may know of the request."""
        namespace, name, rest = place
        pairs: Sequence[tuple[str, str]] = parse_query(query, self._most_parameters) if query else ()
        fields, token_id = exchange.fields, None
        if self._gate.closed or self._gate.check_local(exchange.host, fields, pairs):
            principal, (_, header) = self._gate.identify(fields, pairs)
            permit(principal, INVOKE, namespace, name)
            token_id = principal.token_id
            if header:
                fields = [field for field in fields if field[0] != header]
            else:
                pairs = [pair for pair in pairs if pair[0] != PARAMETER]
        deployment = self._find(namespace, name)
        if deployment is None:
            raise NotFound("there is no such function")
        if deployment.kind != "web":
            raise NotFound(f"this is a {deployment.kind} function: it cannot be called over HTTP")
        limit = deployment.manifest.limits.request_bytes
        if (exchange.length or 0) > limit:
            raise BodyTooLarge(f"the body is over {limit} bytes")
        try:
            headers = [(name, value.decode()) for name, value in fields]
        except UnicodeDecodeError:
            headers = [(name, _text(value)) for name, value in fields]
        return deployment, WebRequest(exchange.method, rest, pairs, headers, token_id)

    async def _receive_and_run(self, exchange: Exchange, begun: Begun) -> Outcome:
        """Receives a short body; hands a long one to the guest while it arrives."""
        limit = begun.deployment.manifest.limits.request_bytes
        streams = self._services.dispatcher.takes_stream(begun.deployment)
        first = await self._collect(exchange, limit, self._collect_bytes if streams else limit)
        body: bytes | AsyncIterator[bytes] = exchange.stream(limit, first) if exchange.more_body else first
        result = self._run(begun.deployment, begun.request, body, exchange)
        wait = getattr(result, "wait", None)
        return cast("Outcome", result) if wait is None else await wait()

    async def _collect(self, exchange: Exchange, limit: int, most: int) -> bytes:
        """The first part of the body: all of it, if that is at most `most` bytes."""
        if exchange.length is not None and exchange.length > most:
            return await exchange.read()
        pieces, size = [], 0
        while size <= most and (piece := await exchange.read()):
            pieces.append(piece)
            size += len(piece)
            if exchange.arrived > limit:
                raise BodyTooLarge(f"the body is over {limit} bytes")
        return b"".join(pieces)

    def _answer(self, exchange: Exchange, deployment: Deployment, outcome: Outcome) -> None:
        """Sends what the guest answered, or what became of it instead."""
        error = outcome.error
        if exchange.too_large and not exchange.started:
            limit = deployment.manifest.limits.request_bytes
            exchange.refuse(BodyTooLarge(f"the body is over {limit} bytes"), outcome.invocation_id)
        elif error is not None:
            given_up = isinstance(error, Cancelled) and not exchange.gone  # not the client's doing: the host stops
            exchange.refuse(Draining() if given_up else error, outcome.invocation_id)
        elif outcome.streamed:
            exchange.finish()
        else:
            exchange.answer(outcome.status, outcome.headers, outcome.body, outcome.invocation_id)

    def _failed(self, exchange: Exchange, error: Exception) -> None:
        log.error("an invocation failed in the host", exc_info=error)
        exchange.refuse(HostError("an invocation failed in the host"))


def _text(value: bytes) -> str:
    """A header's value as text: UTF-8 if it can be, otherwise what HTTP once meant by it."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _cancel_this_task() -> None:
    task = asyncio.current_task()
    if task is not None:
        task.cancel()
