"""`Instance`: one guest, from its instantiation to the deletion of its store; serves one invocation:
a call of one export, and of another one (`follow`) where it was asked to stay.

A guest runs in slices.  The first runs at once, in the thread of whoever calls `start`; plain host functions are answered at
once as well.  What cannot go on at once is carried on by `settle` on the event loop: it awaits asynchronous host functions, and
gives a guest that has used up its slice to `Workers`.  From there it comes back to the loop for each host call: no locks.

Whatever a host function raises becomes a trap of this one guest, whose store is dead afterwards.
"""

from __future__ import annotations

import asyncio
from types import CoroutineType
from typing import Any

from guesthouse._native.api import DONE, FAILED, HOST_CALL, YIELDED
from guesthouse.clock import SYSTEM_CLOCK
from guesthouse.engine.callee import Callee
from guesthouse.engine.canonical import EMPTY_PLAN, Plan
from guesthouse.engine.hostcall import in_thread
from guesthouse.engine.linker import Import
from guesthouse.engine.raw_memory import RawMemory
from guesthouse.engine.resources import ResourceTable
from guesthouse.engine.traps import host_error, trap_of
from guesthouse.engine.turn import Turn
from guesthouse.engine.worker import Workers
from guesthouse.errors import Cancelled, DeadlineExceeded, GuesthouseError, HostError, Trap

WAITING = 10
"""A status beside those of the native API: an asynchronous host function has to be awaited."""
START, ANSWER, TRAP, CONTINUE, FOLLOW, NOTHING = range(6)
"""What the native side is to do next."""
BRIEF_NS = 50_000
"""A guest that computes less than this (a hand-over to a worker) between two host calls gains nothing by a worker."""
TICK_NS = 1_000_000
"""A host function that takes less than an epoch leaves the guest its slice: else many short ones would add up to a guest
that never yields."""
ENVELOPE_BYTES = 256 * 1024
"""What a result may weigh besides the largest body: headers, and the values around them."""
GRACE_SECONDS = 0.005
"""How much later than its deadline a guest that waits for a worker is given up: running ones end themselves."""


