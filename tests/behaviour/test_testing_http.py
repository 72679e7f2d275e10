"""The fake HTTP world: for what it claims it is as a real server, seen through the host's own client."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from guesthouse import OutboundConfig, OutboundPolicy
from guesthouse.net.client import OutboundClient, OutboundRequest
from guesthouse.net.failures import OutboundError
from guesthouse.net.policy import HostRule
from guesthouse.testing import FakeHttp, Request, SimulatedHost, UnexpectedRequests, answer
from guesthouse.testing.clock import SimulatedClock
from guesthouse.testing.life import Reached
from guesthouse.testing.loop import SimulatedLoop
from support import guest
from upstream import Received, Upstream, pieces, response

HOST = "api.example.com"
URL = f"https://{HOST}/charge"
PATIENCE = 30


class Step(NamedTuple):
    """What one request is answered with."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    fault: str = ""


class Seen(NamedTuple):
    """What arrived of one request."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes


class Place:
    """A server, real or not, and a client that reaches it."""

    base: str
    client: OutboundClient

    def seen(self) -> list[Seen]:
        raise NotImplementedError

    async def ask(self, path: str = "/", **fields: Any) -> tuple[int, bytes] | str:
        """Status and body of an answer, or the word of the failure."""
        fields = {"method": "POST", "timeout_ms": 10_000, **fields}
        try:
            answered = await self.client.fetch(OutboundRequest(url=self.base + path, **fields))
        except OutboundError as error:
            return type(error).__name__
        return answered.status, answered.body


class RealPlace(Place):
    """A socket on loopback."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self.base = f"http://{HOST}:{upstream.port}"
        policy = OutboundPolicy.of(schemes=("http",), overrides={HOST: "127.0.0.1"})
        self.client = OutboundClient(OutboundConfig(policy))

    def seen(self) -> list[Seen]:
        found = []
        for request in self._upstream.requests:
            method, target, _ = request.line.split(" ")
            found.append(Seen(method, target, [(name.lower(), value) for name, value in request.headers], request.body))
        return found


class FakePlace(Place):
    """No socket at all."""

    def __init__(self, http: FakeHttp) -> None:
        self._http = http
        self.base = f"http://{HOST}:8080"
        self.client = OutboundClient(OutboundConfig(OutboundPolicy.of(schemes=("http",))), resolver=http)

    def seen(self) -> list[Seen]:
        return [
            Seen(request.method, request.url.removeprefix(self.base), list(request.headers), request.body)
            for request in self._http.requests
        ]


Scene = Callable[[Place], Awaitable[None]]


