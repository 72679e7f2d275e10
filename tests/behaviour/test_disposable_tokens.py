"""Functions make disposable tokens: every permission that the SDKs can write, in both generations and every form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from guesthouse import Host
from guesthouse.clock import SYSTEM_CLOCK
from guesthouse.errors import LinkError
from guesthouse.limits import MAX_DISPOSABLE_SECONDS
from guesthouse.registry.disposable import DisposablePrincipal
from guesthouse.registry.permissions import MOST_TEXT_BYTES
from support import FORMS, guest

GUESTS = ("token-calls", "old-token-calls")
Step = tuple[str, Any]


class Vendor:
    """A function that makes tokens."""

    def __init__(self, host: Host, name: str) -> None:
        self.host = host
        self.old = name.startswith("old")
        self._name = name

    def ask(self, **request: Any) -> Any:
        """What it answers."""
        outcome = self.host.invoke(self._name, json.dumps({"seconds": 60, **request}).encode(), namespace="shop")
        assert outcome.result == "ok", outcome
        return json.loads(outcome.body)

    def bearer(self, *permissions: tuple[str, str, list[Step]]) -> DisposablePrincipal:
        """Whoever has a token with these."""
        token, *_ = self.ask(permissions=permissions)
        return self.host.inner.disposable.verify(token)


@pytest.fixture(scope="module", params=product(GUESTS, (*FORMS, "unknown-unknown")), ids="-".join)
def vendor(request: pytest.FixtureRequest) -> Iterator[Vendor]:
    name, form = request.param
    with Host() as host:
        host.deploy(name, guest(name, form), namespace="shop")
        yield Vendor(host, name)


def test_a_token_comes_with_its_endpoint_and_its_end(vendor: Vendor) -> None:
    """The id is in the token, and the end is in whole seconds from now."""
    before = SYSTEM_CLOCK.wall_ns() // 1_000_000_000
    token, endpoint, valid_until, _ = vendor.ask(seconds=300, token_id="ada é")
    assert before + 300 <= valid_until <= SYSTEM_CLOCK.wall_ns() // 1_000_000_000 + 300
    assert endpoint == "localhost"
    bearer = vendor.host.inner.disposable.verify(token)
    assert (bearer.token_id, bearer.expires_ms) == ("ada é", valid_until * 1_000)
    assert vendor.host.inner.disposable.verify(vendor.ask()[0]).token_id is None


READ_WRITE, READ, WRITE = (True, True, True), (True, False, False), (False, True, False)
NONE = (False, False, False)


@pytest.mark.parametrize(
    ("made", "steps", "expected"),
    [
        ("read_write", [], READ_WRITE),
        ("read_only", [], READ),
        ("write_only", [], WRITE),
        ("new", [], NONE),
        ("new", [("role", "CacheReadWrite"), ("cache", "shop"), ("key", [107])], READ_WRITE),
        ("new", [("role", "CacheReadOnly"), ("all_caches", None), ("all_items", None)], READ),
        ("new", [("role", "CacheWriteOnly"), ("cache", "shop"), ("prefix", [])], WRITE),
        ("new", [("role", "CachePermitNone"), ("all_caches", None), ("all_items", None)], NONE),
        ("new", [("role", "CacheReadWrite"), ("all_items", None)], NONE),
        ("new", [("role", "CacheReadWrite"), ("cache", "shop")], NONE),
        ("read_write", [("key", [107])], READ_WRITE),
        ("read_write", [("key", [107, 107])], NONE),
        ("read_write", [("prefix", [107])], READ_WRITE),
        ("read_write", [("prefix", [0, 255])], NONE),
        ("read_write", [("role", "CacheReadOnly")], READ),
        ("read_write", [("key", [1]), ("prefix", [107])], READ_WRITE),
    ],
)
def test_cache_permissions_of_the_sdk_allow_what_they_say(
    vendor: Vendor, made: str, steps: list[Step], expected: tuple[bool, bool, bool]
) -> None:
    """Reading, writing and what needs both, of the item `k`: never in another namespace."""
    bearer = vendor.bearer(("cache", made, steps))
    actions = ("read", "write", "conditional-write")
    assert tuple(bearer.allows_cache(action, "shop", b"k") for action in actions) == expected
    assert not any(bearer.allows_cache(action, "other", b"k") for action in actions)


@pytest.mark.parametrize(
    ("made", "steps", "publish", "subscribe"),
    [
        ("read_write", [], True, True),
        ("read_only", [], False, True),
        ("new", [], False, False),
        ("new", [("role", "TopicWriteOnly"), ("cache", "shop"), ("all_topics", None)], True, False),
        ("new", [("role", "TopicReadWrite"), ("all_caches", None), ("topic", "news")], True, True),
        ("new", [("role", "TopicReadWrite"), ("all_caches", None)], False, False),
        ("new", [("role", "TopicPermitNone"), ("all_caches", None), ("all_topics", None)], False, False),
        ("read_write", [("topic", "news")], True, True),
        ("read_write", [("topic", "new")], False, False),
        ("read_only", [("prefix", "new")], False, True),
        ("read_only", [("prefix", "old")], False, False),
        ("read_write", [("cache", "shop"), ("topic", "news")], True, True),
        ("write_only", [("cache", "shop"), ("topic", "news")], True, False),
    ],
)
def test_topic_permissions_of_the_sdk_allow_what_they_say(
    vendor: Vendor, made: str, steps: list[Step], publish: bool, subscribe: bool
) -> None:
    """Reading is subscribing, writing is publishing, of the topic `news`."""
    bearer = vendor.bearer(("topic", made, steps))
    assert (bearer.allows_topic("publish", "shop", "news"), bearer.allows_topic("subscribe", "shop", "news")) == (
        publish,
        subscribe,
    )
    assert not bearer.allows_topic("publish", "other", "news")


def test_the_older_write_only_topics_constructor_grants_nothing_by_itself(vendor: Vendor) -> None:
    """It sets no `all_…`; the newer one does."""
    assert vendor.bearer(("topic", "write_only", [])).allows_topic("publish", "shop", "news") is not vendor.old


@pytest.mark.parametrize(
    ("made", "steps", "expected"),
    [
        ("invoke", [], True),
        ("new", [], False),
        ("new", [("role", "FunctionInvoke"), ("cache", "shop"), ("function", "checkout")], True),
        ("new", [("role", "FunctionInvoke"), ("all_caches", None), ("all_functions", None)], True),
        ("new", [("role", "FunctionInvoke"), ("all_functions", None)], False),
        ("new", [("role", "FunctionPermitNone"), ("all_caches", None), ("all_functions", None)], False),
        ("invoke", [("role", "FunctionPermitNone")], False),
        ("invoke", [("function", "check")], False),
        ("invoke", [("prefix", "check")], True),
        ("invoke", [("cache", "shop")], True),
    ],
)
def test_function_permissions_of_the_sdk_allow_what_they_say(
    vendor: Vendor, made: str, steps: list[Step], expected: bool
) -> None:
    """To call `shop/checkout`; nobody else's functions, and nothing but calling."""
    bearer = vendor.bearer(("function", made, steps))
    assert bearer.allows("invoke", "shop", "checkout") is expected
    assert not bearer.allows("invoke", "other", "checkout")
    assert not any(bearer.allows(scope, "shop", "checkout") for scope in ("manage", "read", "metrics"))


