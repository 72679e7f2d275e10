"""The cache where it outlives a process: in the data directory and on a server, for real guests, through real ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from command_line import server as started
from guesthouse import Host
from guesthouse.cli.serve import cache_of
from guesthouse.config_sources import load
from guesthouse.errors import BadRequest
from guesthouse.interfaces.cache import CacheConfig, Item, MemoryCache, PersistentCache
from guesthouse.interfaces.cache.valkey import ValkeyCache
from support import FORMS, guest
from valkey_server import ValkeyServer

GUESTS = ("cache-conditions", "cache-lists", "old-cache-scalars", "old-cache-lists")


@pytest.fixture(params=["persistent", "valkey"])
def config(request: pytest.FixtureRequest) -> CacheConfig:
    """Where the cache is kept."""
    if request.param == "persistent":
        return CacheConfig(persist=True)
    return CacheConfig(request.getfixturevalue("valkey_server").url)


def does(host: Host, name: str, **order: Any) -> Any:
    """What a guest answers to one order."""
    return json.loads(host.invoke(name, json.dumps({"ttl_ms": 60_000, **order}).encode()).unwrap().body)


@pytest.mark.parametrize("form", FORMS)
def test_guests_of_both_generations_share_what_is_kept_elsewhere(
    config: CacheConfig, form: str, tmp_path: Path
) -> None:
    """Values and lists, conditions and hashes: all calls wait, and answer as they do in memory."""
    with Host(tmp_path, cache=config) as host:
        for name in GUESTS:
            host.deploy(name, guest(name, form))
        for one, other in (("cache-conditions", "old-cache-scalars"), ("old-cache-scalars", "cache-conditions")):
            assert does(host, one, operation="delete", key="k") == {"deleted": True}
            assert does(host, one, operation={"set-if": "absent"}, key="k", value="blue") == {"stored": True}
            seen = does(host, other, operation="get-with-hash", key="k")
            assert seen["value"] == "blue"
            update = {"set-if-hash": {"present-and-hash-equal": seen["hash"]}}
            assert does(host, one, operation=update, key="k", value="red")["stored"]
            assert does(host, one, operation=update, key="k", value="green") == {"stored": False}
            assert does(host, other, operation="get", key="k") == {"value": "red"}
        for one, other in (("cache-lists", "old-cache-lists"), ("old-cache-lists", "cache-lists")):
            does(host, one, call="list-erase", list="l")
            assert does(host, one, call="list-concatenate-back", list="l", values=[*"abc"]) == {"length": 3}
            assert does(host, other, call="list-push-front", list="l", value="x", truncate=3) == {"length": 3}
            assert does(host, one, call="list-fetch", list="l", start=-2) == {"values": ["a", "b"]}
            assert does(host, other, call="list-pop-front", list="l") == {"value": "x", "length": 2}
            assert "FailedPrecondition" in does(host, one, call="list-length", list="k")["error"]


def test_what_was_stored_is_there_for_the_next_host(config: CacheConfig, tmp_path: Path) -> None:
    """Closed in order; in memory it would be gone."""
    for first in (True, False):
        with Host(tmp_path, cache=config) as host:
            host.deploy("cache-lists", guest("cache-lists"))
            if first:
                does(host, "cache-lists", call="list-push-back", list="l", value="a")
            assert does(host, "cache-lists", call="list-fetch", list="l") == {"values": ["a"]}
    with Host(tmp_path) as host:
        assert does(host, "cache-lists", call="list-fetch", list="l") == {"missing": True}


def ask(url: str, method: str, query: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = HTTPConnection(urlsplit(url).netloc, timeout=20)
    try:
        connection.request(method, f"/cache/default?{query}", body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    """`kill -9` right after the answer; the next server has every item."""
    settings = tmp_path / "guesthouse.toml"
    settings.write_text("[cache]\npersist = true\n")
    with started(tmp_path / "data", "--config", settings) as server:
        for number in range(20):
            assert ask(server.url, "PUT", f"key={number}&ttl_seconds=600", b"%d" % number * 1_000)[0] == 204
        server.process.kill()
        server.process.wait()
    with started(tmp_path / "data", "--config", settings) as server:
        for number in range(20):
            assert ask(server.url, "GET", f"key={number}") == (200, b"%d" % number * 1_000)


def test_a_server_that_is_away_is_an_error_value_until_it_is_back(own_valkey_server: ValkeyServer) -> None:
    """Guests hear `internal-error`, and nothing of where it should have been; nothing traps."""
    with Host(cache=CacheConfig(own_valkey_server.url)) as host:
        host.deploy("cache-conditions", guest("cache-conditions"))
        assert does(host, "cache-conditions", operation="set", key="k", value="v") == {"stored": True}
        own_valkey_server.kill()
        for operation in ("get", "set", "delete", {"set-if": "absent"}):
            error = does(host, "cache-conditions", operation=operation, key="k", value="v")["error"]
            assert "InternalError" in error
            assert "127.0.0.1" not in error
        assert own_valkey_server.start()
        assert does(host, "cache-conditions", operation="get", key="k") == {"value": None}
        assert does(host, "cache-conditions", operation={"set-if": "absent"}, key="k", value="w") == {"stored": True}


def test_conditional_sets_by_many_at_once_are_stored_once(valkey_server: ValkeyServer) -> None:
    """Two hosts on one server: of all that want to be first, one is."""

    async def race() -> int:
        caches = [ValkeyCache.at(valkey_server.url) for _ in range(2)]
        sets = [caches[n % 2].set("n", b"k", Item(b"%d" % n), 60_000, ("absent", None)) for n in range(50)]
        stored = sum(await asyncio.gather(*sets))
        pushes = [caches[n % 2].extend("n", b"l", [b"v"], 60_000, True, 20, front=True) for n in range(50)]
        lengths = await asyncio.gather(*pushes)
        assert sorted(lengths) == sorted([*range(1, 20), *[20] * 31])
        for cache in caches:
            await cache.close()
        return stored

    assert asyncio.run(race()) == 1


def gauges(host: Host) -> dict[str, float]:
    """The cache's figures as Prometheus sees them."""
    families = {family.name.removeprefix("guesthouse_cache_"): family for family in host.inner.metrics.collect()}
    names = ("hits", "misses", "evictions", "entries", "bytes")
    return {name: families[name].samples[0].value for name in names if name in families}


