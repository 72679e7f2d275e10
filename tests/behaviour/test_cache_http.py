"""The cache from outside: HTTP get, put and delete with tokens, on the items that functions see."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from gateway_server import Answer, Server
from guesthouse.async_host import AsyncHost
from guesthouse.cli.serve import services_of
from guesthouse.gateway import Gateway
from guesthouse.interfaces.cache import Item, MemoryCache
from guesthouse.limits import CacheLimits
from guesthouse.registry.permissions import Permissions
from support import guest
from unit.interface_fakes import SimulatedClock

LIMITS = CacheLimits(item_bytes=100_000, key_bytes=100)


class Hosted(Server):
    """A gateway in this process, with a real host behind it whose cache has a clock of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = SimulatedClock()
        self.cache = MemoryCache(self.clock, limits=LIMITS)

    async def _serve(self) -> None:
        async with AsyncHost(cache=self.cache) as host:
            await host.deploy("cache-conditions", guest("cache-conditions"))
            await host.deploy("cache-lists", guest("cache-lists"))
            self.gateway = Gateway(services_of(host, self.config))
            await self.gateway.serve(signals=False, started=self._on_started)

    def ask(self, method: str, query: str, body: bytes | None = None, namespace: str = "default") -> Answer:
        return self.request(method, f"/cache/{namespace}?{query}", body)


@pytest.fixture(scope="module")
def server() -> Iterator[Hosted]:
    with Hosted() as server:
        yield server


def test_what_was_put_is_got_until_it_is_deleted(server: Hosted) -> None:
    """204, 200 with the bytes, 204, and then 404 as a problem; deleting nothing is fine."""
    value = bytes(range(256))
    assert server.ask("PUT", "key=k&ttl_seconds=60", value).status == 204
    answer = server.ask("GET", "key=k")
    assert (answer.status, answer.body) == (200, value)
    assert server.ask("DELETE", "key=k").status == 204
    missing = server.ask("GET", "key=k")
    assert (missing.status, missing.problem) == (404, "not-found")
    assert server.ask("DELETE", "key=k").status == 204


def test_functions_and_clients_see_the_same_items(server: Hosted) -> None:
    """Either way."""
    server.ask("PUT", "key=shared&ttl_seconds=60", b"from outside")
    look = json.dumps({"operation": "get", "key": "shared"}).encode()
    assert server.request("POST", "/functions/default/cache-conditions", look).json == {"value": "from outside"}
    store = json.dumps({"operation": "set", "key": "shared", "value": "from inside", "ttl_ms": 60_000}).encode()
    server.request("POST", "/functions/default/cache-conditions", store)
    assert server.ask("GET", "key=shared").body == b"from inside"
    assert server.ask("GET", "key=shared", namespace="other").status == 404


@pytest.mark.parametrize("key", [b"", b"a b+c", "schlüssel".encode(), b"\0\xff&=%", bytes(range(100))])
def test_a_key_is_any_bytes_in_three_ways_to_write_it(server: Hosted, key: bytes) -> None:
    """Percent-encoded, and in base64 of both alphabets, with or without its padding."""
    texts = [
        f"key={quote(key, safe='')}",
        f"key_base64={quote(base64.b64encode(key))}",
        f"key_base64={base64.urlsafe_b64encode(key).decode().rstrip('=')}",
    ]
    for number, text in enumerate(texts):
        assert server.ask("PUT", f"{text}&ttl_seconds=60", b"%d" % number).status == 204
        assert {server.ask("GET", same).body for same in texts} == {b"%d" % number}


def test_a_value_is_kept_for_its_seconds_and_for_a_day_at_most(server: Hosted) -> None:
    """As for functions."""
    server.ask("PUT", "key=short&ttl_seconds=2", b"v")
    server.ask("PUT", f"key=long&ttl_seconds={10**19}", b"v")
    server.clock.pass_ms(1_999)
    assert server.ask("GET", "key=short").status == 200
    server.clock.pass_ms(1)
    assert server.ask("GET", "key=short").status == 404
    server.clock.pass_ms(86_400_000 - 2_001)
    assert server.ask("GET", "key=long").status == 200
    server.clock.pass_ms(1)
    assert server.ask("GET", "key=long").status == 404


@pytest.mark.parametrize(
    ("method", "query", "status"),
    [
        ("GET", "", 400),
        ("GET", "key=a&key=b", 400),
        ("GET", "key=a&key_base64=YQ", 400),
        ("GET", "key_base64=a", 400),
        ("GET", "key_base64=%21%21%21%21", 400),
        ("GET", "key=a&prefix=b", 400),
        ("GET", f"key={'k' * 101}", 413),
        ("PUT", "key=a", 400),
        ("PUT", "key=a&ttl_seconds=0", 400),
        ("PUT", "key=a&ttl_seconds=-1", 400),
        ("PUT", "key=a&ttl_seconds=1.5", 400),
        ("PUT", "key=a&ttl_seconds=%D9%A1", 400),
        ("PUT", f"key=a&ttl_seconds={'9' * 5000}", 400),
        ("POST", "key=a&ttl_seconds=60", 405),
    ],
)
def test_what_is_not_well_asked_is_a_problem(server: Hosted, method: str, query: str, status: int) -> None:
    """And stores nothing."""
    answer = server.ask(method, query, b"v" if method != "GET" else None)
    assert (answer.status, bool(answer.problem)) == (status, True)
    assert server.ask("GET", "key=a").status == 404


