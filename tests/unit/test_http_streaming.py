"""Bodies of responses while they arrive: in pieces, within their bounds, and told apart from those that broke off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from guesthouse.net import failures
from guesthouse.net.body import ResponseBody
from guesthouse.net.client import WHOLE, OutboundClient, OutboundConfig, OutboundRequest
from guesthouse.net.policy import OutboundPolicy
from guesthouse.net.slots import Allowance
from upstream import END, EVENT_STREAM, Received, Steps, Upstream, chunk, response

pytestmark = pytest.mark.anyio
HOST = "upstream.example"
POLICY = OutboundPolicy.of(schemes=("http",), overrides={HOST: "127.0.0.1"})
PATIENCE = 30


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
async def client() -> AsyncIterator[OutboundClient]:
    client = OutboundClient(OutboundConfig(POLICY, connections=16))
    yield client
    await client.close()
    assert client.slots._shares == {}


def get(upstream: Upstream, **changes: Any) -> OutboundRequest:
    fields: dict[str, Any] = {"method": "GET", "url": upstream.url("/", HOST), "timeout_ms": 20_000, **changes}
    return OutboundRequest(**fields)


async def opened(client: OutboundClient, request: OutboundRequest, allowance: Allowance | None = None) -> ResponseBody:
    """The body of an answer that is still arriving."""
    answer = await asyncio.wait_for(client.open(request, allowance), PATIENCE)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.rest is not None
    return answer.rest


async def following(body: ResponseBody) -> bytes:
    return await asyncio.wait_for(body.__anext__(), PATIENCE)


async def until_left(upstream: Upstream) -> None:
    await asyncio.wait_for(upstream.left.wait(), PATIENCE)


async def settle(client: OutboundClient, upstream: Upstream) -> None:
    """Some turns of the loop, with sockets in them."""
    async with Upstream() as other:
        for _ in range(20):
            await client.fetch(get(other, owner=("other", "one")))


async def test_each_piece_is_there_as_soon_as_it_was_sent(client: OutboundClient) -> None:
    """The server sends the next piece when the one before was read: nothing waits for the end."""
    steps = Steps(EVENT_STREAM)
    async with Upstream(lambda _: steps()) as upstream:
        body = await opened(client, get(upstream))
        for number in range(5):
            event = b"data: %d\n\n" % number
            steps.send(chunk(event))
            assert await following(body) == event
        steps.end()
        with pytest.raises(StopAsyncIteration):
            await following(body)
        with pytest.raises(StopAsyncIteration):
            await following(body)


async def test_a_body_of_a_known_length_arrives_in_pieces_too(client: OutboundClient) -> None:
    """Where it is longer than what is waited for."""
    size = WHOLE + 1
    steps = Steps(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
    async with Upstream(lambda _: steps()) as upstream:
        body = await opened(client, get(upstream))
        steps.send(b"first")
        assert await following(body) == b"first"
        steps.end(bytes(size - 5))
        assert await body.collect() == bytes(size - 5)


async def test_a_short_body_that_was_announced_is_waited_for(client: OutboundClient) -> None:
    """So that one which breaks off is an error, and not half an answer."""
    steps = Steps(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", b"wh", b"ole")
    async with Upstream(lambda _: steps()) as upstream:
        answer = await client.open(get(upstream))
        assert (answer.body, answer.rest) == (b"whole", None)


async def test_what_came_along_with_the_headers_needs_no_connection(client: OutboundClient) -> None:
    """It is resident, and its slot free, before anybody has read it."""
    allowance = Allowance(10, 1)
    body = chunk(b"whole") + END
    async with Upstream(lambda _: EVENT_STREAM + body) as upstream:
        for _ in range(3):
            answer = await client.open(get(upstream), allowance)
            assert (answer.body, answer.rest) == (b"whole", None)
            assert client.slots._shares == {}
        assert upstream.connections == 1


@pytest.mark.parametrize("framing", ["chunks", "length", "connection"])
async def test_what_came_before_a_failure_is_handed_out_first(client: OutboundClient, framing: str) -> None:
    """Also where the failure was there before anybody read; afterwards every read says the same."""
    heads = {
        "chunks": EVENT_STREAM + chunk(b"before"),
        "length": b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\nbefore",
        "connection": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nbefore",
    }
    steps = Steps(heads[framing])
    async with Upstream(lambda _: steps()) as upstream:
        body = await opened(client, get(upstream))
        steps.end(b"")  # and the connection with it
        while body._content.exception() is None:
            await asyncio.sleep(0)
        assert await following(body) == b"before"
        for _ in range(3):
            with pytest.raises(failures.Interrupted):
                await following(body)
        assert client.slots._shares == {}


async def test_nonsense_in_the_middle_is_malformed(client: OutboundClient) -> None:
    """After the pieces before it."""
    steps = Steps(EVENT_STREAM, chunk(b"before"))
    async with Upstream(lambda _: steps()) as upstream:
        body = await opened(client, get(upstream))
        assert await following(body) == b"before"
        steps.send(b"this is no length\r\n")
        with pytest.raises(failures.Malformed):
            await following(body)


async def test_nonsense_behind_the_headers_is_no_answer(client: OutboundClient) -> None:
    """What is known to be broken when the headers come is not begun."""
    async with Upstream(lambda _: EVENT_STREAM + b"zz\r\n") as upstream:
        with pytest.raises(failures.Malformed):
            await client.open(get(upstream))


async def test_the_timeout_covers_the_body(client: OutboundClient) -> None:
    """What came before it is handed out, then the body has timed out; the connection ends without a reader."""
    steps = Steps(EVENT_STREAM, chunk(b"before"))
    async with Upstream(lambda _: steps()) as upstream:
        body = await opened(client, get(upstream, timeout_ms=1_000))
        await until_left(upstream)
        assert client.slots._shares == {}
        assert await following(body) == b"before"
        for _ in range(2):
            with pytest.raises(failures.Timeout, match="the answer took too long"):
                await following(body)


async def test_a_reader_that_waits_learns_of_the_timeout(client: OutboundClient) -> None:
    """As soon as it is there."""
    steps = Steps(EVENT_STREAM)
    async with Upstream(lambda _: steps()) as upstream:
        body = await opened(client, get(upstream, timeout_ms=1_000))
        with pytest.raises(failures.Timeout):
            await following(body)


async def test_a_silent_server_is_given_up(client: OutboundClient) -> None:
    """Long before the timeout, if it says nothing for as long as the limit allows; each piece begins anew."""
    steps = Steps(EVENT_STREAM, chunk(b"once"))
    async with Upstream(lambda _: steps()) as upstream:
        body = await opened(client, get(upstream, idle_ms=600))
        assert await following(body) == b"once"
        with pytest.raises(failures.Timeout, match="silent"):
            await following(body)
        await until_left(upstream)


async def test_no_more_than_the_limit_is_handed_out(client: OutboundClient) -> None:
    """Exactly as many bytes as it allows, then the failure; the connection is not read any further."""
    steps = Steps(EVENT_STREAM)
    async with Upstream(lambda _: steps()) as upstream:
        body = await opened(client, get(upstream, response_bytes=1000))
        for _ in range(3):
            steps.send(chunk(b"x" * 400))
        got = b""
        while len(got) < 1000:
            got += await following(body)
        assert got == b"x" * 1000
        with pytest.raises(failures.TooLarge):
            await following(body)
        await until_left(upstream)


async def test_a_body_that_nobody_reads_stops_the_server(client: OutboundClient) -> None:
    """Its pieces stay where they are: neither this host's memory nor its processor pays for them."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield EVENT_STREAM
        for _ in range(256):
            sent += 1
            yield chunk(bytes(1 << 20))

    async with Upstream(lambda _: endless()) as upstream:
        body = await opened(client, get(upstream, response_bytes=1 << 30))
        await settle(client, upstream)
        assert 0 < sent < 64  # what fits into the buffers of two sockets
        assert body._content._size < 1 << 20
        body.close()
        await until_left(upstream)


