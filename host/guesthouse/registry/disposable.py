"""`DisposableTokens`: signed tokens for clients of functions: bound to permissions and an end, and stored nowhere.

A token is `ghd_` and base64url of: the key's id, an HMAC-SHA256, and the claims as JSON, padded so that base64 has no
spare bits: no other text is the same token.  There is one algorithm and no word in the token that could choose another
(C4).  An HMAC, because only this host verifies, and it costs a hundredth of a public-key signature; the standard
library's, because the format needs no more than it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import orjson

from guesthouse.clock import SYSTEM_CLOCK, Clock
from guesthouse.errors import BadRequest, Unauthorized
from guesthouse.limits import MAX_DISPOSABLE_SECONDS
from guesthouse.registry.permissions import Permission, Permissions, Selector, TooMuch
from guesthouse.registry.principal import ITEM_SCOPES, CacheAction, TopicAction
from guesthouse.registry.signing import ID_BYTES, Rejected, SigningKeys, no_alarm

PREFIX: Final = "ghd_"
MAC_BYTES: Final = 32
MOST_LENGTH: Final = 6_144
"""Characters of a token: with the path in front of it, it still fits into a URL of 8 KiB."""
MOST_TOKEN_ID_BYTES: Final = 512
"""As for tokens that are kept; the published SDKs allow 64 characters."""
DOMAIN: Final = b"guesthouse disposable token 1"
"""Goes into every MAC: the key never says the same for two purposes, or for two forms of the claims."""
MOST_REMEMBERED: Final = 1_024
"""Verified tokens that are kept in memory: a few hundred bytes each."""
_NOT_VALID: Final = "the token is not one of this host, or its key has been rotated away"


@dataclass(frozen=True, slots=True)
class DisposablePrincipal:
    """The bearer of a disposable token: it calls functions, uses the cache and topics, and manages nothing."""

    id: str
    """Names the token in logs; not secret."""
    expires_ms: int
    """Milliseconds since 1970-01-01 UTC."""
    token_id: str | None
    """What guests are told of the bearer, if the token's maker gave it such a word."""
    permissions: Permissions

    def allows(self, scope: str, namespace: str | None = None, name: str | None = None) -> bool:
        """As `Principal.allows`; never anything but calling a function, and using what `ITEM_SCOPES` are about."""
        if namespace is None:
            return False
        if scope == "invoke":
            return name is not None and self.permissions.allow(scope, namespace, name.encode())
        return scope in ITEM_SCOPES and self.permissions.reach(scope, namespace)

    def allows_cache(self, action: CacheAction, namespace: str, key: bytes) -> bool:
        """As `Principal.allows_cache`."""
        needed = ("read", "write") if action == "conditional-write" else (action,)
        return all(self.permissions.allow(f"cache-{each}", namespace, key) for each in needed)

    def allows_topic(self, action: TopicAction, namespace: str, topic: str) -> bool:
        """As `Principal.allows_topic`."""
        return self.permissions.allow(f"topic-{action}", namespace, topic.encode())


def signing_keys(
    directory: Path | None, clock: Clock = SYSTEM_CLOCK, *, owner: bool = True, rejected: Rejected = no_alarm
) -> SigningKeys:
    """The keys for disposable tokens: each verifies for as long as a token can live that it has signed."""
    return SigningKeys(directory, clock, keep_ms=MAX_DISPOSABLE_SECONDS * 1_000, owner=owner, rejected=rejected)


class Generated(NamedTuple):
    """A new token."""

    token: str
    valid_until: int
    """Seconds since 1970-01-01 UTC."""


