"""`Part`: what the interfaces of `guesthouse:durable` share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from guesthouse.errors import AdmissionFull, InputError, Trap
from guesthouse.interfaces.base import Interface
from guesthouse.storage.errors import StorageFull

if TYPE_CHECKING:
    from guesthouse.interfaces.durable.workflows import Workflow
    from guesthouse.interfaces.invocation import Invocation

REFUSALS: Final = (InputError, AdmissionFull, StorageFull)
"""What is the guest's to deal with; other errors end its run."""
LATEST_MS: Final = (1 << 53) - 1
"""The latest time that a promise can wait for: what other programs read as a float is still exact."""


class Part(Interface):
    """One of them; together they are one interface of the host, with one state for each invocation."""

    def outside_a_step(self, invocation: Invocation) -> Workflow:
        """What the invocation asks; traps in a step, whose promises nobody would know after it."""
        workflow: Workflow = invocation.state(self)
        if workflow.step is not None:
            raise Trap(f"in the step {workflow.step.name!r}: promises are neither made nor waited for in steps", "step")
        return workflow
