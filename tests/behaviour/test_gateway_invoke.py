"""The invoke route: what a function is told of a request, and what its answer becomes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from gateway_server import (
    Body,
    Later,
    Outcome,
    Server,
    inspect,
    read_all,
    read_answers,
    read_until,
    send,
    serving,
)
from guesthouse.errors import AdmissionFull, Cancelled, DeadlineExceeded, Trap
from guesthouse.interfaces.invocation import ResponseSink, WebRequest


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(None, "inspect") as server:
        server.dispatcher.functions["inspect"] = inspect
        yield server


def answering(server: Server, *outcomes: Outcome) -> None:
    """Makes the function `fixed` answer these, one after the other."""
    waiting = list(outcomes)
    server.add("fixed", lambda request, body, sink: waiting.pop(0))


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_any_method_reaches_the_function(server: Server, method: str) -> None:
    """The method is passed on in capitals."""
    assert server.request(method, "/functions/default/inspect").json["method"] == method


def test_the_body_comes_back_from_echo(server: Server) -> None:
    """A body of one read is given to the function whole."""
    answer = server.request("POST", "/functions/default/echo", b"hello")
    assert (answer.status, answer.body) == (200, b"hello")


@pytest.mark.parametrize("size", [0, 1, 1023, 65_535, 65_536, 65_537, 262_145, 3_000_000])
def test_bodies_of_all_sizes_come_back(server: Server, size: int) -> None:
    """Held, collected and streamed bodies are the same to the caller."""
    body = bytes(i * 7 % 251 for i in range(min(size, 1000))) * (size // 1000 + 1)
    assert server.request("POST", "/functions/default/echo", body[:size]).body == body[:size]


@pytest.mark.parametrize("size", [0, 1, 70_000, 600_000])
def test_chunked_bodies_come_back(server: Server, size: int) -> None:
    """A body of unknown length is received like any other."""
    with server.connect() as sock:
        sock.sendall(b"POST /functions/default/echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        left = size
        while left:
            piece = min(left, 50_000)
            sock.sendall(b"%x\r\n%b\r\n" % (piece, b"z" * piece))
            left -= piece
        sock.sendall(b"0\r\n\r\n")
        ((status, body),) = read_answers(sock, 1)
    assert (status, body) == (200, b"z" * size)


def test_a_body_in_pieces_is_put_together(server: Server) -> None:
    """Headers and body may arrive in any number of segments."""
    message = b"POST /functions/default/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"
    with server.connect() as sock:
        for byte in message:
            sock.sendall(bytes([byte]))
        assert read_answers(sock, 1) == [(200, b"hello")]


def test_a_long_body_is_collected_for_a_function_that_cannot_stream(server: Server) -> None:
    """Functions of the older interface get every body whole."""
    seen: list[type] = []

    def old(request: WebRequest, body: Body, sink: ResponseSink | None) -> Outcome:
        seen.append(type(body))
        return Outcome(body=str(len(body)).encode() if isinstance(body, bytes) else b"")

    server.add("old", old)
    server.dispatcher.streams = False
    try:
        assert server.request("POST", "/functions/default/old", b"x" * 1_000_000).body == b"1000000"
    finally:
        server.dispatcher.streams = True
    assert seen == [bytes]


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("", None, []),
        ("/", None, []),
        ("/a/b", "a/b", []),
        ("/a%20b/%C3%A9", "a b/é", []),
        ("?a=1&b=2&a=3", None, [["a", "1"], ["b", "2"], ["a", "3"]]),
        ("/?x", None, [["x", ""]]),
        ("?a=%26+%3D&b=c%C3%A9", None, [["a", "& ="], ["b", "cé"]]),
        ("?", None, []),
        ("?token=mine", None, [["token", "mine"]]),
    ],
)
def test_path_and_query_arrive_decoded(server: Server, target: str, path: str | None, query: list[list[str]]) -> None:
    """The rest of the path comes without its slash, the query in order with duplicates."""
    told = server.request("GET", "/functions/default/inspect" + target).json
    assert (told["path"], told["query"]) == (path, query)


def test_headers_arrive_in_lower_case_in_order_with_duplicates(server: Server) -> None:
    """Names in lower case, values without the space around them, UTF-8 or Latin-1."""
    with server.connect() as sock:
        sock.sendall(
            b"GET /functions/default/inspect HTTP/1.1\r\nHOST: localhost\r\nX-One: a  \r\nx-two:\tb\r\nX-ONE: c\r\n"
            b"Authorization: mine\r\nX-Utf: \xc3\xa9\r\nX-Latin: \xe9\r\n\r\n"
        )
        ((_, body),) = read_answers(sock, 1)
    assert json.loads(body)["headers"] == [
        ["host", "localhost"],
        ["x-one", "a"],
        ["x-two", "b"],
        ["x-one", "c"],
        ["authorization", "mine"],
        ["x-utf", "é"],
        ["x-latin", "é"],
    ]


def test_an_unknown_function_is_a_404_problem(server: Server) -> None:
    """No such function: not-found."""
    answer = server.request("GET", "/functions/default/nobody")
    assert (answer.status, answer.problem) == (404, "not-found")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.json["request_id"]


def test_a_spawn_function_cannot_be_called(server: Server) -> None:
    """Spawn functions answer nobody."""
    server.registry.add("spawned", kind="spawn")
    assert server.request("POST", "/functions/default/spawned").problem == "not-found"


@pytest.mark.parametrize(
    ("error", "status", "problem"),
    [
        (Trap("unreachable"), 502, "guest-trapped"),
        (DeadlineExceeded(), 504, "deadline-exceeded"),
        (AdmissionFull(retry_after=7), 429, "admission-full"),
        (Cancelled(), 499, "cancelled"),
    ],
)
def test_errors_of_an_invocation_are_problems_with_its_id(
    server: Server, error: Trap, status: int, problem: str
) -> None:
    """What a guest did wrong has its own status, and the invocation's id."""
    answering(server, Outcome(error=error, invocation_id="abc"))
    answer = server.request("POST", "/functions/default/fixed")
    assert (answer.status, answer.problem, answer.json["invocation_id"]) == (status, problem, "abc")
    assert answer.headers["x-invocation-id"] == "abc"


