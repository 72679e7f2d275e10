"""Disposable tokens: signed, bounded in time, and worth nothing with a bit of them changed (C4)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.errors import BadRequest, Unauthorized
from guesthouse.limits import MAX_DISPOSABLE_SECONDS
from guesthouse.registry import disposable as module
from guesthouse.registry.disposable import DOMAIN, MOST_LENGTH, MOST_REMEMBERED, PREFIX, DisposableTokens, signing_keys
from guesthouse.registry.permissions import EVERYTHING, Permission, Permissions, Selector, TooMuch
from guesthouse.registry.signing import NOTICE_NS
from set_clock import SetClock

SOME = Permissions(
    (
        Permission("FunctionInvoke", "shop", Selector(b"check", False)),
        Permission("CacheReadWrite", "shop", Selector(b"\x00\xff", True)),
        Permission("TopicReadOnly", None, Selector("né".encode(), True)),
    )
)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def tokens(clock: SetClock) -> DisposableTokens:
    return DisposableTokens(signing_keys(None, clock), clock)


def test_a_token_says_who_may_do_what_until_when(tokens: DisposableTokens, clock: SetClock) -> None:
    """Everything that it was made with comes back; the end is in whole seconds from now."""
    token, valid_until = tokens.generate(60, SOME, "ada")
    assert valid_until == clock.wall_ms // 1_000 + 60
    for _ in range(2):  # looked at, and remembered
        principal = tokens.verify(token)
        assert (principal.token_id, principal.permissions) == ("ada", SOME)
        assert principal.expires_ms == valid_until * 1_000
    assert tokens.verify(tokens.generate(60, SOME).token).token_id is None


@given(st.text(max_size=200) | st.none(), st.binary(max_size=40), st.booleans(), st.none() | st.text(max_size=60))
def test_any_claims_survive(token_id: str | None, name: bytes, exact: bool, namespace: str | None) -> None:
    """Text, bytes of any kind, lengths that base64 likes and others."""
    permissions = Permissions((Permission("CacheReadOnly", namespace, Selector(name, exact)),))
    principal = FIXED.verify(FIXED.generate(60, permissions, token_id).token)
    assert (principal.token_id, principal.permissions) == (token_id, permissions)


FIXED = DisposableTokens(signing_keys(None))


def test_a_token_ends_in_the_second_it_was_made_for(tokens: DisposableTokens, clock: SetClock) -> None:
    """Also one that was used just before, and however often it is shown then."""
    for used in (True, False):
        token = tokens.generate(1, SOME).token
        clock.wall_ms += 999
        if used:
            tokens.verify(token)
        clock.wall_ms += 1
        for _ in range(2):
            with pytest.raises(Unauthorized, match="expired"):
                tokens.verify(token)


@pytest.mark.parametrize("seconds", [0, -1, MAX_DISPOSABLE_SECONDS + 1, (1 << 32) - 1])
def test_a_life_out_of_bounds_is_refused(tokens: DisposableTokens, seconds: int) -> None:
    """At least a second, at most what the host allows."""
    with pytest.raises(BadRequest, match=f"1 to {MAX_DISPOSABLE_SECONDS} seconds"):
        tokens.generate(seconds, SOME)
    assert tokens.verify(tokens.generate(MAX_DISPOSABLE_SECONDS, SOME).token)


def test_the_longest_life_can_be_set(clock: SetClock) -> None:
    """By whoever runs the host."""
    tokens = DisposableTokens(signing_keys(None, clock), clock, longest_seconds=60)
    assert tokens.generate(60, SOME)
    with pytest.raises(BadRequest, match="1 to 60 seconds"):
        tokens.generate(61, SOME)


def test_a_token_has_a_bounded_length(tokens: DisposableTokens) -> None:
    """It has to fit where a token stands; what would not is refused when it is made."""
    with pytest.raises(TooMuch, match="token id"):
        tokens.generate(60, SOME, "é" * 257)
    large = Permissions((Permission("CacheReadOnly", "a", Selector(b"k" * 1_024, True)),) * 3)
    assert len(tokens.generate(60, large, "x" * 512).token) <= MOST_LENGTH
    with pytest.raises(TooMuch, match="characters"):
        tokens.generate(60, Permissions(large.entries * 2))


def refused(tokens: DisposableTokens, text: str) -> bool:
    try:
        tokens.verify(text)
    except Unauthorized:
        return True
    return False


def test_no_token_with_a_flipped_bit_is_valid(tokens: DisposableTokens) -> None:
    """Each bit of prefix, key id, signature and claims."""
    token = tokens.generate(60, SOME, "ada").token.encode()
    for bit in range(len(token) * 8):
        forged = bytearray(token)
        forged[bit // 8] ^= 1 << (bit % 8)
        assert refused(tokens, forged.decode("latin-1")), bit
    assert not refused(tokens, token.decode())


def test_no_other_text_is_the_same_token(tokens: DisposableTokens) -> None:
    """Cut, longer, padded, in another alphabet, with what base64 decoders skip."""
    for length in range(3):
        token = tokens.generate(60, SOME, "a" * length).token
        body = token.removeprefix(PREFIX)
        others = [token[:at] for at in range(len(token))]
        others += [token + end for end in ("=", "==", "A", "AAAA", "\n", " ", "\0")]
        others += [token[:at] + junk + token[at:] for at in (4, 8, 40) for junk in ("\n", " ", "=", "!!!!", "é")]
        others += [body, PREFIX + token, token.upper(), token.replace("ghd_", "gh_"), token.replace("ghd_", "GHD_")]
        others += [token.replace("-", "+").replace("_", "/"), PREFIX, PREFIX + "A" * 80, PREFIX + "A" * 8_000]
        assert all(refused(tokens, other) for other in others if other != token)
        assert not refused(tokens, token)


def claims_of(token: str) -> tuple[bytes, bytes, bytes]:
    body = base64.urlsafe_b64decode(token.removeprefix(PREFIX))
    return body[:8], body[8:40], body[40:]


def spell(name: bytes, mac: bytes, claims: bytes) -> str:
    claims += b" " * (-(40 + len(claims)) % 3)
    return PREFIX + base64.urlsafe_b64encode(name + mac + claims).decode()


def test_claims_that_were_not_signed_are_refused(tokens: DisposableTokens, clock: SetClock) -> None:
    """More rights, a longer life, no signature, one by another key, algorithm or of another purpose."""
    token, valid_until = tokens.generate(60, SOME)
    name, mac, claims = claims_of(token)
    key = tokens.keys.current()
    more = claims.replace(b"FunctionInvoke", b"CacheReadWrite")
    longer = claims.replace(str(valid_until).encode(), str(valid_until + 60).encode())
    assert more != claims != longer
    every = json.dumps([valid_until, None, [["FunctionInvoke", None, False, ""]]]).encode()
    forged = [spell(name, mac, text) for text in (more, longer, every, b"", b"null")]
    forged += [spell(name, zero, every) for zero in (b"", bytes(32), b"\xff" * 32)]
    forged.append(spell(name, hmac.digest(bytes(32), DOMAIN + name + every, "sha256"), every))
    forged.append(spell(name, hmac.digest(b"", DOMAIN + name + every, "sha256"), every))
    forged.append(spell(name, hmac.digest(key.secret, name + every, "sha256"), every))
    forged.append(spell(name, hmac.digest(key.secret, DOMAIN + name + every, "sha1").ljust(32, b"\0"), every))
    forged.append(spell(name, hashlib.sha256(key.secret + DOMAIN + name + every).digest(), every))
    forged.append(spell(bytes(8), hmac.digest(key.secret, DOMAIN + bytes(8) + every, "sha256"), every))
    assert all(refused(tokens, text) for text in forged)
    assert not refused(tokens, spell(name, mac, claims))


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "RS256", "EdDSA", ""])
def test_there_is_no_algorithm_to_choose(tokens: DisposableTokens, algorithm: str) -> None:
    """A JSON web token is nothing here, whatever it says of itself, with our prefix or without."""
    header, payload = b64(json.dumps({"alg": algorithm}).encode()), b64(b'{"exp":9999999999}')
    for signature in ("", b64(hmac.digest(b"", f"{header}.{payload}".encode(), "sha256"))):
        for prefix in ("", PREFIX):
            assert refused(tokens, f"{prefix}{header}.{payload}.{signature}")


def test_a_token_of_another_host_is_refused(tokens: DisposableTokens) -> None:
    """Of the same form, made by the same program."""
    assert refused(tokens, FIXED.generate(60, SOME).token)


@given(st.text(max_size=300) | st.text(max_size=300).map(lambda text: PREFIX + text))
def test_any_text_is_refused_without_another_error(text: str) -> None:
    """Nothing but `Unauthorized` comes out."""
    assert refused(FIXED, text)


def test_rotation_keeps_tokens_until_they_end(tokens: DisposableTokens, clock: SetClock) -> None:
    """The longest of them as well; the key that is gone then could have signed nothing later."""
    token = tokens.generate(MAX_DISPOSABLE_SECONDS, SOME).token
    tokens.verify(token)
    tokens.keys.rotate()
    assert not refused(tokens, token)
    assert not refused(tokens, tokens.generate(60, SOME).token)
    clock.wall_ms += MAX_DISPOSABLE_SECONDS * 1_000 - 1
    assert not refused(tokens, token)
    clock.wall_ms += 1
    assert refused(tokens, token)


def test_revoking_makes_every_token_worthless_at_once(tokens: DisposableTokens) -> None:
    """Also those that have been verified before."""
    old = [tokens.generate(60, SOME).token]
    tokens.keys.rotate()
    old.append(tokens.generate(60, SOME).token)
    assert not any(refused(tokens, token) for token in old)
    tokens.keys.rotate(revoke=True)
    assert all(refused(tokens, token) for token in old)
    assert not refused(tokens, tokens.generate(60, SOME).token)


def test_a_stolen_key_is_worth_no_more_than_its_rest_of_time(tokens: DisposableTokens, clock: SetClock) -> None:
    """Whatever end is written into a token, it is not believed longer than the key that signed it."""
    stolen = tokens.keys.current()
    tokens.keys.rotate()
    claims = json.dumps([clock.wall_ms, None, []]).encode()  # in some fifty thousand years
    claims += b" " * (-(40 + len(claims)) % 3)
    token = spell(stolen.id, hmac.digest(stolen.secret, DOMAIN + stolen.id + claims, "sha256"), claims)
    assert not refused(tokens, token)
    clock.wall_ms += MAX_DISPOSABLE_SECONDS * 1_000
    assert refused(tokens, token)


def test_another_processes_revoking_is_noticed_within_a_second(tmp_path: Path, clock: SetClock) -> None:
    """And another's tokens are good at once, before and after a restart."""
    here = DisposableTokens(signing_keys(tmp_path, clock), clock)
    there = DisposableTokens(signing_keys(tmp_path, clock, owner=False), clock)
    token = there.generate(60, SOME).token
    assert not refused(here, token)
    assert not refused(DisposableTokens(signing_keys(tmp_path, clock), clock), token)
    there.keys.rotate(revoke=True)
    clock.monotonic += NOTICE_NS
    assert refused(here, token)
    assert not refused(here, there.generate(60, SOME).token)


