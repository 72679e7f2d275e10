"""What guests cost each other: a thousand that spin beside one that is called steadily, and what a suspended one keeps.

Each part runs in a process of its own (`python -m benchmarks.isolation PART …`), so that memory is counted from a clean
start; the parent gathers what they print.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import guests, servers
from benchmarks.figures import Figure
from benchmarks.floor import Load, build_load
from benchmarks.measure import percentile
from benchmarks.report import Result, Table
from guesthouse.async_host import AsyncHost
from guesthouse.errors import AdmissionFull
from guesthouse.interfaces.base import Interface, host_call
from guesthouse.interfaces.invocation import Invocation

SPINNERS = 1_000
RATE = 200
"""Requests per second of the steady caller, whether or not the last ones were answered."""
SUSPENDED = 5_000
SETTLE_S = 1.5
"""Time for all spinners to begin before the steady caller is measured."""
REST_S = 20.0
"""The longest wait for guests to come to rest."""
SLACK_S = 2.0
"""How long the spinners outlive the steady caller."""
LONG_MS = 600_000
PAGE = os.sysconf("SC_PAGE_SIZE")


class Wait(Interface):
    """An interface of a user's own whose one function never returns."""

    name = "wait"
    wit = guests.WAIT_WIT

    @host_call("bench:wait/wait@1.0.0", "forever")
    async def forever(self, invocation: Invocation) -> None:
        """Suspends the guest until it is cancelled."""
        await asyncio.get_running_loop().create_future()


# -- parts, each in its own process


async def steady(host: AsyncHost, seconds: float) -> dict[str, float]:
    """Calls `echo` at a fixed rate; latency in µs counts from when each call was due."""
    times: list[int] = []
    began = time.perf_counter_ns()

    async def one(due: int) -> None:
        outcome = await host.invoke("echo", b"x" * 1024)
        outcome.unwrap()
        times.append(time.perf_counter_ns() - due)

    tasks = []
    for number in range(int(seconds * RATE)):
        due = began + number * 1_000_000_000 // RATE
        await asyncio.sleep(max(0.0, (due - time.perf_counter_ns()) / 1e9))
        tasks.append(asyncio.create_task(one(due)))
    await asyncio.gather(*tasks)
    return {"p50": percentile(times, 0.5), "p99": percentile(times, 0.99), "max": max(times) / 1e3}


Windows = dict[str, list[dict[str, float]]]
"""What the steady caller saw, in µs: `alone` and `beside` the spinners, in turn."""