def test_a_full_host_says_when_to_come_again(server: Server) -> None:
    """429 comes with Retry-After."""

    def full(request: WebRequest, body: Body, sink: ResponseSink | None) -> Outcome:
        raise AdmissionFull(retry_after=7)

    server.add("full", full)
    answer = server.request("POST", "/functions/default/full")
    assert (answer.status, answer.headers["retry-after"]) == (429, "7")


def test_a_bug_of_ours_is_a_500_without_its_text(server: Server) -> None:
    """An exception that nobody expected says nothing to the client, and the connection goes on."""

    def broken(request: WebRequest, body: Body, sink: ResponseSink | None) -> Outcome:
        raise RuntimeError("the password is 1234")

    server.add("broken", broken)
    answer = server.request("POST", "/functions/default/broken")
    assert (answer.status, answer.problem) == (500, "host-error")
    assert b"1234" not in answer.body


def test_the_answers_headers_are_the_functions_own(server: Server) -> None:
    """Order and duplicates stay; framing, hop-by-hop, date and id are ours; no content type is made up."""
    headers = [
        ("X-One", "1"),
        ("set-cookie", "a"),
        ("Set-Cookie", "b"),
        ("Content-Length", "999"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "x-one"),
        ("Keep-Alive", "1"),
        ("Date", "yesterday"),
        ("X-Invocation-Id", "forged"),
    ]
    answering(server, Outcome(body=b"hi", headers=headers, invocation_id="real"))
    answer = server.request("GET", "/functions/default/fixed")
    assert answer.headers.all("set-cookie") == ["a", "b"]
    assert (answer.headers["content-length"], answer.headers["x-invocation-id"]) == ("2", "real")
    assert answer.headers["x-one"] == "1"
    assert answer.headers["date"].endswith("GMT")
    for name in ("transfer-encoding", "connection", "keep-alive", "content-type", "server"):
        assert name not in answer.headers