async def test_closing_ends_the_connection(client: OutboundClient) -> None:
    """Once, and the slots are free again; a body that is complete is not harmed by it."""
    allowance = Allowance(10, 1)
    async with Upstream(lambda _: Steps(EVENT_STREAM)()) as upstream:
        for number in range(1, 4):
            body = await opened(client, get(upstream), allowance)
            body.close()
            body.close()
            await until_left(upstream)
            upstream.left.clear()
            assert upstream.connections == number
    assert allowance.free


async def test_a_cancelled_reader_leaves_nothing_behind(client: OutboundClient) -> None:
    """Cancelled while it waits for the next piece."""
    async with Upstream(lambda _: Steps(EVENT_STREAM)()) as upstream:
        body = await opened(client, get(upstream))
        task = asyncio.ensure_future(body.collect())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until_left(upstream)


async def test_a_complete_body_gives_its_connection_back_before_it_is_read(client: OutboundClient) -> None:
    """The next request uses it while the guest still has the body before it, whole."""
    data = bytes(range(256)) * 300
    async with Upstream(lambda _: response(data)) as upstream:
        bodies = []
        for _ in range(3):
            answer = await client.open(get(upstream))
            while answer.rest is not None and client.slots._shares:
                await asyncio.sleep(0)
            bodies.append(answer)
        assert upstream.connections == 1
        for answer in bodies:
            assert (answer.body if answer.rest is None else await answer.rest.collect()) == data


