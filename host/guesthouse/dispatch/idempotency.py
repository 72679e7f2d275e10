"""What makes a repeated request the same call: digests of its key and of all that it asks for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from guesthouse.queue.call import Idempotency, Pairs

CREDENTIALS: Final = frozenset({"authorization", "cookie", "x-momento-authorization"})
"""Headers by which a function may tell its callers apart, where one token of the host's, or none, stands for many."""


def idempotency_of(
    key: str,
    *,
    namespace: str,
    name: str,
    principal_id: str,
    method: str,
    path: str | None,
    query: Pairs,
    body: bytes,
    headers: Pairs = (),
) -> Idempotency:
    """The digests; a key is its function's and its caller's own, so that nobody attaches to somebody else's call.

    Of the headers, those that the function is shown, only credentials count.
    """
    shown = (text for pair in headers if pair[0] in CREDENTIALS for text in pair)
    asked = (method, path or "", *(text for pair in query for text in pair))
    return Idempotency(
        digest(map(_bytes, (namespace, name, principal_id, key, *shown))),
        digest((*map(_bytes, asked), body)),
    )


def digest(parts: Iterable[bytes]) -> bytes:
    """SHA-256 of the parts, each behind its length, so that no two lists of them are the same bytes."""
    hashed = hashlib.sha256()
    for part in parts:
        hashed.update(len(part).to_bytes(8, "little"))
        hashed.update(part)
    return hashed.digest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