def test_several_permissions_allow_what_any_of_them_does(vendor: Vendor) -> None:
    """Up to ten."""
    entries = [("function", "invoke", [("function", f"f{number}")]) for number in range(9)]
    bearer = vendor.bearer(*entries, ("cache", "read_only", []))
    assert bearer.allows("invoke", "shop", "f8")
    assert not bearer.allows("invoke", "shop", "f9")
    assert bearer.allows_cache("read", "shop", b"k")
    case, text = vendor.ask(permissions=[*entries, entries[0], entries[0]])["error"]
    assert (case, text) == ("limit-exceeded", "a token has at most 10 permissions, not 11")


@pytest.mark.parametrize("about", ["cache", "topic", "function"])
def test_rights_in_another_namespace_are_not_a_functions_to_give(vendor: Vendor, about: str) -> None:
    """Not even beside `all_caches`; without a name all caches are its own."""
    made = {"cache": "read_only", "topic": "read_only", "function": "invoke"}[about]
    case, text = vendor.ask(permissions=[(about, made, [("cache", "other")])])["error"]
    assert (case, "'other'" in text) == ("permission-denied", True)


@pytest.mark.parametrize(
    ("seconds", "case"),
    [
        (0, "invalid-argument"),
        (1, None),
        (MAX_DISPOSABLE_SECONDS, None),
        (MAX_DISPOSABLE_SECONDS + 1, "invalid-argument"),
        (2**32 - 1, "invalid-argument"),
    ],
)
def test_a_life_has_bounds(vendor: Vendor, seconds: int, case: str | None) -> None:
    """A second at least; 25 hours at most, unless the host says less."""
    answer = vendor.ask(seconds=seconds)
    if case is None:
        assert len(answer) == 4
    else:
        assert answer["error"] == [case, f"a disposable token is valid for 1 to {MAX_DISPOSABLE_SECONDS} seconds"]


