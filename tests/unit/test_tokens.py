"""Tokens: random, stored only as hashes, bound to scopes and functions, and gone when expired or revoked."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.errors import BadRequest
from guesthouse.registry.principal import LOCAL, SCOPES, FunctionPattern, Principal
from guesthouse.registry.tokens import NOTICE_NS, TOKEN_LENGTH, Tokens, is_well_formed
from guesthouse.storage.database import Database, rows
from set_clock import SetClock

DAY_MS = 86_400_000


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture(params=["memory", "file"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    opened = Database(None if request.param == "memory" else tmp_path / "guesthouse.db")
    yield opened
    opened.close()


@pytest.fixture
def tokens(database: Database, clock: SetClock) -> Tokens:
    return Tokens(database, clock)


def test_a_token_is_known_from_its_making_to_its_revoking(tokens: Tokens) -> None:
    """Created, verified as text and as bytes, listed without its secret, revoked: each at once."""

    async def story() -> None:
        assert not tokens.any()
        plain = await tokens.create("ci", scopes=["manage", "read"], functions="default/*", token_id="team-7")
        principal = tokens.verify(plain)
        assert principal is not None
        assert principal.scopes == frozenset({"manage", "read"})
        assert (principal.name, principal.token_id) == ("ci", "team-7")
        assert tokens.verify(plain.encode()) is principal
        assert tokens.any()
        assert tokens.list() == (principal,)
        assert await tokens.revoke(principal.id) is True
        assert await tokens.revoke(principal.id) is False
        assert tokens.verify(plain) is None
        assert not tokens.any()

    asyncio.run(story())


def test_the_secret_is_stored_nowhere(tmp_path: Path) -> None:
    """Neither its text nor its random bytes are in the files; it is valid after a restart all the same."""
    database = Database(tmp_path / "guesthouse.db")
    plain = Tokens(database).create_sync("ci", scopes=["invoke"])
    database.close()
    for file in tmp_path.iterdir():
        assert plain[3:20].encode() not in file.read_bytes()
    database = Database(tmp_path / "guesthouse.db")
    principal = Tokens(database).verify(plain)
    assert principal is not None
    assert principal.name == "ci"
    database.close()


def test_no_token_with_a_flipped_bit_is_valid(tokens: Tokens) -> None:
    """C4: each bit of the whole text, the prefix and the checksum included."""
    plain = tokens.create_sync("ci", scopes=["invoke"]).encode()
    for bit in range(len(plain) * 8):
        forged = bytearray(plain)
        forged[bit // 8] ^= 1 << (bit % 8)
        assert tokens.verify(bytes(forged)) is None
        assert not is_well_formed(bytes(forged))
    assert tokens.verify(plain) is not None


@given(st.text(max_size=80) | st.binary(max_size=80) | st.binary(min_size=TOKEN_LENGTH, max_size=TOKEN_LENGTH))
def test_anything_that_is_not_a_token_is_refused_without_an_error(anything: str | bytes) -> None:
    """Any text, any bytes: no one, and never an exception."""
    assert NOBODY.verify(anything) is None


NOBODY = Tokens(Database(None))


@pytest.mark.parametrize(
    "text", ["", "gh_", "gh_" + "é" * 48, "gh_" + "\ud800" * 48, "gh_" + "A" * 48, "Bearer x", "\0" * 51]
)
def test_what_only_looks_like_a_token_is_refused(tokens: Tokens, text: str) -> None:
    """Empty, cut, not ASCII, a wrong checksum, with its scheme."""
    tokens.create_sync("ci", scopes=["invoke"])
    assert tokens.verify(text) is None


def test_a_token_ends_in_the_millisecond_it_was_made_for(tokens: Tokens, clock: SetClock) -> None:
    """Valid until just before; it stays listed, so that its holder can be told, and still counts as a token."""
    plain = tokens.create_sync("day", scopes=["invoke"], expires_ms=clock.wall_ms + DAY_MS)
    clock.wall_ms += DAY_MS - 1
    assert tokens.verify(plain) is not None
    clock.wall_ms += 1
    assert tokens.verify(plain) is None
    assert [principal.name for principal in tokens.list()] == ["day"]
    assert tokens.any()


@pytest.mark.parametrize(
    ("wanted", "because"),
    [
        ({"scopes": []}, "scopes"),
        ({"scopes": ["invoke", "root"]}, "scopes"),
        ({"expires_ms": 1}, "expired"),
        ({"expires_ms": 1 << 60}, "expired"),
        ({"functions": "de*/x"}, "none of"),
        ({"functions": "default"}, "none of"),
        ({"functions": "default/x\n"}, "none of"),
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "\ud800"}, "name"),
        ({"name": "é" * 101}, "name"),
        ({"token_id": "x" * 513}, "token id"),
    ],
)
def test_a_token_that_makes_no_sense_is_not_made(tokens: Tokens, wanted: dict[str, object], because: str) -> None:
    """The reason is named, and nothing is stored."""
    arguments = {"name": "ci", "scopes": ["invoke"], **wanted}
    with pytest.raises(BadRequest, match=because):
        tokens.create_sync(**arguments)  # type: ignore[arg-type]
    assert not tokens.any()


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        ("*", [("a", "b"), ("a", None), (None, None)], []),
        ("a/*", [("a", "b"), ("a", None)], [("b", "b"), (None, None), ("aa", "b")]),
        ("a/b*", [("a", "b"), ("a", "b-c")], [("a", "c"), ("a", None), ("b", "b"), (None, None)]),
        ("a/b", [("a", "b")], [("a", "b-c"), ("a", None), ("b", "b"), (None, None)]),
    ],
)
def test_a_token_reaches_the_functions_of_its_pattern_only(
    pattern: str, inside: list[tuple[str | None, str | None]], outside: list[tuple[str | None, str | None]]
) -> None:
    """All, a namespace, a prefix, one; what is about all functions needs a pattern of all."""
    principal = Principal("id", "name", frozenset({"invoke"}), FunctionPattern.parse(pattern))
    assert str(principal.functions) == pattern
    for namespace, name in inside:
        assert principal.allows("invoke", namespace, name)
        assert not principal.allows("manage", namespace, name)
        assert LOCAL.allows("manage", namespace, name)
    for namespace, name in outside:
        assert not principal.allows("invoke", namespace, name)


@pytest.mark.parametrize(
    ("pattern", "everywhere", "here"),
    [("*", True, True), ("a/*", False, True), ("a/b*", False, False), ("a/b", False, False)],
)
def test_a_token_reaches_the_items_and_topics_of_whole_namespaces_only(
    pattern: str, everywhere: bool, here: bool
) -> None:
    """Functions' names say nothing about keys: a pattern of some of them opens none."""
    for scope, ask in {
        "cache-read": lambda who, namespace: who.allows_cache("read", namespace, b"b"),
        "cache-write": lambda who, namespace: who.allows_cache("write", namespace, b"b"),
        "topic-publish": lambda who, namespace: who.allows_topic("publish", namespace, "b"),
        "topic-subscribe": lambda who, namespace: who.allows_topic("subscribe", namespace, "b"),
    }.items():
        who = Principal("id", "name", frozenset({scope}), FunctionPattern.parse(pattern))
        other = Principal("id", "name", SCOPES - {scope}, FunctionPattern.parse(pattern))
        assert (ask(who, "c"), ask(who, "a")) == (everywhere, here)
        assert (who.allows(scope, "c"), who.allows(scope, "a")) == (everywhere, here)
        assert not ask(other, "a")
        assert ask(LOCAL, "a")


