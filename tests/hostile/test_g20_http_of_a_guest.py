"""G18 to G20, from a real guest: pinned names, redirects that are answers, and headers that stay headers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from guesthouse import AsyncHost, OutboundConfig, OutboundPolicy
from support import FORMS, guest
from upstream import Upstream, response

POLICY = OutboundPolicy.of(schemes=("http",), overrides={"up.example": "127.0.0.1"})


@asynccontextmanager
async def fetching(form: str) -> AsyncIterator[Any]:
    """A function that sends one request through a guest and returns what the guest got."""
    async with AsyncHost(slots=16, outbound=OutboundConfig(POLICY)) as host:
        await host.deploy("fetch", guest("fetch", form))

        async def fetch(url: str, **order: Any) -> dict[str, Any]:
            body = json.dumps({"verb": "GET", "url": url, "timeout_ms": 5_000, **order}).encode()
            outcome = await host.invoke("fetch", body)
            assert outcome.result == "ok", outcome.error
            answer: dict[str, Any] = json.loads(outcome.body)
            return answer

        fetch.host = host  # type: ignore[attr-defined]
        yield fetch


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_a_guest_sees_a_redirect(status: str, form: str) -> None:
    """As a response with its location; where that leads, nobody has been."""

    async def attack() -> None:
        async with Upstream() as inside:
            location = f"Location: {inside.url('/secret')}"
            async with Upstream(lambda _: response(b"moved", status, location)) as upstream, fetching(form) as fetch:
                answer = await fetch(upstream.url("/", "up.example"))
                assert answer["status"] == int(status[:3])
                assert dict(answer["headers"])["location"] == inside.url("/secret")
                assert "error" in await fetch(inside.url("/secret"))
                assert len(upstream.requests) == 1
            assert inside.connections == 0

    asyncio.run(attack())


SPLIT = [
    [("x", "a\r\nSet-Cookie: b")],
    [("x", "a\nb")],
    [("x", "a\rb")],
    [("x", "a\0b")],
    [("x\r\ny", "a")],
    [("x: y", "a")],
    [("", "a")],
    [("a b", "c")],
    [("x", "a")] * 10_000,
    [("x", "a" * 100_000)],
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("headers", SPLIT, ids=range(len(SPLIT)))
def test_a_header_of_a_guest_adds_no_line(headers: list[tuple[str, str]], form: str) -> None:
    """It is an error that the guest gets; nothing is on the wire."""

    async def attack() -> None:
        async with Upstream() as upstream, fetching(form) as fetch:
            answer = await fetch(upstream.url("/", "up.example"), headers=headers)
            assert "error" in answer
            assert not upstream.wire
            assert (await fetch(upstream.url("/", "up.example"), headers=[("x", "fine")]))["status"] == 200

    asyncio.run(attack())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("verb", ["GET\r\nX: y", "GET /other HTTP/1.1\r\nX: y\r\n\r\nGET", "CONNECT", "", "G ET", "\0"])
def test_a_method_of_a_guest_adds_no_line(verb: str, form: str) -> None:
    """Nor does a method, or one that would make a tunnel."""

    async def attack() -> None:
        async with Upstream() as upstream, fetching(form) as fetch:
            assert "error" in await fetch(upstream.url("/", "up.example"), verb=verb)
            assert not upstream.wire

    asyncio.run(attack())


@pytest.mark.parametrize("form", FORMS)
def test_headers_that_are_the_hosts_are_the_hosts(form: str) -> None:
    """A guest cannot choose the host it speaks to, nor how its message ends."""

    async def attack() -> None:
        async with Upstream() as upstream, fetching(form) as fetch:
            forged = [
                ("Host", "other.example"),
                ("Content-Length", "5"),
                ("Transfer-Encoding", "chunked"),
                ("Connection", "x"),
            ]
            answer = await fetch(
                upstream.url("/", "up.example"), headers=[*forged, ("X-Mine", "1")], verb="POST", body="body"
            )
            assert answer["status"] == 200
            (received,) = upstream.requests
            assert received.values("host") == [f"up.example:{upstream.port}"]
            assert received.values("content-length") == ["4"]
            assert received.values("transfer-encoding") == []
            assert received.values("x-mine") == ["1"]
            assert received.body == b"body"

    asyncio.run(attack())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("status", ["0", "1", "99", "100", "101", "199", "600", "999", "1000", "65535"])
def test_a_status_that_is_none_is_no_answer(status: str, form: str) -> None:
    """What a web function answers is checked like what it sends: 200 to 599."""

    async def attack() -> None:
        async with AsyncHost(slots=16) as host:
            await host.deploy("bad-status", guest("bad-status", form))
            outcome = await host.invoke("bad-status", status.encode())
            assert outcome.error is not None
            assert (outcome.status, outcome.error.status) == (0, 502)

    asyncio.run(attack())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("headers", [*SPLIT[:8], [("x", "a")] * 300], ids=range(9))
def test_an_answer_with_a_forged_header_is_no_answer(headers: list[tuple[str, str]], form: str) -> None:
    """502, and none of its headers is passed on."""

    async def attack() -> None:
        async with AsyncHost(slots=16) as host:
            await host.deploy("bad-header", guest("bad-header", form))
            outcome = await host.invoke("bad-header", json.dumps(headers).encode())
            assert outcome.error is not None
            assert outcome.error.status == 502
            assert not outcome.headers

    asyncio.run(attack())
