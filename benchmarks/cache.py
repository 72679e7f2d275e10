"""What a call to the cache in memory costs a guest above a host call that does nothing, interleaved in one run."""

from __future__ import annotations

import asyncio
import statistics
import time

import wasmtime

from benchmarks.figures import Figure
from benchmarks.measure import Contestant, Run, interleave
from benchmarks.report import Result, Table
from guesthouse.async_host import AsyncHost
from guesthouse.interfaces.base import Interface, host_call
from guesthouse.interfaces.cache import MemoryCache
from guesthouse.interfaces.invocation import Invocation

CALLS = 32
"""Host calls of one invocation: few enough for its first slice, enough for what an invocation costs to stay small."""
GOAL_US = 5.0
EMPTY, RUNNER = "bench:cache/empty@1.0.0", "bench:cache/runner@1.0.0"
SCALAR, LIST = "momento:cache-scalar/cache-scalar@1.0.0", "momento:cache-list/cache-list@1.0.0"
WIT = """package bench:cache@1.0.0;
interface empty {
  nothing: func();
}
interface runner {
  run: func(kind: u32, count: u32);
}
"""
KINDS = ("empty", "get", "get-missing", "set", "list-push", "list-length", "list-pop")
"""What the guest does `count` times; a pop comes with a push, whose cost is taken off again."""
FIGURES = ("get", "set", "list-push", "list-length")

_KEY = "(i32.const 1) (i32.const 16) (i32.const 8)"
_NAME = "(i32.const 1) (i32.const 32) (i32.const 8)"
_VALUE = "(i32.const 1) (i32.const 64) (i32.const 100)"
_HOUR = "(i64.const 3600000)"
_PUSH = f"(call $push {_NAME} {_VALUE} {_HOUR} (i32.const 1) (i32.const 16) (i32.const 512))"
_BODIES = (
    "(call $nothing)",
    f"(call $get {_KEY} (i32.const 512))",
    "(call $get (i32.const 1) (i32.const 48) (i32.const 8) (i32.const 512))",
    f"(call $set {_KEY} {_VALUE} {_HOUR} (i32.const 512))",
    _PUSH,
    f"(call $length {_NAME} (i32.const 512))",
    f"{_PUSH} (call $pop {_NAME} (i32.const 512))",
)
_LOOPS = "\n".join(
    f"""(if (i32.eq (local.get $kind) (i32.const {kind})) (then (loop $again
      (if (local.get $count) (then
        (global.set $top (i32.const 4096))
        {body}
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $again))))))"""
    for kind, body in enumerate(_BODIES)
)
_GUEST = f"""(module
  (import "{EMPTY}" "nothing" (func $nothing))
  (import "{SCALAR}" "get" (func $get (param i32 i32 i32 i32)))
  (import "{SCALAR}" "set" (func $set (param i32 i32 i32 i32 i32 i32 i64 i32)))
  (import "{LIST}" "list-push-back" (func $push (param i32 i32 i32 i32 i32 i32 i64 i32 i32 i32)))
  (import "{LIST}" "list-pop-front" (func $pop (param i32 i32 i32 i32)))
  (import "{LIST}" "list-length" (func $length (param i32 i32 i32 i32)))
  (memory (export "memory") 2)
  (data (i32.const 16) "some-key")
  (data (i32.const 32) "the-list")
  (data (i32.const 48) "no-value")
  (global $top (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (global.set $top (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.get $top)
    (global.set $top (i32.add (global.get $top) (local.get 3))))
  (func (export "{RUNNER}#run") (param $kind i32) (param $count i32)
    {_LOOPS}))"""
"""The least a guest can do: keys of 8 bytes, values of 100, results left where they are."""


class Empty(Interface):
    """The host call that does nothing."""

    name = "empty"
    wit = WIT

    @host_call(EMPTY, "nothing")
    def nothing(self, invocation: Invocation) -> None:
        """Nothing."""


def calling(loop: asyncio.AbstractEventLoop, host: AsyncHost, kind: str) -> Run:
    """A `Run` of invocations that make `CALLS` host calls each; each counts with the share of one call."""
    number = KINDS.index(kind)

    async def calls(count: int) -> list[int]:
        clock = time.perf_counter_ns
        times = []
        for _ in range(count):
            began = clock()
            await host.call("bench", "run", number, CALLS, interface=RUNNER)
            times.append((clock() - began) // CALLS)
        return times

    return lambda count: loop.run_until_complete(calls(count))


async def prepared() -> AsyncHost:
    """A host with the guest, and something in its cache."""
    host = await AsyncHost(interfaces=[Empty()]).__aenter__()
    await host.deploy("bench", bytes(wasmtime.wat2wasm(_GUEST)))
    for kind in range(len(KINDS)):
        await host.call("bench", "run", kind, CALLS, interface=RUNNER)
    assert isinstance(host.cache, MemoryCache)
    assert host.cache.length("default", b"the-list") is not None
    assert host.cache.get("default", b"some-key") is not None
    return host


def run(quick: bool) -> Result:
    """Every kind of call, in every round."""
    rounds, calls = (20, 30) if quick else (60, 60)
    loop = asyncio.new_event_loop()
    host = loop.run_until_complete(prepared())
    group = {kind: Contestant(kind, calling(loop, host, kind), calls) for kind in KINDS}
    interleave(list(group.values()), rounds)
    loop.run_until_complete(host.close())
    loop.close()
    above = {kind: over(one, group["empty"]) for kind, one in group.items() if kind != "empty"}
    above["list-pop"] -= above["list-push"] + group["empty"].p50
    table = Table("calls of a guest to the cache in memory: µs", ["", "p50", "above the empty call"])
    for kind, one in group.items():
        table.rows.append([kind, f"{one.p50:.2f}", f"{above[kind]:.2f}" if kind in above else ""])
    figures = [Figure(f"cache-{kind}-above-empty-call", above[kind], GOAL_US, "µs") for kind in FIGURES]
    data = {"p50_us": {kind: one.p50 for kind, one in group.items()}, "above_empty_call_us": above}
    return Result("cache", [table], figures, data, {"above the empty host call": above}, "µs")


def over(one: Contestant, empty: Contestant) -> float:
    """How much longer a call takes than an empty one, in µs: the median over the rounds of the difference of p50s."""
    pairs = zip(one.rounds, empty.rounds, strict=True)
    return statistics.median(statistics.median(mine) - statistics.median(theirs) for mine, theirs in pairs) / 1e3
