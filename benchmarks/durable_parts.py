"""The parts of `durable.py`, each in a process of its own: `python -m benchmarks.durable_parts PART …` prints JSON.

The host has a data directory, so that everything is on the disk as it is where people use it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks import durable_guests as guests
from guesthouse.async_host import AsyncHost
from guesthouse.interfaces.cache import CacheConfig
from guesthouse.limits import Limits
from guesthouse.queue.config import QueueConfig

CONCURRENT = 64
AT_ONCE = {"grace_ms": 0}
IN_MEMORY = {"grace_ms": 60_000}
LIMITS = Limits().with_changes({"deadline_ms": 60_000, "fuel": 1_000_000_000_000, "host_calls": 10_000_000})
PATIENCE_S = 600.0
LOOK_S = 0.1
"""How often is looked whether all have come to rest: counting is work for the host, too."""
AHEAD_S = 4.0
"""How long after the last call was accepted all timers are due."""


@asynccontextmanager
async def opened(inflight: int = CONCURRENT) -> AsyncIterator[tuple[AsyncHost, guests.Desk]]:
    """A host with a cache on its disk, on which so many queued calls may run at once."""
    with tempfile.TemporaryDirectory() as folder:
        desk = guests.Desk(Path(folder) / "notes")
        async with AsyncHost(
            Path(folder) / "data",
            interfaces=[desk],
            cache=CacheConfig(persist=True),
            queue=QueueConfig(inflight=2 * inflight),  # half of it is for one function
            limits=LIMITS,
        ) as host:
            yield host, desk


async def enqueue(host: AsyncHost, name: str, count: int) -> list[str]:
    """So many calls, accepted together; their ids."""
    found: list[str] = []
    for at in range(0, count, CONCURRENT):
        found += await asyncio.gather(*(host.enqueue(name) for _ in range(min(CONCURRENT, count - at))))
    return found


async def states(host: AsyncHost) -> dict[str, int]:
    """How many calls there are in each state that is not an end."""
    found = await host.queues()
    return {name: sum(getattr(one, name) for one in found) for name in ("queued", "running", "suspended", "dead")}


async def settled(host: AsyncHost, suspended: int) -> float:
    """Waits until so many are suspended and nothing else is to be done; when that was."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        found = await states(host)
        if found["dead"]:
            raise SystemExit(f"calls have failed: {found}, {(await host.invocations(state='dead'))[0][:1]}")
        if not found["queued"] and not found["running"] and found["suspended"] <= suspended:
            return time.perf_counter()
        await asyncio.sleep(LOOK_S)
    raise SystemExit(f"not all came to rest: {await states(host)}")


def own() -> dict[str, int]:
    """Bytes of memory: resident (RSS), this process's alone (USS)."""
    text = Path("/proc/self/smaps_rollup").read_text()
    private = sum(int(size) for size in re.findall(r"^Private_\w+: +(\d+) kB", text, re.MULTILINE))
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {"rss": resident, "uss": private * 1024}


def tidied() -> dict[str, int]:
    """The same, once what is free was given back."""
    import ctypes

    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return own()


async def suspended(count: int) -> dict[str, Any]:
    """Suspends so many calls on awakeables, and so many on timers; what each keeps in memory, and how fast they resume."""
    async with opened() as (host, desk):
        await host.deploy("await", guests.awaiting(), durable=AT_ONCE)
        await enqueue(host, "await", CONCURRENT * 8)
        await settled(host, CONCURRENT * 8)
        await resolve(host, desk.ids())
        await settled(host, 0)
        warm = len(desk.ids())
        before = tidied()
        began = time.perf_counter()
        await enqueue(host, "await", count)
        suspending = await settled(host, count) - began
        after = tidied()
        assert (await states(host))["suspended"] == count
        began = time.perf_counter()
        await resolve(host, desk.ids()[warm : warm + count])
        resolved = time.perf_counter() - began
        resumed = await settled(host, 0) - began
    return {
        "count": count,
        "rss_each": (after["rss"] - before["rss"]) / count,
        "uss_each": (after["uss"] - before["uss"]) / count,
        "suspended_per_second": count / suspending,
        "resolved_per_second": count / resolved,
        "resumed_per_second": count / resumed,
    }