async def test_bodies_that_are_open_count_as_requests(client: OutboundClient) -> None:
    """The next one waits for a slot as long as for a connection, and is then over the limit."""
    client.config = OutboundConfig(POLICY, connect_timeout_ms=700)
    allowance = Allowance(10, 2)
    async with Upstream(lambda _: Steps(EVENT_STREAM)()) as upstream:
        open_bodies = [await opened(client, get(upstream), allowance) for _ in range(2)]
        with pytest.raises(failures.LimitReached):
            await client.open(get(upstream), allowance)
        open_bodies[0].close()
        open_bodies.append(await opened(client, get(upstream), allowance))
        for body in open_bodies:
            body.close()


async def test_what_fails_part_way_is_counted(client: OutboundClient) -> None:
    """Like every other failure."""
    counted: list[str] = []
    client.on_error = counted.append
    steps = Steps(EVENT_STREAM)
    async with Upstream(lambda _: steps()) as upstream:
        body = await opened(client, get(upstream))
        steps.end(b"")
        with pytest.raises(failures.Interrupted):
            await following(body)
    assert counted == ["Interrupted"]


# -- connections that are used again


async def test_a_second_answer_that_nobody_asked_for_answers_nobody(client: OutboundClient) -> None:
    """The connection on which it came is not used again."""
    answers = iter([response(b"one") + response(b"forged", "200 OK", "x-forged: 1"), response(b"two")])
    async with Upstream(lambda _: next(answers)) as upstream:
        assert (await client.fetch(get(upstream))).body == b"one"
        assert (await client.fetch(get(upstream))).body == b"two"
        assert upstream.connections == 2


async def test_a_second_answer_that_comes_later_answers_nobody(client: OutboundClient) -> None:
    """Neither does what comes while the connection is idle."""
    steps = Steps(response(b"one"))
    answers = iter([steps(), response(b"two")])
    async with Upstream(lambda _: next(answers)) as upstream:
        assert (await client.fetch(get(upstream))).body == b"one"
        steps.send(response(b"forged"))
        await settle(client, upstream)
        assert (await client.fetch(get(upstream))).body == b"two"


@pytest.mark.parametrize(("method", "again"), [("GET", True), ("PUT", True), ("POST", False), ("PATCH", False)])
async def test_only_what_is_safe_is_sent_again(client: OutboundClient, method: str, again: bool) -> None:
    """A server that ends a connection at its second request may have acted on it: POST is not repeated."""

    def once(request: Received) -> Any:
        return response() if len(upstream.requests) in (1, 3) else Steps(b"")()

    async with Upstream(once) as upstream:
        await client.fetch(get(upstream, method=method, body=b"x"))
        ended = asyncio.ensure_future(client.fetch(get(upstream, method=method, body=b"x")))
        while len(upstream.requests) < 2:
            upstream.arrived.clear()
            await upstream.arrived.wait()
        for writer in list(upstream._writers):
            writer.transport.abort()
        if again:
            assert (await ended).body == b"hello"
        else:
            with pytest.raises(failures.Interrupted):
                await ended
        assert len(upstream.requests) == 2 + again
