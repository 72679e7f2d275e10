"""`/async-function/`: any function can be called later, by the way it is called (behaviours, section 5)."""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from gateway_server import Answer, read_answers, send, serving
from queued import attached, enqueue, hold, record
from served import Origin, Served, config, served
from support import guest

BODY = bytes(range(256)) * 4


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with Origin() as origin:
        yield origin


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("server")
    settings = "[queue]\nbody_bytes = 4096\n\n[limits]\ndeadline_ms = 60000\n"
    with served(folder / "data", "--config", config(folder, settings)) as server:
        for name in ("echo", "fetch", "headers", "shop/headers", "spawn-outcome"):
            assert server.deploy(name).status == 204
        yield server


def told(server: Served, path: str, **headers: str) -> dict[str, object]:
    """What the guest `headers` learned of a call that was queued."""
    answer = attached(server, enqueue(server, path, b"", {name.replace("_", "-"): headers[name] for name in headers}))
    assert answer.status == 200
    return dict(answer.json)


# -- what is carried


def test_the_answer_is_202_with_an_empty_body_and_the_calls_id(server: Served) -> None:
    """And where to ask for it, and when it was accepted in nanoseconds."""
    before = time.time_ns()
    answer = server.request("POST", "/async-function/echo", b"x")
    assert (answer.status, answer.body) == (202, b"")
    call = answer.headers["x-call-id"]
    assert answer.headers["location"] == f"/invocations/{call}"
    assert before <= int(answer.headers["x-start-time"]) <= time.time_ns()
    assert "preference-applied" not in answer.headers
    assert record(server, call)["id"] == call


def test_the_body_reaches_the_function_unchanged(server: Served) -> None:
    """Bytes that are no text; and none at all."""
    for body in (BODY, b""):
        assert attached(server, enqueue(server, "echo", body)).body == body


def test_path_query_method_and_headers_reach_the_function_unchanged(server: Served) -> None:
    """As they would if it was called at once."""
    at_once = server.request(
        "POST", "/functions/default/headers/a%20b/c?x=1&x=2&y=%2F", b"", {"x-own": "1", "accept": "a/b"}
    )
    later = told(server, "headers/a%20b/c?x=1&x=2&y=%2F", x_own="1", accept="a/b")
    for part in ("method", "path", "query"):
        assert later[part] == at_once.json[part]
    added = {"x-call-id", "x-start-time"}
    assert {name: value for name, value in later["headers"].items() if name not in added} == at_once.json["headers"]


def test_a_slash_behind_the_name_is_no_path(server: Served) -> None:
    """As of a function that is called at once."""
    assert told(server, "headers/")["path"] == told(server, "headers")["path"]


def test_a_suffix_names_the_namespace(server: Served) -> None:
    """Without one it is the host's own; with one a path may follow."""
    assert record(server, enqueue(server, "headers.shop"))["namespace"] == "shop"
    assert record(server, enqueue(server, "headers.default"))["namespace"] == "default"
    assert told(server, "headers.shop/a/b")["path"] == "a/b"
    assert told(server, "headers.shop")["environment"]["cache"] == "shop"


def test_a_body_that_arrives_slowly_is_queued_whole(server: Served) -> None:
    """In pieces, with and without its length."""
    for head in (b"Content-Length: 6", b"Transfer-Encoding: chunked"):
        with server.connect() as sock:
            sock.sendall(b"POST /async-function/echo HTTP/1.1\r\nHost: localhost\r\n%b\r\n\r\n" % head)
            for piece in (b"abc", b"def"):
                sock.sendall(b"3\r\n%b\r\n" % piece if b"chunked" in head else piece)
            sock.sendall(b"0\r\n\r\n" if b"chunked" in head else b"")
            call = _id_of(sock)
        assert attached(server, call).body == b"abcdef"


def _id_of(sock: socket.socket) -> str:
    head = b""
    while b"\r\n\r\n" not in head:
        head += sock.recv(65536)
    assert head.startswith(b"HTTP/1.1 202 ")
    return dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])[b"x-invocation-id"].decode()


def test_requests_that_come_at_once_are_all_accepted_in_their_order(server: Served) -> None:
    """On one connection, without waiting for an answer."""
    with server.connect() as sock:
        for number in range(8):
            send(sock, b"POST /async-function/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n%d" % number)
        assert read_answers(sock, 8) == [(202, b"")] * 8


