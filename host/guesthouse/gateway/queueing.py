"""Calls that are accepted now and run later: the enqueue route, and what a header of the invoke route asks for.

Promises: 202 is said once the call is on disk; a function is told of a request what it would be told if it was called at
once, but for the headers that were for us.  Knows nothing of how calls are kept and run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote

from guesthouse.dispatch.ended import read_answer
from guesthouse.dispatch.invocations import CALL_ID, START_TIME, Accepted, Wanted
from guesthouse.dispatch.places import ASYNC_FUNCTION
from guesthouse.errors import AdmissionFull, BadRequest, GuesthouseError, NotFound
from guesthouse.gateway.functions import collect, failed, parse_query
from guesthouse.gateway.problems import MethodNotAllowed, StillRunning
from guesthouse.gateway.routes import ANY_TOKEN, INVOKE, MANAGE
from guesthouse.gateway.visible import find_visible
from guesthouse.gateway.wishes import Wishes, prefers_async, read_wishes
from guesthouse.queue.call import LIVE
from guesthouse.registry.deployment import ANSWERING, CALLABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from guesthouse.dispatch.places import Place
    from guesthouse.gateway.auth import Gate
    from guesthouse.gateway.exchange import Exchange
    from guesthouse.gateway.functions import Functions
    from guesthouse.gateway.services import Principal, Services
    from guesthouse.interfaces.invocation import WebRequest
    from guesthouse.registry.deployment import Deployment

PATIENCE_SECONDS: Final = 60
"""How long a call with an Idempotency-Key may wait for its turn, besides the deadline of its function."""
OWN: Final = frozenset({CALL_ID, START_TIME, "x-duration-seconds", "idempotency-replayed", "preference-applied"})
"""Headers of a stored answer that are the host's."""
PATH: Final = "/invocations/"


class Queued(NamedTuple):
    """A request whose call is to be queued."""

    deployment: Deployment
    request: WebRequest
    wishes: Wishes
    principal: Principal
    waits: bool
    """Whether its caller waits for the result, as of a call that is not queued."""
    body: bytes | None = None
    """`None`: it has not been taken yet."""

    @property
    def durable(self) -> bool:
        """Whether the call goes on whatever becomes of its caller, and of the host."""
        return self.deployment.manifest.durable is not None


