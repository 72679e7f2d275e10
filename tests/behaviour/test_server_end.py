"""How a real server process ends, what the next one finds, and what it does not even begin with."""

from __future__ import annotations

import json
import signal
import socket
import threading
from pathlib import Path

import pytest

from command_line import guesthouse, serve
from gateway_server import read_answers, read_until
from harness import until
from served import PATIENCE, Origin, Served, announced, config, served

SPAWN = b"POST /functions/default/start/fill HTTP/1.1\r\nHost: localhost\r\n"


def waiting_for(server: Served, origin: Origin) -> socket.socket:
    """A request whose guest waits for the origin."""
    sock = server.connect()
    order = json.dumps({"verb": "GET", "url": origin.url("/held")}).encode()
    head = b"POST /functions/default/fetch HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(order)
    sock.sendall(head + order)
    origin.holds()
    return sock


def refused(server: Served) -> bool:
    """Whether the server says that it is going."""
    answer = server.call("echo", b"x")
    return answer.status == 503 and answer.problem == "draining"


def ended(server: Served) -> tuple[int, str]:
    """The status that a server ends with, and what it said at last."""
    _, said = server.process.communicate(timeout=PATIENCE)
    return server.process.returncode, said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_what_runs_end_and_refuses_what_comes(tmp_path: Path, number: signal.Signals) -> None:
    """The answer under way arrives whole, the server's readiness says so, and its status is 0."""
    with Origin() as origin, served(tmp_path / "data", "--config", config(tmp_path)) as server:
        for name in ("echo", "fetch"):
            assert server.deploy(name).status == 204
        idle = server.connect()
        with waiting_for(server, origin) as running, idle:
            server.process.send_signal(number)
            until(lambda: refused(server), "new calls are still answered")
            assert server.request("GET", "/readyz").problem == "draining"
            assert server.request("GET", "/healthz").status == 200
            assert server.deploy("echo").problem == "draining"
            origin.release.set()
            ((status, body),) = read_answers(running, 1)
            assert (status, json.loads(body)["status"]) == (200, 200)
            assert ended(server) == (0, "")
            assert idle.recv(1) == b""