def test_what_is_remembered_is_bounded_and_never_a_refusal(tokens: DisposableTokens) -> None:
    """A flood of tokens, honest or forged, takes no more memory than the bound."""
    for number in range(MOST_REMEMBERED + 10):
        tokens.verify(tokens.generate(60, SOME, str(number)).token)
    assert len(tokens._remembered) == MOST_REMEMBERED
    remembered = dict(tokens._remembered)
    for number in range(20):
        assert refused(tokens, f"{tokens.generate(60, SOME, 'new').token[:-4]}{number:04}")
    assert tokens._remembered == remembered


def test_signatures_are_compared_in_constant_time(tokens: DisposableTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the library's function for it, whole, whatever is right of them."""
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(module.hmac, "compare_digest", compare, raising=True)
    name, mac, claims = claims_of(tokens.generate(60, SOME).token)
    monkeypatch.undo()
    monkeypatch.setattr(module, "hmac", _Watching(compare))
    for forged in (bytes(32), mac[:31] + bytes([mac[31] ^ 1]), bytes([mac[0] ^ 1]) + mac[1:]):
        assert refused(tokens, spell(name, forged, claims))
    assert [other for _, other in compared] == [mac] * 3


class _Watching:
    def __init__(self, compare: object) -> None:
        self.compare_digest = compare
        self.digest = hmac.digest


def principal(tokens: DisposableTokens, *entries: Permission) -> module.DisposablePrincipal:
    return tokens.verify(tokens.generate(60, Permissions(entries)).token)


def test_a_bearer_calls_the_functions_that_were_named(tokens: DisposableTokens) -> None:
    """One, those that begin like this, all; never one in another namespace."""
    one = principal(tokens, Permission("FunctionInvoke", "shop", Selector(b"check", True)))
    some = principal(tokens, Permission("FunctionInvoke", "shop", Selector(b"check", False)))
    every = principal(tokens, Permission("FunctionInvoke", None, EVERYTHING))
    for name, expected in (("check", [True, True, True]), ("checkout", [False, True, True])):
        assert [who.allows("invoke", "shop", name) for who in (one, some, every)] == expected
        assert [who.allows("invoke", "other", name) for who in (one, some, every)] == [False, False, True]
    assert not every.allows("invoke", "shop")


def test_a_bearer_manages_reads_and_measures_nothing(tokens: DisposableTokens) -> None:
    """Whatever its permissions are."""
    everything = principal(
        tokens, *(Permission(role, None, EVERYTHING) for role in ("FunctionInvoke", "CacheReadWrite", "TopicReadWrite"))
    )
    for scope in ("manage", "read", "metrics", "public", "any", "", "cache-conditional-write"):
        assert not everything.allows(scope)
        assert not everything.allows(scope, "shop")
        assert not everything.allows(scope, "shop", "check")
    for scope in ("cache-read", "cache-write", "topic-publish", "topic-subscribe"):
        assert not everything.allows(scope)
        assert everything.allows(scope, "shop")


@pytest.mark.parametrize(
    ("roles", "read", "write", "conditional"),
    [
        (["CacheReadWrite"], True, True, True),
        (["CacheReadOnly"], True, False, False),
        (["CacheWriteOnly"], False, True, False),
        (["CacheWriteOnly", "CacheReadOnly"], True, True, True),
        ([], False, False, False),
    ],
)
def test_a_bearer_uses_the_items_that_were_named(
    tokens: DisposableTokens, roles: list[str], read: bool, write: bool, conditional: bool
) -> None:
    """What answers by what was there before needs both rights."""
    who = principal(tokens, *(Permission(role, "shop", Selector(b"k", True)) for role in roles))
    assert who.allows_cache("read", "shop", b"k") is read
    assert who.allows_cache("write", "shop", b"k") is write
    assert who.allows_cache("conditional-write", "shop", b"k") is conditional
    for namespace, key in (("shop", b"key"), ("shop", b""), ("other", b"k")):
        assert not any(who.allows_cache(action, namespace, key) for action in ("read", "write", "conditional-write"))
    assert [who.allows(scope, "shop") for scope in ("cache-read", "cache-write")] == [read, write]


def test_reading_one_item_and_writing_another_is_not_both(tokens: DisposableTokens) -> None:
    """Rights on different names do not add up on either."""
    who = principal(
        tokens,
        Permission("CacheReadOnly", "shop", Selector(b"a", False)),
        Permission("CacheWriteOnly", "shop", Selector(b"ab", False)),
    )
    assert not who.allows_cache("conditional-write", "shop", b"a")
    assert who.allows_cache("conditional-write", "shop", b"abc")


@pytest.mark.parametrize(
    ("role", "publish", "subscribe"),
    [("TopicReadWrite", True, True), ("TopicReadOnly", False, True), ("TopicWriteOnly", True, False)],
)
def test_a_bearer_uses_the_topics_that_were_named(
    tokens: DisposableTokens, role: str, publish: bool, subscribe: bool
) -> None:
    """Reading is subscribing, writing is publishing."""
    who = principal(tokens, Permission(role, "shop", Selector("né".encode(), False)))
    for topic, here in (("né", True), ("nés", True), ("n", False), ("", False)):
        assert who.allows_topic("publish", "shop", topic) is (publish and here)
        assert who.allows_topic("subscribe", "shop", topic) is (subscribe and here)
        assert not who.allows_topic("publish", "other", topic)


def test_a_token_id_that_is_no_text_is_refused() -> None:
    """As a command line gives one that was not UTF-8: it could be told to no guest."""
    tokens = DisposableTokens(signing_keys(None))
    with pytest.raises(BadRequest, match="valid text"):
        tokens.generate(60, Permissions(()), "a\udcff")
