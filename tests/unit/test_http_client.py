"""The outgoing HTTP client against real servers on loopback: what goes out, what comes back, and each way to fail."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator

import pytest

from guesthouse.cli.serve import outbound_of
from guesthouse.config import Outbound
from guesthouse.net import failures, pool
from guesthouse.net.client import OutboundClient, OutboundConfig, OutboundRequest
from guesthouse.net.policy import OutboundPolicy
from guesthouse.net.slots import Allowance
from upstream import Received, Upstream, response

pytestmark = pytest.mark.anyio
HOST = "upstream.example"
POLICY = OutboundPolicy.of(schemes=("http", "https"), overrides={HOST: "127.0.0.1", "other.example": "127.0.0.1"})


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
async def client() -> AsyncIterator[OutboundClient]:
    client = OutboundClient(OutboundConfig(POLICY, connect_timeout_ms=2_000))
    yield client
    await client.close()


def get(upstream: Upstream, path: str = "/", **changes: object) -> OutboundRequest:
    fields: dict[str, object] = {"method": "GET", "url": upstream.url(path, HOST), "timeout_ms": 5_000, **changes}
    return OutboundRequest(**fields)  # type: ignore[arg-type]


async def test_a_request_arrives_as_it_was_asked_for(client: OutboundClient) -> None:
    """Method, target, headers in order with duplicates, and body are the guest's; host and framing are ours."""
    headers = [("X-One", "1"), ("x-two", "2"), ("X-One", "3"), ("Host", "evil.example"), ("Content-Length", "99")]
    async with Upstream() as upstream:
        request = get(upstream, "/a%20b/ü?q=1&q=2", method="PATCH", headers=headers, body=b"body")
        assert (await client.fetch(request)).body == b"hello"
        (seen,) = upstream.requests
    assert seen.line == "PATCH /a%20b/%C3%BC?q=1&q=2 HTTP/1.1"
    assert seen.values("host") == [f"{HOST}:{upstream.port}"]
    assert [header for header in seen.headers if header[0].lower().startswith("x-")] == headers[:3]
    assert seen.values("content-length") == ["4"]
    assert seen.body == b"body"


async def test_spellings_of_one_name_do_not_replace_each_other(client: OutboundClient) -> None:
    """Header names have no case, so all of them go out, spelled as the first."""
    async with Upstream() as upstream:
        await client.fetch(get(upstream, headers=[("X-One", "1"), ("x-one", "2"), ("X-ONE", "3")]))
        assert [header for header in upstream.requests[0].headers if header[0].startswith("X")] == [
            ("X-One", "1"),
            ("X-One", "2"),
            ("X-One", "3"),
        ]


async def test_nothing_is_added_but_what_http_needs(client: OutboundClient) -> None:
    """A bare request carries host, accept and accept-encoding, no user agent and no content type."""
    async with Upstream() as upstream:
        await client.fetch(get(upstream))
        await client.fetch(get(upstream, method="POST", body=b"x"))
        first, second = upstream.requests
    assert sorted(name.lower() for name, _ in first.headers) == ["accept", "accept-encoding", "host"]
    assert first.values("accept-encoding") == ["identity"]
    assert sorted(name.lower() for name, _ in second.headers) == ["accept", "accept-encoding", "content-length", "host"]


async def test_the_guests_own_accept_encoding_is_kept(client: OutboundClient) -> None:
    """A guest that can inflate may ask for it."""
    async with Upstream() as upstream:
        await client.fetch(get(upstream, headers=[("accept-ENCODING", "gzip")]))
        assert upstream.requests[0].values("accept-encoding") == ["gzip"]


async def test_the_response_comes_back_as_it_was_sent(client: OutboundClient) -> None:
    """Names in lower case, in order, duplicates kept; values outside ASCII readable; any status is an answer."""
    answer = response(b"gone", "410 Gone", "Set-Cookie: a=1", "X-Name: caf\xe9", "set-cookie: b=2")
    async with Upstream(lambda _: answer) as upstream:
        result = await client.fetch(get(upstream))
    assert result.status == 410
    assert result.headers == [("set-cookie", "a=1"), ("x-name", "café"), ("set-cookie", "b=2"), ("content-length", "4")]


