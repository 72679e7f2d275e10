"""`Recorded`: a run whose host calls the flight recorder keeps: the same as any other, with a journal in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from guesthouse.dispatch.asked import Asked
from guesthouse.dispatch.command import RunningCommand
from guesthouse.dispatch.outcome import Outcome
from guesthouse.dispatch.running import Running
from guesthouse.interfaces.bytes import Buffer
from guesthouse.interfaces.invocation import WebRequest
from guesthouse.queue.call import QueuedCall

if TYPE_CHECKING:
    from guesthouse.dispatch.dispatcher import Dispatcher

MODES: Final = frozenset({"web", "spawn", "async"})
"""Whose arguments are a request and bytes; those of typed exports are Python's."""


class Recorded(Running):
    """A run that is recorded, if its recorder chooses so."""

    _given = b""
    _stream = 0

    def __init__(self, dispatcher: Dispatcher, *rest: Any) -> None:
        super().__init__(dispatcher, *rest)
        flight = dispatcher.flight
        assert flight is not None, "the dispatcher makes these only where there is one"
        if self.mode in MODES:
            self.journal = flight.begin(self)
        self._flight = flight

    def start(self, args: tuple[Any, ...], on_loop: bool = True) -> Outcome | None:
        """Runs the first slice; notes what it is given."""
        if self.journal is not None:
            self._keep(args)
        return super().start(args, on_loop)

    def _keep(self, args: tuple[Any, ...]) -> None:
        """Notes the body; of one that still arrives the journal has what the guest reads of it."""
        assert self.journal is not None
        body: Any = args[0] if args else self.program and self.program.stdin
        data = body[1] if isinstance(body, tuple) else body
        if isinstance(data, Buffer):
            found = data.peek()
            if found is None:
                tape = self.journal.streams.begin()
                data.tape(tape)
                self._stream = tape.stream
            self._given = found or b""
        elif isinstance(data, bytes):
            self._given = data

    def _finish(self) -> Outcome:
        outcome = super()._finish()
        if self.journal is not None and self.detached is None:
            self._hand_over(outcome)
        return outcome

    def end_log(self, outcome: Outcome, text: str) -> None:
        """Told of the end of its detached work."""
        super().end_log(outcome, text)
        if self.journal is not None:
            self._hand_over(outcome)

    def _hand_over(self, outcome: Outcome) -> None:
        flight, dispatcher = self._flight, self._dispatcher
        if not flight.wants(outcome):
            return
        if (
            dispatcher.record is not None
            and not dispatcher.records_all
            and outcome.error is None
            and outcome.status < 500
        ):
            dispatcher.record(self, outcome)  # it would have none, and a recording hangs on it
        flight.ended(self, outcome, self._asked())

    def _asked(self) -> Asked | None:
        """What it was asked, if that was not too long."""
        if len(self._given) > self._flight.most_bytes:
            return None
        request = self.request or WebRequest()
        call = QueuedCall(
            id=self.id,
            namespace=self.deployment.namespace,
            name=self.deployment.name,
            method=request.method,
            path=request.path,
            query=request.query,
            headers=request.headers,
            token_id=request.token_id,
            body=self._given,
            queued_ms=self._flight.clock.wall_ns() // 1_000_000,
            root=self.root,
            depth=self.depth,
        )
        return Asked(call, self._stream)


class RecordedCommand(Recorded, RunningCommand):
    """That of a command."""