@pytest.mark.parametrize(
    ("raw", "case", "because"),
    [
        ("", "invalid-argument", "not JSON"),
        ("super user", "invalid-argument", "not JSON"),
        ('{"super_user":{}}', "invalid-argument", "unknown field 'super_user'"),
        (
            '{"explicit":{"permissions":[{"cache_permissions":{"role":"CacheAdmin"}}]}}',
            "invalid-argument",
            "permissions[0].cache_permissions.role is 'CacheAdmin'",
        ),
        ('{"explicit":{"permissions":[{"store_permissions":{}}]}}', "invalid-argument", "'store_permissions'"),
        ("[" * 60_000, "invalid-argument", "not JSON"),
        (" " * (MOST_TEXT_BYTES + 1), "limit-exceeded", f"at most {MOST_TEXT_BYTES} bytes"),
    ],
)
def test_permissions_that_no_sdk_writes_are_an_error_that_says_what(
    vendor: Vendor, raw: str, case: str, because: str
) -> None:
    """A value for the guest, never a trap."""
    found, text = vendor.ask(raw=raw)["error"]
    assert found == case
    assert because in text


def test_what_makes_a_token_too_long_is_an_error(vendor: Vendor) -> None:
    """A long id, a long name, too many of them."""
    assert vendor.ask(token_id="x" * 513)["error"] == ["limit-exceeded", "a token id has at most 512 bytes"]
    assert vendor.ask(permissions=[("topic", "read_only", [("topic", "x" * 1_025)])])["error"][0] == "limit-exceeded"
    many = [("topic", "read_only", [("topic", "x" * 1_024)])] * 6
    assert vendor.ask(permissions=many)["error"][0] == "limit-exceeded"


@pytest.mark.parametrize("name", GUESTS)
def test_a_function_without_the_grant_cannot_be_deployed(name: str) -> None:
    """The grant `token` is whole or not at all."""
    with Host() as host:
        with pytest.raises(LinkError, match="not granted: token"):
            host.deploy("vendor", guest(name), grants=["cache"])
        with pytest.raises(ValueError, match="as a whole"):
            host.deploy("vendor", guest(name), grants=["token:cache"])
        host.deploy("vendor", guest(name), grants=["token"])


def test_the_example_gives_a_player_what_it_says() -> None:
    """`token-vendor`: what begins with their name, and the room."""
    with Host(disposable_seconds=300) as host:
        host.deploy("token-vendor", guest("token-vendor"), namespace="game")
        outcome = host.invoke("token-vendor", b'{"player": "ada", "room": "lobby"}', namespace="game")
        bearer = host.inner.disposable.verify(json.loads(outcome.body)["token"])
    assert bearer.token_id == "ada"
    assert bearer.allows_cache("read", "game", b"ada/score")
    assert not bearer.allows_cache("read", "game", b"eve/score")
    assert not bearer.allows_cache("write", "game", b"ada/score")
    assert bearer.allows_topic("publish", "game", "lobby")
    assert not bearer.allows_topic("subscribe", "game", "attic")