class DisposableTokens:
    """Makes and verifies the tokens of one host.  All methods may be called from any thread."""

    def __init__(
        self,
        keys: SigningKeys,
        clock: Clock = SYSTEM_CLOCK,
        *,
        longest_seconds: int = MAX_DISPOSABLE_SECONDS,
        endpoint: str = "localhost",
    ) -> None:
        self.keys = keys
        self.endpoint = endpoint
        """Where clients reach this host: `host` or `host:port`."""
        self._clock = clock
        self._longest_seconds = longest_seconds
        self._lock = threading.Lock()
        self._remembered: dict[bytes, DisposablePrincipal] = {}
        self._revision = keys.revision

    def generate(self, valid_for_seconds: int, permissions: Permissions, token_id: str | None = None) -> Generated:
        """A new token; raises `BadRequest`, and `TooMuch` over a limit."""
        if not 0 < valid_for_seconds <= self._longest_seconds:
            raise BadRequest(f"a disposable token is valid for 1 to {self._longest_seconds} seconds")
        if token_id is not None:
            _check_token_id(token_id)
        valid_until = self._clock.wall_ns() // 1_000_000_000 + valid_for_seconds
        claims = _write_claims(valid_until, permissions, token_id)
        key = self.keys.current()
        body = key.id + _mac(key.secret, key.id, claims) + claims
        token = PREFIX + base64.urlsafe_b64encode(body).decode()
        if len(token) > MOST_LENGTH:
            raise TooMuch(f"the token would have over {MOST_LENGTH} characters: give it fewer or shorter permissions")
        return Generated(token, valid_until)

    def verify(self, token: str) -> DisposablePrincipal:
        """Whose token this is; raises `Unauthorized` for one that was not made here, or is over."""
        self.keys.refresh()
        if self.keys.revision != self._revision:
            self._forget()
        if len(token) > MOST_LENGTH or not token.isascii():
            raise Unauthorized(_NOT_VALID)
        digest = hashlib.sha256(token.encode()).digest()
        principal = self._remembered.get(digest)
        if principal is None:
            revision = self._revision
            principal = self._open(token, digest)
            self._remember(digest, principal, revision)
        if self._clock.wall_ns() >= principal.expires_ms * 1_000_000:
            raise Unauthorized("the token has expired")
        return principal

    def _open(self, token: str, digest: bytes) -> DisposablePrincipal:
        """What a token says, once it is known that this host said it."""
        body = _decode(token)
        name, mac, claims = body[:ID_BYTES], body[ID_BYTES : ID_BYTES + MAC_BYTES], body[ID_BYTES + MAC_BYTES :]
        key = self.keys.find(name)
        if key is None or not hmac.compare_digest(mac, _mac(key.secret, name, claims)):
            raise Unauthorized(_NOT_VALID)
        valid_until, permissions, token_id = _read_claims(claims)
        expires_ms = valid_until * 1_000
        if key.until_ms is not None:
            expires_ms = min(expires_ms, key.until_ms)
        return DisposablePrincipal(digest[:8].hex(), expires_ms, token_id, permissions)

    def _remember(self, digest: bytes, principal: DisposablePrincipal, revision: int) -> None:
        with self._lock:
            if revision != self._revision:  # verified with keys that may be gone
                return
            if len(self._remembered) >= MOST_REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
            self._remembered[digest] = principal

    def _forget(self) -> None:
        """After a change of the keys nothing that was verified with the ones before is believed unseen."""
        with self._lock:
            self._remembered.clear()
            self._revision = self.keys.revision


def _check_token_id(token_id: str) -> None:
    try:
        size = len(token_id.encode())
    except UnicodeEncodeError:  # from a command line, say, that was not UTF-8
        raise BadRequest("a token id has to be valid text") from None
    if size > MOST_TOKEN_ID_BYTES:
        raise TooMuch(f"a token id has at most {MOST_TOKEN_ID_BYTES} bytes")


def _mac(secret: bytes, id: bytes, claims: bytes) -> bytes:
    """The signature; `id` has one length, so no two messages are the same bytes."""
    return hmac.digest(secret, DOMAIN + id + claims, "sha256")


def _decode(token: str) -> bytes:
    """The bytes of a token's text; raises `Unauthorized` where there is more than one text for them, or none."""
    text = token.removeprefix(PREFIX).encode()
    whole = len(text) % 4 == 0 and len(text) + len(PREFIX) == len(token)
    if not whole or not text.translate(None, b"-_").isalnum():  # base64 would skip what it does not know
        raise Unauthorized(_NOT_VALID)
    return base64.urlsafe_b64decode(text)


def _write_claims(valid_until: int, permissions: Permissions, token_id: str | None) -> bytes:
    """The claims as JSON, with spaces at the end until base64 comes out even."""
    entries = [
        (entry.role, entry.namespace, entry.names.exact, entry.names.text.decode("latin-1"))
        for entry in permissions.entries
    ]
    claims = orjson.dumps((valid_until, token_id, entries))
    return claims + b" " * (-(ID_BYTES + MAC_BYTES + len(claims)) % 3)


def _read_claims(claims: bytes) -> tuple[int, Permissions, str | None]:
    """What `_write_claims` wrote: the MAC says that it did."""
    valid_until, token_id, entries = orjson.loads(claims)
    found = (
        Permission(role, namespace, Selector(text.encode("latin-1"), exact)) for role, namespace, exact, text in entries
    )
    return valid_until, Permissions(tuple(found)), token_id
