"""The permission grammar of disposable tokens: what is read, what is refused with which words, what it allows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.errors import BadRequest, Forbidden
from guesthouse.registry.permissions import (
    EVERYTHING,
    MOST_NAME_BYTES,
    MOST_TEXT_BYTES,
    SCOPES_OF_ROLES,
    Permission,
    Permissions,
    Selector,
    TooMuch,
)

CACHE, TOPIC, FUNCTION = "cache_permissions", "topic_permissions", "function_permissions"


def document(*entries: dict[str, Any]) -> str:
    return json.dumps({"explicit": {"permissions": entries}})


def parse(*entries: dict[str, Any]) -> tuple[Permission, ...]:
    return Permissions.parse(document(*entries)).entries


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (
            {CACHE: {"role": "CacheReadWrite", "all_caches": None, "all_items": None}},
            Permission("CacheReadWrite", None, EVERYTHING),
        ),
        (
            {CACHE: {"role": "CacheReadOnly", "cache_selector": {"cacheName": "shop"}, "all_items": None}},
            Permission("CacheReadOnly", "shop", EVERYTHING),
        ),
        (
            {CACHE: {"role": "CacheWriteOnly", "all_caches": None, "item_selector": {"key": [0, 255]}}},
            Permission("CacheWriteOnly", None, Selector(b"\x00\xff", True)),
        ),
        (
            {CACHE: {"role": "CacheReadOnly", "all_caches": None, "item_selector": {"key_prefix": [97]}}},
            Permission("CacheReadOnly", None, Selector(b"a", False)),
        ),
        (
            {TOPIC: {"role": "TopicReadWrite", "all_caches": None, "all_topics": None}},
            Permission("TopicReadWrite", None, EVERYTHING),
        ),
        (
            {TOPIC: {"role": "TopicReadOnly", "all_caches": None, "topic_selector": {"topic_name": "né"}}},
            Permission("TopicReadOnly", None, Selector("né".encode(), True)),
        ),
        (
            {TOPIC: {"role": "TopicWriteOnly", "all_caches": None, "topic_selector": {"topic_name_prefix": ""}}},
            Permission("TopicWriteOnly", None, EVERYTHING),
        ),
        (
            {FUNCTION: {"role": "FunctionInvoke", "all_caches": None, "all_functions": None}},
            Permission("FunctionInvoke", None, EVERYTHING),
        ),
        (
            {FUNCTION: {"role": "FunctionInvoke", "all_caches": None, "function_selector": {"function_name": "f"}}},
            Permission("FunctionInvoke", None, Selector(b"f", True)),
        ),
        (
            {
                FUNCTION: {
                    "role": "FunctionInvoke",
                    "cache_selector": {"cacheName": "a"},
                    "function_selector": {"function_name_prefix": "f"},
                }
            },
            Permission("FunctionInvoke", "a", Selector(b"f", False)),
        ),
    ],
)
def test_each_row_of_the_grammar_is_read(entry: dict[str, Any], expected: Permission) -> None:
    """Roles, presence by `null`, and every selector."""
    assert parse(entry) == (expected,)


@pytest.mark.parametrize("kind", [CACHE, TOPIC, FUNCTION])
def test_a_selector_beside_all_is_the_one_that_counts(kind: str) -> None:
    """The SDK's builders leave `all_…` where they add a selector: least privilege takes the narrower."""
    about = {CACHE: "item", TOPIC: "topic", FUNCTION: "function"}[kind]
    selector: dict[str, Any] = {"key": [97]} if kind == CACHE else {f"{about}_name": "a"}
    role = {CACHE: "CacheReadWrite", TOPIC: "TopicReadWrite", FUNCTION: "FunctionInvoke"}[kind]
    fields = {"role": role, "all_caches": None, "cache_selector": {"cacheName": "shop"}}
    (found,) = parse({kind: {**fields, f"all_{about}s": None, f"{about}_selector": selector}})
    assert found == Permission(role, "shop", Selector(b"a", True))


@pytest.mark.parametrize(
    "fields",
    [
        {"role": "TopicWriteOnly"},
        {"role": "TopicWriteOnly", "all_caches": None},
        {"role": "TopicWriteOnly", "all_topics": None},
        {"role": "TopicWriteOnly", "cache_selector": {"cacheName": "shop"}},
        {"role": "TopicWriteOnly", "topic_selector": {"topic_name": "a"}},
        {"role": "TopicPermitNone", "all_caches": None, "all_topics": None},
    ],
)
def test_neither_all_nor_a_selector_is_no_access(fields: dict[str, Any]) -> None:
    """For the place and for the names; the older crates' write-only constructor for topics sets neither."""
    assert parse({TOPIC: fields}) == ()


def test_the_order_of_keys_means_nothing() -> None:
    """Any order of the same fields is the same permission."""
    fields = {"role": "CacheReadOnly", "all_caches": None, "all_items": None, "item_selector": {"key": [1]}}
    backwards = dict(reversed(fields.items()))
    assert parse({CACHE: fields}) == parse({CACHE: backwards})