class Instance(RawMemory):
    """One guest.  It is also the `LiftContext` of its values: `memory`, `resources` and `lift_budget` are for that."""

    # What most invocations never touch is a default of the class: making an instance sets only what it must.
    lift_budget = slices = 0
    status = YIELDED
    value: Any = None
    """The lifted result of a call that is done."""
    error: GuesthouseError | None = None
    fuel_used: int | None = None
    peak_memory = _calls = _lifted = 0
    stays = kept = False
    """Another call follows, so the guest is to stay when this one is done (set during a host call); it did, for `follow`."""
    _awaited: Any = None
    _next = START
    _plan: Plan = EMPTY_PLAN
    _on_loop = True
    _on_worker = _on_thread = _brief = _buried = False
    _turn: Turn | None = None
    _future: asyncio.Future[None] | None = None
    _limit: asyncio.Timeout | None = None  # of the host function that is awaited

    def __init__(self, callee: Callee, deadline_ns: int, context: Any) -> None:
        self.handle = callee.pool.acquire()
        self.callee = callee
        self.deadline_ns = deadline_ns
        self.context = context
        self.resources = ResourceTable(callee.limits.resources)

    @property
    def function(self) -> object:
        """What it is an instance of."""
        return self.callee.pre

    # -- running, in the caller's thread

    def start(self, args: tuple[Any, ...], on_loop: bool = True) -> int:
        """Instantiates, calls the export and runs the first slice; returns a status.

        Outside of the loop's thread (`on_loop=False`) it stops at the first host call that is not local.  Raises `TypeError` or
        `ValueError` where the arguments do not fit the export's WIT type; the instance is closed then.
        """
        callee = self.callee
        try:
            plan = self._plan = callee.export.signature.lower_params(self, args)
        except BaseException:
            self._release()
            raise
        if callee.pre.hot:
            return YIELDED
        self._next = CONTINUE
        try:
            done = callee.target.run(self.handle.address, self.deadline_ns, plan, self)
        except Trap as trap:
            return self._spoiled(trap)
        if type(done) is tuple:
            return self._done(done)
        self.handle.keep(plan)
        self._on_loop = on_loop
        return self._progress(done)

    def _progress(self, status: int) -> int:
        """Answers host calls for as long as that needs no waiting and no worker."""
        while status == HOST_CALL:
            if not self._on_loop and not self.callee.pre.imports[self.handle.fields.slot].local:
                break
            if not self._serve_call():
                status = WAITING
            elif self._on_worker and not self._answer_at_once():
                status = YIELDED
            else:
                status = self._step()
        if status == DONE:
            try:
                if self.stays:
                    return self._half_done()
                return self._done(self.callee.target.end(self.handle.address, self))
            except Trap as trap:
                return self._spoiled(trap)
        if status == FAILED:
            self._failed()
        elif status == YIELDED and not self._on_worker:
            # At once: a thousand calls of this function may come before the loop's next turn.
            self.callee.pre.hot = True
        self.status = status
        return status

    def _answer_at_once(self) -> bool:
        """Whether a guest that is on a worker is carried on here: one that only makes host calls is, for a few."""
        turn = self._turn = self._turn or Turn()
        return turn.goes_on(self._brief)

    def _step(self) -> int:
        """Does what comes next, with the GIL held."""
        action, self._next = self._next, CONTINUE
        if action == ANSWER:
            return self.handle.answer(self._plan.blob, self._slot.flat, self._plan.blocks)
        if action == TRAP:
            return self.handle.answer_trap(str(self.error))
        return self.handle.go_on()

    def run_slice(self) -> int:
        """Does what comes next without the GIL; called by a worker."""
        self.slices += 1
        began = SYSTEM_CLOCK.monotonic_ns()
        try:
            status = self._step_released()
        except BaseException as error:  # the worker's thread has to live on
            self.error = HostError(f"the guest could not be run: {type(error).__name__}: {error}")
            self._buried = True
            return FAILED
        self._brief = status == HOST_CALL and SYSTEM_CLOCK.monotonic_ns() - began < BRIEF_NS
        return status

    def _step_released(self) -> int:
        action, self._next = self._next, CONTINUE
        plan = self._plan
        if action == ANSWER:
            return self.handle.answer_released(plan.blob, self._slot.flat, plan.blocks)
        if action == START:
            if self._buried:
                self._next = START
                return FAILED
            return self.handle.start_released(self.callee.target, self.deadline_ns, plan)
        if action == FOLLOW:
            return self.handle.call_released(self.callee.target, plan)
        if action == TRAP:
            return self.handle.answer_trap(str(self.error))
        return self.handle.go_on_released()

    # -- host calls, on the loop's thread

    def _serve_call(self) -> bool:
        """Lifts, calls and lowers; False where the function has to be awaited."""
        slot = self._slot = self.callee.pre.imports[self.handle.fields.slot]
        try:
            args = self._lift(slot)
            call = slot.call
            if call is None:
                self._lower(slot, None)
            elif call.blocking:
                self._awaited = in_thread(call.method, self.context, *args)
                return False
            else:
                result = call.method(self.context, *args)
                if type(result) is CoroutineType:
                    self._awaited = result
                    return False
                self._lower(slot, result)
        except BaseException as error:
            self._trap(slot, error)
        return True

    def _lift(self, slot: Import) -> tuple[Any, ...]:
        self._calls += 1
        limits = self.callee.limits
        if self._calls > limits.host_calls:
            raise Trap(f"more than {limits.host_calls} host calls", "host-calls")
        values: list[Any] = self.handle.values(slot.param_count)
        self._values = values
        if slot.untyped:
            self.memory = self.handle.memory()
        budget = self.lift_budget = min(limits.lift_bytes, limits.invocation_lift_bytes - self._lifted)
        args = slot.lift(self, values if slot.untyped else self.handle.header)
        self._lifted += budget - self.lift_budget
        return (self, *args) if slot.needs_guest else args

    def _lower(self, slot: Import, result: Any) -> None:
        try:
            self._plan = slot.lower(self, result, self._values)
        except (TypeError, ValueError) as error:
            raise HostError(f"a host function answered what is not its result: {error}") from error
        self._next = ANSWER
        self.memory = b""
        self.callee.observer.host_call(slot, "ok", self.context)

    def _trap(self, slot: Import, error: BaseException) -> None:
        """The host function raised: whatever it was, this guest traps and nobody else is touched (F21)."""
        self._next = TRAP
        self.memory = b""
        late = isinstance(error, TimeoutError) and self._seconds_left() == 0.0
        self.error = self._late() if late else host_error(slot.interface, slot.function, error)
        if isinstance(self.error, HostError):
            self.callee.observer.host_error(slot, error)
        self.callee.observer.host_call(slot, "trap", self.context)

    # -- waiting, on the loop

    async def settle(self, workers: Workers) -> int:
        """Carries the guest on until it is done or has failed; cancelling the task cancels the guest."""
        self._on_loop = True
        status = self.status if self.status != HOST_CALL else self._progress(HOST_CALL)
        try:
            while status in (WAITING, YIELDED):
                if status == WAITING:
                    status = await self._await_call()
                else:
                    status = await self._run_on(workers)
                status = self._progress(status)
        except asyncio.CancelledError:
            self._bury(Cancelled())
            raise
        except TimeoutError:
            self._bury(self._late())
            self.status = FAILED
        return self.status

    async def _await_call(self) -> int:
        """Awaits the host function that the guest waits for; the deadline covers it."""
        slot, waiting, self._awaited = self._slot, self._awaited, None
        began = SYSTEM_CLOCK.monotonic_ns()
        limit = self._limit = asyncio.timeout(self._seconds_left())
        try:
            async with limit:
                result = await waiting
            self.memory, self._limit = self.handle.memory(), None
            self._lower(slot, result)
        except BaseException as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            self._trap(slot, self._late() if limit.expired() and isinstance(error, TimeoutError) else error)
        if self._on_worker:
            return YIELDED
        if SYSTEM_CLOCK.monotonic_ns() - began > TICK_NS:
            self.handle.new_slice()
        return self._step()

    async def _run_on(self, workers: Workers) -> int:
        self._on_worker = True
        future = self._future = asyncio.get_running_loop().create_future()
        self._on_thread = True
        workers.submit(self)
        async with asyncio.timeout(self._seconds_left() + GRACE_SECONDS):
            await future
        if self.status == DONE and self.handle.fields.slices == 0:
            self.callee.pre.hot = False  # it began here and never yielded: the first slice would have been enough
        return self.status

    def slice_ended(self, status: int) -> None:
        """Tells the loop how the slices ended; called by a worker."""
        self.status = status
        future = self._future
        assert future is not None
        try:
            future.get_loop().call_soon_threadsafe(self._came_back, future)
        except RuntimeError:  # the loop is closed: nobody waits any more
            self._end()

    def _came_back(self, future: asyncio.Future[None]) -> None:
        self._on_thread = False
        if self._buried:
            self._end()
        if not future.done():
            future.set_result(None)

    def _late(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"the deadline of {self.callee.limits.deadline_ms} ms passed")

    def _seconds_left(self) -> float:
        return max(0.0, (self.deadline_ns - SYSTEM_CLOCK.monotonic_ns()) / 1e9)

    def renew(self, callee: Callee, deadline_ns: int) -> None:
        """Gives it a deadline and all limits anew: those of another callee of its export; in a host call, on the loop."""
        self.callee, self.deadline_ns, self._calls, self._lifted = callee, deadline_ns, 0, 0
        if self._next != NOTHING:
            self.handle.renew(callee.target, deadline_ns)
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time() + self._seconds_left())

    def follow(self, callee: Callee, args: tuple[Any, ...]) -> None:
        """Calls another export, for `settle` to carry on from its first slice; the call before is done, and the guest stayed."""
        self._plan = callee.export.signature.lower_params(self, args)
        self.callee, self.stays, self.kept, self.error, self.fuel_used = callee, False, False, None, None
        self._next, self._on_worker, self.status = FOLLOW, True, YIELDED
        self.handle.new_slice()

    def _half_done(self) -> int:
        """The first of two calls is done: its result is lifted, and the store stays."""
        self.resources.end_call()
        self.lift_budget = self.callee.limits.response_bytes + ENVELOPE_BYTES
        self.value = self.callee.export.signature.lift_result(self, self.handle.header)
        self.handle.measure()
        self._account()
        self.status, self.kept = DONE, True
        return self.status

    # -- ending

    def close(self) -> None:
        """Cancels a guest that is not done."""
        if self._next != NOTHING:
            self._bury(Cancelled())

    def _done(self, done: tuple[Any, int | None, int]) -> int:
        self.value, self.fuel_used, self.peak_memory = done
        self.status = DONE
        try:
            if self.resources.borrowed:
                self.resources.end_call()
        except Trap as trap:
            self.status, self.value, self.error = FAILED, None, trap
        self._release()
        return self.status

    def _spoiled(self, trap: Trap) -> int:
        """The guest came to its end, but its result is not valid."""
        self.error = trap
        self.handle.finish()
        return self._progress(FAILED)

    def _failed(self) -> None:
        if self._next == NOTHING:
            return
        self._account()
        if self.error is None:
            self.error = trap_of(self.handle.fields, self.handle.message(), self.callee.limits)
        elif self.error.traced:
            self.error.backtrace = self.handle.message()
        self._release()

    def _account(self) -> None:
        fuel_left, self.peak_memory, fuel_known = self.handle.used()
        self.fuel_used = self.callee.target.fuel - fuel_left if fuel_known else None

    def _bury(self, error: GuesthouseError) -> None:
        """Gives up a guest that is not done: ends it at once, or when it comes back from its worker's thread."""
        self.error = self.error or error
        self._buried = True
        if self._on_thread:
            self.handle.request_cancel()
        else:
            self._end()

    def _end(self) -> None:
        """Deletes what is left of a guest that was given up, whatever state it is in."""
        if self._next == NOTHING:
            return
        self.handle.cancel()
        if self._next != START:
            self._account()
        self._release()

    def _release(self) -> None:
        try:
            self._next = NOTHING
            self.memory = b""
            self.context = None  # which knows this instance: together they would wait for the garbage collector
            table = self.resources
            if table.owned or table.borrowed or table.moving:
                table.close_all()
        except BaseException as error:
            self.callee.observer.close_error(error)
        finally:
            self.callee.pool.release(self.handle)
