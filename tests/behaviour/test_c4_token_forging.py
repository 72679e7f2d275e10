"""C4: nothing but a token that was made, for what it was made for and for as long, opens a real server."""

from __future__ import annotations

import base64
import binascii
import hashlib
import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote_from_bytes

import pytest

from command_line import guesthouse
from gateway_server import read_answers
from guesthouse.clock import SYSTEM_CLOCK
from guesthouse.registry import tokens as token_module
from guesthouse.registry.tokens import PREFIX, TOKEN_LENGTH, Tokens
from guesthouse.storage.database import Database
from harness import often, until
from served import Served, ask, served
from support import ROOT

ECHO = "/functions/default/echo"


class Shut:
    """A server that asks for a token, and one that is good for calling `default/echo`."""

    def __init__(self, server: Served, connection: HTTPConnection, token: str, manager: str) -> None:
        self.server = server
        self.token = token
        self.manager = manager
        self._connection = connection

    def status(self, token: str | bytes, path: str = ECHO, method: str = "POST") -> int:
        """What a request with this in its header is answered."""
        value = token.encode() if isinstance(token, str) else token
        return ask(self._connection, method, path, b"", {"authorization": value}).status  # type: ignore[dict-item]

    def statuses(self, heads: list[bytes]) -> list[int]:
        """What requests, all sent at once, are answered."""
        found: list[int] = []
        for first in range(0, len(heads), 50):
            some = heads[first : first + 50]
            with self.server.connect() as sock:
                sock.sendall(b"".join(b"POST " + head + b"Host: localhost\r\n\r\n" for head in some))
                found += [status for status, _ in read_answers(sock, len(some))]
        assert len(found) == len(heads)
        return found


def create(data_dir: Path, *options: str) -> str:
    """A token, as its maker gets it."""
    said = guesthouse("token", "create", "somebody", "--data-dir", data_dir, "--quiet", *options)
    assert said.status == 0, said.err
    return said.out.strip()


@pytest.fixture(scope="module")
def shut(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shut]:
    data_dir = tmp_path_factory.mktemp("c4") / "data"
    manager = create(data_dir, "--scope", "manage")
    token = create(data_dir, "--scope", "invoke", "--functions", "default/echo")
    with served(data_dir) as server:
        for name in ("default/echo", "elsewhere/echo"):
            assert server.deploy(name, authorization=manager).status == 204
        assert server.request("POST", ECHO, b"", {"authorization": token}).status == 200
        with closing(server.connection()) as connection:
            yield Shut(server, connection, token, manager)


def flips(token: str) -> list[bytes]:
    """The token with each of its bits wrong in turn."""
    whole = token.encode()
    return [
        bytes([*whole[:at], whole[at] ^ 1 << bit, *whole[at + 1 :]]) for at in range(len(whole)) for bit in range(8)
    ]


def forge(secret: bytes) -> str:
    """A token of the right form, with the right checksum, that nobody made."""
    body = secret + binascii.crc32(secret).to_bytes(4, "big")
    return PREFIX + base64.urlsafe_b64encode(body).decode()


def test_no_bit_of_a_token_can_be_another_one(shut: Shut) -> None:
    """All 408 flipped tokens are 401, as a parameter; in a header, those that HTTP has no words for are 400."""
    forged = flips(shut.token)
    in_query = [b"%b?token=%b HTTP/1.1\r\n" % (ECHO.encode(), quote_from_bytes(text).encode()) for text in forged]
    assert shut.statuses(in_query) == [401] * len(forged)
    for text in forged:
        if text.isascii() and text.decode().isprintable():
            assert shut.status(text) == 401
    assert shut.status(shut.token) == 200


def test_bytes_that_are_no_text_are_refused_in_a_header(shut: Shut) -> None:
    """Control characters are not HTTP, anything over 127 is in no token."""
    for text in (shut.token[:-1].encode() + end for end in (b"\0", b"\x07", b"\x7f", b"\r", b"\n")):
        head = b"POST %b HTTP/1.1\r\nHost: localhost\r\nAuthorization: %b\r\n\r\n" % (ECHO.encode(), text)
        with shut.server.connect() as sock:
            sock.sendall(head)
            assert [status for status, _ in read_answers(sock, 1)] in ([400], [401])
    for text in (shut.token[:-1].encode() + b"\xe9", shut.token[:-1] + "é", shut.token.replace("g", "ｇ", 1)):
        assert shut.status(text) == 401


def test_what_is_almost_a_token_is_401(shut: Shut) -> None:
    """Too short, too long, in another case, alphabet, encoding or scheme, or what is told or stored of it."""
    token = shut.token
    whole = token.encode()
    almost = [
        "", "null", "undefined", "*", "gh_", "Bearer", "Bearer ", token[:-1], token[1:], token[3:], token[:25], token + token,
        token + "A", token + "=", "A" + token, token.upper(), token.lower(), token.swapcase(), token[::-1],
        token[:20] + " " + token[20:], f'"{token}"', f"Basic {token}", f"Bearer Bearer {token}", f"Token {token}",
        f"Bearer,{token}", f"{token},{token}", "gh_" + "+/" * 24, "gh_" + "A" * 48, "gh_" + "=" * 48,
        hashlib.sha256(whole).hexdigest(), base64.b64encode(hashlib.sha256(whole).digest()).decode(),
        base64.b64encode(b"somebody:" + whole).decode(), whole.hex(), token.replace("_", "-", 1),
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.", "' OR 1=1 --", "%00", "../" + token,
    ]  # fmt: skip
    assert {text: shut.status(text) for text in almost} == dict.fromkeys(almost, 401)
    assert shut.server.call("echo").status == 401


