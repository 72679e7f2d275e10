"""`HostCallObserver`: what the host learns of the calls that guests make of it."""

from __future__ import annotations

from typing import Any, Protocol

from guesthouse.engine.hostcall import Effect
from guesthouse.engine.linker import Import
from guesthouse.engine.observer import Observer
from guesthouse.telemetry import Metrics, logger

log = logger(__name__)


class HostCallObserver(Observer):
    """Counts host calls, and tells the host's log of those whose author made a mistake."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def host_call(self, slot: Import, outcome: str, context: Any) -> None:
        self._metrics.host_call(slot.interface, slot.function, outcome)

    def host_error(self, slot: Import, error: BaseException) -> None:
        log.error("host function failed", interface=slot.interface, function=slot.function, exc_info=error)

    def close_error(self, error: BaseException) -> None:
        log.error("a resource could not be closed", exc_info=error)


class Arriving(Protocol):
    """A run that is where another one was, or on its way there."""

    def called(self) -> None:
        """A host call of it was answered whose answer is recorded."""


class CountingObserver(HostCallObserver):
    """Counts the host calls of each invocation as well, by the interface's word, for its record."""

    def host_call(self, slot: Import, outcome: str, context: Any) -> None:
        super().host_call(slot, outcome, context)
        if slot.call is not None:
            counts = context.host_calls
            if counts is None:
                counts = context.host_calls = {}
            counts[slot.call.owner] = counts.get(slot.call.owner, 0) + 1


class ArrivalObserver(CountingObserver):
    """Tells a run that goes on where another one ended of its calls, until it is past that."""

    def host_call(self, slot: Import, outcome: str, context: Any) -> None:
        super().host_call(slot, outcome, context)
        if outcome == "ok" and slot.call is not None and slot.call.effect is not Effect.NONE:
            arriving: Arriving = context
            arriving.called()
