"""G16: upstreams that hang cost the guests that call them, and nobody else."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from guesthouse.net.client import OutboundClient, OutboundConfig, OutboundRequest
from guesthouse.net.failures import LimitReached, OutboundError
from guesthouse.net.policy import OutboundPolicy
from guesthouse.net.slots import FEWEST, MOST, Allowance, Slots, default_connections
from upstream import Received, Upstream, response

POLICY = OutboundPolicy.of(schemes=("http",), overrides={"up.example": "127.0.0.1"})


def hang(request: Received) -> bytes | None:
    return None if "hang" in request.line else response()


def ask(upstream: Upstream, path: str, owner: tuple[str, str], timeout_ms: int = 5_000) -> OutboundRequest:
    return OutboundRequest("GET", upstream.url(path, "up.example"), owner=owner, timeout_ms=timeout_ms)


def test_hanging_upstreams_leave_room_for_others() -> None:
    """Of ten thousand requests that hang a handful is out; the others meet a limit, and other tenants are served."""
    flood, share = 10_000, 8

    async def attack() -> None:
        client = OutboundClient(OutboundConfig(POLICY, connect_timeout_ms=2_000, connections=2 * share))
        refused = 0
        all_refused = asyncio.Event()

        async def hanging(request: OutboundRequest) -> None:
            nonlocal refused
            try:
                await client.fetch(request)
            except LimitReached:
                refused += 1
                if refused == flood - share:
                    all_refused.set()

        async with Upstream(hang) as upstream:
            requests = [ask(upstream, "/hang", ("bad", f"f{n % 3}"), 60_000) for n in range(flood)]
            tasks = [asyncio.ensure_future(hanging(request)) for request in requests]
            await upstream.arrived.wait()
            for name in ("f", "g"):
                assert (await client.fetch(ask(upstream, "/", ("good", name), 30_000))).status == 200
            await asyncio.wait_for(all_refused.wait(), 30)
            assert upstream.connections == share + 2
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert (await client.fetch(ask(upstream, "/", ("bad", "f0")))).status == 200
            await client.close()

    asyncio.run(attack())


def test_one_function_leaves_room_for_others_of_its_namespace() -> None:
    """A function gets a quarter, a namespace half of what there is."""

    async def attack() -> None:
        client = OutboundClient(OutboundConfig(POLICY, connect_timeout_ms=2_000, connections=16))
        async with Upstream(hang) as upstream:
            stuck = [asyncio.ensure_future(client.fetch(ask(upstream, "/hang", ("t", "bad")))) for _ in range(50)]
            while len(upstream.requests) < 4:
                upstream.arrived.clear()
                await upstream.arrived.wait()
            assert (await client.fetch(ask(upstream, "/", ("t", "good")))).status == 200
            assert len([request for request in upstream.requests if "hang" in request.line]) == 4
            for task in stuck:
                task.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)
            assert client.slots._shares == {}
        await client.close()

    asyncio.run(attack())


def test_an_invocation_has_few_requests_at_once_and_few_in_all() -> None:
    """Six at once, sixty-four in all: the next one is a limit error at once."""

    async def attack() -> None:
        client = OutboundClient(OutboundConfig(POLICY, connections=64))
        allowance = Allowance(64, 6)
        most = 0
        async with Upstream() as upstream:

            def answer(request: Received) -> bytes:
                nonlocal most
                most = max(most, 64 - client.slots._all.semaphore._value)
                return response()

            upstream.answer = answer
            requests = [client.fetch(ask(upstream, "/", ("t", "f")), allowance) for _ in range(80)]
            results = await asyncio.gather(*requests, return_exceptions=True)
            assert sum(isinstance(result, LimitReached) for result in results) == 16
            assert most <= 6
            assert upstream.connections <= 6
        await client.close()

    asyncio.run(attack())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
def test_no_file_descriptor_is_left() -> None:
    """Timeouts, refusals and cancellations all close what they opened."""

    async def attack() -> None:
        before = len(os.listdir("/proc/self/fd"))
        async with Upstream(hang) as upstream:
            client = OutboundClient(OutboundConfig(POLICY, connections=64))
            for _ in range(3):
                tasks = [client.fetch(ask(upstream, "/hang", ("t", "f"), 20)) for _ in range(16)]
                results = await asyncio.gather(*tasks, return_exceptions=True)
                assert all(isinstance(result, OutboundError) for result in results)
            await client.close()
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(os.listdir("/proc/self/fd")) <= before + 1

    asyncio.run(attack())


def test_cancelled_waiters_give_nothing_away() -> None:
    """Whoever is cancelled while waiting for a slot frees exactly what it had."""

    async def attack() -> None:
        slots = Slots(4)
        await slots.acquire(("a", "f"))
        waiters = [asyncio.ensure_future(slots.acquire(("a", "f"))) for _ in range(3)]
        await asyncio.sleep(0)
        assert not slots.free(("a", "f"))
        assert slots.free(("a", "g"))
        for waiter in waiters:
            waiter.cancel()
        await asyncio.gather(*waiters, return_exceptions=True)
        slots.release(("a", "f"))
        assert slots._shares == {}
        for owner in (("a", "f"), ("a", "g"), ("b", "f"), ("b", "g")):
            await slots.acquire(owner)
        assert not slots.free(("c", "f"))

    asyncio.run(attack())


def test_the_default_fits_the_file_descriptors_there_are() -> None:
    """Requests, idle connections and clients together stay under the limit of open files."""
    assert FEWEST <= default_connections() <= MOST
