"""F10: a server that is slow or gone costs the functions that ask it little, and all others nothing."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse import AsyncHost, OutboundConfig, OutboundPolicy
from guesthouse.net.breaker import FAILURES, LONGEST_REST_SECONDS, MOST, REST_SECONDS, Breakers
from guesthouse.net.client import OutboundClient, OutboundRequest
from guesthouse.net.failures import (
    CircuitOpen,
    ConnectionFailed,
    ConnectTimeout,
    LimitReached,
    Prohibited,
    Timeout,
)
from harness import PATIENCE
from support import FORMS, guest
from upstream import Received, Upstream, response

POLICY = OutboundPolicy.of(
    schemes=("http",), overrides={"up.example": "127.0.0.1", "other.example": "127.0.0.1", "gone.example": "127.0.0.1"}
)
KEY = ("default", "f", "up.example:80")
PER_SERVER = 16


def hang(request: Received) -> bytes | None:
    return None if "hang" in request.line else response()


class Time:
    """Seconds that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def fail(breakers: Breakers, key: tuple[str, ...] = KEY, error: BaseException | None = None) -> None:
    """One request that fails."""
    breakers.settle(key, error or Timeout(), breakers.enter(key))


def is_open(breakers: Breakers, key: tuple[str, ...] = KEY) -> bool:
    """Whether a request would be refused now."""
    try:
        breakers.check(key)
    except CircuitOpen:
        return True
    return False


# -- the breaker


def test_failures_in_a_row_open_a_circuit() -> None:
    """An answer in between, whatever it says, begins the count anew; other functions and servers have their own."""
    breakers = Breakers(Time())
    for _ in range(FAILURES - 1):
        fail(breakers)
    breakers.settle(KEY, None, breakers.enter(KEY))
    for _ in range(FAILURES):
        assert not is_open(breakers)
        fail(breakers)
    assert is_open(breakers)
    with pytest.raises(CircuitOpen):
        breakers.enter(KEY)
    assert breakers.open == 1
    for other in (("default", "g", KEY[2]), ("default", "f", "other.example:80"), ("other", "f", KEY[2])):
        assert not is_open(breakers, other)


def test_what_is_no_failure_of_the_server_opens_nothing() -> None:
    """What the host itself refuses, and requests that are given up."""
    breakers = Breakers(Time())
    for error in (Prohibited(), LimitReached(), asyncio.CancelledError()) * FAILURES:
        fail(breakers, error=error)
    assert not is_open(breakers)


def test_one_request_at_a_time_finds_out_if_the_server_is_back() -> None:
    """After each that fails the server is left alone for twice as long, up to a bound; one that succeeds opens the way."""
    time = Time()
    breakers = Breakers(time)
    for _ in range(FAILURES):
        fail(breakers)
    rest = REST_SECONDS
    for _ in range(10):
        time.now += rest - 0.01
        assert is_open(breakers)
        time.now += 0.01
        assert breakers.enter(KEY) is True
        assert is_open(breakers)
        breakers.settle(KEY, ConnectionFailed(), True)
        rest = min(2 * rest, LONGEST_REST_SECONDS)
    time.now += rest
    assert breakers.enter(KEY) is True
    breakers.settle(KEY, None, True)
    assert (breakers.enter(KEY), breakers.enter(KEY), breakers.open) == (False, False, 0)


def test_a_probe_that_says_nothing_makes_room_for_the_next() -> None:
    """One that was given up, or refused by the host itself."""
    time = Time()
    breakers = Breakers(time)
    for _ in range(FAILURES):
        fail(breakers)
    time.now += REST_SECONDS
    for error in (asyncio.CancelledError(), LimitReached(), Prohibited()):
        assert breakers.enter(KEY) is True
        breakers.settle(KEY, error, True)
    assert breakers.enter(KEY) is True


def test_late_failures_do_not_prolong_the_rest() -> None:
    """Of requests that were under way when the circuit opened."""
    time = Time()
    breakers = Breakers(time)
    for _ in range(FAILURES):
        fail(breakers)
    time.now += REST_SECONDS - 1
    for _ in range(1_000):
        breakers.settle(KEY, Timeout(), False)
    time.now += 1
    assert not is_open(breakers)


def test_what_is_remembered_is_bounded() -> None:
    """Servers that a guest makes up push each other out."""
    breakers = Breakers(Time())
    for number in range(MOST + 10):
        fail(breakers, ("default", "f", f"a{number}.example"))
    assert len(breakers._circuits) == MOST


