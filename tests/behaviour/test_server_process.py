"""A real server process with real guests, over HTTP: what a person sees who follows the README with curl."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from gateway_server import read_answers, read_until
from harness import until
from served import Origin, Served, ask, config, served
from support import FORMS, guest, wat

WEB = ("echo", "echo-read", "greet", "headers", "logger", "memory-bomb", "panic", "read-through", "sleeper", "ticker")
MANAGE = "/functions/manage/default"


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with Origin() as origin:
        yield origin


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, origin: Origin) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("process")
    with served(folder / "data", "--config", config(folder)) as server:
        for name in (*WEB, "fill"):
            assert server.deploy(name).status == 204
        assert server.deploy("spin", query="?limits=deadline_ms=200").status == 204
        yield server


def send(server: Served, target: str, body: bytes = b"") -> socket.socket:
    """A request on a connection of its own, whose answer nobody has read yet."""
    sock = server.connect()
    head = f"POST /functions/default/{target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    sock.sendall(head.encode() + body)
    return sock


# -- deploying


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("raw", [True, False], ids=["raw", "json"])
def test_a_file_is_deployed_and_answers(server: Served, form: str, raw: bool) -> None:
    """As `inline_wasm` in JSON or as it is, with an environment; 204, and the next call reaches it."""
    wasm = guest("environment", form)
    if raw:
        answer = server.deploy("told", wasm, "?environment=COLOUR=blue&description=raw")
    else:
        text = base64.encodebytes(wasm).decode()  # with line breaks, as shell tools write it
        document = {"inline_wasm": text, "environment": {"COLOUR": "blue"}, "description": "json"}
        headers = {"content-type": "application/json"}
        answer = server.request("PUT", f"{MANAGE}/told", json.dumps(document).encode(), headers)
    assert (answer.status, answer.body) == (204, b"")
    assert server.call("told/COLOUR").json == "blue"
    shown = server.request("GET", f"{MANAGE}/told").json
    assert shown["description"] == ("raw" if raw else "json")
    assert str(shown["version"]) == answer.headers["x-function-version"]


@pytest.mark.parametrize(
    ("wasm", "query", "status", "said"),
    [
        (b"#!/bin/sh", "", 422, "not WebAssembly"),
        (b"\0asm\1\0\0", "", 422, "version"),
        (wat("(module)"), "", 422, "exports no function"),
        (wat('(module (import "wasi:sockets/tcp@0.2.0" "listen" (func)))'), "", 422, "wasi:sockets/tcp@0.2.0"),
        (wat('(module (import "env" "abort" (func (param i32))))'), "", 422, "abort"),
        (guest("echo")[:-100], "", 422, "left"),
        (guest("fetch"), "?grants=log", 422, "http"),
        (guest("echo"), "?limits=memory_bytes=134217729", 400, "memory_bytes"),
        (guest("echo"), "?limits=memory_bytes=65536", 422, "memory"),
        (guest("echo"), "?limits=speed=1", 400, "speed"),
    ],
    ids=[
        *("a script", "a header alone", "no exports", "no sockets", "no such import", "cut off", "not granted"),
        *("over the pool", "under its start", "no such limit"),
    ],
)
def test_what_cannot_run_is_refused_by_name(server: Served, wasm: bytes, query: str, status: int, said: str) -> None:
    """The answer names what is wrong, and nothing is deployed."""
    answer = server.deploy("refused", wasm, query)
    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
    assert said in answer.json["detail"]
    assert server.request("GET", f"{MANAGE}/refused").status == 404


# -- calling


def test_any_method_path_query_and_header_reaches_the_guest(server: Served) -> None:
    """And HEAD is answered like GET, without the body."""
    answer = server.request("PATCH", "/functions/default/headers/a/b?c=d%20e", b"", {"x-one": "1"})
    told = answer.json
    assert (told["method"], told["path"], told["query"]) == ("PATCH", "a/b", {"c": "d e"})
    assert told["headers"]["x-one"] == "1"
    head, get = server.call("echo", None, "HEAD"), server.call("echo", None, "GET")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "0")
    assert [name for name, _ in head.headers.pairs] == [name for name, _ in get.headers.pairs]


def test_json_that_does_not_parse_is_the_guests_own_400(server: Served) -> None:
    """Its text is the crate's, and it is no problem of the host."""
    answer = server.call("greet", b"{")
    assert (answer.status, "content-type" in answer.headers) == (400, False)
    assert answer.body.startswith(b"Failed to parse request body")
    assert server.call("greet", b'{"name": "Ada"}').json == {"message": "Hello, Ada!"}


def test_a_function_that_is_not_there_is_404(server: Served) -> None:
    """As a problem."""
    answer = server.call("nobody")
    assert (answer.status, answer.problem) == (404, "not-found")


