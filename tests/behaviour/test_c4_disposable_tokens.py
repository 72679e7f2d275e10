"""C4: nothing but a disposable token that this server made, as it was made and until it ends, opens a real server."""

from __future__ import annotations

import base64
import hmac
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote_from_bytes

import pytest

from command_line import guesthouse
from gateway_server import read_answers
from guesthouse.clock import SYSTEM_CLOCK
from guesthouse.registry.disposable import DOMAIN, PREFIX, DisposableTokens, signing_keys
from guesthouse.registry.permissions import EVERYTHING, Permission, Permissions
from harness import often
from served import Served, served

ECHO = "/functions/default/echo"
ONE = Permissions((Permission("FunctionInvoke", "default", EVERYTHING),))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    data_dir = tmp_path_factory.mktemp("c4") / "data"
    made = guesthouse("token", "create", "owner", "--scope", "all", "--quiet", "--data-dir", data_dir)
    with served(data_dir) as server:
        assert server.deploy("echo", authorization=made.out.strip()).status == 204
        yield server


@pytest.fixture
def tokens(server: Served) -> DisposableTokens:
    return DisposableTokens(signing_keys(Path(server.data_dir), owner=False))


def statuses(server: Served, texts: list[bytes]) -> set[int]:
    """What requests with these as the parameter `token`, sent without waiting, are answered."""
    found: list[int] = []
    for first in range(0, len(texts), 50):
        some = texts[first : first + 50]
        heads = (
            b"POST %b?token=%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % (ECHO.encode(), quote(text)) for text in some
        )
        with server.connect() as sock:
            sock.sendall(b"".join(heads))
            found += [status for status, _ in read_answers(sock, len(some))]
    assert len(found) == len(texts)
    return set(found)


def quote(text: bytes) -> bytes:
    return quote_from_bytes(text, safe="").encode()


def spell(body: bytes) -> str:
    return PREFIX + base64.urlsafe_b64encode(body + b" " * (-len(body) % 3)).decode()


def test_no_bit_of_a_token_can_be_another_one(server: Served, tokens: DisposableTokens) -> None:
    """Every flipped one is 401; the token itself is good before and after."""
    token = tokens.generate(300, ONE, "me").token.encode()
    flipped = [
        bytes([*token[:at], token[at] ^ 1 << bit, *token[at + 1 :]]) for at in range(len(token)) for bit in range(8)
    ]
    assert statuses(server, [token]) == {200}
    assert statuses(server, flipped) == {401}
    assert statuses(server, [token]) == {200}


def test_what_is_cut_or_longer_is_401(server: Served, tokens: DisposableTokens) -> None:
    """At every length, and up to what fits into a request."""
    token = tokens.generate(300, ONE).token
    texts = [token[:at] for at in range(1, len(token))] + [
        token + end for end in ("A", "AAAA", "=", "==", "\n", "\0", "é")
    ]
    texts += [PREFIX, PREFIX + "A" * 5_000, PREFIX + "A" * 7_000, PREFIX * 3, token + token, token.upper()]
    assert statuses(server, [text.encode() for text in texts]) == {401}


def test_what_others_signed_is_401(server: Served, tokens: DisposableTokens, tmp_path: Path) -> None:
    """Another server, a guessed key, an empty one, no signature, no algorithm."""
    other = DisposableTokens(signing_keys(tmp_path))
    body = base64.urlsafe_b64decode(tokens.generate(300, ONE).token.removeprefix(PREFIX))
    name, claims = body[:8], body[40:]
    guesses = [bytes(32), b"", b"secret", os.urandom(32), name, DOMAIN]
    forged = [spell(name + hmac.digest(key, DOMAIN + name + claims, "sha256") + claims) for key in guesses]
    forged += [spell(name + os.urandom(32) + claims) for _ in range(often(1_000))]
    forged += [spell(name + claims), spell(claims), other.generate(300, ONE).token]
    for algorithm in ("none", "HS256", "RS256"):
        header = base64.urlsafe_b64encode(json.dumps({"alg": algorithm}).encode()).decode().rstrip("=")
        forged += [f"{header}.e30.", f"{PREFIX}{header}.e30.", f"{header}.{header}.{header}"]
    assert statuses(server, [text.encode() for text in forged]) == {401}


def test_a_token_cannot_be_used_again_after_its_end(server: Served) -> None:
    """One that was good a moment ago, seen by a server that has seen it, and one that it has never seen."""
    earlier = SimpleNamespace(
        monotonic_ns=SYSTEM_CLOCK.monotonic_ns,
        random_bytes=os.urandom,
        wall_ns=lambda: SYSTEM_CLOCK.wall_ns() - 3_600_000_000_000,
    )
    tokens = DisposableTokens(signing_keys(Path(server.data_dir), earlier, owner=False), earlier)
    over = [tokens.generate(seconds, ONE).token.encode() for seconds in (1, 3_599)]
    assert statuses(server, over) == {401}
    assert statuses(server, over) == {401}
    assert statuses(server, [tokens.generate(3_900, ONE).token.encode()]) == {200}


def test_a_key_that_was_rotated_away_signs_nothing_any_more(server: Served, tokens: DisposableTokens) -> None:
    """Neither tokens from before nor ones that are made with the stolen key afterwards."""
    old = DisposableTokens(signing_keys(Path(server.data_dir), owner=False))
    before = old.generate(300, ONE).token.encode()
    stolen = old.keys.current()
    assert statuses(server, [before]) == {200}
    tokens.keys.rotate(revoke=True)
    while statuses(server, [before]) == {200}:  # it is noticed within a second
        pass
    claims = json.dumps([SYSTEM_CLOCK.wall_ns() // 10**9 + 300, None, [["FunctionInvoke", None, False, ""]]]).encode()
    claims += b" " * (-(40 + len(claims)) % 3)
    forged = spell(stolen.id + hmac.digest(stolen.secret, DOMAIN + stolen.id + claims, "sha256") + claims)
    assert statuses(server, [before, forged.encode()]) == {401}
    assert statuses(server, [tokens.generate(300, ONE).token.encode()]) == {200}
