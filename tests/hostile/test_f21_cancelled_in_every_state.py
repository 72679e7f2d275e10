"""F21: a guest can be cancelled, or reach its deadline, in every state it can be in; nothing of it is left."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import Any

import pytest

from guesthouse import AsyncHost, Host, Interface, host_call
from guesthouse.errors import Cancelled, DeadlineExceeded, GuesthouseError
from harness import often, run
from support import guest, wat

SLOTS = 400
HOST = "test:f21/host@1.0.0"
RUNNER = "test:f21/runner@1.0.0"
SEED = 20_261_121


class Stops(Interface):
    """Host functions that wait: until `opened`, for one turn of the loop, or in a thread."""

    name = "stops"
    wit = """
    package test:f21@1.0.0;
    interface host {
      number: func() -> u32; text: func() -> string;
      wait: func() -> string; turn: func() -> string; block: func() -> string;
    }
    interface runner { run: func(way: u32) -> u32; take: func(texts: list<string>) -> u32; }
    """
    waiting = 0
    opened = threading.Event()

    @host_call(HOST, "number")
    def number(self, invocation: Any) -> int:
        return 1

    @host_call(HOST, "text")
    def text(self, invocation: Any) -> str:
        return "text"

    @host_call(HOST, "wait")
    async def wait(self, invocation: Any) -> str:
        Stops.waiting += 1
        try:
            await asyncio.Event().wait()
        finally:
            Stops.waiting -= 1
        raise AssertionError("nobody sets it")

    @host_call(HOST, "turn")
    async def turn(self, invocation: Any) -> str:
        await asyncio.sleep(0)
        return "turn"

    @host_call(HOST, "block", blocking=True)
    def block(self, invocation: Any) -> str:
        Stops.opened.wait(10)
        return "block"


INTERFACES = (Stops,)
IMPORTS = f"""
  (import "{HOST}" "number" (func $number (result i32)))
  (import "{HOST}" "text" (func $text (param i32)))
  (import "{HOST}" "wait" (func $wait (param i32)))
  (import "{HOST}" "turn" (func $turn (param i32)))
  (import "{HOST}" "block" (func $block (param i32)))
  (memory (export "memory") 1)"""
WORK = """(func $work (param $n i32) (loop $l (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))"""
PLAIN_REALLOC = '(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))'
SLOW_REALLOC = """(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (call $work (i32.const 3000000)) (i32.const 1024))"""
WAYS = {
    "loop": "(loop (br 0))",
    "wait": "(call $wait (i32.const 16))",
    "turns": "(loop $l (call $turn (i32.const 16)) (br $l))",
    "turns and work": "(loop $l (call $turn (i32.const 16)) (call $work (i32.const 1000000)) (br $l))",
    "calls": "(loop $l (drop (call $number)) (br $l))",
    "calls and work": "(loop $l (call $text (i32.const 16)) (call $work (i32.const 1000000)) (br $l))",
    "work, then wait": "(call $work (i32.const 5000000)) (call $wait (i32.const 16))",
    "block": "(call $block (i32.const 16))",
    "work, then block": "(call $work (i32.const 5000000)) (call $block (i32.const 16))",
    "trap": "(call $turn (i32.const 16)) (unreachable)",
    "answer": "(call $turn (i32.const 16)) (call $work (i32.const 1000000))",
}
EARLY = {
    "late": "",
    "initializing": '(func (export "_initialize") (call $way))',
    "starting": "(func $start (call $way)) (start $start)",
}


def module(way: str, early: str = "", realloc: str = PLAIN_REALLOC) -> bytes:
    """A guest that goes one way, in its export or before."""
    later = "" if early else "(call $way)"
    return wat(f"""(module {IMPORTS} {WORK} {realloc} (func $way {way}) {early}
      (func (export "{RUNNER}#take") (param i32 i32) (result i32) {later} (i32.const 1))
      (func (export "{RUNNER}#run") (param i32) (result i32) {later} (i32.const 1)))""")


def deploy_all(host: Host, **limits: int) -> list[tuple[str, str, tuple[Any, ...]]]:
    """One function for each state; the names with what to call them with."""
    calls: list[tuple[str, str, tuple[Any, ...]]] = []
    limits = {"host_calls": 1_000_000_000, **limits}
    for when, early in EARLY.items():
        for realloc in (PLAIN_REALLOC, SLOW_REALLOC):
            for way, body in WAYS.items():
                if "block" in way and realloc is SLOW_REALLOC:
                    continue
                name = f"{when}-{way}-{'slow' if realloc is SLOW_REALLOC else 'plain'}".replace(" ", "-").replace(
                    ",", ""
                )
                if when == "starting" and way not in ("loop", "calls"):
                    continue  # there is no memory to answer into yet: it traps, which is tried elsewhere
                host.deploy(name, module(body, early, realloc), limits=limits)
                calls.append((name, "run", (1,)))
                if when == "late":
                    calls.append((name, "take", (["some", "texts"] * 3,)))
    return calls


@pytest.fixture
def opened() -> Any:
    """Lets blocked threads go at the end."""
    Stops.opened.clear()
    yield
    Stops.opened.set()


def test_cancelling_at_random_moments_leaves_nothing(host: Host, opened: None) -> None:
    """Before the start, on the loop, waiting, blocked, on a worker, allocating: the task ends cancelled or the guest did."""
    calls = deploy_all(host, deadline_ms=10_000)
    dice = random.Random(SEED)

    async def attack(inner: AsyncHost) -> None:
        for _ in range(often(4)):
            dice.shuffle(calls)
            tasks = [asyncio.ensure_future(inner.call(name, fn, *args, interface=RUNNER)) for name, fn, args in calls]
            for task in dice.sample(tasks, len(tasks)):
                task.cancel()
                if dice.random() < 0.3:
                    await asyncio.sleep(dice.choice((0, 0, 0.0005, 0.002, 0.004)))
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            bad = [one for one in ended if not isinstance(one, int | asyncio.CancelledError | GuesthouseError)]
            assert not bad, bad[0]
            Stops.opened.set()
            assert Stops.waiting == 0

    run(host, attack)


def test_deadlines_at_random_moments_leave_nothing(host: Host, opened: None) -> None:
    """The same with deadlines of 1 to 16 ms."""
    dice = random.Random(SEED)
    for deadline_ms in (1, 2, 3, 5, 8, 16):
        calls = deploy_all(host, deadline_ms=deadline_ms)
        dice.shuffle(calls)

        async def attack(inner: AsyncHost, calls: Any = calls) -> list[Any]:
            work = [inner.call(name, fn, *args, interface=RUNNER) for name, fn, args in calls]
            return await asyncio.gather(*work, return_exceptions=True)

        for _ in range(often(1)):
            ended = run(host, attack)
            assert any(isinstance(one, DeadlineExceeded) for one in ended)
            assert all(isinstance(one, int | GuesthouseError) for one in ended)
        Stops.opened.set()


def test_a_guest_cancelled_before_it_started_never_starts(host: Host) -> None:
    """One that waits for a worker behind others is given up there, and its slot is free for the next."""
    host.deploy("spin", guest("spin"), limits={"deadline_ms": 400})
    host.deploy("loop", module(WAYS["loop"]))

    async def attack(inner: AsyncHost) -> list[Any]:
        await inner.invoke("spin")  # from now on it starts on a worker
        crowd = [asyncio.ensure_future(inner.invoke("spin")) for _ in range(200)]
        await asyncio.sleep(0)
        for task in crowd[1::2]:
            task.cancel()
        return await asyncio.gather(*crowd, return_exceptions=True)

    ended = run(host, attack)
    assert all(isinstance(one, asyncio.CancelledError) for one in ended[1::2])
    assert {one.result for one in ended[::2]} == {"deadline"}


def test_a_cancellation_does_not_reach_the_next_guest(host: Host) -> None:
    """The native handle is used again: a request to cancel that came too late is forgotten with the guest it was for."""
    host.deploy("spin", guest("spin"), limits={"deadline_ms": 60_000})

    async def attack(inner: AsyncHost) -> None:
        for pause in (0.0, 0.001, 0.003, 0.005, 0.01):
            crowd = [asyncio.ensure_future(inner.invoke("spin")) for _ in range(20)]
            await asyncio.sleep(pause)
            for task in crowd:
                task.cancel()
            await asyncio.gather(*crowd, return_exceptions=True)
            for _ in range(30):
                assert (await inner.invoke("echo", b"next")).body == b"next"

    for _ in range(often(3)):
        run(host, attack)


def test_a_cancelled_call_is_told_as_cancelled(host: Host) -> None:
    """The caller sees its own cancellation; the outcome that is counted says `cancelled`."""
    host.deploy("waits", module(WAYS["wait"]))

    async def attack(inner: AsyncHost) -> Any:
        task = asyncio.ensure_future(inner.call("waits", "run", 1, interface=RUNNER))
        await asyncio.sleep(0)
        task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            return inner.metrics.recorder("default/waits", "call").outcomes

    assert run(host, attack) == {"cancelled": 1}
    assert Cancelled.status == 499


def test_giving_up_a_call_that_was_given_up_changes_nothing(host: Host) -> None:
    """It is cancelled once; a drain that meets one that is just being cancelled goes on to the next."""
    host.deploy("waits", module(WAYS["wait"]))

    async def attack(inner: AsyncHost) -> Any:
        task = asyncio.ensure_future(inner.call("waits", "run", 1, interface=RUNNER))
        while not inner.dispatcher.waiting:
            await asyncio.sleep(0)
        (running,) = inner.dispatcher.waiting
        for _ in range(5):
            running.give_up()
            await asyncio.sleep(0)
        with pytest.raises(Cancelled):
            await task

    run(host, attack)


def test_a_host_that_closes_gives_up_what_runs(host: Host) -> None:
    """Guests that would run for another minute do not keep it: they are ended after the time for draining."""
    with Host(slots=16) as other:
        other.deploy("spin", guest("spin"), limits={"deadline_ms": 60_000})

        async def attack(inner: AsyncHost) -> Any:
            tasks = [asyncio.ensure_future(inner.invoke("spin")) for _ in range(4)]
            await asyncio.sleep(0.02)
            await inner.close(0.05)
            async with asyncio.timeout(5):
                return await asyncio.gather(*tasks, return_exceptions=True)

        ended = other._run(attack(other.inner))
        assert all(isinstance(one, asyncio.CancelledError) or one.result == "cancelled" for one in ended)
