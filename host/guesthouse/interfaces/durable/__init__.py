"""`guesthouse:durable`: promises, calls, steps and state."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from guesthouse.interfaces.durable.calls import About, CallInterface
from guesthouse.interfaces.durable.promises import PROMISES, Promises
from guesthouse.interfaces.durable.state import State
from guesthouse.interfaces.durable.steps import Steps
from guesthouse.interfaces.durable.values import Failure, Promise
from guesthouse.interfaces.durable.workflows import (
    NoSuchAwakeable,
    Policy,
    Request,
    Step,
    TooManyPromises,
    Until,
    Waited,
    Why,
    Workflow,
    Workflows,
)

if TYPE_CHECKING:
    from guesthouse.clock import Clock
    from guesthouse.interfaces.base import Interface
    from guesthouse.interfaces.invocation import Invocation

__all__ = [
    "CallInterface",
    "DurableInterface",
    "Failure",
    "NoSuchAwakeable",
    "Policy",
    "Promise",
    "Request",
    "Step",
    "TooManyPromises",
    "Until",
    "Waited",
    "Why",
    "Workflow",
    "Workflows",
    "durable_interfaces",
]


class DurableInterface(Promises, About, Steps, State):
    """All but calls of others, which are granted: `CallInterface`."""

    name = "durable"
    ambient = True
    transactional = True
    resources = {(PROMISES, "promise"): Promise}  # noqa: RUF012  # as of every interface

    def __init__(self, workflows: Workflows, random: Callable[[int], bytes]) -> None:
        self._workflows = workflows
        self._random = random

    def open(self, invocation: Invocation) -> Workflow:
        return self._workflows.open(invocation)


def durable_interfaces(workflows: Workflows, clock: Clock) -> list[Interface]:
    """Both, over the given workflows."""
    durable = DurableInterface(workflows, clock.random_bytes)
    return [durable, CallInterface(durable)]