def test_the_function_is_told_the_calls_id_and_start(server: Served) -> None:
    """The caller's own id, or the one that it was given; both as its answer says."""
    for own in ({}, {"x-call-id": "order 17"}):
        answer = server.request("POST", "/async-function/headers", b"", own)
        seen = attached(server, answer.headers["x-invocation-id"]).json["headers"]
        assert (
            seen["x-call-id"] == answer.headers["x-call-id"] == own.get("x-call-id", answer.headers["x-invocation-id"])
        )
        assert seen["x-start-time"] == answer.headers["x-start-time"]


def test_a_start_that_the_caller_gives_is_kept(server: Served) -> None:
    """It was the caller who began."""
    answer = server.request("POST", "/async-function/headers", b"", {"x-start-time": "123456"})
    assert answer.headers["x-start-time"] == "123456"


def test_the_function_is_not_shown_what_was_for_the_host(server: Served) -> None:
    """Delay, key, preferences, idempotency key, callback, and the token."""
    seen = told(
        server,
        "headers",
        guesthouse_delay="0",
        guesthouse_key="k",
        idempotency_key="once",
        prefer="handling=lenient",
        x_own="1",
    )["headers"]
    assert seen["x-own"] == "1"
    assert not set(seen) & {"guesthouse-delay", "guesthouse-key", "idempotency-key", "prefer", "x-callback-url"}


# -- what is refused


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "OPTIONS"])
def test_only_post_queues(server: Served, method: str) -> None:
    """Others are 405, with what is allowed."""
    answer = server.request(method, "/async-function/echo")
    assert (answer.status, answer.headers["allow"]) == (405, "DELETE, POST")
    assert server.request(method, "/async-function/echo/rest").headers["allow"] == "POST"


@pytest.mark.parametrize("name", ["nothing", "echo.shop", "echo.", ".default", "echo.default.x", "", "ECHO", "a%2Fb"])
def test_an_unknown_function_is_404_here_and_now(server: Served, name: str) -> None:
    """Nothing is queued that cannot run."""
    assert server.request("POST", f"/async-function/{name}", b"x").problem == "not-found"


def test_a_library_cannot_be_queued() -> None:
    """Its exports have types of their own."""
    with serving() as server:
        server.registry.add("sums", kind="library")
        answer = server.request("POST", "/async-function/sums")
        assert (answer.problem, "library function" in answer.json["detail"]) == ("not-found", True)


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"x-callback-url": "not a url"}, "URL"),
        ({"x-callback-url": "ftp://example.org/"}, ""),
        ({"x-callback-url": "http://user:secret@example.org/"}, ""),
        ({"x-callback-url": ""}, "X-Callback-Url"),
        ({"x-call-id": "x" * 129}, "X-Call-Id has 1 to 128"),
        ({"guesthouse-delay": "tomorrow"}, "Guesthouse-Delay has a number of seconds"),
        ({"guesthouse-delay": "367d"}, "at most a year"),
        ({"guesthouse-key": "x" * 257}, "Guesthouse-Key has 1 to 256"),
        ({"idempotency-key": "x" * 256}, "Idempotency-Key has 1 to 255"),
        ({"prefer": "wait=long"}, "Prefer: wait has a number"),
    ],
)
def test_a_malformed_header_is_400_and_says_what_was_expected(
    server: Served, headers: dict[str, str], said: str
) -> None:
    """And nothing is queued."""
    answer = server.request("POST", "/async-function/echo", b"x", headers)
    assert (answer.status, answer.problem) == (400, "bad-request")
    assert said in answer.json["detail"]


def test_a_callback_that_egress_forbids_is_400(server: Served) -> None:
    """Where the function itself could not send a request, its result does not go either."""
    answer = server.request("POST", "/async-function/echo", b"x", {"x-callback-url": "http://169.254.169.254/latest"})
    assert answer.status == 400
    assert server.request("GET", "/queues").json["queues"] == [] or answer.problem == "bad-request"


def test_a_body_over_the_queues_bound_is_413(server: Served) -> None:
    """Before it has arrived, where its length says so, and as soon as it is too long otherwise."""
    long, chunked = b"Content-Length: 100000", b"Transfer-Encoding: chunked"
    for head, piece in ((long, b""), (chunked, b"1001\r\n" + b"x" * 4097 + b"\r\n")):
        with server.connect() as sock:
            sock.sendall(b"POST /async-function/echo HTTP/1.1\r\nHost: localhost\r\n%b\r\n\r\n" % head + piece)
            ((status, body),) = read_answers(sock, 1)
            assert (status, json.loads(body)["type"].rpartition(":")[2]) == (413, "body-too-large")


