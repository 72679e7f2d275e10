"""Reading logs: over HTTP what a reader may choose and what becomes of a slow one, and `guesthouse logs` on a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from command_line import built
from gateway_server import Server, read_until, receive, serving
from guesthouse.clock import SYSTEM_CLOCK
from guesthouse.gateway import logs as module
from guesthouse.telemetry import LogRecord
from harness import until
from served import Served, served
from support import ROOT

LOGS = "/functions/manage/default/echo/logs"
SECOND = 1_000_000_000
NOON_NS = 1_767_268_800 * SECOND
"""2026-01-01T12:00:00Z."""


@pytest.fixture
def gateway() -> Iterator[Server]:
    with serving() as server:
        yield server


def add(gateway: Server, *records: tuple[int, str, str, str]) -> None:
    """Records of the function `echo`: time, level, invocation id, text."""

    def work() -> None:
        for time_ns, level, invocation_id, text in records:
            gateway.logs.append("default/echo", invocation_id, LogRecord(time_ns, level, "guest", text))

    gateway.on_loop(work)


def texts(gateway: Server, query: str = "") -> list[str]:
    answer = gateway.request("GET", f"{LOGS}?{query}")
    assert answer.status == 200, answer.body
    return [json.loads(line)["text"] for line in answer.body.splitlines()]


# -- over HTTP


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "abcd"),
        ("level=debug", "abcd"),
        ("level=info", "bcd"),
        ("level=warn", "cd"),
        ("level=error", "d"),
        ("invocation=0a01", "ac"),
        ("invocation=1", "ac"),
        ("invocation=ff0a02", "bd"),
        ("invocation=nobody", ""),
        ("since=2026-01-01T12:00:02Z", "cd"),
        ("since=2026-01-01T13:00:02%2B01:00", "cd"),
        ("since=2026-01-01T13:00:02+01:00", "cd"),
        ("since=2026-01-01T12:00:02.5", "d"),
        ("since=2026-01-01%2012:00:01", "bcd"),
        ("since=1s", ""),
        ("since=36500d", "abcd"),
        ("since=0001-01-01T00:00:00Z", "abcd"),
        ("since=9999-12-31T23:59:59-23:59", ""),
        ("level=warn&invocation=0a01&since=2026-01-01T12:00:00Z", "c"),
        ("tail=1&invocation=0a01", "c"),
        ("tail=0", ""),
    ],
)
def test_a_reader_chooses_records(gateway: Server, query: str, expected: str) -> None:
    """By level, time and invocation; the newest of those that fit."""
    add(
        gateway,
        (NOON_NS, "debug", "ff0a01", "a"),
        (NOON_NS + SECOND, "info", "ff0a02", "b"),
        (NOON_NS + 2 * SECOND, "warn", "ff0a01", "c"),
        (NOON_NS + 3 * SECOND, "error", "ff0a02", "d"),
    )
    assert "".join(texts(gateway, query)) == expected


def test_since_counts_back_from_now(gateway: Server) -> None:
    """On the server's clock."""
    now = SYSTEM_CLOCK.wall_ns()
    add(gateway, (now - 7200 * SECOND, "info", "a", "old"), (now - 60 * SECOND, "info", "a", "new"))
    assert texts(gateway, "since=90m") == ["new"]
    assert texts(gateway, "since=3h") == ["old", "new"]


@pytest.mark.parametrize(
    "query",
    [
        "level=loud",
        "level=off",
        "level=",
        "since=yesterday",
        "since=5",
        "since=10y",
        "since=2026-13-01T00:00:00Z",
        "since=" + "1" * 50,
        "invocation=%0a",
        "invocation=" + "a" * 65,
        "tail=x",
        "tail=" + "9" * 21,
        "tail=1&tail=2",
        "token=a&token=b",
        "follow=maybe",
        "lvel=warn",
        "key=%FF",
        "%00=1",
    ],
)
def test_what_cannot_be_chosen_by_is_refused(gateway: Server, query: str) -> None:
    """400 with a word about what can; no text of the reader's in it."""
    answer = gateway.request("GET", f"{LOGS}?{query}")
    assert answer.status == 400
    assert answer.json["type"] == "urn:guesthouse:problem:bad-request"


