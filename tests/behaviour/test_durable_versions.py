"""Versions of durable functions: what has begun ends on the version that it began on, and keeps that for itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from guesthouse import AsyncHost
from guesthouse.registry.registry import StillNeeded
from play import PLAYER, Play, ended, in_state, on_loop
from support import wat


def version(number: int) -> bytes:
    """A player whose answers begin with its number, in place of what its first letter came to."""
    first = f"(i32.store8 (i32.const 1024) (i32.const {number}))"
    return wat(PLAYER.replace("(i32.store16 (i32.const 96)", f"{first} (i32.store16 (i32.const 96)"))


@asynccontextmanager
async def playing(play: Play, path: Path | None = None, **options: Any) -> AsyncIterator[AsyncHost]:
    async with AsyncHost(path, interfaces=[play], **options) as host:
        play.plays_on(host)
        yield host


async def deploy(host: AsyncHost, number: int, **options: Any) -> None:
    await host.deploy("player", version(number), durable={"grace_ms": 0}, **options)


async def first_byte(host: AsyncHost, call: str) -> int:
    record = await ended(host, call)
    output = await host.output(call)
    assert output is not None, record
    return output.body[0]


@on_loop
async def test_what_has_begun_ends_on_its_version_and_what_has_not_runs_on_the_current_one(tmp_path: Path) -> None:
    """However many were deployed meanwhile; also where the host was started anew."""
    play = Play()
    async with playing(play, tmp_path) as host:
        await deploy(host, 1)
        begun = await host.enqueue("player", b"wf")
        await in_state(host, begun, "suspended")
        waiting = await host.enqueue("player", b"wf", delay_ms=3_600_000)
        await deploy(host, 2)
        assert (await host.invocation(begun)).version == 1
        assert await first_byte(host, await host.enqueue("player", b"w")) == 2
    async with playing(play, tmp_path) as host:
        await deploy(host, 3)
        await play.complete(begun, 1, 1)
        assert await first_byte(host, begun) == 1
        assert (await host.invocation(begun)).version == 1
        assert (await host.invocation(waiting)).version == 0


@on_loop
async def test_one_that_only_read_before_it_was_suspended_is_held_to_its_version() -> None:
    """Its first segment and its version are stored with the suspension."""
    play = Play()
    async with playing(play) as host:
        await deploy(host, 1)
        begun = await host.enqueue("player", b"rf")
        await in_state(host, begun, "suspended")
        assert await host.queue.pinned("default", "player") == frozenset({1})
        await deploy(host, 2)
        await play.complete(begun, 1, 1)
        assert await first_byte(host, begun) == 1
        assert await host.queue.pinned("default", "player") == frozenset()


@on_loop
async def test_a_retry_stays_on_its_version() -> None:
    """Its journal was made by that one."""
    play = Play(script={1: [0, 1]})
    async with playing(play) as host:
        await deploy(host, 1, retry={"min_wait_ms": 3_600_000, "max_wait_ms": 3_600_000})
        call = await host.enqueue("player", b"wc")
        async with asyncio.timeout(30):
            while (await host.invocation(call)).result != "trapped":
                await asyncio.sleep(0.002)
        await deploy(host, 2)
        assert await host.queue.pinned("default", "player") == frozenset({1})


@on_loop
async def test_a_version_that_somebody_stands_on_is_kept_and_one_that_nobody_does_goes(tmp_path: Path) -> None:
    """With its module; the bound on old versions does not count it."""
    play = Play()
    async with playing(play, tmp_path, keep_versions=2) as host:
        await deploy(host, 1)
        begun = await host.enqueue("player", b"wf")
        await in_state(host, begun, "suspended")
        for number in range(2, 7):
            await deploy(host, number)
        assert [found.version for found in host.versions("player")] == [1, 5, 6]
    async with playing(play, tmp_path, keep_versions=2) as host:
        await play.complete(begun, 1, 1)
        assert await first_byte(host, begun) == 1
        for number in (7, 8):
            await deploy(host, number)
        assert [found.version for found in host.versions("player")] == [7, 8]


@on_loop
async def test_a_function_that_somebody_stands_on_cannot_be_deleted() -> None:
    """How many do is said; nothing of it is lost by the attempt."""
    play = Play()
    async with playing(play) as host:
        await deploy(host, 1)
        calls = [await host.enqueue("player", b"wf") for _ in range(3)]
        for call in calls:
            await in_state(host, call, "suspended")
        with pytest.raises(StillNeeded, match="3 invocations stand") as refused:
            await host.delete("player")
        assert (refused.value.status, refused.value.problem_type) == (409, "still-needed")
        for call in calls:
            await play.complete(call, 1, 1)
            await ended(host, call)
        assert await host.delete("player")


@on_loop
async def test_a_version_of_before_is_linked_once_for_all_that_stand_on_it() -> None:
    """And forgotten when nobody does any more."""
    play = Play()
    async with playing(play) as host:
        await deploy(host, 1)
        calls = [await host.enqueue("player", b"wf") for _ in range(50)]
        for call in calls:
            await in_state(host, call, "suspended")
        await deploy(host, 2)
        linked: list[int] = []
        prepare = host.dispatcher._prepare

        def counting(deployment: Any) -> Any:
            linked.append(deployment.version)
            return prepare(deployment)

        host.dispatcher._prepare = counting
        await play.complete(calls[0], 1, 1)
        await ended(host, calls[0])
        await asyncio.gather(*(play.complete(call, 1, 1) for call in calls[1:]))
        for call in calls:
            assert await first_byte(host, call) == 1
        assert linked == [1]
        versions = host.consumer._durable.versions
        assert versions.loaded(("default", "player"), 1) is not None
        await versions.tidy(host.queue)
        assert versions.loaded(("default", "player"), 1) is None
