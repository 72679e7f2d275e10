"""`guesthouse:durable/calls`: calls of other functions of the namespace.

Promises: only what was granted is called, judged at each call; what stands in the way of a call is a value for the guest,
and then none of those that were asked for together is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from guesthouse.engine.values import Err, Ok
from guesthouse.errors import Forbidden, InputError, Unavailable
from guesthouse.interfaces.base import Effect, Interface, host_call
from guesthouse.interfaces.durable.part import REFUSALS, Part
from guesthouse.interfaces.durable.promises import Done
from guesthouse.interfaces.durable.values import Failure, Promise, failed
from guesthouse.interfaces.patterns import check_pattern, is_granted

if TYPE_CHECKING:
    from guesthouse.interfaces.durable.workflows import Request, Workflow
    from guesthouse.interfaces.invocation import Invocation

CALLS: Final = "guesthouse:durable/calls@1.0.0"


class Current(NamedTuple):
    """WIT `invocation`."""

    id: str
    key: str | None
    attempt: int
    durable: bool


class About(Part):
    """What an invocation may know of itself; nobody has to be granted that."""

    @host_call(CALLS, "current", Effect.READ)
    def current(self, invocation: Invocation) -> Current:
        """What this invocation is."""
        workflow: Workflow = invocation.state(self)
        return Current(invocation.id, workflow.key, workflow.attempt, workflow.durable)


class CallInterface(Interface):
    """Calls of functions.  A grant may name them: `call:charge` or `call:job-*`."""

    name = "call"
    transactional = True

    def __init__(self, durable: Part) -> None:
        self._durable = durable

    def check_grant(self, pattern: str) -> None:
        """A function's name, or the beginning of one and a star."""
        check_pattern(self.name, pattern)

    @host_call(CALLS, "call", Effect.WRITE)
    async def call(self, invocation: Invocation, requests: Sequence[Request]) -> Ok[list[Promise]] | Err[Failure]:
        """Calls functions."""
        workflow = self._durable.outside_a_step(invocation)
        try:
            self._check_granted(invocation, requests)
            return Ok(await workflow.call(requests) if requests else [])
        except REFUSALS as error:
            return Err(failed(str(error), error.status))

    @host_call(CALLS, "send", Effect.WRITE)
    async def send(self, invocation: Invocation, request: Request) -> Ok[str] | Err[Failure]:
        """Calls a function that nobody waits for."""
        workflow: Workflow = invocation.state(self._durable)
        try:
            self._check_granted(invocation, (request,))
            return Ok(await workflow.send(request))
        except REFUSALS as error:
            return Err(failed(str(error), error.status))

    @host_call(CALLS, "cancel", Effect.WRITE)
    async def cancel(self, invocation: Invocation, id: str, ending: str) -> Done:
        """Ends an invocation of the same family."""
        workflow: Workflow = invocation.state(self._durable)
        try:
            await workflow.end(id, kill=ending == "kill")
        except (InputError, Unavailable) as error:
            return Err(failed(str(error), error.status))
        return Ok()

    def _check_granted(self, invocation: Invocation, requests: Sequence[Request]) -> None:
        for name in {request.function for request in requests}:
            if not is_granted(invocation, self.name, name):
                raise Forbidden(f"to call {name[:64]!r} was not granted")