def test_no_permissions_at_all_are_fine() -> None:
    """As `Permissions::new()` sends them: a token that only says who its bearer is."""
    assert parse() == ()


def entry(**fields: Any) -> str:
    """One cache entry that is right but for `fields`."""
    return document({CACHE: {"role": "CacheReadOnly", "all_caches": None, "all_items": None, **fields}})


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 5_000, "not JSON"),
        ("null", "the text is not an object"),
        ("{}", "the text has to have exactly one of explicit"),
        ('"super_user"', "is not an object"),
        ('{"super_user":"SuperUser"}', "unknown field 'super_user'"),
        ('{"explicit":{"permissions":[]},"super_user":null}', "unknown field 'super_user'"),
        ('{"explicit":null}', "explicit is not an object"),
        ('{"explicit":{}}', "exactly one of permissions"),
        ('{"explicit":{"permissions":{}}}', "explicit.permissions is not an array"),
        (document({}), r"permissions\[0\] has to have exactly one of cache_permissions and topic_permissions"),
        (document({"leaderboard_permissions": {}}), "unknown field 'leaderboard_permissions'"),
        (document({CACHE: {"role": "CacheReadOnly"}, TOPIC: {"role": "TopicReadOnly"}}), "exactly one of"),
        (document({CACHE: None}), r"permissions\[0\].cache_permissions is not an object"),
        (document({CACHE: {}}), "role is None, none of CachePermitNone"),
        (document({TOPIC: {"role": "CacheReadOnly"}}), "role is 'CacheReadOnly', none of TopicPermitNone"),
        (entry(role="CacheSuperUser"), "role is 'CacheSuperUser'"),
        (entry(role="cachereadonly"), "role is 'cachereadonly'"),
        (entry(role=1), "role is 1"),
        (entry(role=["CacheReadOnly"]), "role is"),
        (entry(all_caches=True), "all_caches is something else than null"),
        (entry(all_items={}), "all_items is something else than null"),
        (entry(all_topics=None), "unknown field 'all_topics'"),
        (entry(topic_selector=None), "unknown field 'topic_selector'"),
        (entry(allItems=None), "unknown field 'allItems'"),
        (entry(cache_selector=None), "cache_selector is not an object"),
        (entry(cache_selector={"cache_name": "a"}), "unknown field 'cache_name'"),
        (entry(cache_selector={}), "exactly one of cacheName"),
        (entry(cache_selector={"cacheName": 1}), "cacheName is not text"),
        (entry(cache_selector={"cacheName": ""}), "cacheName has 1 to"),
        (entry(cache_selector={"cacheName": "a" * 256}), "cacheName has 1 to"),
        (entry(item_selector=None), "item_selector is not an object"),
        (entry(item_selector={"key": [1], "key_prefix": [1]}), "exactly one of key and key_prefix"),
        (entry(item_selector={"keys": [1]}), "unknown field 'keys'"),
        (entry(item_selector={"key": "a"}), "not an array of bytes"),
        (entry(item_selector={"key": []}), "key is empty"),
        (entry(item_selector={"key": [256]}), "numbers from 0 to 255"),
        (entry(item_selector={"key": [-1]}), "numbers from 0 to 255"),
        (entry(item_selector={"key": [1.0]}), "numbers from 0 to 255"),
        (entry(item_selector={"key": [True]}), "numbers from 0 to 255"),
        (entry(item_selector={"key_prefix": ["a"]}), "numbers from 0 to 255"),
        (document({TOPIC: {"role": "TopicReadOnly", "topic_selector": {"topic_name": ""}}}), "topic_name is empty"),
        (document({TOPIC: {"role": "TopicReadOnly", "topic_selector": {"topic_name": [97]}}}), "is not text"),
        (document({TOPIC: {"role": "TopicReadOnly", "topic_selector": {"topic_name": "\ud800"}}}), "not JSON"),
        (document({FUNCTION: {"role": "FunctionInvoke", "function_selector": {"name": "f"}}}), "field 'name'"),
    ],
)
def test_what_is_not_of_the_grammar_is_refused_and_named(text: str, because: str) -> None:
    """Never taken for less, never for more; the words name the place."""
    with pytest.raises(BadRequest, match=because) as raised:
        Permissions.parse(text)
    assert not isinstance(raised.value, TooMuch)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    ("text", "because"),
    [
        (document(*[{CACHE: {"role": "CacheReadOnly"}}] * 11), "at most 10 permissions, not 11"),
        (entry(item_selector={"key": [1] * (MOST_NAME_BYTES + 1)}), f"at most {MOST_NAME_BYTES} bytes"),
        (document({TOPIC: {"role": "TopicReadOnly", "topic_selector": {"topic_name": "é" * 600}}}), "at most"),
        (" " * MOST_TEXT_BYTES + document(), f"at most {MOST_TEXT_BYTES} bytes"),
    ],
)
def test_what_is_over_a_limit_is_refused_as_that(text: str, because: str) -> None:
    """Eleven permissions, a long key or topic, a long text."""
    with pytest.raises(TooMuch, match=because):
        Permissions.parse(text)
    assert len(parse(*[{CACHE: {"role": "CacheReadOnly", "all_caches": None, "all_items": None}}] * 10)) == 10


