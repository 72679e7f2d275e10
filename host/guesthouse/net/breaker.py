"""`Breakers`: a server that does not answer a function is left alone by that function for a while (F10).

Promises: after so many failures in a row requests fail at once; then one of them at a time is let through to see whether
the server is back, and its answer, whatever its status, opens the way for all.  Other functions and other servers are not
concerned.  Must not know what requests are.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from guesthouse.net.failures import (
    CircuitOpen,
    ConnectionFailed,
    ConnectTimeout,
    Interrupted,
    Malformed,
    Timeout,
    TlsError,
)

FAILURES = 10
"""Failures in a row that open a circuit: fewer could be one unlucky moment of a function with many calls at once."""
REST_SECONDS = 5.0
"""How long a server is left alone at first; twice as long after each probe that fails."""
LONGEST_REST_SECONDS = 60.0
MOST = 10_000
"""Servers with failures that are remembered, times the functions that asked them: guests name servers as they like."""

Key = tuple[str, ...]
"""Namespace and name of the function, and the server's host and port."""
_UNANSWERED = (ConnectTimeout, Timeout, ConnectionFailed, Interrupted, TlsError, Malformed)


class Breakers:
    """The circuits of all functions to all servers; belongs to one event loop."""

    def __init__(self, now: Callable[[], float] | None = None) -> None:
        """`now` is in seconds, the loop's time if not given."""
        self._now = now or (lambda: asyncio.get_running_loop().time())
        self._circuits: OrderedDict[Key, _Circuit] = OrderedDict()

    @property
    def open(self) -> int:
        """Circuits that are open."""
        return sum(circuit.until is not None for circuit in list(self._circuits.values()))

    def check(self, key: Key) -> None:
        """Raises `CircuitOpen` where a request would not be let through."""
        circuit = self._circuits.get(key)
        if circuit is not None and circuit.until is not None and (circuit.probing or self._now() < circuit.until):
            raise CircuitOpen

    def enter(self, key: Key) -> bool:
        """Lets a request through, true for one that is a probe; raises `CircuitOpen`.  `settle` has to follow."""
        self.check(key)
        circuit = self._circuits.get(key)
        if circuit is None or circuit.until is None:
            return False
        circuit.probing = True
        return True

    def settle(self, key: Key, error: BaseException | None, probe: bool) -> None:
        """Told how a request ended that was let through: with an answer (`None`), or with what instead of one."""
        if error is None:
            self._circuits.pop(key, None)
        elif isinstance(error, _UNANSWERED):
            self._failed(key, probe)
        elif probe and (circuit := self._circuits.get(key)) is not None:
            circuit.probing = False  # it says nothing of the server: the next one is the probe

    def _failed(self, key: Key, probe: bool) -> None:
        circuit = self._circuits.setdefault(key, _Circuit())
        self._circuits.move_to_end(key)
        if len(self._circuits) > MOST:
            self._circuits.popitem(last=False)
        circuit.failures += 1
        if probe:
            circuit.probing = False
            circuit.rest = min(2 * circuit.rest, LONGEST_REST_SECONDS)
        if probe or (circuit.until is None and circuit.failures >= FAILURES):
            circuit.until = self._now() + circuit.rest


class _Circuit:
    __slots__ = ("failures", "probing", "rest", "until")

    def __init__(self) -> None:
        self.failures = 0
        self.probing = False
        self.rest = REST_SECONDS
        self.until: float | None = None
        """When the server may be asked again; `None` while the circuit is closed."""