class Queueing:
    """Answers requests whose calls are queued."""

    def __init__(self, services: Services, functions: Functions, gate: Gate) -> None:
        self._services = services
        self._functions = functions
        self._gate = gate
        self._invocations = services.invocations
        self._most_parameters = services.config.http.query_parameters

    def now(self, exchange: Exchange, place: Place, query: bytes) -> bool:
        """`/async-function/…`: what is wrong with it is said at once; all else is `later`'s."""
        try:
            if exchange.method == "POST":
                self._prepare(exchange, place, query)
                return False
            allowed = {"POST", "DELETE"} if exchange.target.partition(b"?")[0].count(b"/") == 2 else {"POST"}
            if exchange.method not in allowed:
                raise MethodNotAllowed(allowed)
            exchange.later, exchange.state = self._cancel, query
        except GuesthouseError as error:
            exchange.refuse(error)
        except Exception as error:
            failed(exchange, error)
        return exchange.complete

    def asked(self, exchange: Exchange, place: Place, query: bytes, plainly: Callable[..., bool]) -> bool:
        """A request to a function that may prefer not to wait, or be repeated; otherwise it is called `plainly`."""
        if exchange.method != "POST" or not prefers_async(exchange.fields):
            return plainly(exchange, place, query)
        return self.now(exchange, place, query)

    def _prepare(self, exchange: Exchange, place: Place, query: bytes) -> None:
        deployment, request, principal = self._functions.prepare(exchange, place, query, CALLABLE)
        wishes = read_wishes(request.headers)
        self._invocations.check(deployment, exchange.length or 0)
        waits = not wishes.respond_async and place.form != ASYNC_FUNCTION
        if waits and deployment.kind not in ANSWERING:
            raise NotFound(f"this is a {deployment.kind} function: it can be queued, and answers nobody")
        if waits and wishes.delay_ms:
            raise BadRequest("Guesthouse-Delay needs Prefer: respond-async, or /async-function/")
        exchange.later, exchange.state = self._accept, Queued(deployment, request, wishes, principal, waits)

    def direct(
        self,
        exchange: Exchange,
        deployment: Deployment,
        request: WebRequest,
        principal: Principal,
        body: bytes | None = None,
    ) -> bool:
        """A request to a durable function: its call is queued, and its caller waits as for any other."""
        try:
            wishes = read_wishes(request.headers)
            self._invocations.check(deployment, exchange.length or 0)
            if wishes.delay_ms and not wishes.respond_async:
                raise BadRequest("Guesthouse-Delay needs Prefer: respond-async, or /async-function/")
        except GuesthouseError as error:
            exchange.refuse(error)
            return True
        exchange.stamp = None  # all that it says is said of a queued call as well
        exchange.later = self._accept
        exchange.state = Queued(deployment, request, wishes, principal, not wishes.respond_async, body)
        return False

    async def _accept(self, exchange: Exchange) -> None:
        """Stores the call, and waits for its result where the request wants that."""
        queued: Queued = exchange.state
        deployment, request, wishes, principal, waits, body = queued
        if body is None and exchange.more_body:
            most = min(self._invocations.most_body_bytes, deployment.manifest.limits.request_bytes)
            body = await collect(exchange, most, most)
        elif body is None:
            body = exchange.take()
        accepted = await self._invocations.accept(
            deployment,
            Wanted(
                request.method,
                request.path,
                request.query,
                wishes.headers,
                request.token_id,
                body,
                wishes.callback,
                None if wishes.callback is None else lambda *function: principal.allows(INVOKE, *function),
                wishes.call_id,
                wishes.start_ns,
                wishes.key,
                wishes.delay_ms,
                1 if waits and not queued.durable else None,
                wishes.idempotency_key,
                principal.id,
            ),
        )
        if waits or wishes.wait_s is not None:
            await self._answer_result(exchange, queued, accepted)
        else:
            _answer_accepted(exchange, accepted, wishes)

    async def _answer_result(self, exchange: Exchange, queued: Queued, accepted: Accepted) -> None:
        """Waits for the end of the call, as long as the client does; the call goes on without it."""
        wishes = queued.wishes
        longest_s = queued.deployment.manifest.limits.deadline_ms / 1_000 + PATIENCE_SECONDS
        wait_s = (
            longest_s if wishes.wait_s is None else min(longest_s, wishes.wait_s) if queued.waits else wishes.wait_s
        )
        exchange.end_when_gone()
        try:
            record = await self._invocations.attach(accepted.id, wait_s)
        except AdmissionFull:
            if queued.waits and not queued.durable:
                raise
            _answer_accepted(exchange, accepted, wishes)  # a refusal would say that it was not accepted
            return
        if record.state in LIVE:
            if queued.waits and not queued.durable:
                raise StillRunning(f"the call {accepted.id} is {record.state}: repeat it with the same Idempotency-Key")
            _answer_accepted(exchange, accepted, wishes)
            return
        try:
            output = await read_answer(self._invocations, record)
        except GuesthouseError as error:
            exchange.refuse(error, accepted.id)
            return
        headers = _headers(accepted, "" if wishes.wait_s is None else f"wait={wishes.wait_s}")
        headers.append(("x-duration-seconds", f"{record.duration_ns / 1e9:.6f}"))
        headers += [field for field in output.headers if field[0].lower() not in OWN]
        exchange.answer(output.status, headers, output.body, accepted.id)

    async def _cancel(self, exchange: Exchange) -> None:
        """`DELETE /async-function/ID`."""
        query: bytes = exchange.state
        pairs = parse_query(query, self._most_parameters) if query else ()
        principal = self._gate.admit(ANY_TOKEN, exchange.fields, pairs, exchange.host)
        segment = exchange.target.partition(b"?")[0].rpartition(b"/")[2]
        record = await find_visible(self._invocations, unquote(segment.decode("ascii")), principal, INVOKE, MANAGE)
        await self._invocations.cancel(record.id)
        exchange.answer(202, (), b"", record.id)


def _answer_accepted(exchange: Exchange, accepted: Accepted, wishes: Wishes) -> None:
    headers = _headers(accepted, wishes.applied)
    headers.append(("location", f"{PATH}{accepted.id}"))
    exchange.answer(202, headers, b"", accepted.id)


def _headers(accepted: Accepted, applied: str) -> list[tuple[str, str]]:
    headers = [(CALL_ID, accepted.call_id), (START_TIME, accepted.start_ns)]
    if accepted.replayed:
        headers.append(("idempotency-replayed", "true"))
    if applied:
        headers.append(("preference-applied", applied))
    return headers
