"""The management routes, the logs, health, metrics and the description of it all."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from gateway_server import Server, read_until, serving
from guesthouse.errors import LinkError
from guesthouse.gateway import manage
from guesthouse.gateway.routes import ROUTES
from guesthouse.telemetry import LogRecord

WASM = b"\0asm\1\0\0\0" + bytes(range(200))
BASE64 = base64.b64encode(WASM).decode()
PATH = "/functions/manage/default/fresh"
CURRENT = "/functions/manage/default/echo/current"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


def put(server: Server, document: Any, path: str = PATH) -> int:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return server.request("PUT", path, body, {"content-type": "application/json"}).status


def test_a_deploy_by_json_is_204(server: Server) -> None:
    """With everything that a manifest says."""
    document = {
        "inline_wasm": BASE64,
        "description": "mine",
        "environment": {"A": "1", "B": {"literal": "2"}},
        "limits": {"deadline_ms": 200},
        "grants": ["cache"],
        "retry": {"attempts": 3},
        "flow": {"max_inflight": 8},
        "schedule": [{"cron": "0 * * * *"}],
        "labels": {"team": "news"},
        "annotations": {"topic": "mail"},
        "arguments": ["--fast"],
        "secrets": ["api-key"],
        "durable": {"grace_ms": 10},
    }
    assert put(server, document) == 204
    assert server.deployer.deployed == [
        {
            "namespace": "default",
            "name": "fresh",
            "wasm": WASM,
            "description": "mine",
            "environment": {"A": "1", "B": "2"},
            "limits": {"deadline_ms": 200},
            "grants": ["cache"],
            "topics": [],
            "retry": {"attempts": 3},
            "flow": {"max_inflight": 8},
            "schedule": [{"cron": "0 * * * *"}],
            "labels": {"team": "news"},
            "annotations": {"topic": "mail"},
            "arguments": ["--fast"],
            "secrets": ["api-key"],
            "durable": {"grace_ms": 10},
        }
    ]


def test_a_deploy_says_which_version_it_made(server: Server) -> None:
    """For whoever wants to know that it is theirs."""
    answer = server.request("PUT", PATH, WASM, {"content-type": "application/wasm"})
    assert (answer.status, answer.body, answer.headers["x-function-version"]) == (204, b"", "1")


def test_line_breaks_in_base64_are_forgiven(server: Server) -> None:
    """Raw, as shell tools put them there, and escaped."""
    wrapped = "\n".join(BASE64[at : at + 76] for at in range(0, len(BASE64), 76))
    for text in ('{"inline_wasm":\n "' + wrapped.replace("\n", "\r\n") + '"}', json.dumps({"inline_wasm": wrapped})):
        assert put(server, text.encode()) == 204
        assert server.deployer.deployed.pop()["wasm"] == WASM


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        {"inline_wasm": 1},
        {"inline_wasm": "!!!"},
        {"inline_wasm": "AGFzb"},
        {"inline_wasm": BASE64, "colour": "blue"},
        {"inline_wasm": BASE64, "environment": {"A": 1}},
        {"inline_wasm": BASE64, "environment": ["A"]},
        {"inline_wasm": BASE64, "limits": {"deadline_ms": "200"}},
        {"inline_wasm": BASE64, "limits": {"deadline_ms": True}},
        {"inline_wasm": BASE64, "grants": "cache"},
        {"inline_wasm": BASE64, "durable": "yes"},
        b"",
        b"not json",
    ],
)
def test_a_document_of_another_shape_is_400(server: Server, document: Any) -> None:
    """Nothing is deployed."""
    assert put(server, document) == 400
    assert server.deployer.deployed == []


@pytest.mark.parametrize("wasm", [b"", b"hello", b"\0asn\1\0\0\0", b"\x7fELF"])
def test_what_is_not_webassembly_is_422(server: Server, wasm: bytes) -> None:
    """Found before anything else looks at it."""
    assert server.request("PUT", PATH, wasm, {"content-type": "application/wasm"}).problem == "invalid-module"
    assert put(server, {"inline_wasm": base64.b64encode(wasm).decode()}) == 422


def test_a_module_that_does_not_fit_is_422_with_the_reason(server: Server) -> None:
    """The deployer's own words reach whoever deploys."""
    server.deployer.error = LinkError("wasi:sockets/tcp: no such interface")
    answer = server.request("PUT", PATH, WASM, {"content-type": "application/wasm"})
    assert (answer.status, answer.problem) == (422, "link-error")
    assert "wasi:sockets/tcp" in answer.json["detail"]


