"""F22: a host function that keeps Python's lock delays what Python does, and no deadline of a guest."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from guesthouse import AsyncHost, Host, Interface, host_call
from guesthouse._native.api import FAILED
from harness import LATE, often, run, slice_ends
from support import guest, wat

HOST = "test:f22/host@1.0.0"
RUNNER = "test:f22/runner@1.0.0"
SECONDS = 1.0
DEADLINE_MS = 300


def compute(seconds: float) -> int:
    """Keeps the processor, and the lock as far as Python lets it."""
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        count += 1
    return count


class Computes(Interface):
    """Host functions that compute for a second: on the loop, and declared as blocking."""

    name = "computes"
    wit = """
    package test:f22@1.0.0;
    interface host { compute: func(); compute-blocking: func(); }
    interface runner { compute: func() -> u32; compute-blocking: func() -> u32; }
    """
    began = threading.Event()

    @host_call(HOST, "compute")
    def compute(self, invocation: Any) -> None:
        Computes.began.set()
        compute(SECONDS)

    @host_call(HOST, "compute-blocking", blocking=True)
    def compute_blocking(self, invocation: Any) -> None:
        Computes.began.set()
        compute(SECONDS)


INTERFACES = (Computes,)
GUEST = f"""(module
  (import "{HOST}" "compute" (func $compute))
  (import "{HOST}" "compute-blocking" (func $blocking))
  (memory (export "memory") 1)
  (func (export "{RUNNER}#compute") (result i32) (call $compute) (i32.const 1))
  (func (export "{RUNNER}#compute-blocking") (result i32) (call $blocking) (i32.const 1)))"""


def test_guests_on_workers_end_on_time_while_the_loop_computes(host: Host) -> None:
    """They leave their worker at the deadline (target: within two ticks), though the loop hears of it a second later."""
    host.deploy("computes", wat(GUEST))
    host.deploy("spin", guest("spin"), limits={"deadline_ms": DEADLINE_MS})

    async def attack(inner: AsyncHost) -> float:
        await inner.invoke("spin")  # from now on it starts on a worker
        while inner.dispatcher.pool.in_use:  # until that one has left it
            await asyncio.sleep(0.001)
        started = time.monotonic()
        spinning = [asyncio.ensure_future(inner.invoke("spin")) for _ in range(inner.dispatcher.workers.count)]
        await asyncio.sleep(0)
        assert await inner.call("computes", "compute", interface=RUNNER) == 1
        assert time.monotonic() - started >= SECONDS
        assert {outcome.result for outcome in await asyncio.gather(*spinning)} == {"deadline"}
        return started

    for _ in range(often(1)):
        with slice_ends() as ends:
            started = run(host, attack)
        late = [when - started - DEADLINE_MS / 1000 for status, when in ends if status == FAILED and when > started]
        assert len(late) == host.inner.dispatcher.workers.count
        assert max(late) < min(LATE, SECONDS - DEADLINE_MS / 1000)


def test_a_function_that_is_declared_blocking_delays_nobody(host: Host) -> None:
    """It has a thread: deadlines are told on time, and other functions are answered."""
    host.deploy("computes", wat(GUEST))
    host.deploy("spin", guest("spin"), limits={"deadline_ms": DEADLINE_MS})

    async def attack(inner: AsyncHost) -> None:
        computing = asyncio.ensure_future(inner.call("computes", "compute-blocking", interface=RUNNER))
        spinning = asyncio.ensure_future(inner.invoke("spin"))
        slowest = 0.0
        while not computing.done():
            began = time.monotonic()
            assert (await inner.invoke("echo", b"x")).result == "ok"
            slowest = max(slowest, time.monotonic() - began)
            await asyncio.sleep(0.005)
        assert await computing == 1
        outcome = await spinning
        assert outcome.result == "deadline"
        assert outcome.duration_ns < (DEADLINE_MS / 1000 + LATE) * 1e9
        assert slowest < LATE

    for _ in range(often(1)):
        run(host, attack)


def test_the_deadline_covers_a_function_that_blocks(host: Host) -> None:
    """The guest is given up at its deadline; the thread comes back when it comes back."""
    host.deploy("computes", wat(GUEST), limits={"deadline_ms": 100})

    async def attack(inner: AsyncHost) -> float:
        began = time.monotonic()
        try:
            await inner.call("computes", "compute-blocking", interface=RUNNER)
        except Exception as error:
            assert type(error).__name__ == "DeadlineExceeded"
        return time.monotonic() - began

    assert run(host, attack) < 0.1 + LATE


def test_a_computing_thread_elsewhere_costs_a_call_no_switch_interval(host: Host) -> None:
    """A thread that keeps Python busy costs the first slice nothing: 200 calls in a row take less than a second."""
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            compute(0.01)

    thread = threading.Thread(target=busy)
    thread.start()
    try:

        async def attack(inner: AsyncHost) -> float:
            began = time.monotonic()
            for _ in range(200):
                assert (await inner.invoke("echo", b"x")).result == "ok"
            return time.monotonic() - began

        assert run(host, attack) < 200 * 0.005
    finally:
        stop.set()
        thread.join()