async def test_no_cookie_is_kept(client: OutboundClient) -> None:
    """What one response sets is not sent with the next request."""
    async with Upstream(lambda _: response(b"", "200 OK", "Set-Cookie: a=1; Path=/")) as upstream:
        await client.fetch(get(upstream))
        await client.fetch(get(upstream))
        assert upstream.requests[1].values("cookie") == []


async def test_nothing_is_inflated(client: OutboundClient) -> None:
    """A compressed body stays compressed, with its content-encoding: a bomb stays as small as it came (G21)."""
    bomb = gzip.compress(bytes(20_000_000))
    async with Upstream(lambda _: response(bomb, "200 OK", "Content-Encoding: gzip")) as upstream:
        result = await client.fetch(get(upstream, response_bytes=len(bomb)))
    assert result.body == bomb
    assert ("content-encoding", "gzip") in result.headers


async def test_no_proxy_is_taken_from_the_environment(client: OutboundClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxy variables and netrc of the host's environment do not reach guests' requests."""
    async with Upstream() as proxy, Upstream() as upstream:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url())
        await client.fetch(get(upstream))
        assert (proxy.connections, upstream.connections) == (0, 1)


async def test_connections_are_used_again_by_the_same_function_only(client: OutboundClient) -> None:
    """Two requests of one function share a connection; another function gets its own."""
    async with Upstream() as upstream:
        for owner in (("a", "f"), ("a", "f"), ("a", "g"), ("b", "f")):
            await client.fetch(get(upstream, owner=owner))
        assert upstream.connections == 3


async def test_a_connection_is_not_used_again_under_another_policy(client: OutboundClient) -> None:
    """A connection that one policy allowed is of no use to a request under a stricter one."""
    async with Upstream() as upstream:
        await client.fetch(get(upstream))
        with pytest.raises(failures.ConnectionFailed):
            await client.fetch(get(upstream), policy=OutboundPolicy.of(schemes=("http",)))
        assert upstream.connections == 1


async def test_idle_connections_are_bounded(client: OutboundClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many hosts in a row do not leave many sockets open."""
    monkeypatch.setattr(pool, "MAX_IDLE", 4)
    async with Upstream() as upstream:
        for number in range(12):
            await client.fetch(get(upstream, owner=("a", f"f{number}")))
        assert client._session is not None
        assert isinstance(client._session.connector, pool.Pool)
        assert client._session.connector.idle == 4


@pytest.mark.parametrize("size", [0, 1, 65_536, 5_000_000])
async def test_bodies_of_any_size_go_both_ways(client: OutboundClient, size: int) -> None:
    """Large bodies are complete in both directions."""
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    async with Upstream(lambda request: response(request.body)) as upstream:
        result = await client.fetch(get(upstream, method="PUT", body=body))
    assert result.body == body


async def test_chunked_and_unframed_bodies_are_read_to_their_end(client: OutboundClient) -> None:
    """A body may end by its chunks or by the end of the connection."""
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    unframed = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabcde"
    async with Upstream(lambda _: chunked) as first, Upstream(lambda _: unframed, close_after=True) as second:
        assert (await client.fetch(get(first))).body == b"abcde"
        assert (await client.fetch(get(second))).body == b"abcde"


async def test_head_and_no_content_have_no_body(client: OutboundClient) -> None:
    """A HEAD answer's content-length, however large, promises no body."""
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n"
    async with Upstream(lambda _: answer) as upstream:
        assert (await client.fetch(get(upstream, method="HEAD"))).body == b""
    async with Upstream(lambda _: b"HTTP/1.1 204 No Content\r\n\r\n") as upstream:
        assert (await client.fetch(get(upstream))).status == 204


async def test_a_stale_connection_is_replaced_for_repeatable_methods(client: OutboundClient) -> None:
    """A server that closed an idle connection costs a GET nothing."""
    async with Upstream(close_after=True) as upstream:
        for _ in range(3):
            assert (await client.fetch(get(upstream))).status == 200


async def test_a_body_over_the_limit_is_refused_by_its_length_and_by_its_bytes(client: OutboundClient) -> None:
    """Announced or not, no more than the limit is taken."""
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"400\r\n" + bytes(1024) + b"\r\n"
    async with Upstream(lambda _: response(bytes(2000))) as upstream:
        with pytest.raises(failures.TooLarge):
            await client.fetch(get(upstream, response_bytes=1999))
    async with Upstream(lambda _: chunked * 1) as upstream:
        with pytest.raises(failures.TooLarge):
            await client.fetch(get(upstream, response_bytes=1023))


async def test_the_next_address_is_tried_where_nobody_listens() -> None:
    """All addresses of a name were checked, and any of them will do."""

    class Both:
        async def resolve(self, host: str) -> list[str]:
            return ["::1", "127.0.0.2", "127.0.0.1"]

    policy = OutboundPolicy.of(schemes=("http",), allow_addresses=["127.0.0.0/8", "::1/128"])
    client = OutboundClient(OutboundConfig(policy), resolver=Both())
    async with Upstream() as upstream:
        assert (await client.fetch(get(upstream))).status == 200
    await client.close()


async def test_no_answer_in_time_is_a_timeout(client: OutboundClient) -> None:
    """A server that accepts and stays silent, or stops in the middle of a body."""
    half = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"
    for answer in (None, half):
        async with Upstream(lambda _, answer=answer: answer) as upstream:  # type: ignore[misc]
            with pytest.raises(failures.Timeout):
                await client.fetch(get(upstream, timeout_ms=400))


async def test_no_connection_in_time_is_a_connect_timeout() -> None:
    """A name server that does not answer, seen by both bounds."""

    class Silent:
        async def resolve(self, host: str) -> list[str]:
            await asyncio.Event().wait()
            return []

    for connect_ms, total_ms in ((30, 5_000), (5_000, 30)):
        client = OutboundClient(OutboundConfig(connect_timeout_ms=connect_ms), resolver=Silent())
        with pytest.raises(failures.ConnectTimeout):
            await client.fetch(OutboundRequest("GET", "http://slow.example/", timeout_ms=total_ms))
        await client.close()


async def test_nobody_there_is_connection_failed(client: OutboundClient) -> None:
    """A closed port, and a name without an address."""
    async with Upstream() as upstream:
        pass
    with pytest.raises(failures.ConnectionFailed) as caught:
        await client.fetch(get(upstream))
    assert str(caught.value) == "the connection could not be made"

    class Nowhere:
        async def resolve(self, host: str) -> list[str]:
            raise OSError("no such host")

    client = OutboundClient(resolver=Nowhere())
    with pytest.raises(failures.ConnectionFailed):
        await client.fetch(OutboundRequest("GET", "http://nowhere.example/"))
    await client.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"a" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 5_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nx: a\x01b\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    ],
    ids=["ssh", "status", "header", "length", "chunk", "long-header", "many-headers", "control", "switching"],
)
async def test_what_is_not_http_is_malformed(client: OutboundClient, answer: bytes) -> None:
    """Nonsense from a server is one stable error."""
    async with Upstream(lambda _: answer, close_after=True) as upstream:
        with pytest.raises(failures.Malformed) as caught:
            await client.fetch(get(upstream))
    assert str(caught.value) == "the answer is not valid HTTP"


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"])
async def test_a_connection_that_ends_early_is_interrupted(client: OutboundClient, answer: bytes) -> None:
    """Before the answer, and in the middle of it."""
    async with Upstream(lambda _: answer, close_after=True) as upstream:
        with pytest.raises(failures.Interrupted):
            await client.fetch(get(upstream, method="POST"))


