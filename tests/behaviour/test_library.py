"""The library on one loop: many calls at once, admission, cancelling, draining and closing."""

from __future__ import annotations

import asyncio

import pytest

from guesthouse import AsyncHost, Host
from guesthouse.errors import AdmissionFull, Cancelled, Draining, HostError
from probes import PATIENCE, RUNNER, RUNNING, Gate, spawn_counts, spawns_ended
from support import FORMS, guest, host_with, wat


def runs(host, number):
    """Calls the library that waits at the gate."""
    return host.call("runner", "run", number, interface=RUNNER)


# -- many at once


def test_many_calls_wait_at_once_on_one_loop():
    """200 guests are suspended in a host function; each comes back with its own result."""

    async def scenario() -> None:
        gate = Gate()
        async with AsyncHost(interfaces=[gate]) as host:
            await host.deploy("runner", wat(RUNNING))
            calls = [asyncio.ensure_future(runs(host, number)) for number in range(200)]
            await gate.arrivals(200)
            assert host.dispatcher.pool.in_use == 200
            await gate.open()
            assert await asyncio.gather(*calls) == list(range(200))
            assert host.dispatcher.pool.in_use == 0

    asyncio.run(scenario())


def test_hosts_of_one_process_are_strangers():
    """Same names, other functions: nothing is shared but the engine."""
    with host_with("echo") as first, Host() as second:
        second.deploy("echo", guest("greet"))
        assert first.invoke("echo", b"{}").body == b"{}"
        assert second.invoke("echo", b"{}").status == 400


# -- admission


def test_the_next_guest_is_refused_when_all_slots_are_taken():
    """Refused at once and without a trace; a slot that is given back can be used again."""

    async def scenario() -> None:
        gate = Gate()
        async with AsyncHost(interfaces=[gate], slots=2) as host:
            await host.deploy("runner", wat(RUNNING))
            await host.deploy("echo", guest("echo"))
            calls = [asyncio.ensure_future(runs(host, number)) for number in range(2)]
            await gate.arrivals(2)
            with pytest.raises(AdmissionFull, match="all 2 instances are in use"):
                await host.invoke("echo", b"x")
            with pytest.raises(AdmissionFull):
                await runs(host, 3)
            calls[0].cancel()
            await asyncio.wait(calls[:1])
            assert (await host.invoke("echo", b"x")).body == b"x"
            await gate.open()
            assert await calls[1] == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("form", FORMS)
def test_a_spawn_that_was_accepted_waits_for_a_free_slot(form):
    """Nobody could try it again: calls that take all slots delay it and no more."""

    async def scenario() -> None:
        gate = Gate()
        async with AsyncHost(interfaces=[gate], slots=2) as host:
            await host.deploy("runner", wat(RUNNING))
            await host.deploy("spawn-unit", guest("spawn-unit", form))
            calls = [asyncio.ensure_future(runs(host, number)) for number in range(2)]
            await gate.arrivals(2)
            for _ in range(5):
                await host.spawn("spawn-unit", b"x")
            assert (host.dispatcher.spawner.in_flight, spawn_counts(host)) == (5, {})
            await gate.open()
            await asyncio.wait(calls)
            await spawns_ended(host)
            assert spawn_counts(host) == {"ok": 5}

    asyncio.run(scenario())


def test_cancelling_the_task_cancels_the_guest():
    """The host function is cancelled where it waits, the guest's store is gone, and the log of metrics says so."""

    async def scenario() -> None:
        gate = Gate()
        async with AsyncHost(interfaces=[gate]) as host:
            await host.deploy("runner", wat(RUNNING))
            call = asyncio.ensure_future(runs(host, 1))
            await gate.arrivals()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert (gate.cancelled, host.dispatcher.pool.in_use) == (1, 0)
            assert host.metrics.recorder("default/runner", "call").outcomes == {"cancelled": 1}

    asyncio.run(scenario())


@pytest.mark.parametrize("form", FORMS)
def test_cancelling_the_task_cancels_a_guest_that_computes(form):
    """It ends with its slice; its slot is free again soon after."""

    async def scenario() -> None:
        async with AsyncHost() as host, asyncio.timeout(PATIENCE):
            await host.deploy("spin", guest("spin", form))
            call = asyncio.ensure_future(host.invoke("spin"))
            while not host.dispatcher.waiting:
                await asyncio.sleep(0)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            while host.dispatcher.pool.in_use:
                await asyncio.sleep(0)
            assert host.metrics.recorder("default/spin", "web").outcomes == {"cancelled": 1}

    asyncio.run(scenario())


# -- the end


def test_a_host_that_drains_takes_nothing_new_and_finishes_what_runs():
    """The call that waits gets its answer; new calls and spawns are refused."""

    async def scenario() -> None:
        gate = Gate()
        host = AsyncHost(interfaces=[gate])
        await host.deploy("runner", wat(RUNNING))
        await host.deploy("spawn-unit", guest("spawn-unit"))
        call = asyncio.ensure_future(runs(host, 7))
        await gate.arrivals()
        closing = asyncio.ensure_future(host.close())
        while not host.dispatcher.draining:
            await asyncio.sleep(0)
        with pytest.raises(Draining):
            await runs(host, 8)
        with pytest.raises(Draining):
            await host.spawn("spawn-unit")
        await gate.open()
        assert await call == 7
        await closing

    asyncio.run(scenario())


def test_what_does_not_end_while_draining_is_cancelled():
    """Whoever waits for it is told, in the outcome; after that nothing runs any more."""

    async def scenario() -> None:
        gate = Gate()
        host = AsyncHost(interfaces=[gate])
        await host.deploy("runner", wat(RUNNING))
        await host.deploy("spin", guest("spin"))
        waiting, spinning = asyncio.ensure_future(runs(host, 7)), asyncio.ensure_future(host.invoke("spin"))
        await gate.arrivals()
        await host.close(drain_seconds=0)
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(Cancelled):
                await waiting
            assert (await spinning).result == "cancelled"
        assert (gate.cancelled, host.dispatcher.pool.in_use) == (1, 0)

    asyncio.run(scenario())


def test_an_async_host_can_be_closed_twice_and_not_used_afterwards():
    """Every verb says what is wrong, at once."""

    async def scenario() -> None:
        host = AsyncHost()
        await host.deploy("echo", guest("echo"))
        await host.close()
        await host.close()
        for work in (
            host.invoke("echo"),
            host.call("echo", "x"),
            host.spawn("echo"),
            host.deploy("echo", b""),
            host.delete("echo"),
        ):
            with pytest.raises(HostError, match="closed"):
                await work

    asyncio.run(scenario())
