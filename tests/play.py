"""A guest that plays a part letter by letter, and the host interface that it asks: for tests of durable calls.

`Play` knows what each run asked of it.  The letters: `r` reads a counter, `w` does something to the world, `f` waits for a
future, `n` waits for a time, `s` computes for some milliseconds, `l` writes to its log, `c` does what the script says: 1 goes on,
0 traps, any other is the status of the answer.  The answer's body has a byte for each letter: what came of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ParamSpec

from guesthouse import AsyncHost, Effect, Interface, Invocation, host_call
from guesthouse.durable.errors import Suspended
from guesthouse.queue.call import Completion, Record, Wait
from stage import ACTOR
from support import wat

P = ParamSpec("P")

PATIENCE = 30
PLAY = "test:play/play@1.0.0"
SPINS = 10_000_000
PLAYER = f"""
(module
  (import "{PLAY}" "read" (func $r (param i32) (result i32)))
  (import "{PLAY}" "write" (func $w (param i32) (result i32)))
  (import "{PLAY}" "promise" (func $f (param i32) (result i32)))
  (import "{PLAY}" "nap" (func $n (param i32) (result i32)))
  (import "{PLAY}" "check" (func $c (param i32) (result i32)))
  (import "{PLAY}" "say" (func $l (param i32)))
  (memory (export "memory") 4)
  (global $top (mut i32) (i32.const 4096))
  (global $status (mut i32) (i32.const 200))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (global.set $top (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.get $top)
    (global.set $top (i32.add (global.get $top) (local.get 3))))
  (func $spin (param $turns i32)
    (loop $again
      (local.set $turns (i32.sub (local.get $turns) (i32.const 1)))
      (br_if $again (i32.gt_s (local.get $turns) (i32.const 0)))))
  (func $one (param $letter i32) (param $at i32) (result i32)
    (local $told i32)
    (if (i32.eq (local.get $letter) (i32.const 114)) (then (return (call $r (local.get $at)))))
    (if (i32.eq (local.get $letter) (i32.const 119)) (then (return (call $w (local.get $at)))))
    (if (i32.eq (local.get $letter) (i32.const 102)) (then (return (call $f (local.get $at)))))
    (if (i32.eq (local.get $letter) (i32.const 110)) (then (return (call $n (local.get $at)))))
    (if (i32.eq (local.get $letter) (i32.const 115)) (then (call $spin (i32.const {SPINS})) (return (i32.const 1))))
    (if (i32.eq (local.get $letter) (i32.const 108)) (then (call $l (local.get $at)) (return (i32.const 1))))
    (local.set $told (call $c (local.get $at)))
    (if (i32.eqz (local.get $told)) (then (unreachable)))
    (if (i32.gt_u (local.get $told) (i32.const 1)) (then (global.set $status (local.get $told))))
    (i32.const 1))
  (func (export "momento:functions/guest-function-web@1.0.0#post") (param $at i32) (param $size i32) (result i32)
    (local $place i32)
    (block $over
      (loop $next
        (br_if $over (i32.ge_u (local.get $place) (local.get $size)))
        (i32.store8 (i32.add (i32.const 1024) (local.get $place))
          (call $one (i32.load8_u (i32.add (local.get $at) (local.get $place))) (local.get $place)))
        (local.set $place (i32.add (local.get $place) (i32.const 1)))
        (br $next)))
    (i32.store16 (i32.const 96) (global.get $status))
    (i32.store (i32.const 100) (i32.const 0))
    (i32.store (i32.const 104) (i32.const 0))
    (i32.store (i32.const 108) (i32.const 1024))
    (i32.store (i32.const 112) (local.get $size))
    (i32.const 96)))