async def test_only_methods_without_tunnels_go_out(client: OutboundClient) -> None:
    """CONNECT and what is not a token are refused before any connection."""
    async with Upstream() as upstream:
        for method in ("CONNECT", "connect", "", "G ET", "GET\r\n", "A" * 33, "G\u00c9T"):
            with pytest.raises(failures.InvalidMethod):
                await client.fetch(get(upstream, method=method))
        assert upstream.connections == 0


async def test_a_cancelled_request_leaves_nothing_behind(client: OutboundClient) -> None:
    """Cancelling closes the connection and gives the slots back."""
    allowance = Allowance(10, 1)
    async with Upstream(lambda request: None if "hang" in request.line else response()) as upstream:
        task = asyncio.create_task(client.fetch(get(upstream, "/hang"), allowance))
        await upstream.arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await client.fetch(get(upstream), allowance)).status == 200
        assert upstream.connections == 2
    assert client.slots._shares == {}


async def test_requests_of_one_invocation_are_counted() -> None:
    """The allowance is spent by requests that fail, too."""
    client = OutboundClient(OutboundConfig(POLICY))
    allowance = Allowance(3, 2)
    async with Upstream() as upstream:
        for _ in range(3):
            await client.fetch(get(upstream), allowance)
        with pytest.raises(failures.LimitReached, match="of this invocation"):
            await client.fetch(get(upstream), allowance)
    await client.close()