def test_a_trap_is_a_502_without_a_word_of_the_guest(server: Served) -> None:
    """Those are in the function's log, under the id that the answer has."""
    answer = server.call("panic", b"<b>the database password is swordfish</b>")
    assert (answer.status, answer.problem) == (502, "guest-trapped")
    assert not any(word in answer.body for word in (b"swordfish", b"panic", b"wasm"))
    lines = [json.loads(line) for line in server.request("GET", f"{MANAGE}/panic/logs").body.splitlines()]
    assert any("swordfish" in line["text"] for line in lines if line["invocation_id"] == answer.json["invocation_id"])


def test_an_endless_loop_ends_at_its_deadline(server: Served) -> None:
    """504 within 250 ms for a deadline of 200 ms (1.2 s where the machine is busy)."""
    began = time.monotonic()
    answer = server.call("spin")
    took = time.monotonic() - began
    assert (answer.status, answer.problem) == (504, "deadline-exceeded")
    assert 0.2 <= took < 1.2, f"answered after {took * 1000:.0f} ms"


def test_a_memory_bomb_is_a_502_and_the_server_goes_on(server: Served) -> None:
    """Several at once, while others are answered."""
    bombs = [send(server, "memory-bomb") for _ in range(4)]
    assert server.call("echo", b"still here").body == b"still here"
    for bomb in bombs:
        with bomb:
            assert [status for status, _ in read_answers(bomb, 1)] == [502]
    assert server.call("echo", b"still here").body == b"still here"
    server.idle()


@pytest.mark.parametrize("chunked", [False, True])
def test_five_mebibytes_go_up_and_down(server: Served, chunked: bool) -> None:
    """Whole, whether their length was known or not; more than is collected, so they are streamed to the guest."""
    body = bytes(range(256)) * 20_480
    connection = server.connection()
    pieces = (body[at : at + 100_000] for at in range(0, len(body), 100_000))
    for name, expected in (("echo", body), ("echo-read", hashlib.sha256(body).hexdigest())):
        connection.request("POST", f"/functions/default/{name}", pieces if chunked and name == "echo" else body)
        response = connection.getresponse()
        answered = response.read()
        assert response.status == 200
        assert (answered if name == "echo" else json.loads(answered)["sha256"]) == expected
    connection.close()


def test_a_body_over_the_functions_limit_is_413_before_it_is_sent(server: Served) -> None:
    """10 GB are refused with the headers."""
    with server.connect() as sock:
        sock.sendall(b"POST /functions/default/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000000\r\n\r\n")
        assert [status for status, _ in read_answers(sock, 1)] == [413]


def test_a_miss_fills_the_cache_and_the_next_call_hits(server: Served, origin: Origin) -> None:
    """The caller of the miss waits for nobody; a spawned function asks the origin."""
    target = f"read-through/page?url={origin.url('/page')}"
    miss = server.call(target, None, "GET")
    assert (miss.status, miss.headers["x-cache"]) == (404, "miss")
    server.counted("spawns_total", 1, outcome="ok")
    hit = server.call("read-through/page", None, "GET")
    assert (hit.status, hit.headers["x-cache"], hit.body) == (200, "hit", Origin.PAGE)


# -- streams, and clients that go away


def test_an_event_is_there_before_the_next_one_is_made(server: Served) -> None:
    """The second event would come in an hour; the first one is read now."""
    with send(server, "ticker?events=2&every_ms=3600000&ids") as sock:
        said = read_until(sock, b"data: tick\n\n")
    assert said.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"content-type: text/event-stream\r\n" in said
    assert said.count(b"data:") == 1


def test_events_arrive_one_by_one_to_the_last(server: Served) -> None:
    """In order, and then the stream ends as HTTP ends it."""
    with send(server, "ticker?events=3&every_ms=50&ids") as sock:
        said = read_until(sock, b"0\r\n\r\n")
    assert re.findall(rb"\nid: (\d)", said) == [b"1", b"2", b"3"]


@pytest.mark.parametrize("function", ["sleeper", "ticker?events=1000000&every_ms=1", "ticker?events=9&every_ms=99999"])
def test_a_client_that_goes_away_cancels_its_guest(server: Served, function: str) -> None:
    """Whether it sleeps or streams; its place in the pool is free again."""
    name = function.partition("?")[0]
    server.idle()
    before = server.metric("invocations_total", function=f"default/{name}", outcome="cancelled")
    with send(server, function) as sock:
        until(lambda: server.metric("pool_in_use") == 1, "the guest did not start")
        if name == "ticker":
            read_until(sock, b"data: tick")
    server.counted("invocations_total", before + 1, function=f"default/{name}", outcome="cancelled")
    server.idle()


def test_a_slow_guest_holds_back_what_was_sent_behind_it_and_nobody_else(server: Served) -> None:
    """Answers on one connection keep their order; another connection is answered meanwhile."""
    behind = b"POST /functions/default/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi"
    with send(server, "spin") as sock:
        sock.sendall(behind * 3)
        assert server.call("echo", b"first").body == b"first"
        assert [status for status, _ in read_answers(sock, 4)] == [504, 200, 200, 200]


