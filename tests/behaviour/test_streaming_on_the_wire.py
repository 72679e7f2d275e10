"""Streamed answers on real connections: framing, old clients, slow ones, and those that leave."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from http.client import HTTPConnection, IncompleteRead
from typing import Any
from urllib.parse import quote

import pytest

from gateway_server import Answer, Headers, read_until, receive
from harness import until
from hosted import Event, Hosted, Watcher
from support import FORMS

EVERY_FORM = (*FORMS, "unknown-unknown")
CHUNK = 65_536


@pytest.fixture(scope="module")
def server() -> Iterator[Hosted]:
    with Hosted(*(f"stream-calls:{form}" for form in EVERY_FORM), "returns", "echo") as server:
        yield server


@pytest.fixture(params=EVERY_FORM)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def path(form: str, *steps: Any) -> str:
    """Where the guest does these steps."""
    return f"/functions/default/stream-calls-{form}?do={quote(json.dumps(steps))}"


def sse(**fields: str) -> dict[str, Any]:
    """A step that sends an event."""
    return {"sse": fields}


def start(status: int = 200, *headers: tuple[str, str]) -> dict[str, Any]:
    """A step that begins the response explicitly."""
    return {"start": [status, headers]}


def request(server: Hosted, target: str, method: str = "GET", version: str = "1.1") -> socket.socket:
    """A raw connection on which this was asked."""
    sock = server.connect()
    sock.sendall(f"{method} {target} HTTP/{version}\r\nHost: localhost\r\n\r\n".encode())
    return sock


def to_the_end(sock: socket.socket) -> bytes:
    """What comes until the connection ends."""
    received = b""
    while data := sock.recv(CHUNK):
        received += data
    return received


def cancelled(server: Hosted, form: str) -> int:
    """How many calls of the guest ended because their client was gone."""
    recorder = server.host.metrics.recorder(f"default/stream-calls-{form}", "web")
    return recorder.outcomes.get("cancelled", 0)


# -- framing


def test_events_leave_with_the_three_headers_and_the_connection_stays(server: Hosted, form: str) -> None:
    """Chunked, and the next request on the same connection is answered."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    for _ in range(2):
        connection.request("GET", path(form, sse(event="e", data="d"), {"end": [200, "ignored"]}))
        response = connection.getresponse()
        answer = Answer(response.status, Headers(response), response.read())
        assert (answer.status, answer.body) == (200, b"event: e\ndata: d\n\n")
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["connection"] == "keep-alive"
        assert answer.headers["transfer-encoding"] == "chunked"
        assert "content-length" not in answer.headers
        assert "x-late" not in answer.headers
        assert answer.headers["x-invocation-id"]
    connection.close()


def test_each_event_leaves_when_it_is_sent(server: Hosted, form: str) -> None:
    """The guest computes for ever after the first, which has arrived."""
    with Watcher(server, path(form, sse(data="now"), "spin")) as watcher:
        assert watcher.next() == Event("", "now", "")


def test_a_failing_end_is_one_last_event_on_the_wire(server: Hosted, form: str) -> None:
    """The stream itself ends well."""
    answer = server.request("GET", path(form, sse(data="a"), {"end": [503, "gone\nhome"]}))
    assert answer.body == b"data: a\n\nevent: http-error\ndata: HTTP 503: gone\ndata: home\n\n"


def test_a_raw_stream_is_framed_by_the_host(server: Hosted, form: str) -> None:
    """Whatever length or framing the guest asks for."""
    headers = [("content-length", "1"), ("transfer-encoding", "gzip"), ("Connection", "close"), ("x-a", "1")]
    answer = server.request("GET", path(form, start(202, *headers), {"data": "abc"}, {"bytes": [0, 255]}))
    assert (answer.status, answer.body) == (202, b"abc\0\xff")
    assert answer.headers["transfer-encoding"] == "chunked"
    assert (answer.headers["x-a"], "content-length" in answer.headers, "connection" in answer.headers) == (
        "1",
        False,
        False,
    )


@pytest.mark.parametrize(
    "steps",
    [
        [start(), {"data": "abc"}, {"end": [500, "no"]}],
        [start(), {"data": "abc"}, "trap"],
        [sse(data="abc"), "trap"],
    ],
)
def test_what_cannot_be_completed_is_broken_off(server: Hosted, form: str, steps: list[Any]) -> None:
    """The client can tell: the last chunk never comes."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", path(form, *steps))
    with pytest.raises((IncompleteRead, ConnectionResetError)):
        connection.getresponse().read()
    connection.close()


def test_a_guest_that_traps_before_it_sends_is_a_problem(server: Hosted, form: str) -> None:
    """Nothing has left yet, so the answer can still say so."""
    assert server.request("GET", path(form, sse(), "trap")).problem == "guest-trapped"


@pytest.mark.parametrize("status", [204, 304])
def test_a_streamed_status_without_a_body_has_none(server: Hosted, form: str, status: int) -> None:
    """And no framing of one."""
    answer = server.request("GET", path(form, start(status), {"data": "x"}, {"end": [200, ""]}))
    assert (answer.status, answer.body) == (status, b"")
    assert "transfer-encoding" not in answer.headers


def test_head_gets_the_head(server: Hosted, form: str) -> None:
    """The guest runs; what it sends goes nowhere; the connection can be used again."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    for steps in ([sse(data="x" * 1000)], [start(201), {"data": "x"}]):
        connection.request("HEAD", path(form, *steps))
        response = connection.getresponse()
        assert response.read() == b""
        assert response.status in (200, 201)
    connection.request("GET", path(form, start(), {"data": "body"}))
    assert connection.getresponse().read() == b"body"
    connection.close()


