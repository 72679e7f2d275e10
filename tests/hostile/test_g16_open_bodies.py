"""G16: bodies that a guest opens and does not read, and that never end: they cost the guest its slots, and end with it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from guesthouse import AsyncHost, OutboundConfig, OutboundPolicy
from guesthouse._native.handle import stores
from harness import files, often, resident, tidy
from http_guests import FORMS
from support import guest
from upstream import EVENT_STREAM, Received, Steps, Upstream, chunk, response

POLICY = OutboundPolicy.of(schemes=("http",), overrides={"up.example": "127.0.0.1"})
GUESTS, BODIES = 20, 6


async def endless() -> AsyncIterator[bytes]:
    """A body that comes as fast as anybody reads it."""
    yield EVENT_STREAM
    piece = chunk(bytes(1 << 18))
    while True:
        yield piece


def answer(request: Received) -> Any:
    """Endless, silent after its first event, or whole."""
    if "endless" in request.line:
        return endless()
    return Steps(EVENT_STREAM, chunk(b"data: one\n\n"))() if "silent" in request.line else response()


def order(upstream: Upstream, path: str, *more: Any) -> bytes:
    """Opens some bodies, and then does more."""
    send = {"send": {"verb": "GET", "url": upstream.url(path, "up.example")}}
    return json.dumps([*[send] * BODIES, *more]).encode()


async def becomes(happened: Callable[[], bool]) -> None:
    """Waits until something is so."""
    async with asyncio.timeout(30):
        while not happened():
            await asyncio.sleep(0.01)


async def all_left(upstream: Upstream) -> None:
    """Waits until no connection to the server is open."""
    await becomes(lambda: not upstream._writers)


@pytest.mark.parametrize(("path", "form"), [("/endless", FORMS[0]), *(("/silent", form) for form in FORMS)])
def test_bodies_that_are_left_open_end_with_their_guests(path: str, form: str) -> None:
    """Each guest opens as many as it may and leaves them; others are served meanwhile, and everything comes back."""

    async def attack() -> None:
        async with Upstream(answer) as upstream:
            config = OutboundConfig(POLICY, connections=8 * GUESTS * BODIES)
            async with AsyncHost(slots=400, outbound=config) as host:
                await host.deploy("http-calls", guest("http-calls", form))
                await host.invoke("http-calls", b"[]")
                before, memory = files(), resident()
                for _ in range(often(1)):
                    work = [host.invoke("http-calls", order(upstream, path)) for _ in range(GUESTS)]
                    good = host.invoke("http-calls", order(upstream, "/", {"all": 0}))
                    *outcomes, served = await asyncio.gather(*work, good)
                    assert json.loads(served.unwrap().body)[-1] == "hello"
                    for outcome in outcomes:
                        assert [step["status"] for step in json.loads(outcome.unwrap().body)] == [200] * BODIES
                    await all_left(upstream)
                assert host.outbound.slots._shares == {}
                assert host.dispatcher.pool.in_use == 0
                assert stores()[0] == stores()[1]
                await becomes(lambda: files() <= before + 16)  # those that are kept for the next request
                tidy()
                assert resident() - memory < 96 << 20  # a body that nobody reads is not kept

    asyncio.run(attack())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("how", ["deadline", "trapped"])
def test_bodies_end_with_a_guest_that_does_not(how: str, form: str) -> None:
    """One that waits for a silent server until its deadline, and one that traps in between."""

    async def attack() -> None:
        async with Upstream(answer) as upstream, AsyncHost(slots=16, outbound=OutboundConfig(POLICY)) as host:
            await host.deploy("http-calls", guest("http-calls", form), limits={"deadline_ms": 1_500})
            more = [{"read": [0, 100]}, {"read": [0, 100]}] if how == "deadline" else [{"answer": 99}]
            outcome = await host.invoke("http-calls", order(upstream, "/silent", *more))
            assert outcome.result == how
            await all_left(upstream)
            assert host.outbound.slots._shares == {}
            assert host.dispatcher.pool.in_use == 0

    asyncio.run(attack())


def test_a_function_cannot_take_all_connections() -> None:
    """Bodies that are open count: what is over its share is refused, and another namespace is served."""

    async def attack() -> None:
        async with Upstream(answer) as upstream:
            config = OutboundConfig(POLICY, connections=16, connect_timeout_ms=600)
            async with AsyncHost(slots=64, outbound=config) as host:
                await host.deploy("http-calls", guest("http-calls"))
                await host.deploy("http-calls", guest("http-calls"), namespace="other")
                held = asyncio.ensure_future(host.invoke("http-calls", order(upstream, "/silent", {"read": [0, 1]})))
                outcome = await held
                found = json.loads(outcome.unwrap().body)
                assert [step.get("status") for step in found[:BODIES]] == [200] * 4 + [None] * 2  # a quarter of sixteen
                assert found[4]["error"] == ["request-error", "limit exceeded: too many outgoing requests at once"]
                good = await host.invoke("http-calls", order(upstream, "/", {"all": 0}), namespace="other")
                assert json.loads(good.unwrap().body)[-1] == "hello"

    asyncio.run(attack())
