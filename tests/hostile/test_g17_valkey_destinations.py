"""G17: no guest reaches an address inside through a connection URL of Valkey, however it is spelled."""

from __future__ import annotations

import asyncio
import json

import pytest

from guesthouse.net.failures import InvalidUrl, OutboundError, Prohibited
from guesthouse.net.policy import PUBLIC
from guesthouse.net.resp import Budget
from guesthouse.net.valkey_guests import Call, GuestValkey
from resp_server import RespServer
from ssrf_vectors import HOSTS, INSIDE_V4, INSIDE_V6, TRICKS
from support import FORMS, host_with

VECTORS = list(
    dict.fromkeys(
        [
            *(f"redis://{host}" for host in HOSTS),
            *(f"rediss://user:pw@{host}:443/1" for host in HOSTS),
            *(trick.replace("http", "redis", 1).rstrip("/") for trick in TRICKS),
            *(trick.replace("http", "valkey", 1) for trick in TRICKS),
        ]
    )
)


class Inside:
    """A resolver for which every name is one of the given addresses, behind a public one."""

    def __init__(self, address: str) -> None:
        self.address = address

    async def resolve(self, host: str) -> list[str]:
        return ["93.184.215.14", self.address]


def ask(url: str, resolver: Inside | None = None) -> str:
    """The class of the error that asking a server at `url` ends with."""

    async def work() -> str:
        guests = GuestValkey(lambda: PUBLIC, resolver=resolver or Inside("10.0.0.1"))
        try:
            await guests.to_url(url, Call([[b"PING"]], ("default", "guest"), 1_000, Budget(1_000)))
        except OutboundError as error:
            return type(error).__name__
        finally:
            await guests.close()
        raise AssertionError(f"{url!r} was reached")

    return asyncio.run(work())


@pytest.mark.parametrize("url", VECTORS)
def test_no_spelling_of_an_inside_address_gets_through(url: str) -> None:
    """Refused by its name or as no URL at all, before any socket is opened: names would have an address inside too."""
    assert ask(url) in (Prohibited.__name__, InvalidUrl.__name__)


@pytest.mark.parametrize("address", [*INSIDE_V4, *INSIDE_V6])
def test_no_public_name_stands_for_an_inside_address(address: str) -> None:
    """Nor if another one of its addresses is public."""
    assert ask("redis://cache.example.com", Inside(address)) == Prohibited.__name__


@pytest.mark.parametrize("form", FORMS)
def test_a_guest_gets_an_error_and_the_server_inside_no_connection(form: str) -> None:
    """By address, by name, by a cluster's name that is a URL."""

    async def listen() -> None:
        async with RespServer(lambda command: b"+OK\r\n") as server:
            urls = [server.url, server.url.replace("127.0.0.1", "localhost"), server.url.replace("127.0.0.1", "[::1]")]
            urls += [server.url.replace("127.0.0.1", host) for host in ("2130706433", "127.1", "[::ffff:127.0.0.1]")]
            await asyncio.to_thread(attack, urls)
            assert server.connections == 0

    def attack(urls: list[str]) -> None:
        with host_with("old-redis-calls", form=form) as host:
            for url in urls:
                for order in ({"url": url}, {"cluster": url}):
                    body = json.dumps({**order, "commands": [["FLUSHALL"]]}).encode()
                    answer = json.loads(host.invoke("old-redis-calls", body).body)
                    error = answer["other"] if "url" in order else answer[0]["other"]
                    assert "prohibited" in error or "there is no cluster" in error

    asyncio.run(listen())
