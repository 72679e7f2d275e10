"""C2: what is too large is refused before it is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from gateway_server import Later, Outcome, Server, inspect, read_all, read_answers, send, serving, split_answers
from guesthouse.limits import Limits


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        server.add("inspect", inspect)
        server.registry.add("small", Limits(request_bytes=100_000))
        yield server


def refused(server: Server, head: bytes, more: bytes = b"", times: int = 0) -> list[int]:
    """The statuses that come back, when `more` follows so many times."""
    with server.connect() as sock:
        send(sock, head)
        for _ in range(times):
            send(sock, more)
        return [status for status, _ in split_answers(read_all(sock))]


def test_ten_gigabytes_are_refused_at_once(server: Server) -> None:
    """By their announcement: 413 before a byte of the body was sent."""
    head = b"POST /functions/default/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000000\r\n\r\n"
    assert refused(server, head) == [413]


def test_a_body_of_the_limit_is_taken_and_one_more_byte_is_not(server: Server) -> None:
    """The deployment's own limit counts, exactly."""
    assert server.request("POST", "/functions/default/small", b"x" * 100_000).status == 200
    answer = server.request("POST", "/functions/default/small", b"x" * 100_001)
    assert (answer.status, answer.problem) == (413, "body-too-large")


@pytest.mark.parametrize("size", [1, 1000, 50_000])
def test_chunks_without_end_are_refused_at_the_limit(server: Server, size: int) -> None:
    """No length was announced: 413 as soon as it is over."""
    head = b"POST /functions/default/small HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n%b\r\n" % (size, b"x" * size)
    assert refused(server, head, chunk * (20_000 // size + 1), 30) == [413]


def test_streamed_chunks_without_end_are_refused_at_the_limit() -> None:
    """Also where the function has been reading for long."""
    with serving({"http": {"collect_bytes": 10_000}}) as server:
        server.registry.add("small", Limits(request_bytes=100_000))
        head = b"POST /functions/default/small HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert refused(server, head, b"2710\r\n%b\r\n" % (b"x" * 10_000), 30) == [413]


def test_a_chunk_that_is_all_extension_is_refused(server: Server) -> None:
    """Framing is not body, and not free."""
    head = b"POST /functions/default/echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n4;"
    assert refused(server, head, b"a" * 50_000, 50) == [400]


def test_trailers_without_end_are_refused(server: Server) -> None:
    """What follows a body is bounded too."""
    head = b"POST /functions/default/echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX: "
    assert refused(server, head, b"a" * 50_000, 50) == [400]


def test_one_header_without_end_is_refused(server: Server) -> None:
    """431, also before the header is whole."""
    assert refused(server, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ", b"a" * 10_000, 100) == [431]


def test_a_name_without_end_is_refused(server: Server) -> None:
    """431, also where it is the name."""
    assert refused(server, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX", b"a" * 10_000, 100) == [431]


def test_headers_up_to_the_bound_are_taken(server: Server) -> None:
    """32 KiB of names and values together; one byte more is 431."""
    room = 32 * 1024 - len("hostlocalhost") - len("x")
    for extra, status in ((0, 200), (1, 431)):
        head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: %b\r\nConnection: close\r\n\r\n"
        filler = b"a" * (room - len("connectionclose") + extra)
        assert refused(server, head % filler) == [status]


def test_a_hundred_headers_are_taken_and_one_more_is_not(server: Server) -> None:
    """431 says so."""
    for count, status in ((98, 200), (99, 431)):
        head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + b"X: y\r\n" * count + b"\r\n"
        assert refused(server, head) == [status]


def test_a_path_of_the_bound_is_taken_and_one_more_byte_is_not(server: Server) -> None:
    """8 KiB of path and query; 414 over it."""
    start = "/functions/default/inspect?x="
    for extra, status in ((0, 200), (1, 414)):
        assert server.request("GET", start + "a" * (8192 - len(start) + extra)).status == status


def test_a_path_without_end_is_refused(server: Server) -> None:
    """414, also before the first line is whole."""
    assert refused(server, b"GET /functions/default/inspect?x=", b"a" * 10_000, 100) == [414]


def test_a_thousand_parameters_are_taken_and_one_more_is_not(server: Server) -> None:
    """The query's parts are bounded, not only its bytes."""
    for count, status in ((1000, 200), (1001, 400)):
        assert server.request("GET", "/functions/default/inspect?" + "&".join(["a=b"] * count)).status == status


def test_a_module_over_the_bound_is_refused_by_its_announcement(server: Server) -> None:
    """Deploys have a bound of their own."""
    for content_type, size in ((b"application/wasm", 70_000_000), (b"application/json", 200_000_000)):
        head = b"PUT /functions/manage/default/big HTTP/1.1\r\nHost: localhost\r\n"
        head += b"Content-Type: %b\r\nContent-Length: %d\r\n\r\n"
        assert refused(server, head % (content_type, size)) == [413]


def test_waiting_requests_are_bounded(server: Server) -> None:
    """A client cannot queue up more than a few requests behind one that takes long."""
    release = asyncio.Event()

    async def wait() -> Outcome:
        await release.wait()
        return Outcome()

    server.add("slow", lambda request, body, sink: Later(wait))
    one = b"GET /functions/default/slow HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with server.connect() as sock:
        sock.sendall(one * 500)
        server.on_loop(release.set)
        answers = [status for status, _ in read_answers(sock, 500)]
    assert answers == [200] * 65 + [400]
