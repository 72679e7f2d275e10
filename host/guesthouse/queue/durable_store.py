"""`StoredJournals`: the part of `StoredQueue` that keeps journals, completions, trees and keyed state of durable calls.

Promises those of `Queue`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

from guesthouse.clock import Clock
from guesthouse.queue import completing, journals, keyed, records, trees
from guesthouse.queue.batches import Batches
from guesthouse.queue.call import Completion, Lease, QueuedCall, Record, Wait
from guesthouse.queue.changes import Kind
from guesthouse.queue.counts import Counts
from guesthouse.queue.journals import Append
from guesthouse.queue.keyed import Setting
from guesthouse.queue.queue import FunctionKey
from guesthouse.queue.rows import Code, NewCall, about_of, new_call
from guesthouse.queue.settlement import Settlement
from guesthouse.storage.database import Database
from guesthouse.storage.joined import done_before
from guesthouse.storage.space import FreeSpace

TOLD_BYTES = 64 << 20
"""Of completions that are read at once: as much as a journal may hold, where they go next."""


def unheard(*_: object) -> None:
    """What is told nobody."""


class StoredJournals:
    """Of one queue, which provides the attributes."""

    on_completed: Callable[[str, int], None] = staticmethod(unheard)
    on_ready: Callable[[FunctionKey], None] = staticmethod(unheard)
    counts: Counts
    _batches: Batches[Kind]
    _clock: Clock
    _database: Database
    _space: FreeSpace

    # -- calls that belong together

    async def enqueue_all(self, calls: Sequence[QueuedCall]) -> Sequence[tuple[str, int]]:
        before = done_before()
        if before is not None:
            known: Sequence[tuple[str, int]] = before[0]
            return known
        reserved: list[NewCall] = []
        try:
            self._space.check()
            for call in calls:
                new = new_call(call)
                self.counts.reserve(new.function, new.size)
                reserved.append(new)
        except BaseException:
            self._free(reserved)
            raise
        size = sum(new.size for new in reserved)
        stored = self._batches.add(Kind.ENQUEUE_ALL, reserved, size, begins=True, joins=True)
        queued: Sequence[tuple[str, int]] = await stored
        return queued

    def _free(self, reserved: Sequence[NewCall]) -> None:
        for new in reserved:
            self.counts.free(new.function, new.size)

    # -- journals

    async def append(self, lease: Lease, number: int, segment: bytes, *, version: int | None = None) -> None:
        await self._batches.add(Kind.APPEND, Append(lease, number, segment, version), len(segment))

    async def journal(self, id: str) -> Sequence[bytes]:
        return await self._database.read(partial(journals.journal, id=id))

    async def record_journal(self, id: str, segments: Sequence[bytes]) -> None:
        await self._batches.add(Kind.JOURNAL, (id, segments), sum(map(len, segments)))

    # -- waiting

    def ready(self, function: FunctionKey) -> bool:
        return self.counts.ready(function)

    async def suspend(self, lease: Lease, wait: Wait, segment: bytes, record: Record) -> bool:
        settlement = Settlement(
            lease,
            Code.SUSPENDED,
            about_of(record),
            started_ms=record.started_ms,
            segment=segment,
            wait=wait,
            version=record.version or None,
        )
        suspended: bool = await self._batches.add(Kind.SETTLE, settlement, len(segment))
        return suspended

    async def complete(self, id: str, number: int, completion: Completion) -> bool:
        size = len(completion.value)
        first: bool = await self._batches.add(Kind.COMPLETE, (id, number, completion), size, joins=True)
        return first

    async def completions(
        self, id: str, numbers: Collection[int], most_bytes: int = TOLD_BYTES
    ) -> dict[int, Completion]:
        look = partial(completing.completions, id=id, numbers=list(numbers), most_bytes=most_bytes)
        return await self._database.read(look)

    async def outcomes(self, id: str) -> dict[int, str]:
        return await self._database.read(partial(completing.outcomes, id=id))

    # -- trees

    async def live_children(self, id: str) -> Sequence[tuple[str, int]]:
        return await self._database.read(partial(trees.live_children, id=id))

    async def kill(self, id: str, record: Record) -> Sequence[Record]:
        ids: Sequence[str] = await self._batches.add(Kind.KILL, (id, record), joins=True)
        return await self._database.read(partial(records.several, ids=ids))

    async def pinned(self, namespace: str, name: str, *, dead: bool = False) -> frozenset[int]:
        return await self._database.read(partial(records.pinned, function=(namespace, name), dead=dead))

    # -- keyed state

    async def state_get(self, lease: Lease, item: str) -> bytes | None:
        function, key = _key_of(lease)
        return await self._database.read(partial(keyed.get, function=function, key=key, item=item))

    async def state_names(self, lease: Lease) -> Sequence[str]:
        function, key = _key_of(lease)
        return await self._database.read(partial(keyed.names, function=function, key=key))

    async def state_set(self, lease: Lease, item: str, value: bytes) -> None:
        _key_of(lease)
        if done_before() is not None:
            return
        self._space.check()
        await self._state(Setting(lease, item, value), len(value))

    async def state_clear(self, lease: Lease, item: str | None = None) -> None:
        _key_of(lease)
        await self._state(Setting(lease, item))

    async def state_forget(self, function: FunctionKey) -> None:
        await self._batches.add(Kind.FORGET_STATE, function)

    def _state(self, setting: Setting, size: int = 0) -> asyncio.Future[Any]:
        return self._batches.add(Kind.STATE, setting, size, joins=True)


def _key_of(lease: Lease) -> tuple[FunctionKey, str]:
    call = lease.call
    if call.key is None:
        raise ValueError("a call without a key has no state of one")
    return (call.namespace, call.name), call.key
