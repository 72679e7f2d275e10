"""F14: invocations that are suspended while nine further versions are deployed all end on the first one."""

from __future__ import annotations

import asyncio
from pathlib import Path

from guesthouse import AsyncHost
from harness import often
from play import PATIENCE, PLAYER, Play, on_loop
from support import wat

COUNT = often(200)
"""10,000 and more in the long version."""


def module(number: int) -> bytes:
    """A player that answers with the number of its version."""
    first = f"(i32.store8 (i32.const 1024) (i32.const {number}))"
    return wat(PLAYER.replace("(i32.store16 (i32.const 96)", f"{first} (i32.store16 (i32.const 96)"))


async def until_suspended(host: AsyncHost, count: int) -> None:
    async with asyncio.timeout(PATIENCE + count / 50):
        while True:
            states = await host.queues()
            if states and states[0].suspended == count and not states[0].running:
                return
            await asyncio.sleep(0.01)


@on_loop
async def test_all_end_on_the_version_that_they_began_on(tmp_path: Path) -> None:
    """Across restarts of the host, with the least number of versions kept."""
    play = Play()
    async with AsyncHost(tmp_path, interfaces=[play], keep_versions=2) as host:
        play.plays_on(host)
        await host.deploy("player", module(1), durable={"grace_ms": 0})
        calls = list(await asyncio.gather(*(host.enqueue("player", b"rf") for _ in range(COUNT))))
        await until_suspended(host, COUNT)
        for number in range(2, 6):
            await host.deploy("player", module(number), durable={"grace_ms": 0})
    async with AsyncHost(tmp_path, interfaces=[play], keep_versions=2) as host:
        play.plays_on(host)
        for number in range(6, 11):
            await host.deploy("player", module(number), durable={"grace_ms": 0})
        assert [found.version for found in host.versions("player")] == [1, 9, 10]
        await asyncio.gather(*(play.complete(call, 1, 1) for call in calls))
        for call in calls:
            record = await host.attach(call, PATIENCE + COUNT / 50)
            output = await host.output(call)
            assert output is not None, record
            assert (record.state, record.version, output.body[0]) == ("succeeded", 1, 1)