def test_a_raw_upload_takes_its_options_from_the_query(server: Server) -> None:
    """The same ones as JSON."""
    query = "?description=a+b&environment=A=1&environment=B=x%3Dy&limits=deadline_ms=200&grants=cache,http&grants=log"
    query += "&durable=true"
    assert server.request("PUT", PATH + query, WASM, {"content-type": "application/wasm"}).status == 204
    (deployed,) = server.deployer.deployed
    assert deployed["wasm"] == WASM
    assert deployed["description"] == "a b"
    assert deployed["environment"] == {"A": "1", "B": "x=y"}
    assert deployed["limits"] == {"deadline_ms": 200}
    assert deployed["grants"] == ["cache", "http", "log"]
    assert deployed["durable"] is True


@pytest.mark.parametrize(
    "query",
    [
        "?colour=blue",
        "?environment=A",
        "?limits=deadline_ms=x",
        "?limits=deadline_ms=-1",
        "?description=%FF",
        "?environment=%E2%28=1",
        "?description=a&description=b",
        "?environment=A=1&environment=A=2",
        "?limits=fuel=1&limits=fuel=2",
    ],
)
def test_a_malformed_option_is_400(server: Server, query: str) -> None:
    """Nothing is deployed."""
    assert server.request("PUT", PATH + query, WASM, {"content-type": "application/wasm"}).status == 400
    assert server.deployer.deployed == []


def test_options_beside_a_document_are_400_and_not_ignored(server: Server) -> None:
    """Somebody who takes grants away has to be heard; a token may stand there."""
    document = json.dumps({"inline_wasm": BASE64}).encode()
    assert server.request("PUT", PATH + "?grants=", document).status == 400
    assert server.deployer.deployed == []
    assert server.request("PUT", PATH + "?token=any", document).status == 204


def test_no_grants_is_not_the_same_as_none_given(server: Server) -> None:
    """An empty list takes everything away."""
    for query, grants in (("", None), ("?grants=", [])):
        server.request("PUT", PATH + query, WASM, {"content-type": "application/wasm"})
        assert server.deployer.deployed.pop()["grants"] == grants


def test_a_grant_with_a_pattern_is_one_even_with_commas_in_it(server: Server) -> None:
    """Names alone may have commas between."""
    query = "?grants=http:GET,POST%20https://a.example&grants=cache,log&grants=topic:news"
    assert server.request("PUT", PATH + query, WASM, {"content-type": "application/wasm"}).status == 204
    (deployed,) = server.deployer.deployed
    assert deployed["grants"] == ["http:GET,POST https://a.example", "cache", "log", "topic:news"]


def test_show_and_list_and_versions_agree(server: Server) -> None:
    """One function has one description; a version has the same without what is said of the whole function."""
    shown = server.request("GET", "/functions/manage/default/echo").json
    assert shown["name"] == "echo"
    assert shown["digest"] == "sha256:" + "ab" * 32
    assert shown["environment"] == {"COLOUR": "blue"}
    assert shown["created_at"] == "1970-01-01T00:00:00.000+00:00"
    assert (shown["latest"], shown["pinned"]) == (1, None)
    for path in ("/functions/manage", "/functions/manage/default"):
        assert shown in server.request("GET", path).json["functions"]
    version = {key: value for key, value in shown.items() if key not in ("latest", "pinned")}
    assert server.request("GET", "/functions/manage/default/echo/versions").json == {"versions": [version]}
    assert server.request("GET", "/functions/manage/default/echo/versions/1").json == version
    assert server.request("GET", "/functions/manage/elsewhere").json == {"functions": []}


