"""Requests of durable functions: keys for servers that honour them, and what becomes of one that a crash cut off."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import pytest

from guesthouse.engine.values import Err, Ok
from guesthouse.interfaces.bytes import Buffer, BytesInterface
from guesthouse.interfaces.http import HTTP_1_0, HTTP_1_1, HTTP_OLD, HttpInterface
from guesthouse.interfaces.invocation import Invocation
from guesthouse.net.body import ResponseBody
from guesthouse.net.client import OutboundClient, OutboundRequest, OutboundResponse
from guesthouse.net.failures import Timeout
from unit.interface_fakes import invocation
from unit.journal_fakes import Crash, World
from unit.journaled_world import Life

KEY = "Idempotency-Key"


class Request(NamedTuple):
    """`record request` as it is lifted."""

    url: str = "https://up.example/pay?x=1"
    verb: str = "POST"
    headers: Any = ()
    body: Any = ("value", b"{}")
    authorization: tuple[str, Any] = ("none", None)


class OldRequest(NamedTuple):
    """The same of the older generation."""

    url: str = "https://up.example/pay"
    headers: Any = ()
    body: bytes = b"{}"
    authorization: tuple[str, Any] = ("none", None)


class Secret(NamedTuple):
    """`record aws-secret`"""

    access_key_id: str = "AKIA"
    secret_access_key: str = "hunter2"
    region: str = "eu-central-1"
    service: str = "s3"


class Server:
    """An `OutboundClient` that goes nowhere."""

    def __init__(self, world: World, *statuses: int) -> None:
        self.world = world
        self.statuses = list(statuses)
        self.asked: list[OutboundRequest] = []

    async def fetch(self, request: OutboundRequest, *_: Any) -> OutboundResponse:
        self.asked.append(request)
        self.world.step()
        return OutboundResponse(self.statuses.pop(0) if self.statuses else 200, [("a", "b")], b"done")

    async def open(self, request: OutboundRequest, *_: Any) -> OutboundResponse:
        found = await self.fetch(request)
        if request.url.endswith("late"):
            raise Timeout
        if request.url.endswith("streamed"):
            return OutboundResponse(found.status, found.headers, b"", cast("ResponseBody", Arriving()))
        return found

    def keys(self) -> list[str | None]:
        return [dict(request.headers).get(KEY) for request in self.asked]


class Arriving:
    """A body in two pieces."""

    def __init__(self) -> None:
        self.pieces = [b"one", b"two"]

    async def __anext__(self) -> bytes:
        if not self.pieces:
            raise StopAsyncIteration
        return self.pieces.pop(0)

    def close(self) -> None: ...


def life(world: World, server: Server, *, keeps: bool = True, **ambiguous: str) -> Life:
    found = Life(world, HttpInterface(cast("OutboundClient", server)), BytesInterface(), keeps=keeps)
    found.journal.ambiguous = {name.replace("_", "."): word for name, word in ambiguous.items()}
    found.journal.on_ambiguous = world.ambiguous.append
    return found


def sends(run: Life, *requests: Request) -> list[Any]:
    return [run(HTTP_1_1, "invoke", request) for request in requests]


def test_each_request_that_may_change_something_has_a_key_of_its_own() -> None:
    """The same after a crash; those that only read need none."""
    world = World()
    server = Server(world)
    world.dies_at = 8  # the second one is sent, and its result is never seen
    requests = [Request(), Request(), Request(verb="GET"), Request(verb="head")]
    with pytest.raises(Crash):
        sends(life(world, server), *requests)
    results = sends(life(world, server), *requests)
    assert all(isinstance(result, Ok) for result in results)
    first, second, again, get, head = server.keys()
    assert (second, get, head) == (again, None, None)
    assert first is not None
    assert second is not None
    assert len(first) == len(second) == 64
    assert first != second
    assert world.ambiguous == ["repeat"]


def test_a_guests_own_key_wins() -> None:
    """However it writes the name; nothing is added."""
    world = World()
    server = Server(world)
    sends(life(world, server), Request(headers=[("idempotency-key", "mine")]))
    assert server.asked[0].headers == [("idempotency-key", "mine")]


def test_other_functions_send_what_they_say() -> None:
    """Without a journal, and with one that only records, no header is added."""
    world = World()
    server = Server(world)
    sends(life(world, server, keeps=False), Request())
    plain: Invocation = invocation()
    interface = HttpInterface(cast("OutboundClient", server))
    cast("Any", interface.invoke_1_1(plain, cast("Any", Request()))).close()
    assert server.keys() == [None]


@pytest.mark.parametrize(
    ("interface", "function", "case"),
    [
        (HTTP_1_0, "invoke", "request-error"),
        (HTTP_1_1, "invoke", "connection-interrupted"),
        (HTTP_1_1, "invoke-with-timeout", "connection-interrupted"),
        (HTTP_OLD, "post", "request-error"),
        (HTTP_OLD, "put", "request-error"),
    ],
)
def test_a_request_may_fail_instead_of_being_sent_twice(interface: str, function: str, case: str) -> None:
    """The guest reads that it was perhaps done; the next request goes out."""
    world = World()
    server = Server(world)
    request = OldRequest() if interface == HTTP_OLD else Request()
    args = (request, 1_000) if function == "invoke-with-timeout" else (request,)
    world.dies_at = 3
    with pytest.raises(Crash):
        life(world, server)(interface, function, *args)
    again = life(world, server, up_example="fail")
    result = again(interface, function, *args)
    assert isinstance(result, Err)
    assert result.error[0] == case
    assert "perhaps" in str(result.error[1])
    assert isinstance(again(interface, function, *args), Ok)
    assert len(server.asked) == 2
    assert world.ambiguous == ["fail"]


def test_a_request_that_only_reads_is_repeated_whatever_the_deployment_says() -> None:
    """There is nothing to ask anybody about."""
    world = World()
    server = Server(world)
    world.dies_at = 3
    with pytest.raises(Crash):
        sends(life(world, server), Request(verb="GET"))
    assert isinstance(sends(life(world, server, up_example="ask"), Request(verb="GET"))[0], Ok)
    assert world.ambiguous == []


@pytest.mark.parametrize(
    ("status", "kept"), [(200, True), (404, True), (408, False), (429, False), (500, False), (503, False)]
)
def test_a_status_says_whether_a_retry_asks_again(status: int, kept: bool) -> None:
    """What may succeed later is asked again, with the same key."""
    world = World()
    server = Server(world, status)
    run = life(world, server)
    sends(run, Request())
    segment = run.journal.cut()
    if segment:
        world.segments.append(segment)
    sends(life(world, server), Request())
    assert len(server.asked) == (1 if kept else 2)
    assert len(set(server.keys())) == 1


def test_an_error_of_the_network_is_asked_again_by_a_retry() -> None:
    """Nobody knows whether it was done: the key tells the server."""
    world = World()
    server = Server(world)
    run = life(world, server)
    assert isinstance(sends(run, Request(url="https://up.example/late"))[0], Err)
    assert run.journal.cut() != b""


def test_a_streamed_answer_is_there_as_a_whole() -> None:
    """A durable guest is told of it when all of it has come; another run reads the same."""
    world = World()
    request = Request(url="https://up.example/streamed")
    for _ in range(2):
        (result,) = sends(life(world, Server(world)), request)
        body = result.value.body if hasattr(result.value, "body") else result.value[2]
        assert isinstance(body[1], Buffer)
        assert (body[1].complete, body[1].take()) == (True, b"onetwo")


def test_what_proves_who_a_guest_is_reaches_no_journal() -> None:
    """Keys to sign with, and headers that are secrets; a changed one is a divergence nevertheless."""
    world = World()
    request = Request(
        headers=[("Authorization", "Bearer 12345"), ("x-a", "b")], authorization=("aws-sigv4-secret", Secret())
    )
    run = life(world, Server(world))
    sends(run, request)
    run.ends()
    stored = b"".join(world.segments)
    assert b"hunter2" not in stored
    assert b"12345" not in stored
    other = request._replace(headers=[("Authorization", "Bearer 12346"), ("x-a", "b")])
    with pytest.raises(Exception, match="a secret"):
        sends(life(world, Server(world)), other)