def test_writing_by_what_is_there_needs_both_cache_scopes() -> None:
    """Its answer tells what was there before."""
    for scopes, expected in ((["cache-write"], False), (["cache-read"], False), (["cache-read", "cache-write"], True)):
        who = Principal("id", "name", frozenset(scopes), FunctionPattern.parse("*"))
        assert who.allows_cache("conditional-write", "a", b"k") is expected


def test_a_loopback_server_without_tokens_allows_everything() -> None:
    """The principal of everybody has every scope."""
    assert all(LOCAL.allows(scope) for scope in SCOPES)


IN_ANOTHER_PROCESS = """
import sys
from pathlib import Path
from guesthouse.registry.tokens import Tokens
from guesthouse.storage.database import Database
from guesthouse.storage.directory import DataDirectory
directory = DataDirectory(Path(sys.argv[1]), owner=False)
database = Database(directory.database, upgrade=False)
tokens = Tokens(database)
if sys.argv[2] == "create":
    print(tokens.create_sync("from outside", scopes=["invoke"]), end="")
else:
    print(tokens.revoke_sync(sys.argv[2]), end="")
database.close()
"""


def _elsewhere(*arguments: str | Path) -> str:
    command = [sys.executable, "-c", IN_ANOTHER_PROCESS, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def test_a_token_made_by_another_process_works_at_once_and_one_revoked_there_ends_within_a_second(
    tmp_path: Path, clock: SetClock
) -> None:
    """While this one runs on the same directory; writing other things meanwhile disturbs nothing."""
    database = Database(tmp_path / "guesthouse.db")
    tokens = Tokens(database, clock)
    assert not tokens.any()
    plain = _elsewhere(tmp_path, "create")
    principal = tokens.verify(plain)
    assert principal is not None
    assert principal.name == "from outside"
    database.write_sync(lambda connection: rows(connection, "DELETE FROM spawns"))
    assert _elsewhere(tmp_path, principal.id) == "True"
    clock.monotonic += NOTICE_NS
    assert tokens.verify(plain) is None
    assert not tokens.any()
    _elsewhere(tmp_path, "create")
    clock.monotonic += NOTICE_NS
    assert tokens.any()
    database.close()


def test_guesses_do_not_make_the_database_read_all_tokens_again(
    database: Database, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood of well-formed guesses costs one small question each while nothing changes."""
    tokens = Tokens(database, clock)
    tokens.create_sync("ci", scopes=["invoke"])
    assert tokens.any()
    guesses = [NOBODY.create_sync("guess", scopes=["invoke"]) for _ in range(20)]
    reads: list[object] = []
    monkeypatch.setattr(database, "read_sync", reads.append)
    assert [tokens.verify(guess) for guess in guesses] == [None] * 20
    assert tokens.verify("gh_" + "A" * 48) is None
    assert reads == []
