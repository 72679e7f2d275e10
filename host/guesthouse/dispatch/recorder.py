"""`Recorder`: what is written down of invocations that were never queued, in batches, and off the way of those who call.

Promises: a caller never waits for it and never fails for it; what does not fit its backlog is dropped and counted.
Belongs to the loop's thread, but for `ended`, which any thread may call.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import cast

from guesthouse.clock import Clock
from guesthouse.dispatch.outcome import Outcome, spawn_result
from guesthouse.dispatch.running import Running
from guesthouse.errors import GuesthouseError
from guesthouse.interfaces.detached import tasks_of
from guesthouse.queue.call import Mode, Record, State
from guesthouse.queue.queue import Queue
from guesthouse.telemetry import Metrics, logger

MOST_WAITING = 10_000
"""Records that are not on disk yet: a few hundred bytes each."""
MOST_NOTE = 4_096
"""Characters of a note that are kept."""
BATCH = 500
"""Records of one transaction: some milliseconds of the writer's time."""
MODES = frozenset({"web", "call"})
"""Those of others are written with what ends them: the row of a spawn, the lease of a queued call."""

log = logger(__name__)


class Recorder:
    """Writes records of direct invocations."""

    def __init__(self, queue: Queue, clock: Clock, metrics: Metrics) -> None:
        self._queue = queue
        self._clock = clock
        self._metrics = metrics
        self._waiting: deque[Record] = deque()
        self._unwritten: dict[str, Record] = {}
        self._more = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    def start(self) -> None:
        """Begins to write; on the loop."""
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._write(), name="recorder")

    def ended(self, running: Running, outcome: Outcome) -> None:
        """An invocation has ended whose record is wanted (see `Dispatcher.record`)."""
        if running.mode not in MODES or self._loop is None:
            return
        if len(self._waiting) >= MOST_WAITING:
            self._metrics.records_dropped(1)
            return
        record = record_of(running, outcome, self._clock.wall_ns())
        self._unwritten[record.id] = record
        self._waiting.append(record)
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._wake)

    def find(self, id: str) -> Record | None:
        """A record that is not on disk yet."""
        return self._unwritten.get(id)

    async def close(self) -> None:
        """Writes what waits, and stops."""
        if self._task is not None:
            await asyncio.wait((self._task, asyncio.ensure_future(self._idle.wait())), return_when="FIRST_COMPLETED")
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._loop = self._task = None

    def _wake(self) -> None:
        self._idle.clear()
        self._more.set()

    async def _write(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
                try:
                    await self._queue.write([(record, None) for record in batch])
                except GuesthouseError as error:
                    self._metrics.records_dropped(len(batch))
                    log.warning("records of invocations were not written", count=len(batch), error=str(error))
                for record in batch:
                    self._unwritten.pop(record.id, None)
            self._idle.set()


def record_of(running: Running, outcome: Outcome, wall_ns: int) -> Record:
    """What is known of an invocation that has just ended, at `wall_ns`."""
    deployment, detached = running.deployment, outcome.detached
    detached_ns = 0 if detached is None else detached.duration_ns
    started_ns = wall_ns - detached_ns - outcome.duration_ns
    return Record(
        id=running.id,
        namespace=deployment.namespace,
        name=deployment.name,
        mode=cast("Mode", running.mode),
        state=state_of(outcome),
        version=deployment.version,
        digest=deployment.digest,
        started_ms=started_ns // 1_000_000,
        answered_ms=(started_ns + outcome.duration_ns) // 1_000_000,
        ended_ms=wall_ns // 1_000_000,
        attempts=1,
        result=outcome.result,
        reason="" if outcome.error is None else outcome.error.public,
        note=note_of(running, outcome),
        status=outcome.status,
        fuel=outcome.fuel_used,
        peak_memory=outcome.peak_memory,
        duration_ns=outcome.duration_ns,
        detached_ns=detached_ns,
        host_calls=host_calls_of(running),
        root=running.root,
        depth=running.depth,
    )


def state_of(outcome: Outcome) -> State:
    """How an invocation ended that nobody tries again."""
    if outcome.result == "ok":
        return "succeeded" if outcome.status < 500 else "failed"
    return "cancelled" if outcome.result == "cancelled" else "failed"


def note_of(running: Running | None, outcome: Outcome | None) -> str:
    """What a spawn function said of its end, and which detached tasks ended badly; cut where it is long."""
    if running is None or outcome is None:
        return ""
    said = spawn_result(outcome.value)[1] if outcome.error is None and running.is_spawn else None
    tasks = tasks_of(running)
    return "; ".join(part for part in (said, tasks and tasks.note) if part)[:MOST_NOTE]


def host_calls_of(running: Running | None) -> Mapping[str, int]:
    """How often an invocation called which interface; empty where that was not counted."""
    return {} if running is None or running.host_calls is None else running.host_calls
