"""How many queued calls run at once, and whose: bounds, keys, rates, and what overload changes."""

from __future__ import annotations

import asyncio

import pytest

from guesthouse import AsyncHost
from guesthouse.errors import AdmissionFull
from probes import SPAWNED, Gate
from stage import Scene, perform
from support import wat

HOUR_MS = 3_600_000
WAITS = {"min_wait_ms": 60_000, "max_wait_ms": 60_000}


def test_of_one_function_no_more_run_than_it_allows_queued_or_not():
    """`max_inflight` is one bound for both ways: a direct call over it is refused with 429, a queued one waits."""

    async def work(scene: Scene) -> None:
        await scene.deploy(flow={"max_inflight": 2})
        direct = asyncio.create_task(scene.host.invoke("actor", b"wait direct"))
        await scene.stage.when(lambda: scene.stage.acting["actor"] == 1)
        ids = [await scene.enqueue(b"wait %d" % number) for number in range(3)]
        await scene.stage.when(lambda: scene.stage.acting["actor"] == 2)
        with pytest.raises(AdmissionFull, match="runs 2 times already") as refused:
            await scene.host.invoke("actor", b"one too many")
        assert (refused.value.status, refused.value.retry_after) == (429, 1)
        scene.stage.let_go(4)
        assert (await direct).status == 200
        assert {(await scene.ended(call)).state for call in ids} == {"succeeded"}
        assert scene.stage.most["actor"] == 2
        assert (await scene.host.invoke("actor", b"room again")).status == 200

    perform(work)


def test_calls_with_one_key_run_one_after_the_other_in_their_order():
    """`key_inflight = 1`; other keys, and calls without any, pass by a key that is busy."""

    async def work(scene: Scene) -> None:
        await scene.deploy(flow={"key_inflight": 1})
        blocker = await scene.enqueue(b"wait", key="a")
        await scene.stage.when(lambda: scene.stage.acting["actor"] == 1)
        same = [await scene.enqueue(b"a%d" % number, key="a") for number in range(5)]
        others = [await scene.enqueue(b"b", key="b"), await scene.enqueue(b"none")]
        for call in others:
            assert (await scene.ended(call)).state == "succeeded"
        assert scene.stage.ran == [b"wait", b"b", b"none"]
        scene.stage.let_go()
        for call in (blocker, *same):
            assert (await scene.ended(call)).state == "succeeded"
        assert scene.stage.ran[3:] == [b"a0", b"a1", b"a2", b"a3", b"a4"]

    perform(work)


def test_a_batch_of_one_key_is_not_started_at_once():
    """Also where all of them are taken from the queue together."""

    async def work(scene: Scene) -> None:
        await scene.deploy("other", flow={"max_inflight": 1})
        await scene.deploy(flow={"key_inflight": 2})
        scene.stage.holding = True
        now_ms = scene.now_ms()
        ids = [await scene.enqueue(b"%d" % number, key="k", due_ms=now_ms + 60_000) for number in range(6)]
        scene.advance(60_001)
        await scene.stage.when(lambda: scene.stage.acting["actor"] == 2)
        scene.stage.let_go(6)
        for call in ids:
            assert (await scene.ended(call)).state == "succeeded"
        assert scene.stage.most["actor"] == 2

    perform(work)


def test_a_rate_lets_so_many_start_and_no_more():
    """Ten in a second: what is over waits for the clock, and loses nothing."""

    async def work(scene: Scene) -> None:
        await scene.deploy(flow={"rate": 1, "burst": 3})
        ids = [await scene.enqueue(b"%d" % number) for number in range(5)]
        for call in ids[:3]:
            await scene.ended(call)
        assert scene.stage.ran == [b"0", b"1", b"2"]
        state = (await scene.host.consumer.states())[0]
        assert (state.function, state.queued, state.rate) == (("default", "actor"), 2, 1)
        scene.advance(1_000)
        await scene.ended(ids[3])
        assert len(scene.stage.ran) == 4
        scene.advance(1_000)
        await scene.ended(ids[4])

    perform(work)


def test_answers_of_overload_lower_how_many_run_and_successes_raise_it_again():
    """429, 503 and deadlines halve it; it is never less than one, and a Retry-After is a pause of the function."""

    async def work(scene: Scene) -> None:
        await scene.deploy(retry={"attempts": 1})

        async def limit() -> int:
            dead = await scene.enqueue(b"wait")
            await scene.stage.when(lambda: scene.stage.acting["actor"] == 1)
            found = (await scene.host.consumer.states())[0].limit
            scene.stage.let_go()
            await scene.ended(dead)
            return found

        assert await limit() == 8
        for expected in (4, 2, 1, 1):
            scene.stage.script[b"busy"] = [(429, "")]
            await scene.ended(await scene.enqueue(b"busy"))
            assert (await scene.host.consumer.states())[0].limit == expected
            scene.advance(1_100)
        for _ in range(3):
            await scene.ended(await scene.enqueue(b"fine"))
        assert await limit() > 1
        scene.stage.script[b"away"] = [(503, "30")]
        await scene.ended(await scene.enqueue(b"away"))
        paused = (await scene.host.consumer.states())[0].paused_seconds
        assert 20 < paused <= 30
        waiting = await scene.enqueue(b"patient")
        scene.advance(31_000)
        assert (await scene.ended(waiting)).state == "succeeded"

    perform(work, inflight=16)


def test_a_full_pool_delays_calls_and_costs_them_no_attempt():
    """Direct calls hold every slot: the queued one starts once there is room."""

    async def work(scene: Scene) -> None:
        await scene.deploy()
        direct = [asyncio.create_task(scene.host.invoke("actor", b"wait")) for _ in range(2)]
        await scene.stage.when(lambda: scene.stage.acting["actor"] == 2)
        call = await scene.enqueue(b"queued")
        scene.stage.let_go(2)
        await asyncio.gather(*direct)
        record = await scene.ended(call)
        assert (record.state, record.attempts) == ("succeeded", 1)

    perform(work, slots=2)


def test_a_spawn_function_that_may_run_once_has_its_spawns_wait_without_stopping_others():
    """`max_inflight` of a spawn function: what waits for its turn is in nobody's way."""

    async def work() -> None:
        gate = Gate()
        async with AsyncHost(interfaces=[gate]) as host:
            await host.deploy("one", wat(SPAWNED), flow={"max_inflight": 1})
            await host.deploy("many", wat(SPAWNED))
            for _ in range(300):
                await host.spawn("one", b"wait")
            await gate.arrivals(1)
            await host.spawn("many", b"wait too")
            await gate.arrivals(2)
            assert gate.waiting == 2
            await gate.open()
            while host.dispatcher.spawner.in_flight:
                await asyncio.sleep(0.002)
            assert len(gate.said) == 301

    asyncio.run(work())
