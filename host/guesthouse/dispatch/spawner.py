"""`SpawnQueue`: functions that functions start: at most once, never retried, every one counted with its outcome.

A spawn is accepted when its row is on disk.  The row goes when the run has ended, however it ended; rows that are found
when the host starts belong to runs that a crash cut off: they are counted as lost and not run again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sized
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import Context
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from guesthouse.clock import Clock
from guesthouse.dispatch.invocations import Wanted
from guesthouse.dispatch.outcome import DROPPED_PANIC, Outcome, spawn_result
from guesthouse.errors import AdmissionFull, BodyTooLarge, Cancelled, Draining, GuesthouseError, NotFound
from guesthouse.interfaces.invocation import Invocation
from guesthouse.interfaces.spawn import SpawnLimit
from guesthouse.queue.call import Record
from guesthouse.queue.spawns import Spawns
from guesthouse.registry.deployment import Deployment
from guesthouse.registry.registry import Registry
from guesthouse.storage.joined import done_before
from guesthouse.telemetry import Metrics, logger

if TYPE_CHECKING:
    from guesthouse.dispatch.dispatcher import Dispatcher
    from guesthouse.dispatch.running import Running

MOST_IN_FLIGHT = 10_000
"""Accepted spawns that have not ended: each keeps its payload in memory."""
MOST_AT_ONCE = 256
"""Spawned guests that run at the same time; the rest waits, so that web calls keep slots of the pool."""
WAIT_SECONDS = 0.005
"""How often a run whose turn it is looks for a free slot of the pool."""

log = logger(__name__)


class SpawnQueue:
    """Accepts spawns and runs them."""

    def __init__(
        self, dispatcher: Dispatcher, registry: Registry, spawns: Spawns, metrics: Metrics, clock: Clock
    ) -> None:
        self._dispatcher = dispatcher
        self._registry = registry
        self._spawns = spawns
        self._metrics = metrics
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._families: dict[str, list[int]] = {}
        self.families: Sized = self._families
        """One for each running invocation that has spawned something."""
        self._places = asyncio.Semaphore(MOST_AT_ONCE)
        self._turn = asyncio.Lock()
        self._function_turns: WeakValueDictionary[tuple[str, int], asyncio.Semaphore] = WeakValueDictionary()

    @property
    def in_flight(self) -> int:
        """Spawns that were accepted and have not ended."""
        return len(self._tasks)

    async def count_lost(self) -> int:
        """Counts the runs that the last process left unfinished; once, when the host starts."""
        lost = await self._spawns.sweep_lost()
        for row in lost:
            self._metrics.spawn("lost")
            log.warning("spawned run was lost in a crash", function=f"{row.namespace}/{row.name}", invocation_id=row.id)
        return len(lost)

    async def spawn(self, parent: Invocation, name: str, payload: bytes) -> None:
        """Accepts a run in the parent's namespace (see `interfaces.spawn.Spawner`)."""
        if done_before() is not None:  # by an earlier run of a durable parent, which a crash kept from learning of it
            return
        deployment = self._registry.get(parent.deployment.namespace, name)
        if deployment is None or deployment.kind != "spawn":
            raise NotFound(f"there is no spawn function {name!r}")
        await self.descend(parent, deployment, payload)

    def descend(self, parent: Invocation, deployment: Deployment, payload: bytes) -> Coroutine[Any, Any, str]:
        """As `submit`, for a run that descends from `parent`, which has to be running still.

        Raises `SpawnLimit` for depth and fan-out at once; what it returns has to be awaited.
        """
        depth = parent.depth + 1
        if depth > parent.limits.spawn_depth:
            raise SpawnLimit(f"depth: functions spawned functions {parent.limits.spawn_depth} times in a row")
        self._join_family(parent)
        return self._submit_child(deployment, payload, parent, depth)

    async def submit(
        self, deployment: Deployment, payload: bytes, *, root: str = "", depth: int = 0, parent: str | None = None
    ) -> str:
        """Accepts a run of a spawn function and returns its invocation id once the row is on disk.

        Raises `BodyTooLarge`, `Draining` and `SpawnLimit`; for a durable one, which is queued, what `Queue.enqueue` raises.
        """
        if deployment.manifest.durable is not None:
            assert self._dispatcher.calls is not None, "it was set before the first call"
            wanted = Wanted(body=payload, root=root, depth=depth, parent=parent)
            return (await self._dispatcher.calls.accept(deployment, wanted)).id
        limits = deployment.manifest.limits
        if len(payload) > limits.request_bytes:
            raise BodyTooLarge(f"the payload is over {limits.request_bytes} bytes")
        if self._dispatcher.draining:
            raise Draining
        if len(self._tasks) >= MOST_IN_FLIGHT:
            raise SpawnLimit("the spawn queue is full")
        invocation_id = self._dispatcher.new_id()
        try:
            await self._spawns.begin(
                invocation_id,
                deployment.namespace,
                deployment.name,
                version=deployment.version,
                root=root or invocation_id,
                depth=depth,
            )
        except BaseException:  # cancelled after the row was written: it would count as lost
            self._spawns.end(invocation_id)
            raise
        work = self._run(deployment, payload, invocation_id, root or invocation_id, depth)
        # in an empty context: what it writes is no part of what its parent is joining to its journal (see `JOINED`)
        task = asyncio.get_running_loop().create_task(work, name=f"spawn {deployment.path}", context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return invocation_id

    async def _submit_child(self, deployment: Deployment, payload: bytes, parent: Invocation, depth: int) -> str:
        root, queued = parent.root, deployment.manifest.durable is not None
        try:
            return await self.submit(deployment, payload, root=root, depth=depth, parent=parent.id)
        except BaseException:
            queued = True
            raise
        finally:
            if queued:  # it is no member, or not before it runs
                self._leave_family(root)

    async def cancel_all(self) -> None:
        """Ends every run that is still there; each is counted as cancelled."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def root_ended(self, invocation_id: str) -> None:
        """Told of every invocation that ended and was not spawned."""
        if invocation_id in self._families:
            self._leave_family(invocation_id)

    # -- one run

    async def _run(self, deployment: Deployment, payload: bytes, invocation_id: str, root: str, depth: int) -> None:
        result, record = "cancelled", None
        accepted_ms = self._clock.wall_ns() // 1_000_000
        try:
            accepted_ns = self._clock.monotonic_ns()
            async with self._turns_of(deployment), self._places:
                self._metrics.admission_wait(self._clock.monotonic_ns() - accepted_ns)
                outcome, record = await self._when_there_is_room(deployment, payload, invocation_id, root, depth)
            result = outcome.result
        except (GuesthouseError, asyncio.CancelledError) as error:
            log.warning(
                "spawned run did not begin", function=deployment.path, invocation_id=invocation_id, error=str(error)
            )
            if not isinstance(error, Cancelled | Draining | asyncio.CancelledError):
                result = "trapped"
        finally:
            self._metrics.spawn(result)
            record = record or self._not_run(deployment, invocation_id, root, depth, result)
            self._spawns.end(invocation_id, replace(record, queued_ms=accepted_ms))
            self._leave_family(root)

    def _not_run(self, deployment: Deployment, invocation_id: str, root: str, depth: int, result: str) -> Record:
        """What there is to write down of a run without an outcome."""
        return Record(
            id=invocation_id,
            namespace=deployment.namespace,
            name=deployment.name,
            mode="spawn",
            state="cancelled" if result == "cancelled" else "failed",
            version=deployment.version,
            digest=deployment.digest,
            ended_ms=self._clock.wall_ns() // 1_000_000,
            result=result,
            reason="the host was shutting down" if result == "cancelled" else "it could not begin",
            root=root,
            depth=depth,
        )

    def _turns_of(self, deployment: Deployment) -> AbstractAsyncContextManager[None]:
        """Runs of a function that may run so often at once wait outside, where they are in nobody's way."""
        most = deployment.manifest.flow.max_inflight
        if not most:
            return nullcontext()
        found = self._function_turns.get((deployment.path, most))
        if found is None:
            found = self._function_turns[deployment.path, most] = asyncio.Semaphore(most)
        return found

    async def _when_there_is_room(self, deployment: Deployment, *run: Any) -> tuple[Outcome, Record]:
        """Runs what was accepted; where web calls have taken the whole pool it waits, as nobody could try it again."""
        pool = self._dispatcher.pool
        while True:
            async with self._turn:
                while pool.in_use >= pool.slots:
                    await asyncio.sleep(WAIT_SECONDS)
            try:
                return await self._dispatcher.run_spawned(deployment, *run)
            except (
                AdmissionFull
            ):  # somebody was faster, or the function runs as often as it may: the guest has not begun
                await asyncio.sleep(WAIT_SECONDS)

    # -- families: all that descend from one root

    def descendant_began(self, running: Running) -> None:
        """A queued call runs whose root is another invocation: its family lasts as long as it does."""
        if running.root != running.id:
            self._families.setdefault(running.root, [0, 0])[1] += 1
            running.closers.append(lambda: self._leave_family(running.root))

    def _join_family(self, parent: Invocation) -> None:
        family = self._families.setdefault(parent.root, [0, 1])
        if family[0] >= parent.limits.spawn_fanout:
            raise SpawnLimit(f"fan-out: one invocation led to {parent.limits.spawn_fanout} spawned runs")
        family[0] += 1
        family[1] += 1

    def _leave_family(self, root: str) -> None:
        family = self._families.get(root)
        if family is not None:
            family[1] -= 1
            if family[1] <= 0:
                del self._families[root]


class LateSpawner:
    """Stands in for the spawn queue while the interfaces that need it are made before it."""

    def __init__(self) -> None:
        self.dispatcher: Dispatcher | None = None

    async def spawn(self, parent: Invocation, name: str, payload: bytes) -> None:
        """Passes on to the dispatcher's queue."""
        assert self.dispatcher is not None
        await self.dispatcher.spawner.spawn(parent, name, payload)


def complete_spawn(outcome: Outcome, running: Running) -> None:
    """Reads a spawn function's own word for how it went; a payload that did not decode counts as dropped."""
    if outcome.error is None:
        outcome.result, note = spawn_result(outcome.value)
        if note is not None:
            running.log.write("info" if outcome.result == "ok" else "error", note, "system")
    elif outcome.result == "trapped" and any(line.text.startswith(DROPPED_PANIC) for line in running.log.records):
        outcome.result = "dropped"