@pytest.mark.parametrize(
    ("steps", "body"),
    [([sse(data="a"), sse(data="b")], b"data: a\n\ndata: b\n\n"), ([start(), {"data": "abc"}], b"abc")],
)
def test_a_client_of_http_1_0_gets_plain_bytes_until_the_end(
    server: Hosted, form: str, steps: list[Any], body: bytes
) -> None:
    """No chunks; the end of the connection is the end of the body."""
    with request(server, path(form, *steps), version="1.0") as sock:
        head, _, rest = to_the_end(sock).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert b"connection: close" in head.lower()
    assert rest == body


def test_a_client_of_http_1_0_is_told_as_well_that_an_answer_is_not_whole(server: Hosted, form: str) -> None:
    """By a connection that is reset: one that is closed would be a regular end."""
    steps = (start(), {"data": "abc"}, {"end": [500, ""]})
    with request(server, path(form, *steps), version="1.0") as sock, pytest.raises(ConnectionResetError):
        to_the_end(sock)


def test_an_answer_without_a_content_type_is_sent_without_one(server: Hosted) -> None:
    """Nothing is added where the guest said nothing."""
    for kind in ("unit", "default", "built", "question-mark", "message"):
        answer = server.request("POST", f"/functions/default/returns/{kind}", b"")
        assert "content-type" not in answer.headers
    assert server.request("POST", "/functions/default/returns/panic", b"").problem == "guest-trapped"


# -- slow clients


def test_a_slow_client_holds_the_guest_back_and_gets_everything(server: Hosted, form: str) -> None:
    """The host keeps no more than a connection's buffer while the guest waits."""
    count = 300
    client = HTTPConnection("127.0.0.1", server.port, timeout=30)
    client.request("GET", path(form, start(), {"repeat": [count, CHUNK]}))
    response = client.getresponse()
    (connection,) = waiting(server)
    until(lambda: connection.flow.write_paused, "the guest was not held back")
    assert connection.transport.get_write_buffer_size() < 4 * CHUNK
    assert server.host.dispatcher.pool.in_use == 1
    assert len(response.read()) == count * CHUNK
    client.close()
    server.idle()


def waiting(server: Hosted) -> list[Any]:
    """The connections of the server, once there is one."""
    connections = server.gateway._server.server_state.connections  # type: ignore[union-attr]
    until(lambda: any(connection._active is not None for connection in connections), "nothing is being answered")
    return [connection for connection in connections if connection._active is not None]


# -- clients that leave


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([sse(data="x"), "spin"], id="computing"),
        pytest.param([sse(data="x"), {"repeat": [1, 1]}, {"events": 90_000}], id="streaming events"),
        pytest.param([start(), {"repeat": [900, CHUNK]}], id="streaming bytes"),
    ],
)
def test_a_guest_is_stopped_when_its_client_has_gone(server: Hosted, form: str, steps: list[Any]) -> None:
    """Whether it computes or waits for the client to read."""
    before = cancelled(server, form)
    with request(server, path(form, *steps)) as sock:
        assert receive(sock)
    server.idle()
    until(lambda: cancelled(server, form) == before + 1, "the call was not counted as cancelled")


@pytest.mark.parametrize("form", FORMS)
def test_a_sleeping_guest_is_stopped_when_its_client_has_gone(server: Hosted, form: str) -> None:
    """It is suspended, and never goes on."""
    before = cancelled(server, form)
    with request(server, path(form, sse(data="x"), "sleep")) as sock:
        read_until(sock, b"data: x")
    server.idle()
    until(lambda: cancelled(server, form) == before + 1, "the call was not counted as cancelled")


@pytest.mark.parametrize("form", FORMS)
def test_a_client_that_ends_its_side_has_gone(server: Hosted, form: str) -> None:
    """The server does not guess that it may still be reading."""
    before = cancelled(server, form)
    with request(server, path(form, sse(data="x"), "sleep")) as sock:
        read_until(sock, b"data: x")
        sock.shutdown(socket.SHUT_WR)
        server.idle()
    until(lambda: cancelled(server, form) == before + 1, "the call was not counted as cancelled")


@pytest.mark.parametrize("form", FORMS)
def test_a_server_that_stops_waits_for_streams_as_long_as_it_drains(form: str) -> None:
    """Then they are broken off: a client must not take the beginning for the whole."""
    with Hosted(f"stream-calls:{form}", settings={"drain_seconds": 0.1}) as server:
        with request(server, path(form, sse(data="x"), "sleep")) as sock:
            read_until(sock, b"data: x")
            server.stop()
            rest = b""
            while data := receive(sock):
                rest += data
        assert not rest.endswith(b"0\r\n\r\n")
        server.join()
