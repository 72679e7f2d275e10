"""`Principal`: who is asking, and what they may do.

Two things have this shape: `Principal`, the holder of a token that is kept in the store, and
`disposable.DisposablePrincipal`, the bearer of a signed one.  A route asks `allows` with its scope first; one about an
item of the cache or about a topic then asks `allows_cache` or `allows_topic` about that very key or topic.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from guesthouse.errors import BadRequest

SCOPES = frozenset(
    {"invoke", "manage", "read", "metrics", "cache-read", "cache-write", "topic-publish", "topic-subscribe"}
)
"""invoke: call functions.  manage: deploy and delete.  read: list, show, logs.  metrics: numbers of the whole host.
cache-read, cache-write, topic-publish, topic-subscribe: the items and topics of whole namespaces."""
ITEM_SCOPES = frozenset({"cache-read", "cache-write", "topic-publish", "topic-subscribe"})
"""Scopes that are not about functions: they need a pattern of all functions of a namespace."""

CacheAction: TypeAlias = Literal["read", "write", "conditional-write"]
"""conditional-write: whatever changes an item and also tells about the one before (set if absent, increase a time to
live, increment): it needs the right to read as well."""
TopicAction: TypeAlias = Literal["publish", "subscribe"]

PATTERN = re.compile(r"\*|[a-z0-9-]{1,63}/(?:\*|[a-z0-9-]{1,63}\*?)")


@dataclass(frozen=True, slots=True)
class FunctionPattern:
    """Which functions something is about: `*`, `namespace/*`, `namespace/prefix*` or `namespace/name`."""

    namespace: str | None
    """`None`: every namespace."""
    name: str
    exact: bool

    @classmethod
    def parse(cls, text: str) -> FunctionPattern:
        """The pattern that `text` writes; raises `BadRequest`."""
        if not PATTERN.fullmatch(text):
            raise BadRequest(f"{text!r} is none of '*', 'namespace/*', 'namespace/prefix*' and 'namespace/name'")
        if text == "*":
            return cls(None, "", False)
        namespace, _, name = text.partition("/")
        return cls(namespace, name.removesuffix("*"), not name.endswith("*"))

    def matches(self, namespace: str | None, name: str | None) -> bool:
        """Whether the function is one of these; `None` stands for all there are, matched only by a pattern of all."""
        if self.namespace is not None and self.namespace != namespace:
            return False
        if self.exact:
            return self.name == name
        return not self.name or (name is not None and name.startswith(self.name))

    def __str__(self) -> str:
        return "*" if self.namespace is None else f"{self.namespace}/{self.name}{'' if self.exact else '*'}"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking: a token's public side."""

    id: str
    """Names the token where it is listed and revoked; not secret."""
    name: str
    scopes: frozenset[str]
    functions: FunctionPattern
    expires_ms: int | None = None
    """Milliseconds since 1970-01-01 UTC; `None`: never."""
    token_id: str | None = None
    """What guests are told of the caller, if its maker gave it such a word."""
    created_ms: int = 0

    def allows(self, scope: str, namespace: str | None = None, name: str | None = None) -> bool:
        """Whether this principal may do what `scope` covers to a function, a namespace (no name) or the whole host.

        For the scopes of cache and topics, to anything in the namespace at all: there is no name then.
        """
        return scope in self.scopes and self.functions.matches(namespace, name)

    def allows_cache(self, action: CacheAction, namespace: str, key: bytes) -> bool:
        """Whether this principal may do this to the item of `key` in the cache of `namespace`."""
        if action == "conditional-write":
            return self.allows("cache-read", namespace) and self.allows("cache-write", namespace)
        return self.allows(f"cache-{action}", namespace)

    def allows_topic(self, action: TopicAction, namespace: str, topic: str) -> bool:
        """Whether this principal may publish to, or subscribe to, a topic of `namespace`."""
        return self.allows(f"topic-{action}", namespace)


LOCAL = Principal("local", "local", SCOPES, FunctionPattern.parse("*"))
"""Everybody who can reach a server that has no tokens, and so listens on loopback only."""
ANYBODY = Principal("anybody", "anybody", frozenset({"invoke"}), FunctionPattern.parse("*"))
"""Whoever calls a function where all of them are open to the public."""
