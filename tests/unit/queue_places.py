"""A queue in a database, awaited, for tests of what the model does not say."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from guesthouse.queue.call import Completion, Lease, Output, QueuedCall, Record, Wait
from guesthouse.queue.config import InvocationsConfig, QueueConfig
from guesthouse.queue.counts import Counts
from guesthouse.queue.store import StoredQueue
from guesthouse.storage.database import Database, rows
from guesthouse.storage.space import FreeSpace
from set_clock import SetClock

T = TypeVar("T")
FUNCTION = ("default", "hello")


class QueuePlace:
    """A database, and the queues on it, one after the other."""

    def __init__(
        self,
        path: Path | None = None,
        config: QueueConfig | None = None,
        keep: InvocationsConfig | None = None,
        *,
        vfs: str = "",
    ) -> None:
        self.clock = SetClock()
        self.runner = asyncio.Runner()
        self.config, self.keep = config, keep
        self.path, self.vfs = path, vfs
        self.free = (1 << 40, 1 << 40)
        self.count = 0
        self.database = Database(path, vfs=vfs)
        self.queue = self.begin()

    def begin(self) -> StoredQueue:
        """A further queue on the same database."""
        self.told: list[tuple[str, int]] = []
        self.ready: list[tuple[str, str]] = []
        space = FreeSpace(self.database.directory, self.clock, lambda: self.free)
        self.queue = StoredQueue(
            self.database, self.config, self.keep, self.clock, holder=os.urandom(8).hex(), space=space
        )
        self.queue.on_completed = lambda name, number: self.told.append((name, number))
        self.queue.on_ready = self.ready.append
        return self.queue

    def open(self) -> StoredQueue:
        """The queue, as another process finds it that has just begun."""
        if self.path is not None:
            self.database.close()
            self.database = Database(self.path, vfs=self.vfs)
        return self.begin()

    def wait(self, call: Coroutine[Any, Any, T]) -> T:
        """What a call answers."""
        return self.runner.run(call)

    def all(self, calls: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
        """What calls answer that are made at once; what they raise is among it."""

        async def gather() -> list[Any]:
            return list(await asyncio.gather(*calls, return_exceptions=True))

        return self.wait(gather())

    def call(self, function: tuple[str, str] = FUNCTION, delay_ms: int = 0, **more: Any) -> QueuedCall:
        """A call with an id of its own."""
        self.count += 1
        now = self.clock.wall_ms
        values = {"id": f"c{self.count:06}", "queued_ms": now, "due_ms": now + delay_ms if delay_ms else 0} | more
        return QueuedCall(namespace=function[0], name=function[1], **values)

    def put(self, count: int = 1, function: tuple[str, str] = FUNCTION, **more: Any) -> list[str]:
        """Queues calls; their ids."""
        ids = self.all([self.queue.enqueue(self.call(function, **more)) for _ in range(count)])
        assert all(isinstance(found, str) for found in ids), ids
        return ids

    def lease(self, most: int = 1, function: tuple[str, str] = FUNCTION, **more: Any) -> Sequence[Lease]:
        return self.wait(self.queue.lease(function, most, **more))

    def record(self, lease: Lease, state: Any = "succeeded", **more: Any) -> Record:
        """The record of a run that ended now."""
        call, now = lease.call, self.clock.wall_ms
        values = {"queued_ms": call.queued_ms, "started_ms": now, "ended_ms": now, "attempts": lease.attempt} | more
        return Record(id=call.id, namespace=call.namespace, name=call.name, mode="async", state=state, **values)

    def end(self, lease: Lease, output: Output | None = None, *, dead: bool = False) -> None:
        end = self.queue.bury if dead else self.queue.succeed
        self.wait(end(lease, self.record(lease, "dead" if dead else "succeeded"), output, None))

    def durable(self, count: int = 1, function: tuple[str, str] = FUNCTION, **more: Any) -> list[Lease]:
        """Durable calls that run now."""
        self.put(count, function, durable=True, **more)
        leases = list(self.lease(count, function))
        assert len(leases) == count
        return leases

    def append(self, lease: Lease, number: int, segment: bytes = b"segment", version: int | None = None) -> None:
        self.wait(self.queue.append(lease, number, segment, version=version))

    def suspend(self, lease: Lease, *numbers: int, **more: Any) -> bool:
        """Whether the call is suspended now, and waits for these futures."""
        wait = Wait([(number, number) for number in numbers], **more)
        return self.wait(self.queue.suspend(lease, wait, b"", self.record(lease, "suspended", ended_ms=None)))

    def complete(self, id: str, number: int, outcome: Any = "ok", value: bytes = b"") -> bool:
        return self.wait(self.queue.complete(id, number, Completion(outcome, value)))

    def state(self, id: str) -> str:
        return self.wait(self.queue.find(id)).state

    def look(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of the database."""
        return self.database.read_sync(lambda connection: rows(connection, query))

    def counted(self) -> tuple[Any, ...]:
        """What the queue has counted in memory."""
        return _totals(self.queue.counts)

    def in_tables(self) -> tuple[Any, ...]:
        """What it would count if it looked."""
        found = Counts(self.config or QueueConfig())
        self.database.read_sync(found.read)
        return _totals(found)

    def pass_ms(self, duration: int) -> None:
        """Time goes by, on both clocks."""
        self.clock.wall_ms += duration
        self.clock.monotonic += duration * 1_000_000

    def close(self) -> None:
        self.database.close()
        self.runner.close()


def _totals(counts: Counts) -> tuple[Any, ...]:
    functions = {function: (of.codes, of.calls, of.bytes) for function, of in counts}
    return functions, counts.calls, counts.bytes, counts.dead_bytes, counts.kept_bytes
