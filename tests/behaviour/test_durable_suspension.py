"""Durable calls that wait: they keep nobody from anything, and go on when what they wait for has come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from guesthouse import AsyncHost
from guesthouse.gateway.records import describe_queue, describe_record
from guesthouse.queue.config import QueueConfig
from play import PATIENCE, Play, crash, ended, in_state, on_loop, player
from stage import MovedClock

HOUR_MS = 3_600_000
LONG = {"grace_ms": 60_000}
"""Keeps a guest that waits in memory for longer than any test takes."""


@asynccontextmanager
async def playing(
    play: Play, path: Path | None = None, durable: Any = None, **options: Any
) -> AsyncIterator[AsyncHost]:
    """A host whose function `player` is durable."""
    async with AsyncHost(path, interfaces=[play], **options) as host:
        play.plays_on(host)
        if host.registry.get("default", "player") is None:
            await host.deploy("player", player(), durable=durable or {"grace_ms": 0})
        yield host


async def lingering(host: AsyncHost, count: int = 1) -> None:
    """Waits until so many guests wait in memory."""
    async with asyncio.timeout(PATIENCE):
        while len(host.dispatcher.lingering) < count:
            await asyncio.sleep(0.002)


async def body_of(host: AsyncHost, call: str) -> bytes:
    output = await host.output(call)
    assert output is not None
    return output.body


@on_loop
async def test_one_that_waits_is_a_row_and_no_guest() -> None:
    """It says what it waits for, and its place is free."""
    play = Play()
    async with playing(play) as host:
        call = await host.enqueue("player", b"rwf")
        record = await in_state(host, call, "suspended")
        assert (record.mode, record.version, record.attempts, record.ended_ms) == ("durable", 1, 1, None)
        assert (host.dispatcher.pool.in_use, host.consumer.running) == (0, 0)
        described = describe_record(record)
        assert (described["waits_for"], described["reason"], described["due_at"]) == ("a future", "", None)
        (state,) = await host.queues()
        assert (state.suspended, state.queued, state.running) == (1, 0, 0)
        assert describe_queue(state)["suspended"] == 1


@on_loop
async def test_what_it_waits_for_wakes_it_and_it_goes_on_with_all_that_it_was_told() -> None:
    """Nothing is asked again but what it waits for."""
    play = Play()
    async with playing(play) as host:
        call = await host.enqueue("player", b"rwfrw")
        await in_state(host, call, "suspended")
        await play.complete(call, 2, 42)
        record = await ended(host, call)
        assert (record.state, record.attempts) == ("succeeded", 1)
        assert await body_of(host, call) == b"\1\1\x2a\2\2"
        assert play.asked == ["r0", "w1", "f2", "f2", "r3", "w4"]


@on_loop
async def test_a_time_wakes_it() -> None:
    """Also one that is days away; the clock may jump there."""
    play, clock = Play(), MovedClock()
    async with playing(play, clock=clock) as host:
        play.due_ms[1] = clock.wall_ns() // 1_000_000 + 30 * 24 * HOUR_MS
        call = await host.enqueue("player", b"wnw")
        record = await in_state(host, call, "suspended")
        assert record.due_ms == play.due_ms[1]
        clock.wall_offset_ms += 31 * 24 * HOUR_MS
        host.consumer.nudge()
        assert (await ended(host, call)).state == "succeeded"
        assert len(play.effects) == 2


@on_loop
async def test_what_has_come_before_it_is_suspended_is_not_missed() -> None:
    """A completion in the same moment makes it go on at once."""
    play = Play()
    async with playing(play) as host:
        calls = [await host.enqueue("player", b"rf") for _ in range(20)]
        await play.until(lambda: play.asked.count("f1") >= 20)
        await asyncio.gather(*(play.complete(call, 1, 5) for call in calls))
        assert {(await ended(host, call)).state for call in calls} == {"succeeded"}


@on_loop
async def test_a_short_wait_is_spent_in_memory() -> None:
    """The guest that waits goes on: there is no second run."""
    play = Play()
    async with playing(play, durable=LONG) as host:
        call = await host.enqueue("player", b"wfw")
        await lingering(host)
        assert (await host.invocation(call)).state == "running"
        await play.complete(call, 1, 3)
        assert (await ended(host, call)).state == "succeeded"
        assert play.asked == ["w0", "f1", "w2"]


@on_loop
async def test_one_that_waits_gives_its_place_to_one_that_needs_it() -> None:
    """At once, however long it might stay otherwise."""
    play = Play()
    async with playing(play, durable=LONG, queue=QueueConfig(inflight=1)) as host:
        first = await host.enqueue("player", b"f")
        await lingering(host)
        second = await host.enqueue("player", b"rf")
        await in_state(host, first, "suspended")
        await play.complete(first, 0, 1)
        await ended(host, first)
        await play.complete(second, 1, 1)
        await ended(host, second)


@on_loop
async def test_a_host_that_stops_does_not_wait_for_those_that_wait(tmp_path: Path) -> None:
    """They go on with the next one."""
    play = Play()
    async with playing(play, tmp_path, LONG) as host:
        call = await host.enqueue("player", b"wfw")
        await lingering(host)
        await asyncio.wait_for(host.close(drain_seconds=3_600), PATIENCE)
    async with playing(play, tmp_path) as host:
        await in_state(host, call, "suspended")
        await play.complete(call, 1, 3)
        record = await ended(host, call)
        assert (record.state, record.attempts) == ("succeeded", 1)
        assert [at for _, at in play.effects] == [0, 2]


@on_loop
async def test_a_host_that_stops_suspends_a_run_before_its_next_effect(tmp_path: Path) -> None:
    """The one that is under way is brought to its end and written down: nothing is done twice."""
    play = Play(holding=True)
    async with playing(play, tmp_path) as host:
        call = await host.enqueue("player", b"www")
        await play.until(lambda: play.effects)
        closing = asyncio.create_task(host.close(drain_seconds=3_600))
        async with asyncio.timeout(PATIENCE):
            while not host.dispatcher.draining:
                await asyncio.sleep(0)
        play.release()
        await asyncio.wait_for(closing, PATIENCE)
        assert len(play.effects) == 1
    play.holding = False
    async with playing(play, tmp_path) as host:
        record = await ended(host, call)
        assert (record.state, record.attempts) == ("succeeded", 1)
        assert [at for _, at in play.effects] == [0, 1, 2]


@on_loop
async def test_a_run_that_is_cut_off_is_replayed_by_the_next_host(tmp_path: Path) -> None:
    """No attempt is counted, and what it has done stays done."""
    play = Play(holding=True)
    async with playing(play, tmp_path) as host:
        call = await host.enqueue("player", b"ww")
        await play.until(lambda: play.effects)
        play.release()
        await play.until(lambda: len(play.effects) == 2)
        await host.close(drain_seconds=0)
    play.holding = False
    async with playing(play, tmp_path) as host:
        record = await ended(host, call)
        assert (record.state, record.attempts) == ("succeeded", 1)
    assert [at for _, at in play.effects] == [0, 1, 1]


@on_loop
async def test_a_suspended_call_survives_a_crash(tmp_path: Path) -> None:
    """What completes it may come before the host is back to run it, or after."""
    play = Play()
    host = await AsyncHost(tmp_path, interfaces=[play]).__aenter__()
    play.plays_on(host)
    await host.deploy("player", player(), durable={"grace_ms": 0})
    early, late = [await host.enqueue("player", b"wfw") for _ in range(2)]
    for call in (early, late):
        await in_state(host, call, "suspended")
    host.consumer._stopped = True  # it is woken, and nobody runs it any more
    await play.complete(early, 1, 1)
    await crash(host)
    async with playing(play, tmp_path) as host:
        assert (await ended(host, early)).state == "succeeded"
        await play.complete(late, 1, 1)
        assert (await ended(host, late)).state == "succeeded"
        assert len(play.effects) == 4


@on_loop
async def test_a_time_that_passes_while_no_host_runs_is_not_missed(tmp_path: Path) -> None:
    """It goes on as soon as one does."""
    play, clock = Play(), MovedClock()
    async with playing(play, tmp_path, clock=clock) as host:
        play.due_ms[0] = clock.wall_ns() // 1_000_000 + HOUR_MS
        call = await host.enqueue("player", b"n")
        await in_state(host, call, "suspended")
    clock.wall_offset_ms += 2 * HOUR_MS
    async with playing(play, tmp_path, clock=clock) as host:
        assert (await ended(host, call)).state == "succeeded"


@on_loop
async def test_one_that_may_not_live_so_long_is_put_away() -> None:
    """Although it waits, and nothing has come."""
    play, clock = Play(), MovedClock()
    async with playing(play, durable={"grace_ms": 0, "life_ms": HOUR_MS}, clock=clock) as host:
        call = await host.enqueue("player", b"f")
        await in_state(host, call, "suspended")
        clock.wall_offset_ms += HOUR_MS
        host.consumer.nudge()
        record = await ended(host, call)
        assert (record.state, record.result) == ("dead", "deadline")
        assert "may take in all" in record.reason


@on_loop
async def test_hundreds_that_wait_go_on_together() -> None:
    """Each with its own answer."""
    play = Play()
    async with playing(play) as host:
        calls = [await host.enqueue("player", b"wf") for _ in range(300)]
        for call in calls:
            await in_state(host, call, "suspended")
        assert host.dispatcher.pool.in_use == 0
        await asyncio.gather(*(play.complete(call, 1, number % 250) for number, call in enumerate(calls)))
        for number, call in enumerate(calls):
            assert (await ended(host, call)).state == "succeeded"
            assert (await body_of(host, call))[1] == number % 250
        assert len(play.effects) == 300


@on_loop
async def test_metrics_tell_of_runs_that_were_suspended_and_resumed() -> None:
    """And of what journals grew by."""
    play = Play()
    async with playing(play) as host:
        call = await host.enqueue("player", b"wf")
        await in_state(host, call, "suspended")
        text = host.metrics.expose().decode()
        assert "guesthouse_queue_suspended 1.0" in text
        await play.complete(call, 1, 1)
        await ended(host, call)
        text = host.metrics.expose().decode()
        assert "guesthouse_queue_suspended 0.0" in text
        for event in ("suspended", "resumed"):
            assert f'guesthouse_durable_runs_total{{event="{event}"}} 1.0' in text
        assert 'guesthouse_invocations_total{function="default/player",mode="durable",outcome="ok"} 1.0' in text


@on_loop
async def test_a_run_gives_up_what_it_holds_when_it_is_suspended() -> None:
    """Stores, tasks and log are those of an ended invocation; nothing of it is told as a failure."""
    play = Play()
    async with playing(play) as host:
        call = await host.enqueue("player", b"f")
        await in_state(host, call, "suspended")
        assert not host.dispatcher.waiting
        assert not host.dispatcher.lingering
        assert [entry.record.text for entry in host.logs.tail("default/player", 10)] == []
        await play.complete(call, 0, 1)
        await ended(host, call)
