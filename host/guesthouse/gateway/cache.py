"""Values of the cache over HTTP, for whoever fills and reads it around the functions.

Promises: the same items, limits and times as the functions of that namespace have; a key is any bytes; nothing lists
keys or namespaces.  A value is handed out as bytes that no browser takes for a page.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from guesthouse.errors import BadRequest, NotFound
from guesthouse.gateway import documents
from guesthouse.gateway.auth import PARAMETER, permit_cache
from guesthouse.gateway.services import Principal
from guesthouse.interfaces.cache import Item, OverLimit, settled
from guesthouse.registry.deployment import check_name

if TYPE_CHECKING:
    from guesthouse.gateway.app import App
    from guesthouse.registry.principal import CacheAction

HEADERS: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_PARAMETERS: Final = frozenset({"key", "key_base64", "ttl_seconds", PARAMETER})
_MOST_DIGITS: Final = 20
"""Of a time to live: what guests can say has no more."""


class Miss(NotFound):
    """There is no such item, or not any more."""

    title = "There is no such item"


class Asked(NamedTuple):
    """What a request is about."""

    namespace: str
    key: bytes
    ttl_seconds: int | None


class Cache:
    """The endpoints, named as in the table of routes."""

    def __init__(self, app: App) -> None:
        self._cache = app.services.cache
        self._most_parameters = app.services.config.http.query_parameters

    async def cache_get(self, request: Request, principal: Principal) -> Response:
        """The value, as it was stored."""
        namespace, key, _ = self._asked(request, principal, "read")
        item = await settled(self._cache.get(namespace, key))
        if item is None:
            raise Miss("the cache has no value under this key")
        return Response(item.value, headers=HEADERS, media_type="application/octet-stream")

    async def cache_put(self, request: Request, principal: Principal) -> Response:
        """Stores the body, whatever was there."""
        namespace, key, ttl_seconds = self._asked(request, principal, "write")
        if not ttl_seconds:
            raise BadRequest("ttl_seconds: how long to keep it, one second at least")
        limits = self._cache.limits
        value = await documents.receive(request, limits.item_bytes - len(key), "a value under this key")
        await settled(self._cache.set(namespace, key, Item(value), min(ttl_seconds * 1000, limits.ttl_ms)))
        return Response(status_code=204)

    async def cache_delete(self, request: Request, principal: Principal) -> Response:
        """Forgets the value or list; one that is not there is fine."""
        namespace, key, _ = self._asked(request, principal, "write")
        await settled(self._cache.delete(namespace, key))
        return Response(status_code=204)

    def _asked(self, request: Request, principal: Principal, action: CacheAction) -> Asked:
        namespace = check_name("namespace", request.path_params["namespace"])
        parameters = _parameters(request.scope["query_string"], self._most_parameters)
        key = _key(parameters)
        if len(key) > self._cache.limits.key_bytes:
            raise OverLimit(f"a key has at most {self._cache.limits.key_bytes} bytes")
        permit_cache(principal, action, namespace, key)
        ttl_seconds = parameters.get("ttl_seconds")
        return Asked(namespace, key, None if ttl_seconds is None else _number(ttl_seconds))


def _parameters(query: bytes, most: int) -> dict[str, bytes]:
    """The parameters of a query, as bytes, each at most once."""
    found: dict[str, bytes] = {}
    try:  # Latin-1 has a character for each byte
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, encoding="latin-1", max_num_fields=most)
    except ValueError:
        raise BadRequest(f"there are over {most} query parameters") from None
    for name, value in pairs:
        if name not in _PARAMETERS:
            raise BadRequest(f"unknown parameter {name[:64]!r}")
        if name in found:
            raise BadRequest(f"{name} is given twice")
        found[name] = value.encode("latin-1")
    return found


def _key(parameters: dict[str, bytes]) -> bytes:
    """The key, which is any bytes: percent-encoded, or in base64 of either alphabet."""
    if ("key" in parameters) == ("key_base64" in parameters):
        raise BadRequest("give one key: as the parameter 'key', or in base64 as 'key_base64'")
    if "key" in parameters:
        return parameters["key"]
    text = parameters["key_base64"].translate(bytes.maketrans(b"-_ ", b"+/+")).rstrip(b"=")
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise BadRequest("key_base64: this is not base64") from None


def _number(text: bytes) -> int:
    if not (text.isdigit() and len(text) <= _MOST_DIGITS):
        raise BadRequest("ttl_seconds: this is no number of seconds")
    return int(text)