async def test_simultaneous_lookups_of_one_name_are_one() -> None:
    """Requests share an answer while it is being asked for, and never afterwards."""
    asked = 0

    class Counting:
        async def resolve(self, host: str) -> list[str]:
            nonlocal asked
            asked += 1
            await asyncio.sleep(0)
            return ["127.0.0.1"]

    policy = OutboundPolicy.of(schemes=("http",), allow_addresses=["127.0.0.1/32"])
    client = OutboundClient(OutboundConfig(policy), resolver=Counting())
    async with Upstream() as upstream:
        requests = [OutboundRequest("GET", upstream.url("/", "a.example"), owner=("a", f"f{n}")) for n in range(5)]
        await asyncio.gather(*(client.fetch(request) for request in requests))
        assert asked == 1
        await client.fetch(OutboundRequest("GET", upstream.url("/", "a.example"), owner=("a", "other")))
        assert asked == 2
        assert upstream.connections == 6
    await client.close()


async def test_one_function_cannot_take_all_lookups() -> None:
    """Lookups that a function gave up waiting for still count against it, and against nobody else."""
    never = asyncio.Event()

    class Stuck:
        async def resolve(self, host: str) -> list[str]:
            if host.startswith("stuck"):
                await never.wait()
            return ["127.0.0.1"]

    policy = OutboundPolicy.of(schemes=("http",), allow_addresses=["127.0.0.1/32"])
    client = OutboundClient(OutboundConfig(policy), resolver=Stuck())
    async with Upstream() as upstream:

        async def ask(host: str, name: str, timeout_ms: int = 20) -> object:
            request = OutboundRequest("GET", upstream.url("/", host), owner=("a", name), timeout_ms=timeout_ms)
            return await client.fetch(request)

        for number in range(8):
            with pytest.raises(failures.ConnectTimeout):
                await ask(f"stuck{number}.example", "bad")
        with pytest.raises(failures.LimitReached):
            await ask("stuck-again.example", "bad")
        await ask("fine.example", "good", 10_000)
    await client.close()


async def test_a_request_that_the_server_answers_early_does_not_hang(client: OutboundClient) -> None:
    """A 413 before the body was read is the answer, and the connection is not used again."""

    def early(request: Received) -> bytes:
        return response(b"", "413 Content Too Large", "connection: close")

    async with Upstream(early, close_after=True) as upstream:
        assert (await client.fetch(get(upstream, method="POST", body=b"x" * 1000))).status == 413


async def test_what_is_configured_is_what_the_client_does() -> None:
    """Every setting of the section `[outbound]`."""
    settings = Outbound(
        schemes=("http",),
        hosts=("a.example",),
        allow_addresses=("10.0.0.0/8",),
        overrides={HOST: "127.0.0.1"},
        connections=8,
    )
    client = OutboundClient(outbound_of(settings))
    changes = {"hosts": ["a.example"], "allow_addresses": ["10.0.0.0/8"], "overrides": {HOST: "127.0.0.1"}}
    assert client.policy == OutboundPolicy.of(schemes=("http",), **changes)  # type: ignore[arg-type]
    assert (client.slots.total, client.config.ca_file) == (8, None)
    await client.close()