def on_real(steps: list[Step], scene: Scene) -> None:
    """Plays a scene before a real server."""
    left = list(steps)

    def answers(request: Received) -> bytes | AsyncIterator[bytes] | None:
        step = left.pop(0) if len(left) > 1 else left[0]
        head = [f"{name}: {value}" for name, value in step.headers]
        if step.fault == "hang":
            return None
        if step.fault == "reset":
            return pieces([])
        status = f"{step.status} Whatever"
        if step.status == 204 or request.line.startswith("HEAD"):
            return "\r\n".join([f"HTTP/1.1 {status}", *head]).encode() + b"\r\n\r\n"
        whole = response(step.body, status, *head)
        return pieces([whole[: -len(step.body) // 2]]) if step.fault == "cut" else whole

    async def play() -> None:
        async with Upstream(answers) as upstream:
            place = RealPlace(upstream)
            try:
                await scene(place)
            finally:
                await place.client.close()

    asyncio.run(asyncio.wait_for(play(), PATIENCE))


def on_fake(steps: list[Step], scene: Scene) -> None:
    """Plays a scene before a fake one, in simulated time."""
    http = FakeHttp()
    route = http.on("*", f"http://{HOST}:8080/*")
    for step in steps:
        match step.fault:
            case "":
                route.answer(step.status, step.body, step.headers)
            case "cut":
                route.cut(step.status, step.body, step.headers)
            case fault:
                getattr(route, fault)()

    async def play() -> None:
        place = FakePlace(http)
        try:
            await scene(place)
        finally:
            await place.client.close()

    with ThreadPoolExecutor(1) as threads:
        loop = SimulatedLoop(SimulatedClock(), threads, network=Reached(http, lambda: True))
        try:
            task = loop.create_task(play())
            loop.run_until_complete(loop.pass_until(float("inf"), task))
            loop.run_until_complete(task)
        finally:
            loop.close()


both = pytest.mark.parametrize("play", [on_real, on_fake])
Play = Callable[[list[Step], Scene], None]


@both
def test_a_request_arrives_as_it_was_sent(play: Play) -> None:
    """Method, target, headers in their order, and body."""

    async def scene(place: Place) -> None:
        headers = [("X-One", "1"), ("Idempotency-Key", "k"), ("X-One", "3")]
        assert await place.ask("/a%20b?q=1&q=2", method="PATCH", headers=headers, body=b"\0body") == (200, b"")
        (seen,) = place.seen()
        assert seen[:2] == ("PATCH", "/a%20b?q=1&q=2")
        assert seen.body == b"\0body"
        sent = [(name.lower(), value) for name, value in headers]
        assert [pair for pair in seen.headers if pair in sent] == sent
        assert ("content-length", "5") in seen.headers

    play([Step()], scene)


@both
def test_an_answer_comes_as_it_was_given(play: Play) -> None:
    """Status, headers and body; without a body where there can be none."""

    async def scene(place: Place) -> None:
        got = await place.client.fetch(OutboundRequest("GET", place.base))
        assert (got.status, got.body) == (418, b"short and stout")
        assert [value for name, value in got.headers if name == "x-kind"] == ["tea", "pot"]
        assert await place.ask() == (204, b"")
        assert await place.ask(method="HEAD") == (200, b"")
        assert await place.ask() == (200, b"never shown to HEAD")

    headers = (("X-Kind", "tea"), ("X-Kind", "pot"))
    last = Step(200, b"never shown to HEAD")
    play([Step(418, b"short and stout", headers), Step(204), last], scene)


@both
def test_answers_come_in_their_order_and_the_last_one_stays(play: Play) -> None:
    """A service that is down for a moment."""

    async def scene(place: Place) -> None:
        assert [await place.ask() for _ in range(4)] == [(503, b"later"), (500, b""), (200, b"done"), (200, b"done")]

    play([Step(503, b"later"), Step(500), Step(200, b"done")], scene)


@both
@pytest.mark.parametrize(("fault", "failure"), [("reset", "Interrupted"), ("hang", "Timeout"), ("cut", "Interrupted")])
def test_a_fault_is_the_failure_that_it_is(play: Play, fault: str, failure: str) -> None:
    """A guest is told the same of a fake fault and of a real one."""

    async def scene(place: Place) -> None:
        assert await place.ask(timeout_ms=500) == failure
        assert len(place.seen()) == 1

    play([Step(200, b"x" * 1_000, fault=fault)], scene)


@both
def test_a_large_body_comes_whole_or_is_too_large(play: Play) -> None:
    """Bodies that do not come with their headers, and the client's bound."""

    async def scene(place: Place) -> None:
        body = bytes(range(256)) * 8_192
        assert await place.ask() == (200, body)
        assert await place.ask(response_bytes=len(body) - 1) == "TooLarge"
        assert await place.ask(body=body) == (200, body)
        assert place.seen()[-1].body == body

    play([Step(200, bytes(range(256)) * 8_192)], scene)


@both
def test_what_is_not_allowed_does_not_leave(play: Play) -> None:
    """Policy and grants are judged in front of a fake as in front of a real one."""

    async def scene(place: Place) -> None:
        elsewhere = (HostRule.parse("https://other.example"),)
        assert await place.ask(granted=elsewhere) == "Ungranted"
        place.client.policy = OutboundPolicy.of(hosts=["other.example"])
        assert await place.ask() == "Prohibited"
        assert await place.ask(method="CONNECT") == "InvalidMethod"
        assert place.seen() == []

    play([Step()], scene)


@both
def test_requests_at_once_are_answered_each(play: Play) -> None:
    """Several connections at the same time."""

    async def scene(place: Place) -> None:
        answers = await asyncio.gather(*(place.ask(f"/{number}", body=b"%d" % number) for number in range(5)))
        assert answers == [(200, b"same")] * 5
        assert sorted(seen.body for seen in place.seen()) == [b"%d" % number for number in range(5)]

    play([Step(200, b"same")], scene)


# -- what a test can do besides


@contextmanager
def fetching(**options: Any) -> Iterator[tuple[SimulatedHost, Callable[..., Any]]]:
    """A host with the guest that does any request, and what it tells of one."""
    with SimulatedHost(**options) as host:
        host.deploy("fetch", guest("fetch"))

        def fetch(url: str = URL, verb: str = "POST", **fields: Any) -> Any:
            return json.loads(host.invoke("fetch", {"verb": verb, "url": url, **fields}).body)

        yield host, fetch


def test_a_rate_limit_is_one_in_simulated_time() -> None:
    """So many in a second, and then Retry-After; they are no step of the script."""
    with fetching() as (host, fetch):
        host.http.on("POST", URL).limit(2, 10).answer(201).answer(202)
        assert [fetch()["status"] for _ in range(4)] == [201, 202, 429, 429]
        told = dict(fetch()["headers"])
        assert told["retry-after"] == "10"
        host.advance(seconds=10)
        assert fetch()["status"] == 202


def test_an_api_that_knows_idempotency_keys_does_a_thing_once() -> None:
    """The second request with a key gets the first one's answer; a failure is not kept."""
    with fetching() as (host, fetch):
        charged: list[str] = []

        def charge(request: Request) -> Any:
            if not charged and len(route.requests) == 1:
                return answer(503)
            charged.append(request.text)
            return {"charge": len(charged)}

        route = host.http.on("POST", URL).idempotent().call(charge)
        key = [["idempotency-key", "a"]]
        assert [fetch(headers=key, body="x")["status"] for _ in range(3)] == [503, 200, 200]
        assert charged == ["x"]
        assert fetch(headers=[["idempotency-key", "b"]], body="y")["body"] == '{"charge": 2}'
        assert [request.text for request in host.http.effects] == ["x", "y"]
        assert len(host.http.requests) == 4


def test_an_answer_can_take_its_time_and_be_made_later() -> None:
    """Asynchronous answers are made on the host's loop, and wait in simulated time."""
    with fetching(limits=None) as (host, fetch):

        async def slowly(request: Request) -> bytes:
            await asyncio.sleep(2)
            return request.body

        host.http.on("*", f"https://{HOST}/*").answer(200, "first", after=3).call(slowly)
        start = host.now
        assert fetch(verb="GET")["body"] == "first"
        assert host.now - start == timedelta(seconds=3)
        assert fetch(body="second")["body"] == "second"
        assert host.now - start == timedelta(seconds=5)


def test_hosts_can_be_down_or_unknown() -> None:
    """A host that refuses connections, and a name that there is not."""
    with fetching(strict=False) as (host, fetch):
        host.http.on("POST", URL).answer(200)
        host.http.down(HOST)
        assert fetch()["error"].startswith("ConnectionFailed")
        host.http.up(HOST)
        assert fetch()["status"] == 200
        assert fetch("https://nowhere.example.com/")["error"].startswith("ConnectionFailed")
        assert host.http.unexpected == ["the host nowhere.example.com"]


def test_what_was_not_foreseen_fails_the_test() -> None:
    """A request without an answer is not overlooked, and neither is a mistake in an answer of the test's own."""

    def unforeseen() -> None:
        with fetching() as (host, fetch):
            host.http.on("POST", URL).answer(200)
            assert fetch(f"https://{HOST}/other")["status"] == 501

    def mistaken() -> None:
        with fetching() as (host, fetch):
            host.http.on("POST", URL).call(wrong)
            assert "error" in fetch()

    def wrong(request: Request) -> Any:
        raise KeyError("oops")

    with pytest.raises(UnexpectedRequests, match=f"POST https://{HOST}/other"):
        unforeseen()
    with pytest.raises(KeyError, match="oops"):
        mistaken()


def test_the_newest_route_that_fits_answers() -> None:
    """Paths with `*`, queries, methods."""
    with fetching() as (host, fetch):
        host.http.on("*", f"https://{HOST}/*").answer(200, "any")
        host.http.on("GET", f"https://{HOST}/a/*/c").answer(200, "path")
        host.http.on("GET", f"https://{HOST}/a/b/c?q=1").answer(200, "query")
        asked = [("GET", "/x"), ("GET", "/a/b/c"), ("GET", "/a/b/c?q=1"), ("GET", "/a/b/c?q=2"), ("POST", "/a/b/c")]
        told = [fetch(f"https://{HOST}{path}", verb)["body"] for verb, path in asked]
        assert told == ["any", "path", "query", "path", "any"]
    with pytest.raises(ValueError, match="no URL"):
        FakeHttp().on("GET", "/charge")


# -- recorded exchanges


class Counting(BaseHTTPRequestHandler):
    """Answers each request with how many there were."""

    count = 0

    def do_POST(self) -> None:
        Counting.count += 1
        body = self.rfile.read(int(self.headers["content-length"])) + b" %d" % Counting.count
        self.send_response(201)
        self.send_header("content-length", str(len(body)))
        self.send_header("set-cookie", "secret")
        self.send_header("x-kind", "real")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def real_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Counting)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


LOOPBACK = OutboundConfig(OutboundPolicy.of(schemes=("http",), allow_addresses=("127.0.0.0/8",)))


def test_real_exchanges_are_recorded_once_and_answered_from_the_file(real_server: str, tmp_path: Path) -> None:
    """The second run needs no network, and is told the same; nothing that identifies the caller is in the file."""
    file = tmp_path / "fixtures" / "api.json"

    def run() -> list[Any]:
        with fetching(outbound=LOOPBACK) as (host, fetch):
            host.http.recorded(file, f"{real_server}/*")
            start = host.now
            headers = [["authorization", "Bearer mine"]]
            told = [fetch(f"{real_server}/x", body=body, headers=headers) for body in ("a", "b", "a")]
            assert host.now == start
            return told

    Counting.count = 0
    first = run()
    assert [answered["body"] for answered in first] == ["a 1", "b 2", "a 3"]
    assert "Bearer" not in file.read_text()
    assert "secret" not in file.read_text()
    assert [answered["body"] for answered in run()] == ["a 1", "b 2", "a 3"]
    assert Counting.count == 3
    assert dict(first[0]["headers"])["x-kind"] == "real"


def test_what_was_not_recorded_is_a_mistake_of_the_test(real_server: str, tmp_path: Path) -> None:
    """A request that is another one than those in the file fails the test, and says how to record it."""
    file = tmp_path / "api.json"

    def run(body: str, **options: Any) -> Any:
        with fetching(outbound=LOOPBACK) as (host, fetch):
            host.http.recorded(file, f"{real_server}/*", **options)
            return fetch(f"{real_server}/x", body=body)

    assert run("a")["status"] == 201
    with pytest.raises(LookupError, match="record it again"):
        run("another")
    assert run("another", again=True)["status"] == 201
