"""Our own layers as contestants: the engine alone, `Host.invoke`, and `AsyncHost.invoke`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from benchmarks.measure import Run
from guesthouse._native.api import DONE
from guesthouse.async_host import AsyncHost
from guesthouse.clock import SYSTEM_CLOCK
from guesthouse.dispatch.prepared import Prepared
from guesthouse.engine.instance import Instance
from guesthouse.engine.observer import Observer
from guesthouse.host import Host
from guesthouse.interfaces.bytes import Buffer


class EngineLayer:
    """A fresh `Instance` for each call, with nothing of the dispatcher, metrics or the registry."""

    def __init__(self, host: Host, function: str, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        dispatcher = host.inner.dispatcher
        deployment = host.inner.deployment(function)
        host.invoke(function)  # links it
        prepared: Prepared = loop.run_until_complete(dispatcher.load(deployment))
        assert prepared.web is not None
        self._callee = prepared.web.callee._replace(observer=Observer())
        self._prepared = prepared
        self._workers = dispatcher.workers

    def by_handle(self, body: bytes) -> Callable[[], object]:
        """Calls the function with its body behind a buffer handle, as the gateway does."""
        return lambda: self._invoke(("buffer", Buffer(body)))

    def by_value(self, body: bytes) -> Callable[[], object]:
        """Calls the function with its body copied into the guest's memory beforehand."""
        return lambda: self._invoke(("value", body))

    def _invoke(self, data: tuple[str, object]) -> object:
        deadline_ns = SYSTEM_CLOCK.monotonic_ns() + self._prepared.deadline_ns
        instance = Instance(self._callee, deadline_ns, None)
        if instance.start((data,)) != DONE:
            self._loop.run_until_complete(instance.settle(self._workers))  # it was cut by the end of its first slice
        instance.close()
        if instance.error is not None:
            raise instance.error
        return instance.value


def awaited(loop: asyncio.AbstractEventLoop, host: AsyncHost, function: str, body: bytes) -> Run:
    """A `Run` that awaits `host.invoke` again and again in one task of `loop`."""

    async def calls(count: int) -> list[int]:
        clock = time.perf_counter_ns
        times = []
        for _ in range(count):
            began = clock()
            await host.invoke(function, body)
            times.append(clock() - began)
        return times

    return lambda count: loop.run_until_complete(calls(count))
