"""A stage for queued calls: a guest that does what a test says, a clock that a test moves, and a host with both.

`Stage` is a host interface that the guest asks what to answer: every run is noted, may be held until the test lets it go,
and is answered with the status that stands in the script.  Nothing here sleeps; what is waited for ends in `PATIENCE`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from guesthouse import AsyncHost, Interface, Invocation, host_call
from guesthouse.clock import SYSTEM_CLOCK
from guesthouse.queue.call import LIVE, QueuedCall, Record
from guesthouse.queue.config import QueueConfig
from support import wat

PATIENCE = 30
STAGE = "test:stage/stage@1.0.0"
ACTOR = f"""
(module
  (import "{STAGE}" "act" (func $act (param i32 i32 i32)))
  (memory (export "memory") 4)
  (global $top (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (global.set $top (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.get $top)
    (global.set $top (i32.add (global.get $top) (local.get 3))))
  (data (i32.const 16) "retry-after")
  (func (export "momento:functions/guest-function-web@1.0.0#post") (param $at i32) (param $size i32) (result i32)
    (call $act (local.get $at) (local.get $size) (i32.const 64))
    (if (i32.eqz (i32.load (i32.const 64))) (then (unreachable)))
    (i32.store16 (i32.const 96) (i32.load (i32.const 64)))
    (i32.store (i32.const 100) (i32.const 128))
    (i32.store (i32.const 104) (i32.ne (i32.load (i32.const 72)) (i32.const 0)))
    (i32.store (i32.const 128) (i32.const 16))
    (i32.store (i32.const 132) (i32.const 11))
    (i32.store (i32.const 136) (i32.load (i32.const 68)))
    (i32.store (i32.const 140) (i32.load (i32.const 72)))
    (i32.store (i32.const 108) (local.get $at))
    (i32.store (i32.const 112) (local.get $size))
    (i32.const 96)))
"""
"""A web function that answers its body with the status and the Retry-After it is told; told 0 it traps."""


@dataclass
class Stage(Interface):
    """What actors ask; to be used on one loop."""

    name = "stage"
    wit = "package test:stage@1.0.0; interface stage { act: func(body: list<u8>) -> tuple<u32, string>; }"

    ran: list[bytes] = field(default_factory=list)
    """Bodies of the runs that have begun, in their order."""
    script: dict[bytes, list[tuple[int, str]]] = field(default_factory=dict)
    """By body: status and Retry-After of each run; the last one stays.  What is not in it is answered 200."""
    acting: Counter[str] = field(default_factory=Counter)
    """Runs that are held now, by function."""
    most: Counter[str] = field(default_factory=Counter)
    """The most that there were at once."""
    holding: bool = False
    """Whether every run waits for the test."""

    def __post_init__(self) -> None:
        self._places = asyncio.Semaphore(0)
        self._changed = asyncio.Event()

    __hash__ = Interface.__hash__

    @host_call(STAGE, "act")
    async def act(self, invocation: Invocation, body: bytes) -> tuple[int, str]:
        name = invocation.deployment.name
        self.ran.append(body)
        self.acting[name] += 1
        self.most[name] = max(self.most[name], self.acting[name])
        self._changed.set()
        try:
            if self.holding or body.startswith(b"wait"):
                await self._places.acquire()
        finally:
            self.acting[name] -= 1
        answers = self.script.get(body, [(200, "")])
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def let_go(self, count: int = 1) -> None:
        """Lets so many held runs go on, those that have waited longest first."""
        for _ in range(count):
            self._places.release()

    async def when(self, happened: Callable[[], bool]) -> None:
        """Waits until something is so that changes when a run begins."""
        async with asyncio.timeout(PATIENCE):
            while not happened():
                self._changed.clear()
                await self._changed.wait()


class MovedClock:
    """The machine's clocks, moved by as much as a test says."""

    rearm_seconds = 1.0
    ahead_ns = 0

    def __init__(self) -> None:
        self.wall_offset_ms = 0
        self.monotonic_offset_ms = 0

    def monotonic_ns(self) -> int:
        return SYSTEM_CLOCK.monotonic_ns() + self.monotonic_offset_ms * 1_000_000

    def wall_ns(self) -> int:
        return SYSTEM_CLOCK.wall_ns() + self.wall_offset_ms * 1_000_000

    def random_bytes(self, count: int) -> bytes:
        """As large as can be, so that a random wait is nearly its longest, and yet never the same twice."""
        return b"\xff" + SYSTEM_CLOCK.random_bytes(count)[1:]


class Scene:
    """A host on which actors run, and what a test does with it."""

    def __init__(self, host: AsyncHost, stage: Stage, clock: MovedClock) -> None:
        self.host = host
        self.stage = stage
        self.clock = clock

    async def deploy(self, name: str = "actor", *, namespace: str = "default", **options: Any) -> None:
        """Deploys an actor."""
        await self.host.deploy(name, wat(ACTOR), namespace=namespace, **options)

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC, as the host sees it."""
        return self.clock.wall_ns() // 1_000_000

    async def enqueue(
        self, body: bytes = b"", name: str = "actor", *, namespace: str = "default", **fields: Any
    ) -> str:
        """Queues a call and wakes who runs it; its id."""
        now_ms = self.now_ms()
        call = QueuedCall(
            id=self.host.dispatcher.new_id(), namespace=namespace, name=name, body=body, queued_ms=now_ms, **fields
        )
        await self.host.queue.enqueue(call)
        self.host.consumer.wake((namespace, name), call.due_ms)
        return call.id

    async def attached(self, body: bytes, name: str = "actor") -> Record:
        """Queues a call, as somebody who waits for its end: that record."""
        own_id = self.host.dispatcher.new_id()
        call = QueuedCall(id=own_id, namespace="default", name=name, body=body, queued_ms=self.now_ms())
        await self.host.queue.enqueue(call)
        waiting = asyncio.create_task(self.host.calls.attach(call.id, PATIENCE))
        while call.id not in self.host.dispatcher.waiters:
            await asyncio.sleep(0)
        self.host.consumer.wake(("default", name))
        return await waiting

    async def ended(self, id: str) -> Record:
        """The record of a call, once it has ended."""
        return await self.when(id, lambda record: record.state not in LIVE)

    async def when(self, id: str, fits: Callable[[Record], bool]) -> Record:
        """The record of a call, once it is as wanted."""
        async with asyncio.timeout(PATIENCE):
            while not fits(record := await self.host.queue.find(id)):
                await asyncio.sleep(0.002)
            return record

    async def retried(self, id: str, attempts: int) -> Record:
        """The record of a call that waits for its next run."""
        return await self.when(id, lambda record: record.state == "queued" and record.attempts == attempts)

    def advance(self, milliseconds: int) -> None:
        """Both clocks go on by so much."""
        self.clock.wall_offset_ms += milliseconds
        self.clock.monotonic_offset_ms += milliseconds
        self.host.consumer.nudge()

    def metric(self, name: str, **labels: str) -> float:
        """What Prometheus would read."""
        found = [
            sample.value
            for family in self.host.metrics.collect()
            for sample in family.samples
            if sample.name == name and sample.labels == labels
        ]
        return found[0] if found else 0.0


def perform(work: Callable[[Scene], Awaitable[None]], **options: Any) -> None:
    """Runs a test on a stage of its own; `options` are those of the host, and `inflight` the bound of its queue."""

    async def on_loop() -> None:
        stage, clock = Stage(), MovedClock()
        inflight = options.pop("inflight", None)
        options.setdefault("queue", QueueConfig(inflight=inflight))
        others = options.pop("interfaces", ())
        async with AsyncHost(interfaces=[stage, *others], clock=clock, **options) as host:
            await work(Scene(host, stage, clock))
            stage.let_go(1_000)

    asyncio.run(on_loop())
