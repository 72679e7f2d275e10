"""A host whose functions may send callbacks to an upstream, for tests that tell what becomes of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from guesthouse import AsyncHost, OutboundConfig, OutboundPolicy
from guesthouse.dispatch.deliveries import CallbackConfig
from guesthouse.dispatch.invocations import Wanted
from guesthouse.queue.call import Record
from guesthouse.queue.queue import Page
from support import guest
from upstream import Answer, Received, Upstream

OURS = "http://fn.example"
POLICY = OutboundPolicy.of(
    schemes=("http",), overrides={"up.example": "127.0.0.1", "slow.example": "127.0.0.1", "none.example": "127.0.0.1"}
)
QUICK = CallbackConfig(min_wait_ms=1, max_wait_ms=1)
PATIENCE = 30


class Place:
    """A host whose functions may send requests to `upstream`, where every callback is received."""

    def __init__(self, host: AsyncHost, upstream: Upstream) -> None:
        self.host = host
        self.upstream = upstream

    async def queue(self, callback: str | None, name: str = "echo", body: bytes = b"result", **wanted: Any) -> str:
        """A call; its id."""
        asked = Wanted(body=body, callback=callback, **wanted)
        return (await self.host.calls.accept(self.host.deployment(name), asked)).id

    async def ended(self, call: str) -> Record:
        """The record of a call that has ended."""
        return await self.host.calls.attach(call, PATIENCE)

    async def received(self, count: int = 1) -> list[Received]:
        """The first requests that arrived at the upstream, once there are so many."""
        while len(self.upstream.requests) < count:
            self.upstream.arrived.clear()
            await self.upstream.arrived.wait()
        return self.upstream.requests

    async def counted(self, outcome: str, count: int = 1) -> None:
        """Waits until so many callbacks ended so."""
        line = f'guesthouse_callbacks_total{{outcome="{outcome}"}} {float(count)}'.encode()
        while line not in self.host.metrics.expose():
            await asyncio.sleep(0.002)

    async def nothing_left(self) -> None:
        """Waits until no callback is to be delivered any more."""
        while await self.host.queue.next_callback_ms() is not None:
            await asyncio.sleep(0.002)

    async def record_of(self, name: str) -> Record:
        """The record of the only call of a function, once it has ended."""
        while True:
            found, _ = await self.host.calls.list(Page(function=("default", name)))
            if found:
                return await self.ended(found[0].id)
            await asyncio.sleep(0.002)

    async def said_of(self, record: Record) -> list[list[str]]:
        """The headers of a call of `web-support`."""
        output = await self.host.calls.output(record.id)
        assert output is not None
        return json.loads(output.body)[0]["headers"]

    def said(self, name: str = "echo") -> list[str]:
        """What a function's log says of callbacks."""
        entries = self.host.logs.tail(f"default/{name}", 100)
        return [entry.record.text for entry in entries if "callback" in entry.record.text]


def story(
    tell: Callable[[Place], Awaitable[None]],
    answer: Answer | None = None,
    guests: Sequence[str] = ("echo",),
    callbacks: CallbackConfig = QUICK,
    **options: Any,
) -> None:
    """Runs an asynchronous story with a host and an upstream."""

    async def run() -> None:
        async with asyncio.timeout(PATIENCE), Upstream(answer) as upstream:
            settings = {"outbound": OutboundConfig(POLICY), "callbacks": callbacks, "public_urls": [OURS], **options}
            async with AsyncHost(slots=32, **settings) as host:
                for name in guests:
                    await host.deploy(name, guest(name))
                await tell(Place(host, upstream))

    asyncio.run(run())
