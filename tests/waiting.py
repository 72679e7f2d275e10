"""Hosts in this process on which the guest `durable-probe` waits, calls and counts: durable, and volatile (in memory).

A script is a list of operations (guests/tests/durable-probe/README.md); its trace is what each came to.  Time is the machine's,
moved by as much as a test says; what is waited for ends in `PATIENCE`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from guesthouse import AsyncHost
from guesthouse.queue.call import LIVE, Output, Record
from guesthouse.registry.artefacts import ArtefactStore
from stage import PATIENCE, MovedClock
from support import guest

PROBE = "durable-probe"
KINDS = ("durable", "volatile")
RETRY = {"attempts": 3, "min_wait_ms": 1, "max_wait_ms": 5}
OK = {"ok": None}
CANCELLED = {"failed": {"kind": "cancelled", "message": "the invocation was cancelled", "code": 0, "metadata": []}}
TIMED_OUT = {"failed": {"kind": "timed-out", "message": "it did not end in time", "code": 0, "metadata": []}}
Script = Sequence[Any]
COMPILED = ArtefactStore(None)
"""Of all hosts of a test run: compiling the probe takes longer than most tests."""


class Waiting:
    """A host, and scripts that run on it."""

    def __init__(self, host: AsyncHost, clock: MovedClock, kind: str) -> None:
        self.host = host
        self.clock = clock
        self.kind = kind

    @property
    def durable(self) -> bool:
        return self.kind == "durable"

    async def deploy(self, name: str, guest_name: str = PROBE, *, grace_ms: int = 0, **options: Any) -> None:
        """A guest of this kind under a name; those that are durable are suspended as soon as they wait."""
        durable = {"grace_ms": grace_ms} if self.durable else None
        await self.host.deploy(name, guest(guest_name), durable=durable, retry=RETRY, **options)

    async def start(self, script: Script, name: str = "probe", **options: Any) -> str:
        """Has a script begun; the id of its invocation."""
        return await self.host.enqueue(name, json.dumps(script).encode(), **options)

    async def run(self, script: Script, name: str = "probe", **options: Any) -> list[Any]:
        """What the operations of a script came to."""
        return await self.trace(await self.start(script, name, **options))

    async def trace(self, id: str) -> list[Any]:
        """What the operations of a script came to, once it has succeeded."""
        output = await self.output(id)
        assert output.status == 200, output.body
        found: list[Any] = json.loads(output.body)
        return found

    async def output(self, id: str) -> Output:
        """The answer of an invocation, once it has ended."""
        record = await self.ended(id)
        output = await self.host.output(id)
        assert output is not None, record
        return output

    async def ended(self, id: str) -> Record:
        """The record of an invocation, once it has ended."""
        record = await self.host.attach(id, 4 * PATIENCE)
        assert record.state not in LIVE, record
        return record

    async def waits(self, id: str) -> None:
        """Waits until an invocation waits: suspended, or in memory for something of its own."""
        await self.until(lambda: self._waits(id))

    async def _waits(self, id: str) -> bool:
        if self.durable:
            return (await self.host.invocation(id)).state == "suspended"
        workflow = self.host.workflows._memory.get(id)
        return workflow is not None and workflow._changed is not None and not workflow._changed.done()

    async def waits_again(self, id: str, happens: Awaitable[None]) -> None:
        """Lets something happen for which an invocation waits, and waits until it waits for something else."""
        before = await self._standing(id)
        await happens
        await self.until(lambda: self._is_elsewhere(id, before))

    async def _is_elsewhere(self, id: str, before: object) -> bool:
        return await self._waits(id) and await self._standing(id) != before

    async def _standing(self, id: str) -> object:
        """Something that is another one at each wait."""
        if self.durable:
            return (await self.host.invocation(id)).journal_entries
        return self.host.workflows._memory[id]._changed

    async def until(self, happened: Callable[[], Awaitable[bool]]) -> None:
        """Waits until something is so."""
        async with asyncio.timeout(PATIENCE):
            while not await happened():
                await asyncio.sleep(0.002)

    async def published(self, topic: str = "ids") -> str:
        """The next text that a script publishes."""
        async with asyncio.timeout(PATIENCE):
            return await self._texts.get()

    async def asked(self, script: Script, name: str = "probe", **options: Any) -> tuple[str, str]:
        """Has a script begun whose first promise is an awakeable, and waits until it waits: its id, and the awakeable's."""
        invocation = await self.start(["awakeable", {"publish": ["ids", "$id:0"]}, *script], name, **options)
        return invocation, await self.published()

    def advance(self, milliseconds: int) -> None:
        """Both clocks go on by so much, or back."""
        self.clock.wall_offset_ms += milliseconds
        self.clock.monotonic_offset_ms += max(0, milliseconds)
        self.host.consumer.nudge()
        self.host.workflows.nudge()

    _texts: asyncio.Queue[str]

    def listen(self) -> None:
        """Notes what scripts publish."""
        self._texts = asyncio.Queue()
        publish = self.host.topics.publish_and_start

        def noted(namespace: str, topic: str, value: Any, *args: Any) -> int:
            self._texts.put_nowait(value)
            return publish(namespace, topic, value, *args)

        self.host.topics.publish_and_start = noted  # type: ignore[method-assign, assignment]


def perform(kind: str, work: Callable[[Waiting], Awaitable[None]], *, data: Path | None = None, **options: Any) -> None:
    """Runs a test on a host on which the probe is deployed as `probe`, and the guest `greet`."""
    performed(kind, [work], data=data, **options)


def performed(
    kind: str,
    lives: Sequence[Callable[[Waiting], Awaitable[None]]],
    *,
    data: Path | None = None,
    grants: Sequence[str] | None = None,
    grace_ms: int = 0,
    **options: Any,
) -> None:
    """Runs the parts of a test on one host after the other, on the same data directory, under one clock."""

    async def on_loop() -> None:
        clock = MovedClock()
        for number, work in enumerate(lives):
            async with AsyncHost(data, clock=clock, **options) as host:
                host.deployer._artefacts = COMPILED
                waiting = Waiting(host, clock, kind)
                waiting.listen()
                if number == 0:
                    await waiting.deploy("probe", grace_ms=grace_ms, grants=grants)
                    await host.deploy("greet", guest("greet"))
                await work(waiting)

    asyncio.run(on_loop())
