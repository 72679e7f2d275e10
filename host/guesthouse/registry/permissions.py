"""`Permissions`: what a disposable token is good for, read from and written as the JSON text that the published SDKs send.

Promises: what is not understood is refused, and the refusal says what it is; what is understood never allows more than
its text says.  A selector beside `all_…` is the narrower and so the effective one; with neither of the two an entry
allows nothing.  Knows neither tokens nor who shows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import orjson

from guesthouse.errors import BadRequest, Forbidden

MOST_PERMISSIONS: Final = 10
"""Entries of one token: the service's own limit."""
MOST_TEXT_BYTES: Final = 64 * 1024
"""JSON text: room for ten keys of the longest kind, each byte written as a number."""
MOST_NAME_BYTES: Final = 1024
"""Bytes of a key, topic, function or prefix: the longest name of a topic."""
MOST_NAMESPACE_BYTES: Final = 255
"""Bytes of a namespace's name: more than one can have, so that texts written for other places can be read."""


class TooMuch(BadRequest):
    """More than a documented limit allows; the text names it."""


class Selector(NamedTuple):
    """Which names or keys something is about: one, or all that begin like this."""

    text: bytes
    exact: bool

    def matches(self, name: bytes) -> bool:
        """Whether the name is one of these."""
        return name == self.text if self.exact else name.startswith(self.text)


EVERYTHING: Final = Selector(b"", False)


class Kind(NamedTuple):
    """What the entries of one kind are called in the text."""

    all: str
    selector: str
    exact: str
    prefix: str
    roles: Mapping[str, frozenset[str]]
    """The scopes that each role stands for."""


_CACHE = Kind(
    "all_items",
    "item_selector",
    "key",
    "key_prefix",
    {
        "CachePermitNone": frozenset(),
        "CacheReadWrite": frozenset({"cache-read", "cache-write"}),
        "CacheReadOnly": frozenset({"cache-read"}),
        "CacheWriteOnly": frozenset({"cache-write"}),
    },
)
_TOPIC = Kind(
    "all_topics",
    "topic_selector",
    "topic_name",
    "topic_name_prefix",
    {
        "TopicPermitNone": frozenset(),
        "TopicReadWrite": frozenset({"topic-publish", "topic-subscribe"}),
        "TopicReadOnly": frozenset({"topic-subscribe"}),
        "TopicWriteOnly": frozenset({"topic-publish"}),
    },
)
_FUNCTION = Kind(
    "all_functions",
    "function_selector",
    "function_name",
    "function_name_prefix",
    {"FunctionPermitNone": frozenset(), "FunctionInvoke": frozenset({"invoke"})},
)
KINDS: Final[Mapping[str, Kind]] = {
    "cache_permissions": _CACHE,
    "topic_permissions": _TOPIC,
    "function_permissions": _FUNCTION,
}
SCOPES_OF_ROLES: Final = {role: scopes for kind in KINDS.values() for role, scopes in kind.roles.items()}
_KEYS_OF_ROLES: Final = {role: key for key, kind in KINDS.items() for role in kind.roles}


class Permission(NamedTuple):
    """One entry: what (the role's scopes), where, and to which names."""

    role: str
    namespace: str | None
    """`None`: every namespace."""
    names: Selector

    def covers(self, scope: str, namespace: str, name: bytes) -> bool:
        """Whether it allows this."""
        return self.reaches(scope, namespace) and self.names.matches(name)

    def reaches(self, scope: str, namespace: str) -> bool:
        """Whether it allows this for some name."""
        return scope in SCOPES_OF_ROLES[self.role] and self.namespace in (None, namespace)


@dataclass(frozen=True, slots=True)
class Permissions:
    """The entries that allow something; together they allow what any of them does."""

    entries: tuple[Permission, ...]

    @classmethod
    def parse(cls, text: str | bytes) -> Permissions:
        """What `text` says; raises `BadRequest` for what is not of the grammar, and `TooMuch` over a limit."""
        text = text.encode() if isinstance(text, str) else text
        if len(text) > MOST_TEXT_BYTES:
            raise TooMuch(f"the permissions have at most {MOST_TEXT_BYTES} bytes of text")
        try:
            document = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise BadRequest(f"the permissions are not JSON: {error}") from None
        explicit = _only(document, "explicit", "the text")
        entries = _only(explicit, "permissions", "explicit")
        if not isinstance(entries, list):
            raise BadRequest("explicit.permissions is not an array")
        if len(entries) > MOST_PERMISSIONS:
            raise TooMuch(f"a token has at most {MOST_PERMISSIONS} permissions, not {len(entries)}")
        found = (_permission(entry, f"permissions[{at}]") for at, entry in enumerate(entries))
        return cls(tuple(permission for permission in found if permission is not None))

    def text(self) -> str:
        """These permissions in the grammar, with keys in the SDK's order."""
        entries = [{_KEYS_OF_ROLES[entry.role]: _document(entry)} for entry in self.entries]
        return orjson.dumps({"explicit": {"permissions": entries}}).decode()

    def within(self, namespace: str) -> Permissions:
        """The part for `namespace`; raises `Forbidden` for an entry that names another one."""
        for entry in self.entries:
            if entry.namespace not in (None, namespace):
                raise Forbidden(f"rights in the cache {entry.namespace!r} are not this function's to give")
        return replace(self, entries=tuple(entry._replace(namespace=namespace) for entry in self.entries))

    def allow(self, scope: str, namespace: str, name: bytes) -> bool:
        """Whether an entry allows this to what has this name."""
        return any(entry.covers(scope, namespace, name) for entry in self.entries)

    def reach(self, scope: str, namespace: str) -> bool:
        """Whether an entry allows this for something in the namespace."""
        return any(entry.reaches(scope, namespace) for entry in self.entries)


