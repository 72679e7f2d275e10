"""`WasiState`: what WASI keeps for one invocation, made when first needed; `Part`: the base of its function groups."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from guesthouse.errors import Trap
from guesthouse.interfaces.base import Interface
from guesthouse.interfaces.wasi.stdio import Stdio
from guesthouse.interfaces.wasi.time import GuestTime, Sleep

if TYPE_CHECKING:
    from guesthouse.clock import Clock
    from guesthouse.interfaces.invocation import Invocation

MOST_RANDOM_BYTES = 64 * 1024


class WasiState:
    """One invocation's clocks and standard streams."""

    __slots__ = ("_clock", "_invocation", "_sleep", "_time", "stdio")

    def __init__(self, invocation: Invocation, clock: Clock, sleep: Sleep) -> None:
        self._invocation = invocation
        self._clock = clock
        self._sleep = sleep
        self._time: GuestTime | None = None
        self.stdio = Stdio(invocation)

    @property
    def time(self) -> GuestTime:
        """The guest's clocks."""
        if self._time is None:
            self._time = GuestTime(self._clock, self._invocation.deadline_ns, self._sleep)
        return self._time


class Part(Interface):
    """The base of every group of WASI functions: the host's clock, and the state of an invocation."""

    def __init__(self, clock: Clock, sleep: Sleep = asyncio.sleep) -> None:
        self._clock = clock
        self._sleep = sleep

    def open(self, invocation: Invocation) -> WasiState:
        return WasiState(invocation, self._clock, self._sleep)

    def _time(self, invocation: Invocation) -> GuestTime:
        time: GuestTime = invocation.state(self).time
        return time

    def _stdio(self, invocation: Invocation) -> Stdio:
        stdio: Stdio = invocation.state(self).stdio
        return stdio

    def _random(self, count: int) -> bytes:
        if count > MOST_RANDOM_BYTES:
            raise Trap(f"{count} random bytes at once, the limit is {MOST_RANDOM_BYTES}", reason="limit")
        return self._clock.random_bytes(count)


def environment(invocation: Invocation) -> list[tuple[str, str]]:
    """The environment of one invocation: who it is, then what its deployment sets."""
    deployment = invocation.deployment
    return [
        ("__CACHE_NAME", deployment.namespace),
        ("__FUNCTION_NAME", deployment.name),
        ("__INVOCATION_ID", invocation.id),
        *deployment.manifest.environment.items(),
    ]


def exited(status: str) -> Trap:
    """The end of a guest that ended itself."""
    return Trap(f"exited with {status} instead of answering", reason="exit")
