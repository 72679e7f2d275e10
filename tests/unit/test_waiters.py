"""`Waiters`: whoever waits for an end is told of it once, and nobody is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps

import pytest

from guesthouse.dispatch.waiters import Waiters
from guesthouse.errors import AdmissionFull
from guesthouse.queue.call import Record

Test = Callable[[], Coroutine[None, None, None]]


def on_a_loop(test: Test) -> Callable[[], None]:
    """Makes a test of a coroutine function."""

    @wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


ENDED = Record(id="i", namespace="default", name="echo", mode="async", state="succeeded")


@on_a_loop
async def test_all_who_wait_are_told_and_nobody_else() -> None:
    """Of one end, two; the third waits for another invocation."""
    waiters = Waiters()
    with waiters.waiting("i") as first, waiters.waiting("i") as second, waiters.waiting("other") as third:
        waiters.ended(ENDED)
        assert (await first, await second) == (ENDED, ENDED)
        assert not third.done()
    assert waiters.count == 0
    assert "other" not in waiters


@on_a_loop
async def test_one_who_gave_up_is_forgotten() -> None:
    """Its place is free, and the others are still told."""
    waiters = Waiters(most=2)
    with waiters.waiting("i") as stays:
        for _ in range(3):
            with waiters.waiting("i") as left:
                left.cancel()
        waiters.ended(ENDED)
        assert await stays is ENDED


@on_a_loop
async def test_an_end_that_nobody_waits_for_is_nothing() -> None:
    """And is not kept for those who come later: they look first."""
    waiters = Waiters()
    waiters.ended(ENDED)
    with waiters.waiting("i") as late:
        await asyncio.sleep(0)
        assert not late.done()


@on_a_loop
async def test_no_more_wait_than_may() -> None:
    """The next one is refused, until one of them has gone."""
    waiters = Waiters(most=1)
    with waiters.waiting("i"):
        with pytest.raises(AdmissionFull, match="over 1 clients wait"), waiters.waiting("i"):
            pass
        assert waiters.count == 1
    with waiters.waiting("i"):
        pass


@on_a_loop
async def test_a_host_that_stops_lets_everybody_go() -> None:
    """Those who wait, and those who come afterwards."""
    waiters = Waiters()
    with waiters.waiting("i") as before:
        waiters.stop()
        with waiters.waiting("j") as after:
            assert await before is None
            assert await after is None
