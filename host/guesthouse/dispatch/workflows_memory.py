"""`MemoryWorkflow`: promises and steps of an invocation that is not durable: in memory, and lost with its run.

The calls that it makes are queued for real, and go on without it.  Knows nothing of journals.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from guesthouse.dispatch.completions import outcome_of
from guesthouse.dispatch.workflows_base import BaseWorkflow
from guesthouse.dispatch.workflows_waiting import Tally
from guesthouse.errors import BodyTooLarge
from guesthouse.interfaces.durable import Promise, Request
from guesthouse.queue.call import Completion, Record

if TYPE_CHECKING:
    from guesthouse.dispatch.workflows import Workflows
    from guesthouse.interfaces.invocation import Invocation

IN_MEMORY: Final = 1 << 32
"""Stands in numbers of promises that no row will ever hear of."""


class MemoryWorkflow(BaseWorkflow):
    """That of one run."""

    def __init__(self, invocation: Invocation, workflows: Workflows) -> None:
        run = IN_MEMORY | int.from_bytes(workflows.clock.random_bytes(4), "big")  # a retried call gives no id twice
        super().__init__(invocation, run, workflows)
        self._keyed = workflows.keyed
        self._completions: dict[int, Completion] = {}
        """Of awakeables."""
        self._held = 0
        """Bytes of those."""
        self._ended: dict[int, Record] = {}
        """Of calls; their answers stay where they are until somebody wants them."""
        self._watched: dict[str, asyncio.Future[Record | None]] = {}
        self._awakeables: set[int] = set()
        lease = invocation.lease
        if lease is not None:
            self.key, self.attempt = lease.call.key, lease.attempt

    # -- promises

    def awakeable(self) -> Promise:
        """Ends when somebody completes it."""
        promise = super().awakeable()
        self._awakeables.add(promise.number)
        return promise

    def complete(self, number: int, completion: Completion) -> bool:
        """Completes an awakeable; false where there is none of this number.  The first time counts.

        Raises `BodyTooLarge` where what it holds would be more than a wait returns.
        """
        if number not in self._awakeables:
            return False
        if number not in self._completions:
            most = self._invocation.limits.wait_bytes
            if self._held + len(completion.value) > most:
                raise BodyTooLarge(f"what awaits the invocation is over {most} bytes already")
            self._held += len(completion.value)
            self._completions[number] = completion
            self.nudge()
        return True

    async def _look(self, tally: Tally) -> Mapping[int, str] | None:
        found = {number: outcome_of(self._ended[number]) for number in tally.pending if number in self._ended}
        found |= {number: self._completions[number].outcome for number in tally.pending if number in self._completions}
        return found

    async def _values(self, numbers: Sequence[int]) -> Mapping[int, Completion]:
        values: dict[int, Completion] = {}
        left = self._invocation.limits.wait_bytes
        for number in numbers:
            value = self._completions.get(number) or await self._workflows.completion(self._ended[number])
            left -= len(value.value)
            if left < 0:
                raise self._too_much()
            values[number] = value
        return values

    async def _rest(self, tally: Tally, until_ms: int | None, changed: asyncio.Future[None]) -> None:
        await asyncio.wait((changed,), timeout=self._seconds(tally, until_ms))

    # -- calls

    async def call(self, requests: Sequence[Request]) -> list[Promise]:
        """Calls functions."""
        numbers = self.numbers(len(requests))
        calls = self._workflows.callees.make(self._invocation, requests, [0] * len(requests))
        for number, call in zip(numbers, calls, strict=True):
            self._watch(call.id, number)
        try:
            kept = await self._workflows.enqueue(calls)
        except BaseException:
            for call in calls:
                self._forget(call.id)
            raise
        for number, call, (kept_id, _) in zip(numbers, calls, kept, strict=True):
            if kept_id != call.id:
                self._forget(call.id)
                await self._attach(kept_id, number)
        return [Promise(number, kept_id) for number, (kept_id, _) in zip(numbers, kept, strict=True)]

    async def _attach(self, id: str, number: int) -> None:
        """An earlier call with the same idempotency key stands for this one: it may have ended by now."""
        self._watch(id, number)
        record = await self._workflows.ended(id)
        if record is not None:
            self._forget(id)
            self._arrived(number, record)

    def _watch(self, id: str, number: int) -> None:
        end = self._watched[id] = self._workflows.watch(id)
        end.add_done_callback(partial(self._told, number))

    def _forget(self, id: str) -> None:
        end = self._watched.pop(id, None)
        if end is not None:
            self._workflows.unwatch(id, end)

    def _told(self, number: int, end: asyncio.Future[Record | None]) -> None:
        record = None if end.cancelled() else end.result()
        if record is not None:
            self._watched.pop(record.id, None)
            self._arrived(number, record)

    def _arrived(self, number: int, record: Record) -> None:
        self._ended[number] = record
        self.nudge()

    def close(self) -> None:
        """Nobody waits for anything any more."""
        for watched in tuple(self._watched):
            self._forget(watched)

    # -- state

    async def get(self, name: str) -> bytes | None:
        """A value of the key's state."""
        return self._keyed.get(self._place, name)

    async def set(self, name: str, value: bytes) -> None:
        """Sets one."""
        self._keyed.set(self._place, name, value)

    async def clear(self, name: str | None) -> None:
        """Forgets one, or all."""
        self._keyed.clear(self._place, name)

    async def names(self) -> Sequence[str]:
        """Of all that are set."""
        return self._keyed.names(self._place)

    @property
    def _place(self) -> tuple[str, str, str]:
        deployment = self._invocation.deployment
        return deployment.namespace, deployment.name, self.key or ""