def test_a_full_queue_is_429_at_once_with_retry_after(tmp_path: Path) -> None:
    """What was accepted before stays."""
    settings = "[queue]\nmax_calls = 4\n"
    with served(tmp_path / "data", "--config", config(tmp_path, settings)) as server:
        server.deploy("echo")
        answers = [server.request("POST", "/async-function/echo", b"x", {"guesthouse-delay": "1h"}) for _ in range(5)]
        accepted = [answer for answer in answers if answer.status == 202]
        assert accepted
        assert (answers[-1].problem, answers[-1].status) == ("queue-full", 429)
        assert int(answers[-1].headers["retry-after"]) > 0
        (queue,) = server.request("GET", "/queues").json["queues"]
        assert queue["queued"] == len(accepted)


# -- the result


def test_without_a_callback_the_result_stays_readable(server: Served) -> None:
    """The function's own status, headers and body."""
    call = enqueue(server, "headers/x")
    first = attached(server, call)
    again = server.request("GET", f"/invocations/{call}/output")
    assert (first.status, first.body) == (again.status, again.body)
    assert again.headers["content-type"] == "application/json; charset=utf-8"
    assert again.headers["x-invocation-id"] == call


def test_a_spawn_function_can_be_queued(server: Served) -> None:
    """It answers nothing; its note is in its record."""
    call = enqueue(server, "spawn-outcome", json.dumps({"ok-note": "12 rows"}).encode())
    assert attached(server, call).status == 204
    assert (record(server, call)["state"], record(server, call)["note"]) == ("succeeded", "12 rows")


def test_a_delayed_call_waits_and_says_until_when(server: Served) -> None:
    """It does not run before."""
    call = enqueue(server, "echo", b"x", {"guesthouse-delay": "1d"})
    found = record(server, call)
    assert (found["state"], found["attempts"]) == ("queued", 0)
    assert found["due_at"] > found["queued_at"]
    assert server.request("GET", f"/invocations/{call}/output").problem == "not-ended"
    assert server.request("DELETE", f"/async-function/{call}").status == 202


def test_accepting_does_not_wait_for_functions_that_run(server: Served, origin: Origin) -> None:
    """While some calls run for as long as they like, others are accepted and answered."""
    held = [hold(server, origin) for _ in range(3)]
    connection = HTTPConnection(*server.address, timeout=30)
    for _ in range(20):
        connection.request("POST", "/async-function/echo", b"x")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (202, b"")
    connection.close()
    assert [record(server, call)["state"] for call in held] == ["running"] * 3
    origin.release.set()
    assert [attached(server, call).status for call in held] == [200] * 3
    origin.release.clear()


# -- cancelling


def test_a_queued_call_is_cancelled_by_its_id(server: Served) -> None:
    """With 202; then it has ended, and cancelling it again is 409."""
    call = enqueue(server, "echo", b"x", {"guesthouse-delay": "1d"})
    assert _cancel(server, call).status == 202
    assert record(server, call)["state"] == "cancelled"
    assert _cancel(server, call).problem == "has-ended"
    assert attached(server, call).problem == "cancelled"


def test_a_running_call_is_cancelled_by_its_id(server: Served, origin: Origin) -> None:
    """Whoever waits for it learns that."""
    call = hold(server, origin)
    assert _cancel(server, call).status == 202
    assert attached(server, call).problem == "cancelled"
    assert record(server, call)["state"] == "cancelled"
    origin.release.set()
    origin.release.clear()


def test_an_unknown_call_is_404_to_cancel(server: Served) -> None:
    """Also one that cannot be an id; a query may have slashes."""
    for call in ("nothing", "x" * 200, "%00", "%C3%BC", "nothing?x=/"):
        assert _cancel(server, call).status == 404


def _cancel(server: Served, call: str) -> Answer:
    return server.request("DELETE", f"/async-function/{call}")


# -- failures


def test_a_function_that_fails_for_good_becomes_a_dead_letter_that_says_why(server: Served) -> None:
    """In the host's words; whoever waits for it is told what a caller at once would be."""
    document = {
        "inline_wasm": base64.b64encode(guest("bad-status")).decode(),
        "retry": {"attempts": 2, "min_wait_ms": 1},
    }
    assert server.request("PUT", "/functions/manage/default/bad-status", json.dumps(document).encode()).status == 204
    call = enqueue(server, "bad-status", b"99")
    answer = attached(server, call)
    assert (answer.status, answer.problem, answer.json["invocation_id"]) == (502, "invocation-failed", call)
    found = record(server, call)
    assert (found["state"], found["attempts"], found["result"]) == ("dead", 2, "failed")
    assert "it ran 2 times" in found["reason"]
