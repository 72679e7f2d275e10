"""Logging: where a guest's records and the host's records about it go, besides the invocation's own log.

Promises: no record is lost to a wrong configuration (all of them reach the invocation's `LogSink`), `log` never traps
or waits, a flood is bounded and its rest counted.  Must not know who reads a topic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from guesthouse.engine.values import Err, Ok
from guesthouse.interfaces.base import Effect, Interface, host_call

if TYPE_CHECKING:
    from guesthouse.interfaces.invocation import Invocation
    from guesthouse.limits import Limits

LOGGING = "momento:log/logging@1.0.0"
LOGGING_V1 = "momento:host/logging@1.0.0"
SEVERITY = {"off": 0, "debug": 1, "info": 2, "warn": 3, "error": 4}
NOTHING = 5
"""A threshold that no record reaches."""
MOST_DESTINATIONS = 16
MOST_WAITING = 100
"""System records that are kept for the first configuration."""
MOST_LINE_BYTES = 4096
"""What a topic takes as one message; longer lines are cut there."""

Publish: TypeAlias = "Callable[[str, str, str], object]"
"""`publish(namespace, topic, line)`."""


class Destination(NamedTuple):
    """A topic and the severities from which on it gets the guest's and the host's records."""

    topic: str
    guest: int
    system: int


class LogState:
    """The destinations of one invocation and what may still be sent to them."""

    __slots__ = ("bytes_left", "configured", "destinations", "dropped", "lines_left", "waiting")

    def __init__(self, limits: Limits) -> None:
        self.destinations: list[Destination] = []
        self.configured = False
        self.waiting: list[tuple[int, str]] = []
        self.lines_left = limits.log_lines
        self.bytes_left = limits.log_bytes
        self.dropped = 0
        """Lines that did not go to their topic, being over the bounds."""


class LogInterface(Interface):
    """`logging` of both generations; `publish` carries lines to topics of the function's namespace."""

    name = "log"

    def __init__(self, publish: Publish) -> None:
        self._publish = publish

    def open(self, invocation: Invocation) -> LogState:
        return LogState(invocation.limits)

    @host_call(LOGGING, "configure-logging", Effect.WRITE)
    @host_call(LOGGING_V1, "configure-logging", Effect.WRITE)
    def configure_logging(
        self, invocation: Invocation, inputs: Sequence[tuple[str, str, tuple[str, Any]]]
    ) -> Ok[None] | Err[tuple[str, str]]:
        """Adds destinations, all or none; those of the first call also get the system records from before it."""
        state: LogState = invocation.state(self)
        if len(state.destinations) + len(inputs) > MOST_DESTINATIONS:
            return Err(("auth", f"there can be at most {MOST_DESTINATIONS} log destinations"))
        added = []
        for guest, system, (kind, where) in inputs:
            if kind != "topic":
                return Err(("auth", "logging to CloudWatch needs the extra 'aws' of guesthouse"))
            if not where[0]:
                return Err(("auth", "the log topic has no name"))
            added.append(Destination(where[0], SEVERITY[guest] or NOTHING, SEVERITY[system] or NOTHING))
        state.destinations += added
        if not state.configured:
            state.configured = True
            for severity, text in state.waiting:
                self._send(invocation, state, text, severity, system=True)
            state.waiting.clear()
        return Ok()

    @host_call(LOGGING, "log", Effect.WRITE)
    @host_call(LOGGING_V1, "log", Effect.WRITE)
    def log(self, invocation: Invocation, text: str, level: str) -> None:
        """One record of the guest; one of level `off` is none."""
        severity = SEVERITY[level]
        if severity == 0:
            return
        invocation.log.write(level, text, "guest")
        state: LogState = invocation.state(self)
        if state.destinations:
            self._send(invocation, state, text, severity, system=False)

    def system(self, invocation: Invocation, level: str, text: str) -> None:
        """One record of the host about this invocation: timing, lifecycle, faults.  For the host's own code."""
        invocation.log.write(level, text, "system")
        if self.name not in invocation.deployment.imports:
            return
        state: LogState = invocation.state(self)
        if state.configured:
            self._send(invocation, state, text, SEVERITY[level], system=True)
        elif len(state.waiting) < MOST_WAITING:
            state.waiting.append((SEVERITY[level], text))

    def _send(self, invocation: Invocation, state: LogState, text: str, severity: int, *, system: bool) -> None:
        topics = [to.topic for to in state.destinations if severity >= (to.system if system else to.guest)]
        if not topics:
            return
        line, size = _cut(text)
        for topic in topics:
            if state.lines_left <= 0 or state.bytes_left < size:
                self._drop(invocation, state)
                continue
            state.lines_left -= 1
            state.bytes_left -= size
            self._publish(invocation.deployment.namespace, topic, line)

    def _drop(self, invocation: Invocation, state: LogState) -> None:
        if state.dropped == 0:
            invocation.closers.append(lambda: self._tell_dropped(invocation, state))
        state.dropped += 1

    def _tell_dropped(self, invocation: Invocation, state: LogState) -> None:
        for topic in {to.topic for to in state.destinations}:
            self._publish(invocation.deployment.namespace, topic, f"{state.dropped} log lines were dropped")


def _cut(text: str) -> tuple[str, int]:
    """`text` with at most `MOST_LINE_BYTES` bytes, cut between characters, and its length in bytes."""
    encoded = text.encode()
    if len(encoded) <= MOST_LINE_BYTES:
        return text, len(encoded)
    return encoded[:MOST_LINE_BYTES].decode("utf-8", "ignore"), MOST_LINE_BYTES
