"""`GuestValkey`: which servers guests reach, under which policy, and what one function leaves for the others."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from guesthouse.errors import BadRequest
from guesthouse.net import failures, valkey_guests
from guesthouse.net.policy import OutboundPolicy
from guesthouse.net.resp import Budget, Reply, SimpleString
from guesthouse.net.slots import Slots
from guesthouse.net.valkey import ValkeyClient, tls_context
from guesthouse.net.valkey_guests import Call, GuestValkey, check_server
from guesthouse.net.valkey_url import parse_server
from resp_server import RespServer
from valkey_server import ValkeyServer

pytestmark = pytest.mark.anyio
OPEN = OutboundPolicy.of(allow_addresses=("127.0.0.0/8",))
ME = ("default", "me")
PONG = [SimpleString(b"PONG")]
PATIENCE = 20


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


def ask(*command: bytes, owner: tuple[str, str] = ME, timeout_ms: int = 20_000) -> Call:
    return Call([list(command or (b"PING",))], owner, timeout_ms, Budget(1 << 20))


class Names:
    """A resolver that answers what a test says, and counts."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def resolve(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
async def make() -> AsyncIterator[Callable[..., GuestValkey]]:
    made: list[GuestValkey] = []

    def build(
        policy: OutboundPolicy = OPEN, names: Names | None = None, clusters: dict[str, str] | None = None
    ) -> GuestValkey:
        made.append(GuestValkey(lambda: policy, clusters, resolver=names))
        return made[-1]

    yield build
    for one in made:
        await one.close()


# -- where


@pytest.mark.parametrize(
    ("hosts", "url", "allowed"),
    [
        (None, "redis://cache.example.com", True),
        (None, "redis://93.184.215.14:1234", True),
        (None, "redis://cache", False),
        (None, "redis://cache.internal", False),
        (None, "redis://localhost", False),
        (None, "redis://10.0.0.1", False),
        (None, "redis://[::ffff:10.0.0.1]", False),
        (None, "redis://169.254.169.254:80", False),
        (None, "unix:///run/valkey.sock", False),
        (("cache.example.com:6379",), "redis://cache.example.com", True),
        (("cache.example.com:6379",), "rediss://cache.example.com/3", True),
        (("cache.example.com:6379",), "redis://cache.example.com:6380", False),
        (("cache.example.com",), "redis://cache.example.com", False),
        (("*.example.com:*",), "redis://a.example.com:7000", True),
        (("*.example.com:*",), "redis://a.example.org:7000", False),
        (("*",), "redis://cache.example.com", False),
        (("https://cache.example.com:6379",), "rediss://cache.example.com", False),
        (("GET cache.example.com:6379",), "redis://cache.example.com", False),
        ((), "redis://cache.example.com", False),
    ],
)
def test_the_outbound_policy_decides_about_servers(hosts: tuple[str, ...] | None, url: str, allowed: bool) -> None:
    """A list of hosts has to name the server with its port; rules for HTTP alone do not count."""
    policy = OutboundPolicy.of(schemes=("http",), hosts=hosts)
    if allowed:
        check_server(policy, parse_server(url))
        return
    with pytest.raises((failures.Prohibited, failures.InvalidUrl)):
        check_server(policy, parse_server(url))


async def test_a_name_is_resolved_once_and_its_address_connected_to(
    make: Callable[..., GuestValkey], valkey_server: ValkeyServer
) -> None:
    """An answer that would change is never asked for again while the connection lasts."""
    names = Names(["127.0.0.1"], ["10.0.0.1"])
    guests = make(names=names)
    for _ in range(3):
        assert await guests.to_url(f"redis://cache.example:{valkey_server.port}", ask()) == PONG
    assert names.asked == ["cache.example"]


@pytest.mark.parametrize("answer", [["10.0.0.1"], ["93.184.215.14", "10.0.0.1"], ["::1"], ["::ffff:169.254.169.254"]])
async def test_a_name_with_only_one_denied_address_is_not_connected_to(
    make: Callable[..., GuestValkey], answer: list[str]
) -> None:
    """Whatever the others are."""
    guests = make(OutboundPolicy.of(), Names(answer))
    with pytest.raises(failures.Prohibited):
        await guests.to_url("redis://cache.example.com", ask())


