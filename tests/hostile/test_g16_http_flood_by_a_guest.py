"""G16: a real guest that asks upstreams that never answer costs itself its time, and the host little."""

from __future__ import annotations

import asyncio
import json

import pytest

from guesthouse import AsyncHost, OutboundConfig, OutboundPolicy
from guesthouse._native.handle import stores
from harness import files, often
from support import FORMS, guest
from upstream import Received, Upstream, response

POLICY = OutboundPolicy.of(schemes=("http",), overrides={"up.example": "127.0.0.1"})
SHARE = 8


def hang(request: Received) -> bytes | None:
    """No answer to some."""
    return None if "hang" in request.line else response()


def order(upstream: Upstream, path: str, timeout_ms: int = 60_000) -> bytes:
    """What the guest is to fetch."""
    return json.dumps({"verb": "GET", "url": upstream.url(path, "up.example"), "timeout_ms": timeout_ms}).encode()


@pytest.mark.parametrize("form", FORMS)
def test_guests_whose_upstreams_hang_end_at_their_deadline(form: str) -> None:
    """Two hundred at once: few of their requests are out, others are served, every socket and slot comes back."""

    async def attack() -> None:
        before = files()
        config = OutboundConfig(POLICY, connections=4 * SHARE)
        async with Upstream(hang) as upstream, AsyncHost(slots=400, outbound=config) as host:
            await host.deploy("fetch", guest("fetch", form), limits={"deadline_ms": 1_500})
            await host.deploy("fetch", guest("fetch", form), namespace="other")
            for _ in range(often(1)):
                tasks = [asyncio.ensure_future(host.invoke("fetch", order(upstream, "/hang"))) for _ in range(200)]
                await upstream.arrived.wait()
                good = await host.invoke("fetch", order(upstream, "/", 5_000), namespace="other")
                assert json.loads(good.body)["status"] == 200
                outcomes = await asyncio.gather(*tasks)
                for outcome in outcomes:
                    assert outcome.result == "deadline" or "error" in json.loads(outcome.body)
                    assert outcome.duration_ns < 20e9  # the servers would keep them for a minute
                # So many at once; those that the first ones made room for by their deadline may have come after them.
                assert len([request for request in upstream.requests if "hang" in request.line]) <= 8 * SHARE
            assert host.dispatcher.pool.in_use == 0
            assert stores()[0] == stores()[1]
        for _ in range(100):
            await asyncio.sleep(0)
        assert files() <= before + 2

    asyncio.run(attack())


@pytest.mark.parametrize("form", FORMS)
def test_a_guest_has_so_many_requests_and_no_more(form: str) -> None:
    """The limit of an invocation is an error value for the guest."""

    async def attack() -> None:
        async with Upstream() as upstream, AsyncHost(slots=16, outbound=OutboundConfig(POLICY)) as host:
            await host.deploy("fetch", guest("fetch", form), limits={"http_requests": 1})
            assert json.loads((await host.invoke("fetch", order(upstream, "/"))).body)["status"] == 200
            assert upstream.connections == 1

    asyncio.run(attack())


@pytest.mark.parametrize("form", FORMS)
def test_a_response_that_is_too_large_is_an_error(form: str) -> None:
    """Said to be large, or large without saying: neither is kept."""

    async def attack() -> None:
        large = Upstream(lambda _: response(b"x" * (1 << 20)))
        async with large as upstream, AsyncHost(slots=16, outbound=OutboundConfig(POLICY)) as host:
            await host.deploy("fetch", guest("fetch", form), limits={"http_response_bytes": 100_000})
            assert "error" in json.loads((await host.invoke("fetch", order(upstream, "/"))).body)

    asyncio.run(attack())
