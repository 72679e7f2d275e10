"""What guests can import, one folder for each interface; `standard` builds all that come with guesthouse."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from guesthouse.engine.wit import Abi
from guesthouse.interfaces.aws import aws_interfaces
from guesthouse.interfaces.bytes import BytesInterface
from guesthouse.interfaces.cache import CacheInterface
from guesthouse.interfaces.detached import DetachedInterface
from guesthouse.interfaces.durable import durable_interfaces
from guesthouse.interfaces.log import LogInterface
from guesthouse.interfaces.spawn import SpawnInterface
from guesthouse.interfaces.token import TokenInterface
from guesthouse.interfaces.topic import TopicInterface
from guesthouse.interfaces.wasi import WasiInterface
from guesthouse.interfaces.web import WebInterface

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from guesthouse.clock import Clock
    from guesthouse.interfaces.base import Interface
    from guesthouse.interfaces.cache import CacheBackend
    from guesthouse.interfaces.durable import Workflows
    from guesthouse.interfaces.log import CloudWatch
    from guesthouse.interfaces.spawn import Spawner
    from guesthouse.interfaces.topic import TopicBroker
    from guesthouse.interfaces.wasi.time import Sleep
    from guesthouse.interfaces.wasi.tree import Find
    from guesthouse.net.aws import AwsClients
    from guesthouse.registry.disposable import DisposableTokens


def abi_with(own: Iterable[Interface]) -> Abi:
    """The WIT of `abi/`, and that of interfaces which bring their own."""
    abi = Abi.load()
    for interface in own:
        if interface.wit:
            abi.add(interface.wit, f"the WIT of {type(interface).__name__}")
    return abi


def standard(
    clock: Clock,
    *,
    cache: CacheBackend,
    topics: TopicBroker,
    spawner: Spawner,
    disposable: DisposableTokens,
    aws: AwsClients,
    count_task: Callable[[str, str, str], None] = lambda function, task, result: None,
    http_client: Any = None,
    valkey: Any = None,
    cloudwatch: CloudWatch | None = None,
    sleep: Sleep = asyncio.sleep,
    secrets: Find | None = None,
    workflows: Workflows | None = None,
) -> list[Interface]:
    """One object of every interface, over the given services; without `http_client` guests cannot call out, nor
    use Valkey without `valkey`, nor wait for anything without `workflows`."""
    interfaces: list[Interface] = [
        BytesInterface(),
        WebInterface(),
        CacheInterface(cache),
        TopicInterface(topics),
        LogInterface(topics.publish, cloudwatch, topic_bytes=topics.limits.message_bytes),
        SpawnInterface(spawner),
        DetachedInterface(count_task),
        TokenInterface(disposable),
        WasiInterface(clock, sleep, secrets),
        *aws_interfaces(aws, clock),
    ]
    if http_client is not None:
        from guesthouse.interfaces.http import HttpInterface  # only where wanted: it brings an HTTP client along

        interfaces.append(HttpInterface(http_client, clock))
    if workflows is not None:
        interfaces += durable_interfaces(workflows, clock)
    if valkey is not None:
        from guesthouse.interfaces.valkey import ValkeyInterface

        interfaces.append(ValkeyInterface(valkey, clock))
    return interfaces
