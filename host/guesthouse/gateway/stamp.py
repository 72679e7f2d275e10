"""`Stamp`: what a call in OpenFaaS's form is known by, when it began, and how long it took, as headers of its answer."""

from __future__ import annotations

from typing import Final

from guesthouse.clock import Clock
from guesthouse.dispatch.invocations import CALL_ID, START_TIME
from guesthouse.interfaces.invocation import Headers

DURATION: Final = "x-duration-seconds"
STAMPS: Final = frozenset({CALL_ID, START_TIME, DURATION})
"""Headers that are the host's, and so nobody else's."""


class Stamp:
    """Made when the call begins."""

    __slots__ = ("_began_ns", "_clock", "call_id", "invocation_id", "start_ns")

    def __init__(self, invocation_id: str, call_id: str, clock: Clock) -> None:
        self.invocation_id = invocation_id
        self.call_id = call_id or invocation_id
        """What the caller knows it by."""
        self.start_ns = clock.wall_ns()
        """Nanoseconds since 1970-01-01 UTC."""
        self._clock = clock
        self._began_ns = clock.monotonic_ns()

    def mark(self, headers: Headers) -> Headers:
        """The headers of an answer that leaves now, with what is said of the call in front."""
        seconds = (self._clock.monotonic_ns() - self._began_ns) / 1e9
        return [
            (CALL_ID, self.call_id),
            (START_TIME, str(self.start_ns)),
            (DURATION, f"{seconds:.6f}"),
            *(field for field in headers if field[0].lower() not in STAMPS),
        ]
