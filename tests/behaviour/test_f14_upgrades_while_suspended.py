"""F14: calls that wait end on the version that they began with, however many versions are deployed, and swept, meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from guesthouse import AsyncHost
from guesthouse.errors import GuesthouseError
from guesthouse.interfaces.cache import CacheConfig
from harness import often
from scripted import HOUR_MS, Outside, Script
from stage import MovedClock

PATIENCE = 60
DURABLE = {"grace_ms": 0}
VERSIONS = 10
LEAST = 2
"""The fewest old versions that a host keeps, so that the first one would be gone."""


def version(number: int) -> bytes:
    """The module of a version: it sleeps for an hour and then says which one it is."""
    return Script((("look", "before"), ("sleep", HOUR_MS), ("store", f"version {number}", number))).wasm


async def suspended(host: AsyncHost, count: int) -> None:
    """Waits until so many calls are suspended, and nothing is in memory."""
    async with asyncio.timeout(PATIENCE):
        while len((await host.invocations(state="suspended", most=1_000))[0]) < min(count, 1_000):
            await asyncio.sleep(0.01)
        while host.dispatcher.pool.in_use:
            await asyncio.sleep(0.01)


def opened(folder: Path, outside: Outside, clock: MovedClock) -> AsyncHost:
    """A host on a data directory that keeps as few versions as it may."""
    return AsyncHost(folder, interfaces=[outside], cache=CacheConfig(persist=True), clock=clock, keep_versions=LEAST)


async def deploy(host: AsyncHost, number: int) -> None:
    """Deploys a version."""
    deployment = await host.deploy("guest", version(number), durable=DURABLE)
    assert deployment.version == number


async def wake(host: AsyncHost, clock: MovedClock) -> None:
    """The hour is over."""
    clock.wall_offset_ms += HOUR_MS + 1_000
    clock.monotonic_offset_ms += HOUR_MS + 1_000
    host.consumer.nudge()


def test_all_that_were_suspended_end_on_the_version_that_they_began_with(tmp_path: Path) -> None:
    """Over nine deploys, a host that ends and one that begins, with the fewest versions kept; then the version can go."""
    count, outside, clock = often(100), Outside(), MovedClock()

    async def before() -> list[str]:
        async with opened(tmp_path, outside, clock) as host:
            await deploy(host, 1)
            calls = [await host.enqueue("guest", str(number).encode()) for number in range(count)]
            await suspended(host, count)
            for number in range(2, 6):
                await deploy(host, number)
            return calls

    async def after(calls: list[str]) -> None:
        async with opened(tmp_path, outside, clock) as host:
            for number in range(6, VERSIONS + 1):
                await deploy(host, number)
            assert host.versions("guest")[0].version == 1
            await wake(host, clock)
            records = [await host.attach(call, PATIENCE) for call in calls]
            assert {(record.state, record.version) for record in records} == {("succeeded", 1)}
            assert dict(outside.stores) == {(b"version 1", 1): count}
            assert len(outside.looks) == count
            await deploy(host, VERSIONS + 1)
            assert [found.version for found in host.versions("guest")] == [VERSIONS, VERSIONS + 1]

    asyncio.run(after(asyncio.run(before())))


def test_a_call_that_has_not_begun_runs_on_the_version_of_the_moment(tmp_path: Path) -> None:
    """What waits for its time stands on no version yet."""
    outside, clock = Outside(), MovedClock()

    async def work() -> None:
        async with opened(tmp_path, outside, clock) as host:
            await deploy(host, 1)
            call = await host.enqueue("guest", delay_ms=HOUR_MS)
            await deploy(host, 2)
            await wake(host, clock)
            await suspended(host, 1)
            await wake(host, clock)
            assert (await host.attach(call, PATIENCE)).version == 2

    asyncio.run(work())


def test_a_function_on_which_something_is_suspended_cannot_be_deleted(tmp_path: Path) -> None:
    """409, until that has ended or is killed."""
    outside, clock = Outside(), MovedClock()

    async def work() -> None:
        async with opened(tmp_path, outside, clock) as host:
            await deploy(host, 1)
            call = await host.enqueue("guest")
            await suspended(host, 1)
            with pytest.raises(GuesthouseError) as refused:
                await host.delete("guest")
            assert refused.value.status == 409
            await wake(host, clock)
            assert (await host.attach(call, PATIENCE)).state == "succeeded"
            assert await host.delete("guest")

    asyncio.run(work())
