"""Recorded invocations as files: of durable functions and of the flight recorder, made by a real host.

`export_of` and `recorded` are for whoever needs such a file: to replay it, to damage it, to keep it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from guesthouse import AsyncHost
from guesthouse.dispatch.recordings import NoJournal
from guesthouse.queue.call import LIVE, Record
from guesthouse.queue.config import InvocationsConfig
from guesthouse.queue.queue import UnknownInvocation

PATIENCE = 30
FLIGHT = InvocationsConfig(flight="all")
"""For a host that records every call."""


async def export_of(host: AsyncHost, call: str) -> bytes:
    """The file of an invocation, once there is one: a recording is stored soon after its call has ended."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await host.export(call)
            except (UnknownInvocation, NoJournal):
                await asyncio.sleep(0.005)


async def when(host: AsyncHost, call: str, fits: Callable[[Record], bool]) -> Record:
    """The record of an invocation, once it is as wanted."""
    async with asyncio.timeout(PATIENCE):
        while not fits(record := await host.invocation(call)):
            await asyncio.sleep(0.005)
        return record


async def ended(host: AsyncHost, call: str) -> Record:
    """The record of an invocation that has ended."""
    return await when(host, call, lambda record: record.state not in LIVE)


async def recorded(host: AsyncHost, wasm: bytes, body: bytes = b"", *, name: str = "recorded", **options: Any) -> bytes:
    """Deploys a module, calls it, and gives the file of that call: of its journal, if it is deployed as durable."""
    await host.deploy(name, wasm, **options)
    call = await host.enqueue(name, body)
    await when(host, call, lambda record: record.state not in ("queued", "running"))
    return await export_of(host, call)