@contextmanager
def following(gateway: Server, query: str) -> Iterator[Callable[[bytes], bytes]]:
    """A reader of the log as it grows; the function waits for some bytes."""
    with gateway.connect() as sock:
        sock.sendall(f"GET {LOGS}?follow=1&{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        rest = read_until(sock, b"\r\n\r\n")

        def said(what: bytes) -> bytes:
            """All that comes until then; what came with it waits for the next call."""
            nonlocal rest
            while what not in rest:
                piece = receive(sock)
                assert piece, rest
                rest += piece
            found, _, rest = rest.partition(what)
            return found + what

        yield said


def test_a_follower_gets_only_what_it_chose(gateway: Server) -> None:
    """Of the old records and of the new ones."""
    add(gateway, (NOON_NS, "debug", "a", "old debug"), (NOON_NS, "error", "a", "old error"))
    with following(gateway, "level=warn") as said:
        seen = said(b"old error")
        add(gateway, (NOON_NS, "info", "a", "new info"), (NOON_NS, "warn", "a", "new warn"))
        seen += said(b"new warn")
    assert b"debug" not in seen
    assert b"info" not in seen


def test_a_reader_that_is_too_slow_loses_records_and_is_told(gateway: Server) -> None:
    """Whoever writes never waits: all is written while nobody reads."""
    with following(gateway, "tail=0") as said:
        add(gateway, (NOON_NS, "info", "a", "first"))
        said(b"first")
        add(gateway, *((NOON_NS, "info", "a", f"line {number}") for number in range(20_000)))
        add_after = [said(b"dropped 19000 log records because the reader is too slow")]
        add(gateway, (NOON_NS, "info", "a", "last"))
        add_after.append(said(b"last"))
    assert add_after[0].count(b"line ") == 1_000


def test_readers_are_bounded(gateway: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs the function time; one more is 429."""
    monkeypatch.setattr(module, "MOST_READERS", 1)
    add(gateway, (NOON_NS, "info", "a", "x"))
    with following(gateway, "tail=1") as said:
        said(b'"x"')
        answer = gateway.request("GET", f"{LOGS}?follow=1")
        assert (answer.status, answer.json["type"]) == (429, "urn:guesthouse:problem:too-many-readers")
        assert texts(gateway) == ["x"]


def test_readers_that_come_at_once_are_bounded_too(gateway: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each counts from its request on, not from when its answer has begun."""
    monkeypatch.setattr(module, "MOST_READERS", 3)
    request = f"GET {LOGS}?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with ExitStack() as opened:
        readers = [opened.enter_context(gateway.connect()) for _ in range(10)]

        def ask() -> None:
            """All requests are there before the server looks at one."""
            for reader in readers:
                reader.sendall(request)

        gateway.on_loop(ask)
        heads = [read_until(reader, b"\r\n\r\n") for reader in readers]
    assert sum(b" 200 " in head for head in heads) == 3
    assert sum(b" 429 " in head for head in heads) == 7


def test_a_head_request_follows_nothing(gateway: Server) -> None:
    """It has its answer, and the connection goes on."""
    with gateway.connect() as sock:
        sock.sendall(f"HEAD {LOGS}?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"x-ndjson" in read_until(sock, b"ok\n")
    assert gateway.on_loop(lambda: gateway.logs.followers) == 0


def test_following_ends_with_the_readers_token(gateway: Server) -> None:
    """A token that was revoked reads no more."""
    gateway.tokens.add("good", "read")
    gateway.tokens.add("other", "read")
    gateway.on_loop(gateway.gateway._app.gate.refresh)
    with gateway.connect() as sock:
        sock.sendall(f"GET {LOGS}?follow=1&token=good HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        read_until(sock, b"1\r\n\n\r\n")
        gateway.on_loop(lambda: gateway.tokens.principals.pop("good"))
        assert read_until(sock, b"0\r\n\r\n").endswith(b"0\r\n\r\n")
    until(lambda: gateway.logs.followers == 0, "a reader is left")


# -- the command


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("logs")) as running:
        assert running("deploy", built("log-calls"), built("echo"), built("logger")).status == 0
        yield running


def call(running: Served, *steps: dict[str, object], name: str = "log-calls") -> None:
    running("invoke", name, "-d", json.dumps(steps))


def test_all_records_are_shown_whatever_the_guest_configured(running: Served) -> None:
    """Those of the guest, of its output, and of the host; and what the crates say twice is shown once."""
    running("deploy", built("log-calls"), "--name", "all")
    silent = {"configure": [{"topic": "nowhere", "level": "off", "system": "off"}]}
    call(
        running, silent, {"print": "out"}, {"eprint": "err"}, {"log": ["warn", "direct", 1]}, {"info": "x"}, name="all"
    )
    call(running, {"configure-logs": [{"topic": "t"}]}, {"info": "by the crate"}, {"panic": "oh"}, name="all")
    lines = running("logs", "all").out.splitlines()
    shape = re.compile(
        r"20[\d-]+T[\d:.]+Z (debug|info |warn |error) (guest|stdout|stderr|system) {0,2} [0-9a-f]{8} (.*)"
    )
    found = [match.groups() for match in map(shape.fullmatch, lines) if match is not None]
    assert len(found) == len(lines)
    assert ("info ", "stdout", "out") in found
    assert ("error", "stderr", "err") in found
    assert ("warn ", "guest", "direct") in found
    assert any(source == "guest" and re.match(r"log_calls \S+:\d+ by the crate", text) for _, source, text in found)
    assert any(source == "system" and text.startswith("the guest gave up") for _, source, text in found)
    assert next(text for _, source, text in found if source == "system").startswith("began: ")
    assert [text for _, _, text in found][-1].startswith("ended: trapped after ")


def test_records_are_chosen_by_level_time_and_invocation(running: Served) -> None:
    """The id on the screen is enough; with `--json` each is a document."""
    running("deploy", built("log-calls"), "--name", "chosen")
    for text in ("one", "two"):
        call(running, {"log": ["debug", text, 1]}, {"log": ["error", text, 1]}, name="chosen")
    records = [json.loads(line) for line in running("logs", "chosen", "--json").out.splitlines()]
    assert set(records[0]) == {"time", "level", "source", "invocation_id", "text"}
    second = records[-1]["invocation_id"]
    shown = running("logs", "chosen", "--level", "warn", "--invocation", second[-8:]).out
    assert [line.split()[-1] for line in shown.splitlines()] == ["two"]
    assert running("logs", "chosen", "--since", "1h", "--json").out.count("\n") == len(records)
    assert running("logs", "chosen", "--since", "2999-01-01T00:00:00Z").out == ""
    assert running("logs", "chosen", "-n", "1").out.count("\n") == 1


def test_what_is_written_wrongly_is_said(running: Served) -> None:
    """A level is a usage error; a time is the server's to judge."""
    assert running("logs", "echo", "--level", "loud").status == 2
    said = running("logs", "echo", "--since", "yesterday")
    assert said.status == 1
    assert "90s, 15m, 2h, 1d" in said.err


class Follower:
    """`guesthouse logs -f` in a process of its own, on a terminal or not."""

    def __init__(self, running: Served, *arguments: str, terminal: bool = False, **environment: str) -> None:
        command = [sys.executable, "-m", "guesthouse", "logs", "--url", running.url, "--follow", *arguments]
        variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "host"), "TERM": "xterm", **environment}
        self._read, write = pty.openpty() if terminal else os.pipe()
        self._process = subprocess.Popen(command, stdout=write, stderr=subprocess.STDOUT, env=variables)
        os.close(write)

    def until(self, text: str) -> str:
        """Waits for a text; what was read up to then."""
        said = b""
        while text.encode() not in said:
            more = os.read(self._read, 65_536)
            assert more, said
            said += more
        return said.decode()

    def interrupt(self) -> int:
        """What Ctrl-C does; the exit status."""
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(30)

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._read)