def test_a_stream_under_way_is_finished_and_a_followed_log_ends(tmp_path: Path) -> None:
    """300 ms of events are awaited; what has no end of its own is ended."""
    with served(tmp_path / "data") as server:
        for name in ("echo", "ticker"):
            assert server.deploy(name).status == 204
        with server.connect() as events, server.connect() as log:
            log.sendall(b"GET /functions/manage/default/echo/logs?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert read_until(log, b"\r\n\r\n")
            events.sendall(b"GET /functions/default/ticker?events=2&every_ms=300 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            said = read_until(events, b"data: tick")
            server.process.send_signal(signal.SIGTERM)
            said += read_until(events, b"0\r\n\r\n")
            assert (said.count(b"data: tick"), said.endswith(b"0\r\n\r\n")) == (2, True)
            assert read_until(log, b"0\r\n\r\n").endswith(b"0\r\n\r\n")
            assert ended(server) == (0, "")


def test_what_runs_for_too_long_is_told_503(tmp_path: Path) -> None:
    """After the configured time, with status 0; the invocation does not count as lost later."""
    with served(tmp_path / "data", "--config", config(tmp_path, "drain_seconds = 0.2")) as server:
        assert server.deploy("sleeper").status == 204
        with server.connect() as sock:
            sock.sendall(b"GET /functions/default/sleeper HTTP/1.1\r\nHost: localhost\r\n\r\n")
            server.counted("pool_in_use", 1)
            server.process.send_signal(signal.SIGTERM)
            ((status, body),) = read_answers(sock, 1)
        assert (status, json.loads(body)["type"]) == (503, "urn:guesthouse:problem:draining")
        assert ended(server) == (0, "")


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    """A guest that sleeps for an hour is cancelled, and its caller told so."""
    with served(tmp_path / "data") as server:
        for name in ("echo", "sleeper"):
            assert server.deploy(name).status == 204
        with server.connect() as sock:
            sock.sendall(b"GET /functions/default/sleeper HTTP/1.1\r\nHost: localhost\r\n\r\n")
            server.counted("pool_in_use", 1)
            server.process.send_signal(signal.SIGTERM)
            until(lambda: refused(server), "new calls are still answered")
            server.process.send_signal(signal.SIGTERM)
            assert [status for status, _ in read_answers(sock, 1)] == [503]
        assert ended(server) == (0, "")


def test_a_client_that_does_not_finish_its_request_does_not_keep_the_server(tmp_path: Path) -> None:
    """The server ends within seconds, and says that it broke a connection off."""
    with served(tmp_path / "data") as server:
        assert server.deploy("echo").status == 204
        with server.connect() as sock:
            sock.sendall(b"POST /functions/default/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nabc")
            assert server.call("echo").status == 200
            server.process.send_signal(signal.SIGTERM)
            status, said = ended(server)
    assert status == 0
    assert "broken off" in said


def test_after_a_kill_everything_that_was_acknowledged_is_there(tmp_path: Path) -> None:
    """Functions with their settings, tokens with their scopes; a spawned run that was cut off is counted as lost, once."""
    where = ("--data-dir", tmp_path / "data")
    token = guesthouse("token", "create", "me", "--scope", "all", "--quiet", *where).out.strip()
    caller = guesthouse("token", "create", "caller", "--scope", "invoke", "--quiet", *where).out.strip()
    settings = config(tmp_path)
    with Origin() as origin, served(tmp_path / "data", "--config", settings) as server:
        server.token = token
        for name in ("echo", "start", "fill"):
            assert server.deploy(name, query="?description=kept&environment=A=B&limits=deadline_ms=9999").status == 204
        assert server.deploy("echo", query="?description=newer").status == 204
        before = server.request("GET", "/functions/manage").json
        assert server.call("start/fill", json.dumps({"key": "k", "url": origin.url("/held")}).encode()).status == 202
        origin.holds()
        server.process.kill()
        assert server.process.wait(PATIENCE) == -signal.SIGKILL
    with served(tmp_path / "data", "--config", settings) as server:
        assert server.call("echo").status == 401
        server.token = token
        assert server.request("GET", "/functions/manage").json == before
        assert [shown["version"] for shown in before["functions"]] == [2, 1, 1]
        assert (server.metric("spawns_total"), server.metric("spawns_total", outcome="lost")) == (1, 1)
        assert server.metric("compile_seconds_count") == 0
        server.token = caller
        assert server.call("echo", b"still here").body == b"still here"
        assert server.request("GET", "/functions/manage/default/echo").status == 403
        server.process.send_signal(signal.SIGTERM)
        ended(server)
    with served(tmp_path / "data") as server:
        server.token = token
        assert server.metric("spawns_total") == 0


def test_a_server_that_is_killed_again_and_again_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    """Deploys are cut off wherever they are; what was answered 204 answers calls in the next process."""
    acknowledged = 0
    for _ in range(4):
        with served(tmp_path / "data") as server:
            shown = server.request("GET", "/functions/manage/default/echo")
            assert acknowledged == 0 or shown.json["version"] >= acknowledged
            assert acknowledged == 0 or server.call("echo", b"there").body == b"there"
            made: list[int] = []

            def deploy(server: Served = server, made: list[int] = made) -> None:
                try:
                    while (answer := server.deploy("echo")).status == 204:
                        made.append(int(answer.headers["x-function-version"]))
                except OSError:
                    pass

            deployer = threading.Thread(target=deploy)
            deployer.start()
            until(lambda made=made: len(made) >= 2, "nothing was deployed")
            server.process.kill()
            deployer.join(PATIENCE)
            acknowledged = made[-1]


def refusal(*arguments: object) -> tuple[int, str]:
    """The status and the one line of a server that does not begin."""
    with serve(*arguments) as process:
        said, error = process.communicate(timeout=PATIENCE)
    assert (said, error.count("\n")) == ("", 1), error
    return process.returncode, json.loads(error)["error"]["detail"]


def test_a_second_server_on_the_same_data_is_refused_in_one_line(tmp_path: Path) -> None:
    """It names the process that has it; the first one does not notice."""
    with served(tmp_path / "data") as server:
        status, error = refusal("--data-dir", tmp_path / "data")
        assert status == 1
        assert error.startswith("the data directory")
        assert f"process {server.process.pid}" in error
        assert server.request("GET", "/readyz").status == 200


@pytest.mark.parametrize(("address", "own"), [("0.0.0.0", "//127.0.0.1:"), ("::", "//[::1]:")])
def test_an_address_that_others_reach_is_refused_in_one_line_without_a_token(
    tmp_path: Path, address: str, own: str
) -> None:
    """With the command that makes one; with a token it is served, to those who show it."""
    where = ("--data-dir", tmp_path / "data")
    if ":" in address and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    status, error = refusal(*where, "--host", address)
    assert status == 1
    assert error.startswith("will not listen on")
    assert "guesthouse token create" in error
    token = guesthouse("token", "create", "me", "--scope", "read", "--quiet", *where).out.strip()
    with served(tmp_path / "data", "--host", address) as server:
        server.url = "http:" + own + server.url.rpartition(":")[2]
        assert server.request("GET", "/functions/manage").status == 401
        server.token = token
        assert server.request("GET", "/functions/manage").json == {"functions": []}


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--host", "nowhere.invalid"), "nowhere.invalid"),
        (("--host", "192.0.2.1"), "192.0.2.1"),
        (("--data-dir", "/dev/null/data"), "/dev/null/data"),
    ],
)
def test_what_a_server_cannot_begin_with_is_said_in_one_line(tmp_path: Path, arguments: tuple, said: str) -> None:
    """Without a traceback."""
    status, error = refusal("--data-dir", tmp_path / "data", *arguments)
    assert status == 1
    assert said in error


def test_a_server_whose_output_nobody_reads_still_serves(tmp_path: Path) -> None:
    """Its standard output closed right after the first line."""
    with serve("--data-dir", tmp_path / "data") as process:
        server = announced(process)
        assert process.stdout is not None
        process.stdout.close()
        assert server.request("GET", "/healthz").status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