@pytest.mark.parametrize("namespace", ["Default", "manage", "a--b", "%2e%2e", "a" * 64])
def test_a_namespace_that_cannot_be_does_not_exist(server: Hosted, namespace: str) -> None:
    """404, as for functions."""
    assert server.ask("PUT", "key=a&ttl_seconds=60", b"v", namespace).status == 404


def test_nothing_lists_keys_or_namespaces(server: Hosted) -> None:
    """There is no such route."""
    for path in ("/cache", "/cache/", "/cache/default/", "/cache/default/k"):
        assert server.request("GET", path).status == 404


def test_an_item_over_the_limit_is_413_and_the_limit_itself_is_not(server: Hosted) -> None:
    """Key and value together, as for functions; refused before it is received, where its length is told."""
    assert server.ask("PUT", "key=kk&ttl_seconds=60", bytes(99_998)).status == 204
    refused = server.ask("PUT", "key=kk&ttl_seconds=60", bytes(99_999))
    assert (refused.status, refused.problem) == (413, "body-too-large")
    with server.connect() as sock:
        head = b"PUT /cache/default?key=k&ttl_seconds=60 HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        sock.sendall(head % 100_001)
        assert sock.recv(12) == b"HTTP/1.1 413"
    with server.connect() as sock:
        head = b"PUT /cache/default?key=k&ttl_seconds=60 HTTP/1.1\r\nHost: localhost\r\n"
        chunk = b"c350\r\n" + bytes(50_000) + b"\r\n"
        sock.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 3 + b"0\r\n\r\n")
        assert sock.recv(12) == b"HTTP/1.1 413"


def test_a_list_is_no_value(server: Hosted) -> None:
    """409 to read; it can be deleted, and replaced by a value."""
    push = {"call": "list-push-back", "list": "l", "value": "a", "ttl_ms": 60_000}
    server.request("POST", "/functions/default/cache-lists", json.dumps(push).encode())
    answer = server.ask("GET", "key=l")
    assert (answer.status, answer.problem) == (409, "wrong-kind")
    assert server.ask("DELETE", "key=l").status == 204
    assert server.ask("GET", "key=l").status == 404


def test_no_browser_takes_a_value_for_a_page_or_keeps_it(server: Hosted) -> None:
    """Plain bytes, whatever they look like."""
    server.ask("PUT", "key=page&ttl_seconds=60", b"<script>alert(1)</script>")
    headers = server.ask("GET", "key=page").headers
    assert headers["content-type"] == "application/octet-stream"
    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")
    head = server.ask("HEAD", "key=page")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "25")


def test_a_token_needs_the_scope_and_the_namespace() -> None:
    """`cache-read` reads, `cache-write` stores and deletes, each in the namespaces of its pattern."""
    server = Server()
    server.tokens.add("reader", "cache-read", functions="default/*")
    server.tokens.add("writer", "cache-write")
    server.tokens.add("caller", "invoke", "manage", "read", "metrics")
    with server:

        def status(method: str, token: str | None, namespace: str = "default", how: str = "header") -> int:
            path = f"/cache/{namespace}?key=k" + ("&ttl_seconds=60" if method == "PUT" else "")
            if how == "query":
                return server.request(method, f"{path}&token={token}", b"v" if method == "PUT" else None).status
            headers = {} if token is None else {"authorization": token}
            return server.request(method, path, b"v" if method == "PUT" else None, headers).status

        assert [status("PUT", token) for token in (None, "nobody", "caller", "reader", "writer")] == [
            *(401, 401, 403, 403, 204)
        ]
        assert [status("GET", token) for token in (None, "nobody", "caller", "writer", "reader")] == [
            *(401, 401, 403, 403, 200)
        ]
        assert status("GET", "reader", how="query") == 200
        assert status("GET", "reader", namespace="other") == 403
        assert status("DELETE", "reader") == 403
        assert status("DELETE", "writer") == 204


def test_a_disposable_token_reaches_exactly_its_keys() -> None:
    """One for a prefix of keys reads these and no others, and writes none."""
    permissions = {
        "role": "CacheReadOnly",
        "cache_selector": {"cacheName": "default"},
        "item_selector": {"key_prefix": [*b"open/"]},
    }

    class Signing(Hosted):
        async def _serve(self) -> None:
            async with AsyncHost(cache=self.cache) as host:
                await host.tokens.create("owner", scopes=["cache-write"])
                text = json.dumps({"explicit": {"permissions": [{"cache_permissions": permissions}]}})
                self.token = host.disposable.generate(60, Permissions.parse(text)).token
                self.gateway = Gateway(services_of(host, self.config))
                await self.gateway.serve(signals=False, started=self._on_started)

    with Signing() as server:
        for key in ("open/a", "closed/a"):
            server.on_loop(lambda key=key: server.cache.set("default", key.encode(), Item(b"v"), 60_000))
        headers = {"authorization": server.token}
        for method, path, status in (
            ("GET", "/cache/default?key=open/a", 200),
            ("GET", "/cache/default?key=closed/a", 403),
            ("GET", "/cache/default?key=open", 403),
            ("GET", "/cache/other?key=open/a", 403),
            ("DELETE", "/cache/default?key=open/a", 403),
            ("PUT", "/cache/default?key=open/a&ttl_seconds=60", 403),
        ):
            assert server.request(method, path, headers=headers).status == status, path
