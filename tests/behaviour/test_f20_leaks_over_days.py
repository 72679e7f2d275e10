"""F20: thousands of calls of every kind, however they end, leave nothing behind: no instance, handle, task, file or memory.

A short version of days: `make soak` repeats each round a hundred times, and looks at memory over its second half.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from guesthouse import AsyncHost
from guesthouse._native.handle import stores
from guesthouse.errors import Unavailable
from guesthouse.storage.reads import MOST_READERS
from harness import files, often, resident, tidy
from support import guest

PATIENCE = 120
EACH = 150
"""Calls of each kind in one round."""
ROUNDS = often(3)
MEMORY = 8 << 20
"""Bytes by which the process may have grown over the second half of the rounds; a leak of a kilobyte a call is more."""
GUESTS = ("echo", "panic", "sleeper", "detached-calls")

Round = Callable[[AsyncHost], Awaitable[Counter[str]]]


async def ended(host: AsyncHost, calls: list[str]) -> Counter[str]:
    """How many calls ended as what."""
    records = await asyncio.gather(*(host.attach(call, PATIENCE) for call in calls))
    return Counter(record.state for record in records)


async def enqueued(host: AsyncHost, name: str, body: bytes, **options: int) -> list[str]:
    """Ids of calls that were queued together."""
    return list(await asyncio.gather(*(host.enqueue(name, body, **options) for _ in range(EACH))))


async def cancelled(host: AsyncHost, calls: list[str]) -> Counter[str]:
    """Cancels calls; one that is just beginning is asked again."""

    async def cancel(call: str) -> None:
        while True:
            try:
                return await host.cancel(call)
            except Unavailable:
                await asyncio.sleep(0.001)

    await asyncio.gather(*map(cancel, calls))
    return await ended(host, calls)


async def queued(host: AsyncHost) -> Counter[str]:
    """Calls that succeed."""
    return await ended(host, await enqueued(host, "echo", b"x" * 1000))


async def dead(host: AsyncHost) -> Counter[str]:
    """Calls that trap, and whose dead letters are dropped."""
    calls = await enqueued(host, "panic", b"now")
    found = await ended(host, calls)
    await asyncio.gather(*map(host.drop, calls))
    return found


async def cancelled_before(host: AsyncHost) -> Counter[str]:
    """Calls that are cancelled while they wait for their time."""
    return await cancelled(host, await enqueued(host, "echo", b"later", delay_ms=3_600_000))


async def cancelled_while_running(host: AsyncHost) -> Counter[str]:
    """Calls that are cancelled while their guest is suspended."""
    calls = await enqueued(host, "sleeper", b"")
    await running(host, "sleeper")
    return await cancelled(host, calls)


async def repeated(host: AsyncHost) -> Counter[str]:
    """Calls with a key, each asked for twice."""
    keys = [os.urandom(8).hex() for _ in range(EACH // 2)] * 2
    calls = await asyncio.gather(*(host.enqueue("echo", b"same", idempotency_key=key) for key in keys))
    assert len(set(calls)) == EACH // 2
    return await ended(host, list(calls))


async def detached(host: AsyncHost) -> Counter[str]:
    """Calls that work on after their answer, one of them failing, one for too long."""
    steps = [{"queue": ["good", [{"sleep": 1}]]}, {"queue": ["bad", [{"fail": "no"}]]}, {"queue": ["worse", ["trap"]]}]
    query = [("do", json.dumps(steps))]
    outcomes = await asyncio.gather(*(host.invoke("detached-calls", query=query) for _ in range(EACH)))
    return Counter(str(outcome.status) for outcome in outcomes)


async def gone(host: AsyncHost) -> Counter[str]:
    """Callers that go away."""
    tasks = [asyncio.ensure_future(host.invoke("sleeper")) for _ in range(EACH)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    return Counter(type(one).__name__ for one in found)


async def running(host: AsyncHost, name: str) -> None:
    """Waits until a call of a function runs."""
    async with asyncio.timeout(PATIENCE):
        while not (await host.invocations(name, state="running"))[0]:
            await asyncio.sleep(0.001)


async def idle(host: AsyncHost) -> None:
    """Waits until nothing is alive."""
    async with asyncio.timeout(PATIENCE):
        while host.dispatcher.pool.in_use or host.dispatcher.waiting or host.dispatcher.detached:
            await asyncio.sleep(0.001)


KINDS: dict[Round, Counter[str]] = {
    queued: Counter(succeeded=EACH),
    dead: Counter(dead=EACH),
    cancelled_before: Counter(cancelled=EACH),
    cancelled_while_running: Counter(cancelled=EACH),
    repeated: Counter(succeeded=EACH // 2 * 2),
    detached: Counter({"200": EACH}),
    gone: Counter(CancelledError=EACH),
}


async def open_readers(host: AsyncHost) -> None:
    """Makes all connections that are kept for reading: how many are needed at once is chance."""
    together = threading.Barrier(MOST_READERS)
    await asyncio.gather(*(host.database.read(lambda _: together.wait(PATIENCE)) for _ in range(MOST_READERS)))


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_thousands_of_calls_leave_nothing_behind(tmp_path: Path, place: str) -> None:
    """As many stores are deleted as were made; no task, no waiter, no file more; memory does not grow with the calls."""

    async def work() -> None:
        async with AsyncHost(tmp_path if place == "disk" else None) as host:
            for name in GUESTS:
                await host.deploy(name, guest(name), retry={"attempts": 1})
            if place == "disk":
                await open_readers(host)
            grown: list[int] = []
            before = (0, 0)
            for number in range(ROUNDS):
                for kind, expected in KINDS.items():
                    assert await kind(host) == expected, kind.__name__
                    await idle(host)
                made, deleted = stores()
                assert made == deleted
                if number == 0:  # what is made at the first use is there now
                    before = (files(), len(asyncio.all_tasks()))
                async with asyncio.timeout(PATIENCE):  # a commit may be under way: a task that ends by itself
                    while files() > before[0] or len(asyncio.all_tasks()) > before[1]:
                        await asyncio.sleep(0.01)
                tidy()
                grown.append(resident())
            assert (host.dispatcher.waiters.count, host.consumer.running, host.queue.counts.calls) == (0, 0, 0)
            assert grown[-1] - grown[len(grown) // 2] < MEMORY, (
                f"memory over the rounds: {[size >> 20 for size in grown]}"
            )

    asyncio.run(work())
