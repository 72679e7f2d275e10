"""G1: a guest that never ends is ended, and costs nobody else their time."""

from __future__ import annotations

import asyncio
import time

import pytest

from guesthouse import AsyncHost, Host, Interface, Outcome, host_call
from guesthouse.errors import DeadlineExceeded, FuelExhausted
from harness import LATE, failure, often, run, within
from support import FORMS, guest, wat

SLOTS = 1_200
MEMORY_MIB = 256
"""A slot that was used once keeps up to 128 KiB of its memory and as much of stack and table."""
CROWD = 1_000
RUNNER = "test:g1/runner@1.0.0"


class Words(Interface):
    """Something to be called in between."""

    name = "words"
    wit = """
    package test:g1@1.0.0;
    interface words { nothing: func(); word: func() -> string; }
    interface runner { run: func() -> u32; take: func(text: string) -> u32; }
    """

    @host_call("test:g1/words@1.0.0", "nothing")
    def nothing(self, invocation):
        """Does nothing."""

    @host_call("test:g1/words@1.0.0", "word")
    def word(self, invocation):
        return "word"


INTERFACES = (Words,)

REALLOC = '(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))'
RUN = f'(func (export "{RUNNER}#run") (result i32) (i32.const 1))'
TAKE = f'(func (export "{RUNNER}#take") (param i32 i32) (result i32) (i32.const 1))'
IMPORTS = """
  (import "test:g1/words@1.0.0" "nothing" (func $nothing))
  (import "test:g1/words@1.0.0" "word" (func $word (param i32)))"""
LOOPS = {
    "a plain loop": f'{REALLOC} (func (export "{RUNNER}#run") (result i32) (loop (br 0)) (unreachable))',
    "calls in a circle": f"""{REALLOC}
        (func $calls (param i32) (if (local.get 0) (then (call $calls (i32.sub (local.get 0) (i32.const 1)))
                                                         (call $calls (i32.sub (local.get 0) (i32.const 1))))))
        (func (export "{RUNNER}#run") (result i32) (call $calls (i32.const 60)) (i32.const 1))""",
    "a jump table": f"""{REALLOC}
        (func (export "{RUNNER}#run") (result i32) (local $n i32)
          (loop $again (block $a (block $b
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_table $a $b $again $again (i32.and (local.get $n) (i32.const 3))))) (br $again)) (unreachable))""",
    "the start function": f"{REALLOC} {RUN} (func $begin (loop (br 0))) (start $begin)",
    "_initialize": f'{REALLOC} {RUN} (func (export "_initialize") (loop (br 0)))',
    "allocating an argument": f"""
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (loop (br 0)) (unreachable)) {RUN}""",
    "host calls": f'{REALLOC} (func (export "{RUNNER}#run") (result i32) (loop (call $nothing) (br 0)) (unreachable))',
    "computing and host calls": f"""{REALLOC}
        (func (export "{RUNNER}#run") (result i32) (local $n i32)
          (loop $again
            (local.set $n (i32.const 5000000))
            (loop $work (br_if $work (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
            (call $nothing) (br $again)) (unreachable))""",
}


def module(text: str) -> bytes:
    """A guest that has both exports, whatever else it has."""
    run_export = "" if "#run" in text else RUN
    return wat(f'(module {IMPORTS} (memory (export "memory") 1) {text} {run_export} {TAKE})')


@pytest.mark.parametrize("form", FORMS)
def test_a_loop_ends_at_its_deadline(host: Host, form: str) -> None:
    """200 ms of deadline, an answer within 250 ms; the reason is the deadline, the fuel used is unknown."""
    host.deploy("spin", guest("spin", form), limits={"deadline_ms": 200})
    for _ in range(often(2)):
        outcome = host.invoke("spin")
        assert (outcome.result, type(outcome.error)) == ("deadline", DeadlineExceeded)
        assert outcome.fuel_used is None
        assert within(outcome, 0.2)


