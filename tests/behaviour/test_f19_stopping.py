"""F19: a host that stops takes no more from its queue, lets runs end within their time, and gives the rest back untouched."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

from guesthouse import AsyncHost
from guesthouse.queue.call import Record
from stage import MovedClock, Scene, Stage, perform


async def opened(directory: Path, stage: Stage) -> Scene:
    """A host on `directory`, which the caller closes."""
    clock = MovedClock()
    host = AsyncHost(directory, interfaces=[stage], clock=clock)
    await host.__aenter__()
    return Scene(host, stage, clock)


def test_what_runs_when_a_host_stops_ends_and_what_waits_runs_in_the_next_one(tmp_path: Path) -> None:
    """Two run and are waited for; the third does not begin any more, and is done once, by the next host."""

    async def work() -> None:
        scene = await opened(tmp_path, Stage())
        await scene.deploy(flow={"max_inflight": 2})
        running = [await scene.enqueue(b"wait %d" % number) for number in range(2)]
        await scene.stage.when(lambda: scene.stage.acting["actor"] == 2)
        waiting = await scene.enqueue(b"next")
        closing = asyncio.create_task(scene.host.close(30))
        while not scene.host.dispatcher.draining:
            await asyncio.sleep(0)
        scene.stage.let_go(2)
        await closing
        assert scene.stage.ran == [b"wait 0", b"wait 1"]
        states: dict[str, Record] = {}

        async def look(later: Scene) -> None:
            for call in (*running, waiting):
                states[call] = await later.ended(call)
            assert later.stage.ran == [b"next"]

        await _again(tmp_path, look)
        assert [(states[call].state, states[call].attempts) for call in (*running, waiting)] == [("succeeded", 1)] * 3

    asyncio.run(work())


def test_who_waits_for_a_call_that_was_just_accepted_is_answered_before_the_host_stops(tmp_path: Path) -> None:
    """It begins although the host drains already; a call that nobody waits for does not."""

    async def work() -> None:
        scene = await opened(tmp_path, Stage())
        await scene.deploy()
        scene.stage.holding = True
        await scene.enqueue(b"holds the drain")
        await scene.stage.when(lambda: scene.stage.acting["actor"] == 1)
        draining = asyncio.create_task(scene.host.dispatcher.drain(30))
        while not scene.host.dispatcher.draining:
            await asyncio.sleep(0)
        attached = asyncio.create_task(scene.attached(b"waited for"))
        await scene.stage.when(lambda: b"waited for" in scene.stage.ran)
        scene.stage.let_go(2)
        assert (await attached).state == "succeeded"
        alone = await scene.enqueue(b"alone")
        await draining
        assert b"alone" not in scene.stage.ran
        assert (await scene.host.queue.find(alone)).state == "queued"
        await scene.host.close(0)

    asyncio.run(work())


def test_a_run_that_a_stopping_host_gives_up_is_no_attempt_and_no_strike(tmp_path: Path) -> None:
    """Its time was over: the guest is ended, the call goes back, and the next host runs it as if for the first time."""

    async def work() -> None:
        scene = await opened(tmp_path, Stage())
        await scene.deploy()
        ids = [await scene.enqueue(b"wait", attempts=1) for _ in range(3)]
        await scene.stage.when(lambda: scene.stage.acting["actor"] == 3)
        await scene.host.close(0)
        assert scene.stage.acting["actor"] == 0
        assert scene.metric("guesthouse_queue_attempts_total", outcome="released") == 3

        async def look(later: Scene) -> None:
            later.stage.let_go(3)
            for call in ids:
                record = await later.ended(call)
                assert (record.state, record.attempts) == ("succeeded", 1)

        await _again(tmp_path, look)

    asyncio.run(work())


def test_a_host_that_is_restarted_again_and_again_under_load_loses_nothing(tmp_path: Path) -> None:
    """Every call that was acknowledged ends well; what ran to its end ran once."""

    async def work() -> None:
        ids: list[str] = []
        ran: Counter[bytes] = Counter()
        for life in range(5):
            scene = await opened(tmp_path, Stage())
            if life == 0:
                await scene.deploy()
            ids += [await scene.enqueue(b"%d/%d" % (life, number)) for number in range(40)]
            await scene.host.close(30)
            ran.update(scene.stage.ran)

        async def look(later: Scene) -> None:
            for call in ids:
                record = await later.ended(call)
                assert (record.state, record.attempts) == ("succeeded", 1)
            ran.update(later.stage.ran)

        await _again(tmp_path, look)
        assert len(ran) == 200
        assert set(ran.values()) == {1}

    asyncio.run(work())


def test_a_host_that_is_closed_at_once_has_nothing_left_to_do() -> None:
    """Closing waits for nobody where nothing runs, and may come twice."""

    async def work(scene: Scene) -> None:
        await scene.deploy()
        await scene.ended(await scene.enqueue(b"x"))
        await scene.host.close(0)
        await scene.host.close(0)
        assert scene.host.consumer.running == 0

    perform(work)


async def _again(directory: Path, look) -> None:  # type: ignore[no-untyped-def]
    """Another host on the same directory."""
    scene = await opened(directory, Stage())
    try:
        await look(scene)
    finally:
        await scene.host.close(0)
