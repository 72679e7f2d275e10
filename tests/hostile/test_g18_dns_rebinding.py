"""G18: a name is resolved once for a request, all its answers are judged, and only those are connected to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from itertools import chain, repeat

import pytest

from guesthouse.net import pool
from guesthouse.net.client import OutboundClient, OutboundConfig, OutboundRequest
from guesthouse.net.failures import OutboundError
from guesthouse.net.policy import PUBLIC, OutboundPolicy
from upstream import Upstream, response

PUBLIC_ADDRESS = "93.184.216.34"
INSIDE = "127.0.0.1"


class Scripted:
    """A resolver that answers from a script, one line for each question."""

    def __init__(self, answers: Iterator[Sequence[str]]) -> None:
        self.answers = answers
        self.asked = 0

    async def resolve(self, host: str) -> Sequence[str]:
        self.asked += 1
        return next(self.answers)


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every address that a socket was made for; those outside this machine are refused without leaving it."""
    seen: list[str] = []
    checked = pool.checked_socket

    def offline(addr_info: tuple[object, ...]) -> socket.socket:
        made = checked(addr_info)
        address = addr_info[4][0]  # type: ignore[index]
        seen.append(address)
        if address != INSIDE:
            made.close()
            raise ConnectionRefusedError("not in a test")
        return made

    monkeypatch.setattr(pool, "checked_socket", offline)
    return seen


async def fetch(client: OutboundClient, url: str) -> str:
    try:
        await client.fetch(OutboundRequest("GET", url, timeout_ms=2_000))
    except OutboundError as error:
        return str(error)
    return "passed"


def test_an_answer_that_changes_is_judged_again(connected: list[str]) -> None:
    """First a public address, then loopback: the first is connected to, the second never."""

    async def attack() -> None:
        resolver = Scripted(chain([[PUBLIC_ADDRESS]], repeat([INSIDE])))
        async with Upstream() as inside:
            client = OutboundClient(resolver=resolver)
            url = f"http://rebind.example:{inside.port}/"
            assert await fetch(client, url) == "the connection could not be made"
            for _ in range(50):
                assert await fetch(client, url) == "destination prohibited"
            assert inside.connections == 0
            assert (connected, resolver.asked) == ([PUBLIC_ADDRESS], 51)
            await client.close()

    asyncio.run(attack())


@pytest.mark.parametrize(
    "answers",
    [
        [PUBLIC_ADDRESS, INSIDE],
        [INSIDE, PUBLIC_ADDRESS],
        [PUBLIC_ADDRESS, "::1"],
        [PUBLIC_ADDRESS, "::ffff:127.0.0.1"],
        ["2606:4700::1111", PUBLIC_ADDRESS, "10.0.0.1"],
        [*(f"93.184.216.{n}" for n in range(1, 200)), INSIDE],
    ],
    ids=lambda answers: f"{len(answers)}-{answers[-1]}",
)
def test_one_address_inside_refuses_the_whole_name(connected: list[str], answers: list[str]) -> None:
    """Mixed answers are not filtered but refused: nothing at all is connected to."""

    async def attack() -> None:
        async with Upstream() as inside:
            client = OutboundClient(resolver=Scripted(repeat(answers)))
            assert await fetch(client, f"http://mixed.example:{inside.port}/") == "destination prohibited"
            assert (inside.connections, connected) == (0, [])
            await client.close()

    asyncio.run(attack())


def test_alternating_answers_never_reach_inside(connected: list[str]) -> None:
    """A thousand requests at once against a resolver that flips between outside and inside."""

    async def attack() -> None:
        flips = chain.from_iterable(repeat(([PUBLIC_ADDRESS], [INSIDE], [PUBLIC_ADDRESS, INSIDE])))
        async with Upstream() as inside:
            client = OutboundClient(OutboundConfig(connections=64), resolver=Scripted(flips))
            urls = [f"http://n{n}.flip.example:{inside.port}/" for n in range(1_000)]
            owners = [("t", f"f{n % 97}") for n in range(1_000)]
            requests = [OutboundRequest("GET", url, owner=owner) for url, owner in zip(urls, owners, strict=True)]
            results = await asyncio.gather(*(client.fetch(request) for request in requests), return_exceptions=True)
            assert not [result for result in results if not isinstance(result, OutboundError)]
            assert inside.connections == 0
            assert set(connected) == {PUBLIC_ADDRESS}
            await client.close()

    asyncio.run(attack())


def test_a_retry_does_not_ask_again() -> None:
    """A second connection for the same request goes to the addresses that were judged for it."""

    async def attack() -> None:
        resolver = Scripted(iter([[INSIDE]]))  # a second question would end the script, and the test
        policy = OutboundPolicy.of(schemes=("http",), allow_addresses=["127.0.0.0/8"])
        answers = iter([b"", response()])  # closed without an answer: the client tries once more
        async with Upstream(lambda _: next(answers), close_after=True) as upstream:
            client = OutboundClient(OutboundConfig(policy), resolver=resolver)
            assert await fetch(client, f"http://retry.example:{upstream.port}/") == "passed"
            assert (upstream.connections, resolver.asked) == (2, 1)
            await client.close()

    asyncio.run(attack())


@pytest.mark.parametrize("address", [INSIDE, "::1", "10.0.0.1", "8.8.8.8"])
def test_a_socket_is_only_made_for_a_pinned_address(address: str) -> None:
    """The second check stands on its own: whatever a library resolves, only judged addresses get a socket."""
    exchange = pool.Exchange(PUBLIC.check("http://pinned.example/", "GET"), PUBLIC, ("t", "f"))
    exchange.addresses = [ip_address(PUBLIC_ADDRESS)]
    token = pool.EXCHANGE.set(exchange)
    try:
        with pytest.raises(PermissionError):
            pool.checked_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)))
        with pytest.raises(PermissionError):
            pool.checked_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", (PUBLIC_ADDRESS, 81)))
        assert exchange.prohibited
        pool.checked_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", (PUBLIC_ADDRESS, 80))).close()
    finally:
        pool.EXCHANGE.reset(token)


def test_a_pinned_address_inside_is_still_refused() -> None:
    """Even an address that stands in the exchange is judged again when the socket is made."""
    exchange = pool.Exchange(PUBLIC.check("http://pinned.example/", "GET"), PUBLIC, ("t", "f"))
    exchange.addresses = [ip_address(INSIDE)]
    token = pool.EXCHANGE.set(exchange)
    try:
        with pytest.raises(PermissionError):
            pool.checked_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", (INSIDE, 80)))
    finally:
        pool.EXCHANGE.reset(token)
