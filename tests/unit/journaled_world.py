"""An invocation that calls real host interfaces through the hook, run after run, over one stored journal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from functools import cache
from typing import Any

from guesthouse.durable.hook import journaled
from guesthouse.durable.journal import Journal
from guesthouse.durable.records import Header
from guesthouse.engine.wit import Abi
from guesthouse.interfaces.base import Interface
from guesthouse.interfaces.invocation import Invocation
from unit.interface_fakes import invocation
from unit.journal_fakes import HEADER, ListSink, Policy, World


@cache
def abi() -> Abi:
    """The WIT of everything."""
    return Abi.load()


class Life:
    """One run of an invocation, which goes on where the run before it has left off."""

    def __init__(self, world: World, *interfaces: Interface, keeps: bool = True, **fields: Any) -> None:
        self.world = world
        self.run: Invocation = invocation(**fields)
        self.run.id = HEADER.id
        header = Header(HEADER.id, 1, "00", "test")
        sink = ListSink(world) if keeps else None
        self.journal = self.run.journal = Journal(sink, world.segments, header=header, policy=Policy(1 << 30))
        classes = {key: owner for each in interfaces for key, owner in each.resources.items()}
        self.calls = {}
        for interface in interfaces:
            for call in interface.host_calls():
                known = None if call.core is not None else abi().find(call.interface)
                func = None if known is None else known.functions[call.function]
                self.calls[call.interface, call.function] = journaled(call, func, classes)

    def __call__(self, interface: str, function: str, *args: Any) -> Any:
        """Makes a host call and waits for it."""
        found = self.calls[interface, function].method(self.run, *args)
        return asyncio.run(_awaited(found)) if isinstance(found, Awaitable) else found

    def ends(self) -> None:
        """Appends what is pending: a crash comes right after."""
        segment = self.journal.pending()
        if segment:
            self.world.segments.append(segment)


async def _awaited(found: Awaitable[Any]) -> Any:
    return await found


def every_call(interfaces: Iterable[Interface]) -> list[tuple[Interface, Any, Any]]:
    """Each host call of interfaces, with its WIT type."""
    found = []
    for interface in interfaces:
        for call in interface.host_calls():
            known = None if call.core is not None else abi().find(call.interface)
            found.append((interface, call, None if known is None else known.functions[call.function]))
    return found
