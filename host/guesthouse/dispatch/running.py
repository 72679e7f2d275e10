"""`Running`: one invocation from its admission to its `Outcome`, whatever its mode.

`start` runs the first slice in the caller's thread and is all that most invocations need; `wait` carries a longer one on
the loop.  Nothing here knows HTTP: a web answer is a status, headers and bytes.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from guesthouse._native.api import DONE, FAILED
from guesthouse.dispatch.detached import Detached
from guesthouse.dispatch.outcome import Outcome, result_of
from guesthouse.dispatch.prepared import Entry, Prepared
from guesthouse.engine.instance import Instance
from guesthouse.errors import BadAnswer, Cancelled, DeadlineExceeded, GuesthouseError
from guesthouse.interfaces.bytes import buffer_of, collect, peek, stream
from guesthouse.interfaces.invocation import Invocation, ResponseSink, WebRequest
from guesthouse.interfaces.web import BODILESS, check_headers, check_status, finish_stream, stream_of
from guesthouse.telemetry import InvocationLog

if TYPE_CHECKING:
    from guesthouse.dispatch.dispatcher import Dispatcher

QUEUED = frozenset({"async", "durable"})
"""Modes of invocations that come from the queue."""
LOGGED_LINES = 16
"""Lines of an error (its sentence, then the guest's backtrace) that go to the function's log."""


class Running(Invocation):
    """An invocation that has a slot in the pool.  Raises `AdmissionFull` where there is none."""

    _log: InvocationLog | None = None
    _value: Any = None
    _status = 0
    _sent = False
    _headers: list[tuple[str, str]] = []  # noqa: RUF012  # never changed in place
    _body = b""
    detached: Detached | None = None
    """What it does after its answer, once there is one."""
    host_calls: dict[str, int] | None = None
    """How often it called which interface, by their words, where that is written down."""
    _patience: asyncio.Timeout

    def __init__(
        self,
        dispatcher: Dispatcher,
        prepared: Prepared,
        entry: Entry,
        mode: str,
        id: str,
        request: WebRequest | None = None,
        response: ResponseSink | None = None,
    ) -> None:
        self.id = self.root = id
        self.deployment = prepared.deployment
        self.mode = mode
        self.request = request
        self.response = response
        if response is not None:
            response.invocation_id = id
        self.limits = prepared.limits
        self._dispatcher = dispatcher
        self._entry = entry
        started = self._started_ns = dispatcher.clock.monotonic_ns()
        self.deadline_ns = started + prepared.deadline_ns
        self._instance = Instance(entry.callee, self.deadline_ns - dispatcher.clock.ahead_ns, self)
        self._tells = prepared.tells
        if self._tells:
            self.log.write("debug", f"began: {mode}, version {self.deployment.version}", "system")

    @property
    def log(self) -> InvocationLog:  # type: ignore[override]
        """Where its lines go; made with the first one."""
        if self._log is None:
            log = self._dispatcher.log_of(self.deployment)
            self._log = InvocationLog(self.limits, self.id, log, self._dispatcher.clock)
        return self._log

    def start(self, args: tuple[Any, ...], on_loop: bool = True) -> Outcome | None:
        """Runs the first slice; the outcome, or `None` where `wait` has to carry on."""
        try:
            status = self._instance.start(args, on_loop)
            if status == DONE:
                self._value = self._instance.value
                return self._finish() if self._closers is None and self._complete_now() else None
            return self._finish() if status == FAILED and self._closers is None else None
        except BaseException:  # arguments of the wrong type, or somebody's Ctrl-C
            self._instance.close()
            raise

    async def wait(self, sink: ResponseSink | None = None) -> Outcome:
        """Carries on until the outcome is there; cancelling the task cancels the guest."""
        if sink is not None:
            self.response = sink
            sink.invocation_id = self.id
        instance, waiting = self._instance, self._dispatcher.waiting
        waiting.add(self)
        try:
            async with self.patience():
                if instance.status not in (DONE, FAILED):
                    await instance.settle(self._dispatcher.workers)
                    self._value = instance.value
                if instance.error is None:
                    await self._complete()
        except GuesthouseError as error:
            instance.error = instance.error or error
        except TimeoutError:
            late = DeadlineExceeded(f"the deadline of {self.limits.deadline_ms} ms passed")
            instance.error = instance.error or (Cancelled() if self.given_up else late)
        finally:
            waiting.discard(self)
            if instance.kept and not self.given_up:
                outcome = self._detach()
            else:
                instance.close()
                await self.run_closers()
                outcome = self._finish()
                self._dispatcher.tell(self, outcome)
        return outcome

    def patience(self) -> asyncio.Timeout:
        """How long this may take besides its deadline: until a drain, or somebody, gives it up."""
        self._patience = asyncio.timeout(self._dispatcher.patience)
        return self._patience

    def give_up(self) -> None:
        """Ends a call that somebody waits for: its outcome is that it was cancelled.  For the loop's thread."""
        if not self.given_up:
            self._patience.reschedule(0.0)

    def leave(self) -> None:
        """The host stops: one that another process can go on with does not wait for its end."""

    @property
    def is_spawn(self) -> bool:
        """Whether it runs a spawn function, which says itself how that went."""
        return self.mode == "spawn" or (self.mode in QUEUED and self.request is None)

    @property
    def given_up(self) -> bool:
        """True once that was done, or a drain did it."""
        return self._patience.expired()

    def stay(self) -> bool:
        """Keeps the guest for after its answer, if it has an export for that."""
        if self._entry.detached is None:
            return False
        self._instance.stays = not self.answered
        return True

    def _detach(self) -> Outcome:
        """The outcome, while the guest goes on."""
        entry = self._entry.detached
        assert entry is not None, "it would not have stayed"
        self.detached = Detached(self, self._instance, entry, self._dispatcher)
        outcome = self._finish()
        outcome.detached = self.detached
        self.detached.begin(outcome)
        return outcome

    def _complete_now(self) -> bool:
        """Makes the answer of a result that needs no waiting; False where it does."""
        if self._instance.error is not None or self.request is None:
            return True
        if self._states is not None and stream_of(self) is not None:
            return False
        body = peek(self._value.body)
        if body is None:
            return False
        try:
            self._answer(body)
        except BadAnswer as error:
            self._instance.error = error
        return True

    def _answer(self, body: bytes) -> None:
        limits, value = self.limits, self._value
        if len(body) > limits.response_bytes:
            raise BadAnswer(f"the body is over {limits.response_bytes} bytes")
        status = value.status
        if status != 200:
            check_status(status)
        self._headers = check_headers(value.headers, limits.response_headers)
        self._status = status
        self._body = body

    async def _complete(self) -> None:
        """Makes the answer of a result that may have been streamed, or whose body is still arriving."""
        if self.request is None:
            return
        value = self._value
        async with asyncio.timeout(max(0.0, (self.deadline_ns - self._dispatcher.clock.monotonic_ns()) / 1e9)):
            streamed = stream_of(self)
            if streamed is None:
                await self._answer_later()
                return
            self._status = streamed.status
            if not await finish_stream(self, value.status, value.headers, value.body):
                raise BadAnswer(f"the raw stream ended with status {value.status}")

    async def _answer_later(self) -> None:
        """Makes the answer of a body that is still arriving: passed on as it comes, where somebody can receive that."""
        body, sink, status = self._value.body, self.response, self._value.status
        if sink is None or status in BODILESS or peek(body) is not None or buffer_of(body).uploaded:
            self._answer(await collect(body, self.limits.response_bytes))
            return
        left = self.limits.response_bytes
        async with aclosing(stream(body)) as pieces:
            piece = await anext(pieces, b"")  # what fails before its first byte can still be told as what it is
            self._status = check_status(status)
            headers = check_headers(self._value.headers, self.limits.response_headers)
            self._sent = True
            await sink.start(status, headers)
            while piece:
                left -= len(piece)
                if left < 0:
                    raise BadAnswer(f"the body is over {self.limits.response_bytes} bytes")
                await sink.send(piece)
                piece = await anext(pieces, b"")

    async def run_closers(self) -> None:
        """Ends what interfaces have opened for it."""
        closers, self._closers = self._closers or [], None
        while closers:
            pending = closers.pop()()
            if pending is not None:
                await pending

    def _finish(self) -> Outcome:
        instance, dispatcher = self._instance, self._dispatcher
        error = instance.error
        outcome = Outcome(
            self.id,
            "ok" if error is None else result_of(error),
            self._status,
            self._headers,
            self._body,
            self._value,
            error,
            instance.fuel_used,
            instance.peak_memory,
            dispatcher.clock.monotonic_ns() - self._started_ns,
            self._sent or (self._states is not None and stream_of(self) is not None),
        )
        if error is not None:
            self.log_error(error)
        if dispatcher.spawner.families or self.request is None:
            dispatcher.ended(self, outcome)
        if self._tells or dispatcher.is_followed(self.deployment):
            word = "ended" if self.detached is None else "answered"
            self.log.write("info", f"{word}: {outcome.summary}", "system")
        log = self._log
        if log is not None:
            outcome.logs = log.records
            if self.detached is None:
                self._close_log(log)
        self._entry.recorder.record(
            outcome.result, outcome.duration_ns, outcome.fuel_used, outcome.peak_memory, self._status
        )
        if error is not None or self._status >= 500 or dispatcher.records_all:
            self._record(outcome)
        return outcome

    def _record(self, outcome: Outcome) -> None:
        """Has it written down, if it is over and somebody does that."""
        if self._dispatcher.record is not None and self.detached is None:
            self._dispatcher.record(self, outcome)

    def log_error(self, error: GuesthouseError) -> None:
        """Says in its log what went wrong."""
        lines = str(error).splitlines()
        for line in lines if len(lines) <= LOGGED_LINES else (*lines[: LOGGED_LINES - 1], lines[-1]):
            self.log.write("error", line, "system")

    def end_log(self, outcome: Outcome, text: str) -> None:
        """The end of the log of an invocation that had detached work; the outcome has all of it then."""
        if self._tells or self._dispatcher.is_followed(self.deployment):
            self.log.write("info", text, "system")
        if self._log is not None:
            self._close_log(self._log)
            outcome.logs = self._log.records

    def _close_log(self, log: InvocationLog) -> None:
        dropped = log.close()
        if dropped:
            self._dispatcher.metrics.log_lines_dropped(dropped)
