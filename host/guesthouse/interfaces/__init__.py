"""What guests can import, one folder for each interface; `standard` builds all that come with guesthouse."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from guesthouse.interfaces.bytes import BytesInterface
from guesthouse.interfaces.cache import CacheInterface
from guesthouse.interfaces.log import LogInterface
from guesthouse.interfaces.spawn import SpawnInterface
from guesthouse.interfaces.topic import TopicInterface
from guesthouse.interfaces.wasi import WasiInterface
from guesthouse.interfaces.web import WebInterface

if TYPE_CHECKING:
    from guesthouse.clock import Clock
    from guesthouse.interfaces.base import Interface
    from guesthouse.interfaces.cache import CacheBackend
    from guesthouse.interfaces.spawn import Spawner
    from guesthouse.interfaces.topic import TopicBroker
    from guesthouse.interfaces.wasi.time import Sleep


def standard(
    clock: Clock,
    *,
    cache: CacheBackend,
    topics: TopicBroker,
    spawner: Spawner,
    http_client: Any = None,
    sleep: Sleep = asyncio.sleep,
) -> list[Interface]:
    """One object of every interface, over the given services; without `http_client` guests cannot call out."""
    interfaces: list[Interface] = [
        BytesInterface(),
        WebInterface(),
        CacheInterface(cache),
        TopicInterface(topics),
        LogInterface(topics.publish),
        SpawnInterface(spawner),
        WasiInterface(clock, sleep),
    ]
    if http_client is not None:
        from guesthouse.interfaces.http import HttpInterface  # only where wanted: it brings an HTTP client along

        interfaces.append(HttpInterface(http_client, clock))
    return interfaces