async def test_a_name_that_changes_its_address_is_judged_again(make: Callable[..., GuestValkey]) -> None:
    """For each new connection."""
    async with RespServer(lambda command: b":1\r\n") as server:
        server.close_after = b"GET"
        guests = make(names=Names(["127.0.0.1"], ["10.0.0.1"]))
        url = f"redis://cache.example:{server.port}"
        assert await guests.to_url(url, ask(b"GET", b"k")) == [1]
        async with asyncio.timeout(PATIENCE):
            await server.left.wait()
        with pytest.raises((failures.Prohibited, failures.Interrupted)):
            await guests.to_url(url, ask(b"GET", b"k"))
        with pytest.raises(failures.Prohibited):
            await guests.to_url(url, ask(b"GET", b"k"))
        assert server.connections == 1


async def test_addresses_are_tried_one_after_the_other(
    make: Callable[..., GuestValkey], valkey_server: ValkeyServer
) -> None:
    """Nobody is at the first one."""
    guests = make(names=Names(["127.0.0.9", "127.0.0.1"]))
    assert await guests.to_url(f"redis://cache.example:{valkey_server.port}", ask()) == PONG
    with pytest.raises(failures.ConnectionFailed):
        await make(names=Names(["127.0.0.9"])).to_url(f"redis://cache.example:{valkey_server.port}", ask())


async def test_an_override_replaces_the_lookup(make: Callable[..., GuestValkey], valkey_server: ValkeyServer) -> None:
    """As for HTTP: for development and tests."""
    names = Names(["10.0.0.1"])
    guests = make(OutboundPolicy.of(overrides={"cache.test": "127.0.0.1"}), names)
    assert await guests.to_url(f"redis://cache.test:{valkey_server.port}", ask()) == PONG
    assert names.asked == []


async def test_a_policy_that_changes_holds_for_the_next_call(valkey_server: ValkeyServer) -> None:
    """Connections made under the old one are not used."""
    policy = [OPEN]
    guests = GuestValkey(lambda: policy[0])
    assert await guests.to_url(valkey_server.url, ask()) == PONG
    policy[0] = OutboundPolicy.of()
    with pytest.raises(failures.Prohibited):
        await guests.to_url(valkey_server.url, ask())
    await guests.close()


# -- who


async def test_functions_do_not_share_connections_to_servers_that_they_name(make: Callable[..., GuestValkey]) -> None:
    """But use their own again."""
    async with RespServer(lambda command: b":1\r\n") as server:
        guests = make()
        for _ in range(2):
            for owner in (ME, ("default", "other"), ("other", "me")):
                await guests.to_url(server.url, ask(b"GET", b"k", owner=owner))
        assert server.connections == 3


