"""`DurableCall`: a direct call of a durable function, which is a queued call whose caller waits for its end.

Promises: it is on disk before it begins, and goes on without its caller.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from guesthouse.dispatch.ended import answer_of
from guesthouse.dispatch.invocations import Accepted, Invocations, Wanted
from guesthouse.dispatch.outcome import Outcome
from guesthouse.errors import BodyTooLarge, Draining, GuesthouseError
from guesthouse.interfaces.invocation import ResponseSink, WebRequest
from guesthouse.limits import LONGEST_MS
from guesthouse.queue.call import LIVE, Output, Record
from guesthouse.queue.queue import UnknownInvocation

if TYPE_CHECKING:
    from guesthouse.registry.deployment import Deployment


class DurableCall:
    """One that is made when it is waited for."""

    def __init__(
        self,
        calls: Invocations,
        deployment: Deployment,
        request: WebRequest,
        body: bytes | AsyncIterator[bytes],
        invocation_id: str = "",
    ) -> None:
        self._calls = calls
        self._deployment = deployment
        self._request = request
        self.body = body
        self._id = invocation_id

    async def wait(self, sink: ResponseSink | None = None) -> Outcome:
        """Makes the call and waits for its outcome, however long that takes; one who gives up waiting ends nothing.

        Where the host stops before, the outcome is a `Draining`, and the call goes on when the host is started again.
        """
        accepted = await self._accept()
        if sink is not None:
            sink.invocation_id = accepted.id
        record = await self._calls.attach(accepted.id, LONGEST_MS / 1_000)
        if record.state in LIVE:
            going_on = Draining(f"the host stops; the invocation {accepted.id} goes on when it is started again")
            return Outcome(accepted.id, record.state, error=going_on)
        try:
            output = await self._calls.output(accepted.id)
        except UnknownInvocation:
            output = None
        return outcome_of(record, output)

    async def _accept(self) -> Accepted:
        body = self.body
        if not isinstance(body, bytes):
            body = await self._collect(body)
        method, path, query, headers, token_id = self._request
        return await self._calls.accept(
            self._deployment, Wanted(method, path, query, headers, token_id, body, id=self._id)
        )

    async def _collect(self, body: AsyncIterator[bytes]) -> bytes:
        pieces, size = [], 0
        most = min(self._calls.most_body_bytes, self._deployment.manifest.limits.request_bytes)
        async for piece in body:
            size += len(piece)
            if size > most:
                raise BodyTooLarge(f"the body is over {most} bytes")
            pieces.append(piece)
        return b"".join(pieces)


def outcome_of(record: Record, output: Output | None) -> Outcome:
    """The outcome of an invocation that has ended, as far as it was kept."""
    answer, error = Output(0, (), b""), None
    try:
        answer = answer_of(record, output)
    except GuesthouseError as found:
        error = found
    return Outcome(
        record.id,
        record.result or record.state,
        answer.status,
        answer.headers,
        answer.body,
        error=error,
        fuel_used=record.fuel,
        peak_memory=record.peak_memory,
        duration_ns=record.duration_ns,
    )
