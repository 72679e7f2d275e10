"""C7: no callback reaches what a function may not: not when it is asked for, and not when names have changed by then."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from http.client import HTTPConnection
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest

from guesthouse import AsyncHost, OutboundConfig
from guesthouse.dispatch.deliveries import CallbackConfig
from guesthouse.dispatch.invocations import Wanted
from guesthouse.errors import BadRequest
from guesthouse.net.policy import PUBLIC, OutboundPolicy
from harness import PATIENCE
from hosted import Hosted
from served import config, served
from ssrf_vectors import HOSTS, INSIDE, VECTORS, Everything
from support import guest
from upstream import Upstream

NAME = "http://\u0967\u0968\u096d.\u0966.\u0966.\u0967/"
"""Of all vectors the one that is a name, and no address, to everybody who follows IDNA: what counts is where it leads."""
REFUSED = [vector for vector in VECTORS if vector != NAME]


@pytest.fixture(scope="module")
def server() -> Iterator[Hosted]:
    with Hosted("echo", outbound=OutboundConfig(PUBLIC), public_urls=["https://fn.example"]) as made:
        made.run(lambda host: host.deploy("anywhere", guest("echo"), grants=["http:*:*"]))
        yield made


def test_no_vector_is_accepted_over_http(server: Hosted) -> None:
    """Each answers 400 when the call is queued, and nothing is queued; grants never widen what the host allows."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    tried = 0
    for vector in [*REFUSED, *(f"http://{host}:{server.port}/function/echo" for host in HOSTS)]:
        if not vector.isprintable():
            continue  # no header can be that
        tried += 1
        connection.request("POST", "/async-function/anywhere", b"x", {"x-callback-url": vector.encode()})
        answer = connection.getresponse()
        assert (answer.read() != b"", answer.status) == (True, 400), vector
    assert tried > 700
    connection.close()
    assert server.host.queue.counts.calls == 0
    assert server.run(lambda host: host.calls.list()) == ([], None)


def test_no_vector_is_accepted_from_a_program(server: Hosted) -> None:
    """All of them, control characters too."""
    deployment = server.host.deployment("anywhere")
    for vector in REFUSED:
        with pytest.raises(BadRequest):
            server.host.callbacks.check_callback(deployment, vector)
    assert len(REFUSED) >= 300


class Scripted:
    """A resolver that answers the questions for each name from a script of its own."""

    def __init__(self, script: Any) -> None:
        self.script = script
        self.scripts: dict[str, Any] = {}

    async def resolve(self, host: str) -> list[str]:
        return list(next(self.scripts.setdefault(host, iter(self.script(host)))))


def deliver(urls: list[str], resolver: Any, policy: OutboundPolicy = PUBLIC) -> dict[str, int]:
    """How callbacks to these URLs end, which are accepted; a server listens on PORT of this machine."""

    async def run() -> dict[str, int]:
        async with asyncio.timeout(PATIENCE), Upstream() as inside:
            callbacks = CallbackConfig(min_wait_ms=1, max_wait_ms=1, timeout_ms=5_000)
            async with AsyncHost(slots=32, outbound=OutboundConfig(policy), callbacks=callbacks) as host:
                host.outbound._lookups._resolver = resolver
                deployment = await host.deploy("echo", guest("echo"))
                for url in urls:
                    callback = url.replace("PORT", str(inside.port))
                    await host.calls.accept(deployment, Wanted(body=b"x", callback=callback))
                while host.queue.counts.calls or await host.queue.next_callback_ms() is not None:
                    await asyncio.sleep(0.002)
                while host.deliveries.under_way:
                    await asyncio.sleep(0.002)
                assert inside.connections == 0
                return dict(host.metrics._counters["callbacks"])

    return asyncio.run(run())


def test_a_name_that_leads_inside_by_then_is_blocked() -> None:
    """For each address inside, alone and beside a public one, and for the name that looks like an address: no second try."""
    urls = [f"http://a{number}.rebind.example:PORT/" for number in range(2 * len(INSIDE))]

    def script(host: str) -> Any:
        number = int(host.split(".")[0][1:]) if host.startswith("a") else 0
        inside = INSIDE[number % len(INSIDE)]
        return repeat([inside] if number < len(INSIDE) else ["93.184.216.34", inside])

    ended = deliver([*urls, NAME.removesuffix("/") + ":PORT/"], Scripted(script))
    assert ended == {"blocked": 2 * len(INSIDE) + 1}


def test_an_answer_that_turns_inside_is_never_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first try finds a public address where nobody is, the second one inside: that is the end of it."""
    from guesthouse.net import pool

    checked = pool.checked_socket

    def offline(addr_info: tuple[Any, ...]) -> Any:
        checked(addr_info).close()
        raise ConnectionRefusedError("not in a test")

    monkeypatch.setattr(pool, "checked_socket", offline)
    resolver = Scripted(lambda host: chain([["93.184.216.34"]], repeat(["127.0.0.1"])))
    ended = deliver([f"http://a{number}.rebind.example:PORT/" for number in range(20)], resolver)
    assert ended == {"retried": 20, "blocked": 20}


def test_rules_of_hosts_open_nothing_inside() -> None:
    """A host that allows every name still judges every address."""
    policy = OutboundPolicy.of(schemes=("http", "https"), hosts=["*:*"])
    assert deliver(["http://localhost:PORT/", "http://metadata:PORT/"], Everything(), policy) == {"blocked": 2}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST."])
def test_the_server_itself_is_asked_for_nothing(tmp_path: Path, host: str) -> None:
    """Though loopback may be reached: its own address is good for functions only, and these are queued inside."""
    with served(tmp_path / "data", "--config", config(tmp_path)) as server:
        server.deploy("echo")
        for path in ("/", "/functions/manage/default/echo", "/metrics", "/topics/default/t", "/function/none"):
            url = {"x-callback-url": f"http://{host}:{server.address[1]}{path}"}
            answer = server.request("POST", "/async-function/echo", b"x", url)
            assert (answer.status, answer.problem) == (400, "bad-request")
        url = {"x-callback-url": f"http://{host}:{server.address[1]}/function/echo"}
        assert server.request("POST", "/async-function/echo", b"x", url).status == 202
        server.counted("callbacks_total", 1, outcome="chained")
        assert server.request("GET", "/metrics").status == 200


def test_a_token_reaches_by_callbacks_only_what_it_reaches(tmp_path: Path) -> None:
    """A function that it may not call is not called back for it."""
    from command_line import guesthouse

    folder = tmp_path / "data"

    def token(name: str, *arguments: str) -> str:
        made = guesthouse("token", "create", name, "--json", "--data-dir", folder, *arguments)
        assert made.status == 0, made.err
        return str(made.json["token"])

    admin = token("admin", "--scope", "all")
    caller = token("caller", "--scope", "invoke", "--functions", "default/first")
    with served(folder) as server:
        server.token = admin
        for name in ("first", "second"):
            server.deploy(name, guest("echo"))
        server.token = caller
        for name, status in (("first", 202), ("second", 400), ("none", 400)):
            url = {"x-callback-url": f"{server.url}/function/{name}"}
            assert server.request("POST", "/async-function/first", b"x", url).status == status