def test_following_survives_a_new_version_and_a_deletion(running: Served) -> None:
    """It is the function's log, not a version's; while somebody follows, each call says how it ended."""
    running("deploy", built("echo"), "--name", "changing")
    call(running, name="changing")
    assert running("logs", "changing").out == ""
    with Follower(running, "changing", "-n", "10") as follower:
        running.counted("log_followers", 1)
        call(running, name="changing")
        assert "ended: ok with status 200" in follower.until("ended: ")
        running("deploy", built("log-calls"), "--name", "changing")
        call(running, {"log": ["info", "of version 2", 1]}, name="changing")
        follower.until("of version 2")
        running("rm", "changing")
        running("deploy", built("log-calls"), "--name", "changing")
        call(running, {"log": ["info", "after the deletion", 1]}, name="changing")
        follower.until("after the deletion")
        assert follower.interrupt() == 0


@pytest.mark.parametrize(
    ("terminal", "no_colour", "coloured"), [(True, "", True), (True, "1", False), (False, "", False)]
)
def test_colours_are_for_terminals_only(running: Served, terminal: bool, no_colour: str, coloured: bool) -> None:
    """And not even there with NO_COLOR; what a guest writes is never obeyed."""
    call(running, {"log": ["error", "\x1b[2Jred\r", 1]})
    with Follower(running, "log-calls", "-n", "9", terminal=terminal, NO_COLOR=no_colour) as follower:
        said = follower.until("red\\r")
    assert ("\x1b[31m" in said) == coloured
    assert ("\x1b" in said) == coloured
    assert "\x1b[2J" not in said
    assert "\\x1b[2Jred\\r" in said
