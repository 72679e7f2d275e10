"""C1: a client that takes its time holds a socket for a bounded time, and nobody else notices."""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import repeat

import pytest

from gateway_server import TIMEOUT, Body, Later, Outcome, Server, read_all, read_answers, send, serving, split_answers
from guesthouse.interfaces.invocation import ResponseSink, WebRequest
from hosted import Hosted

SHORT = {
    "http": {
        "header_seconds": 0.3,
        "body_grace_seconds": 0.3,
        "write_stall_seconds": 0.3,
        "keep_alive_seconds": 0.3,
        "linger_seconds": 0.2,
        "connections_per_address": 20,
        "trusted_addresses": [],
    }
}
"""The real deadlines are seconds; what they do is the same."""


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(SHORT) as server:
        yield server


def drip(sock: socket.socket, byte: bytes) -> None:
    """Sends a byte now and then, until the other side answers or ends."""
    sock.settimeout(0.02)
    while True:
        try:
            sock.sendall(byte)
            sock.recv(1, socket.MSG_PEEK)
            break
        except TimeoutError:
            continue
        except OSError:
            break
    sock.settimeout(TIMEOUT)


@pytest.mark.parametrize(
    "start",
    [b"\r\n", b"GET /healthz", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "],
    ids=["empty lines", "half a line", "half a header"],
)
def test_headers_have_a_deadline(server: Server, start: bytes) -> None:
    """A client that sends a byte now and then gets 408, and its connection ends."""
    with server.connect() as sock:
        sock.sendall(start)
        drip(sock, b"a" if start.strip() else start)
        answers = list(split_answers(read_all(sock)))
    assert [status for status, _ in answers] == [408]


def test_a_silent_connection_ends(server: Server) -> None:
    """Also one that never sends anything."""
    with server.connect() as sock:
        assert [status for status, _ in split_answers(read_all(sock))] == [408]


def test_an_idle_connection_ends_quietly(server: Server) -> None:
    """After an answer a connection may wait for the next request, but not for ever; nothing is said at its end."""
    with server.connect() as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert [status for status, _ in split_answers(read_all(sock))] == [200]


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 50000", b"Content-Length: 5000000", b"Transfer-Encoding: chunked"]
)
def test_bodies_have_a_slowest_rate(server: Server, framing: bytes) -> None:
    """Held or streamed: 408, or the end where the function had begun its answer."""
    with server.connect() as sock:
        sock.sendall(b"POST /functions/default/echo HTTP/1.1\r\nHost: localhost\r\n" + framing + b"\r\n\r\n")
        if framing.startswith(b"T"):
            sock.sendall(b"4;")
        drip(sock, b"a")
        answers = list(split_answers(read_all(sock)))
    assert [status for status, _ in answers] == [408]


@pytest.mark.parametrize("framing", [b"Content-Length: 50000", b"Transfer-Encoding: chunked"])
def test_bodies_for_the_queue_have_the_same_slowest_rate(framing: bytes) -> None:
    """408, and nothing of such a call is queued."""
    with Hosted("echo", settings=SHORT) as server:
        with server.connect() as sock:
            sock.sendall(b"POST /async-function/echo HTTP/1.1\r\nHost: localhost\r\n" + framing + b"\r\n\r\n")
            if framing.startswith(b"T"):
                sock.sendall(b"4;")
            drip(sock, b"a")
            answers = list(split_answers(read_all(sock)))
        assert [status for status, _ in answers] == [408]
        assert server.request("GET", "/invocations").json["invocations"] == []


def test_a_guest_that_reads_a_body_that_stops_is_cancelled(server: Server) -> None:
    """Its sender was too slow: there is nobody to answer."""
    ended = threading.Event()

    def reads(request: WebRequest, body: Body, sink: ResponseSink | None) -> Later:
        async def run() -> Outcome:
            try:
                async for _ in body:  # type: ignore[union-attr]  # it is streamed
                    pass
            finally:
                ended.set()
            return Outcome()

        return Later(run)

    server.add("reads", reads)
    with server.connect() as sock:
        sock.sendall(
            b"POST /functions/default/reads HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500000\r\n\r\n"
            + b"a" * 300_000
        )
        assert [status for status, _ in split_answers(read_all(sock))] == [408]
    assert ended.wait(TIMEOUT)


def test_a_body_that_keeps_its_pace_is_not_cut(server: Server) -> None:
    """Only what is slower than the rate is an attack."""
    with server.connect() as sock:
        sock.sendall(b"POST /functions/default/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000\r\n\r\n")
        sock.settimeout(0.05)
        for _ in range(19):  # a second, three times the grace period
            sock.sendall(b"x" * 200)
            with pytest.raises(TimeoutError):
                sock.recv(1)
        sock.settimeout(TIMEOUT)
        sock.sendall(b"x" * 200)
        assert read_answers(sock, 1) == [(200, b"x" * 4000)]


def test_a_client_that_does_not_read_is_cut_off(server: Server) -> None:
    """An answer that nobody takes does not stay for ever."""
    ended = threading.Event()

    def floods(request: WebRequest, body: Body, sink: ResponseSink | None) -> Later:
        assert sink is not None

        async def run() -> Outcome:
            try:
                await sink.start(200, [])
                while True:
                    await sink.send(b"x" * 100_000)
            finally:
                ended.set()

        return Later(run)

    server.add("floods", floods)
    with server.connect() as sock:
        sock.sendall(b"GET /functions/default/floods HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert ended.wait(TIMEOUT)


def test_a_large_answer_that_is_not_read_is_cut_off(server: Server) -> None:
    """Also one that was given at once."""
    called = threading.Event()

    def large(request: WebRequest, body: Body, sink: ResponseSink) -> Outcome:
        called.set()
        return Outcome(body=b"x" * 30_000_000)

    server.add("large", large)
    with server.connect() as sock:
        sock.sendall(b"GET /functions/default/large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert called.wait(TIMEOUT)  # from here on the connection is open until it is cut off
        while server.on_loop(lambda: server.gateway._app.watch.open):
            pass
        assert len(read_all(sock)) < 30_000_000


def test_a_refused_client_that_goes_on_sending_is_cut_off(server: Server) -> None:
    """What it sends is thrown away, for a while."""
    with server.connect() as sock:
        send(sock, b"POST /functions/default/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n")
        assert [status for status, _ in read_answers(sock, 1)] == [413]
        block = b"x" * 1_000_000
        with pytest.raises(OSError, match=r"reset|pipe"):
            deque(map(sock.sendall, repeat(block)), maxlen=0)


def test_one_address_gets_only_so_many_connections(server: Server) -> None:
    """The next one is told so at once, and there is room again when one ends."""
    with ExitStack() as stack:
        for _ in range(20):
            sock = stack.enter_context(server.connect())
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert read_answers(sock, 1) == [(200, b"ok\n")]
        with server.connect() as over:
            assert [status for status, _ in split_answers(read_all(over))] == [503]
        assert read_all(sock) == b""
    assert server.request("GET", "/healthz").status == 200


def test_others_are_answered_while_sockets_are_held() -> None:
    """A few hundred slow connections do not delay anybody."""
    with serving({"http": {"header_seconds": 60}}) as server, ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(server.connect()).sendall(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
        for _ in range(50):
            assert server.request("POST", "/functions/default/echo", b"x").body == b"x"
