"""F21, for guests that go on after their answer: whatever is cancelled, and when, the books and the pool are right."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

import pytest

from detaching import CALLS, counted, order, queue
from guesthouse import AsyncHost, Host
from guesthouse._native.api import DONE
from guesthouse.engine import instance
from guesthouse.engine.instance import Instance
from guesthouse.errors import GuesthouseError
from harness import often, until
from probes import on_loop
from support import guest

AT_ONCE = 20
STEPS = ("spin", "trap", {"fail": "no"}, {"say": "x"}, {"sleep": 3}, queue("more", {"say": "y"}))
HANDLERS = ([], [], ["spin"], ["trap"], [{"sleep": 3}], [{"status": 99}], [{"sse": "x"}])


def steps(dice: random.Random) -> list[Any]:
    """What one call does: a few tasks that do all that ends a guest, and then an answer or none."""
    names = [f"t{number}" for number in range(dice.randrange(4))]
    tasks = [queue(name, *dice.choices(STEPS, k=dice.randrange(3))) for name in names]
    return [*tasks, *dice.choice(HANDLERS)]


async def one(host: AsyncHost, dice: random.Random) -> None:
    """A call that is perhaps cancelled before its answer, given up after it, or left alone."""
    calling = asyncio.ensure_future(host.invoke(CALLS, query=order(*steps(dice))))
    with contextlib.suppress(GuesthouseError, asyncio.CancelledError):
        if dice.random() < 0.4:
            await asyncio.sleep(dice.random() / 50)
            calling.cancel()
        outcome = await calling
        if dice.random() < 0.5:
            await asyncio.sleep(dice.random() / 50)
            for running in list(host.dispatcher.waiting):
                if running.id == outcome.invocation_id:
                    running.give_up()


async def many(host: AsyncHost, seed: int) -> None:
    dice = random.Random(seed)
    await asyncio.gather(*[one(host, dice) for _ in range(AT_ONCE)])


@pytest.mark.parametrize("seed", range(often(5)))
def test_whatever_is_cut_off_and_when_each_task_is_counted_once(host: Host, seed: int) -> None:
    """Guests on workers, waiting, half done, between their two calls: what was registered ends as ok, failed or lost."""
    host.delete(CALLS)
    host.deploy(CALLS, guest(CALLS), limits={"deadline_ms": 200})
    registered: list[Any] = []
    interface = next(found for found in host.inner.interfaces if found.name == "detached")
    opened = type(interface).open
    type(interface).open = lambda self, invocation: registered.append(opened(self, invocation)) or registered[-1]  # type: ignore[method-assign]
    try:
        on_loop(host, many(host.inner, seed))
        until(lambda: host.inner.dispatcher.pool.in_use == 0, "guests are left in the pool")
    finally:
        type(interface).open = opened  # type: ignore[method-assign]
    ended = [sum(tasks.counts.values()) for tasks in registered]
    assert ended == [tasks.registered for tasks in registered]
    assert sum(counted(host).values()) == sum(ended)
    assert not host.inner.dispatcher.detached
    assert not host.inner.dispatcher.spawner._families


def test_a_call_that_is_cancelled_while_its_guest_ends_on_a_worker(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker says that it is done, but nobody has taken its answer: it is given up, and what it queued is lost."""
    host.delete(CALLS)
    host.deploy(CALLS, guest(CALLS))
    host.invoke(CALLS)
    monkeypatch.setattr(instance, "BRIEF_NS", 0)  # or it would end on the loop
    ended = Instance.slice_ended

    async def call() -> None:
        host.inner.dispatcher._prepared[id(host.inner.deployment(CALLS))].pre.hot = True
        calling = asyncio.ensure_future(host.inner.invoke(CALLS, query=order(queue("a"))))
        loop = asyncio.get_running_loop()

        def ending(guest: Instance, status: int) -> None:
            if status == DONE and guest.stays:
                loop.call_soon_threadsafe(calling.cancel)
            ended(guest, status)

        monkeypatch.setattr(Instance, "slice_ended", ending)
        await asyncio.wait((calling,))
        assert calling.cancelled()

    on_loop(host, call())
    until(lambda: host.inner.dispatcher.pool.in_use == 0, "the guest is left in the pool")
    assert counted(host) == {("a", "lost"): 1}