@pytest.mark.parametrize(
    "path", ["/functions/manage", "/functions/manage/default", f"{CURRENT.rpartition('/')[0]}/versions"]
)
def test_long_lists_are_made_beside_the_loop(server: Server, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand functions take half a second, in which nobody else would be answered."""
    seen: list[threading.Thread] = []

    def noting(*_: Any) -> dict[str, Any]:
        seen.append(threading.current_thread())
        return {}

    monkeypatch.setattr(manage, "_describe", noting)
    assert server.request("GET", path).status == 200
    assert seen
    assert server.on_loop(threading.current_thread) not in seen


def test_environment_values_are_for_those_who_manage() -> None:
    """Whoever may only read sees the names."""
    with serving() as server:
        server.tokens.add("reader", "read")
        server.on_loop(server.gateway._app.gate.refresh)
        shown = server.request("GET", "/functions/manage/default/echo", headers={"authorization": "reader"}).json
    assert shown["environment"] == {"COLOUR": None}


@pytest.mark.parametrize("version", ["2", "0", "-1", "x", "1.0", "%31%00", "9" * 30, "1" * 19, "\u0661"])
def test_a_version_that_is_not_there_is_404(server: Server, version: str) -> None:
    """Whatever stands where its number should."""
    path = f"/functions/manage/default/echo/versions/{quote(version, safe='%')}"
    assert server.request("GET", path).problem == "not-found"


@pytest.mark.parametrize(
    ("wanted", "pinned"), [(1, ("default", "echo", 1)), ("latest", ("default", "echo", None)), ("previous", None)]
)
def test_the_current_version_is_chosen_by_number_or_word(server: Server, wanted: Any, pinned: Any) -> None:
    """The answer is the function as it is from now on."""
    answer = server.request("PUT", CURRENT, json.dumps({"version": wanted}).encode())
    assert (answer.status, answer.json["version"], answer.headers["x-function-version"]) == (200, 1, "1")
    assert answer.json["pinned"] == (None if wanted == "latest" else 1)
    assert pinned is None or server.deployer.pinned == [pinned]


@pytest.mark.parametrize(
    ("document", "status"),
    [
        ({"version": 2}, 404),
        ({"version": 0}, 400),
        ({"version": -1}, 400),
        ({"version": 1 << 63}, 400),
        ({"version": "1"}, 400),
        ({"version": True}, 400),
        ({"version": 1.0}, 400),
        ({"version": None}, 400),
        ({"version": "newest"}, 400),
        ({"version": 1, "force": True}, 400),
        ({}, 400),
        ([], 400),
        (b"", 400),
        (b'{"version": ' + b"1" * 4096 + b"}", 413),
    ],
)
def test_what_is_no_version_is_refused(server: Server, document: Any, status: int) -> None:
    """And nothing changes."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    assert server.request("PUT", CURRENT, body).status == status
    assert server.deployer.pinned in ([], [("default", "echo", 2)])


def test_a_function_that_is_not_there_has_no_versions(server: Server) -> None:
    """Nor can one be chosen."""
    for path in ("nobody/versions", "nobody/versions/1"):
        assert server.request("GET", f"/functions/manage/default/{path}").status == 404
    body = b'{"version": "latest"}'
    assert server.request("PUT", "/functions/manage/default/nobody/current", body).status == 404


def test_a_delete_is_204_and_then_404(server: Server) -> None:
    """What is gone is gone."""
    assert server.request("DELETE", "/functions/manage/default/echo").status == 204
    assert server.request("DELETE", "/functions/manage/default/echo").status == 404
    assert server.request("GET", "/functions/manage/default/echo").status == 404
    assert server.request("POST", "/functions/default/echo").status == 404


def add_record(server: Server, text: str) -> None:
    record = LogRecord(1_000_000_001, "info", "guest", text)
    server.on_loop(lambda: server.logs.append("default/echo", "id-1", record))


def test_the_newest_log_records_come_as_lines_of_json(server: Server) -> None:
    """Oldest first, as many as asked for."""
    for index in range(5):
        add_record(server, f"line {index}")
    answer = server.request("GET", "/functions/manage/default/echo/logs?tail=2")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in answer.body.splitlines()] == [
        {
            "time": "1970-01-01T00:00:01.000000001Z",
            "level": "info",
            "source": "guest",
            "invocation_id": "id-1",
            "text": f"line {index}",
        }
        for index in (3, 4)
    ]


