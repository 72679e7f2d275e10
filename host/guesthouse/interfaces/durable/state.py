"""`guesthouse:durable/state`: the state of a key.

Promises: names and values are bounded; what stands in the way is a value for the guest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from guesthouse.engine.values import Err, Ok
from guesthouse.errors import BadRequest, BodyTooLarge, InputError
from guesthouse.interfaces.base import Effect, host_call
from guesthouse.interfaces.durable.part import REFUSALS, Part
from guesthouse.interfaces.durable.promises import Done
from guesthouse.interfaces.durable.values import Failure, failed

if TYPE_CHECKING:
    from guesthouse.interfaces.durable.workflows import Workflow
    from guesthouse.interfaces.invocation import Invocation

STATE: Final = "guesthouse:durable/state@1.0.0"


class NoKey(InputError):
    """The invocation was not called with a key."""


class State(Part):
    """Values by name."""

    @host_call(STATE, "get", Effect.READ)
    async def get(self, invocation: Invocation, name: str) -> Ok[bytes | None] | Err[Failure]:
        """A value."""
        try:
            return Ok(await self._keyed(invocation, name).get(name))
        except REFUSALS as error:
            return Err(failed(str(error), error.status))

    @host_call(STATE, "set", Effect.WRITE)
    async def set(self, invocation: Invocation, name: str, value: bytes) -> Done:
        """Sets one."""
        try:
            workflow = self._keyed(invocation, name)
            if len(value) > (most := invocation.limits.state_bytes):
                raise BodyTooLarge(f"the value is over {most} bytes")
            await workflow.set(name, value)
        except REFUSALS as error:
            return Err(failed(str(error), error.status))
        return Ok()

    @host_call(STATE, "clear", Effect.WRITE)
    async def clear(self, invocation: Invocation, name: str) -> Done:
        """Forgets one."""
        try:
            await self._keyed(invocation, name).clear(name)
        except REFUSALS as error:
            return Err(failed(str(error), error.status))
        return Ok()

    @host_call(STATE, "clear-all", Effect.WRITE)
    async def clear_all(self, invocation: Invocation) -> Done:
        """Forgets all."""
        try:
            await self._keyed(invocation).clear(None)
        except REFUSALS as error:
            return Err(failed(str(error), error.status))
        return Ok()

    @host_call(STATE, "names", Effect.READ)
    async def names(self, invocation: Invocation) -> Ok[list[str]] | Err[Failure]:
        """Of all that are set."""
        try:
            return Ok(list(await self._keyed(invocation).names()))
        except REFUSALS as error:
            return Err(failed(str(error), error.status))

    def _keyed(self, invocation: Invocation, name: str | None = None) -> Workflow:
        """What an invocation with a key asks; raises `NoKey` for others, and `BadRequest` for what is no name."""
        workflow: Workflow = invocation.state(self)
        if workflow.key is None:
            raise NoKey("the function was not called with a key")
        most = invocation.limits.durable_name_bytes
        if name is not None and not 0 < len(name.encode()) <= most:
            raise BadRequest(f"the name has to have 1 to {most} bytes")
        return workflow