def _permission(entry: Any, place: str) -> Permission | None:
    """The permission that an entry writes; `None` for one that allows nothing."""
    key = _one_of(entry, KINDS, place)
    kind, place, fields = KINDS[key], f"{place}.{key}", entry[key]
    _check_fields(fields, {"role", "all_caches", "cache_selector", kind.all, kind.selector}, place)
    role = fields.get("role")
    if not isinstance(role, str) or role not in kind.roles:
        raise BadRequest(f"{place}.role is {_shown(role)}, none of {', '.join(kind.roles)}")
    everywhere, everything = _present(fields, "all_caches", place), _present(fields, kind.all, place)
    namespace = _cache(fields["cache_selector"], f"{place}.cache_selector") if "cache_selector" in fields else None
    names = EVERYTHING if everything else None
    if kind.selector in fields:
        names = _names(fields[kind.selector], kind, f"{place}.{kind.selector}")
    if names is None or not (everywhere or namespace) or not kind.roles[role]:
        return None
    return Permission(role, namespace, names)


def _cache(selector: Any, place: str) -> str:
    name = _only(selector, "cacheName", place)
    if not isinstance(name, str):
        raise BadRequest(f"{place}.cacheName is not text")
    if not 0 < len(name.encode()) <= MOST_NAMESPACE_BYTES:
        raise BadRequest(f"{place}.cacheName has 1 to {MOST_NAMESPACE_BYTES} bytes")
    return name


def _names(selector: Any, kind: Kind, place: str) -> Selector:
    key = _one_of(selector, (kind.exact, kind.prefix), place)
    exact, place, value = key == kind.exact, f"{place}.{key}", selector[key]
    text = _octets(value, place) if kind is _CACHE else _utf8(value, place)
    if exact and not text:
        raise BadRequest(f"{place} is empty")
    return Selector(text, exact)


def _octets(value: Any, place: str) -> bytes:
    """The bytes in an array of their numbers."""
    if not isinstance(value, list):
        raise BadRequest(f"{place} is not an array of bytes")
    _check_length(len(value), place)
    if not all(type(octet) is int and 0 <= octet <= 255 for octet in value):  # True is an int, and no byte
        raise BadRequest(f"{place} holds something else than numbers from 0 to 255")
    return bytes(value)


def _utf8(value: Any, place: str) -> bytes:
    if not isinstance(value, str):
        raise BadRequest(f"{place} is not text")
    text = value.encode()
    _check_length(len(text), place)
    return text


def _check_length(length: int, place: str) -> None:
    if length > MOST_NAME_BYTES:
        raise TooMuch(f"{place} has at most {MOST_NAME_BYTES} bytes, not {length}")


def _present(fields: Mapping[str, Any], key: str, place: str) -> bool:
    """Whether the key is there: its value says nothing, and is `null`."""
    if fields.get(key) is not None:
        raise BadRequest(f"{place}.{key} is something else than null")
    return key in fields


def _only(document: Any, key: str, place: str) -> Any:
    """The value of the only key that an object may and must have."""
    return document[_one_of(document, (key,), place)]


def _one_of(document: Any, keys: Iterable[str], place: str) -> str:
    """The one of `keys` that an object has, and nothing else."""
    _check_fields(document, keys, place)
    if len(document) != 1:
        raise BadRequest(f"{place} has to have exactly one of {' and '.join(keys)}")
    return str(*document)


def _check_fields(document: Any, known: Iterable[str], place: str) -> None:
    if not isinstance(document, dict):
        raise BadRequest(f"{place} is not an object")
    for key in document:
        if key not in known:
            raise BadRequest(f"{place} has the unknown field {_shown(key)}")


def _shown(value: Any) -> str:
    """What somebody sent, short enough for a message."""
    return f"{value!r:.60}"


def _document(entry: Permission) -> dict[str, Any]:
    """The fields of an entry, as they are written."""
    kind = KINDS[_KEYS_OF_ROLES[entry.role]]
    fields: dict[str, Any] = {"role": entry.role}
    if entry.namespace is None:
        fields["all_caches"] = None
    else:
        fields["cache_selector"] = {"cacheName": entry.namespace}
    if entry.names == EVERYTHING:
        fields[kind.all] = None
        return fields
    text = entry.names.text
    fields[kind.selector] = {kind.exact if entry.names.exact else kind.prefix: _written(text, kind)}
    return fields


def _written(text: bytes, kind: Kind) -> list[int] | str:
    return list(text) if kind is _CACHE else text.decode()
