"""G18: answers of DNS that change between question and connection, or hold more than one address, asked for by a guest."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from itertools import chain, cycle, repeat
from typing import Any

import pytest

from guesthouse import Host
from guesthouse.net import pool
from guesthouse.net.policy import PUBLIC as PUBLIC_ONLY
from harness import often
from http_guests import FORMS, http_host, resolving, send, steps, upstream_of
from probes import redeploy
from ssrf_vectors import INSIDE

PUBLIC = "93.184.216.34"
LOOPBACK = "127.0.0.1"
PROHIBITED = {"error": ["request-error", "destination prohibited"]}
NOT_THERE = {"error": ["connection-failed", "the connection could not be made"]}


class Scripted:
    """A resolver that answers the questions for each name from a script of its own."""

    def __init__(self, script: Any) -> None:
        self.script = script
        self.scripts: dict[str, Any] = {}
        self.asked: Counter[str] = Counter()

    async def resolve(self, host: str) -> list[str]:
        self.asked[host] += 1
        return list(next(self.scripts.setdefault(host, iter(self.script(host)))))


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Every address that a socket was made for; those outside this machine are refused without leaving it."""
    seen: Counter[str] = Counter()
    checked = pool.checked_socket

    def offline(addr_info: tuple[Any, ...]) -> socket.socket:
        made = checked(addr_info)
        seen[addr_info[4][0]] += 1
        made.close()
        raise ConnectionRefusedError("not in a test")

    monkeypatch.setattr(pool, "checked_socket", offline)
    return seen


@pytest.fixture(scope="module", params=FORMS)
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    with http_host(request.param, "http-calls", policy=PUBLIC_ONLY) as host:
        redeploy(host, "http-calls", http_requests=1 << 20)
        yield host


def ask(host: Host, resolver: Any, urls: list[str]) -> list[Any]:
    """What a guest is told about `urls`, a hundred in one invocation; a server listens on PORT of this machine."""
    with upstream_of(host) as inside, resolving(host, resolver):
        order = [send(url.replace("PORT", str(inside.port)), timeout_ms=20_000) for url in urls]
        found = [answer for at in range(0, len(urls), 100) for answer in steps(host, *order[at : at + 100])]
        assert inside.connections == 0
    return found


def test_an_answer_that_turns_inside_is_never_connected_to(host: Host, connected: Counter[str]) -> None:
    """For each range: first a public address, then one inside; the name is asked for once for each request."""
    resolver = Scripted(lambda host: chain([[PUBLIC]], repeat([INSIDE[int(host.split(".")[0][1:])]])))
    urls = [f"http://a{number}.rebind.example:PORT/" for number in range(len(INSIDE)) for _ in range(3)]
    answers = ask(host, resolver, urls)
    assert answers == [NOT_THERE, PROHIBITED, PROHIBITED] * len(INSIDE)
    assert connected == {PUBLIC: len(INSIDE)}
    assert set(resolver.asked.values()) == {3}


@pytest.mark.parametrize("place", ["first", "last", "middle"])
def test_one_address_inside_refuses_the_whole_name(host: Host, place: str, connected: Counter[str]) -> None:
    """Of any range, among public ones: nothing is connected to, not even those."""

    def script(host: str) -> Any:
        inside = INSIDE[int(host.split(".")[0][1:])]
        answers = {"first": [inside, PUBLIC], "last": [PUBLIC, inside], "middle": [PUBLIC, inside, "2606:4700::1111"]}
        return repeat(answers[place])

    urls = [f"http://a{number}.mixed.example:PORT/" for number in range(len(INSIDE))]
    assert ask(host, Scripted(script), urls) == [PROHIBITED] * len(INSIDE)
    assert not connected


def test_an_answer_that_keeps_changing_is_judged_each_time(host: Host, connected: Counter[str]) -> None:
    """A hundred thousand flips in the long run: none of them is connected to."""
    resolver = Scripted(lambda host: cycle(([PUBLIC], [LOOPBACK], [PUBLIC, LOOPBACK], ["::1"], ["::ffff:127.0.0.1"])))
    # Twenty of each name: where nobody has answered for longer, the host does not ask any more.
    answers = ask(host, resolver, [f"http://flip{number // 20}.example:PORT/" for number in range(often(1_000))])
    assert answers == [NOT_THERE, *[PROHIBITED] * 4] * often(200)
    assert set(connected) == {PUBLIC}


@pytest.mark.parametrize(
    "answer", ["", "localhost", "fe80::1%eth0", "2130706433", "127.1", "::1%lo", "127.0.0.1\x00", "0x7f.1"]
)
def test_an_answer_that_is_no_address_is_not_used(host: Host, answer: str, connected: Counter[str]) -> None:
    """Nothing interprets it."""
    answers = ask(host, Scripted(lambda _: repeat([answer])), ["http://odd.example:PORT/"])
    assert answers == [{"error": ["connection-failed", "the host has no address"]}]
    assert not connected