@given(st.lists(st.tuples(st.sampled_from(["ask", "answer", "fail", "give up"]), st.floats(0, 20)), max_size=200))
def test_an_open_circuit_lets_one_request_through_at_a_time(steps: list[tuple[str, float]]) -> None:
    """Whatever comes in whatever order: while it is open no second probe goes out, and it never stays shut for good."""
    time = Time()
    breakers = Breakers(time)
    out: list[bool] = []
    for step, seconds in steps:
        time.now += seconds
        if step == "ask":
            try:
                out.append(breakers.enter(KEY))
            except CircuitOpen:
                continue
        elif out:
            error = {"answer": None, "fail": Timeout(), "give up": asyncio.CancelledError()}[step]
            breakers.settle(KEY, error, out.pop(0))
        assert sum(out) <= 1 or not breakers.open
    for probe in out:
        breakers.settle(KEY, Timeout(), probe)
    time.now += LONGEST_REST_SECONDS
    assert not is_open(breakers)


# -- requests


def ask(upstream: Upstream, path: str = "/", host: str = "up.example", **changes: Any) -> OutboundRequest:
    fields: dict[str, Any] = {"owner": ("default", "f"), "timeout_ms": 60_000, **changes}
    return OutboundRequest("GET", upstream.url(path, host), **fields)


def story(tell: Any, **settings: Any) -> None:
    """Runs an asynchronous story with a client and an upstream where some requests hang."""

    async def run() -> None:
        config = OutboundConfig(POLICY, connections=1_000, connections_per_server=PER_SERVER, **settings)
        client = OutboundClient(config)
        async with asyncio.timeout(PATIENCE), Upstream(hang) as upstream:
            await tell(client, upstream)
            await client.close()

    asyncio.run(run())


def test_few_requests_to_one_server_are_out_and_few_wait() -> None:
    """Of a thousand the rest is refused at once; other servers, and other functions at this one, are asked meanwhile."""

    async def tell(client: OutboundClient, upstream: Upstream) -> None:
        tasks = [asyncio.ensure_future(client.fetch(ask(upstream, "/hang"))) for _ in range(1_000)]
        for done in itertools.islice(asyncio.as_completed(tasks), 1_000 - 2 * PER_SERVER):
            with pytest.raises(LimitReached):
                await done
        assert (await client.fetch(ask(upstream, host="other.example"))).status == 200
        assert (await client.fetch(ask(upstream, owner=("default", "g")))).status == 200
        assert upstream.connections <= PER_SERVER + 2
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert client.slots._shares == {}
        assert (await client.fetch(ask(upstream))).status == 200

    story(tell, connect_timeout_ms=60_000)


def test_a_server_that_does_not_answer_is_not_asked_any_more() -> None:
    """After so many timeouts nothing of what is asked leaves the host, until a probe finds the server back."""

    async def tell(client: OutboundClient, upstream: Upstream) -> None:
        time = Time()
        client.breakers = Breakers(time)
        for _ in range(FAILURES):
            with pytest.raises((Timeout, ConnectTimeout)):  # whichever a busy machine gets to
                await client.fetch(ask(upstream, "/hang", timeout_ms=50))
        seen = len(upstream.requests)
        for _ in range(100):
            with pytest.raises(CircuitOpen):
                await client.fetch(ask(upstream))
        assert len(upstream.requests) == seen
        assert (await client.fetch(ask(upstream, owner=("default", "g")))).status == 200
        time.now += REST_SECONDS
        probe = asyncio.ensure_future(client.fetch(ask(upstream, "/hang")))
        while len(upstream.requests) == seen + 1:
            await asyncio.sleep(0)
        with pytest.raises(CircuitOpen):
            await client.fetch(ask(upstream))
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)
        for _ in range(3):
            assert (await client.fetch(ask(upstream))).status == 200

    story(tell)


def test_who_waits_when_a_circuit_opens_fails_at_once() -> None:
    """Nobody who got a turn after that asks a server that has just proved to be dead."""

    async def tell(client: OutboundClient, upstream: Upstream) -> None:
        client.breakers = Breakers(Time())
        tasks = [asyncio.ensure_future(client.fetch(ask(upstream, "/hang"))) for _ in range(2 * PER_SERVER)]
        while len(upstream.requests) < PER_SERVER:
            await asyncio.sleep(0)
        for _ in range(FAILURES):
            client.breakers.settle(("default", "f", f"up.example:{upstream.port}"), Timeout(), False)
        for task in tasks[:PER_SERVER]:
            task.cancel()
        failures = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(failure) for failure in failures[PER_SERVER:]] == [CircuitOpen] * PER_SERVER
        assert len(upstream.requests) == PER_SERVER

    story(tell, connect_timeout_ms=60_000)


