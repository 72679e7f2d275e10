"""The invoke route over time: clients that go away, answers in pieces, slow readers, a host that drains."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from gateway_server import (
    TIMEOUT,
    Body,
    Later,
    Outcome,
    Server,
    collect,
    inspect,
    read_all,
    read_answers,
    read_until,
    serving,
)
from guesthouse.errors import Draining, Trap
from guesthouse.gateway.exchange import Exchange
from guesthouse.interfaces.invocation import ResponseSink, WebRequest


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(None, "inspect") as server:
        server.dispatcher.functions["inspect"] = inspect
        yield server


def test_an_answer_that_takes_a_while_arrives(server: Server) -> None:
    """An invocation that is not over at once is waited for."""

    async def wait() -> Outcome:
        await asyncio.sleep(0)
        return Outcome(body=b"late")

    server.add("late", lambda request, body, sink: Later(wait))
    assert server.request("GET", "/functions/default/late").body == b"late"


def test_a_client_that_goes_away_cancels_the_guest(server: Server) -> None:
    """The task that waits for the guest is cancelled."""
    begun, cancelled = threading.Event(), threading.Event()

    async def wait() -> Outcome:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return Outcome()

    server.add("hangs", lambda request, body, sink: Later(wait))
    with server.connect() as sock:
        sock.sendall(b"GET /functions/default/hangs HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert begun.wait(TIMEOUT)
        assert not cancelled.is_set()
    assert cancelled.wait(TIMEOUT)


def test_a_client_that_goes_away_at_once_cancels_the_guest_too(server: Server) -> None:
    """Also if it was gone before the guest's task had its first turn."""
    cancelled = threading.Event()

    async def wait() -> Outcome:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return Outcome()

    def hangs(request: WebRequest, body: Body, sink: ResponseSink | None) -> Later:
        assert isinstance(sink, Exchange)
        sink.protocol.transport.abort()
        return Later(wait)

    server.add("hangs-at-once", hangs)
    with server.connect() as sock:
        sock.sendall(b"GET /functions/default/hangs-at-once HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert read_all(sock) == b""
    assert cancelled.wait(TIMEOUT)


def test_a_client_that_goes_away_in_its_body_ends_the_stream(server: Server) -> None:
    """A guest that reads a streamed body is cancelled when the body's sender is gone."""
    begun, ended = threading.Event(), threading.Event()

    def reads(request: WebRequest, body: Body, sink: ResponseSink | None) -> Later:
        async def run() -> Outcome:
            begun.set()
            try:
                return Outcome(body=await collect(body))
            finally:
                ended.set()

        return Later(run)

    server.add("reads", reads)
    with server.connect() as sock:
        sock.sendall(
            b"POST /functions/default/reads HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
            + b"x" * 300_000
        )
        assert begun.wait(TIMEOUT)
    assert ended.wait(TIMEOUT)


def test_a_streamed_answer_arrives_piece_by_piece(server: Server) -> None:
    """Each piece can be read before the next one is made."""
    go_on = asyncio.Event()

    def streams(request: WebRequest, body: Body, sink: ResponseSink | None) -> Later:
        assert sink is not None

        async def run() -> Outcome:
            await sink.start(200, [("content-type", "text/event-stream"), ("connection", "keep-alive")])
            await sink.send(b"data: 1\n\n")
            await go_on.wait()
            await sink.send(b"data: 2\n\n")
            return Outcome(streamed=True)

        return Later(run)

    server.add("streams", streams)
    with server.connect() as sock:
        sock.sendall(b"GET /functions/default/streams HTTP/1.1\r\nHost: localhost\r\n\r\n")
        first = read_until(sock, b"data: 1\n\n\r\n")
        assert b"transfer-encoding: chunked\r\n" in first
        assert b"connection: keep-alive\r\n" in first
        server.on_loop(go_on.set)
        assert read_until(sock, b"0\r\n\r\n") == b"9\r\ndata: 2\n\n\r\n0\r\n\r\n"
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert read_answers(sock, 1) == [(200, b"ok\n")]


def test_a_stream_that_breaks_off_does_not_look_whole(server: Server) -> None:
    """A trap after the first byte ends the connection without the last chunk."""

    def breaks(request: WebRequest, body: Body, sink: ResponseSink | None) -> Later:
        assert sink is not None

        async def run() -> Outcome:
            await sink.start(200, [])
            await sink.send(b"half")
            return Outcome(streamed=True, error=Trap("unreachable"))

        return Later(run)

    server.add("breaks", breaks)
    with server.connect() as sock:
        sock.sendall(b"GET /functions/default/breaks HTTP/1.1\r\nHost: localhost\r\n\r\n")
        data = read_all(sock)
    assert not data.endswith(b"0\r\n\r\n")


def test_a_reader_that_is_too_slow_holds_the_guest_back(server: Server) -> None:
    """No more is kept for it than the buffers between, and all of it arrives in the end."""
    sent: list[int] = []

    def floods(request: WebRequest, body: Body, sink: ResponseSink | None) -> Later:
        assert sink is not None

        async def run() -> Outcome:
            await sink.start(200, [])
            for _ in range(300):
                await sink.send(b"x" * 100_000)
                sent.append(1)
            return Outcome(streamed=True)

        return Later(run)

    server.add("floods", floods)
    with server.connect() as sock:
        sock.sendall(b"GET /functions/default/floods HTTP/1.1\r\nHost: localhost\r\n\r\n")
        before = -1
        while before != len(sent) or not sent:  # until it stands still for many turns of the loop
            before = len(sent)
            for _ in range(100):
                server.on_loop(lambda: None)
        assert len(sent) < 200
        total, last = 0, b""
        while not last.endswith(b"\r\n0\r\n\r\n"):
            piece = sock.recv(1 << 20)
            total, last = total + len(piece), last[-10:] + piece
    assert total > 30_000_000
    assert len(sent) == 300


def test_a_drained_host_answers_503(server: Server) -> None:
    """What the dispatcher refuses because it drains is 503 with Retry-After."""

    def draining(request: WebRequest, body: Body, sink: ResponseSink | None) -> Outcome:
        raise Draining

    server.add("draining", draining)
    answer = server.request("GET", "/functions/default/draining")
    assert (answer.status, answer.problem) == (503, "draining")
    assert int(answer.headers["retry-after"]) > 0


def test_an_absolute_target_means_its_path(server: Server) -> None:
    """A proxy's way of writing the target is understood."""
    with server.connect() as sock:
        sock.sendall(b"GET http://localhost/functions/default/inspect/x?y=z HTTP/1.1\r\nHost: localhost\r\n\r\n")
        ((status, body),) = read_answers(sock, 1)
    assert status == 200
    assert b'"path": "x"' in body
