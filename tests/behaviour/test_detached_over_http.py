"""Detached work as HTTP clients of a real server process see it: all orders of answer, work, client gone and shutdown.

A task that has to be at work when a test looks waits for an origin that holds its request.
"""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from detaching import CALLS, queue
from gateway_server import read_answers, read_until
from harness import until
from served import PATIENCE, Origin, Served, ask, config, served
from support import guest


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("detached")
    with served(folder / "data", "--config", config(folder)) as server:
        for name in (CALLS, "detached", "echo"):
            assert server.deploy(name).status == 204
        yield server


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as origin:
        yield origin


def target(*steps: object) -> str:
    """Where a POST does these steps."""
    return f"/functions/default/{CALLS}?do={quote(json.dumps(steps))}"


def sent(server: Served, *steps: object) -> socket.socket:
    """A connection on which a request was sent."""
    sock = server.connect()
    sock.sendall(f"POST {target(*steps)} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode())
    return sock


def tasks(server: Served, name: str, outcome: str) -> float:
    """How many tasks of this name ended so."""
    return server.metric("detached_tasks_total", task=name, outcome=outcome)


def becomes(server: Served, name: str, outcome: str) -> None:
    """Waits until one task of this name has ended so."""
    server.counted("detached_tasks_total", 1, task=name, outcome=outcome)


def test_the_client_has_its_answer_and_its_connection_while_the_work_goes_on(server: Served, origin: Origin) -> None:
    """However long it takes: the next request on the same connection is answered while the task is provably at work."""
    connection = server.connection()
    try:
        answer = ask(connection, "POST", target(queue("push", {"get": origin.url("/held")})))
        assert (answer.status, answer.body) == (200, b"answered")
        origin.holds()
        assert ask(connection, "POST", "/functions/default/echo", b"next").body == b"next"
        assert server.metric("detached_in_flight") == server.metric("pool_in_use") == 1
        assert tasks(server, "push", "ok") == 0
    finally:
        connection.close()
    origin.release.set()
    becomes(server, "push", "ok")
    server.idle()


def test_the_example_answers_and_then_pushes(server: Served, origin: Origin) -> None:
    """The order is accepted while the push service has not even answered; that it does not know POST is counted."""
    body = json.dumps({"customer": "Ada", "item": "engine", "push": origin.url("/held")}).encode()
    answer = server.call("detached", body)
    assert (answer.status, answer.json) == (202, {"accepted": "engine"})
    becomes(server, "send-push", "failed")


def test_a_client_that_goes_after_its_answer_changes_nothing(server: Served, origin: Origin) -> None:
    """The work belongs to the invocation, and that is over when its last task has ended."""
    with sent(server, queue("goes", {"get": origin.url("/held")}), queue("on")) as sock:
        assert read_answers(sock, 1) == [(200, b"answered")]
        origin.holds()
    server.counted("connections", 1)
    origin.release.set()
    becomes(server, "goes", "ok")
    becomes(server, "on", "ok")


def test_a_client_that_goes_before_its_answer_takes_the_work_with_it(server: Served, origin: Origin) -> None:
    """The function had not answered, so nothing that it queued is done; each is counted as lost."""
    with sent(server, queue("early"), {"get": origin.url("/held")}):
        origin.holds()
    becomes(server, "early", "lost")
    server.idle()


@pytest.mark.parametrize(("kind", "text"), [("sse", b"data: now\n\n"), ("raw", b"now")])
def test_a_stream_has_its_end_before_the_work_begins(server: Served, origin: Origin, kind: str, text: bytes) -> None:
    """The client sees that the answer is whole while the task is at work."""
    name = f"streamed-{kind}"
    with sent(
        server,
        {kind: "now"},
        queue(name, {kind: "late"}, {"say": "x"}),
        queue(f"{name}-2", {"get": origin.url("/held")}),
    ) as sock:
        said = read_until(sock, b"\r\n0\r\n\r\n")
        assert text in said
        assert b"late" not in said
        origin.holds()
        assert tasks(server, name, "failed") == 1
    origin.release.set()
    becomes(server, f"{name}-2", "ok")


def test_a_client_that_is_still_sending_has_its_answer_first(server: Served, origin: Origin) -> None:
    """What arrives of the body after the answer is nobody's: a task that reads it sees the end of what there was."""
    with server.connect() as sock:
        head = f"POST {target({'status': 403}, queue('reads', 'body'))} HTTP/1.1\r\nHost: localhost\r\n"
        sock.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(5):  # more than is received before the function begins
            sock.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        assert read_answers(sock, 1) == [(403, b"answered")]
    becomes(server, "reads", "ok")


@pytest.mark.parametrize("ending", ["trap", "spin"])
def test_what_becomes_of_the_work_is_not_the_callers_affair(server: Served, ending: str) -> None:
    """A trap, the deadline: the answer was 200, and the next one is, too."""
    assert server.deploy("short", guest(CALLS), "?limits=deadline_ms=1000").status == 204
    path = target(queue(f"ends-by-{ending}", ending)).replace(CALLS, "short")
    for count in (1, 2):
        answer = server.request("POST", path)
        assert (answer.status, answer.body) == (200, b"answered")
        server.counted("detached_tasks_total", count, task=f"ends-by-{ending}", outcome="lost")


def test_a_server_that_is_stopped_waits_for_the_work(tmp_path: Path, origin: Origin) -> None:
    """It refuses new calls, lets the task end, and ends well; the upstream saw the task's second request."""
    with served(tmp_path / "data", "--config", config(tmp_path)) as server:
        assert server.deploy(CALLS).status == 204
        steps = queue("last", {"get": origin.url("/held")}, {"get": origin.url("/held")})
        assert server.request("POST", target(steps)).status == 200
        origin.holds()
        server.process.send_signal(signal.SIGTERM)
        until(lambda: server.call(CALLS).status == 503, "new calls are still answered")
        origin.release.set()
        origin.holds()
        assert ended(server) == (0, "")


def test_a_server_that_is_stopped_waits_no_longer_than_it_may(tmp_path: Path, origin: Origin) -> None:
    """After `drain_seconds` what is left is cut off, and the server ends well."""
    with served(tmp_path / "data", "--config", config(tmp_path, "drain_seconds = 0.2")) as server:
        assert server.deploy(CALLS).status == 204
        assert server.request("POST", target(queue("last", {"get": origin.url("/held")}))).status == 200
        origin.holds()
        server.process.send_signal(signal.SIGTERM)
        assert ended(server) == (0, "")


def ended(server: Served) -> tuple[int, str]:
    """The status that a server ends with, and what it said at last."""
    _, said = server.process.communicate(timeout=PATIENCE)
    return server.process.returncode, said