"""


JUDGE = ACTOR.replace('"retry-after"', '"guesthouse-error"').replace("(i32.const 11)", "(i32.const 16)")
"""An actor of `stage` that says how its answer is meant, in place of when to come again."""


@dataclass
class Play(Interface):
    """What players ask; to be used on one loop.  One object may go with several hosts, one after the other."""

    name = "play"
    wit = (
        "package test:play@1.0.0; interface play { read: func(at: u32) -> u32; write: func(at: u32) -> u32;"
        " promise: func(at: u32) -> u32; nap: func(at: u32) -> u32; check: func(at: u32) -> u32; say: func(at: u32); }"
    )

    count: int = 0
    """How often the counter was read."""
    effects: list[tuple[str, int]] = field(default_factory=list)
    """What was done to the world: by which invocation, at which letter."""
    script: dict[int, list[int]] = field(default_factory=dict)
    """By place: what `c` is told, run by run; the last one stays; 1 where there is nothing."""
    due_ms: dict[int, int] = field(default_factory=dict)
    """By place: until when `n` waits."""
    asked: list[str] = field(default_factory=list)
    """Each call that was answered live: its letter and place."""
    holding: bool = False
    """Whether each effect waits for the test, once it is done."""

    def __post_init__(self) -> None:
        self._places = asyncio.Semaphore(0)
        self._changed = asyncio.Event()
        self.host: AsyncHost | None = None
        self._waiting: dict[tuple[str, int], asyncio.Future[None]] = {}

    __hash__ = Interface.__hash__

    # -- for the guest

    @host_call(PLAY, "read", Effect.READ)
    def read(self, invocation: Invocation, at: int) -> int:
        self._note("r", at)
        self.count += 1
        return self.count

    @host_call(PLAY, "write", Effect.WRITE)
    async def write(self, invocation: Invocation, at: int) -> int:
        self.effects.append((invocation.id, at))
        self._note("w", at)
        if self.holding:
            await self._places.acquire()
        return len(self.effects)

    @host_call(PLAY, "promise", Effect.READ)
    async def promise(self, invocation: Invocation, at: int) -> int:
        number = at + 1
        self._note("f", at)
        while not (found := await self._queue.completions(invocation.id, [number])):
            done = self._waiting[invocation.id, number] = asyncio.get_running_loop().create_future()
            if not await invocation.linger(done):
                raise Suspended(Wait([(number, number)], ends=1), "a future")
        return int(found[number].value)

    @host_call(PLAY, "nap", Effect.READ)
    async def nap(self, invocation: Invocation, at: int) -> int:
        self._note("n", at)
        assert self.host is not None
        if self.host._clock.wall_ns() // 1_000_000 < self.due_ms[at]:
            raise Suspended(Wait(until_ms=self.due_ms[at]), "a time")
        return 1

    @host_call(PLAY, "check", Effect.READ)
    def check(self, invocation: Invocation, at: int) -> int:
        self._note("c", at)
        told = self.script.get(at, [1])
        return told.pop(0) if len(told) > 1 else told[0]

    @host_call(PLAY, "say")
    def say(self, invocation: Invocation, at: int) -> None:
        invocation.log.write("info", f"line {at}", "guest")

    # -- for the test

    def plays_on(self, host: AsyncHost) -> None:
        """From now on with this host."""
        self.host = host
        self._waiting.clear()
        host.queue.on_completed = self._completed

    async def complete(self, id: str, at: int, value: int) -> None:
        """Completes the future of a place."""
        await self._queue.complete(id, at + 1, Completion("ok", str(value).encode()))

    def release(self, count: int = 1) -> None:
        """Lets effects that are held go on."""
        for _ in range(count):
            self._places.release()

    async def until(self, happened: Callable[[], Any]) -> None:
        """Waits until something has happened that the guest asks for."""
        async with asyncio.timeout(PATIENCE):
            while not happened():
                self._changed.clear()
                await self._changed.wait()

    def _completed(self, id: str, number: int) -> None:
        done = self._waiting.pop((id, number), None)
        if done is not None and not done.done():
            done.set_result(None)

    def _note(self, letter: str, at: int) -> None:
        self.asked.append(f"{letter}{at}")
        self._changed.set()

    @property
    def _queue(self) -> Any:
        assert self.host is not None
        return self.host.queue


def on_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """A test that runs on a loop of its own."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


def player() -> bytes:
    """The module."""
    return wat(PLAYER)


async def in_state(host: AsyncHost, id: str, state: str) -> Record:
    """What is known of an invocation, once it is in a state."""
    async with asyncio.timeout(PATIENCE):
        while (record := await host.invocation(id)).state != state:
            await asyncio.sleep(0.002)
    return record


async def ended(host: AsyncHost, id: str) -> Record:
    """What is known of an invocation, once it has ended."""
    record = await host.attach(id, PATIENCE)
    assert record.ended_ms is not None, record
    return record


async def crash(host: AsyncHost) -> None:
    """As `kill -9` as it can be in one process: whatever was not committed is lost, and what was leased stays so."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    host.consumer._stopped = host.consumer._settler.stopped = True  # nobody writes anything any more
    await asyncio.to_thread(host.database.close)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=PATIENCE)
    host.dispatcher.close()
    await host.outbound.close()
    if host._directory is not None:
        host._directory.close()