async def spinning_in_process(seconds: float, windows: int) -> Windows:
    """The steady caller alone, and beside the spinners, in one process."""
    found: Windows = {"alone": [], "beside": []}
    async with AsyncHost() as host:
        await host.deploy("echo", guests.prebuilt("echo"))
        deadline_ms = int((SETTLE_S + seconds + SLACK_S) * 1000)
        await host.deploy("spin", guests.prebuilt("spin"), limits={"deadline_ms": deadline_ms})
        await steady(host, 0.5)
        for _ in range(windows):
            found["alone"].append(await steady(host, seconds))
            tasks = [asyncio.create_task(host.invoke("spin")) for _ in range(SPINNERS)]
            await asyncio.sleep(SETTLE_S)
            in_use = host.dispatcher.pool.in_use
            found["beside"].append(await steady(host, seconds))
            outcomes = await asyncio.gather(*tasks)
            results = {outcome.result for outcome in outcomes}
            assert in_use >= SPINNERS, f"only {in_use} guests were alive at once"
            assert results == {"deadline"}, f"the spinners ended by {results}"
    return found


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def _own() -> int:
    """Resident bytes, with pages that several mappings share counted once: each guest maps the module's data section."""
    found = re.search(r"^Pss: +(\d+) kB", Path("/proc/self/smaps_rollup").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


async def suspended(function: str, count: int) -> dict[str, Any]:
    """KiB that each of `count` guests keeps while an asynchronous host function has not answered, and a pool that is full."""
    async with AsyncHost(interfaces=[Wait()]) as host:
        wasm = guests.waiting() if function == "wait" else guests.prebuilt("sleeper")
        await host.deploy("guest", wasm, limits={"deadline_ms": LONG_MS})
        await host.deploy("echo", guests.prebuilt("echo"))
        for _ in range(200):
            (await host.invoke("echo", b"x" * 1024)).unwrap()
        gc.collect()
        before, before_mapped, pool = _own(), _resident(), host.dispatcher.pool
        tasks = await _suspend(host, count)
        assert pool.in_use == count, f"{pool.in_use} guests are alive"
        kept = (_own() - before) / count / 1024
        mapped = (_resident() - before_mapped) / count / 1024
        tasks += await _suspend(host, pool.slots - count)
        refused = False
        try:
            await host.invoke("echo")
        except AdmissionFull:
            refused = True
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        end = time.monotonic() + REST_S
        while pool.in_use and time.monotonic() < end:
            await asyncio.sleep(0.05)
        left = pool.in_use
    return {
        "kib_each": kept,
        "kib_mapped_each": mapped,
        "slots": pool.slots,
        "next_is_refused": refused,
        "left_after_cancel": left,
    }


async def _rest() -> None:
    """Waits until memory grows no more: guests that began on a worker are suspended later than their tasks."""
    end, last = time.monotonic() + REST_S, 0
    while time.monotonic() < end and _resident() - last > PAGE * 50:
        last = _resident()
        await asyncio.sleep(0.3)


async def _suspend(host: AsyncHost, count: int) -> list[asyncio.Task[Any]]:
    tasks: list[asyncio.Task[Any]] = [asyncio.create_task(host.invoke("guest")) for _ in range(count)]
    await _rest()
    ended = [task for task in tasks if task.done()]
    assert not ended, f"a guest did not wait: {ended[0]}"
    return tasks


def _part(words: list[str]) -> dict[str, Any]:
    if words[0] == "spinning":
        return asyncio.run(spinning_in_process(float(words[1]), int(words[2])))
    return asyncio.run(suspended(words[1], int(words[2])))


def _in_child(*words: str) -> dict[str, Any]:
    search = os.pathsep.join([str(servers.ROOT), str(servers.ROOT / "host")])
    command = [sys.executable, "-m", "benchmarks.isolation", *words]
    child = subprocess.run(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": search}, check=False)
    if child.returncode:
        raise SystemExit(f"the part {' '.join(words)!r} failed; its last words are above")
    found: dict[str, Any] = json.loads(child.stdout)
    return found


# -- over HTTP


def spinning_over_http(seconds: float, windows: int) -> Windows:
    """The same through `guesthouse serve`, with the load generator as both callers."""
    found: Windows = {"alone": [], "beside": []}
    with tempfile.TemporaryDirectory() as folder, servers.guesthouse() as server:
        load = Load(build_load(Path(folder)), server.port)
        server.deploy("echo", guests.prebuilt("echo"))
        server.deploy("spin", guests.prebuilt("spin"), deadline_ms=int((SETTLE_S + seconds + SLACK_S) * 1000))
        echo = "/functions/default/echo"
        load.run(echo, connections=16, seconds=0.5, rate=RATE)
        for _ in range(windows):
            found["alone"].append(load.run(echo, connections=16, seconds=seconds, rate=RATE))
            # In 0.1 s every connection sends its one request; its answer comes at the deadline.
            spinners = load.start("/functions/default/spin", connections=SPINNERS, seconds=0.1, status=504)
            time.sleep(SETTLE_S)
            found["beside"].append(load.run(echo, connections=16, seconds=seconds, rate=RATE))
            answered = load.finish(spinners)["answers"]
            assert answered == SPINNERS, f"{answered} spinners were answered"
    return found


# -- what came of it


def run(quick: bool) -> Result:
    """All parts, one after another."""
    seconds, windows = (2.0, 1) if quick else (2.5, 3)
    spinning: dict[str, Windows] = {
        "in process": _in_child("spinning", str(seconds), str(windows)),
        "over HTTP": spinning_over_http(seconds, windows),
    }
    kept = {name: _in_child("suspended", name, str(SUSPENDED)) for name in ("sleeper", "wait")}
    figures = [
        Figure(f"p99-beside-{SPINNERS}-spinners-{where.replace(' ', '-').lower()}", _difference_ms(found), 5.0, "ms")
        for where, found in spinning.items()
    ]
    waiting = kept["wait"]
    figures.append(Figure("suspended-resident", waiting["kib_each"], 30.0, "KiB"))
    figures.append(Figure("suspended-over-the-cap-refused", float(waiting["next_is_refused"]), 1, "", False))
    bars = {
        "p99 of a steady caller": {
            f"{where}, {when}": _median_ms(found[key], "p99")
            for where, found in spinning.items()
            for when, key in (("alone", "alone"), (f"beside {SPINNERS} spinners", "beside"))
        }
    }
    return Result(
        "isolation", _tables(spinning, kept), figures, {"spinning_us": spinning, "suspended": kept}, bars, "ms"
    )


def _median_ms(windows: list[dict[str, float]], share: str) -> float:
    return statistics.median(window[share] for window in windows) / 1e3


def _difference_ms(found: Windows) -> float:
    return _median_ms(found["beside"], "p99") - _median_ms(found["alone"], "p99")


def _tables(spinning: dict[str, Windows], kept: dict[str, dict[str, Any]]) -> list[Table]:
    steady_table = Table(
        f"echo at {RATE} calls/s (open loop): ms from when a call was due",
        ["", "alone p50", "alone p99", f"beside {SPINNERS} spinners p50", "p99", "difference of p99"],
    )
    for where, found in spinning.items():
        numbers = [_median_ms(found[key], share) for key in ("alone", "beside") for share in ("p50", "p99")]
        steady_table.rows.append([where, *(f"{n:.2f}" for n in (*numbers, _difference_ms(found)))])
    suspended_table = Table(
        f"{SUSPENDED} guests suspended in an asynchronous host function",
        ["guest", "KiB each", "with shared pages", "slots of the pool", "one more", "alive after cancelling"],
    )
    for name, found in kept.items():
        refused = "AdmissionFull" if found["next_is_refused"] else "let in"
        suspended_table.rows.append(
            [
                name,
                f"{found['kib_each']:.1f}",
                f"{found['kib_mapped_each']:.1f}",
                str(found["slots"]),
                refused,
                str(found["left_after_cancel"]),
            ]
        )
    return [steady_table, suspended_table]


if __name__ == "__main__":
    print(json.dumps(_part(sys.argv[1:])))
