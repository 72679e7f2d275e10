"""`Consumer`: takes queued calls and runs them on the host's loop, as many at once and in such turns as `flow` says.

Promises: nothing starts that may not, no function and no namespace has to wait for another one's calls, a call that cannot
be run holds up nobody; what a drain interrupts goes back as it was.  It sleeps until something was queued, becomes due or
has ended.  Belongs to the loop's thread.  Must not know how the queue keeps what it holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

from guesthouse.clock import Clock
from guesthouse.dispatch.dispatcher import LAST_SECONDS, Dispatcher
from guesthouse.dispatch.dues import Dues
from guesthouse.dispatch.durable_run import DurableRuns
from guesthouse.dispatch.flow import FairTurns
from guesthouse.dispatch.flows import Flows, QueueState
from guesthouse.dispatch.queued_run import QueuedRun
from guesthouse.dispatch.settler import AGAIN_SECONDS, Further, Settler, nothing
from guesthouse.errors import GuesthouseError
from guesthouse.queue.call import Lease, Record
from guesthouse.queue.config import QueueConfig
from guesthouse.queue.queue import FunctionKey, Queue, Waiting
from guesthouse.registry.registry import Registry
from guesthouse.telemetry import Metrics, logger

ROOM_SECONDS = 0.005
"""How often a call whose turn it is looks for a free slot of the pool: nobody tells when a direct call gives one back."""
LAST_TURNS_NS = 1_000_000_000
"""How long calls still start when the host drains, if somebody waits for one: for those that were accepted just before."""
CROWDED_SECONDS = 0.01
"""How long the next calls are waited for while many clients wait for theirs to be accepted: they are taken together then."""
CROWDED_MOST = 32
"""How many are taken then: some milliseconds of the writer's and of the loop's time, which those who wait are kept from."""
TURN_NS = 1_000_000
"""Starting calls keeps the loop from everything else for so long at most."""
log = logger(__name__)


class Consumer:
    """Runs what is in a queue."""

    def __init__(
        self,
        queue: Queue,
        dispatcher: Dispatcher,
        registry: Registry,
        metrics: Metrics,
        clock: Clock,
        config: QueueConfig,
        durable: DurableRuns,
        *,
        further: Further = nothing,
        ended: Callable[[Record], None] = nothing,
        callback_stored: Callable[[], None] = nothing,
    ) -> None:
        self._queue = queue
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._clock = clock
        self._config = config
        self._durable = durable
        self._turns = FairTurns()
        self._flows = Flows(config.inflight, dispatcher, registry, clock)
        self._dues = Dues()
        self._runs: dict[str, QueuedRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._struck: set[FunctionKey] = set()
        self._suspecting = False
        self._woken = asyncio.Event()
        self._stopped = False
        self._oldest_ms: int | None = None
        self._main: list[asyncio.Task[None]] = []
        self._draining_ns: int | None = None
        dispatcher.unsettled, dispatcher.is_short, queue.on_ready = self._unsettled, self._is_short, self.wake
        self._settler = Settler(queue, metrics, durable.counts, self.wake, further, ended, callback_stored)

    # -- from outside

    async def start(self) -> None:
        """Takes back what a dead process ran, and begins."""
        recovered = await self._queue.recover()
        if recovered:
            log.warning("calls were running when the last process died", count=len(recovered))
        await self._look()
        loop = asyncio.get_running_loop()
        self._main = [
            loop.create_task(self._serve(), name="queue consumer"),
            loop.create_task(self._keep(), name="queue leases"),
        ]

    def wake(self, function: FunctionKey, due_ms: int = 0) -> None:
        """A call of this function was queued, for now or for later (milliseconds since 1970-01-01 UTC)."""
        if due_ms and due_ms > self._clock.wall_ns() // 1_000_000:
            self._dues.add(function, due_ms)
        else:
            self._turns.add(function)
        self._woken.set()

    def nudge(self) -> None:
        """Looks at everything again at once: a clock was set, or a function deployed or deleted."""
        self._woken.set()

    def cancel(self, id: str) -> bool:
        """Ends a call that runs here; false where none does."""
        run = self._runs.get(id)
        if run is None:
            return False
        run.cancel()
        return True

    @property
    def running(self) -> int:
        """Calls that run."""
        return len(self._runs)

    @property
    def oldest_seconds(self) -> float:
        """How long the oldest call has waited that could run, as of some seconds ago."""
        oldest_ms = self._oldest_ms
        return 0.0 if oldest_ms is None else max(0.0, self._clock.wall_ns() / 1e9 - oldest_ms / 1e3)

    async def close(self) -> None:
        """Stops; after the dispatcher's drain, which ends what runs.  What did not end goes back into the queue."""
        self._stopped = self._settler.stopped = True
        self._woken.set()
        for keeping in self._main[1:]:
            keeping.cancel()
        for tasks in (self._main, self._tasks):  # what is being taken is started or given back first
            if tasks:
                await asyncio.wait(tasks, timeout=LAST_SECONDS)
            for task in list(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def states(self) -> Sequence[QueueState]:
        """How it stands with every function for which something is queued, running or dead."""
        waiting = await self._queue.waiting()
        return [self._flows.state(function, found) for function, found in sorted(waiting.items())]

    # -- taking

    def _takes(self) -> bool:
        """Whether calls may start: once the host drains only for a moment, and while somebody waits for one."""
        dispatcher = self._dispatcher
        if self._stopped or not dispatcher.draining:
            return not self._stopped
        now_ns = self._clock.monotonic_ns()
        self._draining_ns = self._draining_ns or now_ns
        waited_for = dispatcher.patience is None and dispatcher.waiters.count > 0
        return waited_for and now_ns - self._draining_ns < LAST_TURNS_NS

    def _unsettled(self) -> int:
        """What a drain waits for: runs that are not on disk yet, and calls that were accepted for somebody who waits."""
        return len(self._tasks) + (self._dispatcher.draining and self._takes())

    async def _serve(self) -> None:
        while not self._stopped:
            self._woken.clear()
            try:
                if self._queue.crowded and not self._runs:  # what runs has places to give back: they are not left empty
                    await asyncio.sleep(CROWDED_SECONDS)
                more = await self._round()
                if self._dues.blind:
                    await self._look()
            except Exception as error:
                log.error("calls could not be taken from the queue", exc_info=error)
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            if not more:
                await self._rest()

    async def _round(self) -> bool:
        """Takes and starts as many calls as may start; whether there may be more."""
        for function in self._dues.come(self._clock.wall_ns() // 1_000_000):
            self._turns.add(function)
        free = self._flows.free()
        if self._queue.crowded:
            free = min(free, CROWDED_MOST)
        if not self._turns or not self._takes():
            return False
        planned = self._turns.plan(free, self._flows.room, self._flows.share_left)
        if not planned:
            self._make_room()
            return False
        for function in planned:
            self._turns.discard(function)  # before asking: whoever is queued meanwhile adds it again
        asked = (self._lease(function, most) for function, most in planned.items())
        leased: list[Lease] = []
        failure: BaseException | None = None
        for (function, most), found in zip(
            planned.items(), await asyncio.gather(*asked, return_exceptions=True), strict=True
        ):
            if isinstance(found, BaseException):
                failure = found
                self._turns.add(function)
                continue
            leased += found
            if len(found) >= most:
                self._turns.add(function)
            else:
                self._dues.emptied(function)
        await self._start(leased)
        if failure is not None:
            raise failure
        return True

    def _is_short(self, function: FunctionKey) -> bool:
        """Whether others need the places of a function's runs that only wait."""
        pool, ready = self._dispatcher.pool, self._queue.ready
        if pool.in_use >= pool.slots or (function in self._turns and ready(function)):
            return True
        return self._flows.full and any(map(ready, self._turns))

    def _make_room(self) -> None:
        """Something could start but for those that run: durable ones that only wait are suspended now."""
        for running in tuple(self._dispatcher.lingering):
            if self._is_short((running.deployment.namespace, running.deployment.name)):
                running.stop_lingering()

    async def _lease(self, function: FunctionKey, most: int) -> Sequence[Lease]:
        """Takes calls of one function; one that has strikes only while no other such call runs."""
        taken: list[Lease] = []
        flow = self._flows.of(function)
        busy, each = flow.busy_keys(), flow.policy.key_inflight
        if function in self._struck and not self._suspecting:
            self._suspecting = True
            try:
                taken += await self._queue.lease(function, 1, busy, struck=True)
            finally:
                self._suspecting = bool(taken)
            if not taken:
                self._struck.discard(function)
                self._suspect_next()  # another function may have been passed by meanwhile
        if most > len(taken):
            try:
                taken += await self._queue.lease(function, most - len(taken), busy, key_inflight=each)
            except GuesthouseError:
                if not taken:
                    raise
                self._turns.add(function)  # what was taken has to run all the same
        return taken

    def _suspect_next(self) -> None:
        """No call with strikes runs: the next one may, of whichever function."""
        self._suspecting = False
        for function in self._struck:
            self._turns.add(function)

    def _cleared(self) -> None:
        self._suspect_next()
        self._woken.set()

    async def _start(self, leases: Sequence[Lease]) -> None:
        """Starts what was leased, with a turn for the rest of the loop now and then."""
        began = self._clock.monotonic_ns()
        superfluous = []
        over: list[QueuedRun] = []
        for lease in leases:
            run = self._begin(lease)
            if run is None:
                superfluous.append(self._queue.release(lease))
            elif run.has_succeeded:  # in its first slice: it needs no task of its own
                self._gave_back(run)
                over.append(run)
            else:
                self._go_on(self._finish(run))
            if self._clock.monotonic_ns() - began > TURN_NS:
                over = self._settle(over)
                await asyncio.sleep(0)
                began = self._clock.monotonic_ns()
        self._settle(over)
        for result in await asyncio.gather(*superfluous, return_exceptions=True):
            if isinstance(result, Exception):
                log.warning("a call could not be put back", error=str(result))

    def _settle(self, over: list[QueuedRun]) -> list[QueuedRun]:
        if over:
            self._go_on(self._settler.settle_all(over))
        return []

    def _go_on(self, rest: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(rest, name="queued calls")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _begin(self, lease: Lease) -> QueuedRun | None:
        """Starts one call; `None` where it may not start: another one with its key has just begun, or the host stops."""
        call = lease.call
        flow = self._flows.of((call.namespace, call.name))
        if not self._takes() or not flow.admits(call.key):
            if lease.strikes:
                self._suspect_next()
            return None
        due_ms = max(call.queued_ms, call.due_ms)
        if lease.attempt == 1:
            self._metrics.queue_wait(max(0, self._clock.wall_ns() - due_ms * 1_000_000))
        self._flows.started(call)
        deployment = self._flows.deployment((call.namespace, call.name))
        make = self._durable.make if call.durable else QueuedRun
        run = make(lease, deployment, self._dispatcher, self._clock, self._config.output_bytes)
        self._runs[call.id] = run
        if lease.strikes:
            run.cleared = self._cleared
        run.begin()
        return run

    # -- waiting

    async def _rest(self) -> None:
        """Sleeps until something was queued, is due or has ended."""
        seconds = self._seconds()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()

    def _seconds(self) -> float | None:
        found = []
        if self._turns and self._flows.crowded:
            found.append(ROOM_SECONDS)
        opens_ns = self._flows.opens_ns
        if self._turns and opens_ns is not None:
            found.append((opens_ns - self._clock.monotonic_ns()) / 1e9)
        due_ms = self._dues.first()
        if due_ms is not None:
            found.append(min(self._clock.rearm_seconds, (due_ms * 1_000_000 - self._clock.wall_ns()) / 1e9))
        return max(0.0, min(found)) if found else None

    async def _look(self) -> Mapping[FunctionKey, Waiting]:
        """Learns from the queue what there is to do, and what waits."""
        now_ms = self._clock.wall_ns() // 1_000_000
        waiting = await self._queue.waiting()
        for function, found in waiting.items():
            if found.oldest_ms is not None and found.oldest_ms <= now_ms:
                self._turns.add(function)
            if found.struck:
                self._struck.add(function)
        self._dues.learn({function: found.next_due_ms for function, found in waiting.items()})
        return waiting

    async def _keep(self) -> None:
        """Keeps the leases of what runs, takes back what others let lapse, and forgets what is idle."""
        while True:
            await asyncio.sleep(self._config.lease_seconds / 3)
            try:
                if self._runs:
                    await self._queue.extend()
                await self._queue.expire()
                await self._queue.refresh()
                times = [found.oldest_ms for found in (await self._look()).values()]
                self._woken.set()
                await self._durable.versions.tidy(self._queue)
                self._oldest_ms = min((time for time in times if time is not None), default=None)
            except GuesthouseError as error:
                log.error("leases could not be kept", error=str(error))
            self._flows.tidy(lambda function: function in self._turns)

    # -- ending

    async def _finish(self, run: QueuedRun) -> None:
        try:
            await run.finish()
        except asyncio.CancelledError:  # the host closes, and this would not end
            run.released = True
        finally:
            self._gave_back(run)
        await self._settler.settle(run)

    def _gave_back(self, run: QueuedRun) -> None:
        """A run has ended: somebody else may begin."""
        call = run.lease.call
        self._runs.pop(call.id, None)
        self._flows.ended(run)
        run.clear()
        function = (call.namespace, call.name)
        if call.key is not None and self._flows.of(function).policy.key_inflight:
            self._turns.add(function)
        self._woken.set()