@pytest.mark.parametrize("accept", ["application/x-ndjson", "text/event-stream"])
def test_a_followed_log_arrives_as_it_is_written_and_ends_with_the_server(server: Server, accept: str) -> None:
    """Also a stream without an end lets the server stop."""
    add_record(server, "before")
    with server.connect() as sock:
        sock.sendall(
            b"GET /functions/manage/default/echo/logs?follow=1 HTTP/1.1\r\nHost: localhost\r\nAccept: %b\r\n\r\n"
            % accept.encode()
        )
        head = read_until(sock, b"before")
        assert b"content-type: " + accept.encode() in head
        add_record(server, "after")
        line = read_until(sock, b"after")
        assert (b"data: {" in line) == (accept == "text/event-stream")
        server.stop()
        assert read_until(sock, b"0\r\n\r\n").endswith(b"0\r\n\r\n")
    server.join()


def test_a_follower_that_goes_away_is_forgotten(server: Server) -> None:
    """It does not collect records for ever."""
    log = server.logs.of("default/echo")
    with server.connect() as sock:
        sock.sendall(b"GET /functions/manage/default/echo/logs?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        add_record(server, "here")
        read_until(sock, b"here")
        assert log.followers == 1
    while log.followers:
        server.on_loop(lambda: None)


def test_metrics_are_prometheus_text(server: Server) -> None:
    """With what was recorded."""
    server.metrics.recorder("default/echo", "web").record("ok", 1000, 10, 65_536)
    answer = server.request("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert b'guesthouse_invocations_total{function="default/echo",mode="web",outcome="ok"} 1.0' in answer.body
    assert b"guesthouse_connections " in answer.body


def test_problems_are_counted(server: Server) -> None:
    """By their type."""
    server.request("GET", "/functions/default/nobody")
    server.request("GET", "/nothing")
    assert b'guesthouse_http_problems_total{type="not-found"} 2.0' in server.request("GET", "/metrics").body


def test_openapi_describes_every_route(server: Server) -> None:
    """All of the table, in OpenAPI 3.1."""
    document = server.request("GET", "/openapi.json").json
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {route.path for route in ROUTES}
    assert "put" in document["paths"]["/functions/manage/{namespace}/{name}"]


def test_head_works_behind_too(server: Server) -> None:
    """The length without the body."""
    answer = server.request("HEAD", "/healthz")
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "3", b"")


def test_a_wrong_method_is_told_all_right_ones(server: Server) -> None:
    """Those of every route with this path."""
    answer = server.request("POST", "/functions/manage/default/echo")
    assert (answer.status, answer.headers["allow"]) == (405, "DELETE, GET, HEAD, PUT")


def test_a_slash_too_many_is_404(server: Server) -> None:
    """And no redirect to wherever the Host header says."""
    for method in ("GET", "PUT"):
        answer = server.request(method, "/functions/manage/default/echo/", headers={"host": "localhost"})
        assert (answer.status, "location" in answer.headers) == (404, False)
