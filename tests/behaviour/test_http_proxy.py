"""Functions that pass server-sent events on, in a real server: each event as it comes, and an end with its client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest

from served import Served, config, served
from support import guest
from upstream import EVENT_STREAM, Steps, Upstream, chunk

PATIENCE = 30
MANY = 400
"""Events of a megabyte: far more than fits into the buffers of four sockets."""
LIMITS = f"?limits=http_response_bytes={1 << 30}&limits=response_bytes={1 << 30}"
HOW = pytest.mark.parametrize(
    "how", ["sse-proxy?", "sse-proxy?raw&", "proxy?"], ids=["event by event", "as bytes", "as the answer's body"]
)


@pytest.fixture(scope="module", params=["wasip2", "wasip1", "unknown-unknown"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder: Path = tmp_path_factory.mktemp("proxy")
    with served(folder / "data", "--config", config(folder)) as server:
        for name in ("sse-proxy", "proxy"):
            assert server.deploy(name, guest(name, request.param), LIMITS).status == 204
        yield server


class Watcher:
    """A client that watches the events of a proxy."""

    def __init__(self, server: Served, upstream: Upstream, how: str) -> None:
        self._address = server.address
        self._target = f"/functions/default/{how}url={quote(upstream.url('/events'), safe='')}"

    async def __aenter__(self) -> Watcher:
        self._reader, self._writer = await asyncio.open_connection(*self._address)
        self._writer.write(f"GET {self._target} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def head(self) -> bytes:
        """Status line and headers."""
        return await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), PATIENCE)

    async def event(self) -> bytes:
        """The next event, without the framing around it."""
        async with asyncio.timeout(PATIENCE):
            size = int(await self._reader.readline(), 16)
            data = await self._reader.readexactly(size + 2)
        return data[:-2]

    async def rest(self) -> bytes:
        """Everything until the connection ends or breaks."""
        data = b""
        async with asyncio.timeout(PATIENCE):
            with suppress(ConnectionError):
                while piece := await self._reader.read(1 << 16):
                    data += piece
        return data


@HOW
def test_each_event_is_passed_on_before_the_next_one_is_there(server: Served, how: str) -> None:
    """The upstream sends an event only when the client has the one before."""

    async def watch() -> None:
        steps = Steps(EVENT_STREAM)
        async with Upstream(lambda _: steps()) as upstream, Watcher(server, upstream, how) as watcher:
            for number in range(10):
                event = b"id: %d\ndata: tick\n\n" % number
                steps.send(chunk(event))
                if number == 0:
                    head = await watcher.head()
                    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
                    assert b"text/event-stream" in head.lower()
                assert await watcher.event() == event
            steps.end()
            assert await watcher.event() == b""  # the last chunk: the end of a whole answer

    asyncio.run(watch())
    server.idle()


@HOW
def test_the_function_is_stopped_when_its_client_leaves(server: Served, how: str) -> None:
    """In the middle of waiting for an event: its connection to the upstream ends, and its instance is free."""

    async def watch() -> None:
        steps = Steps(EVENT_STREAM, chunk(b"data: first\n\n"))
        async with Upstream(lambda _: steps()) as upstream:
            async with Watcher(server, upstream, how) as watcher:
                await watcher.head()
                assert await watcher.event() == b"data: first\n\n"
            await asyncio.wait_for(upstream.left.wait(), PATIENCE)

    asyncio.run(watch())
    server.idle()


@HOW
def test_the_function_is_stopped_when_its_client_leaves_before_the_first_event(server: Served, how: str) -> None:
    """While nothing has been sent yet."""

    async def watch() -> None:
        async with Upstream(lambda _: Steps()()) as upstream:
            async with Watcher(server, upstream, how):
                await asyncio.wait_for(upstream.arrived.wait(), PATIENCE)
            await asyncio.wait_for(upstream.left.wait(), PATIENCE)

    asyncio.run(watch())
    server.idle()


@HOW
def test_a_client_that_does_not_read_stops_the_upstream(server: Served, how: str) -> None:
    """No event is kept for it: what is between the two waits where it is."""

    async def watch() -> None:
        sent, quiet = 0, 0

        async def much() -> AsyncIterator[bytes]:
            nonlocal sent
            yield EVENT_STREAM
            for _ in range(MANY):
                sent += 1
                yield chunk(b"data: %s\n\n" % (b"x" * 1_000_000))

        async with Upstream(lambda _: much()) as upstream:
            async with Watcher(server, upstream, how) as watcher:
                await watcher.head()
                while quiet < 20:  # in each turn the server answers others, so it could have gone on here
                    before = sent
                    await asyncio.to_thread(server.request, "GET", "/healthz")
                    quiet = quiet + 1 if sent == before else 0
                assert 0 < sent < MANY
            await asyncio.wait_for(upstream.left.wait(), PATIENCE)

    asyncio.run(watch())
    server.idle()


@pytest.mark.parametrize("end", ["the upstream breaks off", "the answer grows too large"])
def test_a_body_that_cannot_be_passed_on_whole_is_not_ended_as_if_it_were(server: Served, end: str) -> None:
    """The connection breaks without the last chunk, and the client knows."""
    assert server.deploy("small", guest("proxy"), "?limits=response_bytes=100000").status == 204

    async def watch() -> None:
        steps = Steps(EVENT_STREAM, chunk(b"data: first\n\n"))
        async with Upstream(lambda _: steps()) as upstream, Watcher(server, upstream, "small?") as watcher:
            await watcher.head()
            assert await watcher.event() == b"data: first\n\n"
            if end == "the upstream breaks off":
                steps.end(b"5\r\nhalf")
            else:
                steps.send(chunk(b"x" * 200_000))
            rest = await watcher.rest()
            assert b"0\r\n\r\n" not in rest
            assert len(rest) < 150_000

    asyncio.run(watch())
    server.idle()


def test_an_upstream_that_breaks_off_before_its_first_byte_is_an_error_that_is_told(server: Served) -> None:
    """Nothing has left for the client yet."""

    async def watch() -> None:
        steps = Steps(EVENT_STREAM)
        async with Upstream(lambda _: steps()) as upstream, Watcher(server, upstream, "proxy?") as watcher:
            steps.end(b"5\r\n")
            assert (await watcher.head()).startswith(b"HTTP/1.1 5")

    asyncio.run(watch())
    server.idle()
