"""Dead letters of durable functions go on where they were: with all that they did, with a part of it, on another version."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from guesthouse import AsyncHost
from guesthouse.dispatch.invocations import NotDead
from guesthouse.dispatch.replay import Differs
from guesthouse.errors import BadRequest, NotFound
from recordings import ended, when
from scripted import Op, Outside, Script
from stage import Scene, perform

ONCE = {"attempts": 1}
DONE: tuple[Op, ...] = (("look", "a"), ("store", "b", 1), ("look", "c"), ("look", "d"))


def buried(work: Callable[[AsyncHost, Outside, str], Awaitable[None]], ops: tuple[Op, ...] = DONE) -> None:
    """Runs a test with a dead letter of a durable function that has done `ops` and trapped: its id."""

    async def on_loop() -> None:
        outside = Outside()
        async with AsyncHost(interfaces=[outside]) as host:
            await host.deploy("f", Script(ops, traps=True).wasm, durable=True, retry=ONCE)
            call = await host.enqueue("f", b"")
            assert (await ended(host, call)).state == "dead"
            await work(host, outside, call)

    asyncio.run(on_loop())


async def deploy(host: AsyncHost, *ops: Op, traps: bool = False) -> int:
    """The next version of the function; its number."""
    return (await host.deploy("f", Script(ops, traps=traps).wasm, durable=True, retry=ONCE)).version


def test_a_plain_redrive_does_again_what_came_after_the_last_effect() -> None:
    """As a retry does: what was changed stays changed once."""

    async def work(host: AsyncHost, outside: Outside, call: str) -> None:
        await host.redrive(call)
        assert (await ended(host, call)).state == "dead"
        assert outside.looks == [b"a", b"c", b"d", b"c", b"d"]
        assert outside.stores == {(b"b", 1): 1}

    buried(work)


def test_a_redrive_from_a_call_keeps_what_is_before_it() -> None:
    """And does the rest again, effects included."""

    async def work(host: AsyncHost, outside: Outside, call: str) -> None:
        await host.redrive(call, from_entry=1)
        assert (await ended(host, call)).state == "dead"
        assert outside.looks == [b"a", b"c", b"d", b"c", b"d"]
        assert outside.stores == {(b"b", 1): 2}
        await host.redrive(call, from_entry=0)
        assert (await ended(host, call)).state == "dead"
        assert outside.looks[-3:] == [b"a", b"c", b"d"]

    buried(work)


def test_it_goes_on_on_a_version_that_does_the_same() -> None:
    """With what it had done; the version stays the one that it is on."""

    async def work(host: AsyncHost, outside: Outside, call: str) -> None:
        mended = await deploy(host, *DONE[:2], ("look", "mended"))
        await deploy(host, ("look", "something else"))
        await host.redrive(call, version=mended)
        done = await ended(host, call)
        assert (done.state, done.version) == ("succeeded", mended)
        assert outside.looks == [b"a", b"c", b"d", b"mended"]
        assert outside.stores == {(b"b", 1): 1}

    buried(work)


def test_a_version_that_differs_is_refused_with_both_calls() -> None:
    """Before it has run in earnest; from an earlier call on it may go on."""

    async def work(host: AsyncHost, outside: Outside, call: str) -> None:
        other = await deploy(host, ("look", "a"), ("store", "B", 1), ("look", "c"))
        before = list(outside.looks), outside.stores.copy()
        with pytest.raises(Differs, match=r'version 2 differs at call 1: .*store\("b", 1\).*store\("B", 1\)'):
            await host.redrive(call, version=other)
        with pytest.raises(Differs):
            await host.redrive(call, version=other, from_entry=2)
        assert (list(outside.looks), outside.stores) == before
        assert (await host.invocation(call)).state == "dead"
        await host.redrive(call, version=other, from_entry=1)
        assert (await ended(host, call)).state == "succeeded"
        assert outside.stores == {(b"b", 1): 1, (b"B", 1): 1}

    buried(work)


def test_a_diverged_one_goes_on_on_a_version_that_does_the_same() -> None:
    """What was put away because its module had changed its mind loses nothing."""

    async def work(host: AsyncHost, outside: Outside, call: str) -> None:
        ends = await deploy(host, ("look", "a"))
        with pytest.raises(Differs, match="the guest has ended"):
            await host.redrive(call, version=ends)
        mended = await deploy(host, *DONE)
        await host.redrive(call, version=mended, from_entry=len(DONE))
        assert (await ended(host, call)).state == "succeeded"
        assert outside.looks == [b"a", b"c", b"d"]

    buried(work)


def test_what_is_asked_of_a_redrive_has_to_make_sense() -> None:
    """Calls that are not there, versions that are not there, a failure where nothing was cut off."""

    async def work(host: AsyncHost, _: Outside, call: str) -> None:
        with pytest.raises(BadRequest, match="there is no call 5"):
            await host.redrive(call, from_entry=5)
        with pytest.raises(NotFound, match="version 7"):
            await host.redrive(call, version=7)
        with pytest.raises(BadRequest, match="nothing to fail"):
            await host.redrive(call, fail=True)
        await host.redrive(call)
        await ended(host, call)
        mended = await deploy(host, *DONE)
        await host.redrive(call, version=mended)
        await ended(host, call)
        with pytest.raises(NotDead):
            await host.redrive(call, from_entry=1)

    buried(work)


def test_calls_that_are_not_durable_begin_anew() -> None:
    """On the current version: nothing else can be asked for."""

    async def work(scene: Scene) -> None:
        await scene.deploy(retry=ONCE)
        scene.stage.script[b"x"] = [(503, ""), (200, "")]
        call = await scene.enqueue(b"x")
        await when(scene.host, call, lambda record: record.state == "dead")
        with pytest.raises(BadRequest, match="no call of a durable function"):
            await scene.host.redrive(call, from_entry=1)
        await scene.host.redrive(call)
        assert (await scene.ended(call)).state == "succeeded"

    perform(work)