# -- deploying while calls run


def test_no_call_fails_while_new_versions_arrive(server: Served) -> None:
    """Each is answered by one version or the next."""
    assert server.deploy("changing", guest("echo")).status == 204
    stop, answers = threading.Event(), []

    def call() -> None:
        connection = server.connection()
        while not stop.is_set():
            answer = ask(connection, "POST", "/functions/default/changing", b"x")
            answers.append((answer.status, answer.body))
        connection.close()

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    try:
        forms = [server.deploy("changing", guest("echo", form)).status for form in FORMS * 3]
    finally:
        stop.set()
        for caller in callers:
            caller.join()
    assert set(forms) == {204}
    assert len(answers) > len(forms)
    assert set(answers) == {(200, b"x")}


def test_a_deleted_function_ends_its_running_calls_in_peace(server: Served) -> None:
    """What runs goes on to its end; who comes now finds nothing, until it is deployed again."""
    assert server.deploy("leaving", guest("ticker")).status == 204
    with send(server, "leaving?events=2&every_ms=200&data=running") as sock:
        said = read_until(sock, b"data: running\n\n")
        assert server.request("DELETE", f"{MANAGE}/leaving").status == 204
        assert server.call("leaving").status == 404
        assert (said + read_until(sock, b"0\r\n\r\n")).count(b"data: running") == 2
    assert server.request("DELETE", f"{MANAGE}/leaving").status == 404
    assert server.deploy("leaving", guest("echo")).status == 204
    assert server.call("leaving", b"back").body == b"back"


# -- seeing


@pytest.mark.parametrize("accept", ["application/x-ndjson", "text/event-stream"])
def test_a_followed_log_has_each_line_as_it_is_written(server: Served, accept: str) -> None:
    """One line of JSON each, or one event."""
    with server.connect() as sock:
        head = f"GET {MANAGE}/logger/logs?follow=1&tail=0 HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n"
        sock.sendall(head.encode())
        assert f"content-type: {accept}".encode() in read_until(sock, b"\n\r\n")
        for text in (b"the first line", b"the second line"):
            called = server.call("logger", text)
            assert called.status in (200, 204)
            said = read_until(sock, text)
            assert called.headers["x-invocation-id"].encode() in said
            assert (b"\r\ndata: {" in said) == (accept == "text/event-stream")


def test_metrics_are_what_prometheus_wants(server: Served) -> None:
    """The parser reads them, every family is explained, named by the rules, and its figures agree with each other."""
    server.call("echo", b"counted")
    families = server.families()
    ours = {name: family for name, family in families.items() if name.startswith("guesthouse")}
    assert {"guesthouse_invocations", "guesthouse_pool_in_use", "guesthouse_host_calls"} <= ours.keys()
    for name, family in families.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name), name
        assert family.documentation, name
    for name, family in ours.items():
        assert not name.endswith(("_total", "_count", "_sum", "_bucket", "_ms", "_ns", "_milliseconds")), name
        assert not (family.type == "histogram" and "duration" in name) or name.endswith("_seconds")
        for sample in family.samples:
            assert family.type != "counter" or sample.name in (f"{name}_total", f"{name}_created")
            assert all(
                re.fullmatch(r"[a-z][a-z_]*", label) and "\n" not in sample.labels[label] for label in sample.labels
            )
    check_histograms(ours)
    assert ours["guesthouse_info"].samples[0].labels["version"]


def check_histograms(families) -> None:
    """Buckets grow to the count, which is the same in `+Inf`."""
    for family in families.values():
        series: dict[frozenset, list[float]] = {}
        for sample in family.samples:
            key = frozenset((sample.labels.items()) - {("le", sample.labels.get("le"))})
            if sample.name.endswith("_bucket"):
                series.setdefault(key, []).append(sample.value)
            elif sample.name.endswith("_count"):
                assert series[key][-1] == sample.value
        assert all(buckets == sorted(buckets) for buckets in series.values())


def test_invocations_are_counted_by_how_they_end(server: Served) -> None:
    """One more each."""
    expected = {"echo": "ok", "panic": "trapped", "spin": "deadline"}

    def counts() -> dict[str, float]:
        family = server.families()["guesthouse_invocations"]
        return {
            name: sum(
                s.value for s in family.samples if s.labels == labels(name, outcome) and s.name.endswith("_total")
            )
            for name, outcome in expected.items()
        }

    def labels(name: str, outcome: str) -> dict[str, str]:
        return {"function": f"default/{name}", "mode": "web", "outcome": outcome}

    before = counts()
    for name in expected:
        server.call(name, b"x")
    assert counts() == {name: count + 1 for name, count in before.items()}