def test_random_tokens_of_the_right_form_are_401(shut: Shut) -> None:
    """The checksum keeps typing errors out, not forgers; the 256 bits do."""
    forged = [forge(os.urandom(32)) for _ in range(often(2_000))]
    heads = [b"%b HTTP/1.1\r\nAuthorization: %b\r\n" % (ECHO.encode(), text.encode()) for text in forged]
    assert set(shut.statuses(heads)) == {401}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/functions/default/other"),
        ("POST", "/functions/default/echo2"),
        ("POST", "/functions/elsewhere/echo"),
        ("POST", "/functions/elsewhere/echo/default/echo"),
        ("DELETE", "/functions/manage/default/echo"),
        ("GET", "/functions/manage/default/echo"),
        ("GET", "/functions/manage/default/echo/logs"),
        ("GET", "/metrics"),
    ],
)
def test_a_token_for_one_function_is_403_for_everything_else(shut: Shut, method: str, path: str) -> None:
    """Another function, another namespace, another scope, whether they exist or not."""
    assert shut.status(shut.token, path, method) == 403
    assert shut.status(shut.token) == 200


def test_a_token_that_has_ended_is_401(shut: Shut) -> None:
    """From the millisecond on that it was made for, also in a server that runs since before that."""
    past = SimpleNamespace(
        monotonic_ns=SYSTEM_CLOCK.monotonic_ns, random_bytes=os.urandom, wall_ns=lambda: SYSTEM_CLOCK.wall_ns() - 10**12
    )
    database = Database(Path(shut.server.data_dir) / "guesthouse.db")
    try:
        tokens = Tokens(database, past)
        now_ms = SYSTEM_CLOCK.wall_ns() // 1_000_000
        over = tokens.create_sync("over", scopes=["invoke"], expires_ms=now_ms)
        later = tokens.create_sync("later", scopes=["invoke"], expires_ms=now_ms + 3_600_000)
        ending = tokens.create_sync("ending", scopes=["invoke"], expires_ms=now_ms + 1_000)
    finally:
        database.close()
    assert (shut.status(over), shut.status(later)) == (401, 200)
    until(lambda: shut.status(ending) == 401, "the token did not end")
    assert SYSTEM_CLOCK.wall_ns() // 1_000_000 >= now_ms + 1_000


def test_a_token_made_in_another_process_works_at_once_and_ends_within_a_second_of_its_revoking(shut: Shut) -> None:
    """The server is not restarted for either."""
    where = ("--data-dir", shut.server.data_dir)
    command = [sys.executable, "-m", "guesthouse", "token", "create", "new", "--scope", "invoke", "--quiet", *where]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "host")}
    made = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=True
    ).stdout.strip()
    assert shut.status(made) == 200
    (new,) = [token for token in guesthouse("token", "ls", "--json", *where).json if token["name"] == "new"]
    assert guesthouse("token", "revoke", new["id"], *where).status == 0
    until(lambda: shut.status(made) == 401, "the token was not revoked")
    assert shut.status(shut.token) == 200


def test_a_token_of_another_server_is_401(shut: Shut, tmp_path: Path) -> None:
    """Of the same form, made by the same program."""
    assert shut.status(create(tmp_path / "other", "--scope", "all")) == 401


def test_no_file_of_the_server_holds_a_token(shut: Shut) -> None:
    """Neither as text, nor its secret bytes: only their SHA-256, in files that nobody else may read."""
    files = [path for path in Path(shut.server.data_dir).rglob("*") if path.is_file()]
    stored = b"".join(path.read_bytes() for path in files)
    for token in (shut.token, shut.manager):
        secret = base64.urlsafe_b64decode(token.removeprefix(PREFIX))
        assert hashlib.sha256(token.encode()).digest() in stored
        for form in (token.encode(), token.removeprefix(PREFIX).encode(), secret[:32], secret.hex().encode()):
            assert form not in stored
    assert {path.name: path.stat().st_mode & 0o077 for path in files} == {path.name: 0 for path in files}


def traced(tokens: Tokens, plain: str) -> tuple[object, list[tuple[str, int]]]:
    """What `verify` answers, and every line of its module that it ran."""
    lines: list[tuple[str, int]] = []

    def trace(frame, event, argument):
        if frame.f_code.co_filename != token_module.__file__:
            return None
        if event == "line":
            lines.append((frame.f_code.co_name, frame.f_lineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        found = tokens.verify(plain)
    finally:
        sys.settrace(before)
    return found, lines


def test_how_much_of_a_token_is_right_changes_nothing_that_is_done() -> None:
    """A known token is hashed and looked up; so is an unknown one, and it is never compared with another one."""
    database = Database(None)
    try:
        standing = SimpleNamespace(monotonic_ns=lambda: 0, wall_ns=SYSTEM_CLOCK.wall_ns, random_bytes=os.urandom)
        tokens = Tokens(database, standing)
        token = tokens.create_sync("known", scopes=["invoke"])
        tokens.verify(token)
        known, path = traced(tokens, token)
        secret = base64.urlsafe_b64decode(token.removeprefix(PREFIX))[:32]
        wrong = [bytes([*secret[:at], secret[at] ^ 1, *secret[at + 1 :]]) for at in (0, 15, 31)]
        forged = [forge(text) for text in (*wrong, os.urandom(32), bytes(32))]
        answers = [traced(tokens, text) for text in forged]
    finally:
        database.close()
    assert known is not None
    assert {len(text) for text in (token, *forged)} == {TOKEN_LENGTH}
    assert all(found is None and lines == answers[0][1] for found, lines in answers)
    source, first = inspect.getsourcelines(Tokens.verify)
    (lookup,) = (first + at for at, line in enumerate(source) if "_by_digest.get(digest)" in line)
    looked_up = path.index(("verify", lookup)) + 1
    assert answers[0][1][:looked_up] == path[:looked_up]