def test_a_deadline_that_comes_first_counts_as_a_timeout() -> None:
    """A guest whose time ends with that of its request is cancelled; who gives up early says nothing of the server."""

    async def tell(client: OutboundClient, upstream: Upstream) -> None:
        client.breakers = Breakers(Time())
        for _ in range(FAILURES):
            early = asyncio.ensure_future(client.fetch(ask(upstream, "/hang")))
            await upstream.arrived.wait()
            early.cancel()
            await asyncio.gather(early, return_exceptions=True)
        assert not is_open(client.breakers, ("default", "f", f"up.example:{upstream.port}"))
        loop = asyncio.get_running_loop()
        for _ in range(FAILURES):
            late = asyncio.ensure_future(client.fetch(ask(upstream, "/hang", timeout_ms=50)))
            await asyncio.sleep(0)
            loop.call_later(0.0495, late.cancel)
            await asyncio.gather(late, return_exceptions=True)
        assert is_open(client.breakers, ("default", "f", f"up.example:{upstream.port}"))

    story(tell)


# -- guests


def order(upstream: Upstream, path: str, host: str = "up.example", timeout_ms: int = 60_000) -> bytes:
    """What the guest is to fetch."""
    return json.dumps({"verb": "GET", "url": upstream.url(path, host), "timeout_ms": timeout_ms}).encode()


@pytest.mark.parametrize("form", FORMS)
def test_a_thousand_callers_of_a_stalled_server_leave_the_pool_to_others(form: str) -> None:
    """Few guests wait; the others have their error, and unrelated functions are answered, one by one."""

    async def attack() -> None:
        config = OutboundConfig(POLICY, connections_per_server=PER_SERVER, connect_timeout_ms=60_000)
        async with asyncio.timeout(PATIENCE), Upstream(hang) as upstream, AsyncHost(slots=200, outbound=config) as host:
            limits = {"deadline_ms": 60_000, "http_timeout_ms": 60_000}
            await host.deploy("fetch", guest("fetch", form), limits=limits)
            await host.deploy("other", guest("fetch", form), limits=limits)
            await host.deploy("echo", guest("echo", form))
            tasks = []
            for _ in range(1_000):
                tasks.append(asyncio.ensure_future(host.invoke("fetch", order(upstream, "/hang"))))
                await asyncio.sleep(0)
            while sum(task.done() for task in tasks) < 1_000 - 2 * PER_SERVER:
                await asyncio.sleep(0)
            assert host.dispatcher.pool.in_use == 2 * PER_SERVER
            for _ in range(50):
                assert (await host.invoke("echo", b"well")).body == b"well"
            found = json.loads((await host.invoke("other", order(upstream, "/"))).body)
            assert found["status"] == 200
            told = {json.loads(task.result().body)["error"] for task in tasks if task.done()}
            assert told == {'RequestError("limit exceeded: too many outgoing requests at once")'}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(attack())


@pytest.mark.parametrize("form", FORMS)
def test_a_guest_is_told_at_once_that_its_server_does_not_answer(form: str) -> None:
    """As a connection that could not be made in time, for the server has seen nothing of the request."""

    async def attack() -> None:
        async with Upstream(hang) as upstream, AsyncHost(slots=16, outbound=OutboundConfig(POLICY)) as host:
            await host.deploy("fetch", guest("fetch", form))
            host.outbound.breakers = Breakers(Time())
            for _ in range(FAILURES):
                found = json.loads((await host.invoke("fetch", order(upstream, "/hang", timeout_ms=50))).body)
                assert "took too long" in found["error"]
            seen = len(upstream.requests)
            found = json.loads((await host.invoke("fetch", order(upstream, "/"))).body)
            assert found["error"] == 'ConnectTimeout("the server did not answer lately, and is not asked again yet")'
            assert len(upstream.requests) == seen
            assert b'guesthouse_outbound_errors_total{reason="CircuitOpen"} 1.0' in host.metrics.expose()

    asyncio.run(attack())
