"""`PinnedVersions`: versions of functions that invocations have begun on and have to end on, current or not.

Promises: a version is linked once while runs of it follow each other, and forgotten some time after the last one.  Belongs to
the loop's thread.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from guesthouse.dispatch.dispatcher import Dispatcher
from guesthouse.dispatch.prepared import Prepared
from guesthouse.queue.queue import FunctionKey, Queue
from guesthouse.registry.registry import Registry

MOST: int = 64
"""Versions that are kept linked beside the current ones: each is some kilobytes, and a mapping of its code."""


class PinnedVersions:
    """Those of one host."""

    def __init__(self, registry: Registry, dispatcher: Dispatcher) -> None:
        self._registry = registry
        self._dispatcher = dispatcher
        self._linked: OrderedDict[tuple[FunctionKey, int], Prepared] = OrderedDict()

    def loaded(self, function: FunctionKey, version: int) -> Prepared | None:
        """A version, if it is linked."""
        current = self._registry.get(*function)
        if current is not None and current.version == version:
            return self._dispatcher.loaded(current)
        found = self._linked.get((function, version))
        if found is not None:
            self._linked.move_to_end((function, version))
        return found

    async def load(self, function: FunctionKey, version: int) -> Prepared | None:
        """A version, linked; `None` where there is none of this number."""
        found = self.loaded(function, version)
        if found is not None:
            return found
        current = self._registry.get(*function)
        if current is not None and current.version == version:
            return await self._dispatcher.load(current)
        deployment = await asyncio.to_thread(self._registry.version, *function, version)
        if deployment is None:
            return None
        prepared = await self._dispatcher.load(deployment)
        kept = self._linked.setdefault((function, version), prepared)  # somebody else may have been as far
        while len(self._linked) > MOST:
            self._linked.popitem(last=False)
        return kept

    async def tidy(self, queue: Queue) -> None:
        """Forgets versions that no invocation stands on any more."""
        for function in {function for function, _ in self._linked}:
            pinned = await queue.pinned(*function)
            for key in [key for key in self._linked if key[0] == function and key[1] not in pinned]:
                del self._linked[key]