@pytest.mark.parametrize("form", FORMS)
def test_a_loop_ends_with_its_fuel(host: Host, form: str) -> None:
    """The second bound is deterministic: it ends at the same instruction each time, and all fuel is counted as used."""
    host.deploy("spin", guest("spin", form), limits={"fuel": 5_000_000})
    outcome = host.invoke("spin")
    assert (outcome.result, type(outcome.error)) == ("fuel", FuelExhausted)
    assert outcome.fuel_used == 5_000_000


@pytest.mark.parametrize("place", LOOPS)
def test_a_loop_ends_wherever_it_is(host: Host, place: str) -> None:
    """In a start function, in `_initialize`, in the allocator, between host calls: the deadline of 100 ms holds."""
    host.deploy("loop", module(LOOPS[place]), limits={"deadline_ms": 100, "host_calls": 100_000_000})
    call = ("take", "text") if place == "allocating an argument" else ("run",)
    began = time.monotonic()
    assert isinstance(failure(host, "loop", *call, interface=RUNNER), DeadlineExceeded)
    assert time.monotonic() - began < 0.1 + LATE


def test_a_loop_in_the_allocator_inside_a_host_call_ends(host: Host) -> None:
    """There it has a bound of its own, `realloc_ms`; other guests are answered meanwhile."""
    host.deploy(
        "loop",
        wat(f"""(module {IMPORTS} (memory (export "memory") 1)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (loop (br 0)) (unreachable))
        (func (export "{RUNNER}#run") (result i32) (call $word (i32.const 8)) (i32.const 1)))"""),
    )

    async def attack(inner: AsyncHost) -> float:
        calls = [inner.call("loop", "run", interface=RUNNER) for _ in range(20)]
        tasks = [asyncio.ensure_future(call) for call in calls]
        slowest = 0.0
        while not all(task.done() for task in tasks):
            began = time.monotonic()
            assert (await inner.invoke("echo", b"x")).result == "ok"
            slowest = max(slowest, time.monotonic() - began)
            await asyncio.sleep(0.005)
        errors = await asyncio.gather(*tasks, return_exceptions=True)
        assert {getattr(error, "reason", error) for error in errors} == {"realloc"}
        return slowest

    assert run(host, attack) < LATE


def test_a_thousand_loops_at_once_delay_nobody(host: Host) -> None:
    """Each of 1,000 spinning guests ends at its deadline; calls of another function keep their p99 (target: + 5 ms)."""
    host.deploy("spin", guest("spin"), limits={"deadline_ms": 1_500})

    async def attack(inner: AsyncHost) -> tuple[list[Outcome], list[float]]:
        tasks = [asyncio.ensure_future(inner.invoke("spin")) for _ in range(CROWD)]
        taken = []
        while not all(task.done() for task in tasks):
            due = time.monotonic()
            outcome = await inner.invoke("echo", b"x" * 1024)
            taken.append(time.monotonic() - due)
            assert outcome.result == "ok"
            await asyncio.sleep(0.005)
        return [await task for task in tasks], sorted(taken)

    spun, taken = run(host, attack)
    assert {outcome.result for outcome in spun} == {"deadline"}
    assert max(outcome.duration_ns for outcome in spun) < (1.5 + LATE + 1) * 1e9
    assert len(taken) > 50
    assert taken[int(len(taken) * 0.99)] < 0.1


def test_loops_do_not_keep_short_computations_waiting(host: Host) -> None:
    """A guest that needs several slices ends soon beside a hundred endless ones: young guests go first (target: 100 ms)."""
    host.deploy("spin", guest("spin"), limits={"deadline_ms": 1_000})
    host.deploy(
        "work",
        module(f"""{REALLOC} (func (export "{RUNNER}#run") (result i32) (local $n i32) (local.set $n (i32.const 5000000))
          (loop $work (br_if $work (local.tee $n (i32.sub (local.get $n) (i32.const 1))))) (i32.const 7))"""),
    )

    async def attack(inner: AsyncHost) -> float:
        tasks = [asyncio.ensure_future(inner.invoke("spin")) for _ in range(100)]
        await asyncio.sleep(0)
        began = time.monotonic()
        assert await inner.call("work", "run", interface=RUNNER) == 7
        taken = time.monotonic() - began
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return taken

    assert run(host, attack) < 0.1 + LATE
