"""`wasi:clocks`: reading and waiting for the guest's clocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from guesthouse.interfaces.base import host_call
from guesthouse.interfaces.wasi.io import Pollable
from guesthouse.interfaces.wasi.state import Part
from guesthouse.interfaces.wasi.time import STEP_NS

if TYPE_CHECKING:
    from guesthouse.interfaces.invocation import Invocation

MONOTONIC = "wasi:clocks/monotonic-clock@0.2.12"
WALL = "wasi:clocks/wall-clock@0.2.12"


class Datetime(NamedTuple):
    """WIT `datetime`."""

    seconds: int
    nanoseconds: int


class Clocks(Part):
    """`wasi:clocks/monotonic-clock` and `wasi:clocks/wall-clock`."""

    @host_call(MONOTONIC, "now")
    def monotonic_now(self, invocation: Invocation) -> int:
        return self._time(invocation).monotonic()

    @host_call(MONOTONIC, "resolution")
    def monotonic_resolution(self, invocation: Invocation) -> int:
        return STEP_NS

    @host_call(MONOTONIC, "subscribe-instant")
    def subscribe_instant(self, invocation: Invocation, when: int) -> Pollable:
        time = self._time(invocation)
        return Pollable(time, time.at(when))

    @host_call(MONOTONIC, "subscribe-duration")
    def subscribe_duration(self, invocation: Invocation, duration: int) -> Pollable:
        time = self._time(invocation)
        return Pollable(time, time.after(duration))

    @host_call(WALL, "now")
    def wall_now(self, invocation: Invocation) -> Datetime:
        return Datetime(*divmod(self._time(invocation).wall(), 1_000_000_000))

    @host_call(WALL, "resolution")
    def wall_resolution(self, invocation: Invocation) -> Datetime:
        return Datetime(0, STEP_NS)