def test_head_has_the_length_and_not_the_body(server: Server) -> None:
    """HEAD runs the function and leaves its body out."""
    answering(server, Outcome(body=b"hello"))
    with server.connect() as sock:
        sock.sendall(b"HEAD /functions/default/fixed HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        data = read_all(sock)
    assert b"content-length: 5\r\n" in data
    assert data.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("status", [204, 205, 304])
def test_answers_without_a_body_have_none(server: Server, status: int) -> None:
    """204, 205 and 304 lose a body that the function gave them, and the connection stays in step."""
    answering(server, Outcome(status=status, body=b"oops"))
    with server.connect() as sock:
        sock.sendall(
            b"GET /functions/default/fixed HTTP/1.1\r\nHost: localhost\r\n\r\n"
            b"GET /functions/default/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi"
        )
        assert read_answers(sock, 2) == [(status, b""), (200, b"hi")]


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    """Also where the first one takes longer than the second."""
    release = asyncio.Event()

    async def wait() -> Outcome:
        await release.wait()
        return Outcome(body=b"slow")

    server.add("slow", lambda request, body, sink: Later(wait))
    with server.connect() as sock:
        sock.sendall(
            b"GET /functions/default/slow HTTP/1.1\r\nHost: localhost\r\n\r\n"
            b"POST /functions/default/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nfast"
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
        server.on_loop(release.set)
        assert read_answers(sock, 3) == [(200, b"slow"), (200, b"fast"), (200, b"ok\n")]


def test_thousand_requests_on_one_connection(server: Server) -> None:
    """A connection stays open and in step."""
    one = b"POST /functions/default/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"
    with server.connect() as sock:
        sock.sendall(one * 1000)
        assert read_answers(sock, 1000) == [(200, b"abc")] * 1000


def test_what_came_before_a_request_is_not_counted_as_its_headers(server: Server) -> None:
    """Many small requests may arrive at once, and half of another one behind them."""
    one = b"POST /functions/default/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"
    for _ in range(5):  # how the bytes are cut into reads is the kernel's business
        with server.connect() as sock:
            sock.sendall(one * 1000 + one[:30])
            assert read_answers(sock, 1000) == [(200, b"abc")] * 1000
            sock.sendall(one[30:])
            assert read_answers(sock, 1) == [(200, b"abc")]


def test_headers_behind_another_request_have_their_bound_all_the_same(server: Server) -> None:
    """Also where both came in one read, and where they never end."""
    first = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    large = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Large: " + b"x" * 40_000
    for behind in (large + b"\r\n\r\n", large + b"x" * 1_000_000):
        with server.connect() as sock:
            send(sock, first + behind)
            assert [status for status, _ in read_answers(sock, 2)] == [200, 431]


def test_http_1_0_is_answered_and_closed(server: Server) -> None:
    """Old clients get an answer that they understand."""
    with server.connect() as sock:
        sock.sendall(b"POST /functions/default/echo HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi")
        data = read_all(sock)
    assert b"connection: close\r\n" in data
    assert data.endswith(b"\r\n\r\nhi")


def test_expect_continue_is_answered_before_the_body(server: Server) -> None:
    """A careful client sends its body only when asked."""
    with server.connect() as sock:
        sock.sendall(
            b"POST /functions/default/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        assert read_until(sock, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"hi")
        assert read_answers(sock, 1) == [(200, b"hi")]


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 2\r\n\r\nhi", b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"]
)
@pytest.mark.parametrize("in_pieces", [False, True])
def test_an_offer_to_upgrade_is_ignored(server: Server, framing: bytes, in_pieces: bool) -> None:
    """A client that would rather speak HTTP/2 gets its answer; its body stays its body."""
    message = (
        b"POST /functions/default/echo HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n" + framing
    )
    follow = b"POST /functions/default/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nmore"
    with server.connect() as sock:
        for piece in [bytes([byte]) for byte in message + follow] if in_pieces else [message + follow]:
            sock.sendall(piece)
        assert read_answers(sock, 2) == [(200, b"hi"), (200, b"more")]