async def test_connections_kept_for_later_are_few(
    make: Callable[..., GuestValkey], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The least recently used server's are ended."""
    monkeypatch.setattr(valkey_guests, "MOST_CLIENTS", 4)
    async with RespServer(lambda command: b":1\r\n") as server:
        guests = make()
        for database in range(10):
            await guests.to_url(f"{server.url}/{database}", ask(b"GET", b"k"))
        async with asyncio.timeout(PATIENCE):
            while server.open > 4:
                await asyncio.sleep(0.001)
        assert server.connections == 10
        await guests.to_url(f"{server.url}/9", ask(b"GET", b"k"))
        assert server.connections == 10


async def test_a_function_that_holds_its_connections_leaves_room_for_others(
    make: Callable[..., GuestValkey], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarter of a cluster's for one function; who has to wait too long is told so."""
    monkeypatch.setattr(valkey_guests, "CLUSTER_CONNECTIONS", 8)

    def answer(command: list[bytes]) -> bytes | None:
        return None if command[0] == b"BLPOP" else b":1\r\n"

    async with RespServer(answer) as server:
        guests = make(clusters={"main": server.url})
        holding = [asyncio.ensure_future(guests.to_cluster("main", ask(b"BLPOP"))) for _ in range(20)]
        async with asyncio.timeout(PATIENCE):
            while server.commands.count([b"BLPOP"]) < 2:
                await asyncio.sleep(0.001)
        assert await guests.to_cluster("main", ask(b"GET", b"k", owner=("default", "other"))) == [1]
        with pytest.raises(failures.LimitReached):
            await guests.to_cluster("main", ask(b"GET", b"k", timeout_ms=20))
        assert server.commands.count([b"BLPOP"]) == 2
        for task in holding:
            task.cancel()
        await asyncio.gather(*holding, return_exceptions=True)
        assert await guests.to_cluster("main", ask(b"GET", b"k")) == [1]


async def test_a_connection_that_is_one_too_many_is_not_made(make: Callable[..., GuestValkey]) -> None:
    """Whoever counts them may prevent it."""

    def refuse() -> None:
        raise failures.LimitReached

    async with RespServer(lambda command: b":1\r\n") as server:
        guests = make(clusters={"main": server.url})
        call = Call([[b"GET", b"k"]], ME, 20_000, Budget(1 << 20), refuse)
        for replies in (guests.to_cluster("main", call), guests.to_url(server.url, call)):
            with pytest.raises(failures.LimitReached):
                await replies
        assert server.connections == 0


# -- clusters


async def test_clusters_are_where_the_configuration_says(make: Callable[..., GuestValkey]) -> None:
    """Inside as well, for whoever configures them is not a guest."""
    replies: list[list[Reply]] = []
    async with RespServer(lambda command: b":1\r\n") as one, RespServer(lambda command: b":2\r\n") as two:
        guests = make(OutboundPolicy.of(), clusters={"one": one.url, "two": two.url})
        assert guests.clusters == ("one", "two")
        for name in guests.clusters:
            replies.append(await guests.to_cluster(name, ask(b"GET", b"k")))
        with pytest.raises(KeyError):
            await guests.to_cluster("three", ask())
    assert replies == [[1], [2]]


@pytest.mark.parametrize("url", ["", "http://cache.example", "redis://u:secret@"])
def test_a_cluster_without_a_valid_url_is_refused_at_the_start(url: str) -> None:
    """By its name, and without the URL, which may hold a password."""
    with pytest.raises(BadRequest, match="the Valkey cluster 'main'") as raised:
        GuestValkey(lambda: OPEN, {"main": url})
    assert "secret" not in str(raised.value)


async def test_a_client_that_was_forgotten_while_its_function_waited_keeps_no_connection(
    make: Callable[..., GuestValkey], valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever gets a turn late looks its client up then, so that the end of the host ends every connection."""
    made: list[ValkeyClient] = []

    class Counted(ValkeyClient):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            made.append(self)

    monkeypatch.setattr(valkey_guests, "ValkeyClient", Counted)
    monkeypatch.setattr(valkey_guests, "MOST_CLIENTS", 1)
    valkey = make()
    valkey._slots = Slots(4)  # one for each function
    await valkey._slots.acquire(ME)
    late = asyncio.create_task(valkey.to_url(valkey_server.url, ask()))
    await asyncio.sleep(0)
    for name in ("a", "b"):
        assert await valkey.to_url(valkey_server.url, ask(owner=("default", name))) == PONG
    valkey._slots.release(ME)
    async with asyncio.timeout(PATIENCE):
        assert await late == PONG
    await valkey.close()
    assert [client.idle for client in made] == [0] * len(made)


async def test_a_new_url_with_tls_does_not_read_the_certificates_again(
    make: Callable[..., GuestValkey], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds up the loop for many milliseconds, and a guest may name ten thousand servers."""
    contexts: list[ssl.SSLContext] = []
    create = ssl.create_default_context

    def counted() -> ssl.SSLContext:
        contexts.append(create())
        return contexts[-1]

    monkeypatch.setattr(ssl, "create_default_context", counted)
    tls_context.cache_clear()
    valkey = make(OPEN)
    for database in range(5):
        with pytest.raises(failures.OutboundError):
            await valkey.to_url(f"rediss://127.0.0.1:1/{database}", ask())
    assert len(contexts) == 1
