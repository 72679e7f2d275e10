"""`Waiters`: who waits for the end of which invocation.

Promises: nobody asks again and again; telling of an end costs one look into a dictionary while nobody waits; no more
than `MOST_WAITING` wait at once.  Belongs to the loop's thread.  Knows nothing of how invocations end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from guesthouse.errors import AdmissionFull
from guesthouse.queue.call import Record

MOST_WAITING = 10_000
"""As many as a server has connections: each of them is a client, or a task of the program around the host."""


class Waiters:
    """Those of one host."""

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._most = most
        self._waiting: dict[str, list[asyncio.Future[Record | None]]] = {}
        self._count = 0
        self._stopped = False

    @property
    def count(self) -> int:
        """How many wait."""
        return self._count

    def __contains__(self, id: str) -> bool:
        return id in self._waiting

    @contextmanager
    def waiting(self, id: str) -> Iterator[asyncio.Future[Record | None]]:
        """What is done with its record once the invocation has ended, or with `None` where nobody will tell any more.

        To be entered before looking whether it has ended already.  Raises `AdmissionFull`.
        """
        if self._count >= self._most:
            raise AdmissionFull(f"over {self._most} clients wait for the end of invocations")
        end = self.watch(id)
        self._count += 1
        try:
            yield end
        finally:
            self._count -= 1
            self.unwatch(id, end)

    def watch(self, id: str) -> asyncio.Future[Record | None]:
        """As `waiting`, for whoever is bounded in another way: until `unwatch`."""
        end: asyncio.Future[Record | None] = asyncio.get_running_loop().create_future()
        if self._stopped:
            end.set_result(None)
        self._waiting.setdefault(id, []).append(end)
        return end

    def unwatch(self, id: str, end: asyncio.Future[Record | None]) -> None:
        """Whoever watched is not interested any more."""
        others = self._waiting.get(id, [])
        if end in others:
            others.remove(end)
            if not others:
                del self._waiting[id]

    def ended(self, record: Record) -> None:
        """Tells those who wait for it; to be called once the record can be found by others as well."""
        if self._waiting:
            for end in self._waiting.pop(record.id, ()):
                if not end.done():
                    end.set_result(record)

    def stop(self) -> None:
        """Lets everybody go, and whoever comes from now on: the host stops."""
        self._stopped = True
        for waiting in self._waiting.values():
            for end in waiting:
                if not end.done():
                    end.set_result(None)