def test_the_metrics_tell_hits_misses_evictions_entries_and_bytes(tmp_path: Path) -> None:
    """Five figures without a label, however many keys and namespaces there are."""
    for config in (CacheConfig(max_bytes=1_000), CacheConfig(persist=True, max_bytes=1_000)):
        with Host(tmp_path, cache=config) as host:
            host.deploy("cache-conditions", guest("cache-conditions"))
            before = gauges(host)
            for key in "abc":
                does(host, "cache-conditions", operation="set", key=key, value="v" * 99)
            for key in "abc":
                does(host, "cache-conditions", operation="get", key=key)
            assert gauges(host) == {"hits": 2, "misses": 1, "evictions": 1, "entries": 2, "bytes": 1_000}
            assert before == dict.fromkeys(before, 0)


@pytest.fixture
def kept_at() -> Iterator[Any]:
    """Opens the cache that a configuration asks for."""
    with Host() as host:

        def open_(cache: dict[str, Any], durable: bool = True) -> Any:
            config = cache_of(load({"cache": cache}, environment={}))
            return config.open(host.inner.database, host.inner._clock, durable=durable)

        yield open_


def test_the_configuration_says_where_the_cache_is_kept(kept_at: Any) -> None:
    """In memory by default; bounds are those of the section; both places at once are a mistake."""
    assert isinstance(kept_at({}), MemoryCache)
    assert isinstance(kept_at({"persist": True}), PersistentCache)
    assert isinstance(kept_at({"url": "redis://localhost:1"}), ValkeyCache)
    small = kept_at({"max_bytes": 1_000, "item_bytes": 10, "ttl_ms": 5, "list_elements": 3})
    assert small._entries.capacity == 1_000
    assert (small.limits.item_bytes, small.limits.ttl_ms, small.limits.list_elements) == (10, 5, 3)
    with pytest.raises(BadRequest, match="not both"):
        kept_at({"url": "redis://localhost:1", "persist": True})
    with pytest.raises(BadRequest, match="no such setting"):
        kept_at({"size": 1})


def test_a_backend_of_ones_own_is_used_and_closed() -> None:
    """`AsyncHost(cache=…)` takes whatever does what a backend does."""
    closed: list[int] = []

    class Own(MemoryCache):
        async def close(self) -> None:
            closed.append(1)

    from guesthouse.clock import SYSTEM_CLOCK

    own = Own(SYSTEM_CLOCK)
    with Host(cache=own) as host:
        host.deploy("cache-conditions", guest("cache-conditions"))
        does(host, "cache-conditions", operation="set", key="k", value="v")
        found = own.get("default", b"k")
        assert found is not None
        assert found.value == b"v"
    assert closed == [1]
