"""`Workflows`: what `guesthouse:durable` asks of a host: promises, calls and state of every invocation that uses it.

Promises: an awakeable is completed by whoever has its id, in memory or on disk, and nobody is told which; what ends tells those
who wait for it.  Belongs to the loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from guesthouse.clock import Clock
from guesthouse.dispatch.awakeables import AwakeableIds, no_such_awakeable
from guesthouse.dispatch.cancelling import HasEnded
from guesthouse.dispatch.completions import completion_of
from guesthouse.dispatch.keyed_memory import KeyedMemory
from guesthouse.dispatch.workflows_base import NUMBER_BITS
from guesthouse.dispatch.workflows_calls import AT_ONCE
from guesthouse.dispatch.workflows_memory import IN_MEMORY, MemoryWorkflow
from guesthouse.dispatch.workflows_stored import StoredWorkflow
from guesthouse.errors import BodyTooLarge, InputError, Unavailable
from guesthouse.interfaces.durable import DurableInterface
from guesthouse.interfaces.durable.values import FAILED, MOST_MESSAGE_BYTES, Failure, completion_of_failure
from guesthouse.queue.call import LIVE, Completion, QueuedCall, Record
from guesthouse.queue.queue import UnknownInvocation
from guesthouse.storage.joined import JOINED

if TYPE_CHECKING:
    from guesthouse.dispatch.invocations import Invocations
    from guesthouse.dispatch.journaled import Journaled
    from guesthouse.dispatch.waiters import Waiters
    from guesthouse.dispatch.workflows_calls import Callees
    from guesthouse.interfaces.invocation import Invocation
    from guesthouse.queue.store import StoredQueue
    from guesthouse.registry.registry import Registry


class Workflows:
    """Those of one host.  `connect` gives it what it needs of the parts that are made after the interfaces."""

    queue: StoredQueue
    callees: Callees

    def __init__(self, ids: AwakeableIds, clock: Clock) -> None:
        self.ids = ids
        self.clock = clock
        self.keyed = KeyedMemory()
        self._memory: dict[str, MemoryWorkflow] = {}
        self._stored: dict[str, StoredWorkflow] = {}

    def connect(self, queue: StoredQueue, calls: Invocations, waiters: Waiters, callees: Callees) -> None:
        """To be called once, before the first invocation."""
        self.queue, self.callees = queue, callees
        self._calls, self._waiters = calls, waiters
        queue.on_completed = self._completed

    def open(self, invocation: Invocation) -> MemoryWorkflow | StoredWorkflow:
        """That of an invocation."""
        if invocation.journal is None or not invocation.journal.durable:
            memory = self._memory[invocation.id] = MemoryWorkflow(invocation, self)
            invocation.closers.append(lambda: self._close_memory(invocation.id, memory))
            return memory
        stored = self._stored[invocation.id] = StoredWorkflow(cast("Journaled", invocation), self)
        invocation.closers.append(lambda: self._close_stored(invocation.id, stored))
        return stored

    def _close_memory(self, id: str, workflow: MemoryWorkflow) -> None:
        workflow.close()
        if self._memory.get(id) is workflow:
            del self._memory[id]

    def _close_stored(self, id: str, workflow: StoredWorkflow) -> None:
        if self._stored.get(id) is workflow:
            del self._stored[id]

    def nudge(self) -> None:
        """Looks again at what everybody waits for: a clock was set."""
        for workflow in (*self._memory.values(), *self._stored.values()):
            workflow.nudge()

    # -- completing awakeables

    def check(self, id: str) -> None:
        """Raises `NoSuchAwakeable` for an id that was not made here, before anything is received for it."""
        self.ids.read(id)

    async def resolve(self, id: str, payload: bytes) -> None:
        """Completes an awakeable.  Raises `NoSuchAwakeable` and `BodyTooLarge`."""
        if len(payload) > (most := self._calls.most_body_bytes):
            raise BodyTooLarge(f"the payload is over {most} bytes")
        await self._complete(id, Completion("ok", payload))

    async def reject(self, id: str, reason: str) -> None:
        """Completes an awakeable as failed."""
        if len(reason.encode("utf-8", "replace")) > MOST_MESSAGE_BYTES:
            raise BodyTooLarge(f"the reason is over {MOST_MESSAGE_BYTES} bytes")
        await self._complete(id, completion_of_failure(Failure(FAILED, reason)))

    async def _complete(self, id: str, completion: Completion) -> None:
        owner, number = self.ids.read(id)
        if number >> NUMBER_BITS & IN_MEMORY:
            workflow = self._memory.get(owner)
            if workflow is None or not workflow.complete(number, completion):
                raise no_such_awakeable()
            return
        try:
            await self.queue.complete(owner, number, completion)
        except UnknownInvocation:
            raise no_such_awakeable() from None

    # -- calls

    async def enqueue(self, calls: Sequence[QueuedCall]) -> Sequence[tuple[str, int]]:
        """Queues calls, or none of them: the id and the promise of each."""
        queued = await self.queue.enqueue_all(calls)
        self.callees.queued(calls)
        return queued

    async def completion(self, record: Record) -> Completion:
        """What the end of an invocation comes to for whoever called it."""
        try:
            output = await self.queue.output(record.id)
        except UnknownInvocation:
            output = None
        return completion_of(record, output)

    async def ended(self, id: str) -> Record | None:
        """What is known of an invocation that has ended; `None`: it has not."""
        record = await self._calls.find(id)
        return None if record.state in LIVE else record

    def watch(self, id: str) -> asyncio.Future[Record | None]:
        """What is done with its record when an invocation has ended."""
        return self._waiters.watch(id)

    def unwatch(self, id: str, end: asyncio.Future[Record | None]) -> None:
        """Nobody waits for that any more."""
        self._waiters.unwatch(id, end)

    async def end(self, caller: Invocation, id: str, *, kill: bool) -> None:
        """Cancels or kills an invocation of the caller's family, if it has not ended.  Raises `UnknownInvocation`.

        That it has ended is no error: it may have done so by this very call, before a crash.
        """
        if caller.journal is not None:
            # What has led to this has to be known before it is done: it changes what is seen.
            await caller.journal.flush()
        joined = JOINED.set(None)  # a family is ended by many units of work: done again, it is another one
        try:
            record = await self._calls.find(id)
            if record.root != caller.root:
                raise UnknownInvocation(f"there is no invocation {id[:64]!r} in this family")
            with suppress(HasEnded):
                await (self._calls.kill(id) if kill else self._calls.cancel(id))
        finally:
            JOINED.reset(joined)

    async def leave(self, caller: Invocation, ids: Sequence[str]) -> None:
        """Cancels calls that their caller does not wait for any more, some at a time; what has ended by now has ended.

        A call that somebody else made first, with the same idempotency key, is left alone.
        """
        joined = JOINED.set(None)  # as above
        try:
            for at in range(0, len(ids), AT_ONCE):
                await asyncio.gather(*(self._leave(caller.id, each) for each in ids[at : at + AT_ONCE]))
        finally:
            JOINED.reset(joined)

    async def _leave(self, caller: str, id: str) -> None:
        with suppress(InputError, Unavailable):
            if (await self._calls.find(id)).parent == caller:
                await self._calls.cancel(id)

    async def settled(self, id: str) -> None:
        """Waits while an invocation's family is being cancelled: it is told of that first."""
        await self._calls.cancelling.settled(id)

    def _completed(self, id: str, number: int) -> None:
        workflow = self._stored.get(id)
        if workflow is not None:
            workflow.told(number)


async def waits(registry: Registry, record: Record) -> bool:
    """Whether the guest of an invocation uses this interface, so that it can be told something at its next wait."""
    function = record.namespace, record.name
    deployment = registry.get(*function)
    if record.version and (deployment is None or deployment.version != record.version):
        deployment = await asyncio.to_thread(registry.version, *function, record.version)
    return deployment is None or DurableInterface.name in deployment.imports
