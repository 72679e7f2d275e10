"""`Journaled`: a run of a durable call, which is told first what earlier runs of it were told.

Promises: until it is past where an earlier one ended, nothing of what it uses up counts, and nothing that it logs is logged
again; its deadline and its fuel begin there.  One that waits keeps its memory only as long as nobody else needs the place.  Must
not know how journals and calls are kept.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from guesthouse.dispatch.command import RunningCommand
from guesthouse.dispatch.outcome import Outcome
from guesthouse.dispatch.prepared import Prepared
from guesthouse.dispatch.running import Running
from guesthouse.durable.errors import Suspended
from guesthouse.durable.journal import Journal
from guesthouse.errors import BadRequest, BodyTooLarge, Cancelled, GuesthouseError
from guesthouse.interfaces.bytes import Buffer
from guesthouse.interfaces.invocation import ResponseSink, WebRequest
from guesthouse.queue.call import Lease, Wait
from guesthouse.registry.policy import DurablePolicy
from guesthouse.telemetry import InvocationLog

if TYPE_CHECKING:
    from guesthouse.dispatch.dispatcher import Dispatcher

MODE = "durable"
NOW = Wait(until_ms=0)
"""Waits for nothing: it goes on as soon as somebody runs it."""


class JournaledLog(InvocationLog):
    """The log of a run: without the lines that an earlier one has written."""

    __slots__ = ("_journal", "lines")

    def __init__(self, journal: Journal, *log: Any) -> None:
        super().__init__(*log)
        self._journal = journal
        self.lines = 0
        """That the guest has written, in this run and in those before it."""

    def write(self, level: str, text: str, source: str) -> None:
        journal = self._journal
        if source != "system":
            self.lines += 1
            if self.lines <= journal.reading.lines:
                return
        if not journal.replaying:
            super().write(level, text, source)


class Journaled(Running):
    """A run of a durable call that has a slot in the pool; raises `AdmissionFull` where there is none."""

    journal: Journal
    lease: Lease
    policy: DurablePolicy
    _log: JournaledLog | None = None
    _leaves = _arrives = False
    _lingering: asyncio.Future[None] | None = None

    def __init__(self, journal: Journal, lease: Lease, dispatcher: Dispatcher, prepared: Prepared, *rest: Any) -> None:
        resumes = lease.segments > 0
        entry = prepared.replayed if resumes else prepared.queued
        policy = prepared.deployment.manifest.durable
        assert entry is not None, "it was checked that it can be queued"
        assert policy is not None, "only what is durable has a journal"
        self.journal, self.lease, self.policy, self._prepared = journal, lease, policy, prepared
        call = lease.call
        super().__init__(dispatcher, prepared, entry, MODE, call.id, *rest)
        self.root, self.depth = call.root or call.id, call.depth
        self._leaves = dispatcher.draining and self.id not in dispatcher.waiters
        end_ms = max(call.queued_ms, call.due_ms) + policy.life_ms if policy.life_ms else None
        self._life_ends_ns = None if end_ms is None else self._monotonic_ns(end_ms)
        if resumes:
            self.deadline_ns = self._started_ns + policy.replay_ms * 1_000_000
            journal.on_live = self._arrive
        self.deadline_ns = self._within_life(self.deadline_ns)
        self._instance.deadline_ns = self.deadline_ns - dispatcher.clock.ahead_ns

    @property
    def log(self) -> InvocationLog:  # type: ignore[override]  # read-only, as of every run
        """Where its lines go, but for those that have been there."""
        if self._log is None:
            log = self._dispatcher.log_of(self.deployment)
            self._log = JournaledLog(self.journal, self.limits, self.id, log, self._dispatcher.clock)
        return self._log

    # -- what host functions ask for

    def go_on(self) -> None:
        """Asked before each host call: raises `Suspended` where the host stops and this run can go on later as well."""
        if self._leaves:
            raise Suspended(NOW)

    async def linger(self, done: asyncio.Future[Any]) -> bool:
        """Waits in memory until something is done, as long as it may: whether it is.  If not, raise `Suspended`."""
        seconds = self._grace_seconds()
        if seconds > 0 and not done.done():
            self._lingering = asyncio.get_running_loop().create_future()
            lingering = self._dispatcher.lingering
            lingering[self] = None
            try:
                await asyncio.wait((done, self._lingering), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            finally:
                del lingering[self]
                self._lingering = None
            if done.done():
                self._live()  # as if it had been suspended meanwhile
        return done.done()

    def _grace_seconds(self) -> float:
        dispatcher = self._dispatcher
        if (
            self._leaves
            or self.lease.strikes  # others with strikes wait until it is clear that this one does not kill the host
            or dispatcher.draining
            or dispatcher.is_short((self.deployment.namespace, self.deployment.name))
        ):
            return 0.0
        left_ns = self.deadline_ns - dispatcher.clock.monotonic_ns()
        return min(self.policy.grace_ms / 1e3, left_ns / 2e9)

    # -- what the host asks for

    def stop_lingering(self) -> None:
        """Somebody needs its place: if it waits, it is suspended now."""
        if self._lingering is not None and not self._lingering.done():
            self._lingering.set_result(None)

    def leave(self) -> None:
        """The host stops: it is suspended as soon as it waits; or changes the world, unless somebody waits for its answer."""
        self._leaves = self.id not in self._dispatcher.waiters
        self.stop_lingering()

    @property
    def lines(self) -> int:
        """Lines of its log that the guest has written, in this run and in those before it."""
        return 0 if self._log is None else self._log.lines

    # -- its course

    def _arrive(self) -> None:
        """Its journal has come to its end, in the call that is being answered."""
        self._arrives = True

    def called(self) -> None:
        """A host call was answered (see `ArrivalObserver`); the first one that no earlier run was told of is new ground.

        An earlier run has computed until it made that call, and it may be what it waited for when it was suspended.
        """
        if self._arrives:
            self._arrives = False
        elif not self.journal.replaying:
            self._live()

    def _live(self) -> None:
        """It is past where an earlier run ended, or it has waited: from here on it has all of its time and fuel."""
        entry = self._prepared.queued if self.detached is None else self._prepared.detached
        assert entry is not None, "it runs"
        self._entry = self._prepared.queued or entry
        clock = self._dispatcher.clock
        self.deadline_ns = self._within_life(clock.monotonic_ns() + self._prepared.deadline_ns)
        self._instance.renew(entry.callee, self.deadline_ns - clock.ahead_ns)

    def _within_life(self, deadline_ns: int) -> int:
        return deadline_ns if self._life_ends_ns is None else min(deadline_ns, self._life_ends_ns)

    def _monotonic_ns(self, wall_ms: int) -> int:
        clock = self._dispatcher.clock
        return clock.monotonic_ns() + wall_ms * 1_000_000 - clock.wall_ns()

    async def run_closers(self) -> None:
        self._note_interruption()
        await super().run_closers()

    def _finish(self) -> Outcome:
        self._note_interruption()
        return super()._finish()

    def _note_interruption(self) -> None:
        error = self._instance.error
        if isinstance(error, Suspended) or (isinstance(error, Cancelled) and self._dispatcher.draining):
            self.interrupted = True

    def log_error(self, error: GuesthouseError) -> None:
        """Says in its log what went wrong, if something did."""
        if not isinstance(error, Suspended):
            super().log_error(error)


class JournaledCommand(Journaled, RunningCommand):
    """A run of a durable call of a command."""


def begin(
    dispatcher: Dispatcher, prepared: Prepared, lease: Lease, sink: ResponseSink, journal: Journal
) -> tuple[Journaled, Outcome | None]:
    """Runs a durable call as far as it goes without waiting.

    Raises `AdmissionFull`, `BodyTooLarge`, or `BadRequest` where the function is of no kind that can be queued.
    """
    call, deployment, entry = lease.call, prepared.deployment, prepared.queued
    if entry is None:
        raise BadRequest(f"{deployment.path} is a {deployment.kind} function: it cannot be queued")
    if len(call.body) > prepared.limits.request_bytes:
        raise BodyTooLarge(f"the body is over {prepared.limits.request_bytes} bytes")
    request = WebRequest(call.method, call.path, call.query, call.headers, call.token_id)
    args: tuple[Any, ...] = (("buffer", Buffer(call.body)),) if entry.takes_buffer else (call.body,)
    if deployment.kind == "command":
        running: Journaled = JournaledCommand(journal, lease, dispatcher, prepared, request, sink, call.body)
        args = ()
    elif deployment.kind == "web":
        running = Journaled(journal, lease, dispatcher, prepared, request, sink)
    else:
        running = Journaled(journal, lease, dispatcher, prepared)
    dispatcher.spawner.descendant_began(running)
    return running, running.start(args)