def test_within_a_namespace_everything_becomes_that_namespace_and_another_one_is_refused() -> None:
    """A function gives rights in its own cache only: `all_caches` is all that it has."""
    everywhere = Permissions(
        (Permission("FunctionInvoke", None, EVERYTHING), Permission("CacheReadOnly", "a", EVERYTHING))
    )
    assert [found.namespace for found in everywhere.within("a").entries] == ["a", "a"]
    with pytest.raises(Forbidden, match="'a'"):
        everywhere.within("b")


NAMES = st.sampled_from(["", "a", "ab", "abc", "b", "né"])
NAMESPACES = st.sampled_from(["shop", "shop2", "other"])
KINDS: dict[str, tuple[str, list[str]]] = {
    CACHE: ("item", ["CachePermitNone", "CacheReadWrite", "CacheReadOnly", "CacheWriteOnly"]),
    TOPIC: ("topic", ["TopicPermitNone", "TopicReadWrite", "TopicReadOnly", "TopicWriteOnly"]),
    FUNCTION: ("function", ["FunctionPermitNone", "FunctionInvoke"]),
}


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Any]:
    """An entry as any SDK could send it, in any order."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    about, roles = KINDS[kind]
    fields: dict[str, Any] = {"role": draw(st.sampled_from(roles))}
    if draw(st.booleans()):
        fields["all_caches"] = None
    if draw(st.booleans()):
        fields["cache_selector"] = {"cacheName": draw(NAMESPACES)}
    if draw(st.booleans()):
        fields[f"all_{about}s"] = None
    if draw(st.booleans()):
        key = ("key" if kind == CACHE else f"{about}_name") + draw(st.sampled_from(["", "_prefix"]))
        name = draw(NAMES if key.endswith("prefix") else NAMES.filter(bool))
        fields[f"{about}_selector"] = {key: list(name.encode()) if kind == CACHE else name}
    return {kind: dict(draw(st.permutations(list(fields.items()))))}


def naively(entry: dict[str, Any], scope: str, namespace: str, name: str) -> bool:
    """Whether an entry allows this, read off its fields without a thought for speed."""
    ((kind, fields),) = entry.items()
    granted = {
        "CacheReadWrite": ["cache-read", "cache-write"],
        "CacheReadOnly": ["cache-read"],
        "CacheWriteOnly": ["cache-write"],
        "TopicReadWrite": ["topic-publish", "topic-subscribe"],
        "TopicReadOnly": ["topic-subscribe"],
        "TopicWriteOnly": ["topic-publish"],
        "FunctionInvoke": ["invoke"],
    }.get(fields["role"], [])
    here = "all_caches" in fields
    if "cache_selector" in fields:
        here = fields["cache_selector"]["cacheName"] == namespace
    about = KINDS[kind][0]
    this = f"all_{about}s" in fields
    for key, value in fields.get(f"{about}_selector", {}).items():
        text = bytes(value).decode() if kind == CACHE else value
        this = name.startswith(text) if key.endswith("_prefix") else name == text
    return scope in granted and here and this


@given(st.lists(entries(), max_size=10), st.data())
def test_permissions_allow_exactly_what_a_naive_reader_says(written: list[dict[str, Any]], data: st.DataObject) -> None:
    """Never more, never less, for any entries and any question."""
    permissions = Permissions.parse(document(*written))
    scope = data.draw(st.sampled_from(sorted(set().union(*SCOPES_OF_ROLES.values(), {"manage", "read", "metrics"}))))
    namespace, name = data.draw(NAMESPACES), data.draw(NAMES)
    expected = any(naively(entry, scope, namespace, name) for entry in written)
    assert permissions.allow(scope, namespace, name.encode()) is expected
    if expected:
        assert permissions.reach(scope, namespace)


@given(
    st.lists(
        st.builds(
            Permission,
            st.sampled_from(sorted(role for role, scopes in SCOPES_OF_ROLES.items() if scopes)),
            st.none() | st.text(min_size=1, max_size=60),
            st.builds(Selector, st.text(min_size=1, max_size=60).map(str.encode), st.booleans()) | st.just(EVERYTHING),
        ),
        max_size=10,
    )
)
def test_what_is_written_is_read_as_the_same(found: list[Permission]) -> None:
    """parse(print(permissions)) is permissions."""
    permissions = Permissions(tuple(found))
    assert Permissions.parse(permissions.text()) == permissions


@given(st.text(max_size=200) | st.binary(max_size=200))
def test_any_text_is_read_or_refused(text: str | bytes) -> None:
    """Nothing but `BadRequest` comes out."""
    try:
        Permissions.parse(text)
    except BadRequest:
        pass
    else:
        raise AssertionError("that is no permission")
