"""Bytes that are almost HTTP, sent to a real server: each connection ends, no answer is a 5xx, and the log stays empty."""

from __future__ import annotations

import random
import re
import signal
import socket
from pathlib import Path

import pytest

from harness import often
from served import PATIENCE, Served, served
from support import guest

EXPECTING = (
    b"POST /functions/default/%b HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
)
REQUESTS = (
    b"POST /functions/default/echo/a%20b?x=1&y=%ff HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello",
    b"POST /functions/default/echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"PUT /functions/manage/default/new?limits=fuel=3 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/wasm\r\n"
    b"Content-Length: 8\r\n\r\n\0asm\1\0\0\0",
    b"PUT /functions/manage/default/new HTTP/1.1\r\nHost: localhost\r\nContent-Length: 43\r\n\r\n"
    b'{"inline_wasm":"AGFzbQEAAAA=","grants":[]}',
    b"GET /functions/manage/default/echo/logs?tail=5 HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\n\r\n",
    EXPECTING % b"echo" + b"hi",
)
PIECES = (
    *(b"\r\n", b"\n", b" ", b"\t", b":", b"\0", b"%00", b"%2f", b"..", b"/", b"?", b"#", b"*", b"\xff\xfe", b"[" * 9),
    *(b"HEAD ", b"OPTIONS ", b"HTTP/1.0", b"HTTP/2.0", b"http://localhost/", b"manage", b"-1", b"0\r\n\r\n", b"f" * 16),
    *(b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Host: x\r\n"),
    *(b"Upgrade: h2c\r\nConnection: upgrade\r\n", b"Expect: 100-continue\r\n", b"x: " + b"y" * 33_000 + b"\r\n"),
    *(b"&" * 2_000, b"a" * 9_000, b"9" * 20),
)


def broken(chance: random.Random) -> bytes:
    """One or two requests with something missing, changed, doubled or in the wrong place."""
    data = bytearray(b"".join(chance.choices(REQUESTS, k=chance.choice((1, 1, 2)))))
    for _ in range(chance.choice((1, 1, 2, 3, 6))):
        at, other = sorted(chance.choices(range(len(data) + 1), k=2))
        match chance.randrange(4):
            case 0:
                data[at:at] = chance.choice(PIECES)
            case 1:
                del data[at : at + chance.randrange(1, 12)]
            case 2:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case _:
                data[at:at] = data[at:other]
    return bytes(data)


def exchange(server: Served, data: bytes, pieces: int = 1) -> list[int]:
    """The statuses of all that is answered to `data` until the connection ends."""
    answered = b""
    with server.connect() as sock:
        try:
            step = len(data) // pieces + 1
            for at in range(0, len(data), step):
                sock.sendall(data[at : at + step])
            sock.shutdown(socket.SHUT_WR)
            while piece := sock.recv(1 << 16):
                answered += piece
        except (ConnectionResetError, BrokenPipeError):
            pass
        except OSError as error:  # the server was first
            assert not isinstance(error, TimeoutError), data
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3})", answered)]


def silent(server: Served) -> bool:
    """Whether a server that is asked to end does, without having had a word to say."""
    server.process.send_signal(signal.SIGTERM)
    said = server.process.communicate(timeout=PATIENCE)
    assert said == ("", "")
    return server.process.returncode == 0


def test_nothing_that_is_almost_http_makes_the_server_fail(tmp_path: Path) -> None:
    """However it is cut and however it arrives; the server is well afterwards."""
    chance = random.Random(3)
    with served(tmp_path / "data") as server:
        assert server.deploy("echo").status == 204
        for _ in range(often(2_500)):
            data = broken(chance)
            statuses = exchange(server, data, chance.choice((1, 1, 3)))
            assert all(status < 500 for status in statuses), data
        server.deploy("echo", guest("echo"))
        assert server.call("echo", b"well").body == b"well"
        server.idle()
        assert silent(server)


@pytest.mark.parametrize(
    ("data", "statuses"),
    [
        (EXPECTING % b"nobody" + b"hi, this is no request\r\n\r\n", [404]),
        (EXPECTING % b"echo", None),
        (EXPECTING % b"echo" + b"h", None),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\n bad\r\n\r\n", [404]),
    ],
    ids=["garbage behind a refused body", "no body", "half a body", "garbage behind the last request"],
)
def test_a_client_that_ends_in_the_wrong_place_is_no_error_of_the_server(
    tmp_path: Path, data: bytes, statuses: list[int] | None
) -> None:
    """One answer, or none that anybody waits for, and not a line in the log."""
    with served(tmp_path / "data") as server:
        assert server.deploy("echo").status == 204
        for _ in range(50):
            found = exchange(server, data)
            assert found == statuses if statuses is not None else set(found) <= {100}
        assert silent(server)