async def resolve(host: AsyncHost, ids: list[str]) -> None:
    """Completes awakeables, as many clients do beside each other."""
    for at in range(0, len(ids), CONCURRENT):
        await asyncio.gather(*(host.resolve(name, b'"yes"') for name in ids[at : at + CONCURRENT]))


async def timers(count: int) -> dict[str, Any]:
    """Has so many calls sleep until one moment; how fast they resume from there."""
    async with opened() as (host, _):
        due_s = time.time() + AHEAD_S + count / 400
        await host.deploy("sleep", guests.sleeping_until(int(due_s * 1000)), durable=AT_ONCE)
        await enqueue(host, "sleep", count)
        while (await states(host))["suspended"] < count and time.time() < due_s:
            await asyncio.sleep(LOOK_S)
        ready = (await states(host))["suspended"]
        await asyncio.sleep(max(0.0, due_s - time.time()))
        began = time.perf_counter()
        seconds = await settled(host, 0) - began
    return {"count": count, "suspended_before": ready, "resumed_per_second": count / seconds}


async def steps(what: str, each: int, rounds: int) -> dict[str, Any]:
    """µs that one of so many calls takes in each of 64 invocations beside each other, above invocations without any.

    In a durable function, and in one that is not: the difference is what being recorded costs.
    """
    found: dict[str, list[float]] = {name: [] for name in ("with", "without", "plain with", "plain without")}
    async with opened() as (host, _):
        for name in found:
            durable = False if name.startswith("plain") else IN_MEMORY
            times = 0 if name.endswith("without") else each
            await host.deploy(name.replace(" ", "-"), guests.repeating(what, times), durable=durable)
        for number in range(rounds + 1):
            for name, times_s in found.items():
                began = time.perf_counter()
                calls = await enqueue(host, name.replace(" ", "-"), CONCURRENT)
                ended = await asyncio.gather(*(host.attach(call, PATIENCE_S) for call in calls))
                if number:  # the first round warms up
                    times_s.append(time.perf_counter() - began)
                assert {record.state for record in ended} == {"succeeded"}, ended[0]
    return {"what": what, "us": _each(found, "", each), "plain_us": _each(found, "plain ", each), "seconds": found}


def _each(found: dict[str, list[float]], kind: str, each: int) -> list[float]:
    pairs = zip(found[f"{kind}with"], found[f"{kind}without"], strict=True)
    return [(some - none) / (CONCURRENT * each) * 1e6 for some, none in pairs]


async def replay(what: str, entries: int, rounds: int) -> dict[str, Any]:
    """Entries per second that a guest is fed when it resumes behind so many of them, above one that resumes behind none."""
    took: dict[int, list[float]] = {entries: [], 0: []}
    async with opened() as (host, desk):
        for count in took:
            await host.deploy(f"guest{count}", guests.repeating(what, count, waits=True), durable=AT_ONCE)
        for _ in range(rounds):
            for count, times in took.items():
                known = len(desk.ids())
                await enqueue(host, f"guest{count}", 1)
                while (await states(host))["suspended"] != 1:
                    await asyncio.sleep(0.005)
                (name,) = desk.ids()[known:]
                began = time.perf_counter()
                call = (await host.invocations(state="suspended"))[0][0].id
                await host.resolve(name, b"")
                await host.attach(call, PATIENCE_S)
                times.append(time.perf_counter() - began)
    rates = [entries / (some - none) for some, none in zip(took[entries], took[0], strict=True)]
    return {"what": what, "entries": entries, "per_second": rates, "seconds": took}


PARTS = {"suspended": suspended, "timers": timers, "steps": steps, "replay": replay}


def main(name: str, *arguments: str) -> None:
    """Runs a part and prints what it found."""
    given = [int(text) if text.isdigit() else text for text in arguments]
    print(json.dumps(asyncio.run(PARTS[name](*given))))  # type: ignore[operator]  # each part takes numbers of its own


if __name__ == "__main__":
    main(*sys.argv[1:])
